"""SIGINT as docs/protocol.md has it."""

from __future__ import annotations

import os
import signal
import time

import harness as h
import pytest
from harness import Context, Run


def interrupted(context: Context, code: str, text: str = "go") -> Run:
    req = context.start(code)
    run = Run(req)
    context.wait_text(run, text)
    time.sleep(0.05)
    context.interrupt(req)
    return context.collect(req, run=run)


@pytest.mark.parametrize(
    "code",
    [
        "print('go')\nwhile True: pass",
        "import time; print('go'); time.sleep(60)",
        "import subprocess; print('go'); subprocess.run(['sleep', '60'])",
        "import asyncio; print('go'); await asyncio.sleep(60)",
        (
            "import asyncio\nasync def f():\n"
            "    await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))\nprint('go'); await f()"
        ),
        "import asyncio\nprint('go')\nawait asyncio.sleep(0)\nwhile True: pass",
        "import threading; print('go'); threading.Event().wait(60)",
        "import select; print('go'); select.select([], [], [], 60)",
        "print('go')\n!sleep 60",
        "class R:\n    def __repr__(self):\n        print('go')\n        while True: pass\nR()",
        "import asyncio; print('go'); asyncio.run(asyncio.sleep(60))",
    ],
)
def test_interrupt_stops(context: Context, code: str) -> None:
    context.run("state = 'kept'")
    run = interrupted(context, code)
    assert run.error is not None and run.error["ename"] == "KeyboardInterrupt", run.error
    assert run.reply["status"] == "error"
    assert context.run("state").plain == "'kept'"
    assert context.run("import asyncio; await asyncio.sleep(0.01); 'loop works'").plain == "'loop works'"


def test_interrupt_of_await_keeps_other_tasks(context: Context) -> None:
    context.run(
        "import asyncio\nticks = 0\nasync def tick():\n    global ticks\n"
        "    while True: ticks += 1; await asyncio.sleep(0.01)\nt = asyncio.create_task(tick())"
    )
    run = interrupted(context, "try:\n    print('go'); await asyncio.sleep(60)\nfinally: print('cleaned')")
    assert "cleaned" in run.text() and run.error is not None
    before = int(context.run("ticks").plain)
    h.eventually(lambda: int(context.run("ticks").plain) > before)
    assert context.run("t.done()").plain == "False"


def test_late_and_foreign_interrupts_are_ignored(context: Context) -> None:
    req = context.start("import time; print('go'); time.sleep(0.5); 'done'")
    run = Run(req)
    context.wait_text(run, "go")
    context.interrupt(req - 1)
    context.interrupt(req + 1)
    assert context.collect(req, run=run).plain == "'done'"
    context.interrupt(req)  # nothing runs
    os.kill(context.pid, signal.SIGINT)
    assert context.run("'alive'").plain == "'alive'"


def test_plain_sigint_of_the_user(context: Context) -> None:
    run = context.run("import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)")
    assert run.error is not None and run.error["ename"] == "KeyboardInterrupt"


def test_own_handler_is_respected(context: Context) -> None:
    context.run("import signal, time\nseen = []\nold = signal.signal(signal.SIGINT, lambda *a: seen.append(1))")
    req = context.start("print('go')\nwhile not seen: time.sleep(0.01)\n'handled'")
    run = Run(req)
    context.wait_text(run, "go")
    context.interrupt(req)
    assert context.collect(req, run=run).plain == "'handled'"
    context.run("signal.signal(signal.SIGINT, old)")
    run = interrupted(context, "print('go')\nwhile True: pass")
    assert run.error is not None
    req = context.start("time.sleep(0.3); 'late is ignored again'")
    context.interrupt(req - 1)
    assert context.collect(req).plain == "'late is ignored again'"


def test_interrupts_at_any_moment(context: Context) -> None:
    """Whatever the moment, each cell ends with one DONE and the context lives."""
    context.run("import time")
    for n in range(150):
        req = context.start(f"x = {n}\nfor i in range({n * 20}): pass\n1/0 if {n} % 3 == 0 else {n}")
        time.sleep((n % 30) / 20000)
        context.interrupt(req)
        run = context.collect(req)
        assert len(run.of(h.DONE)) == 1
        assert run.of(h.ERROR) if run.reply["status"] == "error" else True
    assert context.run("1+1").plain == "2"


def test_interrupt_while_formatting_the_traceback(context: Context) -> None:
    run = interrupted(
        context, "class E(Exception):\n    def __str__(self):\n        print('go')\n        while True: pass\nraise E"
    )
    assert run.error is not None and run.reply["status"] == "error"
    assert context.run("1+1").plain == "2"


def test_interrupt_of_a_blocked_print(context: Context) -> None:
    req = context.start("import sys\nwhile True: sys.stdout.write('x' * 100000)")
    run = Run(req)
    context.wait_text(run, "x")
    context.interrupt(req)
    run = context.collect(req, run=run, timeout=60)
    assert run.error is not None and run.error["ename"] == "KeyboardInterrupt"


def test_interrupt_of_completion(context: Context) -> None:
    context.run(
        "class D:\n    def __dir__(self):\n        import time; print('go'); time.sleep(30); return []\nd = D()"
    )
    req = context.send(h.COMPLETE, [b'{"cursor_pos": 2}', b"d."])
    run = Run(req)
    context.wait_text(run, "go")
    context.interrupt(req)
    context.collect(req, run=run, timeout=20)
    assert context.run("1+1").plain == "2"


def test_signal_in_another_thread_reaches_the_main_one(context: Context) -> None:
    code = (
        "import signal, threading, time\n"
        "def send():\n    time.sleep(0.1); signal.pthread_kill(threading.get_ident(), signal.SIGINT)\n"
        "threading.Thread(target=send).start(); time.sleep(30)"
    )
    assert context.run(code, timeout=10).reply["ename"] == "KeyboardInterrupt"
