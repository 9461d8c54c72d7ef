"""Running code over /v1: state, streaming, errors, input, queueing."""

from __future__ import annotations

import threading
import time
from typing import Any

from sse import events, kinds, run_events


def text(execution: dict[str, Any], stream: str = "stdout") -> str:
    return "".join(execution["logs"][stream])


def test_state_lasts_and_counts(server: Any, box: str) -> None:
    first = server.run(box, "x = 20\nprint('hi')\nx + 1")
    second = server.run(box, "x * 2.1")
    assert first["status"] == "ok"
    assert first["results"] == [{"isMainResult": True, "data": {"text/plain": "21"}, "metadata": {}}]
    assert text(first) == "hi\n"
    assert (first["executionCount"], second["executionCount"]) == (1, 2)
    assert second["results"][0]["data"]["text/plain"] == "42.0"
    assert second["timing"]["durationMs"] >= 0


def test_error_is_data(server: Any, box: str) -> None:
    e = server.run(box, "print('before')\n1/0")
    assert e["status"] == "error"
    assert (e["error"]["code"], e["error"]["name"]) == ("EXCEPTION", "ZeroDivisionError")
    assert any("ZeroDivisionError" in line for line in e["error"]["traceback"])
    assert text(e) == "before\n"


def test_events_arrive_while_the_cell_runs(server: Any, box: str) -> None:
    server.run(box, "import time")
    seen = []
    start = time.monotonic()
    for event in run_events(server, box, "print('a', flush=True)\ntime.sleep(1)\nprint('b')\n7"):
        seen.append((event["type"], time.monotonic() - start))
    assert seen[0][0] == "started" and [kind for kind, _ in seen[-2:]] == ["result", "done"]
    assert seen[1][0] == "stdout" and seen[1][1] < 0.9 <= seen[-2][1]


def test_rich_results(server: Any, box: str) -> None:
    e = server.run(
        box,
        "from IPython.display import display, JSON, Latex, Markdown\n"
        "import pandas as pd\n"
        "display(JSON({'a': [1]}), Latex('$x$'), Markdown('**m**'))\n"
        "h = display(1, display_id='d'); h.update(2)\n"
        "pd.DataFrame({'x': [1, 2]})",
    )
    bundles = [r["data"] for r in e["results"]]
    assert {"a": [1]} in [b.get("application/json") for b in bundles]
    assert any(b.get("text/latex") == "$x$" for b in bundles)
    assert any(b.get("text/markdown") == "**m**" for b in bundles)
    assert [r["data"]["text/plain"] for r in e["results"] if r.get("displayId") == "d"] == ["2"]
    assert "<table" in bundles[-1]["text/html"]
    assert [r["isMainResult"] for r in e["results"]] == [False, False, False, False, True]


def test_figure_formats(server: Any, box: str) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nNone"
    assert "image/png" in server.run(box, code)["results"][-1]["data"]
    assert "image/svg+xml" in server.run(box, code, formats=["svg"])["results"][-1]["data"]


def test_env_is_for_one_run(server: Any, box: str) -> None:
    code = "import os; print(os.environ.get('CELL_VAR'))"
    assert text(server.run(box, code, env={"CELL_VAR": "v"})) == "v\n"
    assert text(server.run(box, code)) == "None\n"


def test_bytes_and_split_characters(server: Any, box: str) -> None:
    server.run(box, "import os, time")
    e = server.run(
        box, "os.write(1, b'\\xc3'); time.sleep(.2); os.write(1, b'\\xa9 \\xff.'); os.write(1, b'\\xe2\\x82')"
    )
    assert text(e) == "é \ufffd.\ufffd"


def test_large_output_is_whole(server: Any, box: str) -> None:
    e = server.run(box, "import sys; _ = sys.stdout.write('0123456789' * 2_000_000)")
    assert text(e) == "0123456789" * 2_000_000
    lines = text(server.run(box, "for i in range(50_000): print(i)"))
    assert lines == "".join(f"{i}\n" for i in range(50_000))


def test_slow_reader_loses_nothing(server: Any, box: str) -> None:
    code = "for i in range(200): print(str(i) * 20_000)"
    response = server.call(
        "POST", f"/v1/sandboxes/{box}/run", json={"code": code}, headers={"Accept": "text/event-stream"}, stream=True
    )
    time.sleep(1.5)  # nothing is read meanwhile; the context must not wait for us
    assert text(server.run(box, "print('next')")) == "next\n"
    got = "".join(e["text"] for e in events(response) if e["type"] == "stdout")
    assert got == "".join(str(i) * 20_000 + "\n" for i in range(200))


def test_a_client_that_leaves_loses_nothing(server: Any, box: str) -> None:
    server.run(box, "import time")
    stream = run_events(server, box, "print(1, flush=True)\ntime.sleep(.5)\nprint(2)\n'end'")
    execution = next(stream)["executionId"]
    next(stream)
    stream.close()
    path = f"/v1/sandboxes/{box}/executions/{execution}"
    assert server.call("GET", path).json()["status"] == "running"
    response = server.call("GET", path, headers={"Accept": "text/event-stream"}, stream=True)
    seen = list(events(response))
    assert kinds(iter(seen)) == ["started", "stdout", "result", "done"]
    e = server.call("GET", path).json()
    assert (text(e), e["status"], e["code"][:5]) == ("1\n2\n", "ok", "print")
    response = server.call("GET", path, headers={"Accept": "text/event-stream", "Last-Event-ID": "2"}, stream=True)
    assert list(events(response)) == seen[3:]


def test_calls_queue_in_order(server: Any, box: str) -> None:
    server.run(box, "import time; seen = []")
    threads = []
    for i in range(8):
        t = threading.Thread(target=server.run, args=(box, f"time.sleep(.05); seen.append({i})"))
        t.start()
        threads.append(t)
        time.sleep(0.02)
    for t in threads:
        t.join()
    assert server.run(box, "seen")["results"][0]["data"]["text/plain"] == "[0, 1, 2, 3, 4, 5, 6, 7]"


def test_input(server: Any, box: str) -> None:
    got: list[dict[str, Any]] = []
    for event in run_events(server, box, "name = input('who? ')\nprint('hi', name)", allowStdin=True):
        got.append(event)
        if event["type"] == "input_request":
            assert event["prompt"] == "who? " and event["password"] is False
            contexts = server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"]
            path = f"/v1/sandboxes/{box}/contexts/{contexts[0]['id']}/input"
            body = {"value": "me", "executionId": event["executionId"]}
            assert server.call("POST", path, json=body).status_code == 204
            assert server.call("POST", path, json=body).status_code == 409
    assert kinds(iter(got)) == ["started", "input_request", "stdout", "done"]
    e = server.run(box, "input()")
    assert e["error"]["name"] == "StdinNotImplementedError"


def test_complete_and_inspect(server: Any, box: str) -> None:
    server.run(box, "import os")
    ctx = server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"][0]["id"]
    base = f"/v1/sandboxes/{box}/contexts/{ctx}"
    r = server.call("POST", base + "/complete", json={"code": "os.pat"}).json()
    assert any(m.endswith("path") for m in r["matches"]) and r["cursorEnd"] == 6
    r = server.call("POST", base + "/inspect", json={"code": "os.getcwd"}).json()
    assert r["found"] and "text/plain" in r["data"]
