"""Output of a thread belongs to the cell that started it.

asyncio tasks copy the context of their creator by themselves; threads do not. The request travels as the value of
``_cellbox.request``.
"""

from __future__ import annotations

import concurrent.futures.thread
import functools
import threading
from typing import Any

import _cellbox

_REQUEST = "_cellbox_request"


def install() -> None:
    """Patch Thread and the executor's work items, once."""
    thread: Any = threading.Thread
    start, bootstrap = thread.start, thread._bootstrap_inner

    @functools.wraps(start)
    def start_with_request(self: Any) -> None:
        setattr(self, _REQUEST, _cellbox.current_request())
        start(self)

    def bootstrap_with_request(self: Any) -> None:
        _cellbox.request.set(getattr(self, _REQUEST, 0))
        bootstrap(self)

    thread.start = start_with_request
    thread._bootstrap_inner = bootstrap_with_request

    item: Any = concurrent.futures.thread._WorkItem  # type: ignore[attr-defined]
    init, run = item.__init__, item.run

    def init_with_request(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        setattr(self, _REQUEST, _cellbox.current_request())

    def run_with_request(self: Any) -> None:
        before = _cellbox.current_request()
        _cellbox.request.set(getattr(self, _REQUEST, 0))
        try:
            run(self)
        finally:
            _cellbox.request.set(before)

    item.__init__, item.run = init_with_request, run_with_request
