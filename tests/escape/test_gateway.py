"""What one box does to the gateway that all boxes share: its neighbours and the gateway itself go on."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

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
