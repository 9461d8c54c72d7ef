"""Micro-benchmark of the Python runner, without gateway and sandbox.

    CELLBOX_BUILD_DIR=build build/venv/bin/python tests/bench/runner_micro.py

Prints: fork to HELLO, first cells of a context, `1+1` EXECUTE to DONE, streaming, completion, memory. Microseconds are
wall time seen by the asking process, p50 of the runs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit/python_runner"))

import harness

HOME = Path(tempfile.mkdtemp(prefix="cellbox-bench-"))  # where the contexts keep their history


def us(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e6


def p50(values: list[float]) -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered):8.0f}  min {ordered[0]:8.0f}  p95 {ordered[int(len(ordered) * 0.95)]:8.0f}"


def memory(pid: int) -> tuple[int, int]:
    """PSS and private dirty, KiB."""
    pss = dirty = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            pss = int(line.split()[1])
        elif line.startswith("Private_Dirty:"):
            dirty = int(line.split()[1])
    return pss, dirty


def starts(init: harness.Init, count: int) -> None:
    hello, forks, first, second, third = [], [], [], [], []
    contexts = []
    for _ in range(count):
        start = time.perf_counter()
        context = init.context(HOME)
        hello.append((time.perf_counter() - start) * 1e6)
        contexts.append(context)
        forks.append(float(context.fork_us))
    ready = [memory(c.pid) for c in contexts]
    for context in contexts:
        first.append(us(partial(context.run, "1+1")))
    used = [memory(c.pid) for c in contexts]
    for context in contexts:
        second.append(us(partial(context.run, "1+1")))
        third.append(us(partial(context.run, "1+1")))
    print(f"fork in the zygote, us      {p50(forks)}")
    print(f"start to HELLO, us          {p50(hello)}")
    print(f"first 1+1, us               {p50(first)}")
    print(f"second 1+1, us              {p50(second)}")
    print(f"third 1+1, us               {p50(third)}")
    for name, values in (("ready", ready), ("after 1+1", used)):
        pss, dirty = (statistics.median(v) for v in zip(*values, strict=True))
        print(f"{name:10} x{count}: PSS {pss:.0f} KiB, private dirty {dirty:.0f} KiB")
    for context in contexts:
        context.send(harness.SHUTDOWN, [b"{}"])


def one(context: harness.Context) -> None:
    for _ in range(200):
        context.run("1+1")
    print(f"1+1 warm, us                {p50([us(lambda: context.run('1+1')) for _ in range(2000)])}")
    print(f"x = 1 warm, us              {p50([us(lambda: context.run('x = 1')) for _ in range(1000)])}")
    print(f"print(1) warm, us           {p50([us(lambda: context.run('print(1)')) for _ in range(1000)])}")
    print(f"await warm, us              {p50([us(lambda: context.run(AWAIT)) for _ in range(500)])}")


AWAIT = "import asyncio\nawait asyncio.sleep(0)"


def streams(context: harness.Context) -> None:
    context.run("import sys; big = 'x' * 99 + '\\n'; big *= 500_000")
    for name, code, size in (
        ("one 50 MB write", "sys.stdout.write(big); None", 50_000_000),
        ("100k prints", "for i in range(100_000): print(i, 'abcdefghijklmnopqrstuvwxyz')", None),
        ("5k prints, flush", "for i in range(5_000): print(i, flush=True)", None),
        ("os.system seq", "import os; os.system('seq 1 100000'); None", None),
    ):
        start = time.perf_counter()
        run = context.run(code)
        took = time.perf_counter() - start
        got = len(run.stream())
        assert size is None or got == size
        print(f"{name:20} {took:6.3f} s  {got / took / 1e6:6.1f} MB/s  {len(run.of(harness.STREAM))} messages")


def completions(init: harness.Init) -> None:
    context = init.context(HOME)
    context.run("import pandas as pd; df = pd.DataFrame({'alpha': [1], 'beta': [2]})")
    times = [us(lambda: context.ask(harness.COMPLETE, {"cursor_pos": 3}, b"df.")) for _ in range(10)]
    print(f"complete df., us            first {times[0]:8.0f}  then {statistics.median(times[1:]):8.0f}")
    times = [us(lambda: context.ask(harness.COMPLETE, {"cursor_pos": 5}, b"os.pa")) for _ in range(20)]
    print(f"complete os.pa, us          first {times[0]:8.0f}  then {statistics.median(times[1:]):8.0f}")
    times = [us(lambda: context.ask(harness.INSPECT, {"cursor_pos": 3}, b"len")) for _ in range(20)]
    print(f"inspect len, us             first {times[0]:8.0f}  then {statistics.median(times[1:]):8.0f}")


def main() -> None:
    init = harness.Init("warm")
    print(f"preload, ms                 {init.preload_us / 1000:.0f}")
    init.context(HOME).run("1+1")
    starts(init, 60)
    one(init.context(HOME))
    streams(init.context(HOME))
    completions(init)
    warmed = []
    for _ in range(10):
        context = init.context(HOME)
        context.ask(harness.WARMUP)
        context.run("1+1")
        context = init.context(HOME)
        context.ask(harness.WARMUP)
        warmed.append(us(partial(context.run, "1+1")))
    print(f"first 1+1 after WARMUP, us  {p50(warmed)}")
    init.close()


if __name__ == "__main__":
    main()
