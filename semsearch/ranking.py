"""From a query's text to passages in order: each arm's ranking, and their fusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from indexer.embedding.encoder import Encoder
from indexer.errors import StoreError, UsageError
from indexer.storage.store import Store
from indexer.types import Filter, Neighbours
from semsearch import fusion

Mode = Literal["hybrid", "dense", "lexical"]
DEPTH = 100
"""Passages that each arm contributes to a fusion, or k if that is more."""


@dataclass(frozen=True)
class Ranked:
    """The passages found for one query, best first."""

    ids: np.ndarray
    """(n,) int64."""
    scores: np.ndarray
    """(n,) float32, what the passages are ordered by: cosine, negated bm25 or the fused score."""
    arms: Mapping[str, np.ndarray]
    """Arm ("dense", "lexical") → (n,) float32, its own score of each passage; NaN where it did not find it."""


class Ranker:
    """Ranks the passages of one collection. ``encoder`` is called when a mode first needs vectors."""

    def __init__(self, store: Store, encoder: Callable[[], Encoder]):
        self.store = store
        self._encoder = encoder

    def rank(
        self, texts: Sequence[str], k: int = 10, mode: Mode = "hybrid", filter: Filter | None = None
    ) -> list[Ranked]:
        """The k best passages for each query; fewer where fewer match.

        Raises UsageError for an empty query, k below 1 or an unknown mode; StoreError where the collection holds
        no passages; MismatchError where the model is no longer the one that made the index.
        """
        for text in texts:
            if not text.strip("\0 \t\r\n"):
                raise UsageError("the query is empty; give a few words to look for")
        if k < 1:
            raise UsageError(f"k is {k}; ask for at least 1 hit")
        if mode not in get_args(Mode):
            raise UsageError(f"mode is {mode!r}; it is one of {', '.join(get_args(Mode))}")
        if not self.store.counts().passages:
            raise StoreError(f"{self.store.path.name} holds no passages yet; run: semsearch index FOLDER")
        texts = [text.replace("\0", " ") for text in texts]
        depth = max(k, DEPTH) if mode == "hybrid" else k
        dense = [] if mode == "lexical" else self._dense(texts, depth, filter)
        lexical = [] if mode == "dense" else self._lexical(texts, depth, filter)
        if mode != "hybrid":
            return [Ranked(found.ids[0], found.scores[0], {mode: found.scores[0]}) for found in dense or lexical]
        return [_fused({"dense": d, "lexical": w}, k) for d, w in zip(dense, lexical, strict=True)]

    def _dense(self, texts: Sequence[str], k: int, filter: Filter | None) -> list[Neighbours]:
        found = self.store.search(self._encoder().encode(texts, role="query"), k, filter)
        return [_whole(ids, scores) for ids, scores in zip(found.ids, found.scores, strict=True)]

    def _lexical(self, texts: Sequence[str], k: int, filter: Filter | None) -> list[Neighbours]:
        found = [self.store.search_text(text, k, filter) for text in texts]
        return [_whole(each.ids[0], each.scores[0]) for each in found]


def stack(rankings: Sequence[Ranked], k: int) -> Neighbours:
    """Rankings of different lengths as one (q, k) pair of arrays, filled with -1 and -inf."""
    ids = np.full((len(rankings), k), -1, np.int64)
    scores = np.full((len(rankings), k), -np.inf, np.float32)
    for row, ranked in enumerate(rankings):
        n = min(k, len(ranked.ids))
        ids[row, :n], scores[row, :n] = ranked.ids[:n], ranked.scores[:n]
    return Neighbours(ids, scores)


def _whole(ids: np.ndarray, scores: np.ndarray) -> Neighbours:
    """(1, n): one query's results without the filling."""
    return Neighbours(ids[ids >= 0][None], scores[ids >= 0][None])


def _fused(arms: Mapping[str, Neighbours], k: int) -> Ranked:
    ids, scores = fusion.reciprocal_rank([found.ids[0] for found in arms.values()], k)
    return Ranked(ids, scores, {name: _of(found, ids) for name, found in arms.items()})


def _of(found: Neighbours, ids: np.ndarray) -> np.ndarray:
    """(n,) float32: the scores that an arm gave these passages, NaN where it did not find one."""
    scores = dict(zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True))
    return np.array([scores.get(id, np.nan) for id in ids.tolist()], np.float32)
