"""Standard input of background processes, as it comes."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


def start(server: Any, box: str, command: str | list[str], name: str = "p", **body: Any) -> None:
    r = server.call(
        "POST", f"/v1/sandboxes/{box}/processes", json={"command": command, "processId": name, "stdin": True, **body}
    )
    assert r.status_code == 201, r.text


def send(server: Any, box: str, data: Any, end: bool = False, name: str = "p", **kw: Any) -> Any:
    query = "?end=true" if end else ""
    return server.call("POST", f"/v1/sandboxes/{box}/processes/{name}/input{query}", data=data, **kw)


def code(r: Any) -> tuple[int, str]:
    return r.status_code, r.json()["error"]["code"]


def logs(server: Any, box: str, name: str = "p") -> str:
    return str(server.call("GET", f"/v1/sandboxes/{box}/processes/{name}/logs").json()["stdout"])


def wait(server: Any, box: str, name: str = "p", **body: Any) -> Any:
    return server.call("POST", f"/v1/sandboxes/{box}/processes/{name}/wait", json={"timeout": 20000, **body})


def test_pieces_arrive_in_order(server: Any, box: str) -> None:
    start(server, box, "cat")
    for i in range(20):
        assert (r := send(server, box, f"line {i}\n")).status_code == 204, r.text
    assert send(server, box, "last\n", end=True).status_code == 204
    assert wait(server, box).json()["exitCode"] == 0
    assert logs(server, box) == "".join(f"line {i}\n" for i in range(20)) + "last\n"


def test_answered_only_when_it_is_taken(server: Any, box: str) -> None:
    """Nothing is lost between two requests, whatever the pipe holds: the answer comes when the program has it."""
    start(server, box, "sleep 1.5; sha256sum")
    data = bytes(range(256)) * 12000  # more than pipes and sockets hold
    began = time.monotonic()
    assert send(server, box, data).status_code == 204
    assert time.monotonic() - began > 1, "it was not read before"
    assert send(server, box, b"and more", end=True).status_code == 204
    assert wait(server, box).json()["exitCode"] == 0
    assert logs(server, box).split()[0] == hashlib.sha256(data + b"and more").hexdigest()


def test_a_stream_of_any_length(server: Any, box: str) -> None:
    start(server, box, "head -c 1 > /dev/null; echo first > /workspace/seen; sha256sum")
    seen = threading.Event()
    sent = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        yield b"x"
        seen.wait(10)  # the first byte is there while the request goes on
        for i in range(100):
            piece = bytes([i]) * (1 << 20)
            sent.update(piece)
            yield piece

    answers: list[int] = []
    ask = threading.Thread(target=lambda: answers.append(send(server, box, pieces(), end=True, timeout=90).status_code))
    ask.start()
    end = time.monotonic() + 10
    while server.call("GET", f"/v1/sandboxes/{box}/files/workspace/seen").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    seen.set()
    ask.join()
    assert answers == [204]
    assert wait(server, box).json()["exitCode"] == 0
    assert logs(server, box).split()[0] == sent.hexdigest()


def test_refusals(server: Any, box: str) -> None:
    assert code(send(server, box, "x")) in {(404, "SANDBOX_NOT_FOUND")}
    start(server, box, "sleep 60", stdin=False)
    assert code(send(server, box, "x")) == (409, "NO_INPUT")
    assert code(send(server, box, "x", name="none")) == (404, "PROCESS_NOT_FOUND")
    start(server, box, "true", name="over")
    wait(server, box, "over")
    assert code(send(server, box, "x", name="over")) == (409, "PROCESS_ENDED")
    done = server.call("POST", f"/v1/sandboxes/{box}/terminals", json={"id": "t"})
    assert done.status_code in (200, 201)
    assert code(send(server, box, "x", name="t")) == (404, "PROCESS_NOT_FOUND")


def test_it_ends_before_it_has_all(server: Any, box: str) -> None:
    start(server, box, "sleep 1; exit 3")
    r = send(server, box, bytes(4 << 20))
    assert code(r) == (409, "PROCESS_ENDED")
    assert wait(server, box).json()["exitCode"] == 3
    assert server.call("GET", f"/v1/sandboxes/{box}").json()["state"] == "running"


@pytest.mark.parametrize("ends", [True, False])
def test_empty(server: Any, box: str, ends: bool) -> None:
    start(server, box, "cat; echo end")
    assert send(server, box, b"", end=ends).status_code == 204
    if not ends:
        assert send(server, box, b"x", end=True).status_code == 204
    assert wait(server, box).json()["exitCode"] == 0
    assert logs(server, box) == ("end\n" if ends else "xend\n")


def test_many_clients_go_away(server: Any, box: str) -> None:
    start(server, box, "sleep 600")
    for _ in range(20):
        with pytest.raises(Exception, match="timed out"):
            send(server, box, bytes(2 << 20), timeout=0.2)
    assert server.run(box, "1 + 1")["results"][0]["data"]["text/plain"] == "2"


def test_a_restarted_process_reads_on(server: Any, box: str) -> None:
    start(server, box, "read -r line; echo got $line; exit 1", restart="on-failure", maxRestarts=5)
    for i in range(3):
        end = time.monotonic() + 20
        while (now := server.call("GET", f"/v1/sandboxes/{box}/processes/p").json())["restarts"] < i or now[
            "status"
        ] != "running":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert send(server, box, f"{i}\n").status_code == 204
        assert wait(server, box, log=f"got {i}").status_code == 200


def test_one_that_ends_as_soon_as_it_can(server: Any, box: str) -> None:
    """What it was given counts, whether its end is known before the request's."""
    for i in range(60):
        start(server, box, ["head", "-c", "4"], name=f"n{i}")
        assert (r := send(server, box, b"1234", end=i % 2 == 0, name=f"n{i}")).status_code == 204, r.text
        start(server, box, ["head", "-c", "4"], name=f"m{i}")

        def slowly() -> Iterator[bytes]:
            yield b"1234"
            time.sleep(0.02)

        assert (r := send(server, box, slowly(), name=f"m{i}")).status_code == 204, r.text


def test_one_that_closes_its_input(server: Any, box: str) -> None:
    start(server, box, "exec <&-; echo closed; sleep 60")
    wait(server, box, log="closed")
    assert code(send(server, box, b"lost?")) == (409, "PROCESS_ENDED")


def together(*work: Any) -> list[Any]:
    with ThreadPoolExecutor() as pool:
        return [f.result() for f in [pool.submit(one) for one in work]]


def test_several_write_at_once(server: Any, box: str) -> None:
    """None starves or is forgotten, whatever room there is."""
    start(server, box, "sleep 1; cat > /workspace/all; exit 0")
    parts = [bytes([65 + i]) * (3 << 20) for i in range(4)]
    sent = together(*[lambda part=part: send(server, box, part, timeout=60).status_code for part in parts])
    assert sent == [204] * 4
    assert send(server, box, b"", end=True).status_code == 204
    assert wait(server, box).json()["exitCode"] == 0
    data = server.call("GET", f"/v1/sandboxes/{box}/files/workspace/all").content
    assert {c: data.count(c) for c in b"ABCD"} == dict.fromkeys(b"ABCD", 3 << 20)


@pytest.mark.parametrize("restart", ["never", "always"])
def test_several_wait_when_it_ends(server: Any, box: str, restart: str) -> None:
    start(server, box, "sleep 1; exit 3", restart=restart)
    sent = together(*[lambda: send(server, box, bytes(3 << 20), timeout=60) for _ in range(3)])
    assert [code(r) for r in sent] == [(409, "PROCESS_ENDED")] * 3


def test_one_ends_the_input_while_another_waits(server: Any, box: str) -> None:
    start(server, box, "sleep 2; wc -c")

    def end_it() -> Any:
        time.sleep(0.7)
        return send(server, box, b"", end=True)

    waits, ends = together(lambda: send(server, box, bytes(3 << 20), timeout=60), end_it)
    assert ends.status_code == 204
    assert code(waits) == (409, "PROCESS_ENDED")


def events(r: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in r.iter_lines(decode_unicode=True):
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            yield kind, json.loads(line[6:])


def begin(server: Any, box: str, command: str, **body: Any) -> Any:
    return server.call(
        "POST",
        f"/v1/sandboxes/{box}/exec",
        json={"command": command, "stdinStream": True, **body},
        headers={"Accept": "text/event-stream"},
        stream=True,
    )


def test_input_of_a_command(server: Any, box: str) -> None:
    seen = events(begin(server, box, "while read -r line; do echo got $line; done; exit 3"))
    kind, started = next(seen)
    assert kind == "start"
    for i in range(3):
        assert send(server, box, f"{i}\n", name=started["processId"]).status_code == 204
        assert next(seen)[1]["data"] == f"got {i}\n"
    assert send(server, box, b"", end=True, name=started["processId"]).status_code == 204
    kind, end = next(seen)
    assert (kind, end["exitCode"]) == ("complete", 3)
    assert code(send(server, box, "x", name=started["processId"]))[0] in (404, 409)


def test_a_command_whose_input_never_ends(server: Any, box: str) -> None:
    """Its time still does, and the request's end is its own."""
    seen = list(events(begin(server, box, "cat", timeout=300)))
    assert seen[-1][1]["timedOut"]
    r = begin(server, box, "echo $$ > /workspace/pid; echo up; cat")
    begun = events(r)
    assert [next(begun)[0], next(begun)[1]["data"]] == ["start", "up\n"]
    r.close()
    check = "for i in $(seq 100); do kill -0 $(cat pid) 2> /dev/null || exit 0; sleep 0.1; done; exit 1"
    assert server.call("POST", f"/v1/sandboxes/{box}/exec", json={"command": check}).json()["exitCode"] == 0


def test_a_command_needs_events_for_its_input(server: Any, box: str) -> None:
    for body, accept in (({}, "application/json"), ({"stdin": "x"}, "text/event-stream")):
        r = server.call(
            "POST",
            f"/v1/sandboxes/{box}/exec",
            json={"command": "cat", "stdinStream": True, **body},
            headers={"Accept": accept},
        )
        assert code(r) == (400, "INVALID_FIELD")
    seen = events(
        server.call(
            "POST",
            f"/v1/sandboxes/{box}/exec",
            json={"command": "sleep 1"},
            headers={"Accept": "text/event-stream"},
            stream=True,
        )
    )
    assert "processId" not in next(seen)[1]
