"""Code contexts: state that lasts, rich results, output as it happens, errors, interrupt, input, notebooks."""

import threading
from typing import Any

import cellbox

with cellbox.get_sandbox("sdk-py-code") as sandbox:
    sandbox.run_code("x = 20")
    assert sandbox.run_code("x + 1").text == "21"

    context = sandbox.create_code_context("python", cwd="/tmp", env={"WHO": "me"})
    where = sandbox.run_code("import os; print(os.getcwd(), os.environ['WHO']); 'x' in globals()", context=context)
    assert ("".join(where.logs.stdout), where.text, where.execution_count) == ("/tmp me\n", "False", 1)

    table = sandbox.run_code("import pandas as pd; pd.DataFrame({'a': [1, 2]})").result
    assert table is not None and table.html is not None and "<table" in table.html
    print(table.formats())
    plot = "import matplotlib.pyplot as plt; plt.plot([1, 4, 9]); plt.show()"
    figure = sandbox.run_code(plot, formats=["png", "svg"])
    picture = next(result for result in figure.results if result.png)
    assert (picture.bytes("image/png") or b"").startswith(b"\x89PNG")
    assert any("<svg" in (result.svg or "") for result in figure.results)

    heard: list[str] = []
    counted = sandbox.run_code(
        "import sys, time\nfor i in range(3): print(i, flush=True); time.sleep(0.05)\nprint('e', file=sys.stderr)\n1/0",
        on_stdout=lambda output: heard.append(output.text),
        on_stderr=lambda output: heard.append("!" + output.text),
        on_error=lambda error: heard.append(error.name),
    )
    assert "".join(heard) == "0\n1\n2\n!e\nZeroDivisionError"
    assert counted.status == "error" and counted.error is not None
    assert (counted.error.code, counted.error.name) == ("EXCEPTION", "ZeroDivisionError")

    # a display that is updated appears once, in its last form
    updated = sandbox.run_code("h = display('first', display_id=True); h.update('second')")
    assert [result.text for result in updated.results] == ["'second'"]
    for run in (updated, counted, figure, where):  # what was heard is what the server keeps
        assert sandbox.get_execution(run.id) == run

    limited = sandbox.run_code("while True: pass", timeout=0.3)
    assert limited.error is not None and limited.error.code == "TIMEOUT"
    assert sandbox.get_execution(limited.id).error == limited.error

    # interrupted from elsewhere; variables are kept
    started = threading.Event()

    def interrupt_soon() -> None:
        started.wait()
        sandbox.interrupt()

    threading.Thread(target=interrupt_soon).start()
    endless = sandbox.run_code("print('go', flush=True)\nwhile True: pass", on_stdout=lambda _: started.set())
    assert endless.error is not None and endless.error.name == "KeyboardInterrupt"
    assert sandbox.run_code("x").text == "20"

    asked = sandbox.run_code("input('name? ')", on_input=lambda ask: "Ada" if ask.prompt == "name? " else "?")
    assert asked.text == "'Ada'"
    print([event["type"] for event in sandbox.run_code_stream("print('streamed')")])

    assert "import" in sandbox.complete(context, "impo").matches
    assert sandbox.inspect(context, "len").found
    assert len(sandbox.list_code_contexts()) == 2
    assert len(sandbox.list_executions()) > 5
    sandbox.restart_code_context(context)
    sandbox.delete_code_context(context)

    def cell(source: str, *tags: str) -> dict[str, Any]:
        metadata = {"tags": list(tags)}
        return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": [], "execution_count": None}

    cells = [cell("n = 1", "parameters"), cell("n * 2")]
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    ran = sandbox.execute_notebook(
        notebook, parameters={"n": 21}, on_cell_done=lambda one: print(one.index, one.status)
    )
    assert ran.status == "ok" and "42" in str(ran.notebook["cells"][-1]["outputs"])
    sandbox.destroy()
print("ok")
