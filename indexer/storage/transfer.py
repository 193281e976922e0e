"""Collections in forms that other programs read: Parquet, or JSON lines beside safetensors. And back.

An export is a folder: ``manifest.json`` (what made the vectors, and the roots), ``files.jsonl`` (one file a line), and
the passages, in the order of their files: ``passages.parquet`` with a column ``vector``, or ``passages.jsonl`` whose
n-th line belongs to the n-th row of ``vectors-00000.safetensors``, ``vectors-00001.safetensors``, … The terms of a
collection with a sparse index are a column, or key, ``terms``: pairs of term and weight.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from indexer.embedding.encoder import Terms
from indexer.errors import CorruptError, DataError, StoreError, UsageError
from indexer.storage.manifest import NAME as MANIFEST
from indexer.storage.manifest import Manifest
from indexer.storage.local.shards import DTYPES, read
from indexer.storage.local.store import Store
from indexer.types import Document, FileRecord, Passage, StoredPassage

Format = Literal["parquet", "safetensors"]
BATCH = 4_096
"""Passages written, or read, at a time."""

_PASSAGE = tuple(field.name for field in fields(Passage))
_DOCUMENT = ("path", "record", "kind", "title", "fields")


def export(store: Store, folder: Path, form: Format) -> int:
    """Write what the store shows into a new folder. The number of passages.

    Raises UsageError where the folder exists and is not empty, StoreError where it cannot be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already; name a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = list(store.files())
        with open(folder / "files.jsonl", "w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(asdict(file), ensure_ascii=False) + "\n" for file in files)
        shown = itertools.chain.from_iterable(store.passages(file.path) for file in files)
        written = (_write_parquet if form == "parquet" else _write_lines)(store, folder, _batches(shown))
        store.manifest.with_index(None).save(folder)
        (folder / "roots.json").write_text(json.dumps(store.roots(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error
    return written


def take_in(folder: Path, path: Path) -> int:
    """Make a collection at ``path`` of an export. The number of passages. The passages get new ids.

    Raises DataError where the folder is no whole export; the collection is then not made."""
    if not (folder / MANIFEST).is_file():
        raise DataError(f"{folder} is no export: it has no {MANIFEST}; make one with: semsearch export FOLDER")
    manifest = Manifest.load(folder)
    try:
        roots = json.loads((folder / "roots.json").read_text(encoding="utf-8"))
        lines = (folder / "files.jsonl").read_text(encoding="utf-8").split("\n")
        files = {line["path"]: FileRecord(**line) for line in map(json.loads, filter(None, lines))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is no whole export: {error}") from error
    rows = _read_parquet(folder) if (folder / "passages.parquet").is_file() else _read_lines(folder, manifest)
    with Store.create(path, manifest) as store:
        try:
            for root, options in roots.items():
                store.set_root(root, options)
            for file in files.values():
                store.record(file)
            for name, group in itertools.groupby(rows, key=lambda row: row[0]["path"]):
                if name not in files:
                    raise DataError(f"{folder}: passages of {name}, which is not in files.jsonl")
                _stage(store, files[name], group)
            store.finish()
        except BaseException as error:
            store.discard()
            if isinstance(error, (KeyError, TypeError, ValueError, OSError, CorruptError)):
                raise DataError(f"{folder} is no whole export: {error}") from error
            raise
        return store.counts().passages


def _stage(store: Store, file: FileRecord, rows: Iterable[tuple[dict[str, Any], np.ndarray]]) -> None:
    """One file's passages; equal texts have equal vectors, so a vector is found by its text."""
    vectors: dict[str, np.ndarray] = {}
    terms: dict[str, Terms] = {}

    def contents() -> Iterator[tuple[Document, list[Passage]]]:
        for _, group in itertools.groupby(rows, key=lambda row: [row[0][name] for name in _DOCUMENT]):
            parts = []
            for row, vector in group:
                parts.append(Passage(**{name: row[name] for name in _PASSAGE}))
                vectors[parts[-1].text] = vector
                if sparse:
                    terms[parts[-1].text] = {int(term): int(weight) for term, weight in row["terms"]}
            yield Document(row["path"], "", row["kind"], row["record"], row["title"], row["fields"]), parts

    sparse = store.manifest.sparse is not None
    store.stage(file, contents())
    while waiting := store.unembedded(BATCH):
        texts = [text for _, text in waiting]
        store.add_vectors(
            [number for number, _ in waiting],
            np.stack([vectors[text] for text in texts]),
            [terms[text] for text in texts] if sparse else None,
        )
    if len(vectors) > BATCH:
        store.commit()


def _batches(shown: Iterable[StoredPassage]) -> Iterator[list[StoredPassage]]:
    while batch := list(itertools.islice(shown, BATCH)):
        yield batch


def _rows(store: Store, batch: list[StoredPassage]) -> list[dict[str, Any]]:
    rows = []
    for found in batch:
        document = {name: getattr(found, name) for name in _DOCUMENT}
        rows.append({"id": found.id, **document, **asdict(found.passage)})
    if store.manifest.sparse is not None:
        for row, terms in zip(rows, store.terms([found.id for found in batch]), strict=True):
            row["terms"] = list(terms.items())
    return rows


def _stored(store: Store, batch: list[StoredPassage]) -> np.ndarray:
    """(n, d) in the collection's own type."""
    return store.vectors([found.id for found in batch]).astype(DTYPES[store.manifest.vector_dtype])


def _write_lines(store: Store, folder: Path, batches: Iterable[list[StoredPassage]]) -> int:
    from safetensors.numpy import save_file

    written = 0
    with open(folder / "passages.jsonl", "w", encoding="utf-8") as stream:
        for number, batch in enumerate(batches):
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(store, batch))
            ids = np.array([found.id for found in batch], np.int64)
            save_file({"ids": ids, "vectors": _stored(store, batch)}, folder / f"vectors-{number:05d}.safetensors")
            written += len(batch)
    return written


def _read_lines(folder: Path, manifest: Manifest) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    with open(folder / "passages.jsonl", encoding="utf-8") as stream:
        for path in sorted(folder.glob("vectors-*.safetensors")):
            ids, vectors = read(path)
            for number, vector in zip(ids, vectors, strict=True):
                row = json.loads(next(stream, "null"))
                if row is None or row["id"] != number:
                    raise DataError(f"{folder}: passages.jsonl and {path.name} do not fit each other")
                yield row, np.array(vector)
        if next(stream, None) is not None:
            raise DataError(f"{folder}: passages.jsonl has passages without a vector")


def _write_parquet(store: Store, folder: Path, batches: Iterable[list[StoredPassage]]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    number = pa.float16() if store.manifest.vector_dtype == "fp16" else pa.float32()
    text, integer = pa.string(), pa.int64()
    columns: dict[str, Any] = {"id": integer, **dict.fromkeys(_DOCUMENT, text), **dict.fromkeys(_PASSAGE, integer)}
    columns |= {"fields": pa.map_(text, text), "text": text, "vector": pa.list_(number, store.manifest.dim)}
    if store.manifest.sparse is not None:
        columns["terms"] = pa.map_(pa.int64(), pa.int32())
    schema = pa.schema(list(columns.items()))
    written = 0
    with parquet.ParquetWriter(folder / "passages.parquet", schema, compression="zstd") as writer:
        for batch in batches:
            rows = _rows(store, batch)
            arrays = {
                name: pa.array([list(row[name].items()) if name == "fields" else row[name] for row in rows], kind)
                for name, kind in columns.items()
                if name != "vector"
            }
            flat = pa.array(_stored(store, batch).ravel(), number)
            arrays["vector"] = pa.FixedSizeListArray.from_arrays(flat, store.manifest.dim)
            writer.write_table(pa.table(arrays, schema=schema))
            written += len(batch)
    return written


def _read_parquet(folder: Path) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(folder / "passages.parquet") as file:
            for batch in file.iter_batches(BATCH):
                vectors = np.stack(batch.column("vector").to_numpy(zero_copy_only=False)) if len(batch) else ()
                for row, vector in zip(batch.drop_columns(["vector"]).to_pylist(), vectors, strict=True):
                    yield row | {"fields": dict(row["fields"])}, vector
    except pa.ArrowException as error:
        raise DataError(f"{folder / 'passages.parquet'} cannot be read: {error}") from error
