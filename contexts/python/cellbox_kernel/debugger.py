"""debug_request: the Debug Adapter Protocol as notebook front ends speak it.

Requests about stopped threads go to pydevd; what a notebook adds to the protocol (dumpCell, debugInfo, variables of
the namespace, …) is answered here. All of it on the control thread, so also while a cell stands at a breakpoint.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _cellbox

from . import cellfiles, protocol
from .control import hide_from_debugger
from .variables import Variables

EXCEPTION_PATHS = ["Python Exceptions"]
RETRY = 0.002  # seconds between two tries to interrupt a thread that is busy in pydevd
_PRIVATE_EVENTS = frozenset({"pydevdInputRequested", "pydevdThreadsSuspended"})
Body = dict[str, Any]


class Failed(Exception):
    """A request that is answered with success: false."""


class Debugger:
    """One per context; pydevd is loaded by the first initialize."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._variables = Variables(shell)
        self._pydevd: Any = None
        self.loaded = False  # pydevd is there, and cells have to be entered
        self._request = 0  # the one being answered: events that it causes belong to it
        self.attached = False  # tracing costs: only between attach and disconnect
        self._breakpoints: dict[str, list[Any]] = {}
        self._stopped: dict[int, None] = {}
        self._interrupting = False
        self._untraced: set[int] = set()  # threads without tracing since the last disconnect
        self._own: dict[str, Callable[[Body], Body]] = {
            "initialize": self._initialize,
            "attach": self._attach,
            "launch": self._attach,
            "configurationDone": lambda arguments: {},  # attach has said so to pydevd
            "dumpCell": self._dump_cell,
            "debugInfo": self._debug_info,
            "inspectVariables": lambda arguments: {"variables": self._variables.top()},
            "richInspectVariables": self._rich_inspect,
            "copyToGlobals": self._copy_to_globals,
            "modules": self._modules,
            "source": self._source,
            "setBreakpoints": self._set_breakpoints,
            "stackTrace": self._stack_trace,
            "variables": self._list_variables,
            "evaluate": self._evaluate,
            "disconnect": self._disconnect,
            "terminate": self._disconnect,
        }

    # The control thread

    def answer(self, req: int, request: Body) -> Body:
        """The response to a DAP request."""
        command = request.get("command")
        arguments = request.get("arguments") or {}
        reply = {"type": "response", "seq": req, "request_seq": request.get("seq", 0), "command": command}
        self._request = req
        try:
            own = self._own.get(str(command))
            body = own(arguments) if own else self._forward(str(command), arguments)
        except Exception as e:
            text = str(e) if isinstance(e, Failed) else f"{type(e).__name__}: {e}"
            return {**reply, "success": False, "message": text, "body": {}}
        finally:
            self._request = 0
        return {**reply, "success": True, "body": body}

    def _forward(self, command: str, arguments: Body) -> Body:
        if self._pydevd is None or not self.attached:
            raise Failed(f"{command}: no debugger is attached")
        response = self._pydevd.ask(command, arguments)
        if not response.get("success"):
            raise Failed(response.get("message") or f"{command} failed")
        if command in ("continue", "next", "stepIn", "stepOut"):
            self._resumed(arguments.get("threadId"), command == "continue")
        return response.get("body") or {}

    # Sessions

    def _connection(self) -> Any:
        if self._pydevd is None:
            from . import dap

            if threading.current_thread() is threading.main_thread():
                raise Failed("the debugger is started by its own thread")
            self._pydevd = dap.Connection(self._on_event)
            self.loaded = True
            self._pydevd.ask("setDebuggerProperty", {"multiThreadsSingleNotification": False})
            os.register_at_fork(after_in_child=dap.stop_in_child)
        return self._pydevd

    def _initialize(self, arguments: Body) -> Body:
        if self.attached:
            self._disconnect({})
        response = self._connection().ask("initialize", arguments)
        cellfiles.adopt(self._shell)
        if not response.get("success"):
            raise Failed(response.get("message") or "initialize failed")
        return response["body"]

    def _attach(self, arguments: Body) -> Body:
        from . import dap

        if self._pydevd is None:
            raise Failed("attach comes after initialize")
        options = {
            "justMyCode": True,
            "redirectOutput": False,
            "guiEventLoop": "none",
            "stopAllThreadsOnSuspend": False,
            "rules": [{"path": f"{dap.own_directory()}/**", "include": False}],
            **arguments,
        }
        self.attached = True
        self._untraced.clear()
        response = self._pydevd.ask("attach", options)
        if not response.get("success"):
            self.attached = False
            raise Failed(response.get("message") or "attach failed")
        self._pydevd.ask("configurationDone")
        self._pydevd.take_breakpoints(True)
        for path, breakpoints in self._breakpoints.items():
            self._pydevd.ask("setBreakpoints", {"source": {"path": path}, "breakpoints": breakpoints})
        return response.get("body") or {}

    def _disconnect(self, arguments: Body) -> Body:
        """Breakpoints are forgotten, stopped threads go on. The interpreter is never ended by it."""
        if self._pydevd is not None and self.attached:
            self._pydevd.ask("disconnect", {"restart": False, "terminateDebuggee": False})
            self._pydevd.take_breakpoints(False)
        self.attached = False
        self._breakpoints.clear()
        self._resumed(None, True)
        return {}

    def let_go(self) -> None:
        """The context is to end: whoever stands at a breakpoint is interrupted."""
        if self._stopped:
            _thread.interrupt_main()

    # Cells, on the thread that runs them

    @contextlib.contextmanager
    def cell(self) -> Iterator[None]:
        """Around a cell, once pydevd is loaded."""
        from . import dap

        ident = threading.get_ident()
        if not self.attached and ident in self._untraced:
            yield
            return
        main = threading.current_thread() is threading.main_thread()
        guarded = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        dap.trace_this_thread(self.attached)
        if not self.attached:
            self._untraced.add(ident)
        if guarded:
            signal.signal(signal.SIGINT, self._on_sigint)
            _cellbox.install_sigint()
        try:
            yield
        finally:
            self._end_interrupt()
            if guarded and signal.getsignal(signal.SIGINT) == self._on_sigint:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                _cellbox.install_sigint()

    def _on_sigint(self, signum: int, frame: Any) -> None:
        if not self.holds(frame):
            raise KeyboardInterrupt

    def holds(self, frame: Any) -> bool:
        """Whether pydevd's own code was hit by an interrupt: an exception in there would leave its state broken.

        Then the interrupt is tried again, after the thread has left the breakpoint at which it may stand.
        """
        if self._pydevd is None or not self._pydevd.is_inside(frame):
            self._end_interrupt()
            return False
        if not self._interrupting:
            self._interrupting = True
            sys.setprofile(self._raise_outside)
            helper = threading.Thread(target=self._free_main, name="cellbox-interrupt", daemon=True)
            hide_from_debugger(helper)
            helper.start()
        return True

    def _end_interrupt(self) -> None:
        if self._interrupting:
            self._interrupting = False
            sys.setprofile(None)

    def _raise_outside(self, frame: Any, event: str, arg: Any) -> None:
        """Profile function of the main thread, which is not called inside of pydevd's."""
        self._end_interrupt()
        raise KeyboardInterrupt

    def _free_main(self) -> None:
        name = threading.main_thread().name
        for thread in (self._pydevd.ask("threads").get("body") or {}).get("threads", []):
            if thread["name"] == name and thread["id"] in self._stopped:
                self._pydevd.ask("continue", {"threadId": thread["id"], "singleThread": True})
        while self._interrupting:  # until it hits code of the user, or the cell has ended
            _thread.interrupt_main()
            time.sleep(RETRY)

    # Events of pydevd, on its reader's thread

    def _on_event(self, event: Body) -> None:
        name, body = event.get("event"), event.get("body") or {}
        if name in _PRIVATE_EVENTS:
            return
        if name == "stopped":
            self._stopped[body["threadId"]] = None
        elif name == "continued":
            self._resumed(body.get("threadId"), bool(body.get("allThreadsContinued")))
        elif name == "thread" and body.get("reason") == "exited":
            self._resumed(body.get("threadId"), False)
        self._emit(str(name), body)

    def _emit(self, name: str, body: Body) -> None:
        event = {"type": "event", "seq": 0, "event": name, "body": body}
        with contextlib.suppress(OSError):
            protocol.post(protocol.DEBUG_EVENT, 0, self._request, (protocol.dump(event),))

    def _resumed(self, thread: int | None, everybody: bool) -> None:
        if everybody or thread is None:
            self._stopped.clear()
        else:
            self._stopped.pop(thread, None)

    # What a notebook adds

    def _dump_cell(self, arguments: Body) -> Body:
        return {"sourcePath": cellfiles.write(arguments["code"])}

    def _debug_info(self, arguments: Body) -> Body:
        return {
            "isStarted": self.attached,
            "hashMethod": cellfiles.HASH_METHOD,
            "hashSeed": cellfiles.HASH_SEED,
            "tmpFilePrefix": cellfiles.prefix(),
            "tmpFileSuffix": cellfiles.SUFFIX,
            "breakpoints": [{"source": p, "breakpoints": b} for p, b in self._breakpoints.items()],
            "stoppedThreads": list(self._stopped),
            "richRendering": True,
            "exceptionPaths": EXCEPTION_PATHS,
            "copyToGlobals": True,
        }

    def _set_breakpoints(self, arguments: Body) -> Body:
        path = (arguments.get("source") or {}).get("path")
        if not path:
            raise Failed("a source needs its path")
        body = self._forward("setBreakpoints", arguments)
        wanted = arguments.get("breakpoints") or []
        # Where pydevd has put them, so that a client that comes later sees the same.
        for asked, got in zip(wanted, body.get("breakpoints") or [], strict=False):
            if isinstance(got.get("line"), int):
                asked["line"] = got["line"]
        if wanted:
            self._breakpoints[path] = wanted
        else:
            self._breakpoints.pop(path, None)
        return body

    def _modules(self, arguments: Body) -> Body:
        start, count = int(arguments.get("startModule") or 0), int(arguments.get("moduleCount") or 0)
        found: list[Body] = []
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and path.endswith(".py"):
                found.append({"id": len(found), "name": name, "path": path})
        last = start + count if count else len(found)
        return {"modules": found[start:last], "totalModules": len(found)}

    def _source(self, arguments: Body) -> Body:
        source = arguments.get("source") or {}
        path = source.get("path")
        if path and Path(path).is_file():
            return {"content": Path(path).read_text(encoding="utf-8", errors="replace")}
        return self._forward("source", {"sourceReference": 0, **arguments})

    # Stopped threads, and the namespace while none is

    def _stack_trace(self, arguments: Body) -> Body:
        """The user's part of the stack: nothing below the cell."""
        wanted = {k: v for k, v in arguments.items() if k not in ("startFrame", "levels")}
        body = self._forward("stackTrace", wanted)
        frames, cells = body.get("stackFrames") or [], cellfiles.prefix()
        paths = [(f.get("source") or {}).get("path") or "" for f in frames]
        last = max((n for n, path in enumerate(paths) if path.startswith(cells)), default=len(frames) - 1)
        kept = frames[: last + 1]
        start, levels = int(arguments.get("startFrame") or 0), int(arguments.get("levels") or 0)
        return {"stackFrames": kept[start : start + levels if levels else None], "totalFrames": len(kept)}

    def _list_variables(self, arguments: Body) -> Body:
        reference = arguments.get("variablesReference")
        if self._variables.known(reference):
            start, count = int(arguments.get("start") or 0), int(arguments.get("count") or 0)
            return {"variables": self._variables.children(int(reference or 0), start, count)}
        body = self._forward("variables", arguments)
        if not arguments.get("start") and not arguments.get("count"):
            return body
        start, count = int(arguments.get("start") or 0), int(arguments.get("count") or 0)
        return {"variables": body.get("variables", [])[start : start + count if count else None]}

    def _evaluate(self, arguments: Body) -> Body:
        if arguments.get("frameId") is not None and self._stopped:
            return self._forward("evaluate", arguments)
        expression, namespace = arguments.get("expression") or "", self._shell.user_ns
        try:
            code = compile(expression, "<debug console>", "eval")
        except SyntaxError:
            exec(compile(expression, "<debug console>", "exec"), namespace)
            return {"result": "", "variablesReference": 0}
        return self._variables.evaluated(eval(code, namespace), expression)

    def _rich_inspect(self, arguments: Body) -> Body:
        name, frame = arguments.get("variableName") or "", arguments.get("frameId")
        if not name.isidentifier() and frame is None:
            raise Failed(f"not a name: {name!r}")
        if frame is None or not self._stopped:
            value = self._shell.user_ns.get(name, self)
            if value is self:
                raise Failed(f"no variable {name!r}")
            data, metadata = self._shell.display_formatter.format(value)
            return {"data": _texts(data), "metadata": metadata}
        caught: list[Any] = []
        _caught_by_frame.append(caught)
        try:
            call = f"__import__('cellbox_kernel.debugger').debugger.show({name})"
            self._forward("evaluate", {"expression": call, "frameId": frame, "context": "clipboard"})
        finally:
            _caught_by_frame.remove(caught)
        if not caught:
            raise Failed(f"no variable {name!r}")
        data, metadata = caught[0]
        return {"data": _texts(data), "metadata": metadata}

    def _copy_to_globals(self, arguments: Body) -> Body:
        source, target = arguments.get("srcVariableName") or "", arguments.get("dstVariableName") or ""
        if not source.isidentifier() or not target.isidentifier():
            raise Failed("copyToGlobals needs two names")
        code = f"__import__('sys').modules['__main__'].__dict__.__setitem__({target!r}, {source})"
        arguments = {"expression": code, "frameId": arguments.get("srcFrameId"), "context": "clipboard"}
        return self._forward("evaluate", arguments)


_caught_by_frame: list[list[Any]] = []


def show(value: Any) -> None:
    """Evaluated in a stopped frame: hands the value's MIME bundle to the control thread."""
    from IPython import get_ipython

    bundle = get_ipython().display_formatter.format(value)
    for caught in _caught_by_frame[-1:]:
        caught.append(bundle)


def _texts(data: Body) -> Body:
    from base64 import b64encode

    return {k: b64encode(v).decode() if isinstance(v, bytes) else v for k, v in data.items()}
