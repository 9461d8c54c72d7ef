"""What libraries ask of ipykernel by its name.

They import ``ipykernel.comm``, or look whether the shell is a ZMQInteractiveShell of ipykernel to know that they are
in a notebook. The parts that mean something here are found under those names; a real ipykernel that a user installs
keeps the others.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from . import comms

VERSION = (7, 0, 0)  # whose behaviour is followed
SHELL_MODULE, SHELL_NAME = "ipykernel.zmqshell", "ZMQInteractiveShell"


def _package(module: ModuleType) -> None:
    module.version_info, module.__version__ = VERSION, ".".join(map(str, VERSION))  # type: ignore[attr-defined]


def _comm(module: ModuleType) -> None:
    from comm import get_comm_manager
    from comm.base_comm import CommManager

    names: Any = module
    names.Comm = names.BaseComm = comms.FrameComm
    names.CommManager, names.get_comm_manager = CommManager, get_comm_manager


def _shell(module: ModuleType) -> None:
    from .display import Publisher
    from .shell import Shell

    names: Any = module
    names.ZMQInteractiveShell, names.ZMQDisplayPublisher = Shell, Publisher


def _kernel(module: ModuleType) -> None:
    names: Any = module
    names.Kernel = comms.Kernel


def _json(module: ModuleType) -> None:
    from .encode import clean

    names: Any = module
    names.json_clean = clean
    names.encode_images = lambda data: data


ALWAYS: dict[str, Callable[[ModuleType], None]] = {
    "ipykernel.comm": _comm,
    "ipykernel.comm.comm": _comm,
    "ipykernel.comm.manager": _comm,
}
OTHERWISE: dict[str, Callable[[ModuleType], None]] = {
    "ipykernel": _package,
    "ipykernel.kernelbase": _kernel,
    "ipykernel.ipkernel": _kernel,
    "ipykernel.jsonutil": _json,
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Before all other finders, for a handful of names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith("ipykernel"):
            return None
        if name not in ALWAYS:
            if name not in OTHERWISE:
                return None
            found = importlib.machinery.PathFinder.find_spec(name, path, target)
            if found is not None:
                return found
        spec = importlib.machinery.ModuleSpec(name, self, is_package=name in ("ipykernel", "ipykernel.comm"))
        spec.submodule_search_locations = [] if spec.submodule_search_locations is not None else None
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        (ALWAYS.get(module.__name__) or OTHERWISE[module.__name__])(module)


def name_like_ipykernel(shell: type) -> None:
    shell.__name__ = shell.__qualname__ = SHELL_NAME
    shell.__module__ = SHELL_MODULE


def install() -> None:
    """Before the shell is made."""
    if not any(isinstance(f, Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, Finder())
    shell = ModuleType(SHELL_MODULE)  # tqdm looks into sys.modules for it
    _shell(shell)
    sys.modules[SHELL_MODULE] = shell
