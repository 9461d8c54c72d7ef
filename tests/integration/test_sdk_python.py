"""The Python client: its wheel, its unit tests, and every example against the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

CLIENT = ROOT / "clients" / "python"
EXAMPLES = ROOT / "docs" / "examples" / "sdk-python"
SECONDS = 100


def run(*command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders behind."""
    work = tmp_path_factory.mktemp("sdk-python")
    shutil.copytree(CLIENT, work / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    run(*pip, "--no-build-isolation", "--wheel-dir", str(work), str(work / "source"), cwd=work)
    (made,) = work.glob("cellbox-*-py3-none-any.whl")
    return made


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """A folder for PYTHONPATH that holds what the wheel installs."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "site")
    return wheel.parent / "site"


def test_the_wheel_holds_what_it_needs_and_no_more(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {f"cellbox/{p.name}" for p in (CLIENT / "cellbox").glob("*.py")} | {"cellbox/py.typed"}
    assert {n for n in names if "dist-info" not in n} == sources
    (metadata,) = [n for n in names if n.endswith("/METADATA")]
    needed = [line for line in zipfile.ZipFile(wheel).read(metadata).decode().splitlines() if "Requires-Dist" in line]
    assert [line.split()[1].partition(">")[0] for line in needed] == ["httpx", "websockets"]


def test_units() -> None:
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=CLIENT, PYTHONPATH=str(CLIENT))


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.py")))
def test_example(server: Any, site: Path, name: str) -> None:
    env = {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token, "PYTHONPATH": str(site)}
    shown = run(sys.executable, "-W", "error", str(EXAMPLES / name), cwd=site, **env)
    assert shown.splitlines()[-1] == "ok", shown
