"""Persistent shells: state, ends, cancelling what is stuck."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from box_calls import eventually, get, post, processes_of, refused, stream


@pytest.fixture
def shell(server: Any, box: str) -> Any:
    """Runs a script in one session: shell("echo hi")."""
    post(server, box, "sessions", 201, id="s", env={"GIVEN": "yes"})

    def run(command: str, **body: Any) -> dict[str, Any]:
        return post(server, box, "sessions/s/exec", command=command, **body)

    return run


def test_state_lasts(shell: Any) -> None:
    r = shell("cd /tmp; x=5; export Y=6; f() { echo f-$x-$1; }; alias ll='echo aliased'; set -o pipefail; echo $GIVEN")
    assert (r["stdout"], r["exitCode"], r["sessionId"]) == ("yes\n", 0, "s")
    r = shell("pwd; f 1; echo $Y; ll; false | true; echo $?; echo err >&2")
    assert r["stdout"] == "/tmp\nf-5-1\n6\naliased\n1\n" and r["stderr"] == "err\n"


def test_jobs_last(shell: Any) -> None:
    shell("(sleep 0.3; exit 4) & job=$!")
    assert shell("wait $job; echo $?")["stdout"] == "4\n"


def test_heredocs_and_big_scripts(shell: Any) -> None:
    assert shell("cat <<'E'\na $x\nE\ncat <<E\nb\nE")["stdout"] == "a $x\nb\n"
    assert shell("# " + "x" * 1_000_000 + "\necho big")["stdout"] == "big\n"
    assert shell("wc -c <<E\n" + "y" * 1_000_000 + "\nE")["stdout"].strip() == "1000001"
    assert shell("cat > /dev/null <<E\nno end of it")["exitCode"] == 0


def test_errors_of_syntax_and_codes(shell: Any) -> None:
    r = shell("if then")
    assert r["exitCode"] == 2 and "syntax error" in r["stderr"]
    assert shell("(exit 3)")["exitCode"] == 3
    assert shell("no-such-command")["exitCode"] == 127
    assert shell("return 9; echo not here")["exitCode"] == 9
    assert shell("cat; echo end")["stdout"] == "end\n"  # stdin is empty, not the shell's
    assert shell("echo fine")["stdout"] == "fine\n"


def test_exit_ends_the_shell_and_the_next_one_is_new(shell: Any) -> None:
    shell("x=1")
    r = shell("echo last words; exit 3")
    assert (r["exitCode"], r["stdout"], r["stderr"], r["sessionEnded"]) == (3, "last words\n", "", True)
    r = shell("echo [$x] $GIVEN")
    assert (r["stdout"], r["sessionRestarted"], r["sessionEnded"]) == ("[] yes\n", True, False)
    assert shell("true")["sessionRestarted"] is False
    r = shell("set -e; false; echo not here")
    assert r["sessionEnded"] is True and r["stdout"] == "" and r["exitCode"] == 1
    r = shell("kill -9 $$")
    assert r["sessionEnded"] is True and r["signal"] == "SIGKILL"
    r = shell("exec echo replaced")
    assert r["stdout"] == "replaced\n" and r["sessionEnded"] is True
    assert shell("echo on")["stdout"] == "on\n"


@pytest.mark.parametrize(
    "stuck",
    ["sleep 4501", "while :; do :; done", "f() { sleep 4502; }; f; echo no", "cat <(sleep 4503)", "read x < fifo"],
)
def test_what_is_stuck_is_cancelled_and_the_shell_lives(server: Any, box: str, shell: Any, stuck: str) -> None:
    shell("x=kept; mkfifo fifo")
    r = shell(stuck, timeout=300)
    assert r["timedOut"] is True and r["exitCode"] == 124 and r["stdout"] == ""
    r = shell("echo $x")
    assert r["stdout"] == "kept\n" and r["sessionRestarted"] is False
    eventually(lambda: "sleep 450" not in processes_of(server, box))


def test_children_that_are_deaf_are_killed(shell: Any) -> None:
    shell("x=kept; sleep 4511 & bg=$!")
    r = shell(
        "python3 -c 'import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(60)'", timeout=500, grace=200
    )
    assert r["timedOut"] is True
    # what an earlier script left in the background is not touched
    assert shell("echo $x; kill -0 $bg && echo alive; kill $bg")["stdout"] == "kept\nalive\n"


def test_a_shell_that_is_deaf_itself_is_replaced(shell: Any) -> None:
    r = shell("trap '' INT; while :; do :; done", timeout=200, grace=200)
    assert r["timedOut"] is True and r["sessionEnded"] is True
    assert shell("echo new")["sessionRestarted"] is True


def test_closing_the_request_cancels(server: Any, box: str, shell: Any) -> None:
    shell("x=kept")
    seen = stream(server, box, "sessions/s/exec", command="echo go; sleep 4521")
    assert next(seen)["type"] == "start" and next(seen)["data"] == "go\n"
    seen.close()
    assert shell("echo $x")["stdout"] == "kept\n"
    assert "sleep 4521" not in processes_of(server, box)


def test_a_cancel_between_two_commands_loses_nothing(server: Any, box: str, shell: Any) -> None:
    """A command that bash forks while the interrupt arrives has bash's own handler for a moment, which swallows it."""
    for i in range(60):
        seen = stream(server, box, "sessions/s/exec", command="echo go; sleep 4522")
        assert next(seen)["type"] == "start" and next(seen)["data"] == "go\n"
        time.sleep(i % 7 * 0.0003)
        seen.close()
        assert shell(f"echo {i}")["stdout"] == f"{i}\n"
    assert "sleep 4522" not in processes_of(server, box)


def test_scripts_take_turns(server: Any, box: str, shell: Any) -> None:
    shell("n=0")
    results = []

    def one() -> None:
        r = server.http.__class__()
        r.headers.update(server.http.headers)
        body = {"command": "n=$((n+1)); sleep 0.05; echo $n"}
        results.append(
            r.post(f"{server.url}/v1/sandboxes/{box}/sessions/s/exec", json=body, timeout=60).json()["stdout"]
        )

    threads = [threading.Thread(target=one) for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results, key=int) == [f"{i}\n" for i in range(1, 11)]


def test_background_output_belongs_to_whoever_reads_then(shell: Any) -> None:
    shell("(sleep 0.2; echo late) &")
    time.sleep(0.5)
    assert shell("echo now")["stdout"] == "now\n"


def test_prompts_do_not_leak(shell: Any) -> None:
    shell("PS1='prompt> '; PROMPT_COMMAND='echo pc'")
    r = shell("echo hi")
    assert (r["stdout"], r["stderr"]) == ("hi\n", "")


def test_sessions_are_apart_and_share_the_box(server: Any, box: str, shell: Any) -> None:
    post(server, box, "sessions", 201, id="t", cwd="/tmp")
    shell("x=1; echo shared > /tmp/f")
    r = post(server, box, "sessions/t/exec", command="echo [$x]; pwd; cat f")
    assert r["stdout"] == "[]\n/tmp\nshared\n"
    assert sorted(s["id"] for s in get(server, box, "sessions")["sessions"]) == ["s", "t"]
    assert server.call("DELETE", f"/v1/sandboxes/{box}/sessions/t").status_code == 204
    assert [s["id"] for s in get(server, box, "sessions")["sessions"]] == ["s"]
    assert refused(server, box, "sessions/t/exec", 404, command="true") == "SESSION_NOT_FOUND"
    assert refused(server, box, "sessions", 409, id="s") == "PROCESS_EXISTS"
    assert refused(server, box, "sessions", 404, cwd="/no/such") == "CWD_NOT_FOUND"
    assert refused(server, box, "sessions/s/exec", 400, command=["a"]) == "INVALID_FIELD"


def test_scribbling_on_the_shells_own_descriptors(shell: Any) -> None:
    r = shell("echo 999 1 >&198; echo garbage >&198; head -c 10000 /dev/urandom >&198; echo done")
    assert r["stdout"] == "done\n"
    assert shell("echo on")["stdout"] == "on\n"
