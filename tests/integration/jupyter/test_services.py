"""JupyterLab's client library (@jupyterlab/services) in Node; the tests themselves are in services/*.test.mjs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from targets import Target

SERVICES = Path(__file__).parent / "services"
FILES = sorted(SERVICES.glob("*.test.mjs"))
SECONDS = 300


def names(file: Path) -> list[str]:
    """Names of the tests in a file; one in a loop over the two forms of the WebSocket stands for both."""
    found = re.findall(r'check\((?:"([^"]+)"|`([^`]+)`)', file.read_text())
    return [name.replace("${form}", form) for plain, loop in found for name in [plain or loop] for form in forms(name)]


def forms(name: str) -> list[str]:
    return ["v1", "legacy"] if "${form}" in name else [""]


CASES = [pytest.param(file, name, id=f"{file.name.split('.')[0]}-{name}") for file in FILES for name in names(file)]


class Runs:
    """Each file runs once, when the first of its tests is asked for."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.seen: dict[Path, dict[str, str | None]] = {}

    def of(self, file: Path) -> dict[str, str | None]:
        if file not in self.seen:
            done = subprocess.run(
                ["node", "--test", "--test-reporter=./reporter.mjs", file.name],
                cwd=SERVICES,
                env=os.environ
                | {
                    "TARGET_URL": self.target.url + "/",
                    "TARGET_TOKEN": self.target.token,
                    "TARGET_KERNEL": self.target.kernel,
                },
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            assert lines, f"{file.name} did not run: {done.stderr}"
            self.seen[file] = {line["name"]: line["error"] for line in lines}
        return self.seen[file]


@pytest.fixture(scope="module")
def runs(target: Target) -> Runs:
    return Runs(target)


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize(("file", "name"), CASES)
def test_services(runs: Runs, file: Path, name: str) -> None:
    results = runs.of(file)
    assert name in results, "it did not run"
    if error := results[name]:
        pytest.fail(error, pytrace=False)
