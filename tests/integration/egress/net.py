"""A network namespace with the tests' world in it, and a server whose sandboxes reach it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
# runs on one machine at the same time need networks of their own
PREFIX = os.environ.get("CELLBOX_WORLD", "10.66.0")
HOST, ADDRESS, NETWORK = f"{PREFIX}.1", f"{PREFIX}.2", f"{PREFIX}.0/24"
# no certificate may be for every name of a top-level domain
NAMES = "echo git pypi npm apt s3 h2 ws rebind splice other one two three handled denied store".split()
ALLOW = {"name": "world", "match": {"cidrs": [NETWORK]}, "action": "allow"}


def run(*command: str, **kw: object) -> None:
    subprocess.run(command, check=True, capture_output=True, **kw)  # type: ignore[call-overload]


class World:
    """Servers for every name under .test at ADDRESS; `ca` is the authority that signed for them."""

    def __init__(self) -> None:
        self.lock = os.open(f"/run/lock/cellbox-world-{PREFIX}", os.O_RDWR | os.O_CREAT)  # one at a time
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.folder = Path(tempfile.mkdtemp(prefix="cellbox-world-"))
        self.name = f"cbw{os.getpid()}"
        self.processes: list[subprocess.Popen[str]] = []
        self.ca = self.folder / "ca.pem"
        self._certificates()
        self._repository()
        self._archive()
        self._network()
        self._start("/usr/bin/python3", str(HERE / "world.py"))
        self._start("node", str(HERE / "world.mjs"))

    def _certificates(self) -> None:
        self._authority("ca")
        self._authority("elsewhere")
        self._leaf("server", "ca")
        self._leaf("stranger", "elsewhere")

    def _authority(self, name: str) -> None:
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN=test {name}", cwd=self.folder)  # fmt: skip

    def _leaf(self, name: str, authority: str) -> None:
        names = [f"DNS:{n}.test" for n in NAMES] + ["DNS:*.deep.test"]
        (self.folder / "names").write_text(f"subjectAltName={','.join(names)}\n")
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=test", cwd=self.folder)  # fmt: skip
        run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", "30", "-extfile", "names", "-out", f"{name}.pem", cwd=self.folder)  # fmt: skip

    def _repository(self) -> None:
        bare = self.folder / "git" / "repo.git"
        work = self.folder / "work"
        run("git", "init", "-q", "--bare", "-b", "main", str(bare))
        run("git", "-C", str(bare), "config", "http.receivepack", "true")
        run("git", "init", "-q", "-b", "main", str(work))
        (work / "README").write_text("a repository\n")
        run("git", "-C", str(work), "add", ".")
        run("git", "-C", str(work), "-c", "user.name=t", "-c", "user.email=t@t.test", "commit", "-qm", "first")
        run("git", "-C", str(work), "push", "-q", str(bare), "main")

    def _archive(self) -> None:
        """An apt repository of one package, unsigned."""
        root, apt = self.folder / "deb", self.folder / "apt"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "usr/share/greeting").mkdir(parents=True)
        (root / "usr/share/greeting/text").write_text("hello from the archive\n")
        control = "Package: greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: t <t@t.test>\nDescription: test\n"
        (root / "DEBIAN/control").write_text(control)
        apt.mkdir()
        run("dpkg-deb", "--root-owner-group", "--build", str(root), str(apt / "greeting_1.0_all.deb"))
        data = (apt / "greeting_1.0_all.deb").read_bytes()
        import hashlib

        (apt / "Packages").write_text(
            control
            + f"Filename: ./greeting_1.0_all.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )

    def _network(self) -> None:
        outer, inner = f"{self.name[:12]}o", f"{self.name[:12]}i"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", self.name)
        run("ip", "addr", "add", f"{HOST}/24", "dev", outer)
        run("ip", "link", "set", outer, "up")
        for command in (
            ("addr", "add", f"{ADDRESS}/24", "dev", inner),
            ("link", "set", inner, "up"),
            ("link", "set", "lo", "up"),
        ):
            run("ip", "-n", self.name, *command)

    def _start(self, *command: str) -> None:
        p = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command, ADDRESS, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(p)
        assert p.stdout
        assert p.stdout.readline() == "ready\n", command

    def stop(self) -> None:
        for p in self.processes:
            assert p.stdin
            p.stdin.close()
            p.wait(20)
        run("ip", "netns", "del", self.name)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)
