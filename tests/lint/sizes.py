"""Fails on functions over 100 lines and files over 1000, in C and Python; other sources count as files."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from csource import ROOT, blank_directives, blank_literals, toplevels, tree_files

FUNCTION_LIMIT = 100
FILE_LIMIT = 1000

# "path" or "path:function" -> (limit, why it may be longer)
EXCEPTIONS: dict[str, tuple[int, str]] = {}


def _limit(key: str, default: int) -> int:
    return EXCEPTIONS.get(key, (default, ""))[0]


def _c_functions(text: str) -> list[tuple[str, int, int]]:
    code = blank_directives(blank_literals(text))
    return [(t.name, t.line, t.body_end - t.body_start + 1) for t in toplevels(code) if t.is_function]


def _python_functions(text: str) -> list[tuple[str, int, int]]:
    return [
        (node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def check_text(path: Path, text: str) -> list[str]:
    """Problems of one file, 'path:line: message' each."""
    problems: list[str] = []
    lines = text.count("\n")
    name = path.as_posix()
    if lines > _limit(name, FILE_LIMIT):
        problems.append(f"{path}:1: {lines} lines; the limit is {_limit(name, FILE_LIMIT)}: split it")
    functions: list[tuple[str, int, int]] = []
    if path.suffix in (".c", ".h"):
        functions = _c_functions(text)
    elif path.suffix == ".py":
        functions = _python_functions(text)
    for function, line, length in functions:
        limit = _limit(f"{name}:{function}", FUNCTION_LIMIT)
        if length > limit:
            problems.append(f"{path}:{line}: {function} has {length} lines; the limit is {limit}: split it")
    return problems


def main() -> int:
    problems: list[str] = []
    for path in tree_files((".c", ".h", ".py", ".ts", ".js", ".mjs", ".sh")):
        problems += check_text(path, (ROOT / path).read_text(errors="replace"))
    for key in EXCEPTIONS:
        if not (ROOT / key.split(":")[0]).exists():
            problems.append(f"tests/lint/sizes.py:1: the exception for {key} names a file that is gone")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
