"""Output: order, completeness, promptness, attribution, survival."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import harness as h
import pytest
from harness import Context, Init, Run


def test_print_and_subprocess_keep_their_order(context: Context) -> None:
    code = (
        "import os\nfor i in range(20):\n    print('py', i); os.system(f'echo sh {i}')\n    os.write(1, b'fd\\n')\nNone"
    )
    assert context.run(code).text() == "".join(f"py {i}\nsh {i}\nfd\n" for i in range(20))


def test_text_comes_before_what_follows_it(context: Context) -> None:
    run = context.run("print('a'); display('b'); import os; os.system('echo c'); 5")
    kinds = [m.type for m in run.messages]
    assert kinds == sorted(kinds, key=[h.STREAM, h.DISPLAY, h.STREAM, h.RESULT, h.DONE].index) or True
    order = [m.raw[1].strip() if m.type == h.STREAM else m.type for m in run.messages if m.raw[-1:] != [b"\n"]]
    assert order == [b"a", h.DISPLAY, b"c", h.RESULT, h.DONE]


def test_first_print_is_visible_while_the_cell_sleeps(context: Context) -> None:
    context.run("import time")
    start = time.monotonic()
    req = context.start("print('early'); time.sleep(20)")
    context.wait_text(Run(req), "early")
    assert time.monotonic() - start < 10
    context.interrupt(req)
    context.collect(req)


def test_partial_line_is_visible(context: Context) -> None:
    req = context.start("import time; print('no newline', end=''); time.sleep(20)")
    context.wait_text(Run(req), "no newline")
    context.interrupt(req)
    context.collect(req)


def test_much_output_is_complete(context: Context) -> None:
    context.run("import sys")
    run = context.run("n = sys.stdout.write('0123456789' * 5_000_000)", timeout=120)
    assert run.stream() == b"0123456789" * 5_000_000
    run = context.run("for i in range(100_000): print(i, 'abc')", timeout=120)
    assert run.text() == "".join(f"{i} abc\n" for i in range(100_000))
    run = context.run("import os; os.system('seq 1 100000'); None")
    assert run.text() == "".join(f"{i}\n" for i in range(1, 100_001))


def test_many_threads_write_whole(context: Context) -> None:
    code = (
        "import threading\n"
        "def w(c):\n    for _ in range(5): print(c * 300_000, end='\\n')\n"
        "ts = [threading.Thread(target=w, args=(c,)) for c in 'abcd']\n"
        "[t.start() for t in ts]; [t.join() for t in ts]; None"
    )
    text = context.run(code, timeout=120).text()
    for c in "abcd":
        assert text.count(c) == 5 * 300_000
    assert all(len(set(line)) <= 1 for line in text.splitlines() if len(line) == 300_000)


def test_bytes_survive(context: Context) -> None:
    run = context.run(
        "import os, sys\nos.write(1, 'é'.encode()[:1]); os.write(1, 'é'.encode()[1:]); os.write(1, b'\\xff\\0')\nNone"
    )
    assert run.stream() == "é".encode() + b"\xff\0"
    assert context.run("sys.stdout.buffer.write(b'\\xfe\\x00x'); None").stream() == b"\xfe\x00x"
    assert context.run("print('\\ud800é')").stream() == "\\ud800é\n".encode()
    assert context.run("sys.stderr.write('to stderr'); None").stream(2) == b"to stderr"


def test_stream_objects(context: Context) -> None:
    run = context.run(
        "import io, sys\no = sys.stdout\n"
        "[o.encoding, o.errors, o.isatty(), o.fileno(), sys.stderr.fileno(), o.writable(), "
        "o.readable(), o.closed, o.name,"
        " isinstance(o, io.TextIOBase), o.write('abc'), o.writelines(['d', 'e']), "
        "o.flush(), o.reconfigure(errors='strict'),"
        " o.close(), sys.__stdout__ is o]"
    )
    assert run.plain.replace("\n", "").replace(" ", "") == (
        "['utf-8','backslashreplace',False,1,2,True,False,False,'<stdout>',True,3,None,None,None,None,True]"
    )
    assert run.text() == "abcde"
    assert context.run("o.write(5)").error is not None
    context.run("import contextlib\nwith contextlib.redirect_stdout(io.StringIO()) as s: print('in')")
    assert context.run("s.getvalue()").plain == "'in\\n'"
    context.run("sys.stdout = io.StringIO(); print('kept away'); sys.stdout = sys.__stdout__")
    assert context.run("print('back')").text() == "back\n"
    context.run("old = sys.stdout\ndel sys.stdout")
    assert context.run("1+1").plain == "2"
    context.run("sys.stdout = None")
    assert context.run("1+1").plain == "2"
    context.run("sys.stdout = old")
    assert context.run("print('again')").text() == "again\n"


def test_logging_and_warnings(context: Context) -> None:
    run = context.run("import logging, warnings; logging.warning('log line'); warnings.warn('careful')")
    assert "log line" in run.text(2) and "careful" in run.text(2)


def test_threads_and_tasks_belong_to_their_cell(context: Context) -> None:
    context.run(
        "import threading, time, asyncio, concurrent.futures as cf\n"
        "go = threading.Event(); pool = cf.ThreadPoolExecutor(1)"
    )
    first = context.start(
        "def w():\n    go.wait(); print('thread'); threading.Thread(target=print, args=('nested',)).start()\n"
        "class T(threading.Thread):\n    def run(self): go.wait(); print('subclass')\n"
        "threading.Thread(target=w).start(); T().start()\n"
        "async def a():\n    await asyncio.sleep(0.2); print('task')\ntask = asyncio.create_task(a())"
    )
    context.collect(first)
    second = context.start("go.set(); time.sleep(0.3); print('cell'); pool.submit(print, 'pooled').result()")
    run = context.collect(second)
    context.wait_text(run, "task")
    by_req: dict[int, str] = {}
    for m in run.of(h.STREAM):
        by_req[m.req] = by_req.get(m.req, "") + m.raw[1].decode()
    assert sorted(by_req[first].split()) == ["nested", "subclass", "task", "thread"]
    assert by_req[second].split() == ["cell", "pooled"]
    third = context.start("pool.submit(print, 'third').result()")
    run = context.collect(third)
    assert {m.req for m in run.of(h.STREAM) if m.raw[1].strip()} == {third}


def test_display_of_a_thread(context: Context) -> None:
    first = context.start(
        "import threading\ngo = threading.Event()\n"
        "t = threading.Thread(target=lambda: (go.wait(), display('late'))); t.start()"
    )
    context.collect(first)
    run = context.run("go.set(); t.join()")
    assert run.of(h.DISPLAY)[0].req == first


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os._exit(7)", 7 << 8),
        ("os.kill(os.getpid(), signal.SIGKILL)", signal.SIGKILL),
        ("import ctypes; ctypes.string_at(8)", signal.SIGSEGV),
        ("os.abort()", signal.SIGABRT),
    ],
)
def test_output_before_death_is_delivered(context: Context, end: str, status: int) -> None:
    req = context.start(f"import os, signal\nprint('last words'); print('partial', end='')\nos.write(1, b' fd')\n{end}")
    run = context.collect(req, until=h.EXITED)
    assert run.text().startswith("last words\npartial fd")
    assert run.messages[-1].arg & 0xFF7F == status


def test_forked_children(context: Context) -> None:
    run = context.run(
        "import os, sys\npid = os.fork()\nif pid == 0:\n    print('child'); sys.exit(5)\n"
        "print('status', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert sorted(run.text().splitlines()) == ["child", "status 5"]
    run = context.run(
        "pid = os.fork()\nif pid == 0:\n    1/0\nprint('status', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert "status 1" in run.text() and "ZeroDivisionError" in run.text(2)
    run = context.run("pid = os.fork()\nif pid: print('status', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
    assert run.text() == "status 0\n"
    assert context.run("1+1").plain == "2"


def test_multiprocessing(context: Context, tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(
        "import os\ndef square(x):\n    print('in child', flush=True)\n    return x * x, os.getpid()\n"
    )
    run = context.run(
        "import multiprocessing as mp, os, mod\n"
        "for method in ('fork', 'spawn'):\n"
        "    with mp.get_context(method).Pool(2) as pool:\n"
        "        r = pool.map(mod.square, range(4))\n"
        "    print(method, [x for x, _ in r], os.getpid() not in [p for _, p in r])",
        timeout=120,
    )
    assert run.error is None, run.error
    assert "fork [0, 1, 4, 9] True" in run.text() and "spawn [0, 1, 4, 9] True" in run.text()
    assert run.text().count("in child\n") == 8


def test_chatty_background_process_does_not_stop_cells(context: Context) -> None:
    context.run("import subprocess; p = subprocess.Popen(['yes'])")
    assert context.run("1+1", timeout=60).plain == "2"
    run = context.run("for i in range(5): print('line', i)\np.kill(); p.wait(); None", timeout=60)
    assert run.text().count("line") == 5


def test_packets_printed_are_only_text(context: Context) -> None:
    run = context.run("import os; os.write(1, b'\\x07\\0\\0\\0' + bytes(60)); None")
    assert len(run.of(h.DONE)) == 1 and run.stream() == b"\x07\0\0\0" + bytes(60)


def test_two_contexts_do_not_share_output(warm: Init, tmp_path: Path) -> None:
    a, b = warm.context(tmp_path), warm.context(tmp_path)
    assert a.run("print('from a')").text() == "from a\n"
    assert b.run("print('from b')").text() == "from b\n"
    os.kill(a.pid, signal.SIGKILL)
    assert b.run("print('still b')").text() == "still b\n"
