"""What a commit of a MemoryStore shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from indexer.closing import Closing
from indexer.errors import StoreError
from indexer.storage.bm25 import Bm25
from indexer.storage.filters import matches
from indexer.storage.storable import storable_path
from indexer.storage.vectors import ExactIndex, best, check_queries, none, stack
from indexer.types import Counts, Facets, FileRecord, Filter, Neighbours, StoredDocument, StoredPassage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Terms


@dataclass(frozen=True)
class State:
    """All that a store holds. A committed one is never changed again."""

    generation: int = 0
    roots: dict[str, dict[str, object]] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    staged: dict[str, tuple[StoredDocument, ...]] = field(default_factory=dict)
    """Each file's documents as they were staged last."""
    shown: dict[str, tuple[StoredDocument, ...]] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    terms: dict[str, dict[int, int]] = field(default_factory=dict)

    def copy(self) -> State:
        """Return one that can be changed apart from this."""
        parts = (self.roots, self.files, self.staged, self.shown, self.vectors, self.terms)
        return State(self.generation, *map(dict, parts))  # type: ignore[arg-type]

    def texts(self) -> set[str]:
        """Return the distinct texts of all passages, shown or not."""
        groups = (*self.staged.values(), *self.shown.values())
        return {p.passage.text for documents in groups for document in documents for p in document.passages}


class MemorySnapshot(Closing):
    """One commit of a MemoryStore; see ``Snapshot``. What a search needs is computed at the first one."""

    def __init__(self, state: State, manifest: Manifest, version: str):
        """Show a committed state."""
        self.generation = state.generation
        self.version = version
        self.manifest = manifest
        self.state = state

    @cached_property
    def _passages(self) -> dict[int, StoredPassage]:
        """Every shown passage, by ascending id."""
        found = [p for documents in self.state.shown.values() for document in documents for p in document.passages]
        return {p.id: p for p in sorted(found, key=lambda p: p.id)}

    @cached_property
    def _embedded(self) -> np.ndarray:
        """(n,) int64: the shown passages that have a vector, ascending."""
        return np.array([n for n, p in self._passages.items() if p.passage.text in self.state.vectors], np.int64)

    @cached_property
    def _index(self) -> ExactIndex:
        index = ExactIndex(self.manifest.dim)
        if len(self._embedded):
            index.add(self._embedded, self.vectors(self._embedded))
        return index

    @cached_property
    def _words(self) -> Bm25:
        return Bm25((n, p.title or "", p.passage.text) for n, p in self._passages.items())

    def counts(self) -> Counts:
        """Return the collection's size; there are no tombstones."""
        state = self.state
        status = [file.status for file in state.files.values()]
        staged = [p for documents in state.staged.values() for document in documents for p in document.passages]
        return Counts(
            files=status.count("indexed"),
            documents=sum(map(len, state.shown.values())),
            passages=len(self._passages),
            embedded=len(self._embedded),
            pending=sum(p.passage.text not in state.vectors for p in staged),
            tombstones=0,
            failed=status.count("failed"),
            skipped=status.count("skipped"),
        )

    def facets(self) -> Facets:
        """Return the kinds and record fields of the shown documents."""
        shown = [document.document for documents in self.state.shown.values() for document in documents]
        return Facets(Counter(each.kind for each in shown), Counter(name for each in shown for name in each.fields))

    def roots(self) -> dict[str, dict[str, object]]:
        """Return the indexed roots, by path."""
        return {path: dict(options) for path, options in sorted(self.state.roots.items())}

    def files(self, status: str | None = None) -> Iterator[FileRecord]:
        """Yield every known file by path, or those of one status."""
        files = self.state.files
        return iter([files[path] for path in sorted(files) if status in (None, files[path].status)])

    def documents(self, path: str | None = None) -> Iterator[StoredDocument]:
        """Yield the shown documents by path and, within a file, as they were staged."""
        shown = self.state.shown
        paths = sorted(shown) if path is None else [storable_path(path)]
        return (document for name in paths for document in shown.get(name, ()))

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredPassage]:
        """Return the shown passages in the order of the ids."""
        return [self._passages[int(number)] for number in ids if int(number) in self._passages]

    def dense(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the nearest passages, every vector compared."""
        queries = check_queries(self.manifest.dim, queries, k)
        if not self._passages:
            return none(len(queries), 0)
        allowed = self._allowed(filter)
        ids = None if allowed is None else np.array(sorted(allowed), np.int64)
        return self._index.search(queries, self._cut(k), ids)

    def lexical(self, queries: Sequence[str], k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the best passages by BM25, with ``full``."""
        check_queries(1, np.zeros((1, 1)), k)
        return self._words.search(queries, self._cut(k), self._allowed(filter))

    def sparse(self, queries: Sequence[Terms], k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the best passages by weighted terms."""
        check_queries(1, np.zeros((1, 1)), k)
        self._need_sparse()
        allowed = self._allowed(filter)
        rows = [none(0, self._cut(k))]
        for query in queries:
            found = {}
            for number in self._embedded.tolist():
                terms = self.state.terms[self._passages[number].passage.text]
                product = sum(weight * query.get(term, 0) for term, weight in terms.items())
                if product > 0 and (allowed is None or number in allowed):
                    found[number] = product
            ids, scores = np.array(list(found), np.int64), np.array(list(found.values()), np.float64)
            rows.append(best(ids[None], scores[None], self._cut(k)))
        return stack(rows)

    def _cut(self, k: int) -> int:
        return min(k, len(self._passages))

    def _allowed(self, condition: Filter | None) -> set[int] | None:
        """Return the shown passages that the filter lets through; None: all."""
        if condition is None or condition == Filter():
            return None
        return {n for n, p in self._passages.items() if matches(condition, p.path, p.kind, p.mtime_ns, p.fields)}

    def embedded(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether each passage has a vector."""
        return np.isin(np.asarray(ids, np.int64), self._embedded)

    def vectors(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n, d) float32 in the order of the ids."""
        rows = [self.state.vectors[text] for text in self._texts(ids)]
        return np.array(rows, np.float32).reshape(len(rows), self.manifest.dim)

    def terms(self, ids: Sequence[int] | np.ndarray) -> list[dict[int, int]]:
        """Return the weighted terms of each passage."""
        self._need_sparse()
        return [dict(self.state.terms[text]) for text in self._texts(ids)]

    def _texts(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """Return the texts of passages that have vectors."""
        numbers = np.asarray(ids, np.int64)
        absent = numbers[~self.embedded(numbers)]
        if len(absent):
            raise StoreError(f"passage {absent[0]} has no vector in this snapshot; ask only for those that do")
        return [self._passages[number].passage.text for number in numbers.tolist()]

    def _need_sparse(self) -> None:
        if self.manifest.sparse is None:
            raise StoreError("the collection has no sparse index; to have one, make another with sparse terms")

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Return (m, d) float32 vectors of different passages."""
        drawn = np.random.default_rng(seed).choice(self._embedded, min(n, len(self._embedded)), replace=False)
        return self.vectors(np.sort(drawn))

    def close(self) -> None:
        """Do nothing: memory is given back when nobody holds the snapshot."""
