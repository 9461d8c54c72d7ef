"""Input history of a context: in memory, bounded; no database, no thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from typing import Any

from IPython.core.history import HistoryManager
from traitlets import Bool, Unicode

INPUTS_MAX = 20000
OUTPUTS_MAX = 1000


class MemoryHistory(HistoryManager):
    """``In`` and the answers to history requests. Line n is the cell with execution count n."""

    enabled = Bool(False)
    hist_file = Unicode(":memory:")  # type: ignore[assignment]

    in_lane = False  # of a subshell: ``In`` and ``_i`` of the namespace are the main shell's

    # Plain attributes instead of traits: they change with every cell.
    _i00: Any = ""
    _i: Any = ""
    _ii: Any = ""
    _iii: Any = ""

    def __init__(self, *args: Any, lane: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_lane = lane

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

    def remember_output(self, line_num: int, text: str) -> None:
        reprs = self.output_hist_reprs
        reprs[line_num] = text if len(text) <= 65536 else text[:65536]
        if len(reprs) > OUTPUTS_MAX:
            del reprs[next(iter(reprs))]

    def store_output(self, line_num: int) -> None:
        pass

    def writeout_cache(self, conn: Any = None) -> None:
        pass

    def end_session(self) -> None:
        pass

    def _entry(self, line: int, raw: bool, output: bool) -> tuple[int, int, Any]:
        text = (self.input_hist_raw if raw else self.input_hist_parsed)[line]
        return 1, line, (text, self.output_hist_reprs.get(line)) if output else text

    def _lines(self) -> Iterator[int]:
        return (n for n in range(1, len(self.input_hist_raw)) if self.input_hist_raw[n])

    def get_tail(  # type: ignore[override]
        self, n: int | None = 10, raw: bool = True, output: bool = False, include_latest: bool = False
    ) -> list[tuple[int, int, Any]]:
        lines = list(self._lines())
        if not include_latest:
            lines = lines[:-1]
        count = 10 if n is None else max(n, 0)
        return [self._entry(line, raw, output) for line in (lines[-count:] if count else [])]

    def search(  # type: ignore[override]
        self,
        pattern: str = "*",
        raw: bool = True,
        search_raw: bool = True,
        output: bool = False,
        n: int | None = None,
        unique: bool = False,
    ) -> list[tuple[int, int, Any]]:
        texts = self.input_hist_raw if search_raw else self.input_hist_parsed
        lines = [line for line in self._lines() if fnmatch(texts[line], pattern or "*")]
        if unique:
            latest = {texts[line]: line for line in lines}
            lines = sorted(latest.values())
        if n is not None:
            lines = lines[-n:] if n > 0 else []
        return [self._entry(line, raw, output) for line in lines]

    def get_range(
        self, session: int = 0, start: int = 1, stop: int | None = None, raw: bool = True, output: bool = False
    ) -> Iterable[tuple[int, int, Any]]:
        if session not in (0, 1):
            return []
        return self._get_range_session(start, stop, raw, output)

    def get_range_by_str(self, rangestr: str, raw: bool = True, output: bool = False) -> Iterable[tuple[int, int, Any]]:
        return super().get_range_by_str(rangestr, raw, output)


def answer(history: MemoryHistory, content: dict[str, Any]) -> list[Any]:
    """The ``history`` list of a history_reply."""
    raw, output = bool(content.get("raw", True)), bool(content.get("output", False))
    kind = content.get("hist_access_type", "tail")
    if kind == "tail":
        return history.get_tail(content.get("n"), raw, output, include_latest=True)
    if kind == "search":
        return history.search(
            content.get("pattern") or "*", raw, output=output, n=content.get("n"), unique=bool(content.get("unique"))
        )
    if kind == "range":
        session, start, stop = content.get("session") or 0, content.get("start") or 0, content.get("stop")
        return list(history.get_range(session, max(int(start), 1), stop, raw, output))
    return []
