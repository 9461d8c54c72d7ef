"""Jupyter's REST interface as its clients use it: models, statuses, who may ask, what lives together."""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from conftest import TOKEN, Server
from jupyterws import Kernel

pytestmark = pytest.mark.smoke

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
def kernel(server: Server) -> Iterator[dict[str, Any]]:
    r = server.call("POST", "/api/kernels", json={"name": "python"})
    assert r.status_code == 201, r.text
    yield r.json()
    server.call("DELETE", f"/api/kernels/{r.json()['id']}")


def ids(server: Server, prefix: str = "") -> set[str]:
    return {k["id"] for k in server.call("GET", f"{prefix}/api/kernels").json()}


def test_version_needs_no_token(server: Server) -> None:
    assert set(requests.get(server.url + "/api", timeout=10).json()) == {"version"}


def test_kernelspecs(server: Server) -> None:
    specs = server.call("GET", "/api/kernelspecs").json()
    assert specs["default"] == "python"
    spec = specs["kernelspecs"]["python"]
    assert spec["name"] == "python"
    assert {"argv", "display_name", "language", "env", "interrupt_mode", "metadata"} <= set(spec["spec"])
    assert "{connection_file}" in spec["spec"]["argv"]
    for path in spec["resources"].values():
        picture = server.call("GET", path)
        assert picture.status_code == 200
        assert picture.headers["Content-Type"].startswith("image/")
    assert server.call("GET", "/api/kernelspecs/python").json() == spec
    assert server.call("GET", "/api/kernelspecs/cobol").status_code == 404
    assert server.call("GET", "/kernelspecs/python/kernel.js").status_code == 404


def test_life_of_a_kernel(server: Server) -> None:
    r = server.call("POST", "/api/kernels", json={"name": "python", "path": "/somewhere/else"})
    assert r.status_code == 201
    model = r.json()
    where = r.headers["Location"]
    assert where == f"/api/kernels/{model['id']}"
    assert uuid.UUID(model["id"])
    assert model["name"] == "python"
    assert DATE.fullmatch(model["last_activity"])
    assert model["connections"] == 0
    assert server.call("GET", where).json()["id"] == model["id"]
    assert model["id"] in ids(server)
    assert server.call("POST", where + "/interrupt").status_code == 204
    again = server.call("POST", where + "/restart")
    assert again.status_code == 200
    assert again.json()["id"] == model["id"]
    assert server.call("DELETE", where).status_code == 204
    assert server.call("GET", where).status_code == 404
    assert server.call("GET", f"/v1/sandboxes/{model['sandbox']}").status_code == 404


def test_what_is_not_there(server: Server) -> None:
    nobody = f"/api/kernels/{uuid.uuid4()}"
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/interrupt"),
        ("POST", "/restart"),
        ("GET", "/channels"),
    ):
        r = server.call(method, nobody + path)
        assert r.status_code == 404, path
        assert "does not exist" in r.json()["message"]
        assert r.json()["error"]["code"] == "KERNEL_NOT_FOUND"
    assert server.call("POST", "/api/kernels", json={"name": "cobol"}).status_code == 400
    assert server.call("POST", "/api/kernels", data="[1]").status_code == 400
    assert server.call("POST", "/api/kernels", json={"env": {"A": 1}}).status_code == 400
    assert server.call("POST", "/api/kernels", json={"kernel_id": "../../x"}).status_code == 400
    assert server.call("PUT", "/api/kernels").status_code == 405
    assert server.call("GET", "/hub/api").status_code == 404


def test_kernel_id_and_env(server: Server) -> None:
    wanted = str(uuid.uuid4())
    body = {"kernel_id": wanted, "env": {"KERNEL_USERNAME": "ada", "KERNEL_WORKING_DIR": "/home/ada"}}
    assert server.call("POST", "/api/kernels", json=body).json()["id"] == wanted
    assert server.call("POST", "/api/kernels", json=body).status_code == 409
    k = Kernel(server.url, TOKEN, wanted)
    got = k.run("import os; print(os.environ['KERNEL_USERNAME'], os.getcwd(), 'KERNEL_WORKING_DIR' in os.environ)")
    assert any(m["content"].get("text") == "ada /workspace False\n" for m in got)
    server.call("DELETE", f"/api/kernels/{wanted}")


def test_kernels_and_contexts_are_the_same(server: Server, box: str) -> None:
    server.run(box, "x = 41")
    context = server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"][0]["id"]
    assert context in ids(server)
    k = Kernel(server.url, TOKEN, context)
    got = k.run("x + 1")
    assert any(m["content"].get("data", {}).get("text/plain") == "42" for m in got)
    inside = f"/v1/sandboxes/{box}/jupyter"
    assert ids(server, inside) == {context}
    r = server.call("POST", inside + "/api/kernels", json={})
    assert r.json()["sandbox"] == box
    assert r.headers["Location"].startswith(inside)
    other = server.call("POST", "/api/kernels", json={"env": {"CELLBOX_SANDBOX": box}}).json()
    assert other["sandbox"] == box
    assert ids(server, inside) == {context, r.json()["id"], other["id"]}
    contexts = server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"]
    assert {c["id"] for c in contexts} == ids(server, inside)
    # A box that was named stays when its kernels go.
    for one in ids(server, inside):
        assert server.call("DELETE", f"{inside}/api/kernels/{one}").status_code == 204
    assert server.call("GET", f"/v1/sandboxes/{box}").status_code == 200


def test_one_box_does_not_see_another(server: Server, box: str, kernel: dict[str, Any]) -> None:
    inside = f"/v1/sandboxes/{box}/jupyter"
    assert ids(server, inside) == set()
    assert server.call("GET", f"{inside}/api/kernels/{kernel['id']}").status_code == 404
    assert server.call("DELETE", f"{inside}/api/kernels/{kernel['id']}").status_code == 404
    assert server.call("GET", "/v1/sandboxes/UPPER/jupyter/api/kernels").status_code == 404


def test_sessions(server: Server) -> None:
    path = f"work/{uuid.uuid4()}.ipynb"
    body = {"path": path, "name": "n", "type": "notebook", "kernel": {"name": "python"}}
    r = server.call("POST", "/api/sessions", json=body)
    assert r.status_code == 201, r.text
    session = r.json()
    assert session["notebook"] == {"path": path, "name": "n"}
    assert session["kernel"]["id"] in ids(server)
    assert server.call("POST", "/api/sessions", json=body).json()["id"] == session["id"]
    where = f"/api/sessions/{session['id']}"
    assert server.call("GET", where).json()["path"] == path
    renamed = server.call("PATCH", where, json={"path": path + "2"})
    assert renamed.status_code == 200
    assert renamed.json()["path"] == path + "2"
    moved = server.call("PATCH", where, json={"kernel": {"name": "python"}}).json()
    assert moved["kernel"]["id"] != session["kernel"]["id"]
    assert session["kernel"]["id"] not in ids(server)
    assert session["id"] in {s["id"] for s in server.call("GET", "/api/sessions").json()}
    assert server.call("DELETE", where).status_code == 204
    assert server.call("GET", where).status_code == 404
    assert moved["kernel"]["id"] not in ids(server)


def test_sessions_refuse(server: Server, kernel: dict[str, Any]) -> None:
    full = {"path": "p", "type": "notebook", "kernel": {"name": "python"}}
    for missing in ("path", "type"):
        r = server.call("POST", "/api/sessions", json={k: v for k, v in full.items() if k != missing})
        assert r.status_code == 400
        assert missing in r.json()["message"]
    r = server.call("POST", "/api/sessions", json={**full, "kernel": {"name": "cobol"}})
    assert r.status_code == 501
    r = server.call("POST", "/api/sessions", json={**full, "kernel": {"id": str(uuid.uuid4())}})
    assert r.status_code == 404
    r = server.call("POST", "/api/sessions", json={**full, "path": "shared", "kernel": {"id": kernel["id"]}})
    assert r.status_code == 201
    # The kernel's end is the session's.
    server.call("DELETE", f"/api/kernels/{kernel['id']}")
    assert server.call("GET", f"/api/sessions/{r.json()['id']}").status_code == 404


def test_status_and_me(server: Server, kernel: dict[str, Any]) -> None:
    status = server.call("GET", "/api/status").json()
    assert status["kernels"] >= 1
    assert DATE.fullmatch(status["started"])
    assert DATE.fullmatch(status["last_activity"])
    me = server.call("GET", "/api/me", params={"permissions": '{"kernels": ["read", "execute"]}'}).json()
    assert me["identity"]["username"]
    assert me["permissions"] == {"kernels": ["read", "execute"]}


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({}, "", 401),
        ({"Authorization": "token wrong"}, "", 403),
        ({}, "?token=wrong", 403),
        ({"Authorization": f"token {TOKEN}"}, "", 200),
        ({"Authorization": f"Bearer {TOKEN}"}, "", 200),
        ({}, f"?token={TOKEN}", 200),
        ({"Cookie": "cellbox-session-80=" + "0" * 64}, "", 401),
    ],
)
def test_who_may_ask(server: Server, headers: dict[str, str], query: str, status: int) -> None:
    r = requests.get(server.url + "/api/kernels" + query, headers=headers, timeout=10)
    assert r.status_code == status
    if status != 200:
        assert r.json()["message"]


def test_preflight(server: Server) -> None:
    r = requests.options(
        server.url + "/api/kernels",
        headers={"Origin": "http://a.example", "Access-Control-Request-Method": "POST"},
        timeout=10,
    )
    assert r.status_code == 204
    assert r.headers["Access-Control-Allow-Origin"] == "*"
    allowed = r.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed
    assert "x-xsrftoken" in allowed


def test_registry_survives_the_gateway(own_server: Any) -> None:
    server = own_server()
    body = {"path": "a.ipynb", "type": "notebook", "kernel": {"name": "python"}}
    session = server.call("POST", "/api/sessions", json=body).json()
    server.run("other", "1")
    gateway = server.gateway()
    journal = server.state / "registry.db-wal"
    for _ in range(500):  # the registry writes a moment later
        if journal.exists() and b"a.ipynb" in journal.read_bytes():
            break
        time.sleep(0.02)
    gateway.kill()
    gateway.wait(10)
    server.wait_ready()
    assert [s["id"] for s in server.call("GET", "/api/sessions").json()] == [session["id"]]
    assert session["kernel"]["id"] in ids(server)


def test_disks_of_kernels_outlive_the_server(own_server: Any) -> None:
    """A restart ends kernels; what they wrote stays for a week, and what a user labelled is never taken for theirs."""
    server = own_server("--pool", "0", "--pool-node", "0")
    for _ in range(2):
        assert server.call("POST", "/api/kernels", json={}).status_code == 201
    old, new = [s["name"] for s in server.call("GET", "/v1/sandboxes").json()["sandboxes"]]
    for name in (old, new):
        assert server.call("PUT", f"/v1/sandboxes/{name}/files/workspace/kept", data=b"yes").status_code < 300
    labelled = {"labels": {"made-for": "jupyter"}}
    assert server.call("PUT", "/v1/sandboxes/mine", json=labelled).status_code == 201
    server.stop()
    with sqlite3.connect(server.state / "gateway" / "registry.db") as registry:
        registry.execute("UPDATE sandboxes SET last_used = 1 WHERE name IN (?, ?)", (old, "mine"))
    registry.close()
    again = own_server("--pool", "0", "--pool-node", "0", state=server.state)
    for _ in range(500):
        if again.call("GET", f"/v1/sandboxes/{old}").status_code == 404:
            break
        time.sleep(0.02)
    names = [s["name"] for s in again.call("GET", "/v1/sandboxes").json()["sandboxes"]]
    assert sorted(names) == sorted(["mine", new])
    assert again.call("GET", f"/v1/sandboxes/{new}/files/workspace/kept").text == "yes"


def test_idle_kernels_are_culled(own_server: Any) -> None:
    server = own_server("--cull-idle", "2")
    server.run("kept", "1")  # of an agent, not of a notebook
    idle = server.call("POST", "/api/kernels", json={}).json()["id"]
    busy = server.call("POST", "/api/kernels", json={}).json()["id"]
    working = Kernel(server.url, TOKEN, busy)
    working.request("execute_request", {"code": "import time\nwhile True: time.sleep(.1)"})
    deadline = time.monotonic() + 60
    # A tab that reconnects again and again is no use of a kernel.
    while idle in ids(server) and time.monotonic() < deadline:
        try:
            tab = Kernel(server.url, TOKEN, idle)
            tab.ask("kernel_info_request", {})
            tab.ask("comm_info_request", {})
            tab.close()
        except Exception:
            pass
    assert idle not in ids(server)
    assert busy in ids(server)
    assert server.call("GET", "/v1/sandboxes/kept").status_code == 200
