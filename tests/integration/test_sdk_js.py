"""The TypeScript client: its package as npm packs it, its unit tests, and every example against the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

CLIENT = ROOT / "clients" / "js"
EXAMPLES = ROOT / "docs" / "examples" / "sdk-js"
SECONDS = 100


def run(*command: str, cwd: Path, seconds: int = SECONDS, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder in which `cellbox` is installed from its tarball, and `ws` beside it."""
    project = tmp_path_factory.mktemp("sdk-js")
    run("npm", "pack", "--pack-destination", str(project), cwd=CLIENT)  # builds first
    (tarball,) = project.glob("cellbox-*.tgz")
    with tarfile.open(tarball) as archive:
        archive.extractall(project)
    modules = project / "node_modules"
    modules.mkdir()
    (project / "package").rename(modules / "cellbox")
    (modules / "ws").symlink_to(CLIENT / "node_modules" / "ws")
    return project


def test_the_package_holds_what_it_needs_and_no_more(installed_package: Path) -> None:
    package = installed_package / "node_modules" / "cellbox"
    names = {p.relative_to(package).as_posix() for p in package.rglob("*") if p.is_file()}
    assert {"package.json", "README.md", "dist/index.js", "dist/index.d.ts"} <= names
    assert all(name.startswith("dist/") for name in names - {"package.json", "README.md"})
    assert "dependencies" not in (package / "package.json").read_text().replace("devDependencies", "").replace(
        "peerDependencies", ""
    )


def test_types_of_the_package_suit_a_strict_program(installed_package: Path) -> None:
    program = installed_package / "program.mts"
    program.write_text(
        "import { getSandbox, type ExecResult } from 'cellbox';\n"
        "const r: ExecResult = await getSandbox('x').exec('true');\n"
        "const n: number = r.exitCode;\n"
        "// @ts-expect-error a result has no such member\n"
        "export const m: string = r.nothing + n;\n"
    )
    tsc = CLIENT / "node_modules" / ".bin" / "tsc"
    run(str(tsc), "--strict", "--noEmit", "--module", "nodenext", "--target", "es2022", program.name,
        cwd=installed_package)  # fmt: skip


def test_units(installed_package: Path) -> None:
    """After the build that the package needs."""
    assert "# fail 0" in run("node", "--test", "--test-reporter=tap", cwd=CLIENT)


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.mjs")))
def test_example(server: Any, installed_package: Path, name: str) -> None:
    shutil.copy(EXAMPLES / name, installed_package)
    shown = run("node", name, cwd=installed_package, CELLBOX_URL=server.url, CELLBOX_TOKEN=server.token)
    assert shown.splitlines()[-1] == "ok", shown
