"""Types and signatures of completions that the completer had no time to infer, from the live objects.

Nothing of the user's is called: attributes are looked up without descriptors and ``__getattr__``.
"""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
import time
from types import ModuleType
from typing import Any

SIGNATURES_MS = 10
_OWNER = re.compile(r"((?:[^\W\d]\w*\.)+)$")
_missing = object()


def _name(namespace: dict[str, Any], name: str) -> Any:
    return namespace.get(name, builtins.__dict__.get(name, _missing))


def _owner(namespace: dict[str, Any], before: str) -> Any:
    """The object whose attributes are completed; missing when it is not a plain dotted name."""
    match = _OWNER.search(before)
    if match is None:
        return _missing
    first, *rest = match.group(1).rstrip(".").split(".")
    found = _name(namespace, first)
    for attribute in rest:
        found = _attribute(found, attribute)
        if isinstance(found, property):
            return _missing
    return found


def _attribute(owner: Any, name: str) -> Any:
    try:
        found = inspect.getattr_static(owner, name, _missing)
    except Exception:
        return _missing
    return found.__func__ if isinstance(found, (staticmethod, classmethod)) else found


def _kind(value: Any) -> str:
    if isinstance(value, ModuleType):
        return "module"
    if isinstance(value, type):
        return "class"
    if inspect.isroutine(value):
        return "function"
    return "property" if isinstance(value, property) else "instance"


def _signature(value: Any, bound: bool) -> str:
    try:
        signature = inspect.signature(value)
        if bound and inspect.isroutine(value):
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        return str(signature)
    except Exception:
        return ""


def fill(namespace: dict[str, Any], code: str, entries: list[dict[str, Any]]) -> None:
    """Complete the entries of ``_jupyter_types_experimental`` in place."""
    owners: dict[int, Any] = {}
    until = time.monotonic() + SIGNATURES_MS / 1000
    for entry in entries:
        if entry["type"] not in ("<unknown>", ""):
            continue
        text, start = entry["text"], entry["start"]
        if text.endswith("="):
            entry["type"] = "param"
            continue
        dotted = code[:start].endswith(".")
        if start not in owners:
            owners[start] = _owner(namespace, code[:start]) if dotted else _missing
        owner = owners[start]
        value = _attribute(owner, text) if dotted and owner is not _missing else _name(namespace, text)
        if dotted and owner is _missing:
            continue
        if value is _missing:
            if keyword.iskeyword(text):
                entry["type"] = "keyword"
            continue
        entry["type"] = _kind(value)
        if entry["type"] in ("function", "class") and not entry["signature"] and time.monotonic() < until:
            bound = dotted and not isinstance(owner, (type, ModuleType))
            entry["signature"] = _signature(value, bound)
