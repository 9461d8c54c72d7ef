"""The conformance cells, straight through the frame protocol."""

from __future__ import annotations

import pytest
from harness import DISPLAY, RESULT
from node_cells import ALL, Cell
from nodes import Init


@pytest.mark.parametrize(("language", "name", "cells"), ALL, ids=[name for _, name, _ in ALL])
def test_cells(node_init: Init, language: str, name: str, cells: list[Cell]) -> None:
    context = node_init.node(language)
    for cell in cells:
        run = context.run(cell.code)
        described = f"{cell.code!r}: {run.messages}"
        assert (run.error or {}).get("ename") == cell.error, described
        if run.error:
            assert (cell.message or "") in run.error["evalue"], described
            text = "\n".join(run.error["traceback"])
            assert all(part in text for part in cell.trace), described
            assert "/opt/cellbox" not in text and "node:internal" not in text.replace("(node:internal", ""), described
        results = run.of(RESULT)
        assert (results[0].json[0]["text/plain"] if results else None) == cell.value, described
        assert (set(results[0].json[0]) - {"text/plain"} if results else set()) == cell.mimes, described
        assert run.text() == cell.out, described
        assert cell.err is None or run.text(2) == cell.err, described
        assert [set(m.json[0]) for m in run.of(DISPLAY)] == cell.shown, described
    context.close()
