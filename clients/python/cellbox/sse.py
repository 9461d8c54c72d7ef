"""Server-sent events (the WHATWG format): bytes in any pieces in, events out. No I/O."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_LINE_END = re.compile("\r\n|\r|\n")


@dataclass(frozen=True)
class ServerEvent:
    """One event: its name, its data as text, and the last id that the stream has named."""

    type: str
    data: str
    id: str


class SseParser:
    """Parser of one stream.

    Pieces may be cut anywhere, also inside a character or between CR and LF. An event that is not ended by an empty
    line is not delivered, as the format demands.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._pending: list[str] = []
        self._data: list[str] = []
        self._type = ""
        self._id = ""
        self._after_cr = False

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Events that are complete with this piece."""
        text = self._decoder.decode(piece)
        if not text:
            return []
        if self._after_cr and text.startswith("\n"):
            text = text[1:]
        self._after_cr = text.endswith("\r")  # its LF may come with the next piece
        *lines, rest = _LINE_END.split(text)
        events: list[ServerEvent] = []
        for line in lines:
            whole = "".join([*self._pending, line])
            self._pending.clear()
            event = self._line(whole)
            if event:
                events.append(event)
        if rest:
            self._pending.append(rest)
        return events

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        event = ServerEvent(self._type or "message", "\n".join(self._data), self._id) if self._data else None
        self._data = []
        self._type = ""
        return event
