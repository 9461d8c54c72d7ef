"""A server that answers with prepared bytes, and keeps what it was asked."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Sequence
from types import TracebackType


class FakeServer:
    """``with FakeServer([reply, ...]) as fake``: one reply a connection, or a list for several requests on one;
    ``fake.requests`` are heads with bodies, in their order."""

    def __init__(self, replies: Sequence[bytes | list[bytes]] = ()) -> None:
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
            threading.Thread(target=self._answer, args=(connection, reply), daemon=True).start()

    def _answer(self, connection: socket.socket, reply: bytes | list[bytes]) -> None:
        with connection:
            for part in reply if isinstance(reply, list) else [reply]:
                asked = self._request(connection)
                if asked:
                    self.requests.append(asked)
                    connection.sendall(part)

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return b""
            data += more
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
