"""Which cells IPython's input transformation would return unchanged.

The transformation tokenizes the cell and runs ten passes over it, to find magics that most cells do not have.
:func:`is_noop` says yes only where that is provable from the text; tests compare it with IPython on a corpus.
"""

from __future__ import annotations

import re
from typing import Any

from IPython.core.autocall import IPyAutocall
from IPython.core.macro import Macro

# Magic, help and system escapes; leading escapes , ; /; pasted prompts; blank lines with blanks (dedent removes
# them); line separators that only str.splitlines knows.
_SUSPECT = re.compile(
    r"[%!?\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]|^[ \t]*[,;/]|>>>|In ?\[|\.\.\.:|^[ \t]+$", re.MULTILINE
)
_HEAD = re.compile(r"[\w.]*")


class Guard:
    """Remembers the transformers of an untouched shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._default = [list(part) for part in self._configuration()]

    def _configuration(self) -> tuple[list[Any], ...]:
        shell = self._shell
        manager, prefilter = shell.input_transformer_manager, shell.prefilter_manager
        return (
            manager.cleanup_transforms,
            manager.line_transforms,
            manager.token_transformers,
            shell.input_transformers_post,
            prefilter._transformers,
            prefilter._checkers,
        )

    def is_noop(self, cell: str) -> bool:
        """Whether transform_cell(cell) is the cell itself with a newline at its end."""
        if not cell or cell[0].isspace() or _SUSPECT.search(cell):
            return False
        if any(now != then for now, then in zip(self._configuration(), self._default, strict=True)):
            return False
        return "\n" in cell.rstrip("\n") or self._is_plain_line(cell)

    def _is_plain_line(self, line: str) -> bool:
        """A single line, where names of magics, macros and autocalls count."""
        shell = self._shell
        match = _HEAD.match(line)
        head = match.group() if match else ""
        if shell.autocall or "#" in line or line.endswith("\n\n"):
            return False
        if not head:
            return True
        magics = shell.magics_manager
        if head in magics.magics["line"] or head in magics.magics["cell"] or head in magics.lazy_magics:
            return False
        return not isinstance(shell.user_ns.get(head), (Macro, IPyAutocall))
