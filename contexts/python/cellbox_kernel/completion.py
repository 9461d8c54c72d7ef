"""complete, inspect, is_complete."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from IPython.core.completer import provisionalcompleter, rectify_completions
from IPython.utils.tokenutil import token_at_cursor

from . import kinds

TYPES_KEY = "_jupyter_types_experimental"
_prepared = False
_turn = threading.RLock()  # the completer keeps the text that it is asked about; subshells ask, too


def _prepare() -> None:
    """jedi keeps parsed modules below the home directory it saw when it was imported."""
    global _prepared
    _prepared = True
    try:
        import jedi
        import parso.cache

        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        parso.cache._default_cache_path = cache / "parso"  # type: ignore[attr-defined]
        jedi.settings.cache_directory = str(cache / "jedi")
    except Exception:
        pass


def forget() -> None:
    global _prepared
    _prepared = False


def complete(shell: Any, code: str, cursor: int) -> dict[str, Any]:
    """A complete_reply. Positions are code points."""
    if not _prepared:
        _prepare()
    cursor = max(0, min(cursor, len(code)))
    with _turn, provisionalcompleter():
        found = list(rectify_completions(code, shell.Completer.completions(code, cursor)))
    types = [
        {"start": c.start, "end": c.end, "text": c.text, "type": c.type or "<unknown>", "signature": c.signature or ""}
        for c in found
    ]
    kinds.fill(shell.user_ns, code, types)
    start, end = (found[0].start, found[0].end) if found else (cursor, cursor)
    return {
        "status": "ok",
        "matches": [c.text for c in found],
        "cursor_start": start,
        "cursor_end": end,
        "metadata": {TYPES_KEY: types},
    }


def inspect(shell: Any, code: str, cursor: int, detail: int) -> dict[str, Any]:
    """An inspect_reply: text/plain and text/html of the name at the cursor."""
    name = token_at_cursor(code, max(0, min(cursor, len(code))))
    try:
        data = shell.object_inspect_mime(name, detail_level=1 if detail else 0)
    except KeyError:
        return {"status": "ok", "found": False, "data": {}, "metadata": {}}
    return {"status": "ok", "found": True, "data": dict(data), "metadata": {}}


def is_complete(shell: Any, code: str) -> dict[str, Any]:
    status, indent = shell.input_transformer_manager.check_complete(code)
    if status == "incomplete":
        return {"status": status, "indent": " " * (indent or 0)}
    return {"status": status}
