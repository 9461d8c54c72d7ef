"""A box that ends by itself: what is asked from that moment on waits for the next one, and is answered."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest


def end_box(server: Any, box: str, mark: str) -> None:
    """Kills the init of the box that has this file in its workspace, and returns once it is gone."""
    server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/{mark}", data=b"")
    found = []
    for p in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if p.name() == "cbx-init" and Path(f"/proc/{p.pid}/root/workspace/{mark}").exists():
                found.append(p.pid)
    assert len(found) == 1
    os.kill(found[0], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while psutil.pid_exists(found[0]):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def ask_run(server: Any, box: str) -> None:
    done = server.run(box, "print(6 * 7)")
    assert done["status"] == "ok" and "".join(done["logs"]["stdout"]) == "42\n", done


def ask_run_events(server: Any, box: str) -> None:
    r = server.call(
        "POST",
        f"/v1/sandboxes/{box}/run",
        json={"code": "print(6 * 7)"},
        headers={"Accept": "text/event-stream"},
    )
    assert r.status_code == 200 and '"text":"42' in r.text and '"status":"ok"' in r.text, r.text


def ask_exec(server: Any, box: str) -> None:
    r = server.call("POST", f"/v1/sandboxes/{box}/exec", json={"command": "echo 42"})
    assert r.status_code == 200 and r.json()["stdout"] == "42\n", r.text


def ask_file(server: Any, box: str) -> None:
    r = server.call("GET", f"/v1/sandboxes/{box}/files/workspace/kept")
    assert r.status_code == 200 and r.text == "yes", r.text


def ask_write(server: Any, box: str) -> None:
    r = server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/new", data=b"new")
    assert r.status_code in (200, 201, 204), r.text


def ask_context(server: Any, box: str) -> None:
    r = server.call("POST", f"/v1/sandboxes/{box}/contexts", json={"language": "python"})
    assert r.status_code == 201, r.text
    run = server.call("POST", f"/v1/sandboxes/{box}/contexts/{r.json()['id']}/run", json={"code": "print(42)"})
    assert "".join(run.json()["logs"]["stdout"]) == "42\n", run.text
    assert server.call("DELETE", f"/v1/sandboxes/{box}/contexts/{r.json()['id']}").status_code == 204


def ask_process(server: Any, box: str) -> None:
    r = server.call("POST", f"/v1/sandboxes/{box}/processes", json={"command": "sleep 0.1"})
    assert r.status_code == 201, r.text


def ask_put(server: Any, box: str) -> None:
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={})
    assert r.status_code == 200 and r.json()["state"] == "running", r.text


QUESTIONS = [ask_run, ask_run_events, ask_exec, ask_file, ask_write, ask_context, ask_process, ask_put]


@pytest.mark.parametrize("ask", QUESTIONS)
def test_each_waits_for_the_next_box(server: Any, box: str, ask: Callable[[Any, str], None]) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/kept", data=b"yes")
    ask(server, box)
    for i in range(3):
        end_box(server, box, f"mark-{i}")
        ask(server, box)


def test_all_at_once(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/kept", data=b"yes")
    for ask in QUESTIONS:
        ask(server, box)
    for i in range(3):
        end_box(server, box, f"mark-{i}")
        with ThreadPoolExecutor(len(QUESTIONS)) as pool:
            for done in [pool.submit(ask, server, box) for ask in QUESTIONS]:
                done.result()
