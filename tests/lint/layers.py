"""Fails when an include points up or sideways in the tree, or a library is used outside its module.

The table below is section 3 of the design: clients include nothing of the tree; kernel-gw -> contexts -> sandbox ->
sandbox/base. Within a part a module may include modules of a lower rank and itself. News goes up through callbacks.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from csource import ROOT, c_files

# module -> (part, rank); a path belongs to the longest module that is a folder above it or the file itself
RANKS: dict[str, tuple[str, int]] = {
    "sandbox/base": ("sandbox", 0),
    "sandbox/wire": ("sandbox", 1),
    "sandbox/seal": ("sandbox", 1),
    "sandbox/ns": ("sandbox", 2),
    "sandbox/fs": ("sandbox", 2),
    "sandbox/cgroup": ("sandbox", 2),
    "sandbox/seccomp": ("sandbox", 2),
    "sandbox/netns": ("sandbox", 2),
    "sandbox/image": ("sandbox", 3),
    "sandbox/snapshot": ("sandbox", 3),
    "sandbox/egress": ("sandbox", 3),
    "sandbox/files": ("sandbox", 2),
    "sandbox/buckets": ("sandbox", 2),
    "sandbox/init": ("sandbox", 3),
    "sandbox/zygote": ("sandbox", 4),
    "sandbox/box": ("sandbox", 5),
    "sandbox/boxd": ("sandbox", 6),
    "contexts/proto": ("contexts", 0),
    "contexts/python": ("contexts", 1),
    "contexts/node": ("contexts", 1),
    "contexts/manager/links": ("contexts", 1),
    "contexts/pool": ("contexts", 2),
    "contexts/manager": ("contexts", 3),
    "kernel-gw/net": ("kernel-gw", 0),
    "kernel-gw/store": ("kernel-gw", 0),
    "kernel-gw/auth": ("kernel-gw", 1),
    "kernel-gw/gateway.h": ("kernel-gw", 2),  # what every door shares
    "kernel-gw/egress": ("kernel-gw", 3),
    "kernel-gw/api": ("kernel-gw", 4),
    "kernel-gw/preview": ("kernel-gw", 5),
    "kernel-gw/jupyter": ("kernel-gw", 5),
    "kernel-gw/notebook": ("kernel-gw", 5),
    "kernel-gw": ("kernel-gw", 6),
    "clients/c": ("clients", 0),
    "clients/cli": ("clients", 1),
}

# What a module may include of the parts below its own. G reaches boxes only by messages, so kernel-gw and
# contexts/manager see wire and base and none of the kernel mechanisms; a runner is linked with init and zygote.
GATEWAY_SEES = {"sandbox/wire", "sandbox/base"}
CONTEXTS = {"contexts/manager", "contexts/manager/links", "contexts/pool", "contexts/proto"}
BELOW: dict[str, set[str]] = {
    "contexts/proto": GATEWAY_SEES,
    "contexts/python": {"sandbox/base", "sandbox/wire", "sandbox/init", "sandbox/zygote"},
    "contexts/node": {"sandbox/base", "sandbox/wire", "sandbox/init"},
    "contexts/manager/links": GATEWAY_SEES,
    "contexts/manager": GATEWAY_SEES,
    "contexts/pool": GATEWAY_SEES,
    "kernel-gw/net": {"sandbox/base"},
    "kernel-gw/store": CONTEXTS | GATEWAY_SEES | {"sandbox/seal"},
    "kernel-gw/gateway.h": CONTEXTS | GATEWAY_SEES,
    "kernel-gw/auth": {"sandbox/base"},
    "kernel-gw/jupyter": CONTEXTS | GATEWAY_SEES,
    "kernel-gw/notebook": CONTEXTS | GATEWAY_SEES,
    "kernel-gw/preview": CONTEXTS | GATEWAY_SEES,
    "kernel-gw/egress": CONTEXTS | GATEWAY_SEES,
    "kernel-gw/api": CONTEXTS | GATEWAY_SEES,
    "kernel-gw": CONTEXTS | GATEWAY_SEES,
}

# library header -> the only folders that may include it
LIBRARIES: list[tuple[re.Pattern[str], tuple[str, ...]]] = [
    (re.compile(r"^zmq(_utils)?\.h$"), ("kernel-gw/jupyter/zmq",)),
    (re.compile(r"^seccomp\.h$"), ("sandbox/seccomp",)),
    (re.compile(r"^Python\.h$"), ("contexts/python", "sandbox/zygote")),
    (re.compile(r"^sqlite3\.h$"), ("kernel-gw/store",)),
    (re.compile(r"^libmnl/|^libnftnl/"), ("sandbox/netns", "sandbox/egress")),
    (re.compile(r"^llhttp\.h$"), ("kernel-gw/net", "kernel-gw/preview", "sandbox/egress")),
]

# engines without I/O and code that runs before or beside a loop: no event loop in there
NO_LOOP = ("sandbox/base", "sandbox/wire", "sandbox/init", "sandbox/zygote", "sandbox/ns", "sandbox/fs",
           "sandbox/cgroup", "sandbox/seccomp", "sandbox/files", "contexts/proto", "contexts/python")  # fmt: skip

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def module_of(path: Path) -> str | None:
    """The module a file belongs to; None for what the table does not know."""
    for depth in range(len(path.parts), 0, -1):
        name = "/".join(path.parts[:depth])
        if name in RANKS:
            return name
    return None


def _allowed(source: str, target: str) -> bool:
    part, rank = RANKS[source]
    target_part, target_rank = RANKS[target]
    if part == target_part:
        return source == target or target_rank < rank
    return target in BELOW.get(source, set())


def _check_library(path: Path, module: str, header: str) -> str | None:
    name = path.as_posix()
    for pattern, folders in LIBRARIES:
        if pattern.search(header) and not any(name.startswith(f + "/") for f in folders):
            return f"<{header}> belongs to {' and '.join(folders)} only"
    if header == "uv.h" and module in NO_LOOP:
        return f"{module} does no event loop: <uv.h> is not for it"
    return None


def _check_own(path: Path, module: str, header: str, known: set[Path]) -> str | None:
    target = Path(header)
    if target not in known:
        if path.parent / header in known:
            return f'"{header}": write the path from the root, "{(path.parent / header).as_posix()}"'
        return f'"{header}" is no header of the tree: use <> for libraries'
    target_module = module_of(target)
    if target_module is None:
        return f'"{header}" belongs to no module of the table'
    if not _allowed(module, target_module):
        return f'{module} must not include "{header}" ({target_module})'
    return None


def _cycles(edges: dict[Path, list[Path]]) -> list[str]:
    done: set[Path] = set()
    found: list[str] = []

    def visit(path: Path, trail: list[Path]) -> None:
        if path in trail:
            loop = [*trail[trail.index(path) :], path]
            found.append(f"{path}: include cycle: " + " -> ".join(p.as_posix() for p in loop))
            return
        if path in done:
            return
        for target in edges.get(path, []):
            visit(target, [*trail, path])
        done.add(path)

    for path in sorted(edges):
        visit(path, [])
    return found


def check(files: dict[Path, str]) -> list[str]:
    """Problems of a tree given as {path relative to the root: text}; 'path:line: message' each."""
    problems: list[str] = []
    edges: dict[Path, list[Path]] = {}
    known = set(files)
    for path, text in sorted(files.items()):
        module = module_of(path)
        if module is None and path.parts[0] != "tests":
            problems.append(f"{path}:1: belongs to no module of the table in tests/lint/layers.py")
            continue
        for match in INCLUDE.finditer(text):
            quote, header = match.groups()
            line = text.count("\n", 0, match.start()) + 1
            if quote == '"':
                edges.setdefault(path, []).append(Path(header))
            if module is None:  # tests may look at everything
                continue
            check_one = _check_own(path, module, header, known) if quote == '"' else None
            problem = check_one or _check_library(path, module, header)
            if problem:
                problems.append(f"{path}:{line}: {problem}")
    return problems + _cycles(edges)


def main() -> int:
    problems = check({path: (ROOT / path).read_text(errors="replace") for path in c_files()})
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
