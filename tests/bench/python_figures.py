"""Sandboxes and Python contexts over HTTP and ZeroMQ, beside stock ipykernel."""

from __future__ import annotations

import time
from pathlib import Path

from figures import BIG, BIG_CHARACTERS, IMPORTS, LINES, LINES_CHARACTERS, Row, ms, p50, p95
from peers import Cellbox, Stock
from zmqclient import Client

FRAME = "import pandas as pd; df = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})"
OUTPUTS = (("50 MB single write", BIG, BIG_CHARACTERS), ("100k print lines", LINES, LINES_CHARACTERS))


def creates(server: Cellbox, count: int, pause: float, prefix: str) -> list[float]:
    times = []
    for i in range(count):
        time.sleep(pause)
        connection = server.connect()
        connection.connect()
        start = time.perf_counter()
        body = {"code": IMPORTS + "\n1+1"}
        done = server.call("POST", f"/v1/sandboxes/{prefix}{i}/run", body, connection)
        times.append(time.perf_counter() - start)
        assert done["results"][0]["data"]["text/plain"] == "2", done
        connection.close()
        server.call("DELETE", f"/v1/sandboxes/{prefix}{i}")
    return times


def stock_starts(count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        with Stock() as stock:
            client = Client(stock.connection)
            client.wait_ready()
            client.execute(IMPORTS + "\n1+1")
            times.append(time.perf_counter() - start)
            client.close()
    return times


def round_trips(client: Client, count: int) -> list[float]:
    for _ in range(30):
        client.execute("1+1")
    return [client.execute("1+1")[0] for _ in range(count)]


def measure_start(quick: bool) -> list[Row]:
    stock = stock_starts(3 if quick else 7)
    with Cellbox(pool=0) as cold:
        empty = creates(cold, 20 if quick else 60, 0.1, "cold")
    with Cellbox(pool=4) as warm:
        ready = creates(warm, 20 if quick else 60, 0.25, "warm")
    name = "create box + Python context (numpy, pandas, matplotlib imported) to first result over HTTP"
    return [
        (f"{name}, pool empty", "8 ms", f"{ms(p50(empty))} (p95 {ms(p95(empty))})", ms(p50(stock))),
        (f"{name}, pool warm", "2 ms", f"{ms(p50(ready))} (p95 {ms(p95(ready))})", ms(p50(stock))),
    ]


def measure_round_trip(server: Cellbox, quick: bool) -> list[Row]:
    count = 200 if quick else 1000
    ours = Client(server.zmq("rtt"))
    ours.wait_ready()
    with Stock() as stock:
        theirs = Client(stock.connection)
        theirs.wait_ready()
        a = round_trips(ours, count)
        b = round_trips(theirs, count)
        first_a = [ours.first_text("print(1)\nimport time; time.sleep(0.05)") for _ in range(10)]
        first_b = [theirs.first_text("print(1)\nimport time; time.sleep(0.5)") for _ in range(5)]
        theirs.close()
    server.run("rtt", "1")
    over_http = []
    for _ in range(count):
        start = time.perf_counter()
        server.run("rtt", "1+1")
        over_http.append(time.perf_counter() - start)
    ours.close()
    ratio = p50(b) / p50(a)
    return [
        ("`1+1` round trip, ZeroMQ", "0.5 ms, 6x", f"{ms(p50(a))} (p95 {ms(p95(a))}), {ratio:.1f}x", ms(p50(b))),
        ("`1+1` round trip, HTTP", "0.6 ms", f"{ms(p50(over_http))} (p95 {ms(p95(over_http))})", "-"),
        ("first `print` visible, then sleeping", "10 ms", ms(p50(first_a)), ms(p50(first_b))),
    ]


def measure_completion(server: Cellbox) -> list[Row]:
    def first(client: Client) -> float:
        client.wait_ready()
        client.execute(FRAME)
        took, reply = client.request("complete_request", {"code": "df.", "cursor_pos": 3})
        assert len(reply["matches"]) > 50, len(reply["matches"])
        client.close()
        return took

    ours = [first(Client(server.zmq(f"complete{i}"))) for i in range(5)]
    theirs = []
    for _ in range(3):
        with Stock() as stock:
            theirs.append(first(Client(stock.connection)))
    return [("first DataFrame completion", "100 ms", ms(p50(ours)), ms(p50(theirs)))]


def measure_output(server: Cellbox) -> list[Row]:
    rows: list[Row] = []
    ours = Client(server.zmq("output"))
    ours.wait_ready()
    with Stock() as stock:
        theirs = Client(stock.connection)
        theirs.wait_ready()
        for name, code, want in OUTPUTS:
            before = server.memory("cbx-gateway", "Rss")
            a = [ours.execute(code) for _ in range(3)]
            grown = server.gateway_peak() - before
            b = [theirs.execute(code) for _ in range(3)]
            assert all(n == want for _, n in a), [n for _, n in a]
            start = time.perf_counter()
            text = "".join(server.run("output", code)["logs"]["stdout"])
            http = time.perf_counter() - start
            assert len(text) == want, len(text)
            rows.append(
                (
                    f"{name}, complete, ZeroMQ (as one JSON over HTTP); gateway memory",
                    "stock's rate, +32 MiB",
                    f"{ms(p50([t for t, _ in a]))} ({ms(http)}); +{max(grown, 0):.0f} MiB",
                    ms(p50([t for t, _ in b])),
                )
            )
        theirs.close()
    ours.close()
    return rows


def measure_density(count: int) -> list[Row]:
    with Cellbox(pool=0) as server:
        server.run("base", "1")
        times = []
        created = server.memory("cbx-python") + server.memory("cbx-init")
        for i in range(count):
            start = time.perf_counter()
            server.call("PUT", f"/v1/sandboxes/many{i}", {})
            server.call("POST", f"/v1/sandboxes/many{i}/contexts", {})
            times.append(time.perf_counter() - start)
        time.sleep(2)
        contexts = (server.memory("cbx-python") - created) / count
        inits = (server.memory("cbx-init")) / count
        for i in range(count):
            done = server.run(f"many{i}", "1+1")
            assert done["results"][0]["data"]["text/plain"] == "2"
        used = (server.memory("cbx-python") - created) / count
        gateway = server.memory("cbx-gateway")
    with Stock() as stock:
        client = Client(stock.connection)
        client.wait_ready()
        client.execute(IMPORTS)
        text = Path(f"/proc/{stock.pid}/smaps_rollup").read_text()
        theirs = next(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:")) / 1024
        client.close()
    n = min(100, count // 3)
    first, last = p95(times[:n]), p95(times[-n:])
    middle = p50(times[-n:]) / p50(times[:n])
    return [
        (
            f"one more context, PSS, with {count} alive: created / after `1+1` (init of its box: {inits:.1f} MiB)",
            "3 / 6 MiB",
            f"{contexts:.1f} / {used:.1f} MiB",
            f"{theirs:.0f} MiB",
        ),
        (
            f"{count} boxes one after another, all answering: p95 of the last {n} against the first {n}",
            "1.5x",
            f"{last / first:.2f}x ({ms(first)}, {ms(last)}); medians {middle:.2f}x; gateway {gateway:.0f} MiB",
            "-",
        ),
    ]
