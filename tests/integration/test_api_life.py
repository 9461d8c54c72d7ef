"""Contexts that end, are interrupted, run too long; sandboxes that come and go; a gateway that is killed."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sse import events, kinds, run_events


def text(execution: dict[str, Any], stream: str = "stdout") -> str:
    return "".join(execution["logs"][stream])


def default_context(server: Any, box: str) -> dict[str, Any]:
    return server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"][0]


@pytest.mark.parametrize(
    ("code", "details"),
    [
        ("import os; print('last words', flush=True); os._exit(3)", {"cause": "exit", "exitCode": 3}),
        ("print('last words'); import ctypes; ctypes.string_at(0)", {"cause": "signal", "signal": "SIGSEGV"}),
        (
            "import os, signal; print('last words'); os.kill(os.getpid(), signal.SIGKILL)",
            {"cause": "signal", "signal": "SIGKILL"},
        ),
    ],
)
def test_death_is_named_and_the_box_lives_on(server: Any, box: str, code: str, details: dict[str, Any]) -> None:
    server.run(box, "x = 1; open('/workspace/kept', 'w').write('yes')")
    dead = server.run(box, code)
    assert dead["status"] == "error"
    assert dead["error"]["code"] == "CONTEXT_DIED" and dead["error"]["details"] == details
    assert text(dead) == "last words\n"
    assert default_context(server, box)["state"] == "dead"
    again = server.run(box, "print('x' in globals(), open('/workspace/kept').read())")
    assert text(again) == "False yes\n"
    assert again["contextRestarted"] is True and again["executionCount"] == 1
    assert "contextRestarted" not in server.run(box, "1")


def test_queued_runs_are_aborted_by_a_death(server: Any, box: str) -> None:
    server.run(box, "import time, os")
    results: dict[str, Any] = {}

    def run(name: str, code: str) -> None:
        results[name] = server.run(box, code)

    threads = [threading.Thread(target=run, args=("dying", "time.sleep(.5); os._exit(1)"))]
    threads.append(threading.Thread(target=run, args=("queued", "1")))
    for t in threads:
        t.start()
        time.sleep(0.1)
    for t in threads:
        t.join()
    assert results["dying"]["status"] == "error"
    assert results["queued"]["status"] == "aborted"


def test_out_of_memory(server: Any, box: str) -> None:
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"limits": {"memory": 256 << 20}})
    assert r.status_code == 201, r.text
    e = server.run(box, "x = bytearray(1 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1")
    assert e["error"]["code"] in ("OUT_OF_MEMORY", "EXCEPTION"), e["error"]
    assert e["error"]["name"] in ("OutOfMemoryError", "MemoryError")
    assert server.run(box, "1 + 1")["status"] == "ok"


def test_timeout_interrupts_and_keeps_state(server: Any, box: str) -> None:
    server.run(box, "x = 5; import time")
    e = server.run(box, "print('go', flush=True); time.sleep(60)", timeout=300)
    assert e["error"]["code"] == "TIMEOUT" and e["timing"]["durationMs"] < 5000
    assert any("KeyboardInterrupt" in line for line in e["error"]["traceback"])
    assert server.run(box, "x")["results"][0]["data"]["text/plain"] == "5"


def test_timeout_kills_what_does_not_listen(server: Any, box: str) -> None:
    code = "import time\nwhile True:\n  try:\n    time.sleep(.1)\n  except KeyboardInterrupt: pass"
    e = server.run(box, code, timeout=200)
    assert e["error"]["code"] == "TIMEOUT" and e["timing"]["durationMs"] > 4000
    again = server.run(box, "2")
    assert again["contextRestarted"] is True and again["reason"] == "TIMEOUT"


@pytest.mark.parametrize(
    "code",
    [
        "print('on', flush=True)\nwhile True: pass",
        "print('on', flush=True)\ntime.sleep(60)",
        # From the child: system() ignores SIGINT, so one that comes before there is a child is lost, as in any shell.
        "import os; os.system('echo on; sleep 60')",
    ],
)
def test_interrupt(server: Any, box: str, code: str) -> None:
    server.run(box, "x = 3; import time")
    sent = 0.0
    seen = []
    for event in run_events(server, box, code):
        seen.append(event["type"])
        if event["type"] == "stdout" and not sent:
            ctx = default_context(server, box)
            assert ctx["state"] == "busy"
            server.call("POST", f"/v1/sandboxes/{box}/contexts/{ctx['id']}/interrupt")
            sent = time.monotonic()
    assert sent and time.monotonic() - sent < 10
    assert seen[-1] == "done"
    assert server.run(box, "x")["results"][0]["data"]["text/plain"] == "3"


def test_restart(server: Any, box: str) -> None:
    server.run(box, "x = 1")
    ctx = default_context(server, box)
    assert server.call("POST", f"/v1/sandboxes/{box}/contexts/{ctx['id']}/restart").status_code == 200
    e = server.run(box, "'x' in globals()")
    assert e["results"][0]["data"]["text/plain"] == "False"
    assert e["executionCount"] == 1 and e["context"] == ctx["id"]
    assert "contextRestarted" not in e


def test_contexts_are_apart(server: Any, box: str) -> None:
    server.run(box, "x = 'default'")
    r = server.call(
        "POST",
        f"/v1/sandboxes/{box}/contexts",
        json={"language": "python3", "cwd": "/tmp", "env": {"A": "b", "PYTHONHASHSEED": "0"}, "timeout": 30000},
    )
    assert r.status_code == 201, r.text
    ctx = r.json()
    path = f"/v1/sandboxes/{box}/contexts/{ctx['id']}"
    code = "import os; print(os.getcwd(), os.environ['A'], hash('a') == hash('a'), 'x' in globals())"
    e = server.call("POST", path + "/run", json={"code": code}).json()
    assert text(e) == "/tmp b True False\n"
    assert server.call("DELETE", path).status_code == 204
    assert server.call("GET", path).status_code == 404
    assert server.run(box, "x")["results"][0]["data"]["text/plain"] == "'default'"


def test_kill_the_gateway_while_a_cell_runs(own_server: Any) -> None:
    server = own_server()
    server.run("k", "import time; kept = 'still here'")
    code = "for i in range(3000):\n  print(i, 'x' * 200)\n  if i % 10 == 0: time.sleep(.002)\nkept"
    stream = run_events(server, "k", code)
    execution = next(stream)["executionId"]
    queued = run_events(server, "k", "print('queued', kept)")
    second = next(queued)["executionId"]
    for _ in range(4):
        time.sleep(0.15)
        server.gateway().kill()
        server.wait_ready()
    path = "/v1/sandboxes/k/executions/"
    response = server.call("GET", path + execution, headers={"Accept": "text/event-stream"}, stream=True)
    assert list(events(response))[-1]["type"] == "done"
    e = server.call("GET", path + execution).json()
    assert text(e) == "".join(f"{i} {'x' * 200}\n" for i in range(3000))
    assert e["results"][0]["data"]["text/plain"] == "'still here'"
    response = server.call("GET", path + second, headers={"Accept": "text/event-stream"}, stream=True)
    assert kinds(events(response)) == ["started", "stdout", "done"]
    assert server.run("k", "kept")["executionCount"] == 4


def test_a_stopped_server_remembers_its_sandboxes(own_server: Any) -> None:
    first = own_server()
    first.call("PUT", "/v1/sandboxes/mem", json={"labels": {"a": "b"}, "env": {"E": "1"}})
    first.run("mem", "open('/workspace/f', 'w').write('data')")
    time.sleep(0.3)
    first.stop()
    second = own_server(state=first.state)
    listed = second.call("GET", "/v1/sandboxes").json()["sandboxes"]
    assert [(s["name"], s["state"], s["labels"]) for s in listed] == [("mem", "stopped", {"a": "b"})]
    e = second.run("mem", "import os; print(open('/workspace/f').read(), os.environ['E'])")
    assert text(e) == "data 1\n"
    assert second.call("DELETE", "/v1/sandboxes/mem").status_code == 204
    assert second.call("GET", "/v1/sandboxes/mem").status_code == 404


@pytest.mark.parametrize("language", ["python", "typescript"])
def test_a_context_whose_directory_is_missing_says_so(server: Any, box: str, language: str) -> None:
    """From the pool the first time, then from interpreters that the box starts itself."""
    server.call("PUT", f"/v1/sandboxes/{box}", json={})
    for _ in range(3):
        made = server.call(
            "POST", f"/v1/sandboxes/{box}/contexts", json={"language": language, "cwd": "/not-here"}, timeout=20
        )
        failed = server.call(
            "POST", f"/v1/sandboxes/{box}/run", json={"code": "1", "context": made.json()["id"]}, timeout=20
        ).json()
        assert failed["status"] == "error", failed
        assert failed["error"]["code"] in ("CONTEXT_DIED", "START_FAILED"), failed
        assert "/not-here" in failed["error"]["message"] + text(failed, "stderr"), failed


def test_environments_at_rest_and_in_lists(own_server: Any) -> None:
    """Credentials in an environment: sealed in the registry, named without values in lists."""
    server = own_server("--pool", "0", "--pool-node", "0")
    env = {"TOKEN": "at-rest-4711"}
    assert server.call("PUT", "/v1/sandboxes/sealed", json={"env": env}).status_code == 201
    context = server.call("POST", "/v1/sandboxes/sealed/contexts", json={"env": env}).json()["id"]
    assert server.call("GET", "/v1/sandboxes/sealed").json()["env"] == env
    assert server.call("GET", f"/v1/sandboxes/sealed/contexts/{context}").json()["env"] == env
    for path, key in (("/v1/sandboxes", "sandboxes"), ("/v1/sandboxes/sealed/contexts", "contexts")):
        assert server.call("GET", path).json()[key][-1]["env"] == {"TOKEN": "***"}
    server.stop()
    for file in (server.state / "gateway").rglob("*"):
        assert not file.is_file() or (file.stat().st_mode & 0o077 == 0 and b"at-rest-4711" not in file.read_bytes()), (
            file
        )
    again = own_server("--pool", "0", "--pool-node", "0", state=server.state)
    assert again.call("GET", "/v1/sandboxes/sealed").json()["env"] == env
    assert again.run("sealed", "import os; os.environ['TOKEN']")["results"][0]["data"]["text/plain"] == "'at-rest-4711'"
    again.stop()
    (server.state / "registry.key").write_bytes(b"k" * 32)
    with pytest.raises(RuntimeError, match=r"registry\.key is not the key"):
        own_server("--pool", "0", "--pool-node", "0", state=server.state)
