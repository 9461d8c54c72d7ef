"""Variables of the namespace while nothing is stopped, as the debugger shows them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

FIRST_REFERENCE = 1 << 30  # pydevd counts its own from 1
TEXT_MAX = 2000
CHILDREN_MAX = 1000
_LEAVES = (str, bytes, int, float, complex, bool, type(None), type, bytearray)


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as e:
        text = f"<repr() failed: {type(e).__name__}>"
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"


def _attributes(value: Any) -> Iterable[tuple[str, Any, str]]:
    names = getattr(value, "__dict__", None)
    if isinstance(names, Mapping):
        for name in list(names):
            yield str(name), names[name], f".{name}"
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if not name.startswith("__") and hasattr(value, name):
                yield name, getattr(value, name), f".{name}"


def _children(value: Any) -> Iterable[tuple[str, Any, str]]:
    """(name, value, how to get it from the parent)."""
    if isinstance(value, Mapping):
        for key in list(value):
            yield _text(key), value[key], f"[{_text(key)}]"
    elif isinstance(value, (list, tuple)):
        for n, item in enumerate(value):
            yield str(n), item, f"[{n}]"
    elif isinstance(value, (set, frozenset)):
        for n, item in enumerate(value):
            yield str(n), item, ""
    yield from _attributes(value)


class Variables:
    """Hands out references that stay valid until the next list of all variables."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._referred: dict[int, tuple[Any, str]] = {}
        self._references = itertools.count(FIRST_REFERENCE)

    def top(self) -> list[dict[str, Any]]:
        """What the user has put into the namespace."""
        self._referred.clear()
        namespace, hidden = self._shell.user_ns, self._shell.user_ns_hidden
        missing = object()
        names = [
            name
            for name, value in list(namespace.items())
            if not name.startswith("_") and hidden.get(name, missing) is not value
        ]
        return [self._entry(name, namespace[name], name) for name in sorted(names) if name in namespace]

    def known(self, reference: Any) -> bool:
        return isinstance(reference, int) and reference >= FIRST_REFERENCE

    def children(self, reference: int, start: int = 0, count: int = 0) -> list[dict[str, Any]]:
        value, path = self._referred.get(reference, ((), ""))
        last = start + min(count or CHILDREN_MAX, CHILDREN_MAX)
        found = itertools.islice(_children(value), start, last)
        return [self._entry(name, child, path + way if path and way else "") for name, child, way in found]

    def evaluated(self, value: Any, expression: str) -> dict[str, Any]:
        """Body of an evaluate response."""
        entry = self._entry(expression, value, expression)
        return {"result": entry["value"], "type": entry["type"], "variablesReference": entry["variablesReference"]}

    def _entry(self, name: str, value: Any, path: str) -> dict[str, Any]:
        reference = 0
        if not isinstance(value, _LEAVES) and next(iter(_children(value)), None) is not None:
            reference = next(self._references)
            self._referred[reference] = value, path
        return {
            "name": name,
            "value": _text(value),
            "type": type(value).__name__,
            "evaluateName": path,
            "variablesReference": reference,
        }
