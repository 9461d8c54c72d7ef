"""Micro-benchmark of the Node runner, without gateway and sandbox.

    CELLBOX_BUILD_DIR=build build/venv/bin/python tests/bench/node_micro.py

Prints: start to SETUP done, first cells, `1+1` EXECUTE to DONE, a cell of 50 lines in both languages, streaming,
interrupts, memory. Wall time seen by the asking process; needs root, as the tests of the runner do.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit/node_runner"))

import nodes
from harness import WARMUP, Run

STARTS = 8
TYPED = "\n".join(
    f"function f{i}<T extends {{ a: number }}>(x: T, y?: string): number {{ const z: number = x.a + {i}; return z }}"
    for i in range(49)
)
PLAIN = "\n".join(f"function f{i}(x, y) {{ const z = x.a + {i}; return z }}" for i in range(49))


def ms(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def p50(values: list[float]) -> str:
    ordered = sorted(values)
    return (
        f"p50 {statistics.median(ordered):7.2f} ms  min {ordered[0]:7.2f}  p95 {ordered[int(len(ordered) * 0.95)]:7.2f}"
    )


def memory(pid: int) -> str:
    """PSS and private memory, MiB."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        found[key] = int(value.split()[0]) / 1024
    return f"PSS {found['Pss']:.1f} MiB, private {found['Private_Dirty']:.1f} MiB ({STARTS} alive)"


def starts(init: nodes.Init) -> list[nodes.Node]:
    contexts: list[nodes.Node] = []
    times = [ms(lambda: contexts.append(init.node())) for _ in range(STARTS)]
    print("start to SETUP done        ", p50(times))
    print("first cell                 ", p50([ms(lambda c=c: c.run("1+1")) for c in contexts[:4]]))  # type: ignore[misc]
    for context in contexts[4:]:
        context.ask(WARMUP, {})
    print("memory, warmed up          ", memory(contexts[-1].pid))
    print("first cell after warm-up   ", p50([ms(lambda c=c: c.run("1+1")) for c in contexts[4:]]))  # type: ignore[misc]
    return contexts


def cells(javascript: nodes.Node, typescript: nodes.Node) -> None:
    print("1+1                        ", p50([ms(lambda: javascript.run("1+1")) for _ in range(500)]))
    for name, context, code in (("JavaScript", javascript, PLAIN), ("TypeScript", typescript, TYPED)):
        first = ms(lambda context=context, code=code: context.run(code))  # type: ignore[misc]
        rest = [ms(lambda context=context, code=code: context.run(code)) for _ in range(60)]  # type: ignore[misc]
        print(f"50 lines of {name}     ", p50(rest), f" first {first:.1f}")
    print("first enum                 ", f"{ms(lambda: typescript.run('enum A { X }')):.1f} ms")
    lines = "for (let i = 0; i < 100000; i++) console.log(i, 'abcdefghijklmnopqrstuvwxyz')"
    print("100,000 lines              ", f"{ms(lambda: javascript.run(lines)):.0f} ms")


def interrupts(context: nodes.Node) -> None:
    for name, code in (("busy loop", "for (;;);"), ("await", "await new Promise(() => {})")):
        times = []
        for _ in range(10):
            run = Run(context.start(f"console.log('begun'); {code}"))
            context.wait_text(run, "begun")
            start = time.perf_counter()
            context.interrupt(run.req)
            context.collect(run.req, run=run)
            times.append((time.perf_counter() - start) * 1e3)
        print(f"interrupt of {name:14}", p50(times))


def main() -> None:
    with tempfile.TemporaryDirectory() as work, nodes.started(Path(work)) as init:
        contexts = starts(init)
        cells(contexts[0], init.node("typescript"))
        interrupts(contexts[1])


if __name__ == "__main__":
    main()
