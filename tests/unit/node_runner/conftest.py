from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))

import nodes


@pytest.fixture(scope="session")
def node_init(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.Init]:
    with nodes.started(tmp_path_factory.mktemp("node")) as init:
        yield init


@pytest.fixture
def node(node_init: nodes.Init) -> Iterator[nodes.Node]:
    context = node_init.node()
    yield context
    context.close()


@pytest.fixture
def typescript(node_init: nodes.Init) -> Iterator[nodes.Node]:
    context = node_init.node("typescript")
    yield context
    context.close()
