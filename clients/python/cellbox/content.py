"""What can be written to a file, as httpx takes it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator
from typing import BinaryIO, TypeAlias

PIECE = 1 << 16

Content: TypeAlias = str | bytes | bytearray | memoryview | BinaryIO | Iterable[bytes]
AsyncContent: TypeAlias = Content | AsyncIterable[bytes]


def whole(content: object) -> bytes | None:
    """Content that can be sent again; None: it is a stream."""
    if isinstance(content, str):
        return content.encode()
    return bytes(content) if isinstance(content, (bytes, bytearray, memoryview)) else None


def pieces(content: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """A file in pieces, not in lines."""
    read = getattr(content, "read", None)
    if read is None:
        yield from content
        return
    while piece := read(PIECE):
        yield piece


async def async_pieces(content: BinaryIO | Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same for the asynchronous client."""
    if isinstance(content, AsyncIterable):
        async for piece in content:
            yield piece
        return
    for piece in pieces(content):
        yield piece


async def settled(value: str | Awaitable[str]) -> str:
    """What a callback gives, at once or later."""
    return value if isinstance(value, str) else await value
