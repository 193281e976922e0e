"""Encode texts for evaluation: each distinct text once, kept on disk so that an interrupted run resumes.

The cache holds safetensors shards with the digests of the texts ``keys (n, 16) uint8`` and their unnormalised
``vectors (n, d) float32``, in a folder named after everything that decides the vectors: fingerprint, precision,
device, library versions, and the source of our own embedding code, so that a regression in it cannot hide behind
older vectors.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import indexer
from indexer.errors import ModelError
from semsearch.evaluation.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer.embedding.encoder import Encoder

SHARD_SECONDS = 5.0
"""A shard is written this often; an interruption costs at most so much work."""
MAX_CACHE_BYTES = 4 << 30
"""Above this the folders unused for longest are deleted; of vectors and of collections each."""


class Cache:
    """Vectors of one encoder on disk. Damaged shards are dropped: their texts are encoded again."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        """Use the folder of this encoder below ``folder``."""
        self.folder = folder / key(encoder)

    def read(self, wanted: dict[bytes, int], into: np.ndarray) -> np.ndarray:
        """Fill the rows of ``into`` whose text's digest is here.

        Args:
            wanted: Digest → row of ``into``.
            into: (n, d) float32.

        Returns:
            (n,) bool: the rows that were filled.
        """
        found = np.zeros(len(into), bool)
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="numpy") as shard:
                    keys, vectors = shard.get_tensor("keys"), shard.get_tensor("vectors")
            except (OSError, SafetensorError):
                path.unlink(missing_ok=True)
                continue
            pairs = [(i, wanted[k]) for i, k in enumerate(map(bytes, keys)) if k in wanted]
            if pairs and vectors.shape[1:] == into.shape[1:]:
                source, target = np.array(pairs).T
                into[target], found[target] = vectors[source], True
        if self.folder.is_dir():
            os.utime(self.folder)
        return found

    def write(self, keys: list[bytes], vectors: np.ndarray) -> None:
        """Write a shard of vectors, (n, d) float32, in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        aside = path.with_suffix(".tmp")
        digests = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)
        save_file({"keys": digests, "vectors": np.ascontiguousarray(vectors)}, aside)
        aside.replace(path)


class Vectors:
    """Text → its unnormalised vector."""

    def __init__(self, rows: dict[str, int], matrix: np.ndarray) -> None:
        """Look texts up in ``rows``, text → row of ``matrix`` (n, d)."""
        self._rows, self._matrix = rows, matrix

    def __getitem__(self, texts: Iterable[str]) -> np.ndarray:
        """Return (n, d) float32, row i for the i-th text."""
        return self._matrix[[self._rows[text] for text in texts]]


def encode(encoder: Encoder, texts: Iterable[str], cache: Path | None, progress: Progress = silent) -> Vectors:
    """Encode all ``texts``, each distinct one at most once.

    Args:
        encoder: Gives the vectors.
        texts: In any order; the same text may come twice.
        cache: Folder where vectors are kept between runs; None: nowhere.
        progress: Told the share of what is left to encode, by length of text.

    Raises:
        ModelError: The encoder gives NaN or infinity.
    """
    distinct = list(dict.fromkeys(texts))
    keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in distinct]
    matrix = np.zeros((len(distinct), encoder.dim), np.float32)
    shards = Cache(cache, encoder) if cache is not None else None
    done = shards.read({k: row for row, k in enumerate(keys)}, matrix) if shards else np.zeros(len(distinct), bool)
    sizes = np.array([len(text) + 1 for text in distinct], np.int64)
    left = np.flatnonzero(~done)
    what = f"encoding {len(left):,} texts ({len(distinct) - len(left):,} cached)"
    pending: list[int] = []
    written = time.monotonic()
    progress(what, 1.0 if not len(left) else 0.0)
    try:
        for positions, vectors in encoder.encode_batches([distinct[row] for row in left], normalize=False):
            rows = left[positions]
            if not np.isfinite(vectors).all():
                bad = rows[~np.isfinite(vectors).all(axis=1)]
                raise ModelError(
                    f"the encoder gave NaN or infinity for {len(bad)} of {len(rows)} texts, the first of them "
                    f"{distinct[bad[0]][:80]!r}; try --precision fp32, and check the adapter"
                )
            matrix[rows], done[rows] = vectors, True
            pending.extend(rows.tolist())
            if shards and time.monotonic() - written > SHARD_SECONDS:
                shards.write([keys[row] for row in pending], matrix[pending])
                pending, written = [], time.monotonic()
            progress(what, sizes[left[done[left]]].sum() / sizes[left].sum())  # by length, as time goes
    finally:
        if shards and pending:
            shards.write([keys[row] for row in pending], matrix[pending])
    if shards and len(left):
        prune(shards.folder)
    return Vectors({text: row for row, text in enumerate(distinct)}, matrix)


def prune(used: Path) -> None:
    """Delete the folders beside ``used``, those unused for longest first, until all are below MAX_CACHE_BYTES."""
    os.utime(used)
    folders = sorted((f for f in used.parent.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for folder in folders:
        total += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if total > MAX_CACHE_BYTES and folder != used:
            shutil.rmtree(folder, ignore_errors=True)


def key(encoder: Encoder, *packages: str) -> str:
    """Return a folder's name for what an encoder makes with these libraries and this code.

    The code is that of ``indexer/embedding`` and the other ``packages``.
    """
    code = " ".join(_code(package) for package in ("indexer/embedding", *packages))
    made_by = f"{code} {type(encoder).__qualname__} {getattr(encoder, 'device', '')}"
    return f"{encoder.spec.fingerprint}-{encoder.spec.precision}-{hashlib.sha256(made_by.encode()).hexdigest()[:12]}"


@functools.cache  # what this process runs does not change when a file does
def _code(package: str) -> str:
    digest, root = hashlib.sha256(), Path(indexer.__file__).parent.parent
    for path in sorted((root / package).rglob("*.py")):
        digest.update(path.read_bytes())
    for name in ("torch", "transformers", "peft"):
        digest.update(f"{name} {importlib.metadata.version(name)}".encode())
    return digest.hexdigest()
