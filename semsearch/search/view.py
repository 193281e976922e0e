"""A snapshot with what is the same for every query of it, each looked up once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from semsearch.search.ranking.calibration import SAMPLE, Calibration, Prior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.storage.store import Snapshot
    from indexer.types import Facets
    from semsearch.search.asking.weights import Weights


class View:
    """What one commit shows to searches. Safe to use from many threads.

    Two threads that ask for the same property first may both look it up; they find the same.
    """

    def __init__(self, snapshot: Snapshot, weights: Weights, name: str):
        """Look at a snapshot of the collection ``name``, whose retrievers have these weights."""
        self.name = name
        self.snapshot = snapshot
        self.weights = weights
        self.counts = snapshot.counts()

    @cached_property
    def calibration(self) -> Calibration:
        """How similar passages of the collection are that were paired at random."""
        return Calibration.of(self.snapshot.sample(SAMPLE, 0), Prior.of(self.snapshot.manifest.spec))

    @property
    def has_vectors(self) -> bool:
        """Whether any passage has a vector yet."""
        return self.counts.embedded > 0

    @cached_property
    def facets(self) -> Facets:
        """Values by which the documents can be filtered."""
        return self.snapshot.facets()

    @cached_property
    def endings(self) -> frozenset[str]:
        """Endings of the files' names, in lower case and without the dot."""
        found: set[str] = set()
        for file in self.snapshot.files("indexed"):
            name = file.path.rpartition("/")[2].lower()
            found.update(name.split(".", 1)[1:] + name.rsplit(".", 1)[1:])
        return frozenset(found)

    def has(self, retriever: str) -> bool:
        """Return whether the collection can be searched by this retriever."""
        return retriever != "sparse" or self.snapshot.manifest.sparse is not None

    def embedded(self, ids: np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether each passage has a vector."""
        whole = self.counts.embedded == self.counts.passages
        return np.ones(len(ids), bool) if whole else self.snapshot.embedded(ids)

    def vectors(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n, d) float32 stored vectors; a passage without one has a row of NaN."""
        ids = np.asarray(ids, np.int64)
        there = self.embedded(ids)
        if there.all():
            return self.snapshot.vectors(ids)
        found = np.full((len(ids), self.snapshot.manifest.dim), np.nan, np.float32)
        if there.any():
            found[there] = self.snapshot.vectors(ids[there])
        return found

    @property
    def missing(self) -> str | None:
        """A remark for a person on passages that are still without vectors; None where there are none."""
        counts = self.counts
        if not counts.pending:
            return None
        option = "" if self.name == "default" else f" --collection {self.name}"
        bare = counts.passages - counts.embedded
        words = f", and {bare} of {counts.passages} are found by their words alone" if bare else ""
        return (
            f"the index is partial: {counts.pending} passages are not embedded yet{words}; to finish, run: "
            f"semsearch index{option}"
        )
