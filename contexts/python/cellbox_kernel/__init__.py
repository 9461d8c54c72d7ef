"""Python contexts of Cellbox: IPython behind the frame protocol (docs/protocol.md).

The C host (``contexts/python``) calls :func:`preload` once in the zygote and :func:`main` in every
context. ``_cellbox`` is the host's builtin module.
"""

from __future__ import annotations


def preload() -> None:
    """Get warm: everything imported, the shell made, warm-up cells run and forgotten."""
    from . import warm

    warm.preload()


def main(fresh: int) -> int:
    """Life of one context; returns its exit status."""
    from . import runner

    return runner.main(bool(fresh))
