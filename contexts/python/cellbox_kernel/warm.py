"""Getting warm in the zygote: imports, the shell, cells that were run and forgotten."""

from __future__ import annotations

import gc
import io
import linecache
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import _cellbox

from . import comms, compat, loop, threads
from .encode import dump

CELLS = (
    "1+1",
    "x = 2\nfor i in range(3):\n    x += i\nprint(x, 'a', file=None)",
    "def f(n):\n    return 1 / n\nf(0)",
    "%time 1",
    "import asyncio\nawait asyncio.sleep(0)",
    "'text'",
    "[1, {'a': (2.5, None)}]",
    "x = ",
    "import json, re\nre.sub('a', 'b', json.dumps({'a': 1}))",
)
DATA_CELLS = (
    "import pandas as pd, numpy as np\ndf = pd.DataFrame({'a': np.arange(3), 'b': list('xyz')})\ndf",
    "df.groupby('b').a.sum().reset_index().describe()",
    "np.random.default_rng(0).normal(size=10).mean()",
    "undefined_name",
)
PLOT_CELLS = ("import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.title('t')\nplt.show()",)
MODULES = (
    "asyncio",
    "base64",
    "collections",
    "concurrent.futures.thread",
    "contextlib",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "email.message",
    "functools",
    "getpass",
    "glob",
    "hashlib",
    "http.client",
    "inspect",
    "io",
    "itertools",
    "json",
    "logging",
    "math",
    "multiprocessing.process",
    "operator",
    "pathlib",
    "pickle",
    "platform",
    "pprint",
    "random",
    "re",
    "secrets",
    "shlex",
    "shutil",
    "socket",
    "ssl",
    "statistics",
    "string",
    "subprocess",
    "tempfile",
    "textwrap",
    "threading",
    "time",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
    "urllib.request",
    "uuid",
    "warnings",
    "zipfile",
)
LIBRARIES = ("numpy", "pandas", "matplotlib", "matplotlib.pyplot", "jedi")
INTEGRATIONS = ("matplotlib_inline.backend_inline",)  # look for the shell when they are imported

_shell: Any = None
_hello: bytes = b""
_pristine: dict[str, Any] = {}


def shell() -> Any:
    return _shell


def hello() -> bytes:
    return _hello


def build() -> None:
    """The shell and what belongs to it; no context yet."""
    global _shell, _hello
    import faulthandler

    from . import shell as shell_module

    sys.stdout = sys.__stdout__ = _cellbox.Stream(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _cellbox.Stream(2)  # type: ignore[misc]
    io.TextIOBase.register(_cellbox.Stream)
    io.BufferedIOBase.register(_cellbox.StreamBuffer)
    faulthandler.enable(2, all_threads=False)
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    comms.install()
    compat.install()
    threads.install()
    loop.install()
    _shell = shell_module.Shell.instance()
    _shell.kernel = comms.Kernel(_shell)
    _hello = dump(_info())
    _pristine.update(_snapshot())


def _info() -> dict[str, Any]:
    import IPython

    version = sys.version.split()[0]
    return {
        "implementation": "ipython",
        "implementation_version": IPython.__version__,
        "language_info": {
            "name": "python",
            "version": version,
            "mimetype": "text/x-python",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
            "file_extension": ".py",
        },
        "supported_features": ["debugger", "kernel subshells"],
        "banner": f"Python {version}\nIPython {IPython.__version__}\n",
        "help_links": [
            {"text": "Python Reference", "url": f"https://docs.python.org/{version.rpartition('.')[0]}"},
            {"text": "IPython Reference", "url": "https://ipython.readthedocs.io/en/stable/"},
            {"text": "NumPy Reference", "url": "https://numpy.org/doc/stable/reference/"},
            {"text": "SciPy Reference", "url": "https://docs.scipy.org/doc/scipy/reference/"},
            {"text": "Matplotlib Reference", "url": "https://matplotlib.org/contents.html"},
            {"text": "SymPy Reference", "url": "https://docs.sympy.org/latest/index.html"},
            {"text": "pandas Reference", "url": "https://pandas.pydata.org/pandas-docs/stable/"},
        ],
    }


def enter_context() -> None:
    """What a context's own environment decides."""
    environ = os.environ
    environ.setdefault("TERM", "xterm-color")
    environ.setdefault("CLICOLOR", "1")
    environ.setdefault("PAGER", "cat")
    environ.setdefault("GIT_PAGER", "cat")
    environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    if "" not in sys.path:
        sys.path.insert(0, "")
    sys.argv[:] = [""]


# Warm-up cells


def _snapshot() -> dict[str, Any]:
    ip = _shell
    return {
        "user_ns": dict(ip.user_ns),
        "hidden": dict(ip.user_ns_hidden),
        "modules": None,
        "filters": list(warnings.filters),
        "flags": ip.compile.flags,
    }


def run_cells(runner: Any) -> None:
    """Run every warm-up cell the way a request does; output is muted by the caller."""
    cells = list(CELLS)
    if "pandas" in sys.modules:
        cells += DATA_CELLS
    if "matplotlib.pyplot" in sys.modules:
        cells += PLOT_CELLS
    for n, code in enumerate(cells, 1):
        runner.rehearse_cell(n, code)
    from . import completion

    ip = _shell
    for text in ("import o", "os.pa", "df."):
        completion.complete(ip, text, len(text))
    completion.inspect(ip, "print", 5, 0)
    completion.is_complete(ip, "for i in x:")


def forget() -> None:
    """The shell as it was before the cells."""
    from . import figures

    ip = _shell
    figures.close_all()
    history = ip.history_manager
    history.input_hist_parsed[:] = [""]
    history.input_hist_raw[:] = [""]
    history.output_hist.clear()
    history.output_hist_reprs.clear()
    history.outputs.clear()
    history.exceptions.clear()
    history._i00 = history._i = history._ii = history._iii = ""
    hook = ip.displayhook
    hook._ = hook.__ = hook.___ = ""
    hook.exec_result = None
    ip.user_ns.clear()
    ip.user_ns.update(_pristine["user_ns"])
    ip.user_ns_hidden.clear()
    ip.user_ns_hidden.update(_pristine["hidden"])
    for name in [n for n in linecache.cache if n.startswith("<ipython-input-")]:
        del linecache.cache[name]
    ip.compile._filename_map.clear()
    ip.compile.flags = _pristine["flags"]
    warnings.filters[:] = _pristine["filters"]  # type: ignore[index]
    ip.user_ns.pop("__warningregistry__", None)
    ip.execution_count = 1
    ip.last_execution_result = None
    ip.last_execution_succeeded = True
    ip.payload_manager.clear_payload()
    ip.kernel.forget()
    ip.error = None
    ip.exit_now = False
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        if hasattr(sys, name):
            delattr(sys, name)


def preload() -> None:
    """Zygote: import, build, warm up, freeze. One thread, no descriptor, no temporary file is left."""
    scratch = tempfile.mkdtemp(prefix="cellbox-preload-")
    os.environ.update(MPLCONFIGDIR=scratch, HOME=scratch, IPYTHONDIR=scratch)
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    try:
        _import_all(MODULES, LIBRARIES)
        build()
        _import_all((), INTEGRATIONS)
        _rehearse()
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())  # sys.stderr leads nowhere here
        raise
    finally:
        for name in ("MPLCONFIGDIR", "HOME", "IPYTHONDIR", "MPLBACKEND"):
            os.environ.pop(name, None)
        shutil.rmtree(scratch, ignore_errors=True)
    _find_states()
    _forget_places()
    _check_alone()
    _close_fonts()
    gc.collect()
    gc.freeze()


def _close_fonts() -> None:
    """matplotlib keeps font files open, and would close their numbers after a fork, when they mean something else."""
    manager = sys.modules.get("matplotlib.font_manager")
    if manager is not None:
        manager._get_font.cache_clear()


def _rehearse() -> None:
    """Live a context's life without one: its paths are then imported, specialised and cached in shared pages."""
    from . import refork, runner, sessions

    life = runner.Runner(_shell)
    run_cells(life)
    for _ in range(20):
        sessions.Writer().append([["i", 1, "1+1", None], ["o", 1, "2"]])
    history = _shell.history_manager
    history.persists = True
    for n in range(20):
        life.rehearse_cell(n, "1+1")
        life.loop.close()
        refork.after_fork()
        enter_context()
        life.loop.renew()
    life.loop.close()
    history.write()
    history.new_session()  # whose file is made in the context
    forget()
    runner.prepared = life
    while "" in sys.path:
        sys.path.remove("")
    for name in ("TERM", "CLICOLOR", "PAGER", "GIT_PAGER"):
        os.environ.pop(name, None)


def _import_all(needed: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    import importlib

    for name in needed + wanted:
        try:
            importlib.import_module(name)
        except ImportError as e:
            if name in needed:
                raise
            os.write(2, f"cbx-python: not preloaded: {e}\n".encode())


def _find_states() -> None:
    """Where the C host finds numpy's global generator after a fork."""
    mtrand: Any = sys.modules.get("numpy.random.mtrand")
    address = 0
    if mtrand is not None:
        mtrand.seed(0)  # also forgets the SeedSequence that siblings would share
        generator = mtrand._rand._bit_generator
        if type(generator).__name__ == "MT19937":
            address = generator.ctypes.state_address
    _cellbox.find_state(address)
    import ssl

    ssl.RAND_add(os.urandom(32), 32.0)  # its initialisation is 700 pages that a context need not copy
    ssl.RAND_bytes(1)
    tempfile._name_sequence = None  # type: ignore[attr-defined]
    tempfile.tempdir = None


def _forget_places() -> None:
    """Directories of the zygote that libraries have remembered; each context finds its own."""
    from . import completion

    completion.forget()
    for name in ("ipython_dir", "profile_dir"):
        _shell._trait_values.pop(name, None)
    matplotlib: Any = sys.modules.get("matplotlib")
    if matplotlib is not None:
        for function in (matplotlib.get_configdir, matplotlib.get_cachedir):
            names = function.__code__.co_freevars
            function.__closure__[names.index("called")].cell_contents = False
    uuid: Any = sys.modules.get("uuid")
    if uuid is not None:
        uuid._last_timestamp = uuid._node = None


def _check_alone() -> None:
    threads_now = list(Path("/proc/self/task").iterdir())
    if len(threads_now) != 1:
        raise RuntimeError(f"{len(threads_now)} threads after the imports: a zygote must have one")
