"""Writes cellbox/aio.py, the asynchronous client, from cellbox/sandbox.py: `python make_async.py`.

Methods of a sandbox are thin, and there are many; one text for both keeps them equal. tests/test_units.py fails when
aio.py is not what this program makes.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent / "cellbox"

PLAIN_METHODS = r"(?!__init__|__repr__|get_session\b)"
RULES: list[tuple[str, str]] = [
    (
        r'\A"""A sandbox, blocking.*?"""',
        '"""A sandbox, asynchronous: made from sandbox.py by make_async.py, do not edit."""',
    ),
    (
        r"from collections.abc import Callable, Generator,",
        "import asyncio\nfrom collections.abc import AsyncGenerator, Awaitable, Callable,",
    ),
    (r"from typing import Any", "from contextlib import aclosing\nfrom typing import Any"),
    (r"\b(Sandbox|Process|Session|Terminal|Watcher|Driver)\b(?! of|\.kill)(?=[\[(:, \n\]])", r"Async\1"),
    (
        r"from \.content import Content, pieces, whole",
        "from .content import AsyncContent, async_pieces, settled, whole",
    ),
    (r": Content( \| None = None)?,", r": AsyncContent\1,"),
    (r"\bpieces\((content|archive)\)", r"async_pieces(\1)"),
    (r"httpx\.Client", "httpx.AsyncClient"),
    (r"__(enter|exit)__", r"__a\1__"),
    (r"Generator\[(\w+), None, None\]", r"AsyncGenerator[\1, None]"),
    (r"\n    def " + PLAIN_METHODS, "\n    async def "),
    (r"return AsyncWatcher\((.*?)\)\n\n", r"return await AsyncWatcher(\1).established()\n\n"),
    (r"(?<!await )self\.(_run|_driver\.run|_driver\.collect|_driver\.close|close|list_ports)\(", r"await self.\1("),
    (r"with self\._driver\.open", "async with self._driver.open"),
    (r"response\.read\(\)", "await response.aread()"),
    (r"(\n +)yield from response\.iter_raw\(\)", r"\1async for piece in response.aiter_raw():\1    yield piece"),
    (r"(\n +)yield from (self\._driver\.events\(.*\))\n", r"\1for event in \2:\1    yield event\n"),
    (r"on_input: Callable\[\[InputRequest\], str\]", "on_input: Callable[[InputRequest], str | Awaitable[str]]"),
    (r"on_input\(asked\)", "await settled(on_input(asked))"),
    (r"except KeyboardInterrupt:", "except asyncio.CancelledError:"),
    (r"also\s+KeyboardInterrupt,", "also a cancelled task,"),
    (r"KeyboardInterrupt\s+in\s+here\s+interrupts", "Cancelling the task interrupts"),
    (r"Closing the generator", "Closing the generator (contextlib.aclosing)"),
]


def close_streams(text: str) -> str:
    """An asynchronous generator is closed by who iterates it, or much later."""
    lines: list[str] = []
    inside = -1
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        found = re.match(r"( +)for event in (self\._driver\.events\(.*\)):$", line)
        if found:
            inside = indent
            lines += [
                f"{found[1]}async with aclosing({found[2]}) as events:",
                f"{found[1]}    async for event in events:",
            ]
        elif inside >= 0 and (indent > inside or not line.strip()):
            lines.append("    " + line if line.strip() else line)
        else:
            inside = -1
            lines.append(line)
    return "\n".join(lines)


def make(text: str) -> str:
    """The asynchronous form of sandbox.py."""
    text = text[: text.index("\n\ndef get_sandbox")] + "\n"
    for pattern, replacement in RULES:
        text, count = re.subn(
            pattern, replacement, text, flags=re.DOTALL if pattern.startswith((r"\A", "return")) else 0
        )
        if not count:
            raise SystemExit(f"nothing in sandbox.py matches {pattern}")
    return close_streams(text)


if __name__ == "__main__":
    (HERE / "aio.py").write_text(make((HERE / "sandbox.py").read_text()))
