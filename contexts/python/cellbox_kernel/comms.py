"""Comms (ipywidgets) and the kernel object that libraries look for behind get_ipython()."""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from typing import Any

import _cellbox
import comm
from comm.base_comm import BaseComm, CommManager
from IPython import get_ipython

from . import protocol


class FrameComm(BaseComm):
    """A comm whose messages are COMM_OUT frames."""

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        content = {"data": {} if data is None else data, "comm_id": self.comm_id}
        content.update((k, v) for k, v in keys.items() if v is not None or k != "target_module")
        req = _cellbox.current_request()
        parts = {"msg_type": msg_type}, content, metadata or {}
        protocol.send_json(protocol.COMM_OUT, req, *parts, buffers=_raw(buffers))

    @property
    def kernel(self) -> Any:
        return getattr(get_ipython(), "kernel", None)


PARENTS_MAX = 500  # requests whose threads may still ask for their message


def create_comm(*args: Any, **kwargs: Any) -> FrameComm:
    return FrameComm(*args, **kwargs)


class Session:
    """What libraries read of a jupyter_client session."""

    def __init__(self) -> None:
        self.session = ""
        self.username = "cellbox"

    def msg(self, msg_type: str, content: Any = None, parent: Any = None, **_: Any) -> dict[str, Any]:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": msg_type, "session": self.session}
        return {"header": header, "msg_type": msg_type, "parent_header": parent or {}, "content": content or {}}

    def send(self, stream: Any, msg_or_type: Any, content: Any = None, **more: Any) -> dict[str, Any]:
        """What libraries send on iopub by themselves leaves as the frame of that name."""
        message = msg_or_type if isinstance(msg_or_type, dict) else self.msg(msg_or_type, content, more.get("parent"))
        kind = message.get("msg_type") or message["header"]["msg_type"]
        content, req = message.get("content") or {}, _cellbox.current_request()
        if kind in ("display_data", "update_display_data"):
            frame = protocol.DISPLAY if kind == "display_data" else protocol.UPDATE_DISPLAY
            parts = content.get("data") or {}, content.get("metadata") or {}, content.get("transient") or {}
            protocol.send_json(frame, req, *parts, buffers=_raw(more.get("buffers")))
        elif kind == "clear_output":
            protocol.send(protocol.CLEAR_OUTPUT, int(bool(content.get("wait"))), req, ())
        elif kind == "stream":
            print(content.get("text", ""), end="", file=sys.stderr if content.get("name") == "stderr" else sys.stdout)
        elif kind == "error":
            error = {k: content.get(k, "") for k in ("ename", "evalue")}
            protocol.send_json(protocol.ERROR, req, {**error, "traceback": list(content.get("traceback") or ())})
        elif kind in ("comm_open", "comm_msg", "comm_close"):
            metadata = message.get("metadata") or more.get("metadata") or {}
            buffers = _raw(more.get("buffers") or message.get("buffers"))
            protocol.send_json(protocol.COMM_OUT, req, {"msg_type": kind}, content, metadata, buffers=buffers)
        return message


def _raw(buffers: Any) -> tuple[bytes, ...]:
    return tuple(bytes(memoryview(b).cast("B")) if not isinstance(b, bytes) else b for b in buffers or ())


def _message_id(parent: dict[str, Any]) -> Any:
    header = parent.get("header") or parent
    return header.get("msg_id")


class Kernel:
    """get_ipython().kernel: comm manager, parent message, session, loop."""

    implementation = "cellbox"
    language = "python"
    banner = ""
    ident = "cellbox"
    iopub_socket = shell_stream = control_stream = stdin_socket = None
    eventloop = None
    log = logging.getLogger("ipykernel")

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.session = Session()
        self._parents: dict[int, dict[str, Any]] = {}  # by request, oldest first
        self._last: dict[str, Any] = {}
        self.comm_manager: CommManager = comm.get_comm_manager()

    def get_parent(self, channel: str | None = None) -> dict[str, Any]:
        """The Jupyter message that this thread's or task's request came with, as far as the gateway told."""
        return self._parents.get(_cellbox.current_request()) or self._last

    def set_parent(self, ident: Any, parent: dict[str, Any], channel: str = "shell") -> None:
        """The message of another request: its output is where this thread's or task's goes from now on."""
        wanted = _message_id(parent)
        for req, known in list(self._parents.items()):
            if _message_id(known) == wanted:
                _cellbox.request.set(req)
                return
        self._remember(_cellbox.current_request(), parent)

    parent = property(get_parent)
    _parent_header = property(get_parent)

    def _remember(self, req: int, parent: dict[str, Any]) -> None:
        self._parents[req] = self._last = parent
        if len(self._parents) > PARENTS_MAX:
            del self._parents[next(iter(self._parents))]

    @property
    def execution_count(self) -> int:
        return self.shell.execution_count

    @property
    def user_ns(self) -> dict[str, Any]:
        return self.shell.user_ns

    @property
    def user_module(self) -> Any:
        return self.shell.user_module

    @property
    def debugger(self) -> Any:
        return self.shell.runner.debugger

    def send_response(self, stream: Any, msg_or_type: Any, content: Any = None, **more: Any) -> dict[str, Any]:
        return self.session.send(stream, msg_or_type, content, **more)

    @property
    def io_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_event_loop()

    def set_request(self, req: int, message_id: str, msg_type: str) -> None:
        header = {"msg_id": message_id, "msg_type": msg_type, "session": self.session.session, "username": "cellbox"}
        self._remember(req, {"header": header, "msg_id": message_id, "msg_type": msg_type})

    def forget(self) -> None:
        self._parents.clear()
        self._last = {}

    def comm_info(self, target: str | None) -> dict[str, Any]:
        comms = self.comm_manager.comms
        return {
            "status": "ok",
            "comms": {
                k: {"target_name": v.target_name} for k, v in list(comms.items()) if target in (None, "", v.target_name)
            },
        }

    def on_message(self, head: dict[str, Any], content: dict[str, Any], metadata: Any, buffers: list[bytes]) -> None:
        """A comm message of a client."""
        kind = head.get("msg_type")
        if kind not in ("comm_open", "comm_msg", "comm_close"):
            return
        message = {
            "header": {"msg_type": kind, "msg_id": head.get("msg_id", "")},
            "msg_type": kind,
            "content": content,
            "metadata": metadata,
            "buffers": [memoryview(b) for b in buffers],
        }
        getattr(self.comm_manager, kind)(None, None, message)


def install() -> None:
    comm.create_comm = create_comm
