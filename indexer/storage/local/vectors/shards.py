"""Raw vectors: immutable safetensors files, memory-mapped for reading, each vector found by its id."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import CorruptError
from indexer.storage.local.on_disk.files import sha256, sync_folder, write_bytes
from indexer.storage.vectors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FEW = 16
"""Vectors a shard up to which they are read one by one: they lie far apart, and no shard has many of them."""
_NAMES: dict[str, np.dtype[Any]] = {"F16": DTYPES["fp16"], "F32": DTYPES["fp32"], "I64": np.dtype("<i8")}


@dataclass(frozen=True)
class Shard:
    """One file of vectors, as the catalog registers it."""

    name: str
    rows: int
    size: int
    mtime_ns: int
    sha256: str


def write(folder: Path, ids: np.ndarray, vectors: np.ndarray) -> Shard:
    """Write (n,) int64 ascending ids with their (n, d) vectors durably; no reader knows the file yet."""
    from safetensors.numpy import save

    path = folder / f"{int(ids[0]):012d}-{secrets.token_hex(4)}.safetensors"
    write_bytes(path, save({"ids": np.ascontiguousarray(ids), "vectors": np.ascontiguousarray(vectors)}))
    stat = path.stat()
    return Shard(path.name, len(ids), stat.st_size, stat.st_mtime_ns, sha256(path))


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return (ids (n,) int64, vectors (n, d)), both memory-mapped.

    Raises:
        CorruptError: It is anything but such a file.
    """
    try:
        data = np.memmap(path, np.uint8, mode="r")
    except (ValueError, OSError) as error:
        raise CorruptError(f"{path} is not the shard that was written: {error}; run `semsearch doctor`") from error
    return parse(data, path)


def parse(data: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return (ids, vectors) of a mapped file, see ``read``."""
    try:
        length = int.from_bytes(data[:8].tobytes(), "little")
        if not 2 <= length <= min(len(data) - 8, 100_000):
            raise ValueError(f"its header has {length} bytes of {len(data)}")
        header = json.loads(data[8 : 8 + length].tobytes())
        arrays = []
        for name, rank in (("ids", 1), ("vectors", 2)):
            entry = header[name]
            dtype, shape, (start, end) = _NAMES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
            if len(shape) != rank or not 0 <= start <= end <= len(data) - 8 - length:
                raise ValueError(f"{name} has shape {shape} at {start}:{end}")
            arrays.append(data[8 + length + start : 8 + length + end].view(dtype).reshape(shape))
        ids, vectors = arrays
        if ids.dtype != _NAMES["I64"] or vectors.dtype == ids.dtype or len(ids) != len(vectors):
            raise ValueError(f"ids {ids.dtype} {ids.shape}, vectors {vectors.dtype} {vectors.shape}")
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise CorruptError(f"{path} is not the shard that was written: {error}; run `semsearch doctor`") from error
    return ids, vectors


class ShardSet:
    """The shards of one moment: vectors by id, wherever they are.

    Once they are mapped (``pin``), files that a compaction removes stay readable.
    """

    def __init__(
        self, folder: Path, shards: Sequence[Shard], dim: int, dtype: np.dtype, earlier: ShardSet | None = None
    ):
        """Take what ``earlier`` has mapped already."""
        self.shards = tuple(shards)
        self.dim = dim
        self.dtype = dtype
        self._folder = folder
        self._lock = threading.Lock()
        known = {} if earlier is None else earlier._mapped
        self._mapped: dict[str, np.ndarray | OSError] = {
            shard.name: known[shard.name] for shard in self.shards if shard.name in known
        }
        self._arrays: list[np.ndarray] | None = None
        self._ids = np.empty(0, np.int64)  # ascending, over all shards
        self._where = np.empty(0, np.int64)  # shard number << 40 | row, beside _ids

    def pin(self) -> bool:
        """Map every file. Tell whether all are there; one that is not is an error only when it is needed."""
        for shard in self.shards:
            if not isinstance(self._mapped.get(shard.name), np.ndarray):
                try:
                    self._mapped[shard.name] = np.memmap(self._folder / shard.name, np.uint8, mode="r")
                except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
                    self._mapped[shard.name] = OSError(str(error))
        return all(isinstance(data, np.ndarray) for data in self._mapped.values())

    def _open(self) -> list[np.ndarray]:
        with self._lock:
            if self._arrays is None:
                self.pin()
                arrays, ids, where = [], [], []
                for number, shard in enumerate(self.shards):
                    numbers, vectors = self._parts(shard)
                    arrays.append(np.asarray(vectors))  # a plain array of the same memory: its rows are had sooner
                    ids.append(numbers)
                    where.append(np.arange(len(numbers)) | number << 40)
                if arrays:
                    joined = np.concatenate(ids)
                    order = np.argsort(joined, kind="stable")
                    self._ids, self._where = joined[order], np.concatenate(where)[order]
                self._arrays = arrays
            return self._arrays

    def _parts(self, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        path, data = self._folder / shard.name, self._mapped[shard.name]
        if isinstance(data, OSError):
            raise CorruptError(f"{path} is missing or cannot be read ({data}); run `semsearch doctor`") from data
        if len(data) != shard.size or not _as_noted(path, shard, data):
            raise CorruptError(f"{path} differs from what was written; run `semsearch doctor`")
        numbers, vectors = parse(data, path)
        if vectors.shape != (shard.rows, self.dim) or vectors.dtype != self.dtype:
            raise CorruptError(
                f"{path} holds {vectors.dtype} {vectors.shape}, expected {self.dtype} "
                f"{(shard.rows, self.dim)}; run `semsearch doctor`"
            )
        return numbers, vectors

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (present (n,) bool, vectors (number present, d) as stored) of the ids (n,).

        Raises:
            CorruptError: A shard is gone or altered.
        """
        arrays = self._open()
        if not len(self._ids):
            return np.zeros(len(ids), bool), np.empty((0, self.dim), self.dtype)
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        present = self._ids[at] == ids
        where = self._where[at if present.all() else at[present]]
        shard, row = where >> 40, where & ((1 << 40) - 1)
        vectors = np.empty((len(where), self.dim), self.dtype)
        if len(where) < FEW * len(arrays):
            for place, (number, mine) in enumerate(zip(shard.tolist(), row.tolist(), strict=True)):
                vectors[place] = arrays[number][mine]
            return present, vectors
        for number in np.unique(shard):
            mine = shard == number
            vectors[mine] = arrays[number][row[mine]]
        return present, vectors


def _as_noted(path: Path, shard: Shard, data: np.ndarray) -> bool:
    """Tell whether a mapped file is the one that was written: by its time, else by its bytes."""
    try:
        if path.stat().st_mtime_ns == shard.mtime_ns:
            return True
    except OSError:  # removed since it was mapped: nothing to go by but its bytes
        pass
    return hashlib.sha256(data.data).hexdigest() == shard.sha256


def remove(folder: Path, names: Sequence[str]) -> None:
    """Delete shards that the catalog no longer names (readers that have them open keep them)."""
    for name in names:
        with suppress(OSError):  # still mapped, on Windows: the next writer clears it
            os.unlink(folder / name)
    if names:
        sync_folder(folder)
