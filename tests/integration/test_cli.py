"""The command line against a real server."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import BUILD
from terminal import Terminal

CELLBOX = str(BUILD / "bin" / "cellbox")
Cli = Callable[..., subprocess.CompletedProcess[str]]


def environment(server: Any, **more: str) -> dict[str, str]:
    return {**os.environ, "CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token, **more}


@pytest.fixture
def cli(server: Any, tmp_path: Path) -> Cli:
    def run(*args: str, **kw: Any) -> subprocess.CompletedProcess[str]:
        env = kw.pop("env", None) or environment(server)
        kw.setdefault("input", "")
        return subprocess.run(
            [CELLBOX, *args], text=True, capture_output=True, cwd=tmp_path, env=env, timeout=100, **kw
        )

    return run


@pytest.fixture
def started(server: Any, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command that a test talks to while it runs."""
    made: list[subprocess.Popen[str]] = []

    def start(*args: str, **kw: Any) -> subprocess.Popen[str]:
        env = kw.pop("env", None) or environment(server)
        made.append(
            subprocess.Popen(
                [CELLBOX, *args], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                cwd=tmp_path, env=env, **kw,
            )
        )  # fmt: skip
        return made[-1]

    yield start
    for p in made:
        if p.poll() is None:
            p.kill()
        p.communicate()


def line(p: subprocess.Popen[str]) -> str:
    assert p.stdout
    return p.stdout.readline()


def write(tmp_path: Path, name: str, code: str) -> str:
    (tmp_path / name).write_text(code)
    return name


@pytest.mark.smoke
def test_run_shows_output_and_keeps_state(cli: Cli, box: str, tmp_path: Path) -> None:
    program = write(
        tmp_path, "one.py", "import sys\nx = 20\nprint('å', end='')\nprint('warned', file=sys.stderr)\nx + 1\n"
    )
    first = cli("run", box, program)
    assert (first.returncode, first.stdout, first.stderr) == (0, "å\n21\n", "warned\n")
    second = cli("run", box, "-", input="x * 2")
    assert (second.returncode, second.stdout, second.stderr) == (0, "40\n", "")


def test_output_comes_while_the_program_runs(started: Any, box: str, tmp_path: Path, server: Any) -> None:
    write(tmp_path, "slow.py", "print('first'); input_file = open('/workspace/go', 'w'); import os, time\n"
          "while not os.path.exists('/workspace/stop'): time.sleep(.01)\nprint('last')")  # fmt: skip
    p = started("run", box, "slow.py")
    assert line(p) == "first\n"
    assert p.poll() is None
    context = server.call("POST", f"/v1/sandboxes/{box}/contexts", json={}).json()["id"]
    server.run(box, "open('/workspace/stop', 'w').close()", context=context)
    assert p.communicate(timeout=60)[0] == "last\n" and p.returncode == 0


@pytest.mark.smoke
def test_pictures_are_saved_and_never_overwrite(cli: Cli, box: str, tmp_path: Path) -> None:
    plot = "import matplotlib.pyplot as plt\nfor i in range(2):\n    plt.plot([1, i]); plt.show()\n"
    (tmp_path / "figure-1.png").write_text("mine")
    p = cli("run", box, "-", input=plot)
    assert p.returncode == 0 and p.stdout == ""
    assert p.stderr == "[saved figure-2.png]\n[saved figure-3.png]\n"
    assert (tmp_path / "figure-1.png").read_text() == "mine"
    for name in ("figure-2.png", "figure-3.png"):
        data = (tmp_path / name).read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", data[16:24])
        assert width > 200 and height > 200
    svg = cli("run", box, "-", "--format", "svg", "--output-dir", "deep/er", input=plot)
    assert svg.stderr == "[saved deep/er/figure-1.svg]\n[saved deep/er/figure-2.svg]\n"
    assert "<svg" in (tmp_path / "deep/er/figure-1.svg").read_text()


def test_an_updated_picture_keeps_its_file(cli: Cli, box: str, tmp_path: Path) -> None:
    code = (
        "from PIL import Image\n"
        "h = display(Image.new('RGB', (10, 10)), display_id=True)\n"
        "h.update(Image.new('RGB', (33, 22)))\n"
    )
    p = cli("run", box, "-", input=code)
    assert p.stderr == "[saved figure-1.png]\n[saved figure-1.png]\n"
    assert struct.unpack(">II", (tmp_path / "figure-1.png").read_bytes()[16:24]) == (33, 22)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["figure-1.png"]


def test_results_as_text(cli: Cli, box: str) -> None:
    code = (
        "import pandas as pd\nfrom IPython.display import HTML, JSON, Markdown\n"
        "display(pd.DataFrame({'price': [1, 2]}), Markdown('**bold**'), JSON({'a': 1}), HTML('<b>x</b>'))\n'end'"
    )
    out = cli("run", box, "-", input=code).stdout
    assert "   price\n0      1\n1      2\n" in out
    assert "**bold**\n" in out and '"a": 1' in out and "<IPython.core.display.HTML object>\n" in out
    assert out.endswith("'end'\n")


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('before')\n1/0", "ZeroDivisionError: division by zero"),
        ("print('before')\nimport os; os._exit(4)", "exited with status 4"),
        ("print('before')\nraise SystemExit(3)", "SystemExit: 3"),
        ("print('before')\nif:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_failed_program_is_status_1(cli: Cli, box: str, code: str, message: str) -> None:
    p = cli("run", box, "-", input=code)
    assert p.returncode == 1 and message in p.stderr
    assert p.stdout == ("" if "if:" in code else "before\n")
    assert "\x1b" not in p.stderr


def test_timeout(cli: Cli, box: str) -> None:
    p = cli("run", box, "-", "--timeout", "300", input="import time\ntime.sleep(50)")
    assert p.returncode == 1 and "longer than 300 ms" in p.stderr
    assert cli("run", box, "-", input="1").stdout == "1\n"


def test_options_of_a_run(cli: Cli, box: str, server: Any) -> None:
    p = cli("run", box, "-", "--env", "A=1", "--env=B=x=y", input="import os; print(os.environ['A'], os.environ['B'])")
    assert p.stdout == "1 x=y\n"
    context = server.call("POST", f"/v1/sandboxes/{box}/contexts", json={}).json()["id"]
    cli("run", box, "-", "--context", context, "--language", "python", input="only_here = 1")
    assert cli("run", box, "-", input="'only_here' in globals()").stdout == "False\n"
    assert cli("run", box, "-", "--context", context, input="'only_here' in globals()").stdout == "True\n"
    assert "CONTEXT_NOT_FOUND" in cli("run", box, "-", "--context", "nope", input="1").stderr


def test_json_is_the_execution(cli: Cli, box: str, tmp_path: Path) -> None:
    p = cli("run", box, "-", "--json", input="print('o'); 6 * 7")
    execution = json.loads(p.stdout)
    assert p.returncode == 0 and p.stderr == ""
    assert execution["status"] == "ok" and "".join(execution["logs"]["stdout"]) == "o\n"
    assert execution["results"][0]["data"]["text/plain"] == "42"
    failed = cli("run", box, "-", "--json", input="1/0")
    assert failed.returncode == 1 and json.loads(failed.stdout)["error"]["name"] == "ZeroDivisionError"


def test_bytes_that_are_no_utf8_and_a_lot_of_them(cli: Cli, box: str) -> None:
    p = cli("run", box, "-", input="import sys, os; os.write(1, b'a\\xffb\\n'); os.write(2, 'é'.encode());")
    assert (p.stdout, p.stderr) == ("a\ufffdb\n", "é")
    p = cli("run", box, "-", input="for i in range(100000): print(i, 'abcdefghijklmnopqrstuvwxyz')")
    lines = p.stdout.splitlines()
    assert len(lines) == 100000 and lines[-1] == "99999 abcdefghijklmnopqrstuvwxyz"


def test_a_reader_that_leaves_ends_the_command(server: Any, box: str) -> None:
    command = f"{CELLBOX} run {box} - | head -n 1"
    p = subprocess.run(
        command, shell=True, text=True, capture_output=True, env=environment(server), timeout=60,
        input="import time\nwhile True: print('line', flush=True); time.sleep(.01)",
    )  # fmt: skip
    assert (p.stdout, p.stderr) == ("line\n", "")


def test_ctrl_c_interrupts_and_keeps_state(started: Any, cli: Cli, box: str, tmp_path: Path) -> None:
    write(tmp_path, "loop.py", "import time\nkept = 5\nprint('go', flush=True)\nwhile True: time.sleep(.1)")
    p = started("run", box, "loop.py")
    assert line(p) == "go\n"
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 130 and "KeyboardInterrupt" in err
    assert cli("run", box, "-", input="kept").stdout == "5\n"


def test_a_second_ctrl_c_leaves_the_run(started: Any, cli: Cli, box: str, tmp_path: Path, server: Any) -> None:
    code = (
        "import time\nprint('go', flush=True)\nfor i in range(600):\n    try:\n        time.sleep(.1)\n"
        "    except KeyboardInterrupt:\n        print('caught', flush=True)\n"
    )
    write(tmp_path, "stubborn.py", code)
    p = started("run", box, "stubborn.py")
    assert line(p) == "go\n"
    p.send_signal(signal.SIGINT)
    assert line(p) == "caught\n"
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 130 and "the run goes on as" in err
    running = server.call("GET", f"/v1/sandboxes/{box}/executions").json()["executions"][0]
    assert running["status"] == "running" and running["id"] in err


def test_input_from_a_pipe(cli: Cli, box: str, tmp_path: Path) -> None:
    write(tmp_path, "ask.py", "import getpass\na = input('name? ')\nb = getpass.getpass()\nprint(a, b)")
    p = cli("run", box, "ask.py", input="Ada\ns3cret\nleft over\n")
    assert (p.returncode, p.stdout) == (0, "Ada s3cret\n") and p.stderr == "name? Password: "
    p = cli("run", box, "ask.py", input="Ada\n")
    assert p.returncode == 1 and "there is no more" in p.stderr


def test_input_on_a_terminal(server: Any, box: str, tmp_path: Path) -> None:
    write(tmp_path, "ask.py", "import getpass\na = input('name? ')\nb = getpass.getpass('secret? ')\nprint(a, b[::-1])")
    t = Terminal([CELLBOX, "run", box, "ask.py"], environment(server), tmp_path)
    try:
        t.expect(r"name\? ")
        t.type("Ada\n")
        t.expect(r"secret\? ")
        t.type("terces\n")
        shown = t.expect("Ada secret\n")
        assert "terces" not in shown.string[: shown.end()]
        assert t.wait() == 0
    finally:
        t.close()


def test_ctrl_c_at_a_question_gives_the_echo_back(server: Any, box: str, tmp_path: Path) -> None:
    write(tmp_path, "ask.py", "import getpass\ngetpass.getpass('secret? ')")
    t = Terminal(
        ["sh", "-c", f"trap : INT; {CELLBOX} run {box} ask.py; echo status $?; stty -a"], environment(server), tmp_path
    )
    try:
        t.expect(r"secret\? ")
        t.type("\x03")
        t.expect("KeyboardInterrupt")
        t.expect("status 130")
        t.expect(r"[ ;]echo ")
        assert t.wait() == 0
    finally:
        t.close()


def test_a_killed_gateway_is_survived(own_server: Any, started: Any, tmp_path: Path) -> None:
    server = own_server()
    lines = 400
    write(
        tmp_path, "long.py", f"import time\nfor i in range({lines}):\n    print(i, flush=True); time.sleep(.01)\n'end'"
    )
    p = started("run", "survivor", "long.py", env=environment(server))
    assert line(p) == "0\n"
    server.gateway().kill()
    out, err = p.communicate(timeout=60)
    assert p.returncode == 0, err
    assert out.splitlines() == [str(i) for i in range(1, lines)] + ["'end'"]


def test_ls_and_rm(cli: Cli, box: str) -> None:
    assert box not in cli("ls").stdout
    cli("run", box, "-", input="1")
    rows = [row.split() for row in cli("ls").stdout.splitlines()]
    assert rows[0][:3] == ["NAME", "STATE", "IMAGE"]
    assert next(row for row in rows if row[0] == box)[1] == "running"
    listed = json.loads(cli("ls", "--json").stdout)
    assert box in [b["name"] for b in listed]
    assert cli("rm", box).returncode == 0
    assert box not in cli("ls").stdout
    gone = cli("rm", box)
    assert gone.returncode == 1 and gone.stderr == f"cellbox: no sandbox {box} (SANDBOX_NOT_FOUND)\n"


def test_contexts(cli: Cli, box: str) -> None:
    cli("run", box, "-", input="x = 1")
    rows = [row.split() for row in cli("context", "ls", box).stdout.splitlines()]
    assert rows[0][:3] == ["ID", "LANGUAGE", "STATE"] and rows[1][1:3] == ["python", "idle"]
    context = rows[1][0]
    assert json.loads(cli("context", "ls", box, "--json").stdout)[0]["id"] == context
    assert cli("context", "interrupt", box, context).returncode == 0
    assert cli("context", "restart", box).returncode == 0
    assert cli("run", box, "-", input="'x' in globals()").stdout == "False\n"
    assert cli("context", "rm", box, context).returncode == 0
    assert "CONTEXT_NOT_FOUND" in cli("context", "restart", box, context).stderr


@pytest.mark.smoke
def test_wrong_arguments_are_status_2(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(b"'\xe9'")
    for args, message in [
        ([], "usage: cellbox"),
        (["nonsense"], "'nonsense' is not a command"),
        (["run", "x"], "an argument is missing"),
        (["run", "x", "missing.py"], "cannot read missing.py: No such file"),
        (["run", "x", "latin.py"], "latin.py is not UTF-8 text"),
        (["run", "x", "-", "--format", "gif"], "--format is png or svg"),
        (["run", "x", "-", "--timeout", "soon"], "not a number: soon"),
        (["run", "x", "-", "--env", "A"], "NAME=VALUE"),
        (["run", "x", "-", "--bogus"], "unknown option --bogus"),
        (["ls", "extra"], "unexpected argument extra"),
        (["context", "eat", "x"], "no command 'context eat'"),
        (["kernel"], "--connection-file is missing"),
        (["kernel", "--connection-file", "latin.py"], "not a Jupyter connection file"),
    ]:
        p = cli(*args)
        assert p.returncode == 2 and message in p.stderr, (args, p.stderr)
    for command in ("run", "ls", "rm", "context", "kernelspec", "kernel", "doctor"):
        p = cli(command, "--help")
        assert p.returncode == 0 and p.stdout.startswith(f"usage: cellbox {command}")
    assert cli("--version").stdout.startswith("cellbox ")


def test_a_server_that_is_not_there(cli: Cli, server: Any) -> None:
    p = cli("ls", env=environment(server, CELLBOX_URL="http://127.0.0.1:1"))
    assert p.returncode == 3 and "http://127.0.0.1:1" in p.stderr and "is it running" in p.stderr
    p = cli("ls", env=environment(server, CELLBOX_TOKEN="wrong"))
    assert p.returncode == 3 and "token" in p.stderr
    p = cli("ls", env=environment(server, CELLBOX_URL="ftp://x"))
    assert p.returncode == 2 and "CELLBOX_URL" in p.stderr
    p = cli("run", "Bad_Name", "-", input="1")
    assert p.returncode == 3 and "SANDBOX_NAME_INVALID" in p.stderr


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(cli: Cli, server: Any) -> None:
    p = cli("ls", env=environment(server, http_proxy="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1"))
    assert p.returncode == 0, p.stderr


def test_doctor(cli: Cli, server: Any) -> None:
    p = cli("doctor")
    assert p.returncode == 0, p.stdout
    assert f"ok        server            {server.url}" in p.stdout
    report = json.loads(cli("doctor", "--json").stdout)
    states = {c["name"]: c["state"] for c in report["checks"]}
    assert report["ok"] is True
    for needed in ("namespaces", "overlayfs", "erofs", "seccomp", "host limits", "image", "server"):
        assert states[needed] == "ok"
    p = cli("doctor", env=environment(server, CELLBOX_IMAGE_DIR="/nonexistent"))
    assert p.returncode == 1 and "missing   image" in p.stdout


def test_image_is_passed_on(cli: Cli, server: Any) -> None:
    images = json.loads(cli("image", "ls", "--json").stdout)
    assert any("default" in i["names"] for i in images)
    assert cli("image", "rm", "no-such-image").returncode != 0


def test_kernelspec_install_and_uninstall(cli: Cli, server: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    env = environment(server, JUPYTER_DATA_DIR=str(data))
    assert cli("kernelspec", "install", "--user", env=env).returncode == 0
    spec = json.loads((data / "kernels/cellbox-python/kernel.json").read_text())
    assert spec["argv"] == [str(Path(CELLBOX).resolve()), "kernel", "--connection-file", "{connection_file}"]
    assert spec["interrupt_mode"] == "message" and spec["language"] == "python"
    assert (data / "kernels/cellbox-python/logo-64x64.png").read_bytes().startswith(b"\x89PNG")
    p = cli("kernelspec", "install", "--name", "mine", "--display-name", "Mine", "--sandbox", "box-1", env=env)
    assert p.returncode == 0
    spec = json.loads((data / "kernels/mine/kernel.json").read_text())
    assert spec["argv"][-2:] == ["--sandbox", "box-1"] and spec["display_name"] == "Mine"
    assert "mine" in cli("kernelspec", "ls", env=env).stdout
    other = data / "kernels/other"
    other.mkdir()
    (other / "kernel.json").write_text('{"argv": ["python", "-m", "ipykernel"]}')
    assert cli("kernelspec", "uninstall", "--name", "other", env=env).returncode == 1
    assert cli("kernelspec", "uninstall", env=env).returncode == 0
    assert sorted(d.name for d in (data / "kernels").iterdir()) == ["mine", "other"]
    assert cli("kernelspec", "install", "--name", "../evil", env=env).returncode == 2
    assert cli("kernelspec", "install", "--user", "--prefix", "x", env=env).returncode == 2


def test_two_runs_of_one_context_wait_for_each_other(started: Any, box: str, tmp_path: Path) -> None:
    write(tmp_path, "a.py", "import time\nprint('a', flush=True)\ntime.sleep(.5)\norder = ['a']")
    write(tmp_path, "b.py", "order.append('b')\norder")
    a = started("run", box, "a.py")
    assert line(a) == "a\n"
    b = started("run", box, "b.py")
    threading.Thread(target=a.communicate, daemon=True).start()
    assert b.communicate(timeout=60)[0] == "['a', 'b']\n"
    for _ in range(100):
        if a.poll() is not None:
            break
        time.sleep(0.02)
    assert a.returncode == 0


def test_kernelspecs_of_all_languages(cli: Cli, tmp_path: Path) -> None:
    env = {"JUPYTER_DATA_DIR": str(tmp_path)}
    names = ["cellbox-javascript", "cellbox-python", "cellbox-typescript"]
    assert cli("kernelspec", "install", env=env).returncode == 0
    assert sorted(p.name for p in (tmp_path / "kernels").iterdir()) == names
    spec = json.loads((tmp_path / "kernels/cellbox-typescript/kernel.json").read_text())
    assert spec["language"] == "typescript" and spec["argv"][-2:] == ["--language", "typescript"]
    assert cli("kernelspec", "uninstall", "--language", "javascript", env=env).returncode == 0
    assert cli("kernelspec", "uninstall", env=env).returncode == 0
    assert list((tmp_path / "kernels").iterdir()) == []
    assert cli("kernelspec", "install", "--language", "cobol", env=env).returncode == 2


def test_files_run_in_their_language(cli: Cli, box: str, tmp_path: Path) -> None:
    for name, code, out in (
        ("a.ts", "enum E { A = 3 }\nconsole.log(E.A)", "3\n"),
        ("b.mjs", "import { sep } from 'node:path'\nconsole.log(sep)", "/\n"),
        ("c.py", "print(1)", "1\n"),
    ):
        (tmp_path / name).write_text(code)
        done = cli("run", box, str(tmp_path / name))
        assert (done.returncode, done.stdout) == (0, out)
    done = cli("run", box, "-", "--language", "js", input="throw new TypeError('no')")
    assert done.returncode == 1 and "TypeError: no" in done.stderr + done.stdout
