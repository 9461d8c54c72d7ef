"""Other kernels for JavaScript and TypeScript, as processes of their own: tslab and `deno jupyter`."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.connect import write_connection_file
from zmqclient import Client

HERE = Path(__file__).parent / "peers-npm"
MODULES = HERE / "node_modules"


def command(name: str, file: str) -> list[str | Path]:
    if name == "deno":
        (deno,) = MODULES.glob("@deno/*/deno")  # the program itself: the wrapper would count a start of Node
        return [deno, "jupyter", "--kernel", "--conn", file]
    return [MODULES / ".bin" / "tslab", "kernel", *(["--js"] if name == "tslab js" else []), "--config-path", file]


class Kernel:
    """One kernel ("deno", "tslab js", "tslab ts"); `with` ends it."""

    def __init__(self, name: str) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="cellbox-bench-kernel-")
        file, connection = write_connection_file(f"{self.home.name}/connection.json", ip="127.0.0.1")
        self.connection: dict[str, Any] = dict(connection)
        self.process = subprocess.Popen(
            command(name, file),
            cwd=self.home.name, env=os.environ | {"DENO_DIR": f"{self.home.name}/deno", "NO_COLOR": "1"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.client = Client(self.connection, timeout=30)

    def memory(self) -> float:
        """MiB PSS of the process and its children."""
        process = psutil.Process(self.process.pid)
        return sum(p.memory_full_info().pss for p in [process, *process.children(recursive=True)]) / (1 << 20)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        for child in psutil.Process(self.process.pid).children(recursive=True):
            child.kill()
        self.process.kill()
        self.process.wait()
        self.home.cleanup()
