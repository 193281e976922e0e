"""The k nearest vectors: the protocol, the exact reference, and one index laid over another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from indexer.errors import StoreError
from indexer.types import Neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from indexer.types import Embedded

DTYPES: dict[str, np.dtype[Any]] = {"fp16": np.dtype("<f2"), "fp32": np.dtype("<f4")}
"""How vectors are kept, by ``Manifest.vector_dtype``."""


class VectorIndex(Protocol):
    """Vectors by id, compared by inner product (the cosine, as all have unit length)."""

    dim: int

    def __len__(self) -> int:
        """Return the number of vectors that a search can return."""
        ...

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Take in (n,) int64 ids, new to the index, and their vectors (n, d) float16 or float32."""
        ...

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the k best of each query (q, d) float32; only ids of ``allowed`` (n,) int64 where it is given.

        A score is the float32 inner product, the same however many queries come at once; ties go to the lower id.
        """
        ...

    def remove(self, ids: np.ndarray) -> None:
        """Forget these ids (n,) int64; unknown ones are ignored."""
        ...

    def save(self, path: Path) -> None:
        """Write the index to a file, unflushed."""
        ...


_NO_SCORE = np.float32(-np.inf)


def best(ids: np.ndarray, scores: np.ndarray, k: int) -> Neighbours:
    """Return the k best of candidates (q, c), by score and then id; id -1 stands for none."""
    scores = np.where(ids < 0, _NO_SCORE, scores.astype(np.float32, copy=False))
    order, rows = np.lexsort((ids, -scores))[:, :k], np.arange(len(ids))[:, None]
    ids, scores = ids[rows, order], scores[rows, order]
    short = k - ids.shape[1]
    if short > 0:
        ids = np.pad(ids, ((0, 0), (0, short)), constant_values=-1)
        scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
    return Neighbours(ids.astype(np.int64, copy=False), scores)


def none(queries: int, k: int) -> Neighbours:
    """Return (q, k) results that hold nothing."""
    return best(np.empty((queries, 0), np.int64), np.empty((queries, 0), np.float32), k)


def rescore(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return (...) float32 inner products, each summed in one order whatever stands beside it.

    Each is a product of two vectors, never part of a product of matrices, whose order depends on their shapes.

    Args:
        query: (d,) float32, or more of them that are broadcast against the vectors.
        vectors: (..., d) float32.
    """
    products: np.ndarray = np.vecdot(vectors, query)
    return products


_SHIFTED = np.int32(-0x70002000)
"""The bits of a float32 that a float16 has, where the latter's 16 bits have been moved 13 places up."""


def widened(vectors: np.ndarray) -> np.ndarray:
    """Return finite vectors (..., d) as float32; NumPy itself converts float16 number by number, three times slower."""
    if vectors.dtype != DTYPES["fp16"]:
        return vectors.astype(np.float32)
    bits = vectors.view("<i2").astype(np.int32)
    bits <<= 13
    bits &= _SHIFTED
    wide = bits.view(np.float32)
    wide *= np.float32(2.0**112)  # exponents of float16 begin 112 lower; numbers below its normal ones come out right
    return wide


SLACK = np.float32(1e-5)
"""Two ways of summing a unit vector's inner product in float32 differ by less."""


def settled(rough: np.ndarray, exact: np.ndarray, k: int, slack: np.float32 = SLACK) -> bool:
    """Tell whether candidates (c,), best first by rough score, hold the k best by exact score, ties and all."""
    return len(exact) < k or bool(np.partition(exact, len(exact) - k)[len(exact) - k] > rough[-1] + slack)


class ExactIndex:
    """Every vector compared with every query, in NumPy: the reference for the other indexes, and good for thousands."""

    BLOCK = 65_536

    def __init__(self, dim: int):
        self.dim = dim
        self._ids = np.empty(0, np.int64)
        self._vectors = np.empty((0, dim), np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Take in (n,) ids and their vectors (n, d)."""
        check(self.dim, ids, vectors)
        joined = np.concatenate([self._ids, ids])
        order = np.argsort(joined, kind="stable")
        self._ids = joined[order]
        self._vectors = np.concatenate([self._vectors, widened(vectors)])[order]

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the k best of each query; see ``VectorIndex``."""
        queries = check_queries(self.dim, queries, k)
        if not len(queries):
            return none(0, k)
        ids, vectors = self._ids, self._vectors
        if allowed is not None:
            mine = np.isin(ids, allowed)
            ids, vectors = ids[mine], vectors[mine]
        found = none(len(queries), k)
        for start in range(0, len(ids), self.BLOCK):
            part, numbers = vectors[start : start + self.BLOCK], ids[start : start + self.BLOCK]
            rough = queries @ part.T  # (q, b)
            rows = []
            for query, scores in zip(queries, rough, strict=True):
                if len(part) > k:
                    least = np.partition(scores, len(part) - k)[len(part) - k]
                    kept = np.flatnonzero(scores >= least - 2 * SLACK)
                else:
                    kept = np.arange(len(part))
                rows.append(best(numbers[None, kept], rescore(query, part[kept])[None], k))
            found = merge([found, stack(rows)], k)
        return found

    def remove(self, ids: np.ndarray) -> None:
        """Forget these ids."""
        kept = ~np.isin(self._ids, ids)
        self._ids, self._vectors = self._ids[kept], self._vectors[kept]

    def save(self, path: Path) -> None:
        """Write ids and vectors as safetensors."""
        from safetensors.numpy import save_file

        save_file({"ids": self._ids, "vectors": self._vectors}, path)


class LayeredIndex:
    """An index file and what has changed since it was built: two indexes that answer as one."""

    def __init__(self, base: VectorIndex, changes: VectorIndex):
        self.dim = base.dim
        self._layers = (base, changes)

    def __len__(self) -> int:
        return sum(len(layer) for layer in self._layers)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Take in (n,) ids and their vectors (n, d)."""
        self._layers[1].add(ids, vectors)

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the k best of each query; see ``VectorIndex``."""
        queries = check_queries(self.dim, queries, k)
        return merge([layer.search(queries, k, allowed) for layer in self._layers if len(layer)], k, len(queries))

    def remove(self, ids: np.ndarray) -> None:
        """Forget these ids."""
        for layer in self._layers:
            layer.remove(ids)

    def save(self, path: Path) -> None:  # noqa: ARG002
        """Refuse.

        Raises:
            StoreError: Always.
        """
        raise StoreError("an index with changes laid over it is built anew rather than saved")


def merge(parts: Sequence[Neighbours], k: int, queries: int = 0) -> Neighbours:
    """Return the k best of several results for the same queries."""
    if not parts:
        return none(queries, k)
    return best(np.concatenate([p.ids for p in parts], 1), np.concatenate([p.scores for p in parts], 1), k)


def stack(rows: Sequence[Neighbours], full: np.ndarray | None = None) -> Neighbours:
    """Return several results, one under the other; ``full`` (q,) for all of them."""
    if len(rows) == 1 and full is None:
        return rows[0]
    return Neighbours(np.concatenate([r.ids for r in rows]), np.concatenate([r.scores for r in rows]), full)


def nearest(
    ids: np.ndarray, fetch: Callable[[np.ndarray], np.ndarray], queries: np.ndarray, k: int, block: int = 65_536
) -> Neighbours:
    """Return the exact k best among these ids (n,) alone; ``fetch`` gives their vectors."""
    found = none(len(queries), k)
    for start in range(0, len(ids), block):
        part = ExactIndex(queries.shape[1])
        part.add(ids[start : start + block], fetch(ids[start : start + block]))
        found = merge([found, part.search(queries, k)], k)
    return found


def check(dim: int, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Check that ids and vectors fit each other and the index.

    Raises:
        StoreError: They do not.
    """
    if vectors.shape != (len(ids), dim):
        raise StoreError(f"vectors have shape {vectors.shape}; for {len(ids)} ids it must be {(len(ids), dim)}")
    if ids.dtype != np.int64:
        raise StoreError(f"ids are {ids.dtype}; they must be int64")


def check_embedded(dim: int, sparse: bool, ids: np.ndarray, embedded: Embedded) -> None:
    """Check that vectors, and terms, can be stored as those of the ids (n,) int64.

    Args:
        dim: Numbers of a vector.
        sparse: Whether the collection has terms too.
        ids: Those of ``embedded``.
        embedded: What is to be stored.

    Raises:
        StoreError: It cannot be.
    """
    check(dim, ids, embedded.vectors)
    if not np.isfinite(embedded.vectors).all():
        raise StoreError("a vector holds NaN or infinity; encode at another precision")
    if (embedded.terms is not None) != sparse:
        raise StoreError("terms come with vectors exactly where the collection was made with a sparse index")
    if embedded.terms is not None and len(embedded.terms) != len(ids):
        raise StoreError(f"there are terms of {len(embedded.terms)} texts and ids of {len(ids)}")


def check_queries(dim: int, queries: np.ndarray, k: int) -> np.ndarray:
    """Return the queries (q, d) as contiguous float32.

    Raises:
        StoreError: They have another shape, or k is below 1.
    """
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise StoreError(f"queries have shape {queries.shape}; it must be (q, {dim})")
    if k < 1:
        raise StoreError(f"k is {k}; it is a whole number from 1 up")
    return np.ascontiguousarray(queries, np.float32)
