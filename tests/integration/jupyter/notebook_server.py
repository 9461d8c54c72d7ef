"""A Jupyter server or JupyterLab of one's own: configuration, notebooks and port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import requests
from targets import eventually

TOKEN = "notebook-server-token"
START_SECONDS = 90


class NotebookServer:
    """`program` is "server" or "lab"; arguments as on its command line."""

    def __init__(self, home: Path, program: str, *args: str) -> None:
        self.notebooks = home / "notebooks"
        self.notebooks.mkdir(parents=True)
        self.log: list[str] = []
        env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "CELLBOX"))} | {
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "IPYTHONDIR": str(home / "ipython"),
        }
        self.process = subprocess.Popen(
            [
                Path(sys.executable).with_name("jupyter"), program, "--allow-root", "--no-browser", "--ip=127.0.0.1",
                "--port=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={self.notebooks}", *args,
            ],
            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.url = self._wait_for_url()
        eventually(self._answers, "it answers")  # the address is printed before it listens

    def _wait_for_url(self) -> str:
        assert self.process.stderr
        killer = threading.Timer(START_SECONDS, self.process.kill)
        killer.start()
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/\S*token=", line):
                killer.cancel()
                threading.Thread(target=self.log.extend, args=(self.process.stderr,), daemon=True).start()
                return found[1]
        raise RuntimeError("the Jupyter server did not start:\n" + "".join(self.log))

    def _answers(self) -> bool:
        try:
            return requests.get(self.url + "/api", timeout=START_SECONDS).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
