"""Collections in forms that other programs read: Parquet, or JSON lines beside safetensors. And back.

An export is a folder: ``manifest.json`` (what made the vectors), ``roots.json``, ``files.jsonl`` (one file a line), and
the passages, in the order of their files: ``passages.parquet`` with a column ``vector``, or ``passages.jsonl`` whose
n-th line belongs to the n-th row of ``vectors-00000.safetensors``, ``vectors-00001.safetensors``, … The terms of a
collection with a sparse index are a column, or key, ``terms``: pairs of term and weight. ``before`` is the text of the
document that stands between the passage and the one before it; ``document``, with the first passage of each, is JSON of
what else a document has. Exports of version 0.1 have neither.

``Collection.export`` adds what is kept beside the passages where there is some: ``search.json``, the weights of the
retrievers, and ``judgements.jsonl``, what people said of answers, a line each as in ``indexer.judgements``.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from indexer.embedder import embed_waiting
from indexer.errors import CorruptError, DataError, FormatError, StoreError, UsageError
from indexer.storage.manifest import FORMAT, WORDS, Manifest
from indexer.storage.vectors import DTYPES
from indexer.types import Document, Embedded, FileRecord, Heading, Parsed, ParsedDocument, Passage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from indexer.storage.store import Snapshot, Store, Writer
    from indexer.types import StoredDocument, Work

Format = Literal["parquet", "safetensors"]
Row = dict[str, Any]
BATCH = 4_096
"""Passages written, or read, at a time."""
MANIFEST = "manifest.json"
_PASSAGE = tuple(field.name for field in fields(Passage))
_DOCUMENT = ("path", "record", "kind", "title", "fields")
_LAYOUT = ("line_start", "page_starts", "headings")


def export(snapshot: Snapshot, folder: Path, form: Format) -> int:
    """Write what a snapshot shows into a new folder. Return the number of passages.

    Raises:
        UsageError: The folder exists and is not empty.
        StoreError: It cannot be written, or passages have no vectors yet.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already; name a new folder")
    if pending := snapshot.counts().pending:
        raise StoreError(f"{pending} passages have no vectors yet: finish with `semsearch index`, then export")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "files.jsonl").open("w", encoding="utf-8") as stream:
            stream.writelines(_line(asdict(file)) for file in snapshot.files())
        write = _write_parquet if form == "parquet" else _write_lines
        rows = (row for document in snapshot.documents() for row in _rows(document))
        written = write(snapshot, folder, _batches(snapshot, rows))
        _write_json(folder / "roots.json", snapshot.roots())
        _write_json(folder / MANIFEST, snapshot.manifest.to_dict())
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error
    return written


def import_from(folder: Path, make: Callable[[Manifest], Store], discard: Callable[[Store], None]) -> int:
    """Make a collection of an export. Return the number of passages; they get new ids.

    Args:
        folder: The export.
        make: Makes an empty collection.
        discard: Deletes it again, where the export turns out not to be whole.

    Raises:
        DataError: The folder is no whole export; no collection is left.
    """
    manifest, roots, files = _head(folder)
    rows = _read_parquet(folder) if (folder / "passages.parquet").is_file() else _read_lines(folder)
    store = make(replace(manifest, words=WORDS, format=FORMAT))
    try:
        with store.writer() as writer:
            _fill(writer, folder, manifest, roots, files, rows)
            writer.finish()
        with store.snapshot() as snapshot:
            passages = snapshot.counts().passages
    except BaseException as error:
        discard(store)
        if isinstance(error, (KeyError, TypeError, ValueError, OSError, CorruptError)):
            raise DataError(f"{folder} is no whole export: {error}") from error
        raise
    store.close()
    return passages


# Writing


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _rows(each: StoredDocument) -> Iterator[Row]:
    """Yield a row for each passage of a document."""
    document = {name: getattr(each.document, name) for name in _DOCUMENT}
    tail = each.document.text[each.passages[-1].passage.end :] if each.passages else ""
    layout: str | None = _line({name: getattr(each.document, name) for name in _LAYOUT} | {"tail": tail}).strip()
    end = 0
    for part in each.passages:
        before = each.document.text[end : part.passage.start]
        yield {"id": part.id, **document, **asdict(part.passage), "before": before, "document": layout}
        end, layout = part.passage.end, None


def _batches(snapshot: Snapshot, rows: Iterator[Row]) -> Iterator[tuple[list[Row], np.ndarray]]:
    """Yield some rows at a time with their vectors (n, d), in the collection's own type."""
    dtype = DTYPES[snapshot.manifest.vector_dtype]
    while batch := list(itertools.islice(rows, BATCH)):
        ids = [row["id"] for row in batch]
        if snapshot.manifest.sparse is not None:
            for row, terms in zip(batch, snapshot.terms(ids), strict=True):
                row["terms"] = list(terms.items())
        yield batch, snapshot.vectors(ids).astype(dtype)


def _write_lines(snapshot: Snapshot, folder: Path, batches: Iterable[tuple[list[Row], np.ndarray]]) -> int:  # noqa: ARG001
    from safetensors.numpy import save_file

    written = 0
    with (folder / "passages.jsonl").open("w", encoding="utf-8") as stream:
        for number, (rows, vectors) in enumerate(batches):
            stream.writelines(map(_line, rows))
            ids = np.array([row["id"] for row in rows], np.int64)
            save_file({"ids": ids, "vectors": vectors}, folder / f"vectors-{number:05d}.safetensors")
            written += len(rows)
    return written


def _write_parquet(snapshot: Snapshot, folder: Path, batches: Iterable[tuple[list[Row], np.ndarray]]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    manifest = snapshot.manifest
    number = pa.float16() if manifest.vector_dtype == "fp16" else pa.float32()
    text, integer = pa.string(), pa.int64()
    columns: dict[str, Any] = {"id": integer, **dict.fromkeys(_DOCUMENT, text), **dict.fromkeys(_PASSAGE, integer)}
    columns |= {"fields": pa.map_(text, text), "text": text, "vector": pa.list_(number, manifest.dim)}
    columns |= dict.fromkeys(("heading", "before", "document"), text)
    if manifest.sparse is not None:
        columns["terms"] = pa.map_(pa.int64(), pa.int32())
    schema = pa.schema(list(columns.items()))
    written = 0
    with parquet.ParquetWriter(folder / "passages.parquet", schema, compression="zstd") as writer:
        for rows, vectors in batches:
            arrays = {
                name: pa.array([list(row[name].items()) if name == "fields" else row[name] for row in rows], kind)
                for name, kind in columns.items()
                if name != "vector"
            }
            flat = pa.array(vectors.ravel(), number)
            arrays["vector"] = pa.FixedSizeListArray.from_arrays(flat, manifest.dim)
            writer.write_table(pa.table(arrays, schema=schema))
            written += len(rows)
    return written


# Reading


def _head(folder: Path) -> tuple[Manifest, dict[str, dict[str, object]], dict[str, FileRecord]]:
    """Return manifest, roots and files of an export."""
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{folder} is no export: it has no {MANIFEST} that can be read; make one with: semsearch export FOLDER"
        ) from error
    except ValueError as error:
        raise DataError(f"{folder} is no whole export: {MANIFEST} is not JSON ({error})") from error
    try:
        manifest = Manifest.from_dict(values, str(folder))
        roots = json.loads((folder / "roots.json").read_text(encoding="utf-8"))
        lines = (folder / "files.jsonl").read_text(encoding="utf-8").split("\n")
        files = {line["path"]: _file(line) for line in map(json.loads, filter(None, lines))}
    except FormatError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StoreError) as error:
        raise DataError(f"{folder} is no whole export: {error}") from error
    return manifest, dict(roots), files


def _file(line: Row) -> FileRecord:
    return FileRecord(**line | {"warnings": tuple(line.get("warnings", ()))})


def _fill(
    writer: Writer,
    folder: Path,
    manifest: Manifest,
    roots: dict[str, dict[str, object]],
    files: dict[str, FileRecord],
    rows: Iterator[tuple[Row, np.ndarray]],
) -> None:
    """Stage every file, and give its passages the vectors that the export has."""
    for root, options in roots.items():
        writer.set_root(root, options)
    exported = _Exported(manifest.sparse is not None)
    seen = set()
    for path, group in itertools.groupby(rows, key=lambda row: row[0]["path"]):
        if path not in files:
            raise DataError(f"{folder}: passages of {path}, which is not in files.jsonl")
        seen.add(path)
        writer.stage(Parsed(files[path], tuple(exported.documents(group))))
        if len(exported) >= BATCH:
            embed_waiting(writer, exported)
            exported.clear()
    embed_waiting(writer, exported)
    for path in files.keys() - seen:
        writer.stage(Parsed(files[path], ()))


@dataclass
class _Vectors:
    vector: np.ndarray
    terms: dict[int, int]


class _Exported:
    """An Embedder that knows the vectors of the texts that were read last."""

    window = BATCH

    def __init__(self, sparse: bool):
        self._sparse = sparse
        self._known: dict[str, _Vectors] = {}

    def __len__(self) -> int:
        return len(self._known)

    def clear(self) -> None:
        self._known.clear()

    def documents(self, rows: Iterator[tuple[Row, np.ndarray]]) -> Iterator[ParsedDocument]:
        """Yield the documents of one file's rows, and remember their vectors."""
        for _, group in itertools.groupby(_numbered(rows), key=lambda each: each[0]):
            parts: list[Passage] = []
            text, layout = "", None
            row: Row = {}
            for _, row, vector in group:
                layout = row.get("document") or layout
                part = Passage(**{name: row[name] for name in _PASSAGE if name in row})
                between = row.get("before")
                text += _between(part, parts) if between is None else between
                text += part.text
                parts.append(part)
                terms = {int(term): int(weight) for term, weight in row["terms"]} if self._sparse else {}
                self._known[part.text] = _Vectors(vector, terms)
            yield ParsedDocument(_document(row, text, layout), tuple(parts))

    def embed(self, works: Sequence[Work]) -> Iterator[Embedded]:
        """Yield the vectors that the export has."""
        found = [self._known[work.text] for work in works]
        yield Embedded(
            np.array([work.id for work in works], np.int64),
            np.stack([each.vector for each in found]).astype(np.float32),
            tuple(each.terms for each in found) if self._sparse else None,
        )


def _document(row: Row, text: str, layout: str | None) -> Document:
    """Return the document that a row belongs to; ``layout`` is what else is known of it."""
    more = json.loads(layout) if layout else {}
    return Document(
        row["path"],
        text + more.get("tail", ""),
        row["kind"],
        row["record"],
        row["title"],
        row["fields"],
        line_start=more.get("line_start", 1),
        page_starts=tuple(more.get("page_starts", ())),
        headings=tuple(Heading(*each) for each in more.get("headings", ())),
    )


def _numbered(rows: Iterator[tuple[Row, np.ndarray]]) -> Iterator[tuple[int, Row, np.ndarray]]:
    """Number the documents of one file's rows: a new one begins where what describes it changes, or offsets go back."""
    number, last, end = 0, None, 0
    for row, vector in rows:
        described = [row[name] for name in _DOCUMENT]
        if last is not None and (described != last or row["start"] < end or row.get("document")):
            number += 1
        last, end = described, row["end"]
        yield number, row, vector


def _between(part: Passage, before: Sequence[Passage]) -> str:
    """Make up the white space before a passage, of which an old export says only how long it is."""
    end, line = (before[-1].end, before[-1].line_end) if before else (0, part.line_start)
    size = part.start - end
    lines = min(size, part.line_start - line)
    return "\n" * lines + " " * (size - lines)


def _read_lines(folder: Path) -> Iterator[tuple[Row, np.ndarray]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    with (folder / "passages.jsonl").open(encoding="utf-8") as stream:
        for path in sorted(folder.glob("vectors-*.safetensors")):
            try:
                tensors = load_file(path)
            except SafetensorError as error:
                raise DataError(f"{path} cannot be read: {error}") from error
            for number, vector in zip(tensors["ids"], tensors["vectors"], strict=True):
                row = json.loads(next(stream, "null"))
                if row is None or row["id"] != number:
                    raise DataError(f"{folder}: passages.jsonl and {path.name} do not fit each other")
                yield row, vector
        if next(stream, None) is not None:
            raise DataError(f"{folder}: passages.jsonl has passages without a vector")


def _read_parquet(folder: Path) -> Iterator[tuple[Row, np.ndarray]]:
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
