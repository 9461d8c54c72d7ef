"""Fork hygiene: what a context must not share with its zygote and its siblings.

Runs in every context between fork and HELLO, so it touches little memory: no imports, no loops over modules. What
CPython's own hooks do (random, threading, logging) is done before.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import _cellbox


def refresh_environ() -> None:
    """Refill os.environ, whose dictionary CPython filled when the zygote started."""
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    data.clear()
    data.update(_cellbox.environ())


def reseed() -> None:
    """Every generator with inherited state gets new entropy."""
    modules = sys.modules
    _cellbox.reseed()  # numpy's global generator, BLAS threads
    ssl: Any = modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(32), 32.0)
    tempfile: Any = modules.get("tempfile")
    if tempfile is not None:
        tempfile._name_sequence = None
    synchronize: Any = modules.get("multiprocessing.synchronize")
    if synchronize is not None:
        synchronize.SemLock._rand = tempfile._RandomNameSequence()
    process: Any = modules.get("multiprocessing.process")
    if process is not None:
        process._current_process._config["authkey"] = process.AuthenticationString(os.urandom(32))


def here() -> None:
    """multiprocessing starts its children where the program was when it was imported."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:
        try:
            process.ORIGINAL_DIR = str(Path.cwd())
        except OSError:
            process.ORIGINAL_DIR = None


def after_fork() -> None:
    """The process is new: environment, caches of paths, generators."""
    refresh_environ()
    reseed()
    here()
    if "TZ" in os.environ:
        time.tzset()
    threading: Any = sys.modules["threading"]
    threading.main_thread()._set_native_id()
