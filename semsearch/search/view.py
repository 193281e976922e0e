"""A snapshot with what is the same for every query of it, each looked up once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from semsearch.search.calibration import Calibration

if TYPE_CHECKING:
    from indexer.storage.store import Snapshot
    from semsearch.search.weights import Weights


@dataclass(frozen=True)
class Facets:
    """What the documents of a collection can be filtered by."""

    kinds: frozenset[str]
    endings: frozenset[str]
    """Of the files' names, in lower case and without the dot."""
    fields: frozenset[str]
    """Names of the records' fields."""


class View:
    """What one commit shows to searches. Safe to use from many threads.

    Two threads that ask for the same property first may both look it up; they find the same.
    """

    def __init__(self, snapshot: Snapshot, weights: Weights, name: str):
        self.name = name
        self.snapshot = snapshot
        self.weights = weights
        self.counts = snapshot.counts()

    @cached_property
    def calibration(self) -> Calibration:
        """How similar passages of the collection are that were paired at random."""
        return Calibration.of(self.snapshot)

    @cached_property
    def has_vectors(self) -> bool:
        """Whether any passage has a vector yet."""
        if not self.counts.pending:
            return self.counts.passages > 0
        return len(self.snapshot.sample(1, 0)) > 0

    @cached_property
    def facets(self) -> Facets:
        """What the documents can be filtered by."""
        kinds, endings, names = set(), set(), set()
        for each in self.snapshot.documents():
            kinds.add(each.document.kind)
            names.update(each.document.fields)
            name = each.document.path.rpartition("/")[2].lower()
            endings.update(name.split(".", 1)[1:] + name.rsplit(".", 1)[1:])
        return Facets(frozenset(kinds), frozenset(endings), frozenset(names))

    def has(self, retriever: str) -> bool:
        """Return whether the collection can be searched by this retriever."""
        return retriever != "sparse" or self.snapshot.manifest.sparse is not None

    def embedded(self, ids: np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether each passage has a vector."""
        return self.snapshot.embedded(ids) if self.counts.pending else np.ones(len(ids), bool)

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
        """What a person should know of passages that are still without vectors; None where there are none."""
        if not self.counts.pending:
            return None
        option = "" if self.name == "default" else f" --collection {self.name}"
        return (
            f"the index is partial: {self.counts.pending} passages are not embedded yet, and new ones among them are "
            f"found by their words alone; to finish, run: semsearch index{option}"
        )
