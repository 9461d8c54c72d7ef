"""A program on a pseudo-terminal, driven as a person would: type, wait for text."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>]|\r")


class Terminal:
    """argv runs in a new session whose controlling terminal is ours."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path | None = None) -> None:
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                if cwd:
                    os.chdir(cwd)
                os.execvpe(argv[0], argv, env)
            finally:
                os._exit(127)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def read_more(self, seconds: float) -> bool:
        """Waits for more output; False: there is none or the program has closed its terminal."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: the last one with the terminal open has gone
            return False
        if b"\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
            os.write(self.fd, b"\x1b[1;1R")
        self.text += _CONTROL.sub("", data.decode(errors="replace"))
        return bool(data)

    def expect(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Reads until the pattern appears; the text up to its end is consumed."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text, re.DOTALL)
            if found:
                self.text = self.text[found.end() :]
                return found
            left = end - time.monotonic()
            if left <= 0 or not self.read_more(left):
                raise AssertionError(f"{pattern!r} did not appear; the terminal shows:\n{self.text[-3000:]}")

    def wait(self, seconds: float = 60) -> int:
        """Exit status; output is read on until then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read_more(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"the program did not end; the terminal shows:\n{self.text[-3000:]}")

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
