"""Comms and ipywidgets: what a front end sends and sees."""

from __future__ import annotations

import json
from typing import Any

import harness as h
import pytest
from harness import Context, Run

WIDGET = "application/vnd.jupyter.widget-view+json"


def comm(context: Context, kind: str, content: dict[str, Any], *buffers: bytes, arg: int = 0, **head: Any) -> Run:
    metadata = json.dumps({"version": "1.0.0"}).encode()  # of the widgets' control protocol
    sections = [json.dumps({"msg_type": kind, **head}).encode(), json.dumps(content).encode(), metadata, *buffers]
    return context.collect(context.send(h.COMM, sections, arg=arg))


def update(context: Context, model: str, state: dict[str, Any], *buffers: bytes, **more: Any) -> Run:
    """A front end changes a model."""
    paths = more.pop("buffer_paths", [])
    data = {"method": "update", "state": state, "buffer_paths": paths}
    return comm(context, "comm_msg", {"comm_id": model, "data": data}, *buffers, **more)


def states(run: Run, key: str) -> list[Any]:
    """Values that models got, in order."""
    found = (m.json[1].get("data", {}).get("state", {}) for m in run.of(h.COMM_OUT))
    return [state[key] for state in found if key in state]


def model(context: Context, name: str) -> str:
    return context.run(f"{name}.model_id").plain.strip("'")


@pytest.fixture
def widgets(context: Context) -> Context:
    assert context.run("import ipywidgets as w\nfrom IPython.display import display, clear_output").error is None
    return context


def test_slider_both_ways(widgets: Context) -> None:
    run = widgets.run("s = w.IntSlider(value=3); seen = []; s.observe(lambda c: seen.append(c.new), 'value'); s")
    opened = [m.json for m in run.of(h.COMM_OUT)]
    assert all(head["msg_type"] == "comm_open" for head, _, _ in opened)
    assert all(metadata["version"].startswith("2.") for _, _, metadata in opened)
    assert run.result[WIDGET]["model_id"] == model(widgets, "s")
    run = update(widgets, model(widgets, "s"), {"value": 8}, msg_id="moved")
    assert states(run, "value") == [8]  # ipywidgets 8 echoes it
    assert widgets.run("s.value, seen").plain == "(8, [8])"
    assert states(widgets.run("s.value = 5"), "value") == [5]
    info = widgets.ask(h.COMM_INFO, {"target_name": "jupyter.widget"})["comms"]
    assert info[model(widgets, "s")] == {"target_name": "jupyter.widget"}
    assert widgets.ask(h.COMM_INFO, {"target_name": "other"})["comms"] == {}
    run = widgets.run("s.close()")
    assert run.of(h.COMM_OUT)[-1].json[0]["msg_type"] == "comm_close"


def test_request_states(widgets: Context) -> None:
    """A page that is opened later asks the control target for all models."""
    widgets.run("s = w.IntSlider(value=3)")
    comm(widgets, "comm_open", {"comm_id": "ctl", "target_name": "jupyter.widget.control", "data": {}})
    run = comm(widgets, "comm_msg", {"comm_id": "ctl", "data": {"method": "request_states"}})
    (answer,) = run.of(h.COMM_OUT)
    assert answer.json[1]["data"]["method"] == "update_states"
    assert answer.json[1]["data"]["states"][model(widgets, "s")]["state"]["value"] == 3


def test_buffers_both_ways(widgets: Context) -> None:
    run = widgets.run("i = w.Image(value=b'\\x89PNG\\x00\\xff', format='png')")
    (message,) = [m for m in run.of(h.COMM_OUT) if m.buffers]
    assert message.json[1]["data"]["buffer_paths"] == [["value"]] and message.buffers == [b"\x89PNG\x00\xff"]
    update(widgets, model(widgets, "i"), {}, b"\x00new\xfe", buffer_paths=[["value"]])
    assert widgets.run("bytes(i.value)").plain == "b'\\x00new\\xfe'"


def test_output_captures_by_message(widgets: Context) -> None:
    """The front end moves what has the message id that the model names at that moment."""
    widgets.run("out, inner = w.Output(), w.Output()")
    cell = (
        "print('before')\nwith out:\n    print('in'); display('shown')\n    with inner:\n        print('inner')\n"
        "    print('again')\nprint('after')"
    )
    run = widgets.run(cell, msg_id="m-7")
    order: list[Any] = []
    for message in run.messages:
        if message.type == h.COMM_OUT:
            order += states(_only(message), "msg_id")
        elif message.type == h.STREAM:
            order.append(message.raw[1].decode())
        elif message.type == h.DISPLAY:
            order.append("display")
    text = "".join("|" if item in ("m-7", "") else str(item) for item in order)
    assert text == "before\n|in\ndisplay|inner\n|again\n|after\n", order


def _only(message: Any) -> Run:
    run = Run(message.req)
    run.messages.append(message)
    return run


def test_output_cleared_and_errors(widgets: Context) -> None:
    widgets.run("out = w.Output()")
    run = widgets.run("with out:\n    print('x'); clear_output(wait=True); print('y')", msg_id="m-1")
    assert run.of(h.CLEAR_OUTPUT)[0].arg == 1 and states(run, "msg_id")[:1] == ["m-1"]
    run = widgets.run("with out:\n    1/0\nprint('not reached' if 0 else 'went on')", msg_id="m-2")
    assert [m.json[0]["ename"] for m in run.of(h.ERROR)] == ["ZeroDivisionError"] and "went on" in run.text()
    run = widgets.run("out.append_stdout('text'); out.append_display_data(w.HTML('h')); out.clear_output()")
    assert states(run, "outputs")[0][0]["text"] == "text"


def test_interact(widgets: Context) -> None:
    run = widgets.run(
        "@w.interact(x=(0, 10), name=['a', 'b'])\ndef f(x=3, name='b'): print('x is', x, name)", msg_id="m"
    )
    assert "x is 3 b" in run.text() and run.of(h.DISPLAY)
    sliders = widgets.run("[c.model_id for c in f.widget.children[:2]]").plain
    slider, choice = json.loads(sliders.replace("'", '"'))
    run = update(widgets, slider, {"value": 9}, msg_id="c-1")
    assert "x is 9 b" in run.text() and run.of(h.CLEAR_OUTPUT) and states(run, "msg_id")[0] == "c-1"
    run = update(widgets, choice, {"index": 0}, msg_id="c-2")
    assert "x is 9 a" in run.text()


def test_button_with_an_error_in_its_handler(widgets: Context) -> None:
    widgets.run("b = w.Button()\n@b.on_click\ndef clicked(_): print('clicked'); 1/0")
    data = {"method": "custom", "content": {"event": "click"}}
    run = comm(widgets, "comm_msg", {"comm_id": model(widgets, "b"), "data": data})
    assert "clicked" in run.text() and "ZeroDivisionError" in run.text(2) + str(run.error)
    assert run.reply is not None and widgets.run("1+1").plain == "2"


def test_tqdm_notebook(widgets: Context) -> None:
    run = widgets.run("from tqdm.notebook import tqdm\nfor i in tqdm(range(3), desc='go'): pass", msg_id="m")
    assert WIDGET in run.of(h.DISPLAY)[0].json[0]
    assert 3.0 in states(run, "value") or 3 in states(run, "value")
    run = widgets.run("from tqdm.autonotebook import tqdm as auto; auto.__module__")
    assert run.plain == "'tqdm.notebook'"


def test_widgets_from_threads_and_tasks(widgets: Context) -> None:
    widgets.run("p = w.IntProgress(); out = w.Output()")
    code = (
        "import threading\ndef work():\n    for n in range(3): p.value = n + 1\n    print('thread')\n"
        "    with out: print('in out')\nt = threading.Thread(target=work); t.start(); t.join()"
    )
    run = widgets.run(code, msg_id="m-t")
    assert states(run, "value") == [1, 2, 3] and "thread" in run.text() and "m-t" in states(run, "msg_id")
    assert {m.req for m in run.of(h.COMM_OUT)} == {run.req}
    code = (
        "import asyncio\nasync def later():\n    await asyncio.sleep(0.05); p.value = 9; print('task')\n"
        "t = asyncio.create_task(later()); None"
    )
    made = widgets.run(code, msg_id="m-a")
    other = widgets.run("await asyncio.sleep(0.2); 'other'", msg_id="m-b")
    late = [m for m in other.messages if m.type in (h.COMM_OUT, h.STREAM)]
    assert {m.req for m in late} == {made.req} and states(other, "value") == [9]


def test_comms_in_a_subshell(widgets: Context) -> None:
    widgets.run(
        "s = w.IntSlider(); where = []; import threading, time\ns.observe(lambda c: where.append((c.new, "
        "threading.current_thread() is threading.main_thread())), 'value')"
    )
    name = model(widgets, "s")
    assert widgets.collect(widgets.send(h.SUBSHELL, [b'{"op": "create"}'], arg=1)).reply["status"] == "ok"
    main = widgets.start("while not where: time.sleep(0.001)\nwhere")
    run = Run(main)
    content = {"comm_id": name, "data": {"method": "update", "state": {"value": 6}, "buffer_paths": []}}
    head = json.dumps({"msg_type": "comm_msg"}).encode()
    moved = widgets.send(h.COMM, [head, json.dumps(content).encode(), b"{}"], arg=1)
    while len(run.of(h.DONE)) < 2:
        run.messages.append(widgets.recv())
    assert {m.req for m in run.of(h.DONE)} == {main, moved}
    assert run.of(h.RESULT)[0].json[0]["text/plain"] == "[(6, False)]"


def test_unknown_and_malformed(widgets: Context) -> None:
    for content in ({"comm_id": "none", "data": {}}, {}, {"comm_id": 5}):
        run = comm(widgets, "comm_msg", content)
        assert len(run.of(h.DONE)) == 1
    run = comm(widgets, "comm_open", {"comm_id": "x", "target_name": "no.such.target", "data": {}})
    assert run.of(h.COMM_OUT)[0].json[:2] == [{"msg_type": "comm_close"}, {"data": {}, "comm_id": "x"}]
    comm(widgets, "comm_close", {"comm_id": "none"})
    widgets.run(
        "from comm import get_comm_manager\ndef bad(c, m): raise RuntimeError('no')\n"
        "get_comm_manager().register_target('bad', bad)"
    )
    run = comm(widgets, "comm_open", {"comm_id": "y", "target_name": "bad", "data": {}})
    assert {"msg_type": "comm_close"} in [m.json[0] for m in run.of(h.COMM_OUT)]
    assert widgets.run("1+1").plain == "2"


def test_kernel_of_the_shell(context: Context) -> None:
    run = context.run(
        "k = get_ipython().kernel; h = k.get_parent()['header']; h['msg_id'], h['msg_type'], k.shell is get_ipython(),"
        " get_ipython().parent_header == k.get_parent()",
        msg_id="m-9",
    )
    assert run.plain == "('m-9', 'execute_request', True, True)"
    run = context.run(
        "k.session.send(k.iopub_socket, 'display_data', {'data': {'text/plain': 'sent'}, 'metadata': {}})\n"
        "k.send_response(k.iopub_socket, 'stream', {'name': 'stderr', 'text': 'said'})\n"
        "k.send_response(k.iopub_socket, 'error', {'ename': 'E', 'evalue': 'v', 'traceback': []})"
    )
    assert run.of(h.DISPLAY)[0].json[0] == {"text/plain": "sent"} and run.text(2) == "said"
    assert run.of(h.ERROR)[0].json[0]["ename"] == "E"


def test_set_parent_moves_output(context: Context) -> None:
    first = context.run("parent = get_ipython().get_parent()", msg_id="m-1")
    run = context.run(
        "import threading\ndef work():\n    get_ipython().set_parent(parent); print('moved')\n"
        "t = threading.Thread(target=work); t.start(); t.join(); print('here')",
        msg_id="m-2",
    )
    assert {m.raw[1]: m.req for m in run.of(h.STREAM)} == {b"moved\n": first.req, b"here\n": run.req}
