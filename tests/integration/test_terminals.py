"""Terminals: bytes, size, signals, several viewers, coming back, ends."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
import websocket
from box_calls import Viewer, eventually, execute, get, post, refused


def test_a_shell_in_a_terminal(server: Any, box: str) -> None:
    made = post(server, box, "terminals", 201, id="t", cols=100, rows=30)
    assert (made["cols"], made["rows"], made["status"], made["command"]) == (100, 30, "running", "bash")
    v = Viewer(server, box, "t")
    assert v.message("ready")["id"] == "t"
    v.type(b"stty size; tty; echo $TERM\n")
    seen = v.until(b"xterm-256color\r\n")
    assert b"30 100\r\n" in seen and b"/dev/pts/" in seen
    v.control(json.dumps({"type": "resize", "cols": 132, "rows": 50}))
    v.type(b"stty size\n")
    v.until(b"50 132\r\n")
    assert get(server, box, "terminals/t")["cols"] == 132
    v.type(b"exit 7\n")
    assert v.message("exit") == {"type": "exit", "code": 7}
    while v.read():
        pass
    eventually(lambda: get(server, box, "terminals/t")["status"] == "exited")
    assert get(server, box, "terminals/t")["exitCode"] == 7


def test_job_control_and_signals(server: Any, box: str) -> None:
    post(server, box, "terminals", 201, id="t")
    v = Viewer(server, box, "t")
    v.type(b"sleep 100; echo one-$?\n")
    eventually(lambda: "sleep\x00100" in execute(server, box, "cat /proc/[0-9]*/cmdline")["stdout"])
    v.type(b"\x03")
    v.type(b"echo two-$?\n")
    v.until(b"two-130\r\n")
    v.type(b"sleep 100\n")
    eventually(lambda: "sleep\x00100" in execute(server, box, "cat /proc/[0-9]*/cmdline")["stdout"])
    v.control('{"type":"signal","signal":"SIGTERM"}')
    v.type(b"echo three-$?\n")
    v.until(b"three-143\r\n")


def test_any_program_and_its_bytes(server: Any, box: str) -> None:
    post(server, box, "terminals", 201, id="t", command=["sh", "-c", "stty raw -echo; echo go; exec cat"])
    v = Viewer(server, box, "t")
    v.until(b"go")
    data = bytes(range(256)) * 40
    v.type(data)
    v.until(b"\n")
    got = b""
    while len(got) < len(data):
        v.read()
        got, v.shown = got + v.shown, b""
    assert got == data


def test_replay_several_viewers_and_read_only_ones(server: Any, box: str) -> None:
    post(server, box, "terminals", 201, id="t", command="seq 1 40000; echo end; read x; echo got $x; read y")
    first = Viewer(server, box, "t")
    whole = first.until(b"end\r\n")
    assert len(whole) > 256 << 10  # 40000 lines, all of them kept
    second = Viewer(server, box, "t", "readOnly=1")
    assert second.until(b"end\r\n") == whole
    ready = second.message("ready")
    assert ready["readOnly"] is True and ready["cursor"] == len(whole)
    assert get(server, box, "terminals/t")["viewers"] == 2
    second.type(b"no\n")
    assert "read-only" in second.message("error")["message"]
    second.control('{"type":"resize","cols":1,"rows":1}')
    assert "read-only" in second.message("error")["message"]
    first.type(b"hello\n")
    first.until(b"got hello\r\n")
    second.until(b"got hello\r\n")
    first.close()
    third = Viewer(server, box, "t", f"cursor={ready['cursor']}")  # from where it was
    third.message("ready")
    assert third.shown == b"hello\r\ngot hello\r\n"


def test_bad_messages_keep_the_connection(server: Any, box: str) -> None:
    post(server, box, "terminals", 201, id="t", command="cat")
    v = Viewer(server, box, "t")
    for bad in (
        "garbage",
        "[]",
        "{}",
        '{"type":"x"}',
        '{"type":"resize"}',
        '{"type":"resize","cols":0,"rows":5}',
        '{"type":"resize","cols":-1,"rows":5}',
        '{"type":"resize","cols":99999,"rows":5}',
        '{"type":"signal","signal":"SIGNOPE"}',
        "{" * 5000,
    ):
        v.control(bad)
        assert v.message("error")
    v.type(b"still\n")
    v.until(b"still\r\nstill\r\n")


def test_refusals(server: Any, box: str) -> None:
    assert refused(server, box, "terminals", 404, command=["no-such"]) == "COMMAND_NOT_FOUND"
    assert refused(server, box, "terminals", 400, cols=0) == "INVALID_FIELD"
    assert refused(server, box, "terminals", 400, rows=70000) == "INVALID_FIELD"
    post(server, box, "terminals", 201, id="t", command="cat")
    assert refused(server, box, "terminals", 409, id="t") == "PROCESS_EXISTS"
    assert server.call("GET", f"/v1/sandboxes/{box}/terminals/t/attach").status_code == 426
    post(server, box, "processes", 201, processId="p", command="sleep 60")
    for name in ("nope", "p"):  # a process is no terminal
        with pytest.raises(websocket.WebSocketBadStatusException) as e:
            Viewer(server, box, name)
        assert e.value.status_code == 404
    with pytest.raises(websocket.WebSocketBadStatusException) as e:
        Viewer(server, box, "t", "cursor=x")
    assert e.value.status_code == 400


def test_input_that_nobody_reads_is_bounded(server: Any, box: str) -> None:
    post(server, box, "terminals", 201, id="t", command=["sh", "-c", "stty raw -echo; echo go; sleep 600"])
    v = Viewer(server, box, "t")
    v.until(b"go")
    with pytest.raises((websocket.WebSocketException, OSError, AssertionError)):
        for _ in range(64):
            v.type(b"x" * (512 << 10))
        while v.read():
            pass
        raise AssertionError
    assert execute(server, box, "echo alive")["stdout"] == "alive\n"


def test_a_flood_that_nobody_reads_costs_nothing(server: Any, box: str) -> None:
    post(server, box, "terminals", 201, id="t", command="yes")
    v = Viewer(server, box, "t")
    v.message("ready")
    before = server.gateway().memory_info().rss
    for _ in range(10):
        execute(server, box, "sleep 0.1")
    assert server.gateway().memory_info().rss - before < 64 << 20
    server.call("DELETE", f"/v1/sandboxes/{box}/terminals/t")
    while v.read():  # it ends, and says so
        v.shown = b""
    assert v.message("exit")["code"] in (129, 137)


def test_terminals_outlive_the_gateway(own_server: Any) -> None:
    server = own_server()
    post(server, "b", "terminals", 201, id="t")
    v = Viewer(server, "b", "t")
    v.type(b"x=remembered; echo set-$((1+1))\n")
    v.until(b"set-2")
    old = server.gateway()
    os.kill(old.pid, signal.SIGKILL)
    old.wait(20)
    server.wait_ready()
    v = Viewer(server, "b", "t")
    assert b"set-2" in v.until(b"set-2")
    v.message("ready")
    v.type(b"echo $x\n")
    v.until(b"remembered\r\n")


def test_the_list_and_the_end(server: Any, box: str) -> None:
    for name in ("a", "b"):
        post(server, box, "terminals", 201, id=name)
    assert sorted(t["id"] for t in get(server, box, "terminals")["terminals"]) == ["a", "b"]
    v = Viewer(server, box, "a")
    v.message("ready")
    assert server.call("DELETE", f"/v1/sandboxes/{box}/terminals/a").status_code == 204
    v.message("exit")
    assert [t["id"] for t in get(server, box, "terminals")["terminals"]] == ["b"]
