"""JupyterLab as people use it: a notebook in a browser, its kernels from Cellbox."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from lab import Lab, Notebook, chromium, direct_lab, gateway_lab
from playwright.sync_api import Browser, expect
from targets import Target

pytestmark = [pytest.mark.slow, pytest.mark.release, pytest.mark.timeout(240)]

Open = Callable[..., Notebook]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module", params=["direct", "gateway"])
def lab(request: pytest.FixtureRequest, target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    kinds = {"gateway": gateway_lab, "direct": direct_lab}
    with kinds[request.param](tmp_path_factory.mktemp(request.param), target) as lab:
        yield lab


@pytest.fixture
def notebook(browser: Browser, lab: Lab, target: Target, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens a notebook of these cells: notebook(*cells)."""
    opened: list[Notebook] = []
    before = target.kernels()

    def open_notebook(*cells: str, kernel: str = target.kernel, language: str = "python") -> Notebook:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        opened.append(Notebook(page))
        opened[-1].open(lab, lab.write(kernel, language, list(cells)))
        return opened[-1]

    yield open_notebook
    name = f"{lab.kind}-{request.node.originalname.removeprefix('test_')}"
    for n in opened:
        n.shot(name)
        n.page.close()
    for kernel in target.kernels() - before:
        target.call("DELETE", f"/api/kernels/{kernel}")


def test_figure_and_table(notebook: Open) -> None:
    n = notebook(
        "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9]); plt.title('squares'); plt.show()",
        "import pandas as pd\npd.DataFrame({'bird': ['Adelie', 'Gentoo'], 'mass': [3700, 5076]})",
        "print('plain text')\n6 * 7",
    )
    picture = n.run(0).locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("i => i.naturalWidth") > 300
    table = n.run(1).locator("table")
    expect(table.locator("tbody tr").nth(1)).to_contain_text("Gentoo")
    outputs = n.run(2)
    expect(outputs.nth(0)).to_have_text("plain text\n")
    expect(outputs.nth(1)).to_have_text("42")
    expect(n.prompt(2)).to_have_text("[3]:")


def test_error_is_shown(notebook: Open) -> None:
    n = notebook("def f():\n    return 1 / 0\nf()")
    expect(n.run(0)).to_contain_text("ZeroDivisionError: division by zero")


def test_slider(notebook: Open) -> None:
    n = notebook(
        "from ipywidgets import interact, IntSlider\n"
        "@interact(n=IntSlider(value=3, min=0, max=10, description='n'))\n"
        "def power(n):\n"
        "    print('two to the', n, 'is', 2 ** n)"
    )
    n.start(0)
    handle = n.cell(0).locator(".noUi-handle")
    expect(handle).to_be_visible()
    outputs = n.cell(0).locator(".jp-Cell-outputArea")
    expect(outputs).to_contain_text("two to the 3 is 8")
    handle.focus()
    for _ in range(4):
        n.page.keyboard.press("ArrowRight")
    expect(outputs).to_contain_text("two to the 7 is 128")
    expect(outputs).not_to_contain_text("two to the 3")
    expect(n.cell(0).locator(".widget-readout")).to_have_text("7")


def test_typescript(notebook: Open) -> None:
    n = notebook(
        "enum Bird { Adelie, Gentoo }\ninterface Seen { bird: Bird; mass: number }\n"
        "const seen: Seen[] = [{ bird: Bird.Gentoo, mass: 5076 }]\nconsole.log(Bird[seen[0].bird])\nseen.length + 41",
        "display.html('<b id=\"rich\">bold</b>')",
        "throw new TypeError('no such bird')",
        kernel="typescript",
        language="typescript",
    )
    outputs = n.run(0)
    expect(outputs.nth(0)).to_have_text("Gentoo\n")
    expect(outputs.nth(1)).to_have_text("42")
    expect(n.run(1).locator("b#rich")).to_have_text("bold")
    expect(n.run(2)).to_contain_text("TypeError: no such bird")


def test_interrupt(notebook: Open) -> None:
    n = notebook("kept = 5\nprint('going', flush=True)\nwhile True: pass", "kept")
    n.start(0)
    expect(n.outputs(0)).to_contain_text("going")
    n.running(0)
    n.menu("Kernel", "Interrupt Kernel")
    expect(n.outputs(0).last).to_contain_text("KeyboardInterrupt")
    expect(n.run(1)).to_have_text("5")


def test_restart(notebook: Open) -> None:
    n = notebook("x = 1\n'x is set'", "'x' in globals()")
    expect(n.run(0)).to_have_text("'x is set'")
    n.menu("Kernel", r"Restart Kernel…")
    n.page.locator(".jp-Dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    expect(n.page.locator(".jp-Dialog")).to_have_count(0)
    expect(n.prompt(0)).to_have_text("[1]:")
    expect(n.run(1)).to_have_text("False")
    expect(n.prompt(1)).to_have_text("[1]:")


def test_completion_by_tab(notebook: Open) -> None:
    n = notebook("long_name_one = 1\nlong_name_two = 2", "")
    n.run(0)
    n.editor(1).click()
    n.page.keyboard.type("long_name_")
    n.page.keyboard.press("Tab")
    completer = n.page.locator(".jp-Completer:not(.lm-mod-hidden)")
    expect(completer.locator(".jp-Completer-item").first).to_be_visible()
    expect(completer).to_contain_text("long_name_one")
    expect(completer).to_contain_text("long_name_two")
    n.page.keyboard.press("ArrowDown")
    n.shot("completer")
    n.page.keyboard.press("Enter")
    expect(n.editor(1)).to_contain_text("long_name_two")
    expect(n.run(1)).to_have_text("2")


def test_tooltip(notebook: Open) -> None:
    n = notebook("def area(w, h=2):\n    'Width times height.'\n    return w * h", "area(")
    n.run(0)
    n.editor(1).click()
    n.page.keyboard.press("End")
    n.page.keyboard.press("Shift+Tab")
    expect(n.page.locator(".jp-Tooltip")).to_contain_text("Width times height.")


def test_input(notebook: Open) -> None:
    n = notebook("name = input('Who? ')\nname.upper()")
    n.start(0)
    box = n.cell(0).locator("input.jp-Stdin-input")
    expect(n.cell(0).locator(".jp-Stdin-prompt")).to_contain_text("Who?")
    box.fill("Ada")
    box.press("Enter")
    n.finished(0)
    expect(n.outputs(0).last).to_have_text("'ADA'")


def test_reload_while_a_cell_runs(notebook: Open) -> None:
    """The page is loaded again while a cell runs: the kernel and its state are still there."""
    n = notebook("kept = 5\nimport time\ntime.sleep(600)", "kept")
    n.start(0)
    n.running(0)
    n.page.keyboard.press("Control+s")
    n.page.reload()
    expect(n.prompt(0)).to_be_visible()
    n.menu("Kernel", "Interrupt Kernel")
    n.idle()
    expect(n.run(1)).to_have_text("5")


def attach(n: Notebook) -> None:
    """Until the debugger takes breakpoints. JupyterLab asks for its state when a notebook has opened, and an answer
    that comes after a click undoes it: then it is clicked again, as one does."""
    sidebar = n.page.locator(".jp-DebuggerSidebar")
    for _ in range(3):
        n.panel.locator(".jp-DebuggerBugButton").click()
        with suppress(AssertionError):
            expect(sidebar).to_contain_text("IPython.core", timeout=15000)  # its modules are listed
            return
    raise AssertionError("the debugger does not attach")


def test_debugger(notebook: Open) -> None:
    n = notebook("def area(w, h):\n    result = w * h\n    return result\n\narea(6, 7)")
    attach(n)
    gutter = n.cell(0).locator(".cm-gutter.cm-breakpoint-gutter")
    expect(gutter).to_be_visible()
    n.editor(0).click()
    lines = n.cell(0).locator(".cm-lineNumbers .cm-gutterElement")
    box = lines.filter(has_text="2").first.bounding_box()
    gutter_box = gutter.bounding_box()
    assert box and gutter_box
    n.page.mouse.click(gutter_box["x"] + gutter_box["width"] / 2, box["y"] + box["height"] / 2)
    expect(n.page.locator(".jp-DebuggerBreakpoint")).to_have_count(1)
    n.start(0)
    variables = n.page.locator(".jp-DebuggerVariables")
    expect(variables.get_by_role("treeitem").filter(has_text=re.compile("^w"))).to_contain_text("6")
    expect(n.page.locator(".jp-DebuggerCallstack-body")).to_contain_text("area")
    n.shot("debugger-stopped")
    n.page.locator('.jp-DebuggerSidebar [data-command="debugger:continue"]').click()
    n.finished(0)
    expect(n.outputs(0).last).to_have_text("42")
