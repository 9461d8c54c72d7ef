"""Raw sockets beyond the everyday: encrypted, registered by handshake, subshells over control."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from conftest import BUILD, TOKEN, Server
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.session import Session

pytestmark = pytest.mark.smoke


@pytest.fixture
def context(server: Server, box: str) -> Iterator[str]:
    server.run(box, "x = 20")
    yield (
        f"/v1/sandboxes/{box}/contexts/"
        + server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"][0]["id"]
    )


def client_of(info: dict[str, Any]) -> BlockingKernelClient:
    client = BlockingKernelClient()
    client.load_connection_info(info)  # type: ignore[arg-type]
    client.start_channels()
    return client


def value_of(client: BlockingKernelClient, code: str) -> str:
    results: list[dict[str, Any]] = []
    client.execute_interactive(code, timeout=30, output_hook=results.append)
    return next(m["content"]["data"]["text/plain"] for m in results if m["msg_type"] == "execute_result")


def answers(info: dict[str, Any], server_key: str | None) -> bool:
    """Whether kernel_info over a socket with that key gets its reply."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    if server_key:
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_serverkey = server_key.encode()
    socket.connect(f"tcp://127.0.0.1:{info['shell_port']}")
    session = Session(key=info["key"].encode())
    socket.sndtimeo = 10_000 if server_key == info["curve_publickey"] else 1_500
    try:
        session.send(socket, "kernel_info_request", {})
        answered = bool(socket.poll(socket.sndtimeo))
    except zmq.Again:  # the handshake had failed already: there is nobody to send to
        answered = False
    socket.close()
    return answered


def test_curve(server: Server, context: str) -> None:
    info = server.call("GET", context + "/connection").json()
    assert info == server.call("GET", context + "/connection", params={"encryption": "curve"}).json()
    assert len(info["curve_publickey"]) == len(info["curve_secretkey"]) == 40
    client = client_of(info)
    client.wait_for_ready(timeout=30)
    assert value_of(client, "x + 1") == "21"
    assert client.hb_channel.is_beating()
    client.stop_channels()
    # Without the key nothing comes through: not in clear, and not with another server's key.
    assert answers(info, info["curve_publickey"])
    assert not answers(info, None)
    assert not answers(info, zmq.curve_keypair()[0].decode())


def test_sockets_that_leave_the_machine_are_encrypted(server: Server, context: str) -> None:
    r = server.call("GET", context + "/connection", params={"ip": "0.0.0.0", "encryption": "none"})
    assert r.status_code == 403
    assert r.json()["error"]["code"] == "ENCRYPTION_REQUIRED"
    r = server.call("GET", context + "/connection", params={"encryption": "rot13"})
    assert r.status_code == 400
    info = server.call("GET", context + "/connection", params={"ip": "0.0.0.0", "encryption": "curve"}).json()
    client = client_of({**info, "ip": "127.0.0.1"})
    client.wait_for_ready(timeout=30)
    client.stop_channels()
    assert server.call("GET", context + "/connection", params={"encryption": "none"}).status_code == 409


def start_kernel(server: Server, file: Path) -> subprocess.Popen[bytes]:
    env = {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"}
    return subprocess.Popen([BUILD / "bin" / "cellbox", "kernel", "--connection-file", file], env=env)


def test_registration(server: Server, tmp_path: Path) -> None:
    """JEP 66: the launcher opens one socket, the kernel chooses its ports and tells them."""
    launcher: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    port = launcher.bind_to_random_port("tcp://127.0.0.1")
    key = "registration-key"
    file = tmp_path / "kernel.json"
    file.write_text(
        json.dumps(
            {
                "kernel_id": "wanted",
                "transport": "tcp",
                "ip": "127.0.0.1",
                "registration_ip": "127.0.0.1",
                "registration_port": port,
                "signature_scheme": "hmac-sha256",
                "key": key,
            }
        )
    )
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    process = start_kernel(server, file)
    assert launcher.poll(30_000)
    peer, delimiter, signature, content = launcher.recv_multipart()
    session = Session(key=key.encode())
    assert delimiter == b"<IDS|MSG>"
    assert signature == session.sign([content])
    told = json.loads(content)
    assert told["kernel_id"] == "wanted"
    ports = {k: v for k, v in told.items() if k.endswith("_port")}
    assert len(set(ports.values())) == 5
    ack = b'{"status":"ok"}'
    launcher.send_multipart([peer, b"<IDS|MSG>", session.sign([ack]), ack])
    client = client_of({"transport": "tcp", "ip": "127.0.0.1", "signature_scheme": "hmac-sha256", "key": key, **ports})
    client.wait_for_ready(timeout=30)
    assert value_of(client, "6 * 7") == "42"
    client.shutdown()
    client.stop_channels()
    process.wait(20)
    launcher.close(0)


def test_registration_with_a_bad_answer_ends_the_kernel(server: Server, tmp_path: Path) -> None:
    launcher: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    port = launcher.bind_to_random_port("tcp://127.0.0.1")
    file = tmp_path / "kernel.json"
    info = {"transport": "tcp", "ip": "127.0.0.1", "registration_ip": "127.0.0.1", "registration_port": port}
    file.write_text(json.dumps({**info, "signature_scheme": "hmac-sha256", "key": "k"}))
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    process = start_kernel(server, file)
    assert launcher.poll(30_000)
    peer = launcher.recv_multipart()[0]
    launcher.send_multipart([peer, b"<IDS|MSG>", b"0" * 64, b"{}"])
    process.wait(20)  # its client process is told, and ends
    launcher.close(0)


def test_registration_at_a_machine_that_is_allowed(own_server: Any, tmp_path: Path) -> None:
    """--kernel-launchers names the addresses beside loopback; here one of this machine's own, on a link made for it."""
    address, link = "203.0.113.77", f"cbl{os.getpid()}"
    subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", link + "p"], check=True)
    try:
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", link], check=True)
        server = own_server("--kernel-launchers", f"203.0.113.76,{address}", "--pool", "0", "--pool-node", "0")
        launcher: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        port = launcher.bind_to_random_port(f"tcp://{address}")
        info = {"transport": "tcp", "ip": "127.0.0.1", "registration_ip": address, "registration_port": port}
        file = tmp_path / "kernel.json"
        file.write_text(json.dumps({**info, "signature_scheme": "hmac-sha256", "key": "k"}))
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)
        process = start_kernel(server, file)
        assert launcher.poll(30_000)
        peer = launcher.recv_multipart()[0]
        launcher.send_multipart([peer, b"<IDS|MSG>", b"0" * 64, b"{}"])
        process.wait(20)
        launcher.close(0)
    finally:
        subprocess.run(["ip", "link", "del", link], check=True)


def test_a_subscriber_is_welcomed(server: Server, context: str) -> None:
    """JEP 65: what has been welcomed misses nothing; the topic asked for comes back."""
    info = server.call("GET", context + "/connection", params={"encryption": "none"}).json()
    session = Session(key=info["key"].encode())
    for topic in ("", "kernel."):
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        socket.linger = 0
        socket.connect(f"tcp://127.0.0.1:{info['iopub_port']}")
        socket.subscribe(topic)
        seen: list[tuple[str, dict[str, Any]]] = []
        while not seen or seen[-1][0] != "iopub_welcome":
            assert socket.poll(10_000), seen
            message = session.deserialize(session.feed_identities(socket.recv_multipart())[1])
            seen.append((message["msg_type"], message["content"]))
        assert seen[-1][1] == {"subscription": topic}
        socket.close()


PORTS = {f"{name}_port": 47_000 + i for i, name in enumerate(["shell", "iopub", "stdin", "control", "hb"])}
BROUGHT = {"transport": "tcp", "ip": "127.0.0.1", "signature_scheme": "hmac-sha256", "key": "k" * 32, **PORTS}
REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "no key": ({"key": ""}, 400),
    "every address": ({"ip": "0.0.0.0"}, 403),
    "wildcard": ({"ip": "*"}, 403),
    "interface": ({"ip": "eth0"}, 403),
    "every address of IPv6": ({"ip": "::"}, 403),
    "hidden in a name": ({"ip": "127.0.0.1.example.org"}, 403),
    "another folder": ({"transport": "ipc", "ip": "/tmp/kernel"}, 400),
    "out of our folder": ({"transport": "ipc", "ip": "STATE/gateway/ipc/../kernel"}, 400),
    "launcher elsewhere": ({"registration_ip": "192.0.2.1", "registration_port": 9}, 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_connections_that_are_not_served(server: Server, name: str) -> None:
    change, status = REFUSED[name]
    if "ip" in change:
        change = {**change, "ip": change["ip"].replace("STATE", str(server.state))}
    r = server.call("POST", "/v1/kernels", json={"connection": {**BROUGHT, **change}})
    assert r.status_code == status, r.text
    assert r.json()["error"]["code"] == ("ENCRYPTION_REQUIRED" if status == 403 else "INVALID_CONNECTION")


def test_ipc_in_our_folder(server: Server) -> None:
    """Right below the folder that nobody else enters."""
    folder = server.state / "gateway" / "ipc"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    brought = {**BROUGHT, "transport": "ipc", "ip": str(folder / "k"), **{name: i + 1 for i, name in enumerate(PORTS)}}
    r = server.call("POST", "/v1/kernels", json={"connection": brought})
    assert r.status_code == 201, r.text
    client = client_of(brought)
    client.wait_for_ready(timeout=30)
    assert value_of(client, "6 * 7") == "42"
    client.stop_channels()
    assert server.call("DELETE", f"/v1/kernels/{r.json()['id']}").status_code == 204


def test_a_message_is_good_once(server: Server, context: str) -> None:
    info = server.call("GET", context + "/connection", params={"encryption": "none"}).json()
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(f"tcp://127.0.0.1:{info['shell_port']}")
    session = Session(key=info["key"].encode())
    message = session.serialize(session.msg("kernel_info_request", {}))
    socket.send_multipart(message)
    assert socket.poll(10_000)
    socket.recv_multipart()
    socket.send_multipart(message)
    assert not socket.poll(1_000)
    session.send(socket, "kernel_info_request", {})
    assert socket.poll(10_000)
    socket.close()


def test_nobody_takes_the_identity_of_another(server: Server, context: str) -> None:
    info = server.call("GET", context + "/connection", params={"encryption": "none"}).json()
    session = Session(key=info["key"].encode())

    def peer() -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        socket.linger = 0
        socket.identity = b"mine"
        socket.connect(f"tcp://127.0.0.1:{info['shell_port']}")
        return socket

    owner = peer()
    session.send(owner, "kernel_info_request", {})
    assert owner.poll(10_000)
    owner.recv_multipart()
    thief = peer()
    thief.send_multipart([b"<IDS|MSG>", b"0" * 64, b"{}", b"{}", b"{}", b"{}"])
    session.send(owner, "kernel_info_request", {})
    assert owner.poll(10_000) and not thief.poll(300)
    owner.close()
    thief.close()
