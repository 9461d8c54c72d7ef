"""The example of docs/examples/agent: a repository becomes a page that is edited while it is looked at."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import playwright
from conftest import ROOT
from test_sdk_js import installed_package as installed_package
from test_sdk_js import run

EXAMPLE = ROOT / "docs" / "examples" / "agent"
SECONDS = 300  # most of it for the registry


def test_agent(server: Any, installed_package: Path) -> None:
    core = Path(playwright.__file__).parent / "driver" / "package"  # the very package playwright-core
    project = installed_package
    (project / "node_modules" / "playwright-core").symlink_to(core)
    shutil.copytree(EXAMPLE, project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "preview.png"))
    shown = run("node", "agent.mjs", cwd=project, seconds=SECONDS, CELLBOX_URL=server.url, CELLBOX_TOKEN=server.token)
    lines = shown.splitlines()
    assert re.fullmatch(r"cloned main at [0-9a-f]{7} to /workspace/app", lines[0]), shown
    assert re.fullmatch(r"npm: added \d+ packages in \d+(ms|s|m)", lines[1]), shown
    assert lines[2].startswith("log: ➜  Local:"), shown
    assert lines[3:5] == ["page: Hello from the repository, count is 3", "page: Hello from the agent, count is 3"], (
        shown
    )
    assert '+  return "Hello from the agent";' in lines, shown
    assert lines[-2:] == ["egress: allow repository, allow registry", "ok"], shown
    assert (project / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert server.call("GET", "/v1/sandboxes/example-agent").status_code == 404, "it cleans up"
