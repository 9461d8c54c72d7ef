"""JSON that always leaves the process: whatever a user's object put into a MIME bundle.

The fast way is one C call. Only when that fails (NaN, a lone surrogate, an odd object) the value is
walked: NaN becomes null, a surrogate U+FFFD, bytes base64, and what has no JSON form is dropped by
itself, not with the rest.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

MIME_MAX = 60 << 20  # bytes of one message; the protocol carries 64 MiB
DEPTH_MAX = 100

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def dump(value: Any) -> bytes:
    """UTF-8 JSON of a value; never raises for the value's sake."""
    try:
        return _encode(value).encode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _encode(clean(value)).encode()


def _text(s: str) -> str:
    try:
        s.encode()
        return str(s)
    except UnicodeEncodeError:
        return s.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Unencodable(Exception):
    """A value that has no JSON form."""


def _clean(value: Any, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if depth > DEPTH_MAX:
        raise Unencodable
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b64encode(bytes(value)).decode()
    if isinstance(value, Mapping):
        return _clean_mapping(value, depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean_or_none(v, depth + 1) for v in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    for method in ("item", "isoformat"):
        convert = getattr(type(value), method, None)
        if convert is not None:
            try:
                return _clean(convert(value), DEPTH_MAX)
            except Exception:
                break
    raise Unencodable


def _clean_or_none(value: Any, depth: int) -> Any:
    try:
        return _clean(value, depth)
    except Unencodable:
        return None


def _clean_mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for k, v in value.items():
        try:
            out[_text(k) if isinstance(k, str) else str(k)] = _clean(v, depth + 1)
        except Unencodable:
            continue
    return out


def clean(value: Any) -> Any:
    """A copy of value that json accepts; parts without a JSON form are dropped (in lists: null)."""
    return _clean_or_none(value, 0)


def bundle(data: Mapping[str, Any]) -> bytes:
    """JSON of a MIME bundle. Binary data becomes base64; what is too large is named, not sent."""
    if any(isinstance(v, (bytes, bytearray, memoryview)) for v in data.values()):
        data = {
            k: b64encode(v).decode() if isinstance(v, (bytes, bytearray, memoryview)) else v for k, v in data.items()
        }
    out = dump(data)
    if len(out) <= MIME_MAX:
        return out
    kept: dict[str, Any] = {}
    dropped = []
    room = MIME_MAX - 65536
    for mime, value in sorted(data.items(), key=lambda item: len(dump(item[1]))):
        size = len(dump(value))
        if size <= room:
            kept[mime] = value
            room -= size
        else:
            dropped.append(f"{mime}: {size / (1 << 20):.0f} MiB")
    note = f"[output too large to show, limit {MIME_MAX >> 20} MiB: {', '.join(dropped)}]"
    kept["text/plain"] = f"{kept['text/plain']}\n{note}" if isinstance(kept.get("text/plain"), str) else note
    return dump(kept)
