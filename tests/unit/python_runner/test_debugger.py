"""The debugger as JupyterLab drives it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import harness as h
import pytest
from debugging import Client
from harness import Context, Init

CELL = "def f(n):\n    m = n * 2\n    return m + 1\nx = f(20)\nx"


@pytest.fixture
def client(context: Context) -> Client:
    client = Client(context)
    client.attach()
    return client


def test_features_are_announced(context: Context) -> None:
    assert context.hello is not None
    assert context.hello.json[0]["supported_features"] == ["debugger", "kernel subshells"]


def test_info_before_start(context: Context) -> None:
    info = Client(context).body("debugInfo")
    assert info["isStarted"] is False and info["hashMethod"] == "Murmur2" and info["hashSeed"] == 0xC70F6907
    assert info["tmpFileSuffix"] == ".py" and info["richRendering"] is True and info["copyToGlobals"] is True
    assert info["breakpoints"] == [] and info["stoppedThreads"] == [] and info["exceptionPaths"]
    run = context.run("import sys; 'debugpy' in sys.modules, 'pydevd' in sys.modules")
    assert run.plain == "(False, False)"


def test_requests_before_attach_fail(context: Context) -> None:
    client = Client(context)
    for command in ("attach", "stackTrace", "continue", "pause", "setBreakpoints", "noSuchCommand"):
        reply = client.request(command, source={"path": "/x.py"})
        assert reply["success"] is False and reply["message"], reply
    assert client.request("dumpCell")["success"] is False
    assert context.run("1+1").plain == "2"


@pytest.mark.parametrize(
    ("code", "number"), [("", 3990065800), ("1+1", 225133317), ("é = 'ü'", 1165829570), ("print('hello')", 3900465672)]
)
def test_cell_files_are_named_by_hash(context: Context, code: str, number: int) -> None:
    client = Client(context)
    info = client.body("debugInfo")
    path = client.body("dumpCell", code=code)["sourcePath"]
    assert path == f"{info['tmpFilePrefix']}{number}{info['tmpFileSuffix']}"
    assert Path(path).read_text() == code
    assert client.body("source", source={"path": path})["content"] == code


def test_breakpoint_variables_and_stepping(context: Context, client: Client) -> None:
    path = client.set_breakpoints(CELL, 2)
    assert client.body("debugInfo")["breakpoints"][0]["source"] == path
    req = context.start(CELL)
    thread, frames = client.stopped()
    assert [(f["name"], f["line"], f["source"]["path"]) for f in frames] == [("f", 2, path), ("<module>", 4, path)]
    assert client.body("debugInfo")["stoppedThreads"] == [thread]
    assert client.locals(frames[0]["id"]) == {"n": "20"}
    assert client.body("evaluate", expression="n + 1", frameId=frames[0]["id"])["result"] == "21"
    client.body("next", threadId=thread)
    thread, frames = client.stopped()
    assert frames[0]["line"] == 3 and client.locals(frames[0]["id"]) == {"n": "20", "m": "40"}
    client.body("stepOut", threadId=thread)
    thread, frames = client.stopped()
    assert frames[0]["name"] == "<module>" and frames[0]["line"] in (4, 5)
    client.body("continue", threadId=thread)
    run = client.finish(req)
    assert run.plain == "41" and client.body("debugInfo")["stoppedThreads"] == []


def test_stack_ends_at_the_cell(context: Context) -> None:
    client = Client(context)
    client.attach(justMyCode=False)
    client.set_breakpoints(CELL, 2)
    req = context.start(CELL)
    thread, frames = client.stopped()
    assert [f["name"] for f in frames] == ["f", "<module>"]
    top = client.body("stackTrace", threadId=thread, startFrame=0, levels=1)
    assert len(top["stackFrames"]) == 1 and top["totalFrames"] == 2
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "41"


def test_step_into_and_off_the_end(context: Context, client: Client) -> None:
    client.set_breakpoints(CELL, 4)
    req = context.start(CELL)
    thread, frames = client.stopped()
    assert frames[0]["line"] == 4
    client.body("stepIn", threadId=thread)
    thread, frames = client.stopped()
    assert frames[0]["name"] == "f"
    client.body("stepOut", threadId=thread)
    lines = []
    while client.stops(req):  # off the cell's end: nothing of ours is stepped through
        thread, frames = client.stopped()
        assert Path(frames[0]["source"]["path"]).parent.name.startswith("ipykernel_")
        lines.append(frames[0]["line"])
        client.body("next", threadId=thread)
    assert lines in ([4, 5], [5])
    assert client.finish(req).plain == "41"


def test_breakpoints_survive_a_rerun_and_a_second_client(context: Context, client: Client) -> None:
    client.set_breakpoints(CELL, 3)
    for _ in range(2):
        req = context.start(CELL)
        thread, frames = client.stopped()
        assert frames[0]["line"] == 3
        client.body("continue", threadId=thread)
        assert client.finish(req).plain == "41"
    info = Client(context).body("debugInfo")
    assert info["isStarted"] and [b["line"] for b in info["breakpoints"][0]["breakpoints"]] == [3]
    client.body("setBreakpoints", source={"path": client.body("dumpCell", code=CELL)["sourcePath"]}, breakpoints=[])
    assert context.run(CELL).plain == "41"


def test_conditional_breakpoint_and_logpoint(context: Context, client: Client) -> None:
    code = "total = 0\nfor i in range(10):\n    total += i\ntotal"
    client.set_breakpoints(code, 3, condition="i == 7")
    req = context.start(code)
    thread, frames = client.stopped()
    assert client.body("evaluate", expression="i", frameId=frames[0]["id"])["result"] == "7"
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "45"


def test_functions_of_earlier_cells_stop_too(context: Context) -> None:
    earlier = "def g(a):\n    b = a + 1\n    return b"
    context.run(earlier)
    client = Client(context)
    client.attach()
    client.set_breakpoints(earlier, 3)
    req = context.start("g(1)")
    thread, frames = client.stopped()
    assert [f["name"] for f in frames] == ["g", "<module>"] and client.locals(frames[0]["id"]) == {"a": "1", "b": "2"}
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "2"


def test_control_answers_while_stopped(context: Context, client: Client) -> None:
    client.set_breakpoints(CELL, 2)
    context.run("shown = [1, {'k': 'v'}]")
    req = context.start(CELL)
    thread, frames = client.stopped()
    asked = context.send(h.USAGE, [b"{}"])
    assert context.collect(asked).reply["pid"] == context.pid
    names = {v["name"]: v for v in client.body("inspectVariables")["variables"]}
    assert names["shown"]["value"] == "[1, {'k': 'v'}]"
    children = client.body("variables", variablesReference=names["shown"]["variablesReference"])["variables"]
    assert [(c["name"], c["evaluateName"]) for c in children] == [("0", "shown[0]"), ("1", "shown[1]")]
    rich = client.body("richInspectVariables", variableName="n", frameId=frames[0]["id"])
    assert rich["data"]["text/plain"] == "20"
    client.body("copyToGlobals", srcVariableName="n", dstVariableName="taken", srcFrameId=frames[0]["id"])
    modules = client.body("modules", startModule=0, moduleCount=5)
    assert len(modules["modules"]) == 5 and modules["totalModules"] > 100
    client.body("continue", threadId=thread)
    client.finish(req)
    assert context.run("taken").plain == "20"


def test_variables_while_nothing_is_stopped(context: Context) -> None:
    client = Client(context)
    context.run("import pandas as pd; df = pd.DataFrame({'a': [1]}); s = {'one': (1, 2)}; text = 'x' * 9999")
    variables = {v["name"]: v for v in client.body("inspectVariables")["variables"]}
    assert {"df", "s", "text", "pd"} <= set(variables) and not {"In", "Out", "exit"} & set(variables)
    assert variables["df"]["type"] == "DataFrame" and len(variables["text"]["value"]) < 3000
    one = client.body("variables", variablesReference=variables["s"]["variablesReference"])["variables"][0]
    assert one["name"] == "'one'" and one["value"] == "(1, 2)" and one["evaluateName"] == "s['one']"
    deeper = client.body("variables", variablesReference=one["variablesReference"], start=1, count=1)["variables"]
    assert [v["value"] for v in deeper] == ["2"]
    rich = client.body("richInspectVariables", variableName="df")
    assert "<table" in rich["data"]["text/html"]
    assert client.request("richInspectVariables", variableName="nope")["success"] is False
    assert client.body("evaluate", expression="s['one'][1] + 1")["result"] == "3"
    client.body("evaluate", expression="made = 5")
    assert context.run("made").plain == "5"
    assert client.request("evaluate", expression="1/0")["message"].startswith("ZeroDivisionError")


def test_exception_breakpoints(context: Context, client: Client) -> None:
    client.body("setExceptionBreakpoints", filters=["raised"])
    code = "def bad():\n    return 1 / 0\nbad()"
    client.body("dumpCell", code=code)
    req = context.start(code)
    thread, frames = client.stopped()
    assert frames[0]["name"] == "bad" and frames[0]["line"] == 2
    assert "ZeroDivisionError" in client.body("exceptionInfo", threadId=thread)["exceptionId"]
    client.body("setExceptionBreakpoints", filters=[])
    client.body("continue", threadId=thread)
    assert client.finish(req).reply["ename"] == "ZeroDivisionError"


def test_pause_a_loop(context: Context, client: Client) -> None:
    code = "import time\ngo = True\nprint('go')\nwhile go:\n    time.sleep(0.01)\n'ended'"
    client.body("dumpCell", code=code)
    req = context.start(code)
    run = h.Run(req)
    context.wait_text(run, "go")
    main = next(t["id"] for t in client.body("threads")["threads"] if t["name"] == "MainThread")
    client.body("pause", threadId=main)
    thread, frames = client.stopped()
    assert frames[-1]["name"] == "<module>" and frames[-1]["line"] in (4, 5)
    client.body("evaluate", expression="go = False", frameId=frames[-1]["id"], context="repl")
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "'ended'"


def test_breakpoint_function(context: Context, client: Client) -> None:
    code = "n = 1\nbreakpoint()\nn = 2\nn"
    client.body("dumpCell", code=code)
    req = context.start(code)
    thread, frames = client.stopped()
    assert frames[0]["name"] == "<module>" and frames[0]["line"] in (2, 3)
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "2"
    client.body("disconnect")
    req = context.start(code, allow_stdin=True)  # pdb again
    run = context.collect(req, until=h.STDIN)
    context.send(h.INPUT, [b"c"], req=req)
    run = context.collect(req, run=run)
    assert run.plain == "2" and not run.text(2)


def test_async_cells_stop(context: Context, client: Client) -> None:
    code = "import asyncio\nasync def co(v):\n    await asyncio.sleep(0)\n    return v * 2\nawait co(4)"
    client.set_breakpoints(code, 4)
    req = context.start(code)
    thread, frames = client.stopped()
    assert client.locals(frames[0]["id"])["v"] == "4"
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "8"


def test_threads_stop_on_their_own(context: Context, client: Client) -> None:
    code = "def work(q):\n    z = 1\n    q.append(z)"
    client.set_breakpoints(code, 3)
    context.run(code)
    req = context.start("import threading; got = []; t = threading.Thread(target=work, args=(got,)); t.start()")
    thread, frames = client.stopped()
    client.finish(req)
    assert frames[0]["name"] == "work"
    assert context.run("got").plain == "[]"  # the main shell goes on
    client.body("continue", threadId=thread)
    assert context.run("t.join(); got").plain == "[1]"


def test_interrupt_at_a_breakpoint(context: Context, client: Client) -> None:
    client.set_breakpoints(CELL, 2)
    req = context.start(CELL)
    client.stopped()
    context.interrupt(req)
    assert client.finish(req).reply["ename"] == "KeyboardInterrupt"
    assert client.body("debugInfo")["stoppedThreads"] == []
    req = context.start(CELL)
    thread, _ = client.stopped()
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "41"


def test_disconnect_in_the_middle_and_attach_again(context: Context, client: Client) -> None:
    for _ in range(3):
        client.set_breakpoints(CELL, 2)
        req = context.start(CELL)
        client.stopped()
        client.body("disconnect", restart=False, terminateDebuggee=True)  # which must not end the context
        assert client.finish(req).plain == "41"
        assert client.body("debugInfo")["isStarted"] is False
        assert context.run("import sys; sys.gettrace()").of(h.RESULT) == []
        assert context.run(CELL).plain == "41"
        client.attach()
    client.set_breakpoints(CELL, 2)
    req = context.start(CELL)
    thread, _ = client.stopped()
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "41"


def test_initialize_twice(context: Context, client: Client) -> None:
    client.attach()
    client.set_breakpoints(CELL, 2)
    req = context.start(CELL)
    thread, _ = client.stopped()
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "41"


def test_shutdown_at_a_breakpoint(context: Context, client: Client) -> None:
    context.run("import atexit; atexit.register(print, 'atexit ran')")
    client.set_breakpoints(CELL, 2)
    req = context.start(CELL)
    client.stopped()
    context.send(h.SHUTDOWN, [b'{"restart": true}'])
    run = context.collect(req, until=h.EXITED)
    assert run.messages[-1].arg == 0 and "atexit ran" in run.text()


def test_forked_child_does_not_stop(context: Context, client: Client) -> None:
    code = "import os\npid = os.fork()\nif pid == 0:\n    n = 3\n    os._exit(n)\nos.waitpid(pid, 0)[1] >> 8"
    client.set_breakpoints(code, 4)
    assert context.run(code).plain == "3"


def test_tracebacks_stay_as_they_are(context: Context, client: Client) -> None:
    error = context.run("def h():\n    1/0\nh()").error
    assert error is not None
    assert any("Cell" in line and "In[" in line for line in error["traceback"])
    assert "----> 2     1/0" in re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error["traceback"]))


def test_debugger_in_a_fresh_context(fresh: Init, tmp_path: Path) -> None:
    context = fresh.context(tmp_path)
    client = Client(context)
    client.attach()
    client.set_breakpoints(CELL, 2)
    req = context.start(CELL)
    thread, _ = client.stopped()
    client.body("continue", threadId=thread)
    assert client.finish(req).plain == "41"


def test_garbage(context: Context) -> None:
    client = Client(context)
    for content in ({}, {"command": 5}, {"command": "variables", "arguments": {"variablesReference": "x"}}):
        req = context.send(h.DEBUG, [json.dumps(content).encode()])
        reply = context.collect(req).reply
        assert reply["success"] is False and reply["message"]
    client.attach()
    for command, arguments in (
        ("stackTrace", {"threadId": 4711}),
        ("scopes", {"frameId": 4711}),
        ("variables", {"variablesReference": 4711}),
        ("variables", {"variablesReference": (1 << 30) + 4711}),
        ("setBreakpoints", {}),
        ("evaluate", {"expression": "(", "frameId": 4711}),
        ("noSuchCommand", {}),
        ("continue", {"threadId": 4711}),
    ):
        client.request(command, **arguments)
    assert context.run("1+1").plain == "2"
