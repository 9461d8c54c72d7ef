"""When a call may be repeated.

A repeated call must never do its work twice, so reading and idempotent calls are repeated after a broken connection and
after 429, 502, 503, 504; everything else only where nothing can have begun: the connection was refused, 429, or 503
STARTING.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .errors import CellboxError, ConnectionError

_REPEATABLE = {429, 502, 503, 504}


@dataclass(frozen=True)
class Retry:
    """How calls are repeated; pauses are in seconds.

    ``retries``: attempts after the first one, 0 turns them off. ``delay``: the first pause; it doubles up to
    ``max_delay``.
    """

    retries: int = 4
    delay: float = 0.2
    max_delay: float = 5.0

    def pause(self, attempt: int, retry_after: str | None = None) -> float:
        """Seconds before repetition ``attempt`` (from 1); half of it is random."""
        if retry_after and retry_after.isdigit():
            return min(float(retry_after), 60.0)
        full = min(self.max_delay, self.delay * 2 ** (attempt - 1))
        return full / 2 + random.random() * full / 2


def may_repeat(error: Exception, idempotent: bool) -> bool:
    """Whether a call that failed so may be sent again."""
    if isinstance(error, ConnectionError):
        return idempotent or error.refused
    if not isinstance(error, CellboxError):
        return False
    if idempotent:
        return error.status in _REPEATABLE
    return error.status == 429 or (error.status == 503 and error.code == "STARTING")
