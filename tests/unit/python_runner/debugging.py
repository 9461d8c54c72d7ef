"""A debug client on top of the harness: requests on the control lane, events as they come."""

from __future__ import annotations

import itertools
import json
from typing import Any

import harness as h
from harness import Context, Message, Run


class Client:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.sequence = itertools.count(1)
        self.messages: list[Message] = []  # everything that is not a reply to us
        self.events: list[dict[str, Any]] = []

    def _keep(self, message: Message) -> None:
        if message.type == h.DEBUG_EVENT:
            self.events.append(message.json[0])
        else:
            self.messages.append(message)

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        number = next(self.sequence)
        content = {"type": "request", "seq": number, "command": command, "arguments": arguments}
        req = self.context.send(h.DEBUG, [json.dumps(content).encode()])
        while True:
            message = self.context.recv()
            if message.type == h.DONE and message.req == req:
                reply = message.json[0]
                assert reply["type"] == "response" and reply["command"] == command
                assert reply["request_seq"] == number
                return reply
            self._keep(message)

    def body(self, command: str, **arguments: Any) -> dict[str, Any]:
        reply = self.request(command, **arguments)
        assert reply["success"], reply
        return reply["body"]

    def attach(self, **options: Any) -> None:
        self.body(
            "initialize",
            clientID="jupyterlab",
            clientName="JupyterLab",
            adapterID="python3",
            pathFormat="path",
            linesStartAt1=True,
            columnsStartAt1=True,
            supportsVariableType=True,
        )
        self.body("attach", **options)

    def set_breakpoints(self, code: str, *lines: int, **more: Any) -> str:
        path = self.body("dumpCell", code=code)["sourcePath"]
        breakpoints = [{"line": line, **more} for line in lines]
        reply = self.body("setBreakpoints", source={"path": path}, breakpoints=breakpoints, sourceModified=False)
        assert all(b["verified"] for b in reply["breakpoints"]), reply
        self.body("configurationDone")
        return path

    def event(self, name: str) -> dict[str, Any]:
        """The next event of that name."""
        while True:
            for n, event in enumerate(self.events):
                if event["event"] == name:
                    del self.events[: n + 1]
                    return event.get("body") or {}
            self._keep(self.context.recv())

    def stopped(self) -> tuple[int, list[dict[str, Any]]]:
        thread = self.event("stopped")["threadId"]
        return thread, self.body("stackTrace", threadId=thread)["stackFrames"]

    def stops(self, req: int) -> bool:
        """Whether the cell stops once more, rather than ends."""
        while True:
            if any(e["event"] == "stopped" for e in self.events):
                return True
            if any(m.type == h.DONE and m.req == req for m in self.messages):
                return False
            self._keep(self.context.recv())

    def locals(self, frame: int) -> dict[str, str]:
        scopes = self.body("scopes", frameId=frame)["scopes"]
        found = self.body("variables", variablesReference=scopes[0]["variablesReference"])["variables"]
        return {v["name"]: v["value"] for v in found}

    def finish(self, req: int) -> Run:
        """What the cell brought, up to its end."""
        run = Run(req)
        while True:
            for message in self.messages:
                run.messages.append(message)
                if message.type == h.DONE and message.req == req:
                    self.messages.clear()
                    return run
            self.messages.clear()
            self._keep(self.context.recv())
