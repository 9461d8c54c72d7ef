"""Kernels over REST and WebSocket, beside a stock jupyter_server with ipykernel."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
import time
import uuid
from typing import Protocol

import websockets
from figures import BIG, BIG_CHARACTERS, LINES, LINES_CHARACTERS, Row, ms, p50, p95
from peers import Cellbox, StockServer
from wsclient import SECONDS, SUBPROTOCOL, Socket, execute_request, unpack


class Server(Protocol):
    address: str
    token: str
    kernel: str

    def call(self, method: str, path: str, body: object = None) -> dict[str, str]: ...


def start(server: Server) -> str:
    return server.call("POST", "/api/kernels", {"name": server.kernel})["id"]


def connect(server: Server, kernel: str) -> Socket:
    return Socket(server.address, server.token, kernel)


def starts_and_ends(server: Server, count: int, pause: float) -> tuple[list[float], list[float]]:
    """Seconds from POST to the end of the first cell; seconds of DELETE."""
    firsts, deletes = [], []
    for _ in range(count):
        time.sleep(pause)  # the pool fills up again meanwhile
        began = time.perf_counter()
        kernel = start(server)
        socket = connect(server, kernel)
        socket.execute("1+1")
        firsts.append(time.perf_counter() - began)
        socket.close()
        began = time.perf_counter()
        server.call("DELETE", f"/api/kernels/{kernel}")
        deletes.append(time.perf_counter() - began)
    return firsts, deletes


def round_trips(server: Server, count: int) -> list[float]:
    kernel = start(server)
    socket = connect(server, kernel)
    for _ in range(20):
        socket.execute("1+1")
    times = [socket.execute("1+1")[0] for _ in range(count)]
    socket.close()
    server.call("DELETE", f"/api/kernels/{kernel}")
    return times


def output(server: Server, code: str, count: int) -> tuple[float, int]:
    """Median seconds, and the fewest characters that arrived."""
    kernel = start(server)
    socket = connect(server, kernel)
    socket.execute("1")
    runs = [socket.execute(code) for _ in range(count)]
    socket.close()
    server.call("DELETE", f"/api/kernels/{kernel}")
    return p50([t for t, _ in runs]), min(n for _, n in runs)


async def one_client(server: Server, kernel: str, cells: int, ready: asyncio.Barrier) -> list[float]:
    """Runs cells and insists on every one of their messages, in order."""
    session = uuid.uuid4().hex
    address = f"ws://{server.address}/api/kernels/{kernel}/channels?session_id={session}&token={server.token}"
    times = []
    async with websockets.connect(
        address, subprotocols=[websockets.Subprotocol(SUBPROTOCOL)], compression=None, max_size=None,
        open_timeout=SECONDS, ping_interval=None,
    ) as socket:  # fmt: skip
        await ready.wait()
        for i in range(cells):
            began = time.perf_counter()
            msg_id, frame = execute_request(f"print('cell', {i})\n{i} * 2", session)
            await socket.send(frame)
            iopub: list[str] = []
            text, replied = "", False
            while not (replied and iopub[-1:] == ["idle"]):
                channel, header, parent, _, content, *_ = unpack(await socket.recv())  # type: ignore[arg-type]
                if msg_id.encode() not in parent:
                    continue
                body = json.loads(content)
                if channel == b"shell":
                    assert body["status"] == "ok", body
                    replied = True
                elif b'"stream"' in header:
                    text += body["text"]
                else:
                    iopub.append(body.get("execution_state") or json.loads(header)["msg_type"])
            times.append(time.perf_counter() - began)
            assert iopub == ["busy", "execute_input", "execute_result", "idle"], iopub
            assert text == f"cell {i}\n", text
    return times


async def crowd(server: Server, kernels: list[str], cells: int) -> tuple[list[float], list[float]]:
    ready = asyncio.Barrier(len(kernels))
    done = await asyncio.gather(*(one_client(server, k, cells, ready) for k in kernels))
    return [times[0] for times in done], [t for times in done for t in times[1:]]


def many(server: Server, count: int, cells: int) -> tuple[list[float], list[float]]:
    """Latencies of the first and of all later cells of that many clients, each on a kernel of its own, all at once."""
    kernels = [start(server) for _ in range(count)]
    try:
        return asyncio.run(crowd(server, kernels, cells))
    finally:
        for kernel in kernels:
            server.call("DELETE", f"/api/kernels/{kernel}")


def measure_life(ours: Cellbox, stock: StockServer, quick: bool) -> list[Row]:
    first, delete = starts_and_ends(ours, 15 if quick else 40, 0.25)
    stock_first, stock_delete = starts_and_ends(stock, 3 if quick else 7, 0)
    a, b = round_trips(ours, 200 if quick else 1000), round_trips(stock, 30 if quick else 100)
    return [
        ("`1+1` over WebSocket", "1 ms", f"{ms(p50(a))} (p95 {ms(p95(a))})", ms(p50(b))),
        ("POST kernel to first cell done", "10 ms", f"{ms(p50(first))} (p95 {ms(p95(first))})", ms(p50(stock_first))),
        ("DELETE kernel", "20 ms", f"{ms(p50(delete))} (p95 {ms(p95(delete))})", ms(p50(stock_delete))),
    ]


def measure_output(ours: Cellbox, stock: StockServer) -> list[Row]:
    rows: list[Row] = []
    for name, code, want, reach in (
        ("50 MB single write over WebSocket, complete; server memory", BIG, BIG_CHARACTERS, "1.5 s, bounded"),
        ("100k print lines over WebSocket, complete; server memory", LINES, LINES_CHARACTERS, "0.5 s"),
    ):
        before = ours.memory("cbx-gateway", "Rss")
        took, got = output(ours, code, 3)
        assert got == want, f"{name}: {got} characters of {want}"
        grown = max(ours.gateway_peak() - before, 0)
        with StockServer(limits=False) as unlimited:
            stock_before = unlimited.peak()
            stock_took, stock_got = output(unlimited, code, 1)
            stock_grown = unlimited.peak() - stock_before
        _, by_default = output(stock, code, 1)
        theirs = f"{ms(stock_took)}; +{stock_grown:.0f} MiB" if stock_got == want else f"{stock_got} characters only"
        if by_default != want:
            theirs += f" (with its default limits {by_default / want:.0%} arrives)"
        rows.append((name, reach, f"{ms(took)}; +{grown:.0f} MiB", theirs))
    return rows


def measure_crowd(stock: StockServer, count: int) -> list[Row]:
    few = max(count // 10, 2)

    def shown(times: tuple[list[float], list[float]]) -> str:
        first, later = times
        return f"{ms(p95(first))}; {ms(p50(later))} / {ms(p95(later))}"

    with Cellbox(pool=4) as server:
        ours = shown(many(server, count, 10))
        gateway = server.gateway_peak()
    return [
        (
            f"{count} clients on {count} kernels, 10 cells each, all at once, no message lost: p95 of the first cells; "
            "p50 / p95 of the rest",
            "p95 reported",
            f"{ours}; gateway {gateway:.0f} MiB",
            f"{few} clients: {shown(many(stock, few, 10))}",
        )
    ]


# What a hostile interpreter has to say: long messages on the frame socket, refused or not, and text without an end.
HOSTILE = """
import os, socket, struct
def frame_socket():
    for fd in range(3, 1024):
        try:
            s = socket.socket(fileno=os.dup(fd))
            if s.type == socket.SOCK_SEQPACKET:
                return s
            s.close()
        except OSError:
            pass
s, part = frame_socket(), b'1,' * 30000
while True:
    n = 1000
    s.send(struct.pack('<IHHIQIII', 1, 34, 3, 0, 0, 9 + len(part) * n, 2, 2) + b'{"a":[')
    for _ in range(n):
        s.send(bytes(4) + part)
    s.send(struct.pack('<I', 2) + b'1]}{}{}')
"""
FLOOD = "while True: print('x' * 10000)"


def hostile_run(server: Cellbox, name: str, code: str, over: threading.Event) -> None:
    """Runs it again and again, as its context dies of it."""
    while not over.is_set():
        with contextlib.suppress(RuntimeError, OSError, http.client.HTTPException):
            server.call("POST", f"/v1/sandboxes/{name}/run", {"code": code}, server.connect())


def measure_neighbours(quick: bool) -> list[Row]:
    quiet, rounds = (10, 5) if quick else (50, 20)
    with Cellbox(pool=4) as server:
        sockets = [connect(server, start(server)) for _ in range(quiet)]

        def times() -> list[float]:
            for socket in sockets:
                socket.execute("1+1")
            return [socket.execute("1+1")[0] for _ in range(rounds) for socket in sockets]

        alone = p95(times())
        found = []
        for name, code in (("values", HOSTILE), ("text", FLOOD)):
            server.call("PUT", f"/v1/sandboxes/{name}", {"limits": {"cpu": 0.5}})
            over = threading.Event()
            thread = threading.Thread(target=hostile_run, args=(server, name, code, over), daemon=True)
            thread.start()
            time.sleep(2)
            found.append(p95(times()))
            over.set()
            server.call("DELETE", f"/v1/sandboxes/{name}")
            thread.join(20)
        for socket in sockets:
            socket.close()
    values, text = found
    return [
        (
            f"`1+1` in {quiet} quiet sandboxes, p95, beside one with half a CPU that sends long messages of many "
            "values; beside one that prints without an end",
            "1.2 times",
            f"{ms(values)} ({values / alone:.2f} times); {ms(text)} ({text / alone:.2f} times); alone {ms(alone)}",
            "",
        )
    ]
