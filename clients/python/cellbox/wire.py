"""From JSON of the server to dataclasses: camelCase to snake_case, times to datetime. Unknown members are ignored."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def camel(name: str) -> str:
    """``exit_code`` as ``exitCode``."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def snake(name: str) -> str:
    """``exitCode`` as ``exit_code``."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m[1].lower(), name)


def read_time(text: str) -> datetime:
    """RFC 3339 in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def time_field(**kw: Any) -> Any:
    """A field of a dataclass that holds a time."""
    return dataclasses.field(metadata={"read": read_time}, **kw)


@cache
def _members(kind: type) -> tuple[tuple[str, str, Callable[[Any], Any] | None], ...]:
    return tuple(
        (f.name, f.metadata.get("wire", camel(f.name)), f.metadata.get("read"))
        for f in dataclasses.fields(kind)
        if f.init
    )


def decode(kind: type[T], wire: dict[str, Any], **known: Any) -> T:
    """A dataclass from an object of the wire; ``known`` gives members that are not in it."""
    values = dict(known)
    for name, key, read in _members(kind):
        if name not in values and wire.get(key) is not None:
            values[name] = read(wire[key]) if read else wire[key]
    return kind(**values)


def body(**members: Any) -> dict[str, Any]:
    """A body: members that are None are left out, names become camelCase."""
    return {camel(name): value for name, value in members.items() if value is not None}


def milliseconds(seconds: float | None) -> int | None:
    """Times of this library are seconds, those of the wire milliseconds; never less than 1."""
    return None if seconds is None else max(1, round(seconds * 1000))


def output_bytes(data: str, encoding: str | None) -> bytes:
    """Output came as text, or as base64 because it is no text."""
    return base64.b64decode(data) if encoding == "base64" else data.encode()
