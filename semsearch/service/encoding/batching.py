"""Batching: one thread encodes for all callers, as much at once as waits, queries before documents.

There is no timer: whenever the thread is free it takes what waits, so that a lone query is not held up and a crowd is
read together. Work waits as single texts, and a long list never keeps a query from its turn: while queries come,
documents are read in small bites. A text's result is the
same alone, in a batch and under load: an encoder that does not promise this (``exact``) gets its texts one by one.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.closing import Closing
from indexer.embedding.encoder import MAX_TERMS
from semsearch.service.encoding.caller import CALLER
from semsearch.service.encoding.waiting import Line, Request, Task, Text
from semsearch.service.faults import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from indexer.embedding.encoder import Encoder, EncodeStats, Positions, Terms, TokenVectors, Vectors
    from indexer.embedding.spec import EncoderSpec, Role

QUERY_TOKENS, DOCUMENT_TOKENS = 1024, 1024
"""Tokens that are read at once."""
BITE_TOKENS = 128
"""Tokens of documents that are read at once while queries come: a query waits for no more than these."""
ASKING_SECONDS = 10.0
"""For so long after a query the next one is expected."""
QUERY_ROOM, DOCUMENT_ROOM = 65_536, 1_048_576
"""Tokens that may wait."""
LONGEST_WAIT = 60
"""Seconds, the most that a caller without room is told to wait."""
CHUNK = 256
"""Texts of a long list that are asked for at once by those who take them as they come."""


class Batcher(Closing):
    """The thread that encodes. Safe to use from many threads."""

    def __init__(
        self,
        queries: tuple[int, int] = (QUERY_ROOM, QUERY_TOKENS),
        documents: tuple[int, int] = (DOCUMENT_ROOM, DOCUMENT_TOKENS),
        bite: int = BITE_TOKENS,
    ) -> None:
        """Start the thread.

        Args:
            queries: Tokens of queries that may wait, and that are read at once.
            documents: The same of documents.
            bite: Tokens of documents that are read at once while queries come.
        """
        self._bite = min(bite, documents[1])
        self._asked = float("-inf")
        """When the last query came."""
        self._lines: dict[Role, Line] = {"query": Line(*queries), "passage": Line(*documents)}
        self._changed = threading.Condition()
        self._closed = False
        self.told: Callable[[Role, int, int, float], object] = _nothing
        """Called after each batch with its role, texts, tokens and seconds."""
        self._speed = 1_000.0
        """Tokens a second, lately."""
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> dict[Role, int]:
        """Tokens that wait, by the role of their texts."""
        return {role: line.tokens for role, line in self._lines.items()}

    def ask(self, task: Task, texts: Sequence[Any], tokens: Sequence[int]) -> list[Any]:
        """Return the result of each text, once it was its turn.

        Raises:
            Refusal: There is no room; or the caller has gone, or the server stops.
        """
        if not texts:
            return []
        request = Request(task, texts, tokens)
        with self._changed:
            if self._closed:
                raise stopping()
            if not self._lines[task.role].add(request):
                raise self._busy(task.role)
            if task.role == "query":
                self._asked = time.monotonic()
            self._changed.notify()
        caller = CALLER.get()
        if caller is not None:
            caller.on_leaving(partial(self._drop, request))
        return request.done.result()

    def close(self) -> None:
        """End the thread once it has read what it reads now; who waits is told that the server stops."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _busy(self, role: Role) -> Refusal:
        ahead = sum(line.tokens for each, line in self._lines.items() if each in ("query", role))
        seconds = min(LONGEST_WAIT, max(1, ceil(ahead / self._speed)))
        return Refusal(
            429,
            "Busy",
            f"{ahead} tokens wait to be encoded, and there is no room for more; ask again in {seconds} s",
            {"retry-after": str(seconds)},
        )

    def _drop(self, request: Request) -> None:
        with self._changed:
            self._lines[request.task.role].drop(request)
        request.fail(gone())

    def _take(self) -> list[Text]:
        """Return the next texts as soon as there are any; nothing once the thread is to end."""
        with self._changed:
            while not self._closed:
                asking = time.monotonic() - self._asked < ASKING_SECONDS
                for role, line in self._lines.items():
                    if taken := line.take(self._bite if asking and role == "passage" else None):
                        return taken
                self._changed.wait()
            for line in self._lines.values():
                while taken := line.take():
                    for text in taken:
                        text.request.fail(stopping())
            return []

    def _work(self) -> None:
        while taken := self._take():
            begun = time.perf_counter()
            _read(taken)
            seconds = max(time.perf_counter() - begun, 1e-6)
            tokens = sum(text.tokens for text in taken)
            self._speed += 0.1 * (tokens / seconds - self._speed)
            self.told(taken[0].request.task.role, len(taken), tokens, seconds)


def _nothing(role: Role, texts: int, tokens: int, seconds: float) -> None:
    """Tell nobody."""


def _read(taken: Sequence[Text]) -> None:
    """Read texts together. Where that fails, each request's apart: nobody gets another one's error."""
    wanted = [text for text in taken if not text.request.done.done()]
    if not wanted:
        return
    try:
        results = wanted[0].request.task.run([text.request.texts[text.row] for text in wanted])
    except BaseException as error:  # the thread must go on, whatever the model says
        requests = list(dict.fromkeys(text.request for text in wanted))
        if len(requests) == 1:
            requests[0].fail(error)
        else:
            for request in requests:
                _read([text for text in wanted if text.request is request])
        return
    for text, result in zip(wanted, results, strict=True):
        text.request.give(text.row, result)


def gone() -> Refusal:
    """Return the error of work that nobody waits for any more."""
    return Refusal(499, "ClientGone", "the client went away before the answer was made")


def stopping() -> Refusal:
    """Return the error of work that comes too late."""
    return Refusal(503, "Stopping", "the server stops; ask again when it runs", {"retry-after": "5"})


class BatchingEncoder:
    """An Encoder for many callers around one for few: every run of the model waits its turn at a Batcher."""

    def __init__(self, backend: Encoder, batcher: Batcher) -> None:
        """Let the texts of ``backend`` wait at a batcher, which other encoders may share."""
        self._backend = backend
        self._batcher = batcher
        self.spec: EncoderSpec = backend.spec
        self.dim = backend.dim
        self.device = backend.device
        self.stats: EncodeStats = backend.stats

    @property
    def exact(self) -> bool:
        """True: it is this encoder's promise."""
        return True

    def encode(self, texts: Sequence[str], role: Role = "passage", normalize: bool = True) -> Vectors:
        """Return (n, d) float32, row i for texts[i]."""

        def run(given: Sequence[str]) -> Sequence[Any]:
            return list(self._backend.encode(given, role, normalize))

        return self._stacked(self._ask(texts, role, ("encode", normalize), run))

    def encode_batches(
        self, texts: Sequence[str], role: Role = "passage", normalize: bool = True
    ) -> Iterator[tuple[Positions, Vectors]]:
        """Yield positions (b,) and vectors (b, d), in order."""
        for rows in _chunks(len(texts)):
            yield rows, self.encode([texts[row] for row in rows], role, normalize)

    def texts_of(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each list of token ids; in the caller's thread, as the model is not run."""
        return self._backend.texts_of(ids)

    def count_tokens(self, texts: Sequence[str]) -> Positions:
        """Return (n,) int64; in the caller's thread, as the model is not run."""
        return self._backend.count_tokens(texts)

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the input vectors of each text's tokens; in the caller's thread, as the model is not run."""
        return self._backend.token_vectors(texts)

    def terms(
        self, texts: Sequence[str], k: int, role: Role = "passage", states: Vectors | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return the k most likely next tokens of each text with their probabilities."""

        def run(given: Sequence[str]) -> Sequence[Any]:
            return self._backend.terms(given, k, role)

        def run_with_states(given: Sequence[tuple[str, Vectors]]) -> Sequence[Any]:
            return self._backend.terms([text for text, _ in given], k, role, np.stack([state for _, state in given]))

        if states is None:
            return self._ask(texts, role, ("terms", k), run)
        counts = [1] * len(texts)  # one product with the LM head each
        task = Task(role, (id(self._backend), "terms of states", k), self._alike(run_with_states))
        return self._batcher.ask(task, list(zip(texts, states, strict=True)), counts)

    def encode_terms(
        self, texts: Sequence[str], role: Role = "passage", max_terms: int = MAX_TERMS, normalize: bool = True
    ) -> tuple[Vectors, list[Terms]]:
        """Return vectors (n, d) and n texts' terms."""

        def run(given: Sequence[str]) -> Sequence[Any]:
            vectors, terms = self._backend.encode_terms(given, role, max_terms, normalize)
            return list(zip(vectors, terms, strict=True))

        found = self._ask(texts, role, ("encode_terms", max_terms, normalize), run)
        return self._stacked([vector for vector, _ in found]), [terms for _, terms in found]

    def term_batches(
        self, texts: Sequence[str], role: Role = "passage", max_terms: int = MAX_TERMS
    ) -> Iterator[tuple[Positions, Vectors, list[Terms]]]:
        """Yield positions (b,), vectors (b, d) and b texts' terms, in order."""
        for rows in _chunks(len(texts)):
            yield rows, *self.encode_terms([texts[row] for row in rows], role, max_terms)

    def _ask(self, texts: Sequence[str], role: Role, verb: tuple[object, ...], run: Any) -> list[Any]:
        """Return the result of each text, whose turn is decided by its length."""
        tokens = [min(int(each), self.spec.max_tokens) + 1 for each in self._backend.count_tokens(texts)]
        task = Task(role, (id(self._backend), *verb), self._alike(run))
        return self._batcher.ask(task, list(texts), tokens)

    def _alike(self, run: Any) -> Any:
        """Return ``run`` so that a result does not depend on the texts beside it."""
        if self._backend.exact:
            return run
        return lambda given: [result for each in given for result in run([each])]

    def _stacked(self, vectors: Sequence[Vectors]) -> Vectors:
        return np.stack(vectors) if len(vectors) else np.zeros((0, self.dim), np.float32)


def _chunks(n: int) -> Iterator[Positions]:
    """Yield the numbers below n, some at a time."""
    for start in range(0, n, CHUNK):
        yield np.arange(start, min(start + CHUNK, n))
