"""Kernels over WebSocket: both protocols, several clients, lost connections, bad messages, slow readers."""

from __future__ import annotations

import json
import os
import signal
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import websocket
from conftest import BUILD, TOKEN, Server
from jupyterws import V1, Kernel, encode_v1, message, text, types
from websockets.sync.client import connect as ws_connect

pytestmark = pytest.mark.smoke


@pytest.fixture
def kernel(server: Server) -> Iterator[str]:
    r = server.call("POST", "/api/kernels", json={"name": "python"})
    yield r.json()["id"]
    server.call("DELETE", f"/api/kernels/{r.json()['id']}")


def connect(server: Server, kernel: str, v1: bool = True, **kw: Any) -> Kernel:
    return Kernel(server.url, TOKEN, kernel, v1, **kw)


@pytest.mark.parametrize("v1", [True, False])
def test_a_cell(server: Server, kernel: str, v1: bool) -> None:
    k = connect(server, kernel, v1)
    assert k.ws.getsubprotocol() == (V1 if v1 else None)
    got = k.run("print('é'); 1 + 1")
    assert types(got) == ["status", "execute_input", "stream", "execute_result", "execute_reply", "status"]
    assert text(got) == "é\n"
    result = got[-3]
    assert result["content"]["data"]["text/plain"] == "2"
    assert result["channel"] == "iopub"
    assert all(m["parent_header"]["msg_id"] == got[0]["parent_header"]["msg_id"] for m in got)
    assert got[0]["content"]["execution_state"] == "busy"
    failed = k.run("1/0")
    assert failed[-2]["content"]["ename"] == "ZeroDivisionError"


@pytest.mark.parametrize("v1", [True, False])
def test_buffers_both_ways(server: Server, kernel: str, v1: bool) -> None:
    k = connect(server, kernel, v1)
    k.run(
        "from comm import get_comm_manager\n"
        "def opened(comm, msg):\n"
        "    def echo(m):\n"
        "        buffers = [bytes(b)[::-1] for b in m['buffers']]\n"
        "        comm.send({'n': len(buffers)}, buffers=buffers)\n"
        "    comm.on_msg(echo)\n"
        "get_comm_manager().register_target('echo', opened)"
    )
    comm = uuid.uuid4().hex
    k.request("comm_open", {"comm_id": comm, "target_name": "echo", "data": {}})
    sent = message("comm_msg", {"comm_id": comm, "data": {}})
    sent["buffers"] = [b"\x00abc", b"", os.urandom(1 << 20)]
    k.send(sent)
    back = k.until(lambda m: m["header"]["msg_type"] == "comm_msg")[-1]
    assert back["content"]["data"] == {"n": 3}
    assert [bytes(b) for b in back["buffers"]] == [b[::-1] for b in sent["buffers"]]


def test_every_request(server: Server, kernel: str) -> None:
    k = connect(server, kernel)
    k.run("import os\nvalue = 12")
    info = k.ask("kernel_info_request", {})
    assert info["language_info"]["name"] == "python"
    assert k.ask("kernel_info_request", {}, "control")["implementation"] == info["implementation"]
    assert "value" in k.ask("complete_request", {"code": "val", "cursor_pos": 3})["matches"]
    assert k.ask("inspect_request", {"code": "os.path", "cursor_pos": 7, "detail_level": 0})["found"]
    assert k.ask("is_complete_request", {"code": "for x in y:"})["status"] == "incomplete"
    history = k.ask("history_request", {"hist_access_type": "tail", "n": 1, "raw": True, "output": False})
    assert history["history"][-1][2].endswith("value = 12")
    assert k.ask("comm_info_request", {})["comms"] == {}
    assert k.ask("interrupt_request", {}, "control") == {"status": "ok"}
    assert k.ask("list_subshell_request", {}, "control") == {"status": "ok", "subshell_id": []}
    for kind in ("complete_request", "inspect_request", "is_complete_request", "execute_request"):
        assert k.ask(kind, {})["status"] == "error"
    assert k.ask("connect_request", {})["status"] == "error"
    assert k.ask("delete_subshell_request", {"subshell_id": "none"}, "control")["status"] == "error"
    assert k.ask("execute_request", {"code": "1"}, subshell_id="none")["ename"] == "SubshellError"
    # What nobody knows is between busy and idle, too.
    odd = k.request("no_such_request", {})
    got = k.until(lambda m: m["content"].get("execution_state") == "idle")
    assert got[-1]["parent_header"]["msg_id"] == odd["header"]["msg_id"]


def test_input(server: Server, kernel: str) -> None:
    k = connect(server, kernel)
    r = k.request("execute_request", {"code": "print(input('name? ') * 2)", "allow_stdin": True})
    asked = k.until(lambda m: m["header"]["msg_type"] == "input_request")[-1]
    assert asked["channel"] == "stdin"
    assert asked["content"] == {"prompt": "name? ", "password": False}
    reply = message("input_reply", {"value": "ab"}, "stdin")
    reply["parent_header"] = asked["header"]
    k.send(reply)
    assert text(k.finish(r)) == "abab\n"


def test_two_clients_see_the_same(server: Server, kernel: str) -> None:
    a, b = connect(server, kernel), connect(server, kernel, v1=False)
    model = server.call("GET", f"/api/kernels/{kernel}").json()
    assert model["connections"] == 2
    got = a.run("print('for all')")
    seen = b.until(lambda m: m["content"].get("execution_state") == "idle" and m["parent_header"] != {})
    assert text(seen) == "for all\n"
    assert {m["channel"] for m in seen} == {"iopub"}  # replies are the asker's
    assert types(got)[-2] == "execute_reply"
    b.close()


def test_busy_kernel_takes_a_new_client(server: Server, kernel: str) -> None:
    a = connect(server, kernel)
    r = a.request("execute_request", {"code": "import time\nprint('in', flush=True)\nwhile True: time.sleep(.05)"})
    a.until(lambda m: m["header"]["msg_type"] == "stream")
    b = connect(server, kernel)
    assert b.ask("kernel_info_request", {})["status"] == "ok"
    assert server.call("GET", f"/api/kernels/{kernel}").json()["execution_state"] == "busy"
    assert server.call("POST", f"/api/kernels/{kernel}/interrupt").status_code == 204
    assert any(m["content"].get("ename") == "KeyboardInterrupt" for m in a.finish(r))
    assert server.call("GET", f"/api/kernels/{kernel}").json()["execution_state"] == "idle"


@pytest.mark.parametrize("cut", ["close", "vanish"])
def test_reconnect_replays_what_was_missed(server: Server, kernel: str, cut: str) -> None:
    a = connect(server, kernel)
    other = connect(server, kernel)
    a.run("import time, pathlib")
    r = a.request(
        "execute_request",
        {
            "code": "print('before', flush=True)\nwhile not pathlib.Path('go').exists(): time.sleep(.01)\n"
            "for i in range(2000): print('line', i)\n'done'",
        },
    )
    a.until(lambda m: m["header"]["msg_type"] == "stream")
    getattr(a, cut)()
    while server.call("GET", f"/api/kernels/{kernel}").json()["connections"] > 1:
        time.sleep(0.01)
    server.run(other_box(server, kernel), "open('/workspace/go', 'w').close()", language="python")
    # Whoever stayed sees it end before the first one is back.
    other.until(
        lambda m: (
            m["content"].get("execution_state") == "idle" and m["parent_header"].get("msg_id") == r["header"]["msg_id"]
        )
    )
    back = connect(server, kernel, session=a.session)
    got = back.finish(r)
    assert text(got) == "".join(f"line {i}\n" for i in range(2000))
    assert [m["content"]["data"]["text/plain"] for m in got if m["header"]["msg_type"] == "execute_result"] == [
        "'done'"
    ]
    assert types(got).count("execute_reply") == 1
    # Another session has not asked and gets nothing of it.
    late = connect(server, kernel)
    mine = late.run("2")
    assert text(mine) == ""


def other_box(server: Server, kernel: str) -> str:
    return server.call("GET", f"/api/kernels/{kernel}").json()["sandbox"]


def test_newer_connection_of_a_session_wins(server: Server, kernel: str) -> None:
    a = connect(server, kernel)
    b = connect(server, kernel, session=a.session)
    assert types(b.run("1"))[-2] == "execute_reply"
    with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
        for _ in a:
            pass
    assert server.call("GET", f"/api/kernels/{kernel}").json()["connections"] == 1


def test_restart_and_death_are_told(server: Server, kernel: str) -> None:
    k = connect(server, kernel)
    k.run("x = 1")
    assert server.call("POST", f"/api/kernels/{kernel}/restart").status_code == 200
    # Who asked knows: `restarting` would be taken for a death.
    after = k.request("execute_request", {"code": "x"})
    seen = k.until(lambda m: m["parent_header"].get("msg_id") == after["header"]["msg_id"])
    assert all(m["content"].get("execution_state") != "restarting" for m in seen)
    assert any(m["content"].get("ename") == "NameError" for m in k.finish(after))
    r = k.request("execute_request", {"code": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"})
    got = k.finish(r)
    assert any(m["content"].get("ename") == "ContextDied" for m in got)
    # As a notebook server does: it is started again, and says so.
    k.until(lambda m: m["content"].get("execution_state") == "restarting")
    assert any(m["content"].get("data", {}).get("text/plain") == "2" for m in k.run("1+1"))
    server.call("DELETE", f"/api/kernels/{kernel}")
    with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
        for _ in k:
            pass


def test_shutdown_request(server: Server) -> None:
    kernel = server.call("POST", "/api/kernels", json={}).json()["id"]
    k = connect(server, kernel)
    k.run("x = 1")
    assert k.ask("shutdown_request", {"restart": True}, "control")["restart"] is True
    assert any(m["content"].get("ename") == "NameError" for m in k.run("x"))
    k.request("shutdown_request", {"restart": False}, "control")
    with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
        for _ in k:
            pass
    assert server.call("GET", f"/api/kernels/{kernel}").status_code == 404


def until_close(k: Kernel) -> bytes:
    """The payload of the server's close frame."""
    while True:
        opcode, data = k.ws.recv_data(control_frame=True)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return data


BAD = {
    "garbage": b"\x00",
    "huge count": struct.pack("<Q", 2**63),
    "offset beyond the end": struct.pack("<7Q", 6, 56, 61, 63, 65, 67, 2**40) + b"shell{}{}{}{}",
    "no JSON": encode_v1(message("x", {}))[:-2] + b"{x",
    "not UTF-8": encode_v1(message("x", {}))[:-2] + b"\xff\xfe",
    "wrong channel": encode_v1(message("x", {}, channel="iopub")),
    "no msg_id": encode_v1({**message("x", {}), "header": {"msg_type": "x"}}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_messages_close_that_connection_only(server: Server, kernel: str, name: str) -> None:
    good, bad = connect(server, kernel), connect(server, kernel)
    bad.ws.send_binary(BAD[name])
    frame = until_close(bad)
    assert struct.unpack(">H", frame[:2])[0] == 1007
    assert frame[2:]  # with a reason
    assert types(good.run("1"))[-2] == "execute_reply"
    for _ in range(500):  # the log comes by a thread of the test's own
        if any("message_refused" in line for line in server.log):
            break
        time.sleep(0.02)
    else:
        raise AssertionError("nothing is in the log")


def test_bad_frames_close_with_their_code(server: Server, kernel: str) -> None:
    for frame, code in (
        (b"\x81\x01x", 1002),  # unmasked
        (b"\x83\x80\0\0\0\0", 1002),  # reserved opcode
        (b"\x81\xff" + struct.pack(">Q", 1 << 40) + b"\0\0\0\0x", 1009),
        (b"\x81\x81\0\0\0\0\xff", 1007),
    ):
        k = connect(server, kernel)
        k.ws.sock.sendall(frame)
        assert struct.unpack(">H", until_close(k)[:2])[0] == code
    assert types(connect(server, kernel).run("1"))[-2] == "execute_reply"


def test_handshake_refusals(server: Server, kernel: str) -> None:
    path = f"/api/kernels/{kernel}/channels"
    assert server.call("GET", path).status_code == 426
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert server.call("GET", path, headers={**upgrade, "Sec-WebSocket-Version": "8"}).status_code == 426
    assert server.call("GET", path, headers={**upgrade, "Sec-WebSocket-Version": "13"}).status_code == 400
    for header, status in (({}, 401), ({"Authorization": "token no"}, 403)):
        with pytest.raises(websocket.WebSocketBadStatusException) as e:
            connect(server, kernel, header=header)
        assert e.value.status_code == status
    with pytest.raises(websocket.WebSocketBadStatusException) as e:
        connect(server, str(uuid.uuid4()))
    assert e.value.status_code == 404


def test_large_output_is_whole_and_memory_bounded(server: Server, kernel: str) -> None:
    k = connect(server, kernel)
    k.run("import sys")
    bound = (256 if "asan" in str(BUILD) else 32) << 20  # a sanitizer keeps what was freed
    gateway = server.gateway()
    before = gateway.memory_info().rss
    peak = 0
    r = k.request("execute_request", {"code": "n = sys.stdout.write('x' * 50_000_000)"})
    total = 0
    while True:
        m = k.recv()
        total += len(m["content"].get("text", ""))
        peak = max(peak, gateway.memory_info().rss)
        if m["header"]["msg_type"] == "status" and m["content"]["execution_state"] == "idle":
            break
    assert m["parent_header"]["msg_id"] == r["header"]["msg_id"]
    assert total == 50_000_000
    assert peak - before < bound


def test_a_client_that_never_reads_holds_nobody_up(server: Server, kernel: str) -> None:
    lazy = connect(server, kernel)
    k = connect(server, kernel)
    bound = (256 if "asan" in str(BUILD) else 32) << 20
    before = server.gateway().memory_info().rss
    got = k.run("for i in range(300_000): print('a line of output', i)")
    assert text(got).count("\n") == 300_000
    assert server.gateway().memory_info().rss - before < bound
    # It reads at last: nothing was lost for it either.
    seen = lazy.until(lambda m: m["content"].get("execution_state") == "idle" and m["parent_header"] != {})
    assert text(seen).count("\n") == 300_000


def test_compression(own_server: Any) -> None:
    server = own_server("--ws-compression", "always")
    kernel = server.call("POST", "/api/kernels", json={}).json()["id"]
    where = server.url.replace("http", "ws") + f"/api/kernels/{kernel}/channels"
    with ws_connect(
        where, subprotocols=[V1], additional_headers={"Authorization": f"token {TOKEN}"}, max_size=None
    ) as ws:  # type: ignore[list-item]
        assert ws.response
        assert "permessage-deflate" in ws.response.headers["Sec-WebSocket-Extensions"]
        ws.send(encode_v1(message("execute_request", {"code": "print('y' * 1_000_000)  # " + "z" * 100_000})))
        text_bytes = 0
        for data in ws:
            assert isinstance(data, bytes)
            text_bytes += data.count(b"y")
            if b'"idle"' in data and b"execute_request" in data:
                break
    assert text_bytes >= 1_000_000


def test_many_kernels_at_once(server: Server) -> None:
    """No message is lost with many clients running cells at the same time."""
    count = 40
    made = [server.call("POST", "/api/kernels", json={}).json()["id"] for _ in range(count)]
    failures: list[str] = []

    def work(kernel: str, v1: bool) -> None:
        try:
            k = connect(server, kernel, v1)
            for i in range(10):
                got = k.run(f"for j in range(50): print({i}, j)")
                want = "".join(f"{i} {j}\n" for j in range(50))
                if text(got) != want or types(got).count("execute_reply") != 1:
                    failures.append(f"{kernel} {i}")
            k.close()
        except Exception as e:
            failures.append(repr(e))

    threads = [threading.Thread(target=work, args=(k, i % 2 == 0)) for i, k in enumerate(made)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in made:
        server.call("DELETE", f"/api/kernels/{k}")
    assert not failures


def test_gateway_killed_in_the_middle(own_server: Any) -> None:
    server = own_server()
    kernel = server.call("POST", "/api/kernels", json={}).json()["id"]
    k = connect(server, kernel)
    k.run("import time")
    r = k.request("execute_request", {"code": "print('one', flush=True)\ntime.sleep(2)\nprint('two')\n'three'"})
    k.until(lambda m: m["header"]["msg_type"] == "stream")
    gateway = server.gateway()
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.wait(10)
    server.wait_ready()
    back = connect(server, kernel, session=k.session)
    got = back.finish(r)
    assert text(got) == "two\n"
    assert types(got)[-3:] in (
        ["execute_result", "execute_reply", "status"],
        ["execute_reply", "execute_result", "status"],
    )


def test_json_form_tolerates_what_its_servers_do(server: Server, kernel: str) -> None:
    k = connect(server, kernel, v1=False)
    m = message("execute_request", {"code": "7"})
    m["parent_header"] = None  # type: ignore[assignment]
    del m["channel"], m["buffers"]
    k.ws.send(json.dumps(m))
    assert any(x["content"].get("data", {}).get("text/plain") == "7" for x in k.finish(m))


def test_subshells(server: Server, kernel: str) -> None:
    k = connect(server, kernel)
    info = k.ask("kernel_info_request", {})
    assert "kernel subshells" in info["supported_features"]
    k.run("import time, pathlib\nshared = 1")
    made = k.ask("create_subshell_request", {}, "control")
    assert made["status"] == "ok"
    subshell = made["subshell_id"]
    assert k.ask("list_subshell_request", {}, "control")["subshell_id"] == [subshell]
    main = k.request(
        "execute_request", {"code": "while not pathlib.Path('on').exists(): time.sleep(.01)\nprint('main', shared)"}
    )
    # The main shell is busy; the subshell runs, sees its names, and counts for itself.
    cell = k.request("execute_request", {"code": "print('sub'); shared += 1; shared"}, subshell_id=subshell)
    got = k.finish(cell)
    assert text(got) == "sub\n"
    assert [m["content"]["execution_count"] for m in got if m["header"]["msg_type"] == "execute_input"] == [1]
    # A subshell can ask while the main shell is busy.
    asking = k.request("execute_request", {"code": "print(input('? '))", "allow_stdin": True}, subshell_id=subshell)
    asked = k.until(lambda m: m["header"]["msg_type"] == "input_request")[-1]
    reply = message("input_reply", {"value": "answer"}, "stdin")
    reply["parent_header"] = asked["header"]
    k.send(reply)
    assert text(k.finish(asking)) == "answer\n"
    k.finish(k.request("execute_request", {"code": "pathlib.Path('on').touch()"}, subshell_id=subshell))
    assert text(k.finish(main)) == "main 2\n"
    assert k.ask("delete_subshell_request", {"subshell_id": subshell}, "control")["status"] == "ok"
    assert k.ask("list_subshell_request", {}, "control")["subshell_id"] == []
    assert k.ask("execute_request", {"code": "1"}, subshell_id=subshell)["status"] == "error"


def test_usage(server: Server, kernel: str) -> None:
    k = connect(server, kernel)
    busy = k.request("execute_request", {"code": "while True: pass"})
    k.until(lambda m: m["header"]["msg_type"] == "execute_input")
    usage = k.ask("usage_request", {}, "control")
    assert usage["kernel_memory"] > 1 << 20
    assert usage["hostname"]
    server.call("POST", f"/api/kernels/{kernel}/interrupt")
    k.finish(busy)


class Debugger:
    """What a notebook's debugger sends."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.seq = 0

    def __call__(self, command: str, **arguments: object) -> dict[str, Any]:
        self.seq += 1
        content = {"type": "request", "seq": self.seq, "command": command, "arguments": arguments}
        return self.kernel.ask("debug_request", content, "control")


def test_debugger(server: Server, kernel: str) -> None:
    k = connect(server, kernel)
    debug = Debugger(k)
    info = debug("debugInfo")
    assert info["success"] is True
    assert info["body"]["isStarted"] is False
    assert debug("initialize", clientID="t", adapterID="", pathFormat="path", linesStartAt1=True)["success"]
    assert debug("attach")["success"]
    code = "def f(a):\n    b = a + 1\n    return b\n\nf(41)"
    source = debug("dumpCell", code=code)["body"]["sourcePath"]
    set_ = debug("setBreakpoints", source={"path": source}, breakpoints=[{"line": 3}], sourceModified=False)
    assert set_["body"]["breakpoints"][0]["verified"]
    assert debug("configurationDone")["success"]
    cell = k.request("execute_request", {"code": code})
    stopped = k.until(lambda m: m["header"]["msg_type"] == "debug_event" and m["content"]["event"] == "stopped")[-1]
    thread = stopped["content"]["body"]["threadId"]
    # A kernel at a breakpoint takes a new client.
    late = connect(server, kernel)
    assert late.ask("kernel_info_request", {})["status"] == "ok"
    frames = debug("stackTrace", threadId=thread)["body"]["stackFrames"]
    assert (frames[0]["name"], frames[0]["line"]) == ("f", 3)
    scopes = debug("scopes", frameId=frames[0]["id"])["body"]["scopes"]
    values = debug("variables", variablesReference=scopes[0]["variablesReference"])["body"]["variables"]
    assert {v["name"]: v["value"] for v in values}["b"] == "42"
    # Not waited for: the cell may end before the reply does.
    go_on = {"type": "request", "seq": 99, "command": "continue", "arguments": {"threadId": thread}}
    k.request("debug_request", go_on, "control")
    assert any(m["content"].get("data", {}).get("text/plain") == "42" for m in k.finish(cell))
    names = {v["name"] for v in debug("inspectVariables")["body"]["variables"]}
    assert "f" in names
    assert debug("no such command")["success"] is False
    assert debug("disconnect", restart=False, terminateDebuggee=True)["success"]
    assert any(m["content"].get("data", {}).get("text/plain") == "2" for m in k.run("1+1"))
