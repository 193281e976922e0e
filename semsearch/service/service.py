"""Service: what every route works with — the collections, the limits, and how work leaves the event loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from anyio import CapacityLimiter, to_thread

from indexer.closing import Closing
from indexer.errors import SemsearchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from semsearch.collection import Collection
    from semsearch.service.collections import Collections

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What one caller may ask for."""

    body_bytes: int = 8 << 20
    body_seconds: float = 30.0
    """For a body to come in."""
    seconds: float = 120.0
    """For an answer to be made."""
    k: int = 1_000
    """Hits of one answer."""
    threads: int = 32
    """Requests that are worked on at once; others wait."""


@dataclass
class Service(Closing):
    """One server's collections and limits. Routes get it; so does whatever else is mounted beside them."""

    collections: Collections
    token: str | None = None
    """What callers must show, where anything but this machine can reach the server."""
    limits: Limits = field(default_factory=Limits)
    reranker: str | None = None
    """The cross-encoder that requests may ask for."""
    ready: bool = False
    """Whether a model has answered."""

    def __post_init__(self) -> None:
        """Make the room for work outside the event loop."""
        self._threads = CapacityLimiter(self.limits.threads)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, called in a thread."""
        return await to_thread.run_sync(work, limiter=self._threads)

    async def ask(self, name: str | None, question: Callable[[Collection], T]) -> T:
        """Return what a collection answers, asked in a thread; None: the default collection."""
        return await self.run(lambda: self.collections.ask(name, question))

    def warm(self) -> None:
        """Let a model answer once: that of the first collection that can be asked."""
        usual = self.collections.default
        for name in sorted(self.collections.names(), key=lambda each: each != usual):
            try:
                self.collections.open(name).encoder.encode(["ready?"], "query")
            except SemsearchError:
                continue
            self.ready = True
            return

    def preload(self) -> None:
        """Open every collection and let its model answer.

        Raises:
            SemsearchError: One of them cannot be opened, or its model not be loaded.
        """
        for name in self.collections.names():
            self.collections.open(name).encoder.encode(["ready?"], "query")
            self.ready = True

    def close(self) -> None:
        """Let go of the collections."""
        self.collections.close()
