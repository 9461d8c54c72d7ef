"""A server that answers with prepared bytes, one reply a connection, and keeps what it was asked."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Sequence
from types import TracebackType


class FakeServer:
    """``with FakeServer([reply, ...]) as fake``: ``fake.requests`` are heads with bodies, in their order."""

    def __init__(self, replies: Sequence[bytes] = ()) -> None:
        self.token = "t"
        self._replies = list(replies)
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        for reply in self._replies:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.requests.append(self._request(connection))
                connection.sendall(reply)

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        length = re.search(rb"content-length: (\d+)", data, re.IGNORECASE)
        whole = data.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
        while len(data) < whole:
            data += connection.recv(65536)
        return data

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
