"""FAISS: flat, IVF, HNSW and quantised indexes, on the CPU or a GPU. The only module that imports it."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import CorruptError, PrecisionError, StoreError
from indexer.storage.vectors import SLACK, best, check, check_queries, none, rescore, settled, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indexer.types import Neighbours

KINDS = ("flat", "sq8", "hnsw", "ivf")
"""flat: exact. sq8: one byte a dimension. hnsw: a graph, fastest to search. ivf: cells, quick to build."""
GPU_BLOCK = 65_536
"""Vectors copied to the GPU at a time."""
MAX_GPU_K = 2048
"""The largest k of a GPU index; more is searched on the CPU."""


def _faiss() -> Any:
    """Return the library, whose stubs do not say what its wrappers add."""
    import faiss

    return faiss


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, AssertionError, MemoryError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise StoreError(f"FAISS failed {doing}: {reason}") from error


class FaissIndex:
    """Passage ids and vectors in one FAISS index (IDMap2, inner product)."""

    def __init__(self, dim: int, kind: str = "flat", dtype: str = "fp16", device: str = "cpu", rows: int = 0):
        """Make an empty index.

        Args:
            dim: Numbers of a vector.
            kind: One of KINDS.
            dtype: What ``flat`` keeps vectors in, the collection's own, so that nothing is lost.
            device: cpu or cuda.
            rows: About how many vectors will come; it sizes the cells of ``ivf``.

        Raises:
            PrecisionError: ``device`` is cuda and this FAISS has no GPU.
        """
        faiss = _faiss()

        names = {
            "flat": "SQfp16" if dtype == "fp16" else "Flat",
            "sq8": "SQ8",
            "hnsw": "HNSW32," + ("SQfp16" if dtype == "fp16" else "Flat"),
            "ivf": f"IVF{max(1, min(int(4 * rows**0.5), rows // 39))}," + ("SQfp16" if dtype == "fp16" else "Flat"),
        }
        if kind not in names:
            raise StoreError(f"index kind is {kind!r}; it is one of {', '.join(KINDS)}")
        self.dim = dim
        self.kind = kind
        with _translated("to make an index"):
            inner = faiss.index_factory(dim, names[kind], faiss.METRIC_INNER_PRODUCT)
            self._use(faiss.IndexIDMap2(inner), device)

    def _use(self, index: Any, device: str) -> None:
        """Take a CPU index (IDMap2); its GPU copy, where one is asked for, is made at the first search."""
        faiss = _faiss()

        if device not in ("cpu", "cuda"):
            raise PrecisionError(f"index device is {device!r}; it is cpu or cuda")
        if device == "cuda" and not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
            raise PrecisionError(
                "this FAISS has no GPU; use --index-device cpu, or install the GPU build in place of faiss-cpu"
            )
        if self.kind == "ivf":
            faiss.downcast_index(index.index).make_direct_map()  # to read vectors back by position
        self._index = index
        self._device = device
        self._gpu: Any = None
        self._dead = np.empty(0, np.int64)  # ascending; removed, but still in the index

    @classmethod
    def load(cls, path: Path, dim: int, kind: str, device: str = "cpu") -> FaissIndex:
        """Open a saved index, memory-mapped where its kind allows. Raises CorruptError where it is no such file."""
        faiss = _faiss()

        index = cls.__new__(cls)
        index.dim, index.kind = dim, kind
        try:
            loaded = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, MemoryError, OSError) as error:
            raise CorruptError(f"{path} is no FAISS index; run `semsearch doctor`") from error
        if not isinstance(loaded, faiss.IndexIDMap2) or loaded.d != dim:
            raise CorruptError(f"{path} is not an index of {dim} dimensions; run `semsearch doctor`")
        index._use(loaded, device)
        return index

    def __len__(self) -> int:
        return int(self._index.ntotal) - len(self._dead)

    @property
    def ids(self) -> np.ndarray:
        """(n,) int64, ascending: every id that a search can return."""
        faiss = _faiss()

        ids = np.sort(faiss.vector_to_array(self._index.id_map))
        return ids[~np.isin(ids, self._dead)] if len(self._dead) else ids

    def reconstruct(self, ids: np.ndarray) -> np.ndarray:
        """(n, d) float32 of ids that are in the index, as far as its kind keeps them."""
        if not len(ids):
            return np.empty((0, self.dim), np.float32)
        with _translated("to read vectors"):
            vectors: np.ndarray = self._index.reconstruct_batch(ids)
        return vectors

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Take in (n,) int64 ids and their vectors (n, d)."""
        check(self.dim, ids, vectors)
        if not len(ids):
            return
        with _translated(f"to add {len(ids)} vectors"):
            inner = self._inner()
            wide = vectors.astype(np.float32)
            if not inner.is_trained:
                inner.train(wide)
            self._index.add_with_ids(wide, ids)
        self._gpu = None

    def train(self, vectors: np.ndarray) -> None:
        """Fit cells or value ranges to a sample (n, d); without it the first ``add`` does."""
        with _translated("to train"):
            if not self._inner().is_trained:
                self._inner().train(vectors.astype(np.float32))

    def _inner(self) -> Any:
        faiss = _faiss()

        return faiss.downcast_index(self._index.index)

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the k best of each query; see ``VectorIndex``."""
        queries = check_queries(self.dim, queries, k)
        total = len(self) if allowed is None else min(len(self), len(allowed))
        if not total or not len(queries):
            return none(len(queries), k)
        with _translated("to search"):
            return stack([self._block(queries[i : i + 64], k, allowed, total) for i in range(0, len(queries), 64)])

    def _block(self, queries: np.ndarray, k: int, allowed: np.ndarray | None, total: int) -> Neighbours:
        """Candidates from FAISS, scored again one by one; more of them where a tie goes on past the last."""
        exact = self.kind == "flat"
        slack = SLACK if self._device == "cpu" else 10 * SLACK
        wanted, todo = min(k + 16, total), np.arange(len(queries))
        rows: list[Neighbours] = [none(1, k)] * len(queries)
        while len(todo):
            rough, ids = self._raw(queries[todo], wanted, allowed)
            again = []
            for number, scores, found in zip(todo, rough, ids, strict=True):
                scores, found = scores[found >= 0], found[found >= 0]
                precise = rescore(queries[number], self.reconstruct(found))
                rows[number] = best(found[None], precise[None], k)
                if exact and wanted < total and not settled(scores, precise, k, slack):
                    again.append(number)
            todo, wanted = np.array(again, np.int64), min(wanted * 4, total)
        return stack(rows)

    def _raw(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        faiss = _faiss()

        on_gpu = self._device == "cuda" and self.kind == "flat" and k <= MAX_GPU_K
        if on_gpu and allowed is None and not len(self._dead):  # FAISS has no selectors on the GPU
            index, ids = self._on_gpu()
            scores, positions = index.search(queries, k)
            return scores, np.where(positions < 0, -1, ids[positions])
        keep: list[Any] = []  # selectors refer to each other's memory, and to the arrays'
        if allowed is not None:
            ids = np.ascontiguousarray(np.setdiff1d(allowed, self._dead) if len(self._dead) else allowed, np.int64)
            keep.append(faiss.IDSelectorBatch(ids))
        elif len(self._dead):
            keep.append(faiss.IDSelectorBatch(self._dead))
            keep.append(faiss.IDSelectorNot(keep[0]))
        parameters = self._parameters(k) if not keep else self._parameters(k, keep[-1])
        scores, found = self._index.search(queries, k, params=parameters)
        return scores, found

    def _parameters(self, k: int, selector: Any = None) -> Any:
        """Effort of an approximate search: enough for a recall of about 0.95 and more."""
        faiss = _faiss()

        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(sel=selector, efSearch=max(128, 2 * k))
        if self.kind == "ivf":
            cells = self._inner().nlist
            return faiss.SearchParametersIVF(sel=selector, nprobe=min(cells, max(16, cells // 4)))
        return None if selector is None else faiss.SearchParameters(sel=selector)

    def _on_gpu(self) -> tuple[Any, np.ndarray]:
        """(a flat index of the same vectors on the GPU, the id at each of its positions)."""
        faiss = _faiss()

        if self._gpu is None:
            resources = faiss.StandardGpuResources()
            config = faiss.GpuIndexFlatConfig()
            config.useFloat16 = False  # it would round the queries too
            index = faiss.GpuIndexFlatIP(resources, self.dim, config)
            ids = faiss.vector_to_array(self._index.id_map)
            for start in range(0, len(ids), GPU_BLOCK):
                index.add(self._inner().reconstruct_n(start, min(GPU_BLOCK, len(ids) - start)))
            self._gpu = (index, ids, resources)
        return self._gpu[0], self._gpu[1]

    def apart(self) -> FaissIndex:
        """Return an index of the same vectors whose ``remove`` does not show in this one. Neither may be added to."""
        return copy.copy(self)

    def remove(self, ids: np.ndarray) -> None:
        """Hidden from searches (as no graph and no mapped file can let go of vectors); gone from disk when rebuilt."""
        self._dead = np.union1d(self._dead, np.intersect1d(ids, self.ids)).astype(np.int64)

    def save(self, path: Path) -> None:
        """Write the file, unflushed. Raises StoreError where ids were removed: build anew instead."""
        faiss = _faiss()

        if len(self._dead):
            raise StoreError(f"{len(self._dead)} vectors were removed from this index; build it anew to save it")
        with _translated(f"to write {path}"):
            faiss.write_index(self._index, str(path))
