"""File names of cells, which clients and the debugger compute alike from a cell's text."""

from __future__ import annotations

import gc
import linecache
import os
import tempfile
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

HASH_METHOD = "Murmur2"
HASH_SEED = 0xC70F6907
SUFFIX = ".py"
_PLAIN = "<ipython-input-"


def murmur2(data: bytes, seed: int = HASH_SEED) -> int:
    """MurmurHash2, 32 bits, of bytes (Appleby's reference algorithm)."""
    factor, mask = 0x5BD1E995, 0xFFFFFFFF
    h = seed ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * factor & mask
        k = (k ^ k >> 24) * factor & mask
        h = (h * factor & mask) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * factor & mask
    h = (h ^ h >> 13) * factor & mask
    return h ^ h >> 15


def prefix() -> str:
    """What the files of this process begin with, in its own temporary directory."""
    return str(Path(tempfile.gettempdir()) / f"ipykernel_{os.getpid()}") + os.sep


def name_of(code: str) -> str:
    return f"{prefix()}{murmur2(code.encode('utf-8', 'surrogatepass'))}{SUFFIX}"


def write(code: str) -> str:
    """Put a cell's text into its file; returns the path."""
    path = Path(name_of(code))
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(code, encoding="utf-8", errors="surrogatepass", newline="")
    return str(path)


def _renamed(code: CodeType, names: dict[str, str]) -> CodeType:
    constants = tuple(_renamed(c, names) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=names.get(code.co_filename, code.co_filename), co_consts=constants)


def adopt(shell: Any) -> None:
    """From now on cells are compiled under their file names; functions of earlier cells move to theirs."""
    compiler, names = shell.compile, {}
    if getattr(compiler, "file_names", False):
        return
    compiler.file_names = True
    compiler.get_code_name = lambda raw, transformed, number: name_of(raw)
    raw, parsed = shell.history_manager.input_hist_raw, shell.history_manager.input_hist_parsed
    for plain, number in list(compiler._filename_map.items()):
        text = "".join(linecache.getlines(plain)).rstrip("\n") if plain.startswith(_PLAIN) else ""
        if text and number < len(raw) and text == parsed[number]:
            name = names[plain] = name_of(raw[number])
            compiler._filename_map[name] = number
            linecache.cache[name] = linecache.cache[plain]
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__.co_filename in names:
            function.__code__ = _renamed(function.__code__, names)
