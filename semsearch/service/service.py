"""Service: what every route works with — the collections, the limits, and how work leaves the event loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from anyio import CapacityLimiter, to_thread

from indexer.closing import Closing
from indexer.errors import SemsearchError, UsageError
from semsearch.search.ranking.rerank import CrossEncoderReranker
from semsearch.service.collections import Collections
from semsearch.service.encoding.batching import Batcher, BatchingEncoder, gone
from semsearch.service.encoding.caller import CALLER, Caller
from semsearch.service.faults import Refusal
from semsearch.service.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from starlette.requests import Request

    from indexer.embedding.encoder import Encoder
    from semsearch.collection import Collection
    from semsearch.search.ranking.rerank import Reranker
    from semsearch.service.first import Answering
    from semsearch.settings import Settings

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
    texts: int = 2_048
    """Texts of one request for vectors."""
    threads: int = 32
    """Requests that are worked on at once."""
    waiting: int = 512
    """Requests that wait for a thread."""


class Service(Closing):
    """One server's collections, its encoding thread and its limits.

    Routes get it, and so does whatever else is mounted beside them.
    """

    def __init__(
        self,
        settings: Settings,
        allowed: Sequence[str] = (),
        *,
        token: str | None = None,
        reranker: str | None = None,
        limits: Limits | None = None,
        batcher: Batcher | None = None,
        asked: Callable[[Collection], Answering] | None = None,
    ):
        """Offer the collections in the settings' home; nothing is opened yet.

        Args:
            settings: Where the collections are, which is the default, and how encoders run.
            allowed: Names of the collections that may be asked; none: all.
            token: What callers must show; None: nothing.
            reranker: The cross-encoder that requests may ask for.
            limits: Of one caller.
            batcher: The thread that encodes.
            asked: Given an open collection, returns what answers for it; None: itself.
        """
        self.token = token
        self.reranker = reranker
        self.limits = limits or Limits()
        self.batcher = batcher or Batcher()
        self._asked = asked
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: self.ready)
        self.batcher.told = self.metrics.batch
        self.collections = Collections(settings, allowed, self._batched)
        self.ready = False
        """Whether a model has answered."""
        self._threads = CapacityLimiter(self.limits.threads)
        self._judge = None if reranker is None else CrossEncoderReranker(reranker, settings.device)

    def _batched(self, encoder: Encoder) -> Encoder:
        return BatchingEncoder(encoder, self.batcher)

    @asynccontextmanager
    async def waited_for(self, request: Request) -> AsyncIterator[None]:
        """Let the work in the block be dropped when the client goes away, or when it takes too long.

        The request's body must have been read.

        Raises:
            Refusal: The client has gone, or it took too long.
        """
        caller = Caller()
        before = CALLER.set(caller)
        late = asyncio.get_running_loop().call_later(self.limits.seconds, caller.leave)
        watching = asyncio.create_task(_watch(request, caller))
        try:
            yield
        except Refusal as refusal:
            if refusal.kind != "ClientGone" or watching.done():
                raise
            said = f"no answer within {self.limits.seconds:g} s; ask for less at once"
            raise Refusal(503, "TooSlow", said) from refusal
        finally:
            late.cancel()
            watching.cancel()
            CALLER.reset(before)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, called in a thread.

        Raises:
            Refusal: Too many wait, or whoever asked has gone.
        """
        if self._threads.statistics().tasks_waiting >= self.limits.waiting:
            raise Refusal(429, "Busy", "too many requests wait; ask again in 1 s", {"retry-after": "1"})

        def wanted() -> T:
            caller = CALLER.get()
            if caller is not None and caller.gone:
                raise gone()
            return work()

        return await to_thread.run_sync(wanted, limiter=self._threads)

    async def ask(self, name: str | None, question: Callable[[Collection], T]) -> T:
        """Return what a collection answers, asked in a thread; None: the default collection.

        Raises:
            SemsearchError: As ``Collections.ask`` and ``run``.
        """
        return await self.run(lambda: self.collections.ask(name, question))

    async def answer(self, name: str | None, question: Callable[[Answering], T]) -> T:
        """Return as ``ask`` does, of whatever answers for the collection.

        Raises:
            SemsearchError: As ``ask``.
        """
        asked = self._asked
        return await self.ask(name, lambda docs: question(docs if asked is None else asked(docs)))

    def cross_encoder(self, name: object = None) -> Reranker:
        """Return the cross-encoder that requests may ask for; None: whichever it is.

        Raises:
            UsageError: The server has none, or another one: it would load whatever callers name.
        """
        if self._judge is None or name not in (None, self.reranker):
            has = f"the server has {self.reranker!r}" if self._judge else "the server was started without one"
            raise UsageError(
                f"the cross-encoder {name!r} is asked for, and {has}; start it with: semsearch serve --rerank NAME"
            )
        return self._judge

    def warm(self) -> None:
        """Let a model answer once: that of the first collection that can be asked."""
        usual = self.collections.default
        for name in sorted(self.collections.names(), key=lambda each: each != usual):
            try:
                self._answer_once(name)
            except SemsearchError:
                continue
            return

    def preload(self) -> None:
        """Open every collection and let its model answer.

        Raises:
            SemsearchError: One of them cannot be opened, or its model not be loaded.
        """
        for name in self.collections.names():
            self._answer_once(name)

    def _answer_once(self, name: str) -> None:
        self.collections.open(name).encoder.encode(["ready?"], "query")
        self.ready = True

    def close(self) -> None:
        """End the encoding thread and let go of the collections."""
        self.batcher.close()
        self.collections.close()


async def _watch(request: Request, caller: Caller) -> None:
    """Wait until the client goes away, and tell so."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    caller.leave()
