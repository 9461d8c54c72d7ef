"""POST .../notebooks:execute and `cellbox notebook run`, as papermill users would use them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import BUILD, ROOT, TOKEN, Server
from sse import events

pytestmark = pytest.mark.smoke


def notebook(*cells: str | dict[str, Any], **metadata: Any) -> dict[str, Any]:
    nb = nbformat.v4.new_notebook(metadata=metadata)
    for cell in cells:
        nb.cells.append(nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else nbformat.from_dict(cell))
    return json.loads(nbformat.writes(nb))


def tagged(source: str, *tags: str) -> dict[str, Any]:
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})


def execute(server: Server, box: str, **body: Any) -> Any:
    return server.call("POST", f"/v1/sandboxes/{box}/notebooks:execute", json=body, timeout=120)


def stdout(cell: dict[str, Any]) -> str:
    return "".join("".join(o["text"]) for o in cell["outputs"] if o.get("name") == "stdout")


def test_executed_notebook(server: Server, box: str) -> None:
    nb = notebook(
        tagged("a = 1\nb = 'x'", "parameters"),
        "print(a, b, flush=True)\na * 2",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "h = display('one', display_id=True); h.update('two')",
        "import sys; print('err', file=sys.stderr)",
        "from IPython.display import clear_output\nprint('gone'); clear_output(); print('kept')",
    )
    r = execute(server, box, notebook=nb, parameters={"a": 20, "b": "ü'"})
    assert r.status_code == 200, r.text
    done = r.json()
    assert (done["status"], done["executed"], done["cells"]) == ("ok", 7, 7)
    nbformat.validate(done["notebook"])
    cells = done["notebook"]["cells"]
    assert cells[1]["metadata"]["tags"] == ["injected-parameters"]
    assert stdout(cells[2]) == "20 ü'\n"
    assert cells[2]["outputs"][-1]["data"]["text/plain"] == "40"
    assert cells[2]["execution_count"] == 3
    assert "image/png" in cells[3]["outputs"][0]["data"]
    assert [o["data"]["text/plain"] for o in cells[4]["outputs"]] == ["'two'"]
    assert cells[5]["outputs"][0]["name"] == "stderr"
    assert stdout(cells[6]) == "kept\n"
    assert done["notebook"]["metadata"]["language_info"]["name"] == "python"
    # The context was the run's own.
    assert server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"] == []


def test_a_failing_cell_ends_the_run(server: Server, box: str) -> None:
    nb = notebook("print('in')", "1/0", "print('never')")
    done = execute(server, box, notebook=nb).json()
    assert done["status"] == "error"
    assert done["error"] == {"cell": 1, "name": "ZeroDivisionError", "message": "division by zero"}
    cells = done["notebook"]["cells"]
    assert stdout(cells[0]) == "in\n"
    assert cells[1]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert cells[2]["outputs"] == []
    assert cells[2]["execution_count"] is None
    done = execute(server, box, notebook=nb, allowErrors=True).json()
    assert done["status"] == "ok"
    assert stdout(done["notebook"]["cells"][2]) == "never\n"


def test_time_limit_and_death(server: Server, box: str) -> None:
    done = execute(server, box, notebook=notebook("while True: pass", "1"), timeout=300).json()
    assert done["error"]["name"] == "TimeoutError"
    done = execute(server, box, notebook=notebook("import os; os._exit(3)", "1")).json()
    assert done["error"]["name"] == "ContextDied"
    assert done["executed"] == 1


def test_progress(server: Server, box: str) -> None:
    r = server.call(
        "POST",
        f"/v1/sandboxes/{box}/notebooks:execute",
        json={"notebook": notebook("1", "2", {"cell_type": "markdown", "source": "m", "metadata": {}, "id": "m"}, "3")},
        headers={"Accept": "text/event-stream"},
        stream=True,
    )
    got = list(events(r))
    assert [e["type"] for e in got] == ["started", *["cell_started", "cell_done"] * 3, "done"]
    assert [e["index"] for e in got if e["type"] == "cell_done"] == [0, 1, 3]
    assert got[2]["outputs"][0]["data"]["text/plain"] == "1"
    assert got[-1]["notebook"]["cells"][3]["execution_count"] == 3


def test_a_client_that_leaves_ends_the_run(server: Server, box: str) -> None:
    r = server.call(
        "POST",
        f"/v1/sandboxes/{box}/notebooks:execute",
        json={"notebook": notebook("while True: pass")},
        headers={"Accept": "text/event-stream"},
        stream=True,
    )
    next(iter(events(r)))
    r.close()
    for _ in range(500):
        if server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"] == []:
            return
        time.sleep(0.02)
    raise AssertionError("the context is still there")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "MISSING_FIELD"),
        ({"notebook": {}}, "INVALID_NOTEBOOK"),
        ({"notebook": {"nbformat": 3, "worksheets": []}}, "INVALID_NOTEBOOK"),
        ({"notebook": notebook("1"), "parameters": {"not a name": 1}}, "INVALID_PARAMETERS"),
        ({"notebook": notebook("1"), "language": "cobol"}, "INVALID_LANGUAGE"),
        (
            {"notebook": notebook("1", kernelspec={"name": "ir", "language": "R", "display_name": "R"})},
            "INVALID_LANGUAGE",
        ),
        ({"notebook": notebook("1"), "unknown": 1}, "UNKNOWN_FIELD"),
    ],
)
def test_bad_requests(server: Server, box: str, body: dict[str, Any], code: str) -> None:
    r = execute(server, box, **body)
    assert r.status_code == 400
    assert r.json()["error"]["code"] == code


def cellbox(server: Server, *args: str | Path, **kw: Any) -> subprocess.CompletedProcess[str]:
    env = {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [BUILD / "bin" / "cellbox", "notebook", "run", *args],
        env=env,
        text=True,
        capture_output=True,
        timeout=120,
        **kw,
    )


def test_cli(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    before = len(server.call("GET", "/v1/sandboxes").json()["sandboxes"])
    done = cellbox(server, ROOT / "docs/examples/penguins.ipynb", out, "-p", "x=1", "-r", "y=1")
    assert done.returncode == 0, done.stderr
    nb = nbformat.read(out, as_version=4)
    nbformat.validate(nb)
    assert nb.cells[0].source == '# Parameters\nx = 1\ny = "1"\n'
    assert any("image/png" in o.get("data", {}) for c in nb.cells for o in c.get("outputs", []))
    assert "15/15" in done.stderr
    assert len(server.call("GET", "/v1/sandboxes").json()["sandboxes"]) == before
    again = cellbox(server, ROOT / "docs/examples/penguins.ipynb", out)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_cli_failures(server: Server, tmp_path: Path) -> None:
    source, out = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    source.write_text(json.dumps(notebook("print(1)", "1/0")))
    failed = cellbox(server, source, out)
    assert failed.returncode == 1
    assert "cell 2 failed: ZeroDivisionError" in failed.stderr
    assert stdout(json.loads(out.read_text())["cells"][0]) == "1\n"  # what there was until then
    source.write_text("no json")
    assert cellbox(server, source, out, "--overwrite").returncode == 2
    assert cellbox(server, tmp_path / "missing.ipynb", out).returncode == 2
    assert cellbox(server, source).returncode == 2


def test_cli_interrupted(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "in.ipynb"
    source.write_text(json.dumps(notebook("1", "while True: pass")))
    env = {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(
        [BUILD / "bin" / "cellbox", "notebook", "run", source, tmp_path / "out.ipynb"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    assert "1/2" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert not (tmp_path / "out.ipynb").exists()
