"""FAISS: the codes of vectors, scanned, in a graph or in cells. With ``faiss_gpu`` the only module that imports it."""

from __future__ import annotations

import copy
import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import CorruptError, StoreError
from indexer.storage.local.index.whole_numbers import WholeNumbers
from indexer.storage.planner import Shape
from indexer.storage.vectors import SLACK, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SCANNED_TOGETHER = 4_000_000
"""Numbers from which on the scan for one query is shared between cores: below, it is over before they have begun."""

BUILD_EFFORT = 160
"""Candidates among which a vector of a graph finds its links. With FAISS's own 40 a search has to try harder."""


def library() -> Any:
    """Return the library, whose stubs do not say what its wrappers add."""
    import faiss

    return faiss


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise FAISS's errors as ours."""
    try:
        yield
    except (RuntimeError, AssertionError, MemoryError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise StoreError(f"FAISS failed {doing}: {reason}") from error


class FaissIndex:
    """Codes of vectors by passage id: gives candidates with rough scores, which the raw vectors then decide on.

    Vectors lie at positions, in the order in which they came. Removed ones stay there and are passed over, as no graph
    and no mapped file can let go of any; in a file, their id is -1.
    """

    def __init__(self, dim: int, factory: str = "SQfp16"):
        """Make an empty index.

        Args:
            dim: Numbers of a vector.
            factory: FAISS's name of what is to be built, see ``planner.Shape``.

        Raises:
            UsageError: It cannot be built here.
        """
        faiss = library()
        self.shape = Shape.of(factory, dim)
        with translated(f"to make {factory}"):
            if self.shape.bytewise:
                whole = faiss.ScalarQuantizer.QT_8bit_direct
                inner = faiss.IndexHNSWSQ(dim, whole, self.shape.links, faiss.METRIC_L2)
                inner.hnsw.efConstruction = BUILD_EFFORT
            else:
                inner = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
            self._use(faiss.IndexIDMap(inner), np.empty(0, np.int64))

    def _use(self, index: Any, ids: np.ndarray) -> None:
        faiss = library()
        self._index = index
        self.dim = int(index.d)
        self._by_position = ids
        self._alive: int | None = None
        self._order: np.ndarray | None = None  # positions by ascending id, where they are not in that order
        self._chosen: tuple[np.ndarray, np.ndarray] | None = None
        self._last: tuple[int, Any] | None = None
        inner = faiss.downcast_index(index.index)
        self._outer = inner
        if isinstance(inner, faiss.IndexPreTransform):
            inner = faiss.downcast_index(inner.index)
        self._inner = inner
        self._whole: WholeNumbers | None = None
        if self.shape.bytewise:
            codes = faiss.downcast_index(inner.storage).sq
            of_now = codes.qtype == faiss.ScalarQuantizer.QT_8bit_direct  # and not of a file of an older version
            if of_now and codes.rangestat_arg > 0:
                self._whole = WholeNumbers(codes.rangestat_arg)

    @classmethod
    def load(cls, path: Path, dim: int, factory: str, mapped: bool = True) -> FaissIndex:
        """Open a saved index, memory-mapped unless it is to be added to.

        Raises:
            CorruptError: It is no such file.
        """
        faiss = library()
        index = cls.__new__(cls)
        index.shape = Shape.of(factory, dim)
        try:
            loaded = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        except (RuntimeError, MemoryError, OSError) as error:
            raise CorruptError(f"{path} is no FAISS index; run `semsearch doctor`") from error
        if not isinstance(loaded, faiss.IndexIDMap | faiss.IndexIDMap2) or loaded.d != dim:
            raise CorruptError(f"{path} is not an index of {dim} dimensions; run `semsearch doctor`")
        index._use(loaded, faiss.vector_to_array(loaded.id_map))
        return index

    def __len__(self) -> int:
        if self._alive is None:
            self._alive = int(np.count_nonzero(self._by_position >= 0))
        return self._alive

    @property
    def ids(self) -> np.ndarray:
        """(n,) int64, ascending: every id that a search can return."""
        return np.sort(self._by_position[self._by_position >= 0])

    @property
    def outer(self) -> Any:
        """FAISS's own index of the positions."""
        return self._outer

    @property
    def dead(self) -> int:
        """Number of removed vectors that still take space."""
        return len(self._by_position) - len(self)

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Return (m,) int64: where those of the ids lie that are in the index and not removed."""
        if not len(self._by_position):
            return np.empty(0, np.int64)
        if self._order is None:
            rising = bool((self._by_position[1:] > self._by_position[:-1]).all())
            self._order = np.empty(0, np.int64) if rising else np.argsort(self._by_position, kind="stable")
        sorted_ids = self._by_position[self._order] if len(self._order) else self._by_position
        at = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
        at = at[(sorted_ids[at] == ids) & (ids >= 0)]
        found: np.ndarray = self._order[at] if len(self._order) else at
        return found

    def reconstruct(self, ids: np.ndarray) -> np.ndarray:
        """Return (n, d) float32 of ids that are all in the index, as far as its codes keep them."""
        if not len(ids):
            return np.empty((0, self.dim), np.float32)
        if self.shape.cells is not None:
            raise StoreError("an inverted file gives no vectors back by position")
        with translated("to read vectors"):
            vectors: np.ndarray = self._outer.reconstruct_batch(self.positions(ids))
        return vectors if self._whole is None else self._whole.back(vectors)

    def count(self, allowed: np.ndarray | None) -> int:
        """Return how many of these ids (n,), ascending, a search can return; None stands for all."""
        return len(self) if allowed is None else int(np.count_nonzero(self._bitmap(allowed)))

    # Building

    def train(self, vectors: np.ndarray, least: np.ndarray | None = None, most: np.ndarray | None = None) -> None:
        """Fit cells, value ranges or turns to a sample; without it the first ``add`` does.

        Args:
            vectors: (n, d).
            least: (d,) the least value of each dimension among all that will come, not only the sample: where it is
                given, nothing is cut off, and ``bound`` holds.
            most: (d,) the greatest.
        """
        faiss = library()
        if self.shape.bytewise and self._whole is None and not len(self._by_position):
            some = vectors if least is None or most is None else np.stack([least, most])
            self._whole = WholeNumbers.fitted(some.min(axis=0), some.max(axis=0))
            codes = faiss.downcast_index(self._inner.storage).sq
            codes.rangestat_arg = self._whole.greatest  # FAISS has no use for it with these codes, and saves it
        if self._outer.is_trained:
            return
        with translated("to train"):
            if least is not None and most is not None and isinstance(self._inner, faiss.IndexScalarQuantizer):
                ranges = np.concatenate([least, np.maximum(most - least, 1e-7)]).astype(np.float32)
                faiss.copy_array_to_vector(ranges, self._inner.sq.trained)
                self._inner.is_trained = self._outer.is_trained = self._index.is_trained = True
            else:
                self._outer.train(np.ascontiguousarray(vectors, np.float32))
                self._index.is_trained = True

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Take in (n,) int64 ids, new to the index, and their vectors (n, d)."""
        check(self.dim, ids, vectors)
        if not len(ids):
            return
        wide = np.ascontiguousarray(vectors, np.float32)
        if not len(self._by_position):
            self.train(wide, wide.min(axis=0), wide.max(axis=0))
        if self._whole is not None:
            wide = self._whole.of(wide)
        with translated(f"to add {len(ids)} vectors"):
            self._index.add_with_ids(wide, ids)
        self._by_position = np.concatenate([self._by_position, ids])
        self._alive = self._order = self._chosen = None

    def take_graph(self, linked: Any, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Fill this empty graph with vectors (n, d) float32 and the links that FAISS's graph over them has."""
        faiss = library()
        self.train(vectors, vectors.min(axis=0), vectors.max(axis=0))
        faiss.downcast_index(self._inner.storage).add(vectors if self._whole is None else self._whole.of(vectors))
        self._inner.hnsw = linked.hnsw
        self._outer.ntotal = self._inner.ntotal = self._index.ntotal = len(ids)
        faiss.copy_array_to_vector(ids, self._index.id_map)
        self._use(self._index, ids)

    def remove(self, ids: np.ndarray) -> None:
        """Hide these ids from searches; unknown ones are ignored."""
        found = self.positions(np.unique(ids))
        if len(found):
            self._by_position = self._by_position.copy()
            self._by_position[found] = -1
            self._alive = self._order = self._chosen = None

    def apart(self) -> FaissIndex:
        """Return an index of the same vectors whose ``remove`` does not show in this one. Neither may be added to."""
        return copy.copy(self)

    def save(self, path: Path) -> None:
        """Write the file, unflushed; removed vectors are written as such."""
        faiss = library()
        with translated(f"to write {path}"):
            faiss.copy_array_to_vector(self._by_position, self._index.id_map)
            faiss.write_index(self._index, str(path))

    # Searching

    def bound(self, query: np.ndarray) -> float:
        """Return how far a rough score may lie from the exact one; only of codes that are all scanned."""
        faiss = library()
        if self.shape.codes != "SQ8":
            return float(SLACK)
        widths = faiss.vector_to_array(self._inner.sq.trained)[self.dim :]
        return float(np.abs(query) @ widths) / 510 + float(SLACK)  # half of one of 255 steps

    def candidates(
        self, queries: np.ndarray, n: int, effort: Mapping[str, float], allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return rough scores (q, n) and ids (q, n), best first; id -1 where there are fewer.

        Args:
            queries: (q, d) float32.
            n: Candidates a query.
            effort: efSearch or nprobe; without, every vector is looked at.
            allowed: (m,) int64 ascending; only these ids.
        """
        kept = None
        if allowed is not None:
            kept = self._bitmap(allowed)
        elif self.dead:
            kept = self._by_position >= 0
        share = 1.0 if kept is None else max(int(np.count_nonzero(kept)), 1) / len(kept)
        factors = None
        if self._whole is not None:
            queries, factors = self._whole.queries(queries)
        with translated("to search"):
            if self.shape.scans or not effort:
                scores, at = self._scan(queries, n, kept)
            else:
                scores, at = self._effortful(queries, n, effort, kept, share)
        if self._whole is not None and factors is not None:
            scores = self._whole.scores(scores, factors)
        return scores, np.where(at < 0, -1, self._by_position[at])

    def _bitmap(self, allowed: np.ndarray) -> np.ndarray:
        """Return (positions,) bool; that of the last filter is kept, as queries of one filter come in a row."""
        if self._chosen is None or self._chosen[0] is not allowed:
            kept = np.zeros(len(self._by_position), bool)
            kept[self.positions(allowed)] = True
            self._chosen = allowed, kept
        return self._chosen[1]

    def _effortful(
        self, queries: np.ndarray, n: int, effort: Mapping[str, float], kept: np.ndarray | None, share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search a graph or cells; harder where only a share of what is met counts."""
        selector, _held = _selector(kept)
        if self.shape.links is not None:
            value = int(min(max(effort["efSearch"], n) / share, len(self._by_position)))
        else:
            value = int(min(effort["nprobe"] / share, self._inner.nlist))
        return self._search(queries, n, self._parameters(value, selector))

    def _parameters(self, value: int, selector: Any) -> Any:
        """Return FAISS's parameters of a search; without a filter those of the last one, as making them takes time."""
        if selector is None and self._last is not None and self._last[0] == value:
            return self._last[1]
        faiss = library()
        if self.shape.links is not None:
            made = faiss.SearchParametersHNSW(sel=selector, efSearch=value)
        else:
            made = faiss.SearchParametersIVF(sel=selector, nprobe=value)
        if selector is None:
            self._last = value, made
        return made

    def _scan(self, queries: np.ndarray, n: int, kept: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Look at every vector, for few queries with all cores at each."""
        faiss = library()
        if self.shape.cells is not None:
            selector, _held = _selector(kept)
            return self._search(queries, n, faiss.SearchParametersIVF(sel=selector, nprobe=int(self._inner.nlist)))
        cores, total = faiss.omp_get_max_threads(), len(self._by_position)
        if cores < 2 or len(queries) >= cores or total * self.dim < SCANNED_TOGETHER:
            return self._scan_part(queries, n, kept, None)
        edges = np.linspace(0, total, cores + 1).astype(np.int64).tolist()
        with ThreadPoolExecutor(cores) as pool:
            parts = [
                pool.submit(self._scan_part, queries, n, kept, (start, end)) for start, end in itertools.pairwise(edges)
            ]
            found = [part.result() for part in parts]
        scores, at = (np.concatenate(each, 1) for each in zip(*found, strict=True))
        order = np.argsort(-np.where(at < 0, -np.inf, scores), axis=1, kind="stable")[:, :n]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(at, order, 1)

    def _scan_part(
        self, queries: np.ndarray, n: int, kept: np.ndarray | None, part: tuple[int, int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        faiss = library()
        selector, held = _selector(kept)
        if part is not None:
            within = faiss.IDSelectorRange(*part)
            selector = within if selector is None else faiss.IDSelectorAnd(within, selector)
            held.append(within)
        parameters = None if selector is None else faiss.SearchParameters(sel=selector)
        if self.shape.links is None:
            return self._search(queries, n, parameters)
        queries = self._turned(queries)
        storage = faiss.downcast_index(self._inner.storage)
        return self._rising(storage.search(queries, n, params=parameters))

    def _turned(self, queries: np.ndarray) -> np.ndarray:
        faiss = library()
        if not isinstance(self._outer, faiss.IndexPreTransform):
            return queries
        turned: np.ndarray = self._outer.chain.at(0).apply(queries)
        return turned

    def _search(self, queries: np.ndarray, n: int, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
        faiss = library()
        if parameters is not None and self._outer is not self._inner:
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        return self._rising(self._outer.search(queries, n, params=parameters))

    def _rising(self, found: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return (scores, positions) of what FAISS found, higher ones better, also where it measures distances."""
        return found if self._whole is None else (-found[0], found[1])


def _selector(kept: np.ndarray | None) -> tuple[Any, list[Any]]:
    """Return a selector of positions, and what has to live as long as it does."""
    if kept is None:
        return None, []
    faiss = library()

    packed = np.packbits(kept, bitorder="little")
    selector = faiss.IDSelectorBitmap(packed)
    return selector, [packed, selector]
