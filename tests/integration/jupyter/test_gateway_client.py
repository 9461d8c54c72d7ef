"""A stock Jupyter server whose kernels come from Cellbox: `jupyter server --gateway-url`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from channels import Channels
from notebook_server import TOKEN, NotebookServer
from targets import Target, eventually


class Front:
    """The stock server as its clients see it."""

    def __init__(self, server: NotebookServer, target: Target) -> None:
        self.server = server
        self.target = target
        self.channels: list[Channels] = []

    def call(self, method: str, path: str, **kw: Any) -> requests.Response:
        kw.setdefault("timeout", 60)
        return requests.request(method, self.server.url + path, headers={"Authorization": f"token {TOKEN}"}, **kw)

    def kernels(self) -> dict[str, Any]:
        """Models by id; the list is what makes the stock server look at the target again."""
        return {k["id"]: k for k in self.call("GET", "/api/kernels").json()}

    def start(self) -> str:
        r = self.call("POST", "/api/kernels", json={"name": self.target.kernel})
        assert r.status_code == 201, r.text
        kernel: str = r.json()["id"]
        return kernel

    def connect(self, kernel: str) -> Channels:
        self.channels.append(Channels(self.server.url, TOKEN, kernel))
        return self.channels[-1]


def gateway_server(home: Any, target: Target) -> NotebookServer:
    return NotebookServer(home, "server", f"--gateway-url={target.url}", f"--GatewayClient.auth_token={target.token}")


@pytest.fixture(scope="module")
def notebook_server(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookServer]:
    server = gateway_server(tmp_path_factory.mktemp("gateway-client"), target)
    yield server
    server.stop()


@pytest.fixture
def front(notebook_server: NotebookServer, target: Target) -> Iterator[Front]:
    front = Front(notebook_server, target)
    yield front
    for channels in front.channels:
        channels.close()
    for kernel in front.kernels():
        front.call("DELETE", f"/api/kernels/{kernel}")


def test_kernelspecs(front: Front) -> None:
    front.call("GET", "/api/kernelspecs")  # the first answer still has the stock server's own default
    specs = front.call("GET", "/api/kernelspecs").json()
    assert specs["default"] in specs["kernelspecs"]
    spec = specs["kernelspecs"][front.target.kernel]
    assert spec["spec"]["language"] == "python"
    one = front.call("GET", f"/api/kernelspecs/{front.target.kernel}")
    assert one.status_code == 200 and one.json()["name"] == front.target.kernel
    logo = next(address for name, address in spec["resources"].items() if name.startswith("logo"))
    assert front.call("GET", logo).content
    assert front.call("GET", "/api/kernelspecs/no-such-kernel").status_code == 404


def test_a_kernel_from_start_to_shutdown(front: Front) -> None:
    kernel = front.start()
    assert kernel in front.target.kernels(), "it runs there"
    channels = front.connect(kernel)
    messages = channels.run("print('out'); 6 * 7")
    assert [m["msg_type"] for m in messages if m["channel"] == "iopub"] == [
        "status", "execute_input", "stream", "execute_result", "status",
    ]  # fmt: skip
    reply = next(m["content"] for m in messages if m["channel"] == "shell")
    assert reply["status"] == "ok" and reply["execution_count"] == 1
    eventually(lambda: front.kernels()[kernel]["execution_state"] == "idle", "idle")
    assert front.call("GET", f"/api/kernels/{kernel}").json()["name"] == front.target.kernel
    assert front.call("DELETE", f"/api/kernels/{kernel}").status_code == 204
    assert kernel not in front.target.kernels()
    assert front.call("GET", f"/api/kernels/{kernel}").status_code == 404


def test_interrupt_and_restart(front: Front) -> None:
    kernel = front.start()
    channels = front.connect(kernel)
    channels.run("kept = 5")
    msg_id = channels.execute("print('go', flush=True)\nwhile True: pass")
    channels.until("stream")
    assert front.call("POST", f"/api/kernels/{kernel}/interrupt").status_code == 204
    reply = next(m["content"] for m in channels.collect(msg_id) if m["channel"] == "shell")
    assert reply["ename"] == "KeyboardInterrupt"
    assert channels.result("kept") == "5"
    assert front.call("POST", f"/api/kernels/{kernel}/restart").status_code == 200
    assert front.connect(kernel).result("'kept' in globals()") == "False"


def test_input(front: Front) -> None:
    channels = front.connect(front.start())
    msg_id = channels.execute("input('who? ')[::-1]", allow_stdin=True)
    asked = channels.until("input_request")
    assert asked["channel"] == "stdin" and asked["content"]["prompt"] == "who? "
    channels.send("stdin", "input_reply", {"value": "Ada"})
    assert "'adA'" in str(channels.collect(msg_id))


def test_two_clients(front: Front) -> None:
    kernel = front.start()
    first, second = front.connect(kernel), front.connect(kernel)
    second.run("None")
    first.run("shared = 1; print('from the first')")
    assert second.until("stream")["content"]["text"] == "from the first\n"
    assert second.result("shared") == "1"


def test_sessions_stay_with_the_stock_server(front: Front) -> None:
    wanted = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": front.target.kernel}}
    session = front.call("POST", "/api/sessions", json=wanted).json()
    assert session["kernel"]["id"] in front.target.kernels()
    assert front.call("DELETE", f"/api/sessions/{session['id']}").status_code == 204
    eventually(lambda: session["kernel"]["id"] not in front.target.kernels(), "the kernel goes with its session")


def test_a_kernel_of_an_unknown_kind(front: Front) -> None:
    r = front.call("POST", "/api/kernels", json={"name": "no-such-kernel"})
    assert r.status_code >= 400
    assert front.connect(front.start()).result("'unharmed'") == "'unharmed'"


def test_a_kernel_that_is_gone_is_noticed(front: Front) -> None:
    kernel = front.start()
    front.connect(kernel).run("1")
    front.target.call("DELETE", f"/api/kernels/{kernel}")
    eventually(lambda: kernel not in front.kernels(), "the stock server notices")
    assert front.call("GET", f"/api/kernels/{kernel}").status_code == 404


@pytest.mark.slow
def test_an_idle_kernel_is_culled_and_the_client_notices(
    own_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = own_server("--cull-idle", "2")
    target = Target(server.url, server.token, "python")
    notebook_server = gateway_server(tmp_path_factory.mktemp("culling"), target)
    try:
        front = Front(notebook_server, target)
        kernel = front.start()
        channels = front.connect(kernel)
        channels.run("import time; time.sleep(4)")  # work is not idleness
        assert channels.result("'still here'") == "'still here'"
        channels.close()
        eventually(lambda: kernel not in target.kernels(), "culled")
        eventually(lambda: kernel not in front.kernels(), "noticed")
    finally:
        notebook_server.stop()
