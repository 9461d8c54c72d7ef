"""What every subject of the benchmark shares: rows of the table and their numbers."""

from __future__ import annotations

import statistics

IMPORTS = "import numpy, pandas, matplotlib"
LINES = "for i in range(100_000): print(i, 'abcdefghijklmnopqrstuvwxyz')"
LINES_CHARACTERS = 3_288_890
BIG = "import sys; _ = sys.stdout.write('x' * 50_000_000)"
BIG_CHARACTERS = 50_000_000
# what, reach, Cellbox, stock
Row = tuple[str, ...]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def p50(values: list[float]) -> float:
    return statistics.median(values)


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def touch_memory(gib: int) -> None:
    """The first touch of a page that the host has not backed costs ten times more: do it before measuring."""
    block = bytearray(gib << 30)
    for at in range(0, len(block), 4096):
        block[at] = 1
    del block
