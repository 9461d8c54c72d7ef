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


@dataclasses.dataclass(frozen=True)
class _Member:
    name: str
    key: str
    read: Callable[[Any], Any] | None
    required: bool


@cache
def _members(kind: Any) -> tuple[_Member, ...]:
    def member(f: dataclasses.Field[Any]) -> _Member:
        read = f.metadata.get("read") or (read_time if str(f.type).startswith("datetime") else None)
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        return _Member(f.name, f.metadata.get("wire", camel(f.name)), read, required)

    return tuple(member(f) for f in dataclasses.fields(kind))


def decode(kind: type[T], wire: dict[str, Any], **known: Any) -> T:
    """A dataclass from an object of the wire; ``known`` gives members that are not in it."""
    values = dict(known)
    for member in _members(kind):  # type: ignore[arg-type]
        value = wire.get(member.key)
        if member.name not in values and (value is not None or (member.required and member.key in wire)):
            values[member.name] = member.read(value) if member.read and value is not None else value
    return kind(**values)


def body(**members: Any) -> dict[str, Any]:
    """A body: members that are None are left out, names become camelCase."""
    return {camel(name): value for name, value in members.items() if value is not None}


def milliseconds(seconds: float | None) -> int | None:
    """Times of this library are seconds, those of the wire milliseconds; never less than 1."""
    return None if seconds is None else max(1, round(seconds * 1000))


def idle_time(value: float | str | None) -> int | str | None:
    """Seconds, or a text such as "10m", as the wire has it; 0 is never."""
    return value if value is None or isinstance(value, str) else round(value * 1000)


def output_bytes(data: str, encoding: str | None) -> bytes:
    """Output came as text, or as base64 because it is no text."""
    return base64.b64decode(data) if encoding == "base64" else data.encode()
