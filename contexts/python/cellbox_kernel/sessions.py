"""History on disk: one file of JSON lines per session below ``~/.cellbox/history``.

Appending to an own file needs no lock and no database, and what was written survives however the process ends. The
contexts of a box see each other's sessions. Sizes are bounded; a disk that takes nothing costs the history, no cell.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SESSIONS_MAX = 200  # kept files
TOTAL_MAX = 32 << 20  # bytes of all of them
FILE_MAX = 4 << 20  # bytes of one session; the older half goes
INPUT_MAX = 256 << 10  # characters of a cell that are kept on disk
OUTPUT_MAX = 4096  # characters of a result that are kept on disk
PRUNE_EVERY = 16  # sessions: then the sizes are looked at
_SUFFIX = ".jsonl"

Line = tuple[str, str, str | None]  # raw input, transformed input, output


def directory() -> str:
    return os.path.expanduser("~/.cellbox/history")  # noqa: PTH111 - a Path costs a new context more memory


def _number(name: str) -> int:
    """The session of a file; 0 for other files."""
    stem = name[: -len(_SUFFIX)]
    return int(stem) if name.endswith(_SUFFIX) and stem.isdigit() else 0


def numbers() -> list[int]:
    """Sessions on disk, oldest first."""
    try:
        names = os.listdir(directory())  # noqa: PTH208
    except OSError:
        return []
    return sorted(filter(None, map(_number, names)))


def _path(number: int) -> str:
    return f"{directory()}/{number:08}{_SUFFIX}"


def _records(number: int) -> Iterator[list[Any]]:
    try:
        text = Path(_path(number)).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the end of a write that was cut short
        if isinstance(record, list) and len(record) >= 3 and isinstance(record[1], (int, float)):
            yield record


def read(number: int) -> dict[int, Line]:
    """The lines of a session by their number, in order of execution."""
    lines: dict[int, Line] = {}
    for kind, line, text, *more in _records(number):
        if kind == "i" and isinstance(text, str):
            parsed = more[0] if more and isinstance(more[0], str) else text
            lines[int(line)] = text, parsed, None
        elif kind == "o" and int(line) in lines and isinstance(text, str):
            raw, parsed, _ = lines[int(line)]
            lines[int(line)] = raw, parsed, text
    return lines


def started(number: int) -> float | None:
    """When a session began, seconds since 1970."""
    for kind, moment, *_ in _records(number):
        return float(moment) if kind == "s" else None
    return None


class Writer:
    """The session of one context. Its file is made with the first line that is written."""

    def __init__(self) -> None:
        self.number = 0
        self._size = 0

    def append(self, records: list[list[Any]]) -> bool:
        """Write what is to be kept; False when the disk does not take it."""
        data = b"".join(json.dumps(r, separators=(",", ":")).encode() + b"\n" for r in records if _fits(r))
        if not data:
            return True
        try:
            if not self.number:
                self._begin()
            fd = os.open(_path(self.number), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)
            self._size += len(data)
            if self._size > FILE_MAX:
                self._halve()
        except (OSError, RuntimeError):  # no room, no home, a read-only disk
            return False
        return True

    def _begin(self) -> None:
        os.makedirs(directory(), mode=0o700, exist_ok=True)  # noqa: PTH103
        known = numbers()
        number = known[-1] + 1 if known else 1
        head = json.dumps(["s", round(time.time(), 3), os.getpid()]).encode() + b"\n"
        while True:
            try:
                fd = os.open(_path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                break
            except FileExistsError:  # another context of the box was faster
                number += 1
        try:
            os.write(fd, head)
        finally:
            os.close(fd)
        self.number, self._size = number, len(head)
        if len(known) >= SESSIONS_MAX or number % PRUNE_EVERY == 0:
            _prune(known)

    def _halve(self) -> None:
        path = Path(_path(self.number))
        lines = path.read_bytes().splitlines(keepends=True)
        kept = lines[:1] + lines[len(lines) // 2 :]
        new = path.with_suffix(".new")
        new.write_bytes(b"".join(kept))
        new.replace(path)
        self._size = sum(map(len, kept))


def _fits(record: list[Any]) -> bool:
    return record[0] != "i" or len(record[2]) <= INPUT_MAX


def _prune(known: list[int]) -> None:
    """Forget the oldest sessions beyond the bounds."""
    total = 0
    for count, number in enumerate(reversed(known), 1):
        path = Path(_path(number))
        try:
            total += path.stat().st_size
            if count >= SESSIONS_MAX or total > TOTAL_MAX:
                path.unlink()
        except OSError:
            continue
