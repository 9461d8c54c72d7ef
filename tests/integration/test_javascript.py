"""JavaScript and TypeScript through /v1: the conformance cells, errors that end a context, interrupts, the pool."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from node_cells import ALL, Cell
from sse import run_events


@pytest.mark.parametrize(("language", "name", "cells"), ALL, ids=[name for _, name, _ in ALL])
def test_cells(server: Any, box: str, language: str, name: str, cells: list[Cell]) -> None:
    for cell in cells:
        done = server.run(box, cell.code, language=language)
        described = f"{cell.code!r}: {done}"
        error = done.get("error") or {}
        assert error.get("name") == cell.error, described
        if cell.error:
            assert (cell.message or "") in error["message"], described
            assert all(part in "\n".join(error["traceback"]) for part in cell.trace), described
        main = [r["data"] for r in done["results"] if r["isMainResult"]]
        assert (main[0]["text/plain"] if main else None) == cell.value, described
        assert (set(main[0]) - {"text/plain"} if main else set()) == cell.mimes, described
        shown = [set(r["data"]) for r in done["results"] if not r["isMainResult"]]
        assert shown == cell.shown, described
        assert "".join(done["logs"]["stdout"]) == cell.out, described
        assert cell.err is None or "".join(done["logs"]["stderr"]) == cell.err, described


def test_events_as_they_happen(server: Any, box: str) -> None:
    stream = run_events(
        server,
        box,
        "console.log('one'); await new Promise((r) => setTimeout(r, 50)); console.error('two'); display.html`<p>`; 3",
        language="js",
    )
    assert [e["type"] for e in stream if e["type"] in ("stdout", "stderr", "display", "result", "done")] == [
        "stdout", "stderr", "display", "result", "done",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "name", "code_of_error", "part"),
    [
        ("process.exit(3)", "ContextDied", "CONTEXT_DIED", "status 3"),
        ("process.abort()", "ContextDied", "CONTEXT_DIED", "SIGABRT"),
        ("process.kill(process.pid, 'SIGKILL'); for (;;);", "ContextDied", "CONTEXT_DIED", "SIGKILL"),
    ],
)
def test_death_is_typed_and_the_context_starts_again(
    server: Any, box: str, code: str, name: str, code_of_error: str, part: str
) -> None:
    server.run(box, "globalThis.lost = 1", language="javascript")
    done = server.run(box, f"console.log('before'); {code}", language="javascript")
    assert done["logs"]["stdout"] == ["before\n"]
    assert (done["error"]["name"], done["error"]["code"]) == (name, code_of_error)
    assert part in done["error"]["message"]
    assert server.run(box, "typeof lost", language="javascript")["results"][0]["data"]["text/plain"] == "'undefined'"


@pytest.mark.parametrize("language", ["javascript", "typescript"])
@pytest.mark.parametrize(
    "code", ["while (true) {}", "await new Promise(() => {})", "require('child_process').execSync('sleep 60')"]
)
def test_timeout_keeps_the_state(server: Any, box: str, language: str, code: str) -> None:
    server.run(box, "let kept = 1", language=language)
    done = server.run(box, code, language=language, timeout=300)
    assert done["status"] == "error" and done["error"]["code"] == "TIMEOUT"
    assert server.run(box, "kept + 1", language=language)["results"][0]["data"]["text/plain"] == "2"


def test_interrupt_and_questions_meanwhile(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}")
    context = server.call("POST", f"/v1/sandboxes/{box}/contexts", json={"language": "javascript"}).json()["id"]
    path = f"/v1/sandboxes/{box}/contexts/{context}"
    stream = run_events(server, box, "const seen = { alpha: 1 }; console.log('go'); for (;;);", context=context)
    for event in stream:
        if event["type"] == "stdout":
            break
    found = server.call("POST", f"{path}/complete", json={"code": "seen.al", "cursorPos": 7}, timeout=10).json()
    assert found["matches"] == ["alpha"]
    inspected = server.call("POST", f"{path}/inspect", json={"code": "seen", "cursorPos": 4}, timeout=10).json()
    assert "alpha: 1" in inspected["data"]["text/plain"]
    assert server.call("POST", f"{path}/interrupt").status_code in (200, 202, 204)
    errors = [e for e in stream if e["type"] == "error"]
    assert errors and errors[0]["name"] == "Interrupted"
    done = server.call("POST", f"{path}/run", json={"code": "seen.alpha"}).json()
    assert done["results"][0]["data"]["text/plain"] == "1"


def test_input(server: Any, box: str) -> None:
    stream = run_events(server, box, "prompt('Name?') + '!'", language="ts", allowStdin=True)
    for event in stream:
        if event["type"] == "input_request":
            assert event["prompt"] == "Name? "
            answer = server.call(
                "POST",
                f"/v1/sandboxes/{box}/contexts/{context_of(server, box)}/input",
                json={"value": "Ada"},
            )
            assert answer.status_code < 300, answer.text
        if event["type"] == "result":
            assert event["data"]["text/plain"] == "'Ada!'"
            break
    else:
        pytest.fail("no result")


def context_of(server: Any, box: str) -> str:
    return str(server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"][0]["id"])


def test_contexts_are_processes_of_one_box(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}")
    pids = set()
    for language in ("javascript", "javascript", "typescript", "python"):
        made = server.call("POST", f"/v1/sandboxes/{box}/contexts", json={"language": language})
        assert made.status_code in (200, 201), made.text
        path = f"/v1/sandboxes/{box}/contexts/{made.json()['id']}/run"
        code = "import os; open('shared.txt', 'w').write('x'); os.getpid()" if language == "python" else "process.pid"
        pids.add(server.call("POST", path, json={"code": code}).json()["results"][0]["data"]["text/plain"])
    assert len(pids) == 4
    done = server.run(box, "require('fs').readFileSync('shared.txt', 'utf8')", language="node")
    assert done["results"][0]["data"]["text/plain"] == "'x'"


def test_environment_and_options(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}")
    made = server.call(
        "POST",
        f"/v1/sandboxes/{box}/contexts",
        json={"language": "javascript", "env": {"NODE_OPTIONS": "--max-old-space-size=77", "A": "b"}, "cwd": "/tmp"},
    )
    path = f"/v1/sandboxes/{box}/contexts/{made.json()['id']}/run"
    code = (
        "[process.env.A, process.cwd(), Math.round(require('v8').getHeapStatistics().heap_size_limit / 2 ** 20) < 1000]"
    )
    assert server.call("POST", path, json={"code": code}).json()["results"][0]["data"]["application/json"] == [
        "b",
        "/tmp",
        True,
    ]


def test_restart(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}")
    context = server.call("POST", f"/v1/sandboxes/{box}/contexts", json={"language": "typescript"}).json()["id"]
    path = f"/v1/sandboxes/{box}/contexts/{context}"
    server.call(
        "POST",
        f"{path}/run",
        json={"code": "let gone: number = 1; process.on('exit', () => require('fs').writeFileSync('hook', 'ran'))"},
    )
    assert server.call("POST", f"{path}/restart").status_code < 300
    done = server.call("POST", f"{path}/run", json={"code": "typeof gone + require('fs').readFileSync('hook')"}).json()
    assert done["results"][0]["data"]["text/plain"] == "'undefinedran'"


def test_warm_boxes_serve_both_languages(own_server: Any) -> None:
    server = own_server("--pool", "0", "--pool-node", "2")
    for language in ("javascript", "typescript"):
        deadline = time.monotonic() + 60
        while "pool_ready 2" not in server.call("GET", "/metrics").text:
            assert time.monotonic() < deadline, server.call("GET", "/metrics").text
            time.sleep(0.05)
        done = server.run(f"warm-{language}", "1 + 1", language=language)
        assert done["results"][0]["data"]["text/plain"] == "2"
        kind = server.run(
            f"warm-{language}",
            "let x: number = 1; x" if language == "typescript" else "let x = 1; x",
            language=language,
        )
        assert kind["results"][0]["data"]["text/plain"] == "1"
    assert "pool_hits_total 2" in server.call("GET", "/metrics").text


def test_survives_the_gateway(own_server: Any) -> None:
    server = own_server("--pool", "0")
    server.run("b", "globalThis.state = [1]", language="javascript")
    done: dict[str, Any] = {}

    def wait() -> None:
        done.update(server.call("GET", f"/v1/sandboxes/b/executions/{execution}").json())

    stream = run_events(
        server,
        "b",
        "console.log('on'); await new Promise((r) => setTimeout(r, 1500)); console.log('off'); state.length",
        language="javascript",
    )
    execution = ""
    for event in stream:
        execution = event["executionId"]
        if event["type"] == "stdout":
            break
    server.gateway().kill()
    server.wait_ready()
    deadline = time.monotonic() + 30
    while done.get("status") not in ("ok", "error"):
        assert time.monotonic() < deadline, done
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(10)
        time.sleep(0.05)
    assert "".join(done["logs"]["stdout"]) == "on\noff\n"
    assert done["results"][0]["data"]["text/plain"] == "1"


def test_type_checks(server: Any, box: str) -> None:
    done = server.run(box, "let n: number = 'text'; n", language="typescript", typecheck="warn")
    shown = [r["data"] for r in done["results"] if not r["isMainResult"]]
    assert shown[0]["application/vnd.cellbox.diagnostics+json"]["diagnostics"][0]["code"] == 2322
    assert done["status"] == "ok"
    context = server.call(
        "POST", f"/v1/sandboxes/{box}/contexts", json={"language": "typescript", "typecheck": "error"}
    ).json()["id"]
    done = server.call(
        "POST", f"/v1/sandboxes/{box}/contexts/{context}/run", json={"code": "let n: number = 'text'"}
    ).json()
    assert done["error"]["name"] == "TypeCheckError"
    refused = server.call("POST", f"/v1/sandboxes/{box}/run", json={"code": "1", "typecheck": "loudly"})
    assert refused.status_code == 400 and refused.json()["error"]["details"]["field"] == "typecheck"
