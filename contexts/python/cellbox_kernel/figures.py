"""matplotlib: figure formats, and no trace of the zygote in it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

FORMATS = frozenset({"png", "svg", "jpeg", "jpg", "retina", "pdf"})
FIGURE_MIMES = ("image/png", "image/svg+xml", "image/jpeg", "application/pdf")


@contextlib.contextmanager
def formats(shell: Any, wanted: list[str]) -> Iterator[None]:
    """Figures of this cell in these formats; afterwards as before."""
    chosen = {f for f in wanted if f in FORMATS}
    if not chosen:
        yield
        return
    import matplotlib_inline.backend_inline  # noqa: F401 - its import registers the formatters
    from IPython.core.pylabtools import select_figure_formats
    from matplotlib_inline.config import InlineBackend

    shown = shell.display_formatter.formatters
    before = {mime: dict(shown[mime].type_printers) for mime in FIGURE_MIMES if mime in shown}
    select_figure_formats(shell, chosen, **InlineBackend.instance(parent=shell).print_figure_kwargs)
    try:
        yield
    finally:
        for mime, printers in before.items():
            shown[mime].type_printers.clear()
            shown[mime].type_printers.update(printers)


def close_all() -> None:
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
