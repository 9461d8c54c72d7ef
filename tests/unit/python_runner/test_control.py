"""Control requests while the main thread is busy, and what USAGE says."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import harness as h
import pytest
from harness import Context, Run


def usage(context: Context, run: Run | None = None) -> dict[str, object]:
    return context.collect(context.send(h.USAGE, [b"{}"]), run=run).reply


BUSY = {
    "loops": "print('go')\nwhile 'stop' not in globals(): pass",
    "sleeps in C": "import time; print('go'); time.sleep(60)",
    "waits for a child": "print('go')\n!sleep 60",
    "awaits": "import asyncio; print('go'); await asyncio.sleep(60)",
    "prints": "print('go')\nwhile True: print('x' * 1000)",
}


@pytest.mark.parametrize("what", BUSY)
def test_usage_while_a_cell(context: Context, what: str) -> None:
    req = context.start(BUSY[what])
    run = Run(req)
    context.wait_text(run, "go")
    for _ in range(3):
        reply = context.collect(context.send(h.USAGE, [b"{}"]), run=Run(0)).reply
        assert reply["pid"] == context.pid
    context.interrupt(req)
    assert context.collect(req, run=run).reply["ename"] == "KeyboardInterrupt"
    assert context.run("1+1").plain == "2"


def test_usage_while_input_waits(context: Context) -> None:
    req = context.start("input('?')", allow_stdin=True)
    run = context.collect(req, until=h.STDIN)
    assert usage(context)["pid"] == context.pid
    context.send(h.INPUT, [b"typed"], req=req)
    assert context.collect(req, run=run).plain == "'typed'"


def test_usage_while_a_background_task_blocks(context: Context) -> None:
    context.run(
        "import asyncio, time\nasync def f():\n    await asyncio.sleep(0)\n    print('blocked'); time.sleep(3)\n"
        "t = asyncio.create_task(f()); None"
    )
    run = Run(0)
    context.wait_text(run, "blocked")
    assert usage(context, run)["pid"] == context.pid
    assert context.run("t.done()").plain == "True"  # its frame was read meanwhile, and kept


def test_usage_content(context: Context) -> None:
    idle = usage(context)
    assert idle["hostname"] == socket.gethostname() and idle["host_cpu_percent"] is None
    assert idle["cpu_count"] in range(1, (os.cpu_count() or 1) + 1)
    memory = idle["host_virtual_memory"]
    assert isinstance(memory, dict)
    assert 0 < memory["available"] < memory["total"] and 0 < memory["percent"] < 100
    context.run("kept = bytearray(80 << 20)\nfor i in range(3_000_000): pass")
    busy = usage(context)
    assert int(str(busy["kernel_memory"])) - int(str(idle["kernel_memory"])) > 60 << 20
    assert float(str(busy["kernel_cpu"])) > 5 and float(str(busy["host_cpu_percent"])) > 0


def test_usage_within_limits(context: Context) -> None:
    limits = b'{"memory": 2147483648, "cpus": 1}'
    reply = context.collect(context.send(h.USAGE, [limits])).reply
    memory = reply["host_virtual_memory"]
    assert reply["cpu_count"] == 1 and memory["total"] == 2 << 30
    assert 0 <= memory["available"] <= memory["total"] and memory["used"] == memory["total"] - memory["available"]
    reply = context.collect(context.send(h.USAGE, [b'{"memory": "x", "cpus": -1}'])).reply
    assert reply["host_virtual_memory"]["total"] > 2 << 30


def test_usage_counts_children(context: Context) -> None:
    before = int(str(usage(context)["kernel_memory"]))
    context.run(
        "import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', "
        "'x = bytearray(90 << 20); print(1, flush=True); input()'], stdin=-1, stdout=-1)\np.stdout.read(1)"
    )
    assert int(str(usage(context)["kernel_memory"])) - before > 80 << 20
    context.run("p.kill()")


def test_stale_numbers_and_garbage(context: Context) -> None:
    assert usage(context)["pid"] == context.pid
    context.send(h.USAGE, [b"{}"], req=1)  # resent by a restarted gateway
    assert context.run("1+1").plain == "2"
    reply = context.collect(context.send(h.DEBUG, [b"not json"])).reply
    assert reply["status"] == "error"
    reply = context.collect(context.send(h.SUBSHELL, [b'{"op": "paint"}'], arg=1)).reply
    assert reply["ename"] == "ValueError"


def test_requests_in_quick_turn(context: Context) -> None:
    """Cells and control requests in flight together: each gets its one answer."""
    context.run("import time")
    for n in range(60):
        cell = context.start(f"time.sleep({n % 12} / 1000); {n}")
        asked = context.send(h.USAGE, [b"{}"])
        run, done = Run(cell), 0
        while done < 2:
            message = context.recv()
            run.messages.append(message)
            done += message.type == h.DONE
        assert {m.req for m in run.of(h.DONE)} == {cell, asked}
        assert run.plain == str(n)


def test_forked_child_has_no_listener(context: Context) -> None:
    code = (
        "import os, time\npid = os.fork()\nif pid == 0:\n    time.sleep(0.1)\n"
        "    ours = [fd for fd in os.listdir('/proc/self/fd') if int(fd) >= 512]\n"
        "    os._exit(len(os.listdir('/proc/self/task')) + 10 * len(ours))\n"
        "os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
    )
    assert context.run(code).plain == "1"
    assert usage(context)["pid"] == context.pid


def test_shutdown_while_control_works(context: Context) -> None:
    usage(context)
    context.send(h.SHUTDOWN, [b"{}"])
    assert context.collect(0, until=h.EXITED).messages[-1].arg == 0


def test_garbage_while_a_cell_runs(context: Context) -> None:
    req = context.start("import time; print('go'); time.sleep(0.3); 'finished'")
    run = Run(req)
    context.wait_text(run, "go")
    context.sock.send(b"\x03\0\0\0\xff\xff")  # a message that is shorter than its head
    assert context.collect(req, run=run).plain == "'finished'"
    context.collect(0, until=h.EXITED)


def test_gateway_gone_while_a_cell_runs(warm: h.Init, tmp_path: Path) -> None:
    context = warm.context(tmp_path)
    context.start("import time; print('go'); time.sleep(0.3)")
    context.wait_text(Run(0), "go")
    context.close()
    h.eventually(lambda: not alive(context.pid))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_unfinished_and_large_messages_while_a_cell_runs(context: Context) -> None:
    assert context.collect(context.send(h.SUBSHELL, [b'{"op": "create"}'], arg=1)).reply == {"status": "ok"}
    main = context.start("import time; print('go')\nwhile 'big' not in globals(): time.sleep(0.001)\nlen(big)")
    run = Run(main)
    context.wait_text(run, "go")
    context.sock.send(b"\x01\0\0\0" + b"x" * 1000)  # begun by a gateway that was then replaced
    code = b"big = '" + b"y" * 3_000_000 + b"'"
    req = context.send(h.EXECUTE, [b'{"execution_count": 1, "store_history": false}', code], arg=1)
    run = context.collect(main, run=run)
    assert run.plain == "3000000"
    if not [m for m in run.of(h.DONE) if m.req == req]:
        context.collect(req)


def test_code_may_close_the_descriptors_it_sees(context: Context) -> None:
    context.run("import os; os.closerange(3, 512)")
    assert usage(context)["pid"] == context.pid
    req = context.start("import time; print('go'); time.sleep(0.2); 'ok'")
    run = Run(req)
    context.wait_text(run, "go")
    assert usage(context, run)["pid"] == context.pid
    assert context.collect(req, run=run).plain == "'ok'"
