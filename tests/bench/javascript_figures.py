"""JavaScript and TypeScript contexts, beside tslab, `deno jupyter` and Node itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq
from figures import Row, ms, p50, p95
from js_peers import Kernel
from peers import Cellbox
from zmqclient import Client

PEERS = {"javascript": ("tslab js", "deno"), "typescript": ("tslab ts", "deno")}
NODE_START = """
import subprocess, time
times = []
for _ in range(15):
    start = time.perf_counter()
    subprocess.run(["node", "-e", "1+1"], check=True)
    times.append(time.perf_counter() - start)
sorted(times)[7]
"""


def cell(language: str, number: int) -> str:
    """Fifty lines that differ from run to run only in a name, as a user's next edit would."""
    typed = language == "typescript"
    number_of, list_of = (": number", ": number[]") if typed else ("", "")
    lines = [f"function step{number}(value{number_of}, rest{list_of}){number_of} {{", "    let sum = value;"]
    lines += [f"    sum += rest[{i} % rest.length] * {i};" for i in range(44)]
    lines += ["    return sum;", "}", f"const input{number}{list_of} = [1, 2, 3];", f"step{number}(1, input{number})"]
    return "\n".join(lines)


def cells(client: Client, language: str, count: int) -> list[float]:
    for i in range(5):
        client.execute(cell(language, i))
    return [client.execute(cell(language, 100 + i))[0] for i in range(count)]


def trips(client: Client, count: int) -> list[float]:
    for _ in range(30):
        client.execute("1+1")
    return [client.execute("1+1")[0] for _ in range(count)]


def peer_starts(name: str, count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        with Kernel(name) as kernel:
            kernel.client.wait_ready()
            kernel.client.execute("1+1")
            times.append(time.perf_counter() - start)
    return times


def peer(name: str, measure: Callable[[Client], list[float]]) -> float:
    with Kernel(name) as kernel:
        kernel.client.wait_ready()
        return p50(measure(kernel.client))


def guarded(work: Callable[[], str]) -> str:
    """Other people's kernels hang or die now and then: that is their figure then, not the end of the run."""
    try:
        return work()
    except (zmq.Again, TimeoutError):
        return "n/a (no answer)"
    except (OSError, RuntimeError, AssertionError) as e:
        return f"n/a ({e})"


def first_results(server: Cellbox, count: int, pooled: bool) -> list[float]:
    """Seconds from nothing to the value of a cell: a new box from the pool, or one more context in a box that lives."""
    times = []
    for i in range(count):
        time.sleep(0.4 if pooled else 0.05)
        box = f"js{i}" if pooled else "js-existing"
        start = time.perf_counter()
        if pooled:
            done = server.call("POST", f"/v1/sandboxes/{box}/run", {"code": "1+1", "language": "javascript"})
        else:
            made = server.call("POST", f"/v1/sandboxes/{box}/contexts", {"language": "javascript"})
            done = server.call("POST", f"/v1/sandboxes/{box}/contexts/{made['id']}/run", {"code": "1+1"})
        times.append(time.perf_counter() - start)
        assert done["results"][0]["data"]["text/plain"] == "2", done
        if pooled:
            server.call("DELETE", f"/v1/sandboxes/{box}")
    return times


def idle_context(count: int) -> float:
    """MiB PSS of one more idle context, beside others."""
    with Cellbox(pool=0) as server:
        server.run("idle", "1")

        def memory_of(contexts: int) -> float:
            for _ in range(contexts):
                server.call("POST", "/v1/sandboxes/idle/contexts", {"language": "javascript"})
            end = time.monotonic() + 60
            while any(c["state"] == "starting" for c in contexts_of(server, "idle")):
                if time.monotonic() > end:
                    raise TimeoutError("a context does not start")
                time.sleep(0.05)
            time.sleep(2)  # collectors run when nothing happens
            return server.memory("cbx-node")

        first = memory_of(2)
        return (memory_of(count) - first) / count


def contexts_of(server: Cellbox, box: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = server.call("GET", f"/v1/sandboxes/{box}/contexts")["contexts"]
    return found


def peer_memory(name: str) -> str:
    with Kernel(name) as kernel:
        kernel.client.wait_ready()
        return f"{kernel.memory():.0f} MiB"


def client_of(server: Cellbox, language: str) -> Client:
    client = Client(server.zmq(f"js-{language}", language), timeout=60)
    client.wait_ready()
    return client


def measure(quick: bool) -> list[Row]:
    """Rows: what, reach, Cellbox, tslab, deno jupyter, Node itself."""
    count = 8 if quick else 25
    starts = [guarded(lambda n=name: ms(p50(peer_starts(n, 3 if quick else 7)))) for name in PEERS["javascript"]]  # type: ignore[misc]
    with Cellbox(pool=4) as server:
        node = ms(float(server.run("node", NODE_START)["results"][0]["data"]["text/plain"]))
        pooled = first_results(server, count, pooled=True)
        server.run("js-existing", "1")
        existing = first_results(server, count, pooled=False)
        js, ts = client_of(server, "javascript"), client_of(server, "typescript")
        trip = trips(js, 100 if quick else 500)
        longer = {"javascript": p50(cells(js, "javascript", 50)), "typescript": p50(cells(ts, "typescript", 50))}
        js.close()
        ts.close()
    trip_peers = [guarded(lambda n=name: ms(peer(n, lambda c: trips(c, 100)))) for name in PEERS["javascript"]]  # type: ignore[misc]
    cell_peers = [
        guarded(
            lambda j=j, t=t: " / ".join(  # type: ignore[misc]
                ms(peer(n, lambda c, lang=lang: cells(c, lang, 50)))  # type: ignore[misc]
                for n, lang in ((j, "javascript"), (t, "typescript"))
            )
        )
        for j, t in zip(PEERS["javascript"], PEERS["typescript"], strict=True)
    ]
    memory_peers = [guarded(lambda n=name: peer_memory(n)) for name in PEERS["javascript"]]  # type: ignore[misc]
    memory = idle_context(5)
    name = "create JavaScript context to first result"
    more = longer["typescript"] - longer["javascript"]
    return [
        (f"{name}, new box, pool warm", "3 ms", f"{ms(p50(pooled))} (p95 {ms(p95(pooled))})", *starts, node),
        (f"{name}, in a box that lives", "60 ms", f"{ms(p50(existing))} (p95 {ms(p95(existing))})", *starts, node),
        ("`1+1` round trip, ZeroMQ", "0.4 ms", f"{ms(p50(trip))} (p95 {ms(p95(trip))})", *trip_peers, "-"),
        (
            "cell of 50 lines, JavaScript / TypeScript",
            "2 ms more",
            f"{ms(longer['javascript'])} / {ms(longer['typescript'])} ({more * 1000:+.2f} ms)",
            *cell_peers,
            "-",
        ),
        ("one idle context, PSS", "16 MiB", f"{memory:.1f} MiB", *memory_peers, "-"),
    ]
