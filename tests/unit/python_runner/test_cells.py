"""What a cell does: values, errors, magics, display, await, exit."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import harness as h
import pytest
from harness import Context, Init


def test_both_ways_of_starting(init: Init, tmp_path: Path) -> None:
    context = init.context(tmp_path)
    assert context.hello is not None
    info = context.hello.json[0]
    assert info["implementation"] == "ipython" and info["language_info"]["name"] == "python"
    assert context.run("1+1").plain == "2"
    run = context.run("import os, sys; print(os.getcwd(), os.environ['HOME'], sys.argv, repr(sys.path[0]), __name__)")
    assert run.text() == f"{tmp_path} {tmp_path} [''] '' __main__\n"
    assert (
        context.run("import sys; sys.executable.startswith(sys.prefix) and sys.prefix != sys.base_prefix").plain
        == "True"
    )
    assert context.run("%time 1").plain == "1"
    assert context.run("import asyncio; await asyncio.sleep(0.01); 'slept'").plain == "'slept'"
    assert "cellbox" not in context.run("import sys; print(sys.path)").text().replace(str(tmp_path), "").replace(
        context_prefix(), ""
    )
    context.send(h.SHUTDOWN, [b'{"restart": false}'])
    assert context.collect(0, until=h.EXITED).messages[-1].arg == 0


def context_prefix() -> str:
    import os

    return os.environ.get("CELLBOX_PYTHON_PREFIX", str(h.BUILD / "venv"))


def test_state_and_outputs(context: Context) -> None:
    assert context.run("x = 20").reply == {"status": "ok", "user_expressions": {}, "payload": []}
    assert context.run("x + 1").plain == "21"
    assert context.run("_ + 1").plain == "22"
    assert context.run("_, __, Out[2], In[2], _i2").plain == "(22, 21, 21, 'x + 1', 'x + 1')"
    assert not context.run("x;").of(h.RESULT)
    assert not context.run("x; # quiet").of(h.RESULT)
    assert context.run("'a;b'").plain == "'a;b'"
    assert not context.run("").of(h.RESULT, h.ERROR)


def test_underscore_of_the_user_is_left_alone(context: Context) -> None:
    context.run("_ = 'mine'")
    context.run("1")
    assert context.run("_").plain == "'mine'"


def test_silent_and_store_history(context: Context) -> None:
    run = context.run("y = 5; y", silent=True, store_history=False)
    assert not run.of(h.RESULT) and run.reply["status"] == "ok"
    context.run("z = 1", store_history=False, execution_count=9)
    assert context.run("[i for i in In[:-1] if 'z =' in i]").plain == "[]"


def test_user_expressions(context: Context) -> None:
    run = context.run("a = 3", user_expressions={"good": "a + 1", "bad": "nope"})
    values = run.reply["user_expressions"]
    assert values["good"]["data"]["text/plain"] == "4"
    assert values["bad"]["status"] == "error" and values["bad"]["ename"] == "NameError"


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("1/0", "ZeroDivisionError"),
        ("x = (", "SyntaxError"),
        ("  def f(:", "SyntaxError"),
        ("if 1:\npass", "IndentationError"),
        ("return 3", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f(): f()\nf()", "RecursionError"),
        ("raise MemoryError('m')", "MemoryError"),
        ("bytearray(1 << 60)", "MemoryError"),
        ("raise ExceptionGroup('g', [ValueError(1)])", "ExceptionGroup"),
        ("%nosuchmagic", "UsageError"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "E"),
        ("class E(Exception):\n    def __str__(self): return 5\nraise E", "E"),
        ("class M(type):\n    def __repr__(c): raise SystemExit\nclass E(Exception, metaclass=M): pass\nraise E", "E"),
        ("raise ValueError('\\ud800 surrogate')", "ValueError"),
        ("'\\0'.encode(); compile('\\0', 'a', 'exec')", None),
        ("raise type('E', (BaseException,), {})", "E"),
        ("await nothing", "NameError"),
        ("async def f(): raise ValueError(1)\nawait f()", "ValueError"),
        ("get_ipython().run_line_magic('run', '/nonexistent.py')", None),
        ("raise GeneratorExit", "GeneratorExit"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
    ],
)
def test_errors_end_in_error_and_done(context: Context, code: str, ename: str | None) -> None:
    run = context.run(code)
    assert run.reply["status"] == "error" and run.done.arg == 1
    assert run.error is not None
    if ename:
        assert run.error["ename"] == run.reply["ename"] == ename
    assert run.error["traceback"] and all(isinstance(line, str) for line in run.error["traceback"])
    assert len(run.of(h.DONE)) == 1
    assert context.run("1+1").plain == "2"


def test_traceback_shows_cell_lines(context: Context) -> None:
    context.run("def f(n):\n    return 1 / n")
    run = context.run("x = 0\nf(x)")
    assert run.error is not None
    text = "\n".join(run.error["traceback"])
    plain = __import__("re").sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b[" in text
    assert (
        "Cell In[2], line 2" in plain and "Cell In[1], line 2, in f(n)" in plain and "----> 2     return 1 / n" in plain
    )
    assert "interactiveshell" not in plain and "cellbox_kernel" not in plain


def test_display(context: Context) -> None:
    run = context.run(
        "from IPython.display import *\n"
        "h = display('first', display_id='k')\nh.update('second')\nclear_output(wait=True)\n"
        "display(JSON({'a': [1]}), Markdown('# m'), SVG('<svg/>'), Latex('$x$'), HTML('<b>'))"
    )
    shown = run.of(h.DISPLAY, h.UPDATE_DISPLAY, h.CLEAR_OUTPUT)
    assert [m.type for m in shown[:3]] == [h.DISPLAY, h.UPDATE_DISPLAY, h.CLEAR_OUTPUT]
    assert shown[0].json[2] == shown[1].json[2] == {"display_id": "k"}
    assert shown[2].arg == 1
    mimes = [set(m.json[0]) - {"text/plain"} for m in shown[3:]]
    assert mimes == [{"application/json"}, {"text/markdown"}, {"image/svg+xml"}, {"text/latex"}, {"text/html"}]


def test_rich_values(context: Context) -> None:
    run = context.run("import pandas as pd; pd.DataFrame({'a': [1, float('nan')]})")
    assert {"text/plain", "text/html"} <= set(run.result)
    run = context.run("from PIL import Image; Image.new('RGB', (3, 3))")
    assert base64.b64decode(run.result["image/png"]).startswith(b"\x89PNG")


def test_figures(context: Context) -> None:
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    run = context.run(plot)
    assert "image/png" in run.of(h.DISPLAY)[0].json[0]
    assert not context.run("plt.get_fignums() or None").of(h.RESULT)
    run = context.run(plot, formats=["svg", "pdf"])
    data = run.of(h.DISPLAY)[0].json[0]
    assert data["image/svg+xml"].lstrip().startswith("<?xml") and "application/pdf" in data and "image/png" not in data
    assert set(context.run(plot).of(h.DISPLAY)[0].json[0]) == {"text/plain", "image/png"}
    assert "image/jpeg" in context.run(plot, formats=["jpeg"]).of(h.DISPLAY)[0].json[0]
    context.run("%matplotlib inline\n%config InlineBackend.figure_formats = ['svg']")
    assert "image/svg+xml" in context.run(plot).of(h.DISPLAY)[0].json[0]


def test_figures_without_preloaded_pyplot(fresh: Init, tmp_path: Path) -> None:
    context = fresh.context(tmp_path)
    assert context.run("import sys; 'matplotlib' in sys.modules").plain == "False"
    run = context.run("import matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert "image/png" in run.of(h.DISPLAY)[0].json[0]


def test_values_that_json_dislikes(context: Context) -> None:
    run = context.run(
        "from IPython.display import display\n"
        "display({'application/json': {'n': float('nan'), 'i': [float('inf')], 'b': b'x', 'o': object(),"
        " 's': '\\ud800'},\n"
        "         'text/plain': 'kept'}, raw=True)"
    )
    data = run.of(h.DISPLAY)[0].json[0]
    assert data["text/plain"] == "kept"
    assert data["application/json"] == {"n": None, "i": [None], "b": "eA==", "s": "\ufffd"}
    assert context.run("'\\ud800'").plain == "'\\ud800'"
    run = context.run("a = []; a.append(a)\ndisplay({'application/json': a, 'text/plain': 'p'}, raw=True)")
    assert run.of(h.DISPLAY)[0].json[0]["text/plain"] == "p"


def test_values_too_large(context: Context) -> None:
    run = context.run("display({'text/html': 'x' * (70 << 20), 'text/plain': 'small'}, raw=True)", timeout=120)
    data = run.of(h.DISPLAY)[0].json[0]
    assert set(data) == {"text/plain"} and data["text/plain"].startswith("small") and "70 MiB" in data["text/plain"]
    run = context.run("'y' * (65 << 20)", timeout=120)
    assert "too large" in run.plain


def test_scalar_fast_path_falls_through(context: Context) -> None:
    context.run("from IPython.core.interactiveshell import InteractiveShell; ip = get_ipython()")
    plain = "ip.display_formatter.formatters['text/plain']"
    context.run("%precision 3")
    assert context.run("1/3").plain == "0.333"
    context.run(f"{plain}.for_type(int, lambda o, p, c: p.text('INT'))")
    assert context.run("7").plain == "INT"
    assert context.run("True").plain == "True"
    context.run("ip.display_formatter.formatters['text/html'].for_type(str, lambda s: '<b>')")
    assert context.run("'s'").result == {"text/plain": "'s'", "text/html": "<b>"}
    context.run("ip.display_formatter.formatters['text/latex'].for_type_by_name('builtins', 'bytes', lambda s: '$b$')")
    assert context.run("b''").result == {"text/plain": "b''", "text/latex": "$b$"}
    context.run("class I(int):\n    def _repr_html_(self): return 'I'")
    assert context.run("I(1)").result["text/html"] == "I"


def test_value_that_cannot_be_shown(context: Context) -> None:
    run = context.run("10 ** 5000")
    assert run.error is not None and run.error["ename"] == "ValueError" and run.reply["status"] == "error"
    run = context.run("class B:\n    def __repr__(self): return 'plain'\n    def _repr_html_(self): 1/0\nB()")
    assert run.error is not None and run.plain == "plain" and run.reply["status"] == "error"


def test_transformation_shortcut_agrees_with_ipython(context: Context) -> None:
    corpus = [
        "1+1",
        "x = 5",
        "x",
        "ls",
        "cd ..",
        "pwd",
        "exit",
        "quit",
        "print('a')\nprint('b')",
        "%time 1",
        "a = %time 1",
        "!ls",
        "a = !ls",
        "print?",
        "?print",
        "a ? b",
        ",f a b",
        ";f a b",
        "/f a b",
        "/f",
        ">>> 1\n1",
        "In [1]: 1",
        "...: 1",
        "  1",
        "\n1",
        "1\n  \n2",
        "if 1:\n    2\n\t\n",
        "if x:\n    %time 1",
        "'''\n%no\n'''",
        "'%s' % 3",
        "f'{x!r}'",
        "x != 3",
        "# comment",
        "1 # PYTHON-MODE",
        "a\\\n  = 3",
        "for i in x:\n  ,i",
        "%%bash\nls",
        "%%timeit\n1",
        "lambda: 0",
        "f(x)\n",
        "f(x)\n\n",
        "f(x)\n\n\ny",
        "def f():\n    return 1\n",
        "\tx",
        "x\r\ny",
        "x\x0cy",
        "x\u2028y",
        "macro1",
        "alias x y",
        "who",
        "who = 3",
        "who",
        "timeit",
        "a.b.c",
        "a.b c",
        "sum [1]",
        "print 3",
        "...",
        "...\nx",
        "x = 1;",
        "''' \n '''",
        "''' \n   \n'''",
        "x = [\n1,\n,2]",
        "@dec\ndef f(): pass",
        "async def f():\n    await g()",
        "await g()",
        "ll",
        "man ls",
        "reset -f",
        "load_ext x",
        "x%%3",
        "time",
        "   ",
        "",
        "\\alpha",
        "history",
        "rm x",
    ]
    code = (
        "import json\nfrom IPython.core.interactiveshell import InteractiveShell as S\n"
        "ip = get_ipython()\nbad = []; fast = 0\n"
        f"for cell in json.loads({json.dumps(json.dumps(corpus))}):\n"
        "    if ip._guard.is_noop(cell):\n"
        "        fast += 1\n"
        "        if S.transform_cell(ip, cell) != (cell if cell.endswith('\\n') else cell + '\\n'): bad.append(cell)\n"
        "print(fast, bad)"
    )
    text = context.run(code).text()
    fast, bad = text.split(" ", 1)
    assert bad.strip() == "[]" and int(fast) >= 15
    context.run("ip.input_transformers_post.append(lambda lines: [l.replace('one', '1') for l in lines])")
    assert context.run("one + one").plain == "2"
    context.run("ip.input_transformers_post.clear(); ip.ast_transformers.clear()")
    context.run("%macro -q twice 1")
    assert context.run("exit", store_history=False, msg_id="m").reply["payload"][0]["source"] == "ask_exit"


def test_magics(context: Context, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nvalue = 42\nprint('ran', sys.argv)\n")
    assert "ran ['script.py', 'arg']" in context.run("%run script.py arg").text()
    assert context.run("value").plain == "42"
    payload = context.run("%load script.py").reply["payload"]
    assert payload[0]["source"] == "set_next_input" and payload[0]["replace"] and "value = 42" in payload[0]["text"]
    assert "value = 42" in context.run("%%writefile other.py\nvalue = 42\n").text() or (tmp_path / "other.py").exists()
    assert context.run("lines = !printf 'a\\nb'\nlist(lines)").plain == "['a', 'b']"
    run = context.run("%%bash\necho out; echo err >&2")
    assert run.text() == "out\n" and run.text(2) == "err\n"
    assert context.run("%%bash\nexit 3").error is not None
    run = context.run("!echo one; echo two >&2; exit 4")
    assert run.text() == "one\n" and run.text(2) == "two\n"
    assert context.run("_exit_code").plain == "4"
    name = "echo-value"
    assert context.run(f"v = '{name}'\n!echo {{v}} $v").text() == f"{name} {name}\n"
    page = context.run("len?").reply["payload"][0]
    assert page["source"] == "page" and "Return the number of items" in page["data"]["text/plain"]
    assert "per loop" in context.run("%timeit -n 1 -r 1 1").text()
    assert context.run("%%capture cap\nprint('hidden'); 5").text() == ""
    assert context.run("cap.stdout").plain == "'hidden\\n'"
    assert str(tmp_path) in context.run("%pwd").plain


def test_cell_environment(context: Context) -> None:
    context.run("import os; os.environ['KEPT'] = 'old'")
    run = context.run("os.environ['KEPT'], os.environ['NEW']", env={"KEPT": "new", "NEW": "1"})
    assert run.plain == "('new', '1')"
    assert context.run("os.environ['KEPT'], os.environ.get('NEW')").plain == "('old', None)"


def test_asyncio(context: Context) -> None:
    context.run(
        "import asyncio\nlog = []\nasync def work():\n    for i in range(3):\n"
        "        await asyncio.sleep(0.01); log.append(i)"
    )
    context.run("task = asyncio.create_task(work())")  # in a cell without await, as in Jupyter
    h.eventually(lambda: context.run("len(log)").plain == "3")
    assert context.run("async def f(): return 9\nasyncio.run(f())").plain == "9"
    assert context.run("loop = asyncio.get_running_loop(); loop.run_until_complete(f())").plain == "9"
    assert context.run("other = asyncio.new_event_loop(); other.run_until_complete(f())").plain == "9"
    assert context.run("asyncio.get_running_loop() is loop and loop.is_running()").plain == "True"
    assert context.run("await asyncio.gather(f(), f())").plain == "[9, 9]"
    assert context.run("async with asyncio.timeout(5): v = await f()\nv").plain == "9"
    assert context.run("proc = await asyncio.create_subprocess_exec('true'); await proc.wait()").plain == "0"
    assert context.run("await asyncio.to_thread(lambda: 'thread')").plain == "'thread'"
    assert context.run("import threading\nfut = asyncio.run_coroutine_threadsafe(f(), loop)").reply["status"] == "ok"
    h.eventually(lambda: context.run("fut.done()").plain == "True")
    context.run("loop.close()")
    assert context.run("await f()").plain == "9"


def test_event_loop_survives_closed_descriptors(context: Context) -> None:
    context.run("import asyncio; t = asyncio.ensure_future(asyncio.sleep(0))")
    context.run("import os; os.closerange(3, 256)")
    assert context.run("1+1").plain == "2"
    assert context.run("print('still here')").text() == "still here\n"
    assert context.run("await asyncio.sleep(0.01); 'awaited'").plain == "'awaited'"


def test_setup(init: Init, tmp_path: Path) -> None:
    context = init.context(tmp_path, env={"GONE": "1"})
    (tmp_path / "sub").mkdir()
    setup = {"cwd": str(tmp_path / "sub"), "env": {"NEW": "v", "GONE": None, "TZ": "Asia/Tokyo"}, "session": "s1"}
    assert context.ask(h.SETUP, setup)["status"] == "ok"
    run = context.run("import os, time; os.getcwd(), os.environ['NEW'], 'GONE' in os.environ, time.timezone")
    assert run.plain == repr((str(tmp_path / "sub"), "v", False, -9 * 3600))
    assert context.run("!echo $NEW").text() == "v\n"
    reply = context.ask(h.SETUP, {"cwd": str(tmp_path / "missing"), "env": {}, "session": "s1"})
    assert reply["status"] == "error" and reply["ename"] == "FileNotFoundError"


def test_warmup_leaves_no_trace(init: Init, tmp_path: Path) -> None:
    for name in ("cold", "warmed"):
        (tmp_path / name).mkdir()
    cold, warmed = (init.context(tmp_path, {"HOME": str(tmp_path / name)}) for name in ("cold", "warmed"))
    assert warmed.ask(h.WARMUP)["status"] == "ok"
    probe = (
        "import sys, warnings, linecache\n"
        "ip = get_ipython()\n"
        "print(sorted(globals()), In, Out, _, ip.execution_count, len(warnings.filters), dict(linecache.cache).keys(),"
        " list(ip.history_manager.get_tail(10)), hasattr(sys, 'last_value'), ip.user_ns_hidden.keys() - set(globals()))"
    )
    a, b = cold.run(probe), warmed.run(probe)
    assert a.text() == b.text() and a.error is None
    run = warmed.run("'fresh'")
    assert run.plain == "'fresh'"


def test_exit(context: Context) -> None:
    context.run("import atexit; atexit.register(lambda: print('bye'))")
    run = context.run("print('leaving'); exit()", msg_id="m")
    assert run.reply["payload"] == [{"source": "ask_exit", "keepkernel": False}]
    run = context.collect(0, until=h.EXITED)
    assert run.text() == "bye\n" and run.messages[-1].arg == 0


def test_exit_of_a_plain_run_is_the_end(context: Context) -> None:
    """Only a Jupyter client understands ask_exit; for the others the end of the process answers."""
    context.run("import atexit; atexit.register(lambda: print('bye'))")
    run = context.collect(context.start("print('leaving'); exit()"), until=h.EXITED)
    assert run.text() == "leaving\nbye\n" and run.messages[-1].arg == 0
    assert h.DONE not in [m.type for m in run.messages]


def test_shutdown_runs_atexit_and_finally(init: Init, tmp_path: Path) -> None:
    context = init.context(tmp_path)
    context.run(
        "import atexit, asyncio\natexit.register(print, 'at exit')\nasync def w():\n    try: await asyncio.sleep(99)\n"
        "    finally: print('cancelled')\nt = asyncio.create_task(w())\nawait asyncio.sleep(0)"
    )
    context.send(h.SHUTDOWN, [b'{"restart": true}'])
    run = context.collect(0, until=h.EXITED)
    assert run.text() == "cancelled\nat exit\n" and run.messages[-1].arg == 0


def test_gateway_gone(warm: Init, tmp_path: Path) -> None:
    context = warm.context(tmp_path)
    context.run("import atexit, pathlib; atexit.register(lambda: pathlib.Path('ended').touch())")
    context.close()
    h.eventually((tmp_path / "ended").exists)


def test_large_code_and_unknown_requests(context: Context) -> None:
    code = "text = '" + "x" * 3_000_000 + "'\nlen(text)"
    assert context.run(code).plain == "3000000"
    assert context.ask(30)["status"] == "error"
    assert context.run("1").plain == "1"


def test_getsource_and_many_cells(context: Context) -> None:
    context.run("def kept():\n    return 'source'")
    for _ in range(1100):
        context.run("1")
    run = context.run("import inspect; inspect.getsource(kept)")
    assert "return 'source'" in run.plain
    assert run.text(2) == ""
    assert int(context.run("len(Out)").plain) <= 1000
