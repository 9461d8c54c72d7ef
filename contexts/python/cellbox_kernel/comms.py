"""Comms (ipywidgets) and the kernel object that libraries look for behind get_ipython()."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import _cellbox
import comm
from comm.base_comm import BaseComm, CommManager

from . import protocol


class FrameComm(BaseComm):
    """A comm whose messages are COMM_OUT frames."""

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        content = {"data": {} if data is None else data, "comm_id": self.comm_id}
        content.update((k, v) for k, v in keys.items() if v is not None or k != "target_module")
        raw = tuple(bytes(memoryview(b).cast("B")) if not isinstance(b, bytes) else b for b in buffers or ())
        req = _cellbox.current_request()
        protocol.send_json(protocol.COMM_OUT, req, {"msg_type": msg_type}, content, metadata or {}, buffers=raw)

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

    def send(self, stream: Any, msg_or_type: Any, content: Any = None, **_: Any) -> None:
        """display_data and clear_output of ipywidgets' Output reach the display publisher."""
        if isinstance(msg_or_type, dict):
            content = msg_or_type.get("content") or {}
            msg_or_type = msg_or_type.get("msg_type") or msg_or_type["header"]["msg_type"]
        req = _cellbox.current_request()
        if msg_or_type in ("display_data", "update_display_data"):
            kind = protocol.DISPLAY if msg_or_type == "display_data" else protocol.UPDATE_DISPLAY
            parts = content.get("data") or {}, content.get("metadata") or {}, content.get("transient") or {}
            protocol.send_json(kind, req, *parts)
        elif msg_or_type == "clear_output":
            protocol.send(protocol.CLEAR_OUTPUT, int(bool(content.get("wait"))), req, ())


class Kernel:
    """get_ipython().kernel: comm manager, parent message, session, loop."""

    implementation = "cellbox"
    iopub_socket = None
    shell_stream = None
    eventloop = None

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
        self._remember(_cellbox.current_request(), parent)

    parent = property(get_parent)
    _parent_header = property(get_parent)

    def _remember(self, req: int, parent: dict[str, Any]) -> None:
        self._parents[req] = self._last = parent
        if len(self._parents) > PARENTS_MAX:
            del self._parents[next(iter(self._parents))]

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
