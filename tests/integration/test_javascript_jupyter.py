"""JavaScript and TypeScript kernels over ZeroMQ, with the stock client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from jupyter_client.manager import KernelManager
from node_cells import ALL, Cell
from test_jupyter_clients import TIMEOUT, Kernel


class NodeKernel(Kernel):
    def __init__(self, language: str) -> None:
        self.manager = KernelManager(kernel_name=f"cellbox-{language}")
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)


@pytest.fixture
def start(installed: Path) -> Iterator[Callable[[str], NodeKernel]]:
    made: list[NodeKernel] = []

    def make(language: str) -> NodeKernel:
        made.append(NodeKernel(language))
        return made[-1]

    yield make
    for kernel in made:
        kernel.close()


@pytest.mark.parametrize(("language", "name", "cells"), ALL, ids=[name for _, name, _ in ALL])
def test_cells(start: Callable[[str], NodeKernel], language: str, name: str, cells: list[Cell]) -> None:
    kernel = start(language)
    for number, cell in enumerate(cells, 1):
        done = kernel.run(cell.code)
        described = f"{cell.code!r}: {done.messages}"
        assert done.reply.get("ename") == cell.error, described
        results = [m["content"] for m in done.messages if m["msg_type"] == "execute_result"]
        assert (results[0]["data"]["text/plain"] if results else None) == cell.value, described
        assert (set(results[0]["data"]) - {"text/plain"} if results else set()) == cell.mimes, described
        assert done.text() == cell.out, described
        shown = [set(m["content"]["data"]) for m in done.messages if m["msg_type"] == "display_data"]
        assert shown == cell.shown, described
        assert done.reply["execution_count"] == number
        if cell.error:
            error = next(m["content"] for m in done.messages if m["msg_type"] == "error")
            assert all(part in "\n".join(error["traceback"]) for part in cell.trace), described


def test_language_info(start: Callable[[str], NodeKernel]) -> None:
    for language, ending in (("javascript", ".js"), ("typescript", ".ts")):
        kernel = start(language)
        reply = kernel.ask(kernel.client.kernel_info())
        assert (reply["language_info"]["name"], reply["language_info"]["file_extension"]) == (language, ending)


def test_while_a_cell_blocks(start: Callable[[str], NodeKernel]) -> None:
    kernel = start("typescript")
    kernel.run("const box: { alpha: number } = { alpha: 1 }")
    client = kernel.client
    busy = client.execute("console.log('busy'); while (true) {}")
    while client.get_iopub_msg(timeout=TIMEOUT)["msg_type"] != "stream":
        pass
    assert reply_to(client.get_shell_msg, client.complete("box.al", 6))["matches"] == ["alpha"]
    assert reply_to(client.get_shell_msg, client.inspect("box", 3))["found"]
    assert reply_to(client.get_shell_msg, client.is_complete("f("))["status"] == "incomplete"
    message = client.session.msg("kernel_info_request", {})
    client.control_channel.send(message)
    assert reply_to(client.get_control_msg, message["header"]["msg_id"])["status"] == "ok"
    kernel.manager.interrupt_kernel()
    assert reply_to(client.get_shell_msg, busy)["ename"] == "Interrupted"
    assert kernel.run("box.alpha").data()[0]["text/plain"] == "1"


def reply_to(get: Callable[..., dict[str, Any]], msg_id: str) -> dict[str, Any]:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        message = get(timeout=TIMEOUT)
        if message["parent_header"].get("msg_id") == msg_id:
            return dict(message["content"])
    raise TimeoutError


def test_stdin(start: Callable[[str], NodeKernel]) -> None:
    kernel = start("javascript")
    msg_id = kernel.client.execute("const n = prompt('Your name'); `hello ${n}`", allow_stdin=True)
    request = kernel.client.get_stdin_msg(timeout=TIMEOUT)
    assert request["content"]["prompt"] == "Your name "
    kernel.client.input("Ada")
    assert kernel.collect(msg_id).data()[0]["text/plain"] == "'hello Ada'"


def test_history_and_updates(start: Callable[[str], NodeKernel]) -> None:
    kernel = start("javascript")
    done = kernel.run("const h = display('a', { id: 'mine' }); h.update('b'); display.clear(true)")
    assert [m["msg_type"] for m in done.messages if m["msg_type"] not in ("status", "execute_input")] == [
        "display_data", "update_display_data", "clear_output",
    ]  # fmt: skip
    assert all(m["content"]["transient"] == {"display_id": "mine"} for m in done.messages if "display" in m["msg_type"])
    reply = kernel.ask(kernel.client.history(hist_access_type="tail", n=1))
    assert reply["history"][0][2].startswith("const h")


def test_exit_in_a_cell(start: Callable[[str], NodeKernel]) -> None:
    kernel = start("javascript")
    done = kernel.run("console.log('words'); process.exit(4)")
    assert done.reply["status"] == "error" and done.text() == "words\n"
    assert kernel.run("1").data()[0]["text/plain"] == "1"


@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_notebook(installed: Path, language: str) -> None:
    types = ": number" if language == "typescript" else ""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(f"const n{types} = 20"),
        nbformat.v4.new_code_cell("import { EOL } from 'node:os'\nconsole.log(n + EOL.length); n * 2"),
    ]
    nbclient.NotebookClient(notebook, kernel_name=f"cellbox-{language}", timeout=TIMEOUT).execute()
    outputs = notebook.cells[1].outputs
    assert outputs[0].text == "21\n" and outputs[1].data["text/plain"] == "40"
    assert notebook.metadata.language_info.name == language
