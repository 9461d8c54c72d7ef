"""Subshells: cells in threads of their own, in the namespace of the main shell."""

from __future__ import annotations

import json
import time
from typing import Any

import harness as h
import pytest
from harness import Context, Run


def subshell(context: Context, op: str, number: int) -> dict[str, Any]:
    return context.collect(context.send(h.SUBSHELL, [json.dumps({"op": op}).encode()], arg=number)).reply


def start(context: Context, number: int, code: str, **options: Any) -> int:
    options = {"execution_count": 1, "store_history": True, **options}
    return context.send(h.EXECUTE, [json.dumps(options).encode(), code.encode()], arg=number)


class Streams:
    """Sorts what comes by its request."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.runs: dict[int, Run] = {}

    def until_done(self, req: int) -> Run:
        while not (req in self.runs and self.runs[req].of(h.DONE)):
            self.one()
        return self.runs[req]

    def until(self, req: int, text: str) -> None:
        while text not in self.runs.setdefault(req, Run(req)).text():
            self.one()

    def until_type(self, req: int, kind: int) -> None:
        while not self.runs.setdefault(req, Run(req)).of(kind):
            self.one()

    def one(self) -> None:
        message = self.context.recv()
        self.runs.setdefault(message.req, Run(message.req)).messages.append(message)


@pytest.fixture
def streams(context: Context) -> Streams:
    assert subshell(context, "create", 1) == {"status": "ok"}
    return Streams(context)


def test_shares_the_namespace(context: Context, streams: Streams) -> None:
    context.run("shared = 20")
    assert streams.until_done(start(context, 1, "shared += 1; shared")).plain == "21"
    assert context.run("shared").plain == "21"
    assert streams.until_done(start(context, 1, "import threading; threading.current_thread().name")).plain.startswith(
        "'cellbox-subshell"
    )


def test_runs_while_the_main_shell_runs(context: Context, streams: Streams) -> None:
    main = context.start("import time\nprint('go')\nwhile not globals().get('stop'): time.sleep(0.001)\n'stopped'")
    streams.until(main, "go")
    assert streams.until_done(start(context, 1, "print('from one'); 1 + 1")).plain == "2"
    stop = start(context, 1, "stop = True; 'said so'")
    assert streams.until_done(stop).plain == "'said so'"
    assert streams.until_done(main).plain == "'stopped'"
    assert "from one" not in streams.runs[main].text()


def test_state_of_a_shell_is_not_mixed(context: Context, streams: Streams) -> None:
    context.run("'main value'")
    run = streams.until_done(start(context, 1, "'sub value'", execution_count=7))
    assert run.plain == "'sub value'"
    assert context.run("_, sorted(Out), In[-1][:1]").plain == "('main value', [1], '_')"
    count = "get_ipython().displayhook.prompt_count"
    run = streams.until_done(start(context, 1, f"{count} > 40, get_ipython().displayhook._", execution_count=41))
    assert run.plain == "(True, 'sub value')"
    assert int(context.run(count).plain) < 10
    failed = streams.until_done(start(context, 1, "1/0"))
    assert failed.reply["ename"] == "ZeroDivisionError" and failed.error is not None
    assert "ZeroDivisionError" in "".join(failed.error["traceback"])
    assert context.run("get_ipython().last_execution_succeeded, get_ipython().error").plain == "(True, None)"
    paged = streams.until_done(start(context, 1, "len?", msg_id="m1"))
    assert paged.reply["payload"][0]["source"] == "page"
    assert context.run("1").reply["payload"] == []


def test_counts_of_cells_that_overlap(context: Context, streams: Streams) -> None:
    main = context.start("import time\nwhile 'go' not in globals(): time.sleep(0.001)\n'value'")
    assert streams.until_done(start(context, 1, "go = True; 'other'", execution_count=41)).plain == "'other'"
    assert streams.until_done(main).plain == "'value'"
    assert context.run("dict(Out)").plain == "{1: 'value'}"


def test_own_history(context: Context, streams: Streams) -> None:
    context.run("a = 'of main'")
    streams.until_done(start(context, 1, "b = 'of one'"))
    ask = json.dumps({"hist_access_type": "tail", "n": 5, "raw": True, "output": False}).encode()
    lines = context.collect(context.send(h.HISTORY, [ask], arg=1)).reply["history"]
    assert [line[1:] for line in lines] == [[1, "b = 'of one'"]]
    lines = context.collect(context.send(h.HISTORY, [ask])).reply["history"]
    assert [line[2] for line in lines] == ["a = 'of main'"]


def test_concurrent_results_and_errors(context: Context, streams: Streams) -> None:
    """Two shells at once, each with values, errors and text: everything arrives with its own request."""
    for n in range(40):
        main = context.start(f"print('m{n}'); display('md{n}')\n'm{n}'" if n % 3 else f"print('m{n}')\n[]['m{n}']")
        sub = start(context, 1, f"print('s{n}'); display('sd{n}')\n's{n}'" if n % 2 else f"print('s{n}')\n{{}}['s{n}']")
        for req, name, good, ename in ((main, "m", n % 3, "TypeError"), (sub, "s", n % 2, "KeyError")):
            run = streams.until_done(req)
            assert run.text() == f"{name}{n}\n"
            if good:
                assert run.plain == f"'{name}{n}'"
                assert run.of(h.DISPLAY)[0].json[0]["text/plain"] == f"'{name}d{n}'"
                assert not run.of(h.ERROR) and run.reply["status"] == "ok"
            else:
                assert not run.of(h.RESULT) and run.reply["ename"] == ename
                assert [m.json[0]["ename"] for m in run.of(h.ERROR)] == [ename]


def test_await_tasks_and_asyncio_run(context: Context, streams: Streams) -> None:
    run = streams.until_done(start(context, 1, "import asyncio; await asyncio.sleep(0.01); 'slept'"))
    assert run.plain == "'slept'"
    code = "async def later():\n    await asyncio.sleep(0.05); print('later')\nt = asyncio.create_task(later()); None"
    made = start(context, 1, code)
    streams.until_done(made)
    streams.until(made, "later")  # goes on between cells, and prints into the cell that made it
    assert streams.until_done(start(context, 1, "asyncio.run(asyncio.sleep(0, 'ran'))")).plain == "'ran'"
    main = context.start("await asyncio.sleep(0.05, 'main too')")
    sub = start(context, 1, "await asyncio.sleep(0.01, 'sub')")
    assert streams.until_done(sub).plain == "'sub'" and streams.until_done(main).plain == "'main too'"
    run = streams.until_done(start(context, 1, "raise asyncio.CancelledError('mine')"))
    assert run.reply["ename"] == "CancelledError"


def test_input_in_a_subshell(context: Context, streams: Streams) -> None:
    main = context.start("input('main? ')", allow_stdin=True)
    streams.until_type(main, h.STDIN)
    sub = start(context, 1, "input('sub? ')", allow_stdin=True)
    streams.until_type(sub, h.STDIN)
    assert streams.runs[sub].of(h.STDIN)[0].json[0]["prompt"] == "sub? "
    context.send(h.INPUT, [b"for sub"], req=sub)
    assert streams.until_done(sub).plain == "'for sub'"
    context.send(h.INPUT, [b"for main"], req=main)
    assert streams.until_done(main).plain == "'for main'"
    assert streams.until_done(start(context, 1, "input()")).reply["ename"] == "StdinNotImplementedError"


def test_complete_inspect_and_comms(context: Context, streams: Streams) -> None:
    context.run("import time; valuable = 5; print('x')")
    main = context.start("while 'enough' not in globals(): time.sleep(0.001)")
    req = context.send(h.COMPLETE, [b'{"cursor_pos": 4}', b"valu"], arg=1)
    assert streams.until_done(req).reply["matches"] == ["valuable"]
    req = context.send(h.INSPECT, [b'{"cursor_pos": 3, "detail_level": 0}', b"len"], arg=1)
    assert streams.until_done(req).reply["found"]
    req = context.send(h.IS_COMPLETE, [b"{}", b"if x:"], arg=1)
    assert streams.until_done(req).reply["status"] == "incomplete"
    content = json.dumps({"comm_id": "c", "target_name": "none", "data": {}}).encode()
    req = context.send(h.COMM, [b'{"msg_type": "comm_open"}', content, b"{}"], arg=1)
    streams.until_done(req)
    assert streams.runs[req].of(h.COMM_OUT)[0].json[0] == {"msg_type": "comm_close"}
    assert main not in streams.runs or not streams.runs[main].of(h.DONE)
    streams.until_done(start(context, 1, "enough = True"))
    streams.until_done(main)


def test_interrupt_is_for_the_main_shell(context: Context, streams: Streams) -> None:
    sub = start(context, 1, "import time; print('sub'); time.sleep(0.5); 'unharmed'")
    main = context.start("import time; print('main'); time.sleep(60)")
    streams.until(sub, "sub")
    streams.until(main, "main")
    time.sleep(0.05)  # into the system call: before it, an interrupt would be seen only after it
    context.interrupt(main)
    assert streams.until_done(main).reply["ename"] == "KeyboardInterrupt"
    assert streams.until_done(sub).plain == "'unharmed'"


BUSY = {
    "loops": "print('go')\nwhile True: pass",
    "catches": "print('go')\nwhile True:\n    try:\n        while True: pass\n    except Exception: pass",
    "awaits": "import asyncio; print('go'); await asyncio.sleep(60)",
    "sleeps in C": "import time; print('go'); time.sleep(2)",
    "asks": "print('go'); input()",
}


@pytest.mark.parametrize("what", BUSY)
def test_delete_while_it_runs(context: Context, streams: Streams, what: str) -> None:
    req = start(context, 1, BUSY[what], allow_stdin=True)
    streams.until(req, "go")
    asked = context.send(h.SUBSHELL, [b'{"op": "delete"}'], arg=1)
    run = streams.until_done(req)
    assert streams.until_done(asked).reply == {"status": "ok"}
    assert run.reply["ename"] == "SubshellDeleted"
    assert run.done.arg == (2 if what == "sleeps in C" else 1)  # 2: its thread could not be ended
    gone = (
        "import threading, time\nwhile [t for t in threading.enumerate() if 'subshell-1' in t.name]: time.sleep(0.01)"
    )
    streams.until_done(context.start(gone))
    assert len(run.of(h.DONE)) == 1
    assert context.run("1+1").plain == "2"
    late = start(context, 1, "'nobody'")
    assert streams.until_done(late).reply["ename"] == "NoSuchSubshell"
    assert subshell(context, "create", 2) == {"status": "ok"}
    assert streams.until_done(start(context, 2, "'second'")).plain == "'second'"


def test_packets_of_two_shells_do_not_mix(context: Context, streams: Streams) -> None:
    """Messages of many packets at the same time; the harness checks that each arrives in one piece."""
    code = "for n in range(30): display({'text/plain': '%s' * 400_000}, raw=True)"
    main, sub = context.start(code % "m"), start(context, 1, code % "s")
    for req, letter in ((main, "m"), (sub, "s")):
        texts = {m.json[0]["text/plain"] for m in streams.until_done(req).of(h.DISPLAY)}
        assert texts == {letter * 400_000} and len(streams.runs[req].of(h.DISPLAY)) == 30


def test_delete_serves_the_messages_before(context: Context, streams: Streams) -> None:
    """A comm is closed and its subshell deleted in one breath."""
    context.run(
        "from comm import get_comm_manager\nimport time\nlog = []\n"
        "def opened(comm, m):\n"
        "    comm.on_msg(lambda m: time.sleep(0.1))\n"
        "    comm.on_close(lambda m: log.append('closed'))\n"
        "get_comm_manager().register_target('t', opened)"
    )

    def comm(kind: str) -> int:
        content = {"comm_id": "c", "target_name": "t", "data": {}}
        parts: list[dict[str, Any]] = [{"msg_type": kind}, content, {}]
        return context.send(h.COMM, [json.dumps(p).encode() for p in parts], arg=1)

    streams.until_done(comm("comm_open"))
    closed = comm("comm_close")
    asked = context.send(h.SUBSHELL, [b'{"op": "delete"}'], arg=1)
    assert streams.until_done(closed).reply == {}
    assert streams.until_done(asked).reply == {"status": "ok"}
    assert context.run("log").plain == "['closed']"


def test_idle_ones_leave_no_thread(context: Context) -> None:
    assert subshell(context, "create", 100)["status"] == "ok"
    context.run("import os, threading; before = threading.active_count(); files = len(os.listdir('/proc/self/fd'))")
    for number in range(1, 21):
        assert subshell(context, "create", number)["status"] == "ok"
    assert context.run("threading.active_count() - before").plain == "20"
    for number in range(1, 21):
        assert subshell(context, "delete", number)["status"] == "ok"
    assert context.run("threading.active_count() - before").plain == "0"
    assert context.run("len(os.listdir('/proc/self/fd')) - files").plain == "0"


def test_wrong_numbers(context: Context, streams: Streams) -> None:
    assert subshell(context, "create", 1)["status"] == "error"
    assert subshell(context, "create", 0)["status"] == "error"
    assert subshell(context, "delete", 9)["status"] == "error"
    assert streams.until_done(start(context, 9, "1")).reply["ename"] == "NoSuchSubshell"
    assert streams.until_done(start(context, 1, "'still there'")).plain == "'still there'"


def test_threads_and_capture_in_a_subshell(context: Context, streams: Streams) -> None:
    code = "import threading\nt = threading.Thread(target=print, args=('in thread',)); t.start(); t.join()"
    assert streams.until_done(start(context, 1, code)).text() == "in thread\n"
    run = streams.until_done(start(context, 1, "%%capture got\ndisplay('kept')"))
    assert not run.of(h.DISPLAY)
    assert streams.until_done(start(context, 1, "len(got.outputs)")).plain == "1"
    assert context.run("display('shown')").of(h.DISPLAY)


def test_exit_asks_the_client(context: Context, streams: Streams) -> None:
    run = streams.until_done(start(context, 1, "exit()", msg_id="m"))
    assert run.reply["payload"][0]["source"] == "ask_exit"
    assert context.run("1+1").plain == "2"
