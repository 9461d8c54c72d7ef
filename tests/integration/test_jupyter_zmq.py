"""Raw sockets beyond the everyday: encrypted, registered by handshake, subshells over control."""

from __future__ import annotations

import json
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
    session.send(socket, "kernel_info_request", {})
    answered = bool(socket.poll(10_000 if server_key == info["curve_publickey"] else 1_500))
    socket.close()
    return answered


def test_curve(server: Server, context: str) -> None:
    info = server.call("GET", context + "/connection", params={"encryption": "curve"}).json()
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
    r = server.call("GET", context + "/connection", params={"ip": "0.0.0.0"})
    assert r.status_code == 403
    assert r.json()["error"]["code"] == "ENCRYPTION_REQUIRED"
    r = server.call("GET", context + "/connection", params={"encryption": "rot13"})
    assert r.status_code == 400
    info = server.call("GET", context + "/connection", params={"ip": "0.0.0.0", "encryption": "curve"}).json()
    client = client_of({**info, "ip": "127.0.0.1"})
    client.wait_for_ready(timeout=30)
    client.stop_channels()
    assert server.call("GET", context + "/connection").status_code == 409


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


def test_a_subscriber_is_welcomed(server: Server, context: str) -> None:
    """JEP 65: what has been welcomed misses nothing; the topic asked for comes back."""
    info = server.call("GET", context + "/connection").json()
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
