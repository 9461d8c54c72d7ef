"""A context that breaks the frame protocol loses itself; its neighbours notice nothing."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

# User code shares a process with the runner, so it can find the private socket and forge whatever it likes.
FIND = """
import os, socket, struct, time
def frame_socket():
    for fd in range(3, 1024):
        try:
            s = socket.socket(fileno=os.dup(fd))
            if s.type == socket.SOCK_SEQPACKET:
                return s
            s.close()
        except OSError:
            pass
def message(kind, arg=0, req=0, *sections):
    head = struct.pack('<HHIQ', kind, len(sections), arg, req)
    return head + b''.join(struct.pack('<I', len(s)) for s in sections) + b''.join(sections)
s = frame_socket()
"""

ATTACKS = {
    "garbage": "s.send(os.urandom(500))",
    "empty packet": "s.send(b'')",
    "length lies": "s.send(b'\\3\\0\\0\\0' + struct.pack('<HHIQI', 41, 1, 0, 1, 0xffffffff) + b'{}')",
    "not json": "s.send(b'\\3\\0\\0\\0' + message(38, 0, 0, b'{nope}'))",
    "unknown type": "s.send(b'\\3\\0\\0\\0' + message(777))",
    "too many sections": "s.send(b'\\3\\0\\0\\0' + message(34, 0, 0, *[b'{}'] * 65))",
    "forged exit": "s.send(b'\\7\\0\\0\\0' + message(63))",
    "message inside a message": "s.send(b'\\1\\0\\0\\0' + message(38)); s.send(b'\\1\\0\\0\\0' + message(38))",
    "deep json": "s.send(b'\\3\\0\\0\\0' + message(38, 0, 0, b'{\"a\":' * 10000 + b'1' + b'}' * 10000))",
    "closed socket": "s.shutdown(socket.SHUT_RDWR)",
    "long greeting": "s.send(b'\\1\\0\\0\\0' + struct.pack('<HHIQI', 33, 1, 0, 0, 70000) + b'{' + b' ' * 60000)",
    "second greeting": "s.send(b'\\3\\0\\0\\0' + message(33, 0, 0, b'{}'))",
    "long question": "s.send(b'\\1\\0\\0\\0' + struct.pack('<HHIQI', 39, 1, 0, 0, 2 << 20) + b'{' + b' ' * 60000)",
    "endless message": "p = b'x' * 60000\ns.send(b'\\1\\0\\0\\0' + struct.pack('<HHIQI', 41, 1, 0, 1, 64 << 20))\n"
    "while True: s.send(b'\\0\\0\\0\\0' + p)",
    "endless white space": "p = b' ' * 60000\n"
    "s.send(b'\\1\\0\\0\\0' + struct.pack('<HHIQI', 41, 1, 0, 1, 60 << 20) + b'[')\n"
    "while True: s.send(b'\\0\\0\\0\\0' + p)",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(server: Any, box: str, name: str) -> None:
    neighbour = box + "-n"
    try:
        server.run(neighbour, "x = 7")
        gateway = server.gateway().pid
        e = server.run(box, FIND + ATTACKS[name] + "\ntime.sleep(30)", timeout=20000)
        assert e["status"] == "error"
        assert e["error"]["code"] in ("PROTOCOL_ERROR", "CONTEXT_DIED"), e["error"]
        assert e["timing"]["durationMs"] < 15000
        again = server.run(box, "6 * 7")
        assert again["results"][0]["data"]["text/plain"] == "42" and again["contextRestarted"] is True
        assert server.run(neighbour, "x")["results"][0]["data"]["text/plain"] == "7"
        assert server.gateway().pid == gateway
    finally:
        server.call("DELETE", f"/v1/sandboxes/{neighbour}")


def test_forged_messages_of_others_are_ignored(server: Any, box: str) -> None:
    code = FIND + "for req in (1, 2, 999999, 2**63): s.send(b'\\3\\0\\0\\0' + message(41, 0, req, b'{}'))\n'end'"
    assert server.run(box, code)["results"][0]["data"]["text/plain"] == "'end'"
    assert server.run(box, "2")["status"] == "ok"


def test_a_flood_leaves_the_neighbours_alone(server: Any, box: str) -> None:
    neighbour = box + "-n"
    stop = "import time\nend = time.time() + 4\nwhile time.time() < end: print('x' * 100_000)"
    try:
        server.run(neighbour, "1")
        before = server.gateway().memory_info().rss
        flood = threading.Thread(
            target=server.call,
            args=("POST", f"/v1/sandboxes/{box}/run"),
            kwargs={"json": {"code": stop}, "stream": True},
        )
        flood.start()
        worst = 0.0
        peak = before
        for _ in range(60):
            start = time.monotonic()
            assert server.run(neighbour, "1 + 1")["status"] == "ok"
            worst = max(worst, time.monotonic() - start)
            peak = max(peak, server.gateway().memory_info().rss)
            time.sleep(0.03)
        flood.join()
        assert worst < 5
        assert peak - before < 64 << 20
    finally:
        server.call("DELETE", f"/v1/sandboxes/{neighbour}")
