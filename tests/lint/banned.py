"""Fails on banned calls and on mutable state at file scope (globals and static locals)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from csource import ROOT, blank_directives, blank_literals, c_files, toplevels

CALLS = {
    "strcpy": "no bound: use snprintf or a buf",
    "strcat": "no bound: use snprintf or a buf",
    "sprintf": "no bound: use snprintf or a buf",
    "vsprintf": "no bound: use vsnprintf or a buf",
    "gets": "no bound",
    "atoi": "no error: use strtol and check it",
    "atol": "no error: use strtol and check it",
    "atoll": "no error: use strtoll and check it",
    "atof": "no error: use strtod and check it",
    "system": "goes through a shell: exec it",
    "popen": "goes through a shell: exec it",
    "alloca": "no bound on the stack: use the heap or a fixed array",
    "signal": "differs between systems: use sigaction, signalfd or uv_signal",
}

# "path:variable" -> why this one is right
EXCEPTIONS: dict[str, str] = {
    "sandbox/base/log.c:*": "the log level, its name and its sink",
    "contexts/node/*": "one engine a process; signal handlers and V8's callbacks carry no user pointer",
    "contexts/python/*": "one interpreter a process; CPython's functions and fork hooks carry no user pointer",
}

_CALL = re.compile(r"(?<![\w.>])(" + "|".join(CALLS) + r")\s*\(")
_SKIP = re.compile(r"^(typedef|extern|_Static_assert|static_assert|__asm__|asm)\b")
_STATIC_LOCAL = re.compile(r"^[ \t]+static\s+([^;={(]*)(=|;|\{)", re.MULTILINE)
# bytes that one call fills and forgets, kept off the stack of a single-threaded process
_SCRATCH = re.compile(r"^static (uint8_t|char|unsigned char) \w+\[")
_QUALIFIER = re.compile(r"__attribute__\s*\(\(.*?\)\)|\b(static|_Thread_local|__thread|volatile|register|inline)\b")


def _variable(declaration: str) -> str | None:
    """The name a declaration defines when the object can change, else None."""
    head = declaration.split("=", 1)[0]
    initialised = "=" in declaration
    head = _QUALIFIER.sub(" ", head).strip()
    pointer = re.match(r"[^(]*\(\s*\*\s*(const\s+)?(\w+)", head)
    if pointer:
        return None if pointer.group(1) else str(pointer.group(2))
    if "(" in head:
        return None  # a prototype or a macro
    head = re.sub(r"\[[^\]]*\]", " ", head)
    if re.fullmatch(r"(struct|union|enum)(\s+\w+)?\s*(\{\})?", head.strip()):
        return None  # a type
    constant = re.search(r"\bconst\b[^*]*$", head) is not None
    if constant:
        return None
    words = re.findall(r"\w+", head.replace("{}", " "))
    minimum = 2 if re.match(r"(struct|union|enum)\b", head) and "{}" not in head else 1
    if len(words) > minimum or (initialised and words):
        return str(words[-1])
    return None


def _excepted(path: Path, name: str) -> bool:
    keys = (f"{path.as_posix()}:{name}", f"{path.as_posix()}:*", f"{path.parent.as_posix()}/*")
    return any(key in EXCEPTIONS for key in keys)


def check_text(path: Path, text: str) -> list[str]:
    """Problems of one file, 'path:line: message' each."""
    problems: list[str] = []
    blanked = blank_literals(text)
    for match in _CALL.finditer(blanked):
        line = blanked.count("\n", 0, match.start()) + 1
        problems.append(f"{path}:{line}: {match.group(1)}() is banned: {CALLS[match.group(1)]}")
    if path.parts[0] == "tests":
        return problems  # a test program may keep state
    code = blank_directives(blanked)
    lines = code.split("\n")
    for top in toplevels(code):
        if top.is_function:
            if top.name == "main":
                continue  # what main keeps lives as long as the process anyhow, and it passes it on by pointer
            body = "\n".join(lines[top.body_start - 1 : top.body_end])
            for match in _STATIC_LOCAL.finditer(body):
                declaration = "static " + match.group(1) + match.group(2)
                name = None if _SCRATCH.match(declaration) else _variable(declaration)
                if name and not _excepted(path, name):
                    line = top.body_start + body.count("\n", 0, match.start(1))
                    problems.append(f"{path}:{line}: static local '{name}' is mutable state: pass it in a struct")
            continue
        if not top.text or _SKIP.match(top.text):
            continue
        name = _variable(top.text)
        if name and not _excepted(path, name):
            problems.append(
                f"{path}:{top.line}: global '{name}' is mutable state: pass it in a struct, or make it const"
            )
    return problems


def main() -> int:
    problems: list[str] = []
    for path in c_files():
        problems += check_text(path, (ROOT / path).read_text(errors="replace"))
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
