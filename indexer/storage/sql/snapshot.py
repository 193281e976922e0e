"""The part of a snapshot that a database's transaction answers: sizes, files, documents, passages."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from indexer.closing import Closing
from indexer.errors import StoreError
from indexer.storage.sql.packed_terms import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from indexer.storage.manifest import Manifest
    from indexer.storage.sql.reading import CatalogReader
    from indexer.types import Counts, Facets, FileRecord, StoredDocument, StoredPassage


class CatalogSnapshot(Closing):
    """What one commit shows, as far as the catalog knows it; see ``Snapshot``."""

    def __init__(self, name: str, generation: int) -> None:
        self._name = name
        self._generation = generation
        self._counts: Counts | None = None

    @abstractmethod
    def _reading(self) -> AbstractContextManager[CatalogReader]:
        """Give the catalog as the pinned transaction sees it, to one thread at a time."""

    @property
    @abstractmethod
    def manifest(self) -> Manifest:
        """The manifest of the collection that the snapshot is of."""

    @property
    def generation(self) -> int:
        """Number of the commit."""
        return self._generation

    @property
    def version(self) -> str:
        """The store's version when the snapshot was taken."""
        return version_of(self.manifest, self.generation)

    def counts(self) -> Counts:
        """Return the collection's size."""
        with self._reading() as catalog:
            if self._counts is None:
                self._counts = catalog.counts(self.generation)
            return self._counts

    def facets(self) -> Facets:
        """Return the kinds and record fields of the shown documents."""
        with self._reading() as catalog:
            return catalog.facets(self.generation)

    def roots(self) -> dict[str, dict[str, object]]:
        """Return the indexed roots, by path."""
        with self._reading() as catalog:
            return catalog.roots()

    def files(self, status: str | None = None) -> Iterator[FileRecord]:
        """Yield every known file by path, or those of one status."""
        after: str | None = None
        while True:
            with self._reading() as catalog:
                page = catalog.files(status, after)
            if not page:
                return
            yield from page
            after = page[-1].path

    def documents(self, path: str | None = None) -> Iterator[StoredDocument]:
        """Yield the shown documents by path and, within a file, as they were staged."""
        if path is not None:
            yield from self._documents(path)
            return
        after: str | None = None
        while True:
            with self._reading() as catalog:
                page = catalog.paths(self.generation, after)
            if not page:
                return
            for each in page:
                yield from self._documents(each)
            after = page[-1]

    def _documents(self, path: str) -> Iterator[StoredDocument]:
        seen = -1
        while True:
            with self._reading() as catalog:
                page = catalog.documents(path, self.generation, seen)
            yield from page
            seen += len(page)
            if not page:
                return

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredPassage]:
        """Return the shown passages in the order of the ids."""
        with self._reading() as catalog:
            return catalog.get(ids, self.generation)

    def embedded(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether each passage has a vector."""
        numbers = np.asarray(ids, np.int64)
        with self._reading() as catalog:
            return np.isin(numbers, catalog.with_vector(numbers))

    def terms(self, ids: Sequence[int] | np.ndarray) -> list[dict[int, int]]:
        """Return the weighted terms of each passage."""
        self._need_sparse()
        numbers = np.asarray(ids, np.int64)
        with self._reading() as catalog:
            found = dict(zip(*catalog.terms(numbers), strict=True))
        if absent := set(numbers.tolist()) - found.keys():
            raise StoreError(f"passage {min(absent)} has no terms; run `semsearch doctor`")
        return [unpack(found[number]) for number in numbers.tolist()]

    def _need_sparse(self) -> None:
        if self.manifest.sparse is None:
            raise StoreError(
                f"{self._name} has no sparse index; to have one, index into a new collection with --sparse"
            )


def version_of(manifest: Manifest, generation: int) -> str:
    """Return a text that no other commit of this or another collection has."""
    return f"{manifest.created} {manifest.fingerprint} {generation}"
