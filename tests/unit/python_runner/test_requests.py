"""Requests beside cells: completion, inspection, history, input, comms."""

from __future__ import annotations

import json

import harness as h
from harness import Context, Run

TYPES = "_jupyter_types_experimental"


def test_complete(context: Context) -> None:
    reply = context.ask(h.COMPLETE, {"cursor_pos": 8}, b"import o")
    assert (
        reply["status"] == "ok" and "os" in reply["matches"] and (reply["cursor_start"], reply["cursor_end"]) == (7, 8)
    )
    assert {"text", "type", "start", "end", "signature"} <= set(reply["metadata"][TYPES][0])
    context.run("import pandas as pd; df = pd.DataFrame({'alpha': [1]}); valuable_é = 'x'")
    reply = context.ask(h.COMPLETE, {"cursor_pos": 3}, b"df.")
    assert "groupby" in reply["matches"] and "alpha" in reply["matches"]
    reply = context.ask(h.COMPLETE, {"cursor_pos": 7}, "'é'+val".encode())
    assert reply["matches"] == ["valuable_é"] and reply["cursor_start"] == 4
    reply = context.ask(h.COMPLETE, {"cursor_pos": 4}, b"%tim")
    assert "%timeit" in reply["matches"]
    assert context.ask(h.COMPLETE, {"cursor_pos": 999}, b"zzzz")["matches"] == []


def test_inspect(context: Context) -> None:
    reply = context.ask(h.INSPECT, {"cursor_pos": 3, "detail_level": 0}, b"len")
    assert reply["found"] and "Return the number of items" in reply["data"]["text/plain"]
    assert not context.ask(h.INSPECT, {"cursor_pos": 4, "detail_level": 0}, b"nope")["found"]
    context.run("def g(a):\n    'doc of g'\n    return a")
    reply = context.ask(h.INSPECT, {"cursor_pos": 1, "detail_level": 1}, b"g")
    assert "return" in reply["data"]["text/plain"]


def test_is_complete(context: Context) -> None:
    ask = lambda code: context.ask(h.IS_COMPLETE, {}, code)  # noqa: E731
    assert ask(b"1+1")["status"] == "complete"
    assert ask(b"for i in x:") == {"status": "incomplete", "indent": "    "}
    assert ask(b"x = )")["status"] == "invalid"


def test_history(context: Context) -> None:
    for code in ("a = 1", "b = 2", "a + b", "b = 2"):
        context.run(code)
    ask = lambda **c: context.ask(h.HISTORY, {"raw": True, "output": False, **c})["history"]  # noqa: E731
    assert ask(hist_access_type="tail", n=2) == [[1, 3, "a + b"], [1, 4, "b = 2"]]
    assert ask(hist_access_type="tail", n=2, output=True)[0] == [1, 3, ["a + b", "3"]]
    assert ask(hist_access_type="search", pattern="b*", n=10) == [[1, 2, "b = 2"], [1, 4, "b = 2"]]
    assert ask(hist_access_type="search", pattern="b*", unique=True, n=10) == [[1, 4, "b = 2"]]
    assert [e[2] for e in ask(hist_access_type="range", session=0, start=1, stop=3)] == ["a = 1", "b = 2"]
    assert "a + b" in context.run("%history").text()


def test_input(context: Context) -> None:
    req = context.start("name = input('who? ')\nname", allow_stdin=True)
    run = context.collect(req, until=h.STDIN)
    assert run.of(h.STDIN)[0].json[0] == {"prompt": "who? ", "password": False}
    context.send(h.INPUT, ["é".encode()], req=req)
    assert context.collect(req).plain == "'é'"
    req = context.start("import getpass; getpass.getpass()", allow_stdin=True)
    assert context.collect(req, until=h.STDIN).of(h.STDIN)[0].json[0]["password"] is True
    context.send(h.INPUT, [b"pw"], req=req)
    assert context.collect(req).plain == "'pw'"


def test_input_from_async_and_thread(context: Context) -> None:
    req = context.start("import asyncio; await asyncio.to_thread(input, 'in thread')", allow_stdin=True)
    run = context.collect(req, until=h.STDIN)
    context.send(h.INPUT, [b"answer"], req=req)
    assert context.collect(req, run=run).plain == "'answer'"
    req = context.start("await asyncio.sleep(0); input()", allow_stdin=True)
    run = context.collect(req, until=h.STDIN)
    context.send(h.INPUT, [b"two"], req=req)
    assert context.collect(req, run=run).plain == "'two'"


def test_input_refused(context: Context) -> None:
    assert context.run("input()", allow_stdin=False).reply["ename"] == "StdinNotImplementedError"
    req = context.start("input()", allow_stdin=True)
    context.collect(req, until=h.STDIN)
    context.send(h.INPUT, [b""], req=req, arg=1)
    assert context.collect(req).reply["ename"] == "StdinNotImplementedError"


def test_input_interrupted_and_shut_down(context: Context) -> None:
    req = context.start("input('a')", allow_stdin=True)
    run = context.collect(req, until=h.STDIN)
    context.interrupt(req)
    assert context.collect(req, run=run).reply["ename"] == "KeyboardInterrupt"
    context.send(h.INPUT, [b"stale"], req=req)
    assert context.run("1+1").plain == "2"
    req = context.start("input('b')", allow_stdin=True)
    context.collect(req, until=h.STDIN)
    context.send(h.SHUTDOWN, [b"{}"])
    assert context.collect(req, until=h.EXITED).messages[-1].arg == 0


def test_shutdown_during_await(context: Context) -> None:
    req = context.start("import asyncio; print('go'); await asyncio.sleep(60)")
    context.wait_text(Run(req), "go")
    context.send(h.SHUTDOWN, [b"{}"])
    assert context.collect(req, until=h.EXITED).messages[-1].arg == 0


def comm(context: Context, kind: str, content: dict[str, object], *buffers: bytes) -> Run:
    sections = [json.dumps({"msg_type": kind}).encode(), json.dumps(content).encode(), b"{}", *buffers]
    return context.collect(context.send(h.COMM, sections))


def test_comms(context: Context) -> None:
    context.run(
        "from comm import create_comm, get_comm_manager\ngot = []\n"
        "def target(c, msg):\n"
        "    c.on_msg(lambda m: (got.append((m['content']['data'], [bytes(b) for b in m['buffers']])), "
        "c.send({'echo': 1}, buffers=[b'bb'])))\n"
        "get_comm_manager().register_target('t', target)"
    )
    comm(context, "comm_open", {"comm_id": "c1", "target_name": "t", "data": {}})
    assert context.ask(h.COMM_INFO, {}) == {"status": "ok", "comms": {"c1": {"target_name": "t"}}}
    run = comm(context, "comm_msg", {"comm_id": "c1", "data": {"x": 1}}, b"\0\1")
    out = run.of(h.COMM_OUT)[0]
    assert (
        out.json[0] == {"msg_type": "comm_msg"}
        and out.json[1] == {"data": {"echo": 1}, "comm_id": "c1"}
        and out.buffers == [b"bb"]
    )
    assert context.run("got").plain == "[({'x': 1}, [b'\\x00\\x01'])]"
    run = comm(context, "comm_open", {"comm_id": "c2", "target_name": "unknown", "data": {}})
    assert run.of(h.COMM_OUT)[0].json[0] == {"msg_type": "comm_close"}
    run = context.run("mine = create_comm(target_name='front', data={'a': 1})")
    opened = run.of(h.COMM_OUT)[0].json
    assert opened[0]["msg_type"] == "comm_open" and opened[1]["target_name"] == "front"


def test_ipywidgets(context: Context) -> None:
    if context.run("import ipywidgets").error is not None:
        return
    run = context.run("s = ipywidgets.IntSlider(value=3); s", msg_id="m-1", cell="e1")
    assert any(m.json[1].get("target_name") == "jupyter.widget" for m in run.of(h.COMM_OUT))
    assert "application/vnd.jupyter.widget-view+json" in run.result
    model = context.run("s.model_id").plain.strip("'")
    comm(
        context, "comm_msg", {"comm_id": model, "data": {"method": "update", "state": {"value": 8}, "buffer_paths": []}}
    )
    assert context.run("s.value").plain == "8"
    run = context.run("out = ipywidgets.Output()\nwith out:\n    print('captured'); display('x')", msg_id="m-2")
    assert any(m.json[1].get("data", {}).get("state", {}).get("msg_id") == "m-2" for m in run.of(h.COMM_OUT))


def typed(context: Context, code: str) -> dict[str, tuple[str, str, int, int]]:
    reply = context.ask(h.COMPLETE, {"cursor_pos": len(code)}, code.encode())
    entries = reply["metadata"][TYPES]
    assert [e["text"] for e in entries] == reply["matches"]
    return {e["text"]: (e["type"], e["signature"], e["start"], e["end"]) for e in entries}


def test_typed_completions(context: Context) -> None:
    context.run(
        "import os, json, pandas as pd\nd = {'one': 1, 'two': {'inner': 1}}\ndf = pd.DataFrame({'alpha': [1]})\n"
        "def fn(parameter, other=1): pass\n"
        "class K:\n    attr = 1\n    def meth(self, a: int) -> str: ...\n"
        "    @property\n    def prop(self): 1/0\nk = K()"
    )
    assert typed(context, "%ti")["%time"] == ("magic", "", 0, 3)
    assert typed(context, "%%ti")["%%timeit"] == ("magic", "", 0, 4)
    assert typed(context, "open('/et")["/etc/"] == ("path", "", 6, 9)
    assert typed(context, "d['t")["two"] == ("dict key", "", 3, 4)
    assert typed(context, "d['two']['")["inner"] == ("dict key", "", 10, 10)
    assert typed(context, "df['")["alpha"] == ("dict key", "", 4, 4)
    assert typed(context, "fn(par")["parameter="][0] == "param"
    assert typed(context, "import js")["json"] == ("module", "", 7, 9)
    assert typed(context, "k.")["meth"] == ("function", "(a: int)", 2, 2)
    assert typed(context, "\\alp")["\\alpha"][0] == "latex"
    assert typed(context, "fo")["for"][0] == "keyword"
    assert typed(context, "'é'+K.me")["meth"][2:] == (6, 8)
    for code, name, kind in (("os.", "path", "module"), ("os.", "environ", "instance"), ("df.", "groupby", "function")):
        assert typed(context, code)[name][0] == kind, (code, name)
    assert not [t for t, (kind, *_) in typed(context, "df.").items() if kind == "<unknown>"]
    assert not [t for t, (kind, *_) in typed(context, "json.").items() if kind == "<unknown>"]


def test_completions_call_nothing(context: Context) -> None:
    context.run(
        "called = []\nclass T:\n    def __getattr__(self, n): called.append(n); raise AttributeError(n)\n"
        "    @property\n    def aa(self): called.append('aa')\nt = T()\nimport sys"
    )
    typed(context, "t.a")
    assert "aa" not in context.run("called").plain
