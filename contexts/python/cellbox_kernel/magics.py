"""Magics that a notebook knows beside IPython's own; they answer with payloads for the front end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magics.code import CodeMagics, InteractivelyDefined, MacroToEdit


@magics_class
class NotebookMagics(Magics):
    """%edit, %less, %man, %clear, …"""

    @line_magic
    def edit(self, parameter_s: str = "", last_call: Any = ["", ""]) -> None:  # noqa: B006 - IPython keeps the last
        """Open a file, an object's source or a range of inputs in the front end's editor.

        %edit [-p] [-n NUMBER] [-r] [FILE | NAME | RANGE]: -p edits the same as last time, -n is the line to stand at.
        """
        options, args = self.parse_options(parameter_s, "prn:")
        try:
            try:
                filename, line, _ = CodeMagics._find_edit_target(self.shell, args, options, last_call)
            except InteractivelyDefined as e:
                args = str(e.index)
                filename, line, _ = CodeMagics._find_edit_target(self.shell, args, options, last_call)
        except MacroToEdit as e:
            raise UsageError("macros cannot be edited in a notebook") from e
        except TypeError as e:
            raise UsageError(f"nothing to edit: {args!r}") from e
        if not filename:
            return
        path = Path(filename).resolve()
        last_call[:] = [str(path), parameter_s]
        payload = {"source": "edit_magic", "filename": str(path), "line_number": int(line or 0)}
        self.shell.payload_manager.write_payload(payload)

    @line_magic
    def less(self, line: str) -> None:
        """Show a file in the pager."""
        if not line:
            raise UsageError("%less needs the name of a file")
        path = Path(line).expanduser()
        if not path.exists() and not path.suffix:
            path = path.with_suffix(".py")
        try:
            text = path.read_text(errors="replace")
        except OSError as e:
            raise UsageError(f"{path}: {e.strerror}") from e
        if path.suffix == ".py":
            text = self.shell.pycolorize(text)
        self._page(text)

    @line_magic
    def more(self, line: str) -> None:
        """Show a file in the pager."""
        self.less(line)

    @line_magic
    def man(self, line: str) -> None:
        """Show a page of the manual in the pager."""
        import shlex

        self._page(self.shell.getoutput(f"man {shlex.quote(line)} | col -b", split=False))

    @line_magic
    def clear(self, line: str) -> None:
        """Clear the output of this cell."""
        from IPython.display import clear_output

        clear_output()

    @line_magic
    def cls(self, line: str) -> None:
        """Clear the output of this cell."""
        self.clear(line)

    @line_magic
    def connect_info(self, line: str) -> None:
        """How other clients reach this context."""
        print(
            "Ask the gateway: GET /v1/sandboxes/NAME/contexts/CONTEXT/connection gives the connection file,\n"
            "/api/kernels the WebSocket."
        )

    @line_magic
    def qtconsole(self, line: str) -> None:
        """There is no display in a sandbox."""
        raise UsageError("no display here to open a Qt console on; see %connect_info")

    @line_magic
    def autosave(self, line: str) -> None:
        """Set the autosave interval of the classic notebook, in seconds (0 = off)."""
        try:
            seconds = int(line)
        except ValueError:
            raise UsageError("%autosave requires an integer, got " + repr(line)) from None
        if seconds < 0:
            raise UsageError("%autosave requires a number that is not negative")
        self.shell.run_cell_magic("javascript", "", f"IPython.notebook.set_autosave_interval({seconds * 1000})")
        print(f"Autosaving every {seconds} seconds" if seconds else "Autosave disabled")

    @line_magic
    def subshell(self, line: str) -> None:
        """Which shell runs this cell."""
        import threading

        thread = threading.current_thread()
        main = thread is threading.main_thread()
        print(f"subshell id: {None if main else thread.name.rpartition('-')[2]}")
        print(f"thread: {thread.name} ({thread.native_id})")
        print(f"pid: {os.getpid()}, python: {sys.version.split()[0]}")

    def _page(self, text: str) -> None:
        from IPython.core import page

        page.page(text)
