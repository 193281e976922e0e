"""From a query to candidates: what each retriever finds, and rankings made of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import StoreError
from indexer.types import Filter, Neighbours
from semsearch.search.ranking import fusion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from semsearch.search.asking.asked import Asked
    from semsearch.search.view import View

RETRIEVERS = ("dense", "lexical", "sparse")
DEPTH = 100
"""Passages that each retriever contributes to a fusion, or k if that is more."""


@dataclass(frozen=True)
class Ranked:
    """The passages found for one query, best first."""

    ids: np.ndarray
    """(n,) int64."""
    scores: np.ndarray
    """(n,) float32, the order of the passages: cosine, BM25, inner product or the fused score."""
    raw: Mapping[str, np.ndarray]
    """Retriever → (n,) float32, its own score of each passage; NaN where it has none."""
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Retriever → (n,) float32, its part of the fused score; only where the fusion is convex."""


@dataclass(frozen=True)
class Candidates:
    """All passages that any retriever found for one query, before they are fused."""

    ids: np.ndarray
    """(n,) int64, ascending."""
    found: Mapping[str, np.ndarray]
    """Retriever → (m,) int64: its own ranking, best first."""
    raw: Mapping[str, np.ndarray]
    """Retriever → (n,) float32: its score of each candidate; NaN where it did not find one. Dense has a score of all
    that have a vector: what only another retriever found is compared with the query too."""
    scaled: Mapping[str, np.ndarray]
    """Retriever → (n,) float32: the same made comparable, about 0 to 1. Dense: 0 for a random pair of passages, see
    ``Calibration``. Lexical: how much of the query, by the rarity of its words, the passage holds. Sparse: the share of
    the query's best score. What a retriever did not find has 0."""
    known: Mapping[str, np.ndarray]
    """Retriever → (n,) bool: whether it can judge each candidate. A passage without a vector is known to lexical
    alone."""

    def only(self, retrievers: Iterable[str]) -> Candidates:
        """Return what there would be had only these retrievers been asked."""
        found = {name: ids for name, ids in self.found.items() if name in retrievers}
        ids = np.unique(np.concatenate(list(found.values())))
        here = np.searchsorted(self.ids, ids)
        raw, scaled, known = (
            {name: values[here] for name, values in of.items() if name in found}
            for of in (self.raw, self.scaled, self.known)
        )
        return Candidates(ids, found, raw, scaled, known)

    def alone(self, retriever: str, k: int) -> Ranked:
        """Return one retriever's own ranking."""
        ids = self.found[retriever][:k]
        scores = self.raw[retriever][np.searchsorted(self.ids, ids)]
        return Ranked(ids, scores, {retriever: scores})

    def convex(self, weights: Mapping[str, float], k: int) -> Ranked:
        """Return the k best by the weighted sum of scaled scores."""
        parts = fusion.convex(self.scaled, weights, self.known)
        scores = np.stack(list(parts.values())).sum(axis=0)  # (retrievers, n) → (n,)
        best = fusion.best(self.ids, scores, k)
        return Ranked(self.ids[best], scores[best], _at(self.raw, best), _at(parts, best))

    def reciprocal_rank(self, k: int) -> Ranked:
        """Return the k best by reciprocal rank fusion."""
        ids, scores = fusion.reciprocal_rank(list(self.found.values()), k)
        return Ranked(ids, scores, _at(self.raw, np.searchsorted(self.ids, ids)))


def retrieve(
    view: View, asked: Sequence[Asked], retrievers: Sequence[str], depth: int, condition: Filter | None = None
) -> list[Candidates]:
    """Return what these retrievers find for each query, ``depth`` passages each, ready to be fused in any way.

    Args:
        view: What is searched.
        asked: Queries, with a vector where dense is among the retrievers and with terms where sparse is.
        retrievers: Some of RETRIEVERS.
        depth: Passages that each contributes, at most; cut to the collection's size.
        condition: Applied before the best are taken.

    Raises:
        StoreError: Sparse is asked of a collection without a sparse index.
    """
    if "sparse" in retrievers and not view.has("sparse"):
        raise StoreError(
            "mode sparse needs a sparse index, and this collection has none; make one that has it: "
            "semsearch index --sparse --collection NEW_NAME FOLDER"
        )
    depth = max(1, min(depth, view.counts.passages))
    found = _search_all(view, asked, retrievers, depth, condition)
    return [
        _candidates(view, {name: _row(rows, i) for name, rows in found.items()}, each) for i, each in enumerate(asked)
    ]


def _search_all(
    view: View, asked: Sequence[Asked], retrievers: Sequence[str], depth: int, condition: Filter | None
) -> dict[str, Neighbours]:
    """Ask the retrievers side by side: one keeps one core busy with vectors and another with words."""
    if len(retrievers) == 1:
        return {name: _search(view, name, asked, depth, condition) for name in retrievers}
    with ThreadPoolExecutor(len(retrievers)) as pool:
        coming = {name: pool.submit(_search, view, name, asked, depth, condition) for name in retrievers}
        return {name: each.result() for name, each in coming.items()}


def _search(view: View, retriever: str, asked: Sequence[Asked], depth: int, condition: Filter | None) -> Neighbours:
    snapshot = view.snapshot
    if retriever == "lexical":
        return snapshot.lexical([each.text for each in asked], depth, condition)
    if retriever == "dense":
        return snapshot.dense(np.stack([each.vector for each in asked if each.vector is not None]), depth, condition)
    return snapshot.sparse([each.terms or {} for each in asked], depth, condition)


@dataclass(frozen=True)
class _Found:
    """One retriever's answer to one query, without the filling."""

    ids: np.ndarray
    scores: np.ndarray
    full: float


def _row(rows: Neighbours, i: int) -> _Found:
    there = rows.ids[i] >= 0
    full = 0.0 if rows.full is None else float(rows.full[i])
    return _Found(rows.ids[i][there], rows.scores[i][there], full)


def _candidates(view: View, found: Mapping[str, _Found], asked: Asked) -> Candidates:
    ids = np.unique(np.concatenate([each.ids for each in found.values()]))
    there = view.embedded(ids)
    raw, scaled, known = {}, {}, {}
    for name, each in found.items():
        raw[name] = np.full(len(ids), np.nan, np.float32)
        raw[name][np.searchsorted(ids, each.ids)] = each.scores
        known[name] = np.ones(len(ids), bool) if name == "lexical" else there
        if name == "dense":
            unseen = np.isnan(raw[name]) & there
            if asked.vector is not None and unseen.any():
                raw[name][unseen] = view.snapshot.vectors(ids[unseen]) @ asked.vector
            scaled[name] = np.nan_to_num(view.calibration.scale(raw[name]))
        else:
            whole = each.full if name == "lexical" else float(each.scores.max(initial=0.0))
            scaled[name] = np.nan_to_num(raw[name]) / np.float32(whole or 1.0)
    return Candidates(ids, {name: each.ids for name, each in found.items()}, raw, scaled, known)


def stack(rankings: Sequence[Ranked], k: int) -> Neighbours:
    """Return rankings of different lengths as one (q, k) pair of arrays, filled with -1 and -inf."""
    ids = np.full((len(rankings), k), -1, np.int64)
    scores = np.full((len(rankings), k), -np.inf, np.float32)
    for row, ranked in enumerate(rankings):
        n = min(k, len(ranked.ids))
        ids[row, :n], scores[row, :n] = ranked.ids[:n], ranked.scores[:n]
    return Neighbours(ids, scores)


def _at(values: Mapping[str, np.ndarray], places: np.ndarray) -> dict[str, np.ndarray]:
    return {name: each[places] for name, each in values.items()}
