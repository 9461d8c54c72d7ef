"""The handlers' worker, driven by frames as egress sends them."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def test_worker() -> None:
    r = subprocess.run(
        ["/usr/bin/node", "--test", "--test-reporter=tap", HERE / "worker.test.mjs"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert r.returncode == 0, r.stdout + r.stderr
    assert "# fail 0" in r.stdout and "# pass 0" not in r.stdout, r.stdout
