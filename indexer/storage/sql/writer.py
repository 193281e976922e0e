"""The part of a writer that the catalog alone answers: roots, records of files, what is removed, what waits."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from indexer.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from indexer.storage.sql.writing import CatalogWriter
    from indexer.types import FileRecord, Waiting


class CatalogVerbs(Closing):
    """Changes that touch the catalog and nothing beside it; see ``Writer``."""

    def __init__(self) -> None:
        self._vectors_shown = False
        """Whether what a search sees has changed without a document that was born or died."""

    @abstractmethod
    def catalog(self) -> AbstractContextManager[CatalogWriter]:
        """Give the catalog for a step that is undone as a whole where it fails."""

    def set_root(self, path: str, options: Mapping[str, object]) -> None:
        """Remember a root and the options to read it with."""
        with self.catalog() as catalog:
            catalog.set_root(path, options)

    def drop_root(self, path: str) -> None:
        """Forget a root."""
        with self.catalog() as catalog:
            catalog.drop_root(path)

    def record(self, file: FileRecord) -> None:
        """Note a file's status, times or digest."""
        with self.catalog() as catalog:
            self._vectors_shown |= catalog.record(file)  # a search may filter by time

    def remove(self, paths: Iterable[str]) -> int:
        """Forget files. Return the number that were known."""
        with self.catalog() as catalog:
            return catalog.remove(sorted(paths))  # in one order: of two that remove the same, one waits

    def waiting(self) -> Waiting:
        """Return how much waits for vectors."""
        with self.catalog() as catalog:
            return catalog.waiting()
