"""Caller: in whose name work is done, so that it can be dropped once nobody waits for it."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Caller:
    """Somebody who waits for an answer, until they leave. Safe to use from many threads."""

    def __init__(self) -> None:
        """Begin as somebody who waits."""
        self._lock = threading.Lock()
        self._then: list[Callable[[], None]] | None = []

    @property
    def gone(self) -> bool:
        """Whether nobody waits any more."""
        return self._then is None

    def leave(self) -> None:
        """Drop what is done for this caller, and all that is asked in its name from now on."""
        with self._lock:
            then, self._then = self._then or [], None
        for each in then:
            each()

    def on_leaving(self, then: Callable[[], None]) -> None:
        """Have something called when the caller leaves; at once where it has left."""
        with self._lock:
            if self._then is not None:
                self._then.append(then)
                return
        then()


CALLER: ContextVar[Caller | None] = ContextVar("CALLER", default=None)
"""In whose name the present work is done; None: nobody's who could leave."""
