"""What the C lints share: which files are ours, and C text with comments and literals blanked out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
C_FOLDERS = ("sandbox", "contexts", "kernel-gw", "clients", "tests")

_BLANKED = re.compile(
    r"""//(?:[^\n\\]|\\.|\\\n)*          # line comment
      | /\*.*?\*/                        # block comment
      | "(?:[^"\\\n]|\\.|\\\n)*"         # string
      | '(?:[^'\\\n]|\\.)+'              # character
    """,
    re.VERBOSE | re.DOTALL,
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE)


def tree_files(suffixes: tuple[str, ...], root: Path = ROOT) -> list[Path]:
    """Files that git tracks or would track (not ignored), relative to root, with one of the suffixes."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = sorted({name for name in listing.split("\0") if name.endswith(suffixes)})
    return [Path(name) for name in names if (root / name).is_file()]


def c_files(root: Path = ROOT) -> list[Path]:
    """The C sources and headers of the tree, relative to root."""
    return [path for path in tree_files((".c", ".h"), root) if path.parts[0] in C_FOLDERS]


def _blank(match: re.Match[str]) -> str:
    text = match.group()
    if text[0] in "\"'":
        return text[0] + re.sub(r"[^\n]", " ", text[1:-1]) + text[-1]
    return re.sub(r"[^\n]", " ", text)


def blank_literals(text: str) -> str:
    """The same text, same length and lines, with comments, strings and characters emptied."""
    return _BLANKED.sub(_blank, text)


def blank_directives(text: str) -> str:
    """Empties preprocessor lines, so that their braces and parentheses do not count."""
    return _DIRECTIVE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


@dataclass(frozen=True)
class Toplevel:
    """One statement at file scope: its head, and for a function the lines of its body."""

    line: int
    text: str
    body_start: int = -1
    body_end: int = -1

    @property
    def is_function(self) -> bool:
        return self.body_start >= 0

    @property
    def name(self) -> str:
        """The function's name, or an empty string."""
        match = re.search(r"(\w+)\s*\((?!\s*\()", self.text)
        return match.group(1) if match else ""


def toplevels(blanked: str) -> Iterator[Toplevel]:
    """File-scope statements of blanked text; braces of initialisers and structs are kept as '{}'."""
    head: list[str] = []
    line = 1
    head_line = 1
    depth = 0
    body = False
    body_start = 0
    for char in blanked:
        if depth == 0:
            if not head and not char.isspace():
                head_line = line
            if char == "{":
                text = "".join(head).strip()
                body = text.endswith(")") and "=" not in text
                body_start = line
                depth = 1
            elif char == ";":
                yield Toplevel(head_line, " ".join("".join(head).split()))
                head = []
            elif head or not char.isspace():
                head.append(char)
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0 and body:
                yield Toplevel(head_line, " ".join("".join(head).split()), body_start, line)
                head = []
            elif depth == 0:
                head.append("{}")
        if char == "\n":
            line += 1
