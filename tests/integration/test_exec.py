"""Commands in a box: output, ends, limits, cancelling, hostile input."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from typing import Any

import pytest
import requests
from box_calls import EVENTS, eventually, execute, post, processes_of, refused, stream
from sse import events, kinds


def test_output_streams_and_code(server: Any, box: str) -> None:
    r = execute(server, box, "echo out; echo err >&2; exit 3")
    assert (r["stdout"], r["stderr"], r["exitCode"], r["signal"]) == ("out\n", "err\n", 3, None)
    assert r["success"] is False and r["timedOut"] is False and r["truncated"] is False
    assert r["command"] == "echo out; echo err >&2; exit 3" and r["durationMs"] > 0
    r = execute(server, box, ["printf", "%s|", "a b", "", "$HOME"])
    assert r["stdout"] == "a b||$HOME|" and r["success"] is True


def test_place_user_and_environment(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}", json={"env": {"FROM_BOX": "box", "BOTH": "box"}})
    r = execute(server, box, "id -u; pwd; echo $FROM_BOX $BOTH $HOME $MINE", env={"BOTH": "own", "MINE": "x=y"})
    assert r["stdout"] == "1000\n/workspace\nbox own /home/user x=y\n"
    assert execute(server, box, "pwd", cwd="/tmp")["stdout"] == "/tmp\n"
    execute(server, box, "mkdir -p sub/dir")
    assert execute(server, box, "pwd", cwd="sub/dir")["stdout"] == "/workspace/sub/dir\n"
    assert execute(server, box, ["sh", "-c", "grep -c . /proc/self/status; ls /proc/self/fd | wc -l"])["exitCode"] == 0
    # 0 1 2 and the directory that ls reads
    assert execute(server, box, ["ls", "/proc/self/fd"])["stdout"].split() == ["0", "1", "2", "3"]


def test_default_signals(server: Any, box: str) -> None:
    r = execute(server, box, ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])
    assert [line.split()[1] for line in r["stdout"].splitlines()] == ["0" * 16] * 2


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"command": ["no-such-program"]}, 404, "COMMAND_NOT_FOUND"),
        ({"command": ["/no/such/program"]}, 404, "COMMAND_NOT_FOUND"),
        ({"command": ["/etc/passwd"]}, 403, "PERMISSION_DENIED"),
        ({"command": ["/tmp"]}, 403, "PERMISSION_DENIED"),
        ({"command": "true", "cwd": "/no/such/place"}, 404, "CWD_NOT_FOUND"),
        ({"command": "true", "cwd": "/etc/passwd"}, 400, "CWD_NOT_DIRECTORY"),
        ({"command": "true", "cwd": "/root"}, 403, "PERMISSION_DENIED"),
        ({"command": ["echo", "x" * 200_000]}, 413, "COMMAND_TOO_LARGE"),
        ({"command": ""}, 400, "INVALID_FIELD"),
        ({"command": []}, 400, "INVALID_FIELD"),
        ({"command": [""]}, 400, "INVALID_FIELD"),
        ({"command": ["a", 1]}, 400, "INVALID_FIELD"),
        ({"command": "a\0b"}, 400, "INVALID_FIELD"),
        ({"command": "true", "timeout": 0}, 400, "INVALID_FIELD"),
        ({"command": "true", "stdin": "%%%", "stdinEncoding": "base64"}, 400, "INVALID_FIELD"),
        ({"command": "true", "encoding": "latin1"}, 400, "INVALID_FIELD"),
        ({"command": "true", "surprise": 1}, 400, "UNKNOWN_FIELD"),
        ({"cwd": "/"}, 400, "MISSING_FIELD"),
    ],
)
def test_refusals(server: Any, box: str, body: dict[str, Any], status: int, code: str) -> None:
    assert refused(server, box, "exec", status, **body) == code


def test_not_executable(server: Any, box: str) -> None:
    execute(server, box, "printf garbage > bad; chmod +x bad")
    assert refused(server, box, "exec", 400, command=["./bad"]) == "NOT_EXECUTABLE"


def test_input_reaches_the_command_and_ends(server: Any, box: str) -> None:
    assert execute(server, box, "cat; echo end", stdin="hello\n")["stdout"] == "hello\nend\n"
    assert execute(server, box, "cat; echo end")["stdout"] == "end\n"  # no stdin: /dev/null, nothing hangs
    data = bytes(range(256)) * 12_000
    r = execute(server, box, "sha256sum", stdin=base64.b64encode(data).decode(), stdinEncoding="base64")
    assert r["stdout"].split()[0] == hashlib.sha256(data).hexdigest()
    # a command that does not read its input is not held up by it, nor is the server
    for _ in range(20):
        assert execute(server, box, "exec echo hi", stdin="x" * 3_000_000)["stdout"] == "hi\n"


def test_bytes_are_kept(server: Any, box: str) -> None:
    r = execute(server, box, "printf '\\377\\000\\376'; echo é >&2")
    assert r["stdoutEncoding"] == "base64" and base64.b64decode(r["stdout"]) == b"\xff\x00\xfe"
    assert r["stderrEncoding"] == "utf-8" and r["stderr"] == "é\n"
    r = execute(server, box, "printf '\\377.'", encoding="utf-8")
    assert r["stdout"] == "\ufffd."
    assert base64.b64decode(execute(server, box, "printf hi", encoding="base64")["stdout"]) == b"hi"


def test_large_output_is_whole_or_says_so(server: Any, box: str) -> None:
    r = execute(server, box, "head -c 5000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2")
    assert r["stdout"] == "x" * 5_000_000 and r["stderr"] == "y" * 3_000_000 and r["truncated"] is False
    r = execute(server, box, "head -c 3000000 /dev/zero | tr '\\0' x; echo done >&2", maxOutput=1_000_000)
    assert r["stdout"] == "x" * 1_000_000 and r["truncated"] is True
    assert r["stderr"] == "done\n" and r["exitCode"] == 0  # it ran to its end


def test_long_scripts(server: Any, box: str) -> None:
    text = "x" * 1_000_000
    assert execute(server, box, f"wc -c <<'END'\n{text}\nEND")["stdout"].strip() == "1000001"
    assert execute(server, box, f"# {text}\nexit 7")["exitCode"] == 7
    assert refused(server, box, "exec", 413, command="x" * 9_000_000) == "COMMAND_TOO_LARGE"


def test_ended_by_a_signal(server: Any, box: str) -> None:
    r = execute(server, box, "kill -SEGV $$")
    assert (r["exitCode"], r["signal"], r["success"]) == (139, "SIGSEGV", False)


def test_timeout_ends_the_whole_tree(server: Any, box: str) -> None:
    r = execute(server, box, "echo before; sleep 4301", timeout=200)
    assert (r["timedOut"], r["exitCode"], r["signal"], r["stdout"]) == (True, 124, "SIGTERM", "before\n")
    # deaf to TERM, in other sessions, orphaned: gone when the answer comes
    r = execute(
        server,
        box,
        "trap '' TERM; (setsid sleep 4302 &); setsid sh -c 'sleep 4303 & sleep 4304' & while :; do sleep 1; done",
        timeout=300,
        grace=300,
    )
    assert r["timedOut"] is True and r["signal"] == "SIGKILL"
    assert "sleep 430" not in processes_of(server, box)


def test_children_in_the_background_outlive_the_command(server: Any, box: str) -> None:
    r = execute(server, box, "(sleep 0.3; echo late; touch lived) & echo now")
    assert r["stdout"] == "now\n" and r["exitCode"] == 0
    eventually(lambda: execute(server, box, "test -e lived")["success"])


def test_events_as_they_happen(server: Any, box: str) -> None:
    seen = []
    for event in stream(server, box, "exec", command="echo a; read x < fifo; echo b >&2; exit 2"):
        seen.append(event)
        if event["type"] == "start":
            execute(server, box, "mkfifo fifo 2>/dev/null; true")
            assert event["pid"] > 1 and event["command"].startswith("echo a")
    assert kinds(iter(seen)) == ["start", "stdout", "stderr", "complete"] or seen[1]["data"] == "a\n"
    assert (seen[-1]["type"], seen[-1]["exitCode"], seen[-1]["success"]) == ("complete", 2, False)
    assert all(e["timestamp"] for e in seen)


def test_output_arrives_while_the_command_runs(server: Any, box: str) -> None:
    execute(server, box, "mkfifo gate")
    seen = stream(server, box, "exec", command="echo first; read x < gate; echo second")
    assert next(seen)["type"] == "start"
    assert next(seen)["data"] == "first\n"
    execute(server, box, "echo > gate")  # only now can it go on
    assert [e.get("data") for e in seen] == ["second\n", None]


def test_split_characters_and_bytes_in_events(server: Any, box: str) -> None:
    command = "printf '\\303'; sleep 0.2; printf '\\251.'; sleep 0.2; printf '\\377'"
    data = [e for e in stream(server, box, "exec", command=command) if e["type"] == "stdout"]
    assert [(e["data"], e["encoding"]) for e in data] == [("é.", "utf-8"), ("/w==", "base64")]


def test_closing_the_request_ends_the_command(server: Any, box: str) -> None:
    seen = stream(server, box, "exec", command="echo up; setsid sleep 4311 & sleep 4312")
    assert next(seen)["type"] == "start"
    next(seen)
    assert "sleep 4311" in processes_of(server, box)
    seen.close()
    eventually(lambda: "sleep 431" not in processes_of(server, box))


def test_a_client_that_hangs_up_before_the_answer(server: Any, box: str) -> None:
    execute(server, box, "true")
    with pytest.raises(requests.ReadTimeout):
        server.call("POST", f"/v1/sandboxes/{box}/exec", json={"command": "sleep 4321"}, timeout=0.5)
    eventually(lambda: "sleep 4321" not in processes_of(server, box))


def test_slow_reader_holds_the_command_and_loses_nothing(server: Any, box: str) -> None:
    r = server.call(
        "POST",
        f"/v1/sandboxes/{box}/exec",
        json={"command": "seq 1 1500000; touch finished"},
        headers=EVENTS,
        stream=True,
    )
    time.sleep(1)  # nothing is read meanwhile
    assert execute(server, box, "test -e finished")["success"] is False
    text = "".join(e["data"] for e in events(r) if e["type"] == "stdout")
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == hashlib.sha256("".join(f"{i}\n" for i in range(1, 1_500_001)).encode()).hexdigest()
    )


def test_many_at_once(server: Any, box: str) -> None:
    execute(server, box, "true")
    results: list[str] = []

    def one(i: int) -> None:
        r = server.http.__class__()
        r.headers.update(server.http.headers)
        body = {"command": f"sleep 0.2; echo {i}"}
        results.append(r.post(f"{server.url}/v1/sandboxes/{box}/exec", json=body, timeout=60).json()["stdout"])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == sorted(f"{i}\n" for i in range(40))


def test_the_box_runs_out_of_processes(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}", json={"limits": {"pids": 16}})
    bomb = "for i in $(seq 40); do sleep 4331 & done; wait"
    r = execute(server, box, bomb, timeout=4000, grace=200)
    assert "sleep 4331" not in r["stdout"]
    assert execute(server, box, ["echo", "still here"])["stdout"] == "still here\n"


def test_the_box_goes_away_under_a_command(server: Any, box: str) -> None:
    seen = stream(server, box, "exec", command="echo up; sleep 4341")
    assert next(seen)["type"] == "start" and next(seen)["type"] == "stdout"
    assert server.call("DELETE", f"/v1/sandboxes/{box}").status_code == 204
    last = list(seen)[-1]
    assert (last["type"], last["code"]) == ("error", "BOX_GONE")


def test_variables_and_interpreter_share_the_box(server: Any, box: str) -> None:
    server.run(box, "open('/workspace/from-python', 'w').write('yes')")
    assert execute(server, box, "cat from-python")["stdout"] == "yes"
    assert post(server, box, "run", code="import os; os.listdir('/workspace')")["status"] == "ok"
