"""The Jupyter server that the clients in jupyter/ are pointed at: Cellbox.

JUPYTER_TARGET="URL TOKEN KERNEL" points them at another one, which tells a fault of a test from a fault of Cellbox.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import requests


@dataclass(frozen=True)
class Target:
    url: str
    token: str
    kernel: str

    def call(self, method: str, path: str, **kw: Any) -> requests.Response:
        kw.setdefault("timeout", 60)
        return requests.request(method, self.url + path, headers={"Authorization": f"token {self.token}"}, **kw)

    def kernels(self) -> set[str]:
        return {k["id"] for k in self.call("GET", "/api/kernels").json()}


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    if other := os.environ.get("JUPYTER_TARGET"):
        return Target(*other.split())
    server = request.getfixturevalue("server")
    return Target(server.url, server.token, "python")


def eventually(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never came true: {what}"
        time.sleep(0.05)
