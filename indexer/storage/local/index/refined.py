"""Candidates of an index, scored again by the raw vectors: the score of a hit never depends on the index."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.storage.vectors import best, check_queries, none, rescore, settled, stack, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from indexer.storage.local.index.faiss_index import FaissIndex
    from indexer.types import Neighbours

SPARE = 16
"""Candidates beyond k that are always scored of those that a scan gives: the better the last is known, the sooner it is
sure that no other can be among the best."""
FEW = 4
"""Candidates beyond k that are always scored where what is found was measured, with as many as that took."""
QUERIES = 64
"""Queries that are searched for at a time."""
NUMBERS = 1 << 22
"""Most numbers of raw vectors that are held at a time, for several queries."""


@dataclass(frozen=True)
class Effort:
    """How hard a search tries; chosen by measuring, see ``measuring``."""

    search: Mapping[str, int] = field(default_factory=dict)
    """efSearch or nprobe; empty: every vector is looked at."""
    refine: float = 1.0
    """How many times k candidates are scored by the raw vectors."""

    def candidates(self, k: int) -> int:
        """Return how many candidates are scored for k results."""
        return max(k + (FEW if self.search else SPARE), math.ceil(k * self.refine))

    def to_dict(self) -> dict[str, float]:
        """Return it as JSON-ready values."""
        return {**self.search, "refine": self.refine}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Effort:
        """Return the effort of what ``to_dict`` gave."""
        search = {name: int(values[name]) for name in ("efSearch", "nprobe") if name in values}
        return cls(search, float(values.get("refine", 1.0)))


class RefinedIndex:
    """A FaissIndex and the raw vectors of its passages; see ``VectorIndex``."""

    def __init__(
        self, codes: FaissIndex, fetch: Callable[[np.ndarray], np.ndarray] | None = None, effort: Effort | None = None
    ):
        """Lay raw vectors under an index.

        Args:
            codes: The index.
            fetch: Gives the raw vectors (n, d) of ids (n,); None: the codes hold them as they are.
            effort: How hard to try; None: look at all.
        """
        self.dim = codes.dim
        self.codes = codes
        self.effort = effort or Effort()
        self._own = fetch is None
        self._fetch = fetch or codes.reconstruct

    def __len__(self) -> int:
        return len(self.codes)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Take in (n,) ids and their vectors (n, d)."""
        self.codes.add(ids, vectors)

    def remove(self, ids: np.ndarray) -> None:
        """Forget these ids."""
        self.codes.remove(ids)

    def save(self, path: Path) -> None:
        """Write the codes to a file, unflushed."""
        self.codes.save(path)

    def apart(self) -> RefinedIndex:
        """Return an index of the same vectors whose ``remove`` does not show in this one. Neither may be added to."""
        codes = self.codes.apart()
        return RefinedIndex(codes, None if self._own else self._fetch, self.effort)

    def trying(self, effort: Effort) -> RefinedIndex:
        """Return the same index, searched with another effort."""
        return RefinedIndex(self.codes, None if self._own else self._fetch, effort)

    def raw(self, ids: np.ndarray) -> np.ndarray:
        """Return the raw vectors (n, d) float32 of ids (n,) that are in the index."""
        return widened(self._fetch(ids))

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the k best of each query; see ``VectorIndex``. With effort, some of the best may be missed."""
        queries = check_queries(self.dim, queries, k)
        if allowed is not None:
            allowed = np.unique(allowed) if len(allowed) and (np.diff(allowed) <= 0).any() else allowed
        total = self.codes.count(allowed)
        if not total or not len(queries):
            return none(len(queries), k)
        at_once = max(1, min(QUERIES, NUMBERS // (self.dim * self.effort.candidates(k))))
        rows = [self._block(queries[i : i + at_once], k, allowed, total) for i in range(0, len(queries), at_once)]
        return stack(rows)

    def _block(self, queries: np.ndarray, k: int, allowed: np.ndarray | None, total: int) -> Neighbours:
        """Score candidates by the raw vectors; take more of them where a better one could still be missing."""
        wanted = min(self.effort.candidates(k), total)
        effort = {} if wanted == total else self.effort.search
        rough, ids, precise = self._scored(queries, wanted, effort, allowed)
        again = self._unsettled(queries, rough, ids, precise, k, total, effort)
        rows = best(ids, precise, k)
        while len(again):
            wanted = min(wanted * 4, total)
            rough, ids, precise = self._scored(queries[again], wanted, {}, allowed)
            found = best(ids, precise, k)
            rows.ids[again], rows.scores[again] = found.ids, found.scores
            again = again[self._unsettled(queries[again], rough, ids, precise, k, total, {})]
        return rows

    def _scored(
        self, queries: np.ndarray, wanted: int, effort: Mapping[str, int], allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (rough scores, ids, exact scores) of candidates, (q, wanted) each."""
        rough, ids = self.codes.candidates(queries, wanted, effort, allowed)
        there = ids >= 0
        if there.all():
            vectors = self.raw(ids.ravel()).reshape(*ids.shape, self.dim)
            return rough, ids, rescore(queries[:, None], vectors)
        precise = np.full(ids.shape, -np.inf, np.float32)
        precise[there] = rescore(queries[np.nonzero(there)[0]], self.raw(ids[there]))
        return rough, ids, precise

    def _unsettled(
        self,
        queries: np.ndarray,
        rough: np.ndarray,
        ids: np.ndarray,
        precise: np.ndarray,
        k: int,
        total: int,
        effort: Mapping[str, int],
    ) -> np.ndarray:
        """Return the numbers of the queries that have to be searched for again."""
        if ids.shape[1] == total:
            return np.empty(0, np.int64)
        if not self.codes.shape.scans:  # a graph may lead nowhere, cells may be empty
            short = ids[:, min(k, total) - 1] < 0
            return np.flatnonzero(short & bool(effort))
        bounds = [np.float32(self.codes.bound(query)) for query in queries]
        whole = [settled(r, p, k, bound) for r, p, bound in zip(rough, precise, bounds, strict=True)]
        return np.flatnonzero(~np.array(whole, bool))
