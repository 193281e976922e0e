"""Sparse vectors: inverted lists in memory that answer queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indexer.storage.sql.packed_terms import PAIR, pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Postings:
    """Inverted lists of some passages: for each term, which of them have it and with what weight."""

    def __init__(self, ids: np.ndarray, blobs: Sequence[bytes]):
        """Take (n,) int64 ids, ascending, and the packed terms of each."""
        found = pairs(blobs)
        rows = np.repeat(np.arange(len(ids), dtype=np.int32), [len(blob) // PAIR.itemsize for blob in blobs])
        terms = found["term"]
        if terms.max(initial=0) < 1 << 16:  # as of most vocabularies: sorted ten times as fast
            terms = terms.astype(np.uint16)
        order = np.argsort(terms, kind="stable")
        terms = terms[order]
        self._ids = ids
        self._rows, self._weights = rows[order], found["weight"][order]
        starts = np.flatnonzero(np.diff(terms, prepend=terms[:1] + 1))
        self._terms, self._bounds = terms[starts], np.append(starts, len(terms))

    def __len__(self) -> int:
        return len(self._ids)

    def products(self, query: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(ids (m,) ascending, inner products (m,) int64) of the passages that share a term with the query."""
        totals = np.zeros(len(self._ids), np.int64)
        for term, weight in query.items():
            at = np.searchsorted(self._terms, term)
            if at < len(self._terms) and self._terms[at] == term:
                part = slice(self._bounds[at], self._bounds[at + 1])
                totals[self._rows[part]] += weight * self._weights[part].astype(np.int64)
        found = np.flatnonzero(totals)
        return self._ids[found], totals[found]
