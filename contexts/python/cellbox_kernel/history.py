"""History: the own session in memory, bounded; it and earlier ones on disk (``sessions``). No database, no thread.

Disk is not touched by a cell that follows another at once: lines are written when the last writing is a while ago, or
when the context has become idle, or ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import _cellbox
from IPython.core.history import HistoryManager
from traitlets import Bool, Unicode

from . import sessions

INPUTS_MAX = 20000
OUTPUTS_MAX = 1000
WRITE_EVERY = 0.2  # seconds
PENDING_MAX = 500

Entry = tuple[int, int, Any]


class SessionHistory(HistoryManager):
    """``In`` and the answers to history requests. Line n is the cell with execution count n."""

    enabled = Bool(False)
    hist_file = Unicode(":memory:")  # type: ignore[assignment]
    in_lane = False  # of a subshell: in memory only; ``In`` and ``_i`` of the namespace are the main shell's

    # Plain attributes instead of traits: they change with every cell.
    _i00: Any = ""
    _i: Any = ""
    _ii: Any = ""
    _iii: Any = ""

    def __init__(self, *args: Any, lane: bool = False, **kwargs: Any) -> None:
        self.persists = False  # set where a context begins
        self.pending: list[list[Any]] = []
        self._written = 0.0
        self._writer = sessions.Writer()
        super().__init__(*args, **kwargs)
        self.in_lane = lane

    # Writing

    def store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> None:
        source = source.rstrip("\n")
        source_raw = source if source_raw is None else source_raw.rstrip("\n")
        if self._exit_re.match(source_raw.strip()):
            return
        raws, parsed = self.input_hist_raw, self.input_hist_parsed
        missing = line_num - len(raws)
        if 0 < missing < INPUTS_MAX:  # counts of cells that were not stored
            raws.extend([""] * missing)
            parsed.extend([""] * missing)
        raws.append(source_raw)
        parsed.append(source)
        old = len(raws) - INPUTS_MAX
        if old > 0:
            raws[old] = parsed[old] = ""
        self._iii, self._ii, self._i, self._i00 = self._ii, self._i, self._i00, source_raw
        if self.shell is None or self.in_lane:
            return
        ns, hidden = self.shell.user_ns, self.shell.user_ns_hidden
        inputs = {"_i": self._i, "_ii": self._ii, "_iii": self._iii, f"_i{line_num}": source_raw}
        ns.update(inputs)
        hidden.update(inputs)
        forgotten = f"_i{line_num - OUTPUTS_MAX}"
        ns.pop(forgotten, None)
        hidden.pop(forgotten, None)
        if self.persists:
            self.pending.append(["i", line_num, source_raw, None if source == source_raw else source])
            # Before the cell is run, which may end the process; a context's first cell should not wait for a new file.
            late = self._writer.number and time.monotonic() - self._written > WRITE_EVERY
            if late or len(self.pending) > PENDING_MAX:
                self.write()

    def remember_output(self, line_num: int, text: str) -> None:
        reprs = self.output_hist_reprs
        reprs[line_num] = text if len(text) <= 65536 else text[:65536]
        if len(reprs) > OUTPUTS_MAX:
            del reprs[next(iter(reprs))]
        if self.persists:
            self.pending.append(["o", line_num, text[: sessions.OUTPUT_MAX]])

    def write(self) -> None:
        """Bring to disk what is not yet there."""
        pending, self.pending = self.pending, []
        if pending and not _cellbox.is_detached():
            self._writer.append(pending)
            self._written = time.monotonic()

    def store_output(self, line_num: int) -> None:
        pass

    def writeout_cache(self, conn: Any = None) -> None:
        self.write()

    def end_session(self) -> None:
        self.write()

    def new_session(self, conn: Any = None) -> None:
        self._writer = sessions.Writer()

    def reset(self, new_session: bool = True) -> None:
        self.output_hist_reprs.clear()
        super().reset(new_session=False)
        if new_session:
            self.end_session()
            self.input_hist_parsed[:] = [""]
            self.input_hist_raw[:] = [""]
            self.new_session()

    def name_session(self, name: str) -> None:
        pass

    # Reading

    @property
    def session_number(self) -> int:  # type: ignore[override]
        """The own session; before its first line, what it would be."""
        return self._writer.number or (self._earlier() or [0])[-1] + 1

    @session_number.setter
    def session_number(self, value: int) -> None:
        pass

    def _earlier(self) -> list[int]:
        """The other sessions, oldest first."""
        if self.in_lane:
            return []
        return [n for n in sessions.numbers() if n != self._writer.number]

    def _entry(self, line: int, raw: bool, output: bool) -> Entry:
        text = (self.input_hist_raw if raw else self.input_hist_parsed)[line]
        return self.session_number, line, (text, self.output_hist_reprs.get(line)) if output else text

    def _own(self, raw: bool) -> Iterator[tuple[int, int, str, Any]]:
        """Session, line, text to search, output; newest first."""
        inputs, session = self.input_hist_raw if raw else self.input_hist_parsed, self.session_number
        for line in range(len(inputs) - 1, 0, -1):
            if inputs[line]:
                yield session, line, inputs[line], self.output_hist_reprs.get(line)

    def _all(self, raw: bool) -> Iterator[tuple[int, int, str, Any]]:
        """The own session, then the others, newest first. Files are read as they are needed."""
        yield from self._own(raw)
        for number in reversed(self._earlier()):
            for line, (text, parsed, output) in reversed(sessions.read(number).items()):
                yield number, line, text if raw else parsed, output

    def get_tail(  # type: ignore[override]
        self, n: int | None = 10, raw: bool = True, output: bool = False, include_latest: bool = False
    ) -> list[Entry]:
        found, count = self._all(raw), 10 if n is None else max(n, 0)
        if not include_latest:
            next(found, None)
        return _newest(found, count, output)

    def search(  # type: ignore[override]
        self,
        pattern: str = "*",
        raw: bool = True,
        search_raw: bool = True,
        output: bool = False,
        n: int | None = None,
        unique: bool = False,
    ) -> list[Entry]:
        pattern = pattern or "*"
        found = (e for e in self._all(search_raw) if fnmatchcase(e[2], pattern))
        entries = _newest(_first_of_each(found) if unique else found, n, output)
        if raw == search_raw:
            return entries
        return [self._as(session, line, raw, output) for session, line, _ in entries]

    def _as(self, session: int, line: int, raw: bool, output: bool) -> Entry:
        return next(iter(self.get_range(session, line, line + 1, raw, output)))

    def get_range(
        self, session: int = 0, start: int = 1, stop: int | None = None, raw: bool = True, output: bool = False
    ) -> Iterable[Entry]:
        if session == 0 or session == self._writer.number:
            own = self.session_number
            return [(own, line, text) for _, line, text in self._get_range_session(start, stop, raw, output)]
        if session < 0:
            own, before = self.session_number, self._earlier()
            before = [n for n in before if n < own]
            if -session > len(before):
                return []
            session = before[session]
        lines = sessions.read(session)
        last = max(lines, default=0) + 1
        first = start if start >= 0 else max(last + start, 1)
        end = last if stop is None else stop if stop >= 0 else last + stop
        return [
            (session, line, (kept[not raw], kept[2]) if output else kept[not raw])
            for line, kept in lines.items()
            if first <= line < end
        ]

    def get_range_by_str(self, rangestr: str, raw: bool = True, output: bool = False) -> Iterable[Entry]:
        return super().get_range_by_str(rangestr, raw, output)

    def get_last_session_id(self) -> int:
        return self.session_number

    def get_session_info(self, session: int = 0) -> Any:
        """(number, start, end, number of lines, remark); None for what is not known."""
        if session == 0 or session == self._writer.number:
            return self.session_number, datetime.now(), None, len(list(self._own(True))), ""
        number = session if session > 0 else next(iter(self._earlier()[session:]), 0)
        begun = sessions.started(number)
        return number, datetime.fromtimestamp(begun or 0), None, len(sessions.read(number)), ""


def _first_of_each(found: Iterable[tuple[int, int, str, Any]]) -> Iterator[tuple[int, int, str, Any]]:
    seen = set()
    for entry in found:
        if entry[2] not in seen:
            seen.add(entry[2])
            yield entry


def _newest(found: Iterable[tuple[int, int, str, Any]], count: int | None, output: bool) -> list[Entry]:
    """The first ``count`` of what comes newest first, oldest first."""
    entries: list[Entry] = []
    for session, line, text, result in found:
        if count is not None and len(entries) >= count:
            break
        entries.append((session, line, (text, result) if output else text))
    return entries[::-1]


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def answer(history: SessionHistory, content: dict[str, Any]) -> list[Any]:
    """The ``history`` list of a history_reply."""
    raw, output = bool(content.get("raw", True)), bool(content.get("output", False))
    kind, n = content.get("hist_access_type", "tail"), _whole(content.get("n"))
    history.write()
    if kind == "tail":
        return history.get_tail(n, raw, output, include_latest=True)
    if kind == "search":
        pattern = content.get("pattern")
        wanted = pattern if isinstance(pattern, str) and pattern else "*"
        return history.search(wanted, raw, output=output, n=n, unique=bool(content.get("unique")))
    if kind == "range":
        session, start = _whole(content.get("session")) or 0, _whole(content.get("start")) or 0
        return list(history.get_range(session, start or 1, _whole(content.get("stop")), raw, output))
    return []
