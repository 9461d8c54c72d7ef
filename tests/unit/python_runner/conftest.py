from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Context, Init


@pytest.fixture(scope="session")
def warm() -> Iterator[Init]:
    init = Init("warm")
    yield init
    init.close()


@pytest.fixture(scope="session")
def fresh() -> Iterator[Init]:
    init = Init("fresh")
    yield init
    init.close()


@pytest.fixture(params=["warm", "fresh"])
def init(request: pytest.FixtureRequest) -> Init:
    return request.getfixturevalue(request.param)


@pytest.fixture
def context(warm: Init, tmp_path: Path) -> Iterator[Context]:
    """A context forked from the warm image: what nearly every box runs."""
    context = warm.context(tmp_path)
    yield context
    context.close()
