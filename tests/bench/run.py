"""./bootstrap bench: figures of Cellbox beside stock software, measured in one run; writes docs/benchmarks.md.

Wall times on a shared machine are noisy: compare the columns of one run, not runs. Medians unless a row says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import computer_figures
import egress_figures
import javascript_figures
import program_figures
import python_figures
import server_figures
from figures import Row, touch_memory
from peers import ROOT, Cellbox, StockServer

HEADS: dict[str, tuple[str, ...]] = {
    "Python": ("stock ipykernel, jupyter_server",),
    "Programs": ("bubblewrap; a local terminal",),
    "Files, previews, sleep": (),
    "JavaScript and TypeScript": ("tslab", "deno jupyter", "Node's own start"),
    "Egress": ("nginx as a proxy, squid, mitmproxy",),
}
PARTS = (
    "start",
    "rtt",
    "complete",
    "output",
    "density",
    "websocket",
    "crowd",
    "neighbours",
    "programs",
    "egress",
    "computer",
    "javascript",
)
LOAD = os.getloadavg()[0]


def table(title: str, rows: list[Row]) -> list[str]:
    columns = ("what", "reach", "Cellbox", *HEADS[title])
    return [
        f"## {title}",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def write_tables(tables: dict[str, list[Row]], seconds: float, path: Path) -> None:
    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), "?"
    )
    lines = [
        "# Benchmarks",
        "",
        "Made by `./bootstrap bench`: Cellbox and stock software in the same run, on the same machine. Medians; wall "
        "times on a shared machine vary, so compare the columns of one run.",
        "",
        f"Machine: {os.cpu_count()} x {cpu}, Linux {platform.release()}; load before the run {LOAD:.1f}; "
        f"the run took {seconds:.0f} s.",
        "",
        *(line for title, rows in tables.items() if rows for line in table(title, rows)),
    ]
    notes = ROOT / "docs" / "benchmarks-notes.md"
    if notes.exists():
        lines.append(notes.read_text().strip())
    path.write_text("\n".join(lines).rstrip() + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--only", choices=PARTS, action="append", help="these parts alone; no table is written")
    parser.add_argument("--boxes", type=int, default=500, help="boxes of the density rows")
    parser.add_argument("--clients", type=int, default=200, help="WebSocket clients at once")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.md")
    args = parser.parse_args()
    if os.geteuid():
        print("the benchmark starts servers and needs root", file=sys.stderr)
        return 2
    began = time.monotonic()
    wanted = args.only or PARTS
    tables: dict[str, list[Row]] = {title: [] for title in HEADS}

    def part(name: str, work: Callable[[], list[Row]], title: str = "Python") -> None:
        if name not in wanted:
            return
        print(f"[{time.monotonic() - began:4.0f}s] {name}", flush=True)
        for row in work():
            print("    " + " | ".join(row), flush=True)
            tables[title].append(row)

    touch_memory(1 if args.quick else 4)
    part("start", lambda: python_figures.measure_start(args.quick))
    if {"rtt", "complete", "output"} & set(wanted):
        with Cellbox(pool=4) as server:
            part("rtt", lambda: python_figures.measure_round_trip(server, args.quick))
            part("complete", lambda: python_figures.measure_completion(server))
            part("output", lambda: python_figures.measure_output(server))
    if {"websocket", "crowd"} & set(wanted):
        with StockServer() as stock:
            with Cellbox(pool=4) as server:
                part("websocket", lambda: server_figures.measure_life(server, stock, args.quick))
                part("websocket", lambda: server_figures.measure_output(server, stock))
            part("crowd", lambda: server_figures.measure_crowd(stock, 20 if args.quick else args.clients))
    part("neighbours", lambda: server_figures.measure_neighbours(args.quick))
    part("density", lambda: python_figures.measure_density(60 if args.quick else args.boxes))
    part("programs", lambda: program_figures.measure(args.quick), "Programs")
    part("computer", lambda: computer_figures.measure(args.quick), "Files, previews, sleep")
    part("javascript", lambda: javascript_figures.measure(args.quick), "JavaScript and TypeScript")
    part("egress", lambda: egress_figures.measure(args.quick), "Egress")
    if not args.only and not args.quick:
        write_tables(tables, time.monotonic() - began, args.output)
    (ROOT / "build" / "bench.json").write_text(json.dumps(tables, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
