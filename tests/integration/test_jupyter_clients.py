"""Stock Jupyter clients with the kernelspec that `cellbox kernelspec install` writes, and no other setting."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import psutil
import pytest
from conftest import BUILD, ROOT
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import AsyncKernelManager, KernelManager
from kernelspec import NAME
from terminal import Terminal

CELLBOX = str(BUILD / "bin" / "cellbox")
JUPYTER = str(Path(sys.executable).with_name("jupyter"))
TIMEOUT = 60


class Kernel:
    """A kernel with its blocking client."""

    def __init__(self, **kw: Any) -> None:
        self.manager = KernelManager(kernel_name=NAME)
        self.manager.start_kernel(**kw)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)

    def run(self, code: str, **kw: Any) -> Cell:
        kw.setdefault("allow_stdin", False)
        return self.collect(self.client.execute(code, **kw))

    def collect(self, msg_id: str) -> Cell:
        """Reply and outputs of a request, up to its idle."""
        return Cell(self.client.get_shell_msg, self.client.get_iopub_msg, msg_id)

    def ask(self, msg_id: str) -> dict[str, Any]:
        return self.collect(msg_id).reply

    @property
    def pid(self) -> int:
        """Of `cellbox kernel`."""
        return int(vars(self.manager.provisioner)["pid"])

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel()


class Cell:
    def __init__(self, shell: Callable[..., Any], iopub: Callable[..., Any], msg_id: str) -> None:
        self.messages: list[dict[str, Any]] = []
        while True:
            message = iopub(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            self.messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while True:
            message = shell(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") == msg_id:
                self.reply: dict[str, Any] = message["content"]
                break

    @property
    def types(self) -> list[str]:
        return [m["msg_type"] for m in self.messages]

    def text(self, name: str = "stdout") -> str:
        return "".join(
            m["content"]["text"] for m in self.messages if m["msg_type"] == "stream" and m["content"]["name"] == name
        )

    def data(self) -> list[dict[str, Any]]:
        return [m["content"]["data"] for m in self.messages if "data" in m["content"]]


@pytest.fixture
def kernel(installed: Path) -> Iterator[Kernel]:
    k = Kernel()
    yield k
    k.close()


def sandboxes(server: Any) -> set[str]:
    return {b["name"] for b in server.call("GET", "/v1/sandboxes").json()["sandboxes"]}


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


# ---- whole programs ----


@pytest.mark.slow
def test_nbconvert_executes_the_example_notebook(installed: Path, tmp_path: Path) -> None:
    source = ROOT / "docs/examples/penguins.ipynb"
    assert all(not c.get("outputs") for c in nbformat.read(source, 4).cells), "it is stored without outputs"
    subprocess.run(
        [JUPYTER, "nbconvert", "--to", "notebook", "--execute", source, f"--ExecutePreprocessor.kernel_name={NAME}",
         "--output-dir", tmp_path, "--output", "out.ipynb"],
        check=True, timeout=110,
    )  # fmt: skip
    cells = {c.id: c for c in nbformat.read(tmp_path / "out.ipynb", 4).cells if c.cell_type == "code"}

    def text(cell: str) -> str:
        return "".join(o.text for o in cells[cell].outputs if o.output_type == "stream")

    for figure in ("bills", "masses", "correlation", "pairs"):
        pictures = [o.data["image/png"] for o in cells[figure].outputs if "image/png" in o.get("data", {})]
        assert len(pictures) == 1, figure
        assert base64.b64decode(pictures[0]).startswith(b"\x89PNG") and len(pictures[0]) > 20000
    for table in ("load", "describe", "missing", "islands", "by-species", "by-sex", "rule"):
        results = [o for o in cells[table].outputs if o.output_type == "execute_result"]
        assert len(results) == 1 and "<table" in results[0].data["text/html"], table
    assert "Gentoo" in cells["by-species"].outputs[0].data["text/plain"]
    assert text("clean") == "344 birds, 342 measured, 333 complete\n"
    assert text("check") == "all checks passed\n"
    assert [c.execution_count for c in cells.values()] == list(range(1, len(cells) + 1))


def leave(t: Terminal) -> None:
    """Ctrl-D, and yes when it asks."""
    t.type("\x04")
    t.expect(r"\[y\]/n")
    t.type("y\n")
    assert t.wait() == 0


@pytest.mark.slow
def test_console_on_a_terminal(installed: Path) -> None:
    env = {**os.environ, "TERM": "xterm", "LINES": "40", "COLUMNS": "100"}
    t = Terminal([JUPYTER, "console", "--kernel", NAME, "--simple-prompt"], env)
    try:
        for n, (typed, shown) in enumerate(
            [
                ("x = 6", ""),
                ("x * 7", r"Out\[2\]: 42"),
                ("print('printed')", r"\nprinted"),
                ("1/0", "ZeroDivisionError: division by zero"),
                ("answer = input('who? ')", r"\nwho\? "),
                ("answer[::-1]", "'adA'"),
                ("%who_ls int", r"\['x'\]"),
                ("import time; time.sleep(100)", r"sleep\(100\)"),
                ("print('al' + 'ive')", r"\nalive"),
            ],
            start=1,
        ):
            t.expect(rf"In \[{n}\]: ")
            t.type(typed + "\n")
            t.expect(shown)
            if "input" in typed:
                t.type("Ada\n")
            if "sleep" in typed:
                time.sleep(0.5)  # a person's pause: the cell has begun by then
                t.type("\x03")
                t.expect("KeyboardInterrupt")
        t.expect(r"In \[10\]: ")
        leave(t)
    finally:
        t.close()


@pytest.mark.slow
def test_exit_leaves_the_console(installed: Path) -> None:
    env = {**os.environ, "TERM": "xterm", "LINES": "40", "COLUMNS": "100"}
    t = Terminal([JUPYTER, "console", "--kernel", NAME, "--simple-prompt"], env)
    try:
        t.expect(r"In \[1\]: ")
        t.type("exit\n")
        assert t.wait() == 0
    finally:
        t.close()


@pytest.mark.slow
def test_console_with_its_full_prompt(installed: Path) -> None:
    """prompt_toolkit: highlighting, is_complete at each line, completion by Tab."""
    env = {**os.environ, "TERM": "xterm", "LINES": "40", "COLUMNS": "100"}
    t = Terminal([JUPYTER, "console", "--kernel", NAME], env)
    try:
        t.expect(r"In \[1\]")
        t.type("twenty_one = 21\n")
        t.expect(r"In \[2\]")
        t.type("twenty_o\t")
        t.expect("twenty_one")
        t.type(" * 2\n")
        t.expect(r"Out\[2\]: *42")
        t.expect(r"In \[3\]")
        leave(t)
    finally:
        t.close()


def test_nbclient(installed: Path) -> None:
    nb = nbformat.v4.new_notebook()
    code = ["import os\nprint('out')", "display(1, 2)\n3", "await __import__('asyncio').sleep(0)\n%time 1\n!echo shell"]
    nb.cells = [nbformat.v4.new_code_cell(c) for c in code]
    nbclient.NotebookClient(nb, kernel_name=NAME, timeout=TIMEOUT).execute()
    kinds = [[o.output_type for o in c.outputs] for c in nb.cells]
    assert set(kinds[0]) == {"stream"} and kinds[1] == ["display_data", "display_data", "execute_result"]
    assert "shell" in "".join(o.get("text", "") for o in nb.cells[2].outputs)
    nb.cells = [nbformat.v4.new_code_cell("1/0"), nbformat.v4.new_code_cell("'not reached'")]
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        nbclient.NotebookClient(nb, kernel_name=NAME, timeout=TIMEOUT).execute()
    assert nb.cells[0].outputs[0].ename == "ZeroDivisionError" and not nb.cells[1].outputs


def test_nbclient_timeout_interrupts(installed: Path) -> None:
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_code_cell("import time\ntime.sleep(90)"), nbformat.v4.new_code_cell("2")]
    client = nbclient.NotebookClient(nb, kernel_name=NAME, timeout=1, interrupt_on_timeout=True, allow_errors=True)
    client.execute()
    assert [o.get("ename") for o in nb.cells[0].outputs] == ["KeyboardInterrupt"]
    assert nb.cells[1].outputs[0].data["text/plain"] == "2"


# ---- the blocking client ----


def test_execute(kernel: Kernel) -> None:
    cell = kernel.run("import sys\nprint('out')\nprint('err', file=sys.stderr)\ndisplay({'a': 1})\n'value'")
    assert cell.reply["status"] == "ok" and cell.reply["execution_count"] == 1 and cell.reply["payload"] == []
    assert cell.types[:2] == ["status", "execute_input"] and cell.types[-1] == "status"
    assert cell.messages[0]["content"]["execution_state"] == "busy"
    assert (cell.text(), cell.text("stderr")) == ("out\n", "err\n")
    assert [d["text/plain"] for d in cell.data()] == ["{'a': 1}", "'value'"]
    assert kernel.run("_").data()[0]["text/plain"] == "'value'"
    failed = kernel.run("1/0")
    assert failed.reply["status"] == "error" and failed.reply["ename"] == "ZeroDivisionError"
    error = next(m["content"] for m in failed.messages if m["msg_type"] == "error")
    assert error["evalue"] == "division by zero" and any("Cell" in line for line in error["traceback"])


def test_rich_output(kernel: Kernel) -> None:
    cell = kernel.run("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert base64.b64decode(cell.data()[0]["image/png"]).startswith(b"\x89PNG")
    cell = kernel.run("import pandas as pd\npd.DataFrame({'a': [1]})")
    assert "<table" in cell.data()[0]["text/html"]
    cell = kernel.run(
        "h = display('a', display_id=True)\nh.update('b')\nfrom IPython.display import clear_output\nclear_output()"
    )
    kinds = [t for t in cell.types if t not in ("status", "execute_input")]
    assert kinds == ["display_data", "update_display_data", "clear_output"]
    ids = [m["content"]["transient"]["display_id"] for m in cell.messages if "transient" in m["content"]]
    assert len(ids) == 2 and ids[0] == ids[1]


def test_silent_store_history_and_user_expressions(kernel: Kernel) -> None:
    silent = kernel.run("print('x'); 5", silent=True)
    assert silent.reply["execution_count"] == 0 and "execute_input" not in silent.types
    assert not silent.data()
    unstored = kernel.run("a = 1", store_history=False)
    assert unstored.reply["status"] == "ok" and unstored.reply["execution_count"] <= 1
    stored = kernel.run("b = 2", user_expressions={"sum": "a + b", "bad": "1/0"})
    assert stored.reply["execution_count"] == 1
    expressions = stored.reply["user_expressions"]
    assert expressions["sum"]["status"] == "ok" and expressions["sum"]["data"]["text/plain"] == "3"
    assert expressions["bad"]["status"] == "error" and expressions["bad"]["ename"] == "ZeroDivisionError"


def test_questions_about_code(kernel: Kernel) -> None:
    kernel.run("import os\nvery_long_name = 1\ndef f(a, b=2):\n    'Adds.'\n    return a + b")
    client = kernel.client
    done = kernel.ask(client.complete("very_lo", 7))
    assert done["status"] == "ok" and "very_long_name" in done["matches"]
    assert (done["cursor_start"], done["cursor_end"]) == (0, 7)
    assert "os.path" in " ".join(kernel.ask(client.complete("os.pat"))["matches"]) or any(
        m.endswith("path") for m in kernel.ask(client.complete("os.pat"))["matches"]
    )
    shown = kernel.ask(client.inspect("f(", 1))
    assert shown["found"] and "Adds." in shown["data"]["text/plain"]
    assert kernel.ask(client.inspect("no_such_name"))["found"] is False
    assert kernel.ask(client.is_complete("for i in x:"))["status"] == "incomplete"
    assert kernel.ask(client.is_complete("1 + 1"))["status"] == "complete"
    assert kernel.ask(client.is_complete("1 +* 1"))["status"] == "invalid"
    assert kernel.ask(client.is_complete("for i in x:"))["indent"] == "    "
    assert kernel.ask(client.comm_info())["comms"] == {}


def test_history(kernel: Kernel) -> None:
    for code in ("a = 1", "a + 1", "not_kept = 1"):
        kernel.run(code, store_history=code != "not_kept = 1")
    tail = kernel.ask(kernel.client.history(raw=True, output=False, hist_access_type="tail", n=2))
    assert [h[2] for h in tail["history"]] == ["a = 1", "a + 1"]
    ranged = kernel.ask(kernel.client.history(output=True, hist_access_type="range", session=0, start=2, stop=3))
    assert ranged["history"][0][1:] == [2, ["a + 1", "2"]]
    found = kernel.ask(kernel.client.history(hist_access_type="search", pattern="a +*", output=False))
    assert found["history"][-1][2] == "a + 1"


def test_kernel_info_and_heartbeat(kernel: Kernel) -> None:
    info = kernel.ask(kernel.client.kernel_info())
    assert info["status"] == "ok" and info["language_info"]["name"] == "python"
    assert re.match(r"5\.\d", info["protocol_version"]) and info["banner"]
    assert "supported_features" in info
    assert eventually(kernel.client.hb_channel.is_beating, 10)
    assert kernel.client.is_alive()


def test_comms(kernel: Kernel) -> None:
    cell = kernel.run(
        "from comm import create_comm, get_comm_manager\n"
        "c = create_comm(target_name='t', data={'hello': 1})\n"
        "got = []\n"
        "def opened(comm, msg):\n"
        "    comm.on_msg(lambda m: (got.append(m['content']['data']), comm.send({'echo': m['content']['data']})))\n"
        "get_comm_manager().register_target('mine', opened)\n"
    )
    opened = next(m["content"] for m in cell.messages if m["msg_type"] == "comm_open")
    assert opened["target_name"] == "t" and opened["data"] == {"hello": 1}
    assert kernel.ask(kernel.client.comm_info())["comms"] == {opened["comm_id"]: {"target_name": "t"}}
    session, shell = kernel.client.session, kernel.client.shell_channel
    shell.send(session.msg("comm_open", {"comm_id": "c1", "target_name": "mine", "data": {}}))
    said = session.msg("comm_msg", {"comm_id": "c1", "data": {"n": 7}})
    shell.send(said)
    while True:
        message = kernel.client.get_iopub_msg(timeout=TIMEOUT)
        if message["msg_type"] == "comm_msg":
            break
    assert message["content"] == {"comm_id": "c1", "data": {"echo": {"n": 7}}}
    assert message["parent_header"]["msg_id"] == said["header"]["msg_id"]
    assert kernel.run("got").data()[0]["text/plain"] == "[{'n': 7}]"


def test_stdin(kernel: Kernel) -> None:
    client = kernel.client
    msg_id = client.execute("import getpass\na = input('name? ')\nb = getpass.getpass()\na, b", allow_stdin=True)
    first = client.get_stdin_msg(timeout=TIMEOUT)
    assert first["msg_type"] == "input_request" and first["parent_header"]["msg_id"] == msg_id
    assert first["content"] == {"prompt": "name? ", "password": False}
    client.input("Ada")
    second = client.get_stdin_msg(timeout=TIMEOUT)["content"]
    assert second["password"] is True
    client.input("s3cret")
    assert kernel.collect(msg_id).data()[0]["text/plain"] == "('Ada', 's3cret')"
    refused = kernel.run("input()", allow_stdin=False)
    assert refused.reply["ename"] == "StdinNotImplementedError"


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(100)",
        "import subprocess; subprocess.run(['sleep', '100'])",
        "import asyncio; await asyncio.sleep(100)",
    ],
)
def test_interrupt(kernel: Kernel, code: str) -> None:
    kernel.run("kept = 5")
    msg_id = kernel.client.execute(f"print('go', flush=True)\n{code}")
    while kernel.client.get_iopub_msg(timeout=TIMEOUT)["msg_type"] != "stream":
        pass
    time.sleep(0.1)  # into the loop
    kernel.manager.interrupt_kernel()
    cell = kernel.collect(msg_id)
    assert cell.reply["status"] == "error" and cell.reply["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert kernel.run("kept").data()[0]["text/plain"] == "5"


def test_the_queue_is_aborted_after_an_error(kernel: Kernel) -> None:
    client = kernel.client
    ids = [client.execute(code) for code in ("import time; time.sleep(.5)", "1/0", "'a'", "'b'")]
    replies = [kernel.ask(i) for i in ids]
    assert [r["status"] for r in replies] == ["ok", "error", "aborted", "aborted"]
    assert kernel.run("'again'").reply["status"] == "ok"
    ids = [client.execute(code, stop_on_error=False) for code in ("import time; time.sleep(.5)", "1/0", "'a'")]
    assert [kernel.ask(i)["status"] for i in ids] == ["ok", "error", "ok"]


def test_many_requests_in_order(kernel: Kernel) -> None:
    kernel.run("seen = []")
    ids = [kernel.client.execute(f"seen.append({i})") for i in range(200)]
    counts = [kernel.ask(i)["execution_count"] for i in ids]
    assert counts == list(range(2, 202))
    assert kernel.run("seen == list(range(200))").data()[0]["text/plain"] == "True"


def test_a_large_output_and_a_large_cell(kernel: Kernel) -> None:
    assert kernel.run("print('x' * 20_000_000)").text() == "x" * 20_000_000 + "\n"
    assert kernel.run(f"len('{'y' * 5_000_000}')").data()[0]["text/plain"] == "5000000"


def test_an_interpreter_that_dies_is_said_and_replaced(kernel: Kernel) -> None:
    kernel.run("x = 1")
    cell = kernel.run("print('last words', flush=True)\nimport os; os._exit(7)")
    assert cell.reply["status"] == "error" and "7" in cell.reply["evalue"]
    assert cell.text() == "last words\n"
    again = kernel.run("'x' in globals()")
    assert again.data()[0]["text/plain"] == "False"
    assert kernel.manager.is_alive()


# ---- life ----


def test_restart(kernel: Kernel) -> None:
    kernel.run("x = 1\nopen('/workspace/kept', 'w').close()")
    first = kernel.pid
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=TIMEOUT)
    assert kernel.pid != first
    cell = kernel.run("import os\n'x' in globals(), os.path.exists('/workspace/kept')")
    assert cell.reply["execution_count"] == 1 and cell.data()[0]["text/plain"] == "(False, True)"


def test_restart_now(kernel: Kernel) -> None:
    """The client process is killed without a word, and the next one wants the same ports."""
    kernel.run("x = 1")
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=TIMEOUT)
    time.sleep(1)  # the one before must not be what answered
    kernel.client.wait_for_ready(timeout=TIMEOUT)
    assert kernel.run("'x' in globals()").data()[0]["text/plain"] == "False"
    assert kernel.manager.is_alive()


def test_shutdown_removes_the_sandbox(installed: Path, server: Any) -> None:
    before = sandboxes(server)
    k = Kernel()
    (mine,) = sandboxes(server) - before
    process = psutil.Process(k.pid)
    started = time.monotonic()
    k.close()
    assert not process.is_running()
    assert eventually(lambda: mine not in sandboxes(server))
    assert time.monotonic() - started < 2.4, "it did not end by itself: Jupyter had to kill it"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_kernel(installed: Path, server: Any, signum: signal.Signals) -> None:
    before = sandboxes(server)
    k = Kernel()
    (mine,) = sandboxes(server) - before
    os.kill(k.pid, signum)
    assert eventually(lambda: not k.manager.is_alive())
    assert eventually(lambda: mine not in sandboxes(server))
    k.close()


def test_sigint_interrupts(kernel: Kernel) -> None:
    msg_id = kernel.client.execute("print('go', flush=True)\nwhile True: pass")
    while kernel.client.get_iopub_msg(timeout=TIMEOUT)["msg_type"] != "stream":
        pass
    os.kill(kernel.pid, signal.SIGINT)
    assert kernel.ask(msg_id)["ename"] == "KeyboardInterrupt"


@pytest.mark.slow
def test_a_killed_client_process_takes_the_kernel_with_it(installed: Path, server: Any) -> None:
    before = sandboxes(server)
    k = Kernel()
    (mine,) = sandboxes(server) - before
    os.kill(k.pid, signal.SIGKILL)
    assert eventually(lambda: mine not in sandboxes(server), 40)
    k.close()


def test_the_kernel_goes_with_its_jupyter(installed: Path, server: Any) -> None:
    before = sandboxes(server)
    program = (
        "import os, threading\n"
        "from jupyter_client.manager import KernelManager\n"
        f"km = KernelManager(kernel_name={NAME!r})\n"
        "t = threading.Thread(target=km.start_kernel)\n"  # a thread that ends must not end the kernel
        "t.start(); t.join()\n"
        "kc = km.client(); kc.start_channels(); kc.wait_for_ready(timeout=60)\n"
        "print(km.provisioner.pid, flush=True)\n"
        "input()\n"
        "os._exit(1)\n"
    )
    p = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdout and p.stdin
    pid = int(p.stdout.readline())
    (mine,) = sandboxes(server) - before
    time.sleep(1.5)
    assert psutil.pid_exists(pid) and mine in sandboxes(server)
    p.communicate("\n")
    assert eventually(lambda: not psutil.pid_exists(pid))
    assert eventually(lambda: mine not in sandboxes(server))


def test_kernels_that_share_a_sandbox(installed: Path, server: Any, box: str) -> None:
    first, second = (Kernel(env={**os.environ, "CELLBOX_SANDBOX": box}) for _ in range(2))
    try:
        first.run("open('/workspace/shared', 'w').write('hello'); x = 1")
        cell = second.run("open('/workspace/shared').read(), 'x' in globals()")
        assert cell.data()[0]["text/plain"] == "('hello', False)"
    finally:
        first.close()
        second.close()
    assert box in sandboxes(server)
    assert server.run(box, "open('/workspace/shared').read()")["results"][0]["data"]["text/plain"] == "'hello'"


def test_a_killed_gateway_keeps_the_kernel(installed: Path, own_server: Any) -> None:
    server = own_server()
    k = Kernel(env={**os.environ, "CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token})
    try:
        k.run("x = 41")
        server.gateway().kill()
        server.wait_ready()
        k.client.wait_for_ready(timeout=TIMEOUT)
        assert k.run("x + 1").data()[0]["text/plain"] == "42"
        assert k.manager.is_alive()
    finally:
        k.close()


def test_a_server_that_ends_ends_the_client_process(installed: Path, own_server: Any) -> None:
    server = own_server()
    k = Kernel(env={**os.environ, "CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token})
    server.stop()
    assert eventually(lambda: not k.manager.is_alive(), 30)
    k.close()


def test_no_server_is_a_clear_error(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"transport": "tcp"}))
    env = {**os.environ, "CELLBOX_TOKEN": "x"}
    p = subprocess.run(
        [CELLBOX, "kernel", "--connection-file", tmp_path / "c.json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert p.returncode == 3 and "token" in p.stderr
    env = {**os.environ}
    p = subprocess.run(
        [CELLBOX, "kernel", "--connection-file", tmp_path / "c.json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert p.returncode == 3 and "INVALID_CONNECTION" in p.stderr


# ---- the asyncio client ----


async def test_async_client(installed: Path) -> None:
    manager = AsyncKernelManager(kernel_name=NAME)
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=TIMEOUT)
        outputs: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                outputs.append(message["content"]["text"])

        reply = await client.execute_interactive("for i in range(3): print(i)", output_hook=hook, timeout=TIMEOUT)
        assert reply["content"]["status"] == "ok" and "".join(outputs) == "0\n1\n2\n"
        task = asyncio.create_task(
            client.execute_interactive("print('go', flush=True)\nwhile True: pass", output_hook=hook, timeout=TIMEOUT)
        )
        while "go" not in "".join(outputs):
            await asyncio.sleep(0.01)
        await manager.interrupt_kernel()
        assert (await task)["content"]["ename"] == "KeyboardInterrupt"
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=TIMEOUT)
        reply = await client.execute_interactive("outputs", timeout=TIMEOUT, output_hook=hook)
        assert reply["content"]["ename"] == "NameError"
    finally:
        client.stop_channels()
        await manager.shutdown_kernel()


def test_two_clients_of_one_kernel(kernel: Kernel) -> None:
    other = BlockingKernelClient(connection_file=kernel.manager.connection_file)
    other.load_connection_file()
    other.start_channels()
    try:
        other.wait_for_ready(timeout=TIMEOUT)
        msg_id = kernel.client.execute("x = 1\nprint('for all')")
        mine = kernel.collect(msg_id)
        theirs: list[dict[str, Any]] = []
        while not (theirs and theirs[-1]["content"].get("execution_state") == "idle"):
            message = other.get_iopub_msg(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") == msg_id:
                theirs.append(message)
        assert [m["header"]["msg_id"] for m in theirs] == [m["header"]["msg_id"] for m in mine.messages]
        reply = other.execute_interactive("x += 1", timeout=TIMEOUT)
        assert reply["content"]["execution_count"] == 2
        assert kernel.run("x").data()[0]["text/plain"] == "2"
    finally:
        other.stop_channels()
