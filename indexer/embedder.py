"""Waiting texts → vectors: who embeds, and the one loop that hands out work and takes vectors in."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from indexer.progress import Planned, Progress, TextsEmbedded, silent
from indexer.types import Embedded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indexer.embedding.encoder import Encoder
    from indexer.storage.store import Writer
    from indexer.types import Work

COMMIT_SECONDS = 1.0
"""A commit follows the first vectors, or file, that come this long after the last one: what a kill can cost."""
LONG_RUN_TOKENS = 20_000
"""Runs with fewer tokens to embed start without an estimate."""
MEASURED = 12
"""Texts that the speed is estimated by, after a first one to warm up."""
WINDOW = {"cpu": 1_024, "cuda": 16_384}
"""Texts claimed at a time, and sorted by length together: more pads less, fewer finishes files sooner."""


class Embedder(Protocol):
    """Gives texts their vectors: in this process, in others, or on other machines."""

    @property
    def window(self) -> int:
        """Number of texts that it is best given at a time."""
        ...

    def embed(self, works: Sequence[Work]) -> Iterator[Embedded]:
        """Yield the vectors of all works, some at a time, in any order."""
        ...


class EncoderEmbedder:
    """Embeds with one encoder in this process."""

    def __init__(self, encoder: Encoder, sparse: int | None = None):
        """Take an encoder; ``sparse`` terms of each text go with its vector (None: the collection wants none)."""
        self._encoder = encoder
        self._sparse = sparse
        self.window = WINDOW["cuda" if encoder.device.startswith("cuda") else "cpu"]

    def embed(self, works: Sequence[Work]) -> Iterator[Embedded]:
        """Yield vectors as they are computed."""
        ids, texts = np.array([work.id for work in works], np.int64), [work.text for work in works]
        if self._sparse is None:
            for rows, vectors in self._encoder.encode_batches(texts, role="passage"):
                yield Embedded(ids[rows], vectors)
        else:
            for rows, vectors, terms in self._encoder.term_batches(texts, "passage", self._sparse):
                yield Embedded(ids[rows], vectors, tuple(terms))


@dataclass(frozen=True)
class Estimate:
    """How much there is to embed, and how long it will take."""

    texts: int
    tokens: int
    seconds: float | None
    """None for short runs."""
    done: tuple[Embedded, ...] = ()
    """Vectors that measuring the speed has cost: of claimed work, not put yet."""


def estimate(writer: Writer, embedder: Embedder) -> Estimate:
    """Return how much waits for vectors; for long runs, embed a dozen texts to measure the speed.

    What is claimed for that stays claimed: put ``done``, or roll back.
    """
    waiting = writer.waiting()
    if waiting.tokens <= LONG_RUN_TOKENS:
        return Estimate(waiting.texts, waiting.tokens, None)
    works = writer.claim(MEASURED + 1)
    warm, timed = works[:1], works[1:] or works
    done = list(embedder.embed(warm))
    started = time.perf_counter()
    done += embedder.embed(timed)
    elapsed = max(time.perf_counter() - started, 1e-9)
    tokens = max(1, sum(work.tokens for work in timed))
    return Estimate(waiting.texts, waiting.tokens, waiting.tokens * elapsed / tokens, tuple(done))


def embed_waiting(writer: Writer, embedder: Embedder, progress: Progress = silent, dry_run: bool = False) -> Estimate:
    """Give every waiting text its vector, committing on the way. Return what there was to do.

    Args:
        writer: Holds the waiting texts; what it holds besides is committed with them.
        embedder: Gives the vectors.
        progress: Hears of the plan and of every batch.
        dry_run: Only estimate, and give the claimed work back by a rollback.
    """
    planned = estimate(writer, embedder)
    progress(Planned(planned.texts, planned.tokens, planned.seconds))
    if dry_run:
        writer.rollback()
        return planned
    last = time.monotonic()
    tokens: dict[int, int] = {}

    def keep(embedded: Embedded) -> None:
        nonlocal last
        writer.put(embedded)
        progress(TextsEmbedded(len(embedded.ids), sum(tokens.get(number, 0) for number in embedded.ids.tolist())))
        if time.monotonic() - last > COMMIT_SECONDS:
            writer.commit()
            last = time.monotonic()

    for embedded in planned.done:
        keep(embedded)
    while works := writer.claim(embedder.window):
        tokens = {work.id: work.tokens for work in works}
        for embedded in embedder.embed(works):
            keep(embedded)
    writer.commit()
    return planned
