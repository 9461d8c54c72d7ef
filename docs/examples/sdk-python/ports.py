"""Ports: a web server of the box under an address of its own."""

import cellbox
import httpx

with cellbox.get_sandbox("sdk-py-ports") as sandbox:
    sandbox.write_file("index.html", "hello from the box")
    sandbox.start_process("python3 -m http.server 8300").wait_for_port(8300, timeout=30)

    shown = sandbox.expose_port(8300, name="site")
    print(shown.url.replace(shown.token, "..."))
    answer = httpx.get(shown.path_url.rstrip("/") + "/index.html")  # no other token is needed
    assert answer.text == "hello from the box"
    assert sandbox.expose_port(8300).token == shown.token
    assert [(one.port, one.name, one.status) for one in sandbox.list_ports()] == [(8300, "site", "active")]
    assert sandbox.is_port_exposed(8300)

    rotated = sandbox.expose_port(8300, rotate=True)
    assert rotated.token != shown.token
    sandbox.unexpose_port(8300)
    assert not httpx.get(rotated.path_url).is_success
    assert sandbox.list_ports() == []
    sandbox.destroy()
print("ok")
