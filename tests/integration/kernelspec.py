"""The kernelspecs that `cellbox kernelspec install` writes, found as any Jupyter would find them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAME = "cellbox-python"


@pytest.fixture(scope="module")
def installed(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In a place of their own, through JUPYTER_PATH."""
    from conftest import BUILD

    home = tmp_path_factory.mktemp("jupyter")
    subprocess.run(
        [BUILD / "bin" / "cellbox", "kernelspec", "install", "--prefix", home], check=True, capture_output=True
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(home / "share/jupyter"))
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(home / name.lower()))
        patch.setenv("CELLBOX_URL", server.url)
        patch.setenv("CELLBOX_TOKEN", server.token)
        yield home
