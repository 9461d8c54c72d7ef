"""What one box does to the gateway that all boxes share: its neighbours and the gateway itself go on."""

from __future__ import annotations

import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

KILL_INTERPRETERS = """
for comm in /proc/[0-9]*/comm; do
    name=$(cat $comm); pid=${comm#/proc/}; pid=${pid%/comm}
    case $name in cbx-python|cbx-node) kill -9 $pid; echo killed;; esac
done
"""


def exec_in(server: Any, name: str, command: str) -> dict[str, Any]:
    r = server.call("POST", f"/v1/sandboxes/{name}/exec", json={"command": command})
    assert r.status_code == 200, r.text
    return r.json()


def wait_for_warm_boxes(server: Any) -> None:
    deadline = time.monotonic() + 60
    while not re.search(r"^cellbox_pool_ready [1-9]", server.call("GET", "/metrics").text, re.M):
        assert time.monotonic() < deadline, "the pool stays empty"
        time.sleep(0.05)


def test_a_spare_interpreter_is_killed(own_server: Any) -> None:
    """The warm interpreter of a box that nobody has run anything in yet."""
    server = own_server("--pool", "1", "--pool-node", "0")
    server.run("bystander", "kept = 1")
    gateway = server.gateway().pid
    for _ in range(3):
        wait_for_warm_boxes(server)
        name = "s-" + uuid.uuid4().hex[:8]
        r = server.call("PUT", f"/v1/sandboxes/{name}", json={})
        assert r.status_code in (200, 201), r.text
        assert "killed" in exec_in(server, name, KILL_INTERPRETERS)["stdout"]
        done = server.run(name, "1 + 1")
        assert done["status"] == "ok" and done["results"][0]["data"]["text/plain"] == "2", done
        assert server.call("DELETE", f"/v1/sandboxes/{name}").status_code == 204
    assert server.gateway().pid == gateway
    assert server.run("bystander", "print(kept)")["logs"]["stdout"] == ["1\n"]


PYTHON_WRITES = """
import os, socket, signal, subprocess
kept = 41
a, b = socket.socketpair()
b.close()
r, w = os.pipe()
os.close(r)
for write in (lambda: a.send(b"x"), lambda: os.write(w, b"x")):
    try:
        write()
    except BrokenPipeError:
        kept += 1
def status(line):
    with open("/proc/self/status") as f:
        return [l.split()[1] for l in f if l.startswith(line)][0]
bit = 1 << (signal.SIGPIPE - 1)
look = "grep ^SigIgn /proc/self/status"
children = [subprocess.check_output(look, shell=True, text=True),
            subprocess.check_output(look, shell=True, text=True, restore_signals=False)]
os.system(look + " > /tmp/system")
children.append(open("/tmp/system").read())
pid = os.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", look + " > /tmp/forked"])
os.waitpid(pid, 0)
children.append(open("/tmp/forked").read())
get_ipython().system(look + " > /tmp/shell")
children.append(open("/tmp/shell").read())
print(kept, [int(c.split()[1], 16) & bit for c in children], signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN)
"""

NODE_WRITES = """
const cp = require("child_process"), net = require("net"), fs = require("fs");
globalThis.kept = 41;
const done = await new Promise((resolve) => {
    const server = net.createServer((s) => s.destroy()).listen(0, "127.0.0.1", () => {
        const c = net.connect(server.address().port, "127.0.0.1");
        let errors = 0;
        c.on("error", () => errors++);
        c.on("close", () => { server.close(); resolve(errors); });
        const more = () => { if (!c.destroyed) { c.write("x".repeat(65536)); setImmediate(more); } };
        more();
    });
});
const bit = 1n << 12n;
const seen = cp.execSync("grep ^SigIgn /proc/self/status", { encoding: "utf8" }).split(/\\s+/)[1];
console.log(String(BigInt("0x" + seen) & bit));
"""


def test_a_peer_that_closes_ends_no_context(server: Any, box: str) -> None:
    """SIGPIPE: an error of the write in a context, the end of a program that it starts."""
    done = server.run(box, PYTHON_WRITES)
    assert done["status"] == "ok" and done["logs"]["stdout"] == ["43 [0, 0, 0, 0, 0] True\n"], done
    fresh = {"PYTHONUNBUFFERED": "1"}  # an interpreter that is executed
    made = server.call("POST", f"/v1/sandboxes/{box}/contexts", json={"language": "python", "env": fresh}).json()
    done = server.run(box, PYTHON_WRITES, context=made["id"])
    assert done["status"] == "ok" and done["logs"]["stdout"] == ["43 [0, 0, 0, 0, 0] True\n"], done
    done = server.run(box, NODE_WRITES, language="javascript")
    assert done["status"] == "ok" and done["logs"]["stdout"] == ["0\n"], done
    assert server.run(box, "kept", language="javascript")["results"][0]["data"]["text/plain"] == "41"
    assert server.run(box, "kept")["results"][0]["data"]["text/plain"] == "43"


# User code shares a process with the runner, so it can find the private socket and forge whatever it likes.
FORGE = """
import os, socket, struct, threading, time
def frame_socket():
    for fd in range(3, 1024):
        try:
            s = socket.socket(fileno=os.dup(fd))
            if s.type == socket.SOCK_SEQPACKET:
                return s
            s.close()
        except OSError:
            pass
def send(kind, req, announced, parts):
    flags = 1
    head = struct.pack('<HHIQI', kind, 1, 0, req, announced)
    for part in parts:
        s.send(struct.pack('<I', flags) + head + part)
        flags, head = 0, b''
s = frame_socket()
"""

BOMBS = {
    "greeting": "send(33, 0, 16 << 20, [b'{\"a\":[' + b'1,' * 30000] + [b'1,' * 30000] * 270)",
    "wide object": "send(41, 1, 60 << 20, [b'{\"a\":['] + [b'1,' * 30000] * 1000)",
}


def latency(server: Any, seconds: float) -> list[float]:
    """Of /healthz, in seconds."""
    seen: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        assert server.call("GET", "/healthz").status_code == 200
        seen.append(time.monotonic() - start)
        time.sleep(0.01)
    return seen


@pytest.mark.parametrize("name", BOMBS)
def test_a_message_that_is_dear_to_read(own_server: Any, name: str) -> None:
    """Values by the million cost the gateway no memory, no time of its neighbours, and no restart its minutes."""
    server = own_server()
    server.run("bystander", "kept = 1")
    server.run("bomb", "1")
    gateway = server.gateway()
    before = gateway.memory_info().rss
    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(latency, server, 3)
        for _ in range(2):
            done = server.run("bomb", FORGE + BOMBS[name] + "\ntime.sleep(1)")
            assert done["status"] == "error" and done["error"]["code"] in ("PROTOCOL_ERROR", "CONTEXT_DIED"), done
        seen = watched.result()
    assert server.gateway().pid == gateway.pid
    assert gateway.memory_info().rss - before < 100 << 20
    assert sorted(seen)[len(seen) // 2] < 0.25, seen
    gateway.kill()
    start = time.monotonic()
    server.wait_ready()
    assert server.run("bystander", "print(kept)")["logs"]["stdout"] == ["1\n"]
    assert time.monotonic() - start < 30
    assert server.gateway().memory_info().rss - before < 100 << 20


# Most of a message of 60 MiB, and then nothing.
UNFINISHED = """
p = b'x' * 60000
send(41, 1, 60 << 20, [b'{"a":"'] + [p] * 1000)
open("/tmp/held", "a").write("1")
time.sleep(600)
"""


def test_who_takes_all_room_for_messages(own_server: Any) -> None:
    """Contexts that never finish what they send wait, in their own sandbox alone, and nobody dies of it."""
    server = own_server("--pool", "1")
    server.run("bystander", "kept = 1")

    def thief(_: int) -> None:
        made = server.call("POST", "/v1/sandboxes/thief/contexts", json={"language": "python"}).json()
        server.call(
            "POST",
            f"/v1/sandboxes/thief/contexts/{made['id']}/run",
            json={"code": FORGE + UNFINISHED},
            headers={"Accept": "text/event-stream"},
            stream=True,
        )

    server.call("PUT", "/v1/sandboxes/thief", json={})
    for i in range(8):
        thief(i)
    deadline = time.monotonic() + 60
    while len(exec_in(server, "thief", "cat /tmp/held 2>/dev/null")["stdout"]) < 2:  # the others find no room
        assert time.monotonic() < deadline
        time.sleep(0.1)
    big = "from IPython.display import display\ndisplay({'text/plain': 'x' * (50 << 20)}, raw=True)\nprint(kept)"
    for _ in range(2):
        assert server.run("bystander", big)["logs"]["stdout"] == ["1\n"]
    contexts = server.call("GET", "/v1/sandboxes/thief/contexts").json()["contexts"]
    assert len(contexts) == 8 and all(c["state"] != "dead" for c in contexts), contexts
    # what they held is free with them: the sandbox's next context has room
    for c in contexts:
        assert server.call("DELETE", f"/v1/sandboxes/thief/contexts/{c['id']}").status_code == 204
    assert server.run("thief", "kept = 2\n" + big)["logs"]["stdout"] == ["2\n"]


def test_five_readers_of_a_long_message(server: Any, box: str) -> None:
    size = 55 << 20
    code = f"from IPython.display import display\ndisplay({{'text/plain': 'x' * {size}}}, raw=True)"
    made = server.run(box, "kept = 3\n" + code)
    assert len(made["results"][0]["data"]["text/plain"]) == size

    def read(events: bool) -> int:
        with server.call(
            "GET",
            f"/v1/sandboxes/{box}/executions/{made['id']}",
            headers={"Accept": "text/event-stream" if events else "application/json"},
            stream=True,
            timeout=120,
        ) as r:
            assert r.status_code == 200
            time.sleep(0.5)  # all of them at once
            text = r.content
        assert (b"event: done" in text) if events else text.endswith(b"}")
        return text.count(b"x" * 1000)

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(read, [True, False] * 3))
    assert all(n >= size // 1000 for n in found), found
    assert server.run(box, "print(kept)")["logs"]["stdout"] == ["3\n"]
