"""papermill, with its own engine and the kernelspec that `cellbox kernelspec install` writes."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from kernelspec import NAME

SECONDS = 60


def write(path: Path, *cells: str, parameters: str = "n = 1\nname = 'nobody'") -> Path:
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": NAME, "display_name": NAME, "language": "python"}})
    nb.cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    nb.cells += [nbformat.v4.new_code_cell(c) for c in cells]
    nbformat.write(nb, path)
    return path


def test_parameters(installed: Path, tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.ipynb",
        "print('hello', name)",
        "[n * 2, type(n).__name__]",
        "import matplotlib.pyplot as plt; plt.plot([1, n]); plt.show()",
    )
    done = papermill.execute_notebook(
        source,
        tmp_path / "out.ipynb",
        parameters={"n": 21, "name": "Ädä"},
        progress_bar=False,
        execution_timeout=SECONDS,
    )
    assert done.metadata.papermill.exception is None and done.metadata.papermill.parameters.n == 21
    cells = nbformat.read(tmp_path / "out.ipynb", 4).cells
    assert "injected-parameters" in cells[1].metadata.tags
    assert cells[2].outputs[0].text == "hello Ädä\n"
    assert cells[3].outputs[0].data["text/plain"] == "[42, 'int']"
    picture = next(o.data["image/png"] for o in cells[4].outputs if "image/png" in o.get("data", {}))
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert [c.execution_count for c in cells] == [1, 2, 3, 4, 5]
    assert all(c.metadata.papermill.status == "completed" for c in cells)


def test_a_failing_cell(installed: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.ipynb", "print('before')", "1 / 0", "print('never')")
    with pytest.raises(papermill.exceptions.PapermillExecutionError, match="ZeroDivisionError"):
        papermill.execute_notebook(source, tmp_path / "out.ipynb", progress_bar=False)
    cells = nbformat.read(tmp_path / "out.ipynb", 4).cells
    by_source = {c.source: c for c in cells}
    assert by_source["print('before')"].outputs[0].text == "before\n"
    failed = by_source["1 / 0"]
    assert failed.outputs[-1].ename == "ZeroDivisionError" and failed.metadata.papermill.exception is True
    assert by_source["print('never')"].outputs == []
    assert by_source["print('never')"].metadata.papermill.status == "pending"


@pytest.mark.slow
def test_the_command(installed: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.ipynb", "print(n, name)")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("papermill"), source, tmp_path / "out.ipynb", "-p", "n", "7", "-p",
            "name", "Bob",
            "-k", NAME, "--log-output",
        ],
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "7 Bob" in done.stderr


def test_a_timeout_ends_the_run(installed: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.ipynb", "import time; time.sleep(600)")
    with pytest.raises(Exception, match=r"(?i)timed out"):
        papermill.execute_notebook(source, tmp_path / "out.ipynb", progress_bar=False, execution_timeout=2)
