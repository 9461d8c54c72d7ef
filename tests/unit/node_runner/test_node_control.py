"""Interrupts, requests that are answered meanwhile, input, comms, and how a context ends."""

from __future__ import annotations

import json
import os
import signal

import pytest
from harness import (
    COMM,
    COMM_INFO,
    COMM_OUT,
    COMPLETE,
    DISPLAY,
    DONE,
    ERROR,
    EXITED,
    HELLO,
    HISTORY,
    INPUT,
    INSPECT,
    IS_COMPLETE,
    RESULT,
    SHUTDOWN,
    STDIN,
    WARMUP,
    Run,
    eventually,
)
from nodes import Init, Node

USAGE = 14

BLOCKING = {
    "loop": "while (true) {}",
    "native": "while (true) JSON.stringify([1, 2, 3])",
    "await": "await new Promise(() => {})",
    "timer": "await new Promise(() => setTimeout(() => { console.log('inside'); while (true) {} }, 1))",
    "continuation": "await 1; while (true) {}",
    "for await": "for await (const x of { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) });",
    "atomics": "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
    "catching": "for (;;) { try { for (;;); } catch {} }",
    "import": "await import('data:text/javascript,await new Promise(() => {})')",
    "static import": "import 'data:text/javascript,await new Promise(() => {})'",
}


def start(node: Node, code: str, **options: object) -> Run:
    """A cell that is known to run."""
    run = Run(node.start(f"console.log('begun'); {code}", **options))
    if "static" not in code and not code.startswith("import"):
        node.wait_text(run, "inside" if "inside" in code else "begun")
    return run


@pytest.mark.parametrize("code", BLOCKING.values(), ids=BLOCKING)
def test_interrupt(node: Node, code: str) -> None:
    node.run("globalThis.kept = 7; let alsoKept = [1]")
    run = start(node, code)
    node.interrupt(run.req)
    node.collect(run.req, run=run)
    assert run.error and run.error["ename"] == "Interrupted", run.messages
    assert run.done.arg == 1
    assert node.values("kept", "alsoKept[0] + 1", "await 3") == ["7", "2", "3"]


def test_interrupt_rejects_the_await(node: Node) -> None:
    run = start(
        node,
        "try { await new Promise(() => {}) } catch (e) { console.log('saw', e.name) } finally { console.log('finally') } 5",
    )
    node.interrupt(run.req)
    node.collect(run.req, run=run)
    assert run.text() == "begun\nsaw Interrupted\nfinally\n"
    assert run.plain == "5"


def test_interrupt_of_a_child(node: Node) -> None:
    run = start(node, "require('child_process').execSync('sleep 60')")
    eventually(lambda: "sleep" in os.popen(f"ps -o args= -g {os.getsid(node.pid)}").read())
    os.killpg(node.pid, signal.SIGINT)
    node.collect(run.req, run=run)
    assert run.error and run.error["ename"] == "Interrupted"
    assert node.values("1") == ["1"]


def test_late_interrupts_hit_nothing(node: Node) -> None:
    first = node.run("1")
    node.interrupt(first.req)
    for n in range(50):
        assert node.run(f"for (let i = 0; i < 1e5; i++); {n}").plain == str(n)


def test_interrupt_of_stray_code(node: Node) -> None:
    node.run("setTimeout(() => { globalThis.strayed = 1; for (;;); }, 0)")
    req = node.start("1")
    node.interrupt(req)
    run = node.collect(req)
    assert run.done.arg == 1 and run.reply["ename"] == "Interrupted"
    assert node.values("strayed") == ["1"]


def test_own_sigint_listener(node: Node) -> None:
    node.run("let got = 0; process.on('SIGINT', () => { got++ })")
    run = start(node, "await new Promise((r) => setTimeout(r, 200)); 'done'")
    node.interrupt(run.req)
    assert node.collect(run.req, run=run).plain == "'done'"
    node.run("process.removeAllListeners('SIGINT')")
    run = start(node, "await new Promise(() => {})")
    node.interrupt(run.req)
    node.collect(run.req, run=run)
    assert run.error and run.error["ename"] == "Interrupted"
    assert node.values("got") == ["1"]


def test_signals_to_itself(node: Node) -> None:
    run = node.run("process.kill(process.pid, 'SIGINT'); await new Promise(() => {})")
    assert run.error and run.error["ename"] == "Interrupted"
    for name in ("SIGUSR1", "SIGWINCH", "SIGCHLD"):
        assert node.values(f"process.kill(process.pid, '{name}')") == ["true"]
    heard = "await new Promise((r) => { process.once('SIGUSR1', r); process.kill(process.pid, 'SIGUSR1') })"
    assert node.values(heard) == ["'SIGUSR1'"]


def test_interrupted_output(node: Node) -> None:
    run = Run(node.start("for (;;) console.log('x'.repeat(1000))"))
    node.wait_text(run, "x")
    node.interrupt(run.req)
    node.collect(run.req, run=run)
    assert run.error and run.error["ename"] == "Interrupted"


def test_answers_while_busy(node: Node) -> None:
    node.run("const thing = { alpha: 1 }")
    for code in ("for (;;);", "await new Promise(() => {})"):
        run = start(node, code)
        for kind, text in (
            (COMPLETE, b"thing.al"),
            (INSPECT, b"thing"),
            (IS_COMPLETE, b"f("),
            (HISTORY, b""),
            (COMM_INFO, b""),
        ):
            req = node.send(kind, [b'{"cursor_pos": 8}', text])
            node.collect(req, run=run)
            reply = run.of(DONE)[-1].json[0]
            if kind == COMPLETE:
                assert reply["matches"] == ["alpha"]
            if kind == INSPECT:
                assert "alpha: 1" in reply["data"]["text/plain"]
        req = node.send(USAGE, [b'{"memory":536870912,"cpus":1}'])
        node.collect(req, run=run)
        usage = run.of(DONE)[-1].json[0]
        assert usage["kernel_memory"] > 1 << 20 and usage["cpu_count"] == 1
        assert usage["host_virtual_memory"]["total"] == 536870912
        node.interrupt(run.req)
        node.collect(run.req, run=run)


def test_answers_when_javascript_cannot_run(node: Node) -> None:
    run = start(node, "require('child_process').execSync('sleep 30')")
    eventually(lambda: "sleep" in os.popen(f"ps -o args= -g {os.getsid(node.pid)}").read())
    req = node.send(COMPLETE, [b'{"cursor_pos": 2}', b"pr"])
    node.collect(req, run=run)
    assert run.of(DONE)[-1].json[0].get("matches") == [], run.messages
    os.killpg(node.pid, signal.SIGINT)
    node.collect(run.req, run=run)


def test_is_complete(node: Node, typescript: Node) -> None:
    for context, language in ((node, "js"), (typescript, "ts")):
        expected = {
            "1 + 1": "complete", "foo(": "incomplete", "`a": "incomplete", "/* x": "incomplete", "x = }": "invalid",
            "if (a) {": "incomplete", "class A {\n  f() {": "incomplete", "const a = [": "incomplete", "": "complete",
        }  # fmt: skip
        if language == "ts":
            expected |= {
                "let x: number = 1": "complete",
                "interface A {": "incomplete",
                "let x: = 3": "invalid",
                "enum E { A }": "complete",
            }
        for code, status in expected.items():
            assert context.ask(IS_COMPLETE, {}, code.encode())["status"] == status, code


def test_completion(node: Node) -> None:
    node.run("const object = { first: 1, second: { third() {} }, 'not a name': 1 }; function objective() {}")

    def matches(code: str) -> list[str]:
        return list(node.ask(COMPLETE, {"cursor_pos": len(code)}, code.encode())["matches"])

    assert matches("object.f") == ["first"]
    assert matches("object?.second.th") == ["third"]
    assert matches("objec") == ["object", "objective"]
    assert matches('object["not') == ["not a name"]
    assert "fs/promises" in matches("require('fs")
    assert matches("import x from 'node:pat") == ["node:path", "node:path/posix", "node:path/win32"]
    assert matches("await fet") == ["fetch"]
    assert matches("[1, 2].flatM") == ["flatMap"]
    assert matches("`${object.sec") == ["second"]
    assert matches("object.first.toF") == ["toFixed"]
    assert matches("(() => { globalThis.ran = 1 })().") == []
    assert node.values("typeof ran") == ["'undefined'"]
    reply = node.ask(COMPLETE, {"cursor_pos": 3}, "😀; object".encode())
    assert (reply["cursor_start"], reply["cursor_end"]) == (3, 3)


def test_inspection(node: Node) -> None:
    node.run("async function add(a, b = 2) { return a + b }\nclass Shape extends Map {}\nconst list = [1]")

    def text(code: str, at: int | None = None) -> str:
        reply = node.ask(INSPECT, {"cursor_pos": len(code) if at is None else at, "detail_level": 0}, code.encode())
        return str(reply["data"].get("text/plain", "")) if reply["found"] else ""

    assert "async add(a, b = 2)" in text("add")
    assert "async add(a, b = 2)" in text("add(1, ")
    assert "class Shape extends Map" in text("Shape")
    assert "Length:    1" in text("list")
    assert text("nothing.at.all") == ""


def test_input(node: Node) -> None:
    req = node.start("const name = prompt('Name?'); const sure = confirm('Sure?'); [name, sure]", allow_stdin=True)
    run = node.collect(req, until=STDIN)
    assert run.of(STDIN)[0].json[0] == {"prompt": "Name? ", "password": False}
    node.send(INPUT, ["Zoë".encode()], req=req)
    node.collect(req, until=STDIN, run=run)
    node.send(INPUT, [b"y"], req=req)
    assert node.collect(req, run=run).plain == "[ 'Zoë', true ]"


def test_input_refused(node: Node) -> None:
    run = node.run("prompt('x')")
    assert run.error and run.error["ename"] == "StdinNotImplementedError"
    req = node.start("prompt('x')", allow_stdin=True)
    run = node.collect(req, until=STDIN)
    node.send(INPUT, [b""], req=req, arg=1)
    node.collect(req, run=run)
    assert run.error and run.error["ename"] == "StdinNotImplementedError"


def test_input_interrupted_and_completed(node: Node) -> None:
    req = node.start("prompt('x')", allow_stdin=True)
    run = node.collect(req, until=STDIN)
    other = node.send(COMPLETE, [b'{"cursor_pos": 3}', b"pro"])
    node.collect(other, run=run)
    assert "process" in run.of(DONE)[0].json[0]["matches"]
    node.interrupt(req)
    node.collect(req, run=run)
    assert run.error and run.error["ename"] == "Interrupted"
    assert node.values("1") == ["1"]


def test_readline(node: Node) -> None:
    req = node.start(
        "const readline = require('readline/promises');\n"
        "const rl = readline.createInterface({ input: process.stdin, output: process.stdout });\n"
        "const one = await rl.question('first? '); const two = await rl.question('second? '); rl.close(); [one, two]",
        allow_stdin=True,
    )
    run = node.collect(req, until=STDIN)
    node.send(INPUT, [b"a"], req=req)
    node.collect(req, until=STDIN, run=run)
    node.send(INPUT, [b"b"], req=req)
    node.collect(req, run=run)
    assert run.error is None, run.error
    assert run.plain == "[ 'a', 'b' ]"
    assert len(run.of(STDIN)) == 2
    assert "first? " in run.text()


def test_comms(node: Node) -> None:
    run = node.run(
        "const c = Jupyter.comms.create('t', { a: 1 }, { buffers: [new Uint8Array([1, 2])] }); c.onMessage = (m) => { console.log('got', m.data, m.buffers[0]); c.send({ back: 1 }) }"
    )
    opened = run.of(COMM_OUT)[0]
    assert opened.json[0] == {"msg_type": "comm_open"} and opened.json[1]["target_name"] == "t"
    assert opened.buffers == [b"\x01\x02"]
    comm_id = opened.json[1]["comm_id"]
    assert node.ask(COMM_INFO, {})["comms"] == {comm_id: {"target_name": "t"}}

    def message(kind: str, content: dict[str, object], *buffers: bytes) -> Run:
        head = json.dumps({"msg_type": kind}).encode()
        return node.collect(node.send(COMM, [head, json.dumps(content).encode(), b"{}", *buffers]))

    run = message("comm_msg", {"comm_id": comm_id, "data": {"x": 1}}, b"\x07")
    assert run.text() == "got { x: 1 } <Buffer 07>\n"
    assert run.of(COMM_OUT)[0].json[1]["data"] == {"back": 1}
    node.run("Jupyter.comms.register('mine', (comm, m) => { console.log('opened', m.data) })")
    assert message("comm_open", {"comm_id": "z", "target_name": "mine", "data": 5}).text() == "opened 5\n"
    refused = message("comm_open", {"comm_id": "q", "target_name": "nobody", "data": {}})
    assert refused.of(COMM_OUT)[0].json[0] == {"msg_type": "comm_close"}
    message("comm_close", {"comm_id": comm_id, "data": {}})
    assert set(node.ask(COMM_INFO, {})["comms"]) == {"z"}


def test_history(node: Node) -> None:
    for code in ("1 + 1", "'two'", "let three"):
        node.run(code)
    assert node.ask(HISTORY, {"hist_access_type": "tail", "n": 2})["history"] == [[1, 2, "'two'"], [1, 3, "let three"]]
    assert node.ask(HISTORY, {"hist_access_type": "range", "start": 1, "stop": 2, "output": True})["history"] == [
        [1, 1, ["1 + 1", "2"]]
    ]
    assert node.ask(HISTORY, {"hist_access_type": "search", "pattern": "*two*"})["history"] == [[1, 2, "'two'"]]


def test_user_expressions_and_silence(node: Node) -> None:
    run = node.run("const n = 4", user_expressions={"double": "n * 2", "bad": "nope"})
    assert run.reply["user_expressions"]["double"]["data"]["text/plain"] == "8"
    assert run.reply["user_expressions"]["bad"]["ename"] == "ReferenceError"
    assert node.run("5", silent=True).of(RESULT) == []


def test_environment_of_a_cell(node: Node) -> None:
    assert node.run("process.env.ONLY_HERE", env={"ONLY_HERE": "1"}).plain == "'1'"
    assert node.run("process.env.ONLY_HERE").of(RESULT) == []


def test_output_after_the_cell(node: Node) -> None:
    first = node.start(
        "setTimeout(() => console.log('late'), 100); Promise.resolve().then(() => console.error('soon'))"
    )
    run = node.collect(first)
    second = node.start("await new Promise((r) => setTimeout(r, 300)); console.log('mine')")
    both = node.collect(second, run=run)
    owners = {m.raw[1]: m.req for m in both.messages if m.type == 32}
    assert owners == {b"soon\n": first, b"late\n": first, b"mine\n": second}


def test_uncaught(node: Node) -> None:
    run = node.run(
        "setTimeout(() => { throw new Error('alone') }, 1); Promise.reject(new TypeError('unhandled')); await new Promise((r) => setTimeout(r, 50))"
    )
    assert "Uncaught Error: alone" in run.text(2) and "Uncaught TypeError: unhandled" in run.text(2)
    assert "cell-1.js:1:" in run.text(2) and run.error is None
    run = node.run(
        "process.on('uncaughtException', (e) => console.log('own', e.message)); setTimeout(() => { throw new Error('z') }, 1); await new Promise((r) => setTimeout(r, 50))"
    )
    assert run.text() == "own z\n" and run.text(2) == ""


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("process.exit(3)", 3 << 8),
        ("process.abort()", signal.SIGABRT),
        ("process.kill(process.pid, 'SIGKILL')", signal.SIGKILL),
    ],
)
def test_ends(node: Node, code: str, status: int) -> None:
    req = node.start(f"console.log('x'.repeat(100000)); process.stdout.write('last words'); {code}")
    run = node.collect(req, until=EXITED)
    assert run.text() == "x" * 100000 + "\nlast words"
    assert run.messages[-1].arg & 0xFF7F == status


def test_exit_hooks_run(node: Node) -> None:
    node.run("process.on('exit', (code) => console.log('bye', code))")
    node.send(SHUTDOWN, [b'{"restart": false}'])
    run = node.collect(0, until=EXITED)
    assert "bye 0" in run.text() and run.messages[-1].arg == 0


def test_heap_limit_keeps_the_context(node_init: Init) -> None:
    context = node_init.node(env={"NODE_OPTIONS": "--max-old-space-size=64"})
    context.run("globalThis.kept = 5")
    run = context.run("const all = []; for (;;) all.push(new Array(1000).fill(all.length))")
    assert run.error and run.error["ename"] == "OutOfMemoryError"
    context.run("all.length = 0")
    assert context.values("kept") == ["5"]
    context.close()


def test_no_name_is_left_by_warm_up(node_init: Init) -> None:
    context = node_init.node()
    names = "Object.getOwnPropertyNames(globalThis).filter((n) => n !== '_').length"
    before = context.values(names)
    context.ask(WARMUP, {})
    assert context.values(names) == before
    run = context.run("x")
    assert run.error and run.text() + run.text(2) == ""
    context.close()


def test_language_is_told_late(node_init: Init) -> None:
    context = node_init.context("/workspace", hello=False)
    context.ask(1, {"env": {}})
    context.ask(WARMUP, {})
    req = context.send(1, [json.dumps({"language": "typescript", "env": {"A": "b"}, "cwd": "/tmp"}).encode()])
    run = context.collect(req)
    assert run.of(HELLO)[0].json[0]["language_info"]["name"] == "typescript"
    assert context.run("let x: string = process.env.A + process.cwd(); x").plain == "'b/tmp'"
    context.close()


def test_strange_texts(node: Node) -> None:
    for code in (
        "\0",
        "\ud800",
        "\u2028",
        "x" * 100000,
        "(" * 5000,
        "'" + "a" * 1000000 + "'",
        "`${`${`",
        "<!-- x",
        "-->",
    ):
        run = node.run(code)
        assert run.of(DONE)
    assert node.values("1") == ["1"]


def test_a_thousand_cells(node: Node) -> None:
    for n in range(1000):
        assert node.run(f"const value = {n}; value").plain == str(n)


def test_error_frames_come_before_done(node: Node) -> None:
    run = node.run("console.log('text'); throw new Error('x')")
    kinds = [m.type for m in run.messages]
    assert kinds.index(32) < kinds.index(ERROR) < kinds.index(DONE)


MIME = "application/vnd.cellbox.diagnostics+json"


def test_type_checks(typescript: Node) -> None:
    typescript.run("interface Point { x: number }\nlet p: Point = { x: 1 }")
    assert typescript.run("let wrong: number = 'text'").of(DISPLAY) == []
    run = typescript.run("// two lines\nlet n: number = 'text'; n", typecheck="warn")
    found = run.of(DISPLAY)[0].json[0][MIME]["diagnostics"]
    assert [(d["code"], d["start"], d["category"]) for d in found] == [(2322, {"line": 2, "column": 5}, "error")]
    assert "cell-3.ts:2:5 - error TS2322" in run.of(DISPLAY)[0].json[0]["text/plain"]
    assert run.plain == "'text'" and run.error is None
    run = typescript.run("console.log('ran'); p.y", typecheck="error")
    assert run.error and run.error["ename"] == "TypeCheckError" and "Property 'y'" in run.error["evalue"]
    assert run.of(DISPLAY)[0].json[0][MIME]["diagnostics"][0]["start"] == {"line": 1, "column": 23}
    assert run.text() == ""
    typescript.run("process.env.CELLBOX_TYPECHECK = 'error'")
    run = typescript.run("import { readFileSync } from 'node:fs'\nconst q: Point = p\nawait Promise.resolve(q.x + p.x)")
    assert run.error is None and run.of(DISPLAY) == [] and run.plain == "2"
    assert typescript.run("let p = 'a string now'; p.length").plain == "12"
    run = typescript.run("p.x")
    assert run.error and run.error["ename"] == "TypeCheckError"


def test_completion_by_types(typescript: Node) -> None:
    typescript.run("interface Shape { area: number; name: string }")
    code = "function f(s: Shape) { return s.ar"
    assert typescript.ask(COMPLETE, {"cursor_pos": len(code)}, code.encode())["matches"] == ["area"]
    code = "function f(s: Shape) { return s"
    reply = typescript.ask(INSPECT, {"cursor_pos": len(code), "detail_level": 0}, code.encode())
    assert reply["data"]["text/plain"] == "(parameter) s: Shape"
    run = start(typescript, "for (;;);")
    code = "function f(s: Shape) { return s.na"
    req = typescript.send(COMPLETE, [json.dumps({"cursor_pos": len(code)}).encode(), code.encode()])
    typescript.collect(req, run=run)
    assert run.of(DONE)[-1].json[0]["matches"] == ["name"]
    typescript.interrupt(run.req)
    typescript.collect(run.req, run=run)


POISON = [
    "Array.prototype.push = null",
    "Array.prototype[Symbol.iterator] = null",
    "Function.prototype.call = null",
    "Promise.prototype.then = null",
    "String.prototype.slice = null",
    "Object.defineProperty(Object.prototype, 'get', { value: 1 })",
]


@pytest.mark.parametrize("poison", POISON)
def test_changed_builtins_hang_nothing(node_init: Init, poison: str) -> None:
    """Every cell is answered, or the context ends and says why."""
    context = node_init.node()
    run = Run(0)
    for code in (poison, "[5]", "await 1", "import 'node:fs'"):
        req = context.start(code)
        while not any(m.type == EXITED or (m.type == DONE and m.req == req) for m in run.messages):
            run.messages.append(context.recv())
        if context.exited:
            assert context.exited.arg >> 8 in (7, 70)
            break
    context.close()


SHADOWS = [
    *["Map", "Set", "Promise", "JSON", "Error", "SyntaxError", "TypeError", "Object", "Symbol", "RegExp", "Buffer"],
    *["process", "setTimeout", "setImmediate", "Array", "String", "Number", "console", "Proxy", "Reflect", "Math"],
    *["Date", "URL", "Function", "WeakMap", "parseInt", "globalThis"],
]


@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_names_of_the_language_may_be_declared(node_init: Init, language: str) -> None:
    context = node_init.node(language)
    for name in SHADOWS:
        assert context.run(f"let {name} = 1").error is None, name
    assert context.values("Map + JSON", "({ a: [1] })", "await 1", "(() => 5)()") == ["2", "{ a: [ 1 ] }", "1", "5"]
    assert context.run("null.x").error["ename"] == "TypeError"  # type: ignore[index]
    assert context.run("let y = ;").error["ename"] == "SyntaxError"  # type: ignore[index]
    assert context.values("(await import('node:path')).sep", "const { sep } = require('path'); sep") == ["'/'", "'/'"]
    assert context.ask(COMPLETE, {"cursor_pos": 3}, b"[].")["matches"]
    assert context.ask(INSPECT, {"cursor_pos": 3}, b"sep")["found"]
    if language == "typescript":
        assert context.values("enum E { A = 4 }\nE.A", "let t: string = 'x'; t") == ["4", "'x'"]
    req = context.start("for (;;);")
    context.interrupt(req)
    assert context.collect(req).error
    context.close()
