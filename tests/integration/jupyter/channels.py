"""One kernel over a server's WebSocket, in the JSON form that every Jupyter server speaks."""

from __future__ import annotations

import json
import uuid
from typing import Any

import websocket

SECONDS = 60


class Channels:
    def __init__(self, url: str, token: str, kernel: str) -> None:
        self.session = uuid.uuid4().hex
        self.socket = websocket.create_connection(
            f"{url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?session_id={self.session}&token={token}",
            timeout=SECONDS,
        )

    def send(self, channel: str, msg_type: str, content: dict[str, Any]) -> str:
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id, "msg_type": msg_type, "session": self.session, "username": "",
            "date": "2026-01-01T00:00:00Z", "version": "5.4",
        }  # fmt: skip
        message = {"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.socket.send(json.dumps(message | {"buffers": []}))
        return msg_id

    def execute(self, code: str, **content: Any) -> str:
        defaults = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
            "stop_on_error": True,
        }  # fmt: skip
        return self.send("shell", "execute_request", defaults | content)

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.socket.recv())
        return message

    def until(self, msg_type: str) -> dict[str, Any]:
        while (message := self.receive())["msg_type"] != msg_type:
            pass
        return message

    def collect(self, msg_id: str) -> list[dict[str, Any]]:
        """Messages of a request, up to its reply and its idle."""
        found: list[dict[str, Any]] = []
        replied = idle = False
        while not (replied and idle):
            message = self.receive()
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            found.append(message)
            replied |= message["channel"] in ("shell", "control")
            idle |= message["content"].get("execution_state") == "idle"
        return found

    def run(self, code: str, **content: Any) -> list[dict[str, Any]]:
        return self.collect(self.execute(code, **content))

    def result(self, code: str) -> str:
        """text/plain of the cell's value."""
        found = [m for m in self.run(code) if m["msg_type"] == "execute_result"]
        assert len(found) == 1, found
        text: str = found[0]["content"]["data"]["text/plain"]
        return text

    def close(self) -> None:
        self.socket.close()
