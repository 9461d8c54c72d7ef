"""What libraries show: the MIME types, in the order in which ipykernel sends them."""

from __future__ import annotations

import harness as h
import pytest
from harness import Context, Run

PLAIN, HTML, PNG = "text/plain", "text/html", "image/png"
RESULT, DISPLAY = "result", "display"
FIGURE = (DISPLAY, {PNG, PLAIN})

# name: (set-up, cell, what it shows in order)
TABLE: dict[str, tuple[str, str, list[tuple[str, set[str]]]]] = {
    "matplotlib": ("import matplotlib.pyplot as plt", "plt.plot([1, 2]); plt.show()", [FIGURE]),
    "matplotlib at the cell's end": ("import matplotlib.pyplot as plt", "plt.plot([1, 2]);", [FIGURE]),
    "a figure as value": (
        "import matplotlib.pyplot as plt",
        "f, _ = plt.subplots(); f",
        [(RESULT, {PNG, PLAIN}), FIGURE],
    ),
    "pandas frame": ("import pandas as pd", "pd.DataFrame({'a': [1]})", [(RESULT, {HTML, PLAIN})]),
    "pandas styler": ("import pandas as pd", "pd.DataFrame({'a': [1]}).style", [(RESULT, {HTML, PLAIN})]),
    "pandas series": ("import pandas as pd", "pd.Series([1])", [(RESULT, {PLAIN})]),
    "polars": ("import polars as pl", "pl.DataFrame({'a': [1]})", [(RESULT, {HTML, PLAIN})]),
    "plotly": (
        "import plotly.graph_objects as go",
        "go.Figure(go.Scatter(y=[1, 2]))",
        [(DISPLAY, {"application/vnd.plotly.v1+json"})],
    ),
    "plotly show": (
        "import plotly.graph_objects as go",
        "go.Figure(go.Scatter(y=[1, 2])).show()",
        [(DISPLAY, {"application/vnd.plotly.v1+json"})],
    ),
    "plotly notebook renderer": (
        "import plotly.graph_objects as go",
        "go.Figure(go.Scatter(y=[1, 2])).show(renderer='notebook_connected')",
        [(DISPLAY, {HTML}), (DISPLAY, {HTML})],
    ),
    "altair": (
        "import altair as alt, pandas as pd",
        "alt.Chart(pd.DataFrame({'a': [1]})).mark_bar().encode(x='a')",
        [(RESULT, {HTML, PLAIN})],
    ),
    "altair mimetype": (
        "import altair as alt, pandas as pd; alt.renderers.enable('mimetype'); None",
        "alt.Chart(pd.DataFrame({'a': [1]})).mark_bar().encode(x='a')",
        [(RESULT, {"application/vnd.vegalite.v6.json", PLAIN})],
    ),
    "bokeh notebook mode": (
        "from bokeh.io import output_notebook",
        "output_notebook()",
        [(DISPLAY, {HTML}), (DISPLAY, {"application/javascript", "application/vnd.bokehjs_load.v0+json"})],
    ),
    "bokeh figure": (
        "from bokeh.io import output_notebook, show\nfrom bokeh.plotting import figure\noutput_notebook()\n"
        "p = figure(width=99, height=99); p.line([1, 2], [3, 4])",
        "show(p)",
        [(DISPLAY, {HTML}), (DISPLAY, {"application/javascript", "application/vnd.bokehjs_exec.v0+json"})],
    ),
    "seaborn": ("import seaborn as sns", "g = sns.histplot([1, 2, 3])", [FIGURE]),
    "seaborn objects": (
        "import seaborn.objects as so, pandas as pd",
        "so.Plot(pd.DataFrame({'a': [1, 2]}), x='a', y='a').add(so.Line())",
        [(RESULT, {PNG, PLAIN})],
    ),
    "sympy": (
        "import sympy; sympy.init_printing()",
        "sympy.sqrt(sympy.Symbol('x'))",
        [(RESULT, {PNG, "text/latex", PLAIN})],
    ),
    "PIL": (
        "from PIL import Image",
        "Image.new('RGB', (4, 4))",
        [(RESULT, {PNG, "image/jpeg", PLAIN})],
    ),
    "geopandas-like html": (
        "class G:\n    def _repr_html_(self): return '<table>'",
        "G()",
        [(RESULT, {HTML, PLAIN})],
    ),
    "mime bundle": (
        "class B:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n"
        "        return {'text/plain': 'p', 'application/x+json': {'a': 1}}, {'m': 1}",
        "B()",
        [(RESULT, {"application/x+json", PLAIN})],
    ),
    "ipython display": (
        "class D:\n    def _ipython_display_(self): display({'text/markdown': '*m*'}, raw=True)",
        "D()",
        [(DISPLAY, {"text/markdown"})],
    ),
    "IPython.display": (
        "from IPython.display import *",
        "display(HTML('a'), Markdown('b'), Math('c'), JSON({'a': 1}), SVG('<svg></svg>'), Javascript('1'), "
        "GeoJSON({'type': 'Point'}), Code('x=1'))",
        [
            (DISPLAY, {HTML, PLAIN}),
            (DISPLAY, {"text/markdown", PLAIN}),
            (DISPLAY, {"text/latex", PLAIN}),
            (DISPLAY, {"application/json", PLAIN}),
            (DISPLAY, {"image/svg+xml", PLAIN}),
            (DISPLAY, {"application/javascript", PLAIN}),
            (DISPLAY, {"application/geo+json", PLAIN}),
            (DISPLAY, {HTML, "text/latex", PLAIN}),
        ],
    ),
    "ipywidgets": (
        "import ipywidgets as w",
        "w.IntSlider()",
        [(RESULT, {"application/vnd.jupyter.widget-view+json", PLAIN})],
    ),
}


def shown(run: Run) -> list[tuple[str, set[str]]]:
    kinds = {h.RESULT: RESULT, h.DISPLAY: DISPLAY}
    return [(kinds[m.type], set(m.json[0])) for m in run.messages if m.type in kinds]


@pytest.mark.parametrize("name", TABLE)
def test_mime_types(context: Context, name: str) -> None:
    setup, cell, expected = TABLE[name]
    assert context.run(setup).error is None
    run = context.run(cell)
    assert run.error is None, run.error
    assert shown(run) == expected


def test_bokeh_pushes_changes(context: Context) -> None:
    setup, _, _ = TABLE["bokeh figure"]
    context.run(f"{setup}\nfrom bokeh.io import push_notebook")
    run = context.run("handle = show(p, notebook_handle=True)")
    assert run.of(h.COMM_OUT)[0].json[0] == {"msg_type": "comm_open"}
    run = context.run("p.title.text = 'new'; push_notebook(handle=handle)")
    assert {"msg_type": "comm_msg"} in [m.json[0] for m in run.of(h.COMM_OUT)]


def test_looks_like_a_notebook(context: Context) -> None:
    run = context.run(
        "ip = get_ipython(); type(ip).__name__, type(ip).__module__, 'IPKernelApp' in ip.config, 'zmq' in str(type(ip))"
    )
    assert run.plain == "('ZMQInteractiveShell', 'ipykernel.zmqshell', True, True)"
    run = context.run("from ipykernel.comm import Comm; Comm(target_name='t').comm_id and 'opened'")
    assert run.plain == "'opened'" and run.of(h.COMM_OUT)[0].json[1]["target_name"] == "t"


def test_updates_of_a_display(context: Context) -> None:
    run = context.run("d = display('a', display_id=True)")
    (first,) = run.of(h.DISPLAY)
    run = context.run("d.update('b')")
    (update,) = run.of(h.UPDATE_DISPLAY)
    assert update.json[2]["display_id"] == first.json[2]["display_id"] and update.json[0][PLAIN] == "'b'"


@pytest.mark.parametrize("kind", ["qt", "tk", "gtk3", "wx"])
def test_toolkits_say_that_there_is_no_display(context: Context, kind: str) -> None:
    assert "no display" in str(context.run(f"%matplotlib {kind}").reply["evalue"])
    assert "no display" in context.run(f"%gui {kind}").text(2)
    assert shown(context.run("import matplotlib.pyplot as plt; plt.plot([1]);")) == [FIGURE]


def test_matplotlib_variants(context: Context) -> None:
    assert "ipympl" in str(context.run("%matplotlib widget").reply["evalue"])
    assert context.run("%matplotlib inline").error is None
    assert context.run("%gui asyncio").error is None and not context.run("%gui asyncio").text(2)
    context.run("%config InlineBackend.figure_formats = ['svg']")
    assert shown(context.run("import matplotlib.pyplot as plt; plt.plot([1]);")) == [
        (DISPLAY, {"image/svg+xml", PLAIN})
    ]


def payload(context: Context, code: str) -> list[dict[str, object]]:
    run = context.run(code, msg_id="m")
    assert run.error is None, run.error
    return run.reply["payload"]


def test_payloads(context: Context) -> None:
    context.run("import os; open('some.py', 'w').write('x = 1\\n'); cwd = os.getcwd()\ndef f():\n    return 1")
    (page,) = payload(context, "len?")
    assert page["source"] == "page" and page["start"] == 0 and "number of items" in page["data"][PLAIN]  # type: ignore[index]
    (page,) = payload(context, "%less some.py")
    assert page["source"] == "page" and "x" in page["data"][PLAIN]  # type: ignore[index]
    (load,) = payload(context, "%load some.py")
    assert load == {"source": "set_next_input", "text": "# %load some.py\nx = 1\n", "replace": True}
    (edit,) = payload(context, "%edit -n 1 some.py")
    assert edit["source"] == "edit_magic" and str(edit["filename"]).endswith("/some.py") and edit["line_number"] == 1
    (edit,) = payload(context, "%edit f")
    assert edit["source"] == "edit_magic" and edit["filename"]
    (typed,) = payload(context, "get_ipython().set_next_input('next')")
    assert typed == {"source": "set_next_input", "text": "next", "replace": False}
    assert [p["source"] for p in payload(context, "%less some.py\nlen?")] == ["page"]  # the last of each
    assert context.run("%less missing.py").reply["ename"] == "UsageError"
    assert context.run("%edit no_such_thing_at_all").text(2) or context.run("%edit no_such").reply["status"] == "error"


def test_clear_and_friends(context: Context) -> None:
    assert context.run("print(1)\n%clear").of(h.CLEAR_OUTPUT)
    assert "subshell id: None" in context.run("%subshell").text()
    assert "connection" in context.run("%connect_info").text()
    assert context.run("%qtconsole").reply["ename"] == "UsageError"
    assert context.run("%autosave x").reply["ename"] == "UsageError"
