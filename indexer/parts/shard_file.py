"""One shard: pieces of files with the vectors of their passages, in a safetensors file that its content names.

Beside ``DIGEST.safetensors`` lies ``DIGEST.json``, its manifest; a shard without one does not exist. The tensors:

- ``pieces``, ``documents``: JSON lines, as bytes (see ``pieces``).
- ``rows`` (p,) int32: passage → row of its vector; equal texts share one.
- ``vectors`` (n, d) float32, unit length.
- With a sparse index ``term_ends`` (n,), ``terms`` (t,) int64 and ``weights`` (t,) int32: text i has the terms from
  ``term_ends[i - 1]`` (0 for the first) to ``term_ends[i]``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.closing import Closing
from indexer.errors import DataError, FormatError, UsageError
from indexer.parts import pieces as lines
from indexer.parts.durable import write_whole
from indexer.parts.part import Part
from indexer.storage.manifest import Manifest
from indexer.types import Embedded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from indexer.parts.pieces import Entry, Piece

FORMAT = 1
"""Raised when shards written by this version could not be read by an older one."""
DATA, ABOUT = ".safetensors", ".json"


@dataclass(frozen=True)
class About:
    """The manifest of a shard."""

    manifest: Manifest
    """What made its vectors and passages."""
    part: Part
    bytes: int
    """Size of the data file."""
    passages: int

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON-ready values."""
        return {
            "shard": FORMAT,
            "part": [self.part.number, self.part.of],
            "bytes": self.bytes,
            "passages": self.passages,
            "manifest": self.manifest.to_dict(),
        }


def check_format(values: object, path: Path) -> None:
    """Refuse what a newer version wrote.

    Raises:
        FormatError: A newer version wrote it.
        ValueError: It is nothing of ours.
    """
    number = values.get("shard") if isinstance(values, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"its format is {number!r}")
    if number > FORMAT:
        raise FormatError(
            f"{path} has shard format {number}, this version of semsearch reads up to {FORMAT}: install a newer "
            "semsearch, or run the part again with this one into another folder (--shards)"
        )


def damaged(path: Path, why: object, part: Part | None = None) -> DataError:
    """Return the error of a file of shards that is not as it was written."""
    which = str(part) if part is not None else "I/N"
    return DataError(
        f"{path} is damaged: {why}; make it again with `semsearch index --shard {which}` and the options of before: "
        "only what is missing is embedded"
    )


def write_shard(folder: Path, manifest: Manifest, part: Part, pieces: Sequence[Piece], embedded: Embedded) -> str:
    """Write a shard into a folder, unless it is there. Return its name.

    Args:
        folder: Where shards are kept.
        manifest: What made the vectors.
        part: The part of a run that it belongs to.
        pieces: What it holds.
        embedded: The vectors of the pieces' distinct texts, in the order of ``distinct``.

    Raises:
        StoreError: It cannot be written.
    """
    from safetensors.numpy import save

    heads, documents = lines.write_pieces(pieces)
    places = {text: row for row, text in enumerate(distinct(pieces))}
    rows = np.array([places[passage.text] for piece in pieces for passage in piece.texts()], np.int32)
    tensors: dict[str, np.ndarray] = {
        "pieces": np.frombuffer(heads, np.uint8),
        "documents": np.frombuffer(documents, np.uint8),
        "rows": rows,
        "vectors": np.ascontiguousarray(embedded.vectors, np.float32),
    }
    if embedded.terms is not None:
        tensors["term_ends"] = np.cumsum([len(each) for each in embedded.terms], dtype=np.int64)
        tensors["terms"] = np.array([term for each in embedded.terms for term in each], np.int64)
        tensors["weights"] = np.array([weight for each in embedded.terms for weight in each.values()], np.int32)
    content = save(tensors)
    name = hashlib.sha256(content).hexdigest()
    about = About(manifest, part, len(content), len(rows))
    write_whole(folder / (name + DATA), content)
    write_whole(folder / (name + ABOUT), json.dumps(about.to_dict(), indent=1).encode())
    return name


def distinct(pieces: Sequence[Piece]) -> dict[str, int]:
    """Return the distinct texts of pieces, in order, each with its number of tokens."""
    return {passage.text: passage.tokens for piece in pieces for passage in piece.texts()}


def read_about(folder: Path, name: str, part: Part | None = None) -> About:
    """Return the manifest of a shard, for ``part`` where that is known.

    Raises:
        DataError: It is missing or damaged.
        FormatError: A newer version wrote it.
    """
    path = folder / (name + ABOUT)
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        check_format(values, path)
        number, of = values["part"]
        manifest = Manifest.from_dict(values["manifest"], str(path))
        return About(manifest, Part(number, of), int(values["bytes"]), int(values["passages"]))
    except FileNotFoundError as error:
        raise damaged(path, "it is missing", part) from error
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise damaged(path, error, part) from error


def verify(folder: Path, name: str, part: Part | None = None) -> About:
    """Read a shard to its end, and return its manifest.

    Raises:
        DataError: It is missing, truncated, or not what was written.
        FormatError: A newer version wrote it.
    """
    about = read_about(folder, name, part)
    path = folder / (name + DATA)
    try:
        size = path.stat().st_size
        if size != about.bytes:
            raise damaged(path, f"it has {size:,} bytes, and {about.bytes:,} were written", about.part)
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise damaged(path, error.strerror or error, about.part) from error
    if found != name:
        raise damaged(path, f"its SHA-256 is {found[:16]}… and not the one in its name", about.part)
    return about


class Shard(Closing):
    """An open shard: its pieces are read one by one."""

    def __init__(self, folder: Path, name: str):
        """Open it.

        Raises:
            DataError: It cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        opener: Any = safe_open  # which has no types
        self.path = folder / (name + DATA)
        self._by_path: dict[str, list[Entry]] | None = None
        try:
            self._file = opener(self.path, framework="numpy")
            self._file.__enter__()
            self._entries = lines.read_entries(bytes(self._file.get_tensor("pieces")))
            self._sparse = "term_ends" in self._file.keys()  # noqa: SIM118 - it is no mapping
            self._ends = self._file.get_tensor("term_ends") if self._sparse else np.empty(0, np.int64)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise damaged(self.path, error) from error

    @property
    def entries(self) -> list[Entry]:
        """What it holds, in order."""
        return self._entries

    def of(self, path: str) -> list[Entry]:
        """Return the entries of one file's pieces."""
        if self._by_path is None:
            self._by_path = {}
            for entry in self._entries:
                self._by_path.setdefault(entry.file.path, []).append(entry)
        return self._by_path.get(path, [])

    def close(self) -> None:
        """Let go of the file."""
        self._file.__exit__(None, None, None)

    def piece(self, entry: Entry) -> Piece:
        """Return one of the pieces.

        Raises:
            DataError: It is not as it was written.
        """
        try:
            return lines.read_piece(entry, bytes(self._part("documents", entry.start, entry.end)))
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(self.path, error) from error

    def embedded(self, entry: Entry) -> Embedded:
        """Return the vectors of a piece's passages: row i is of the i-th."""
        rows = self._part("rows", entry.first, entry.first + entry.passages)
        low, high = (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
        terms = tuple(self._terms(int(row)) for row in rows) if self._sparse else None
        return Embedded(np.arange(len(rows)), self._part("vectors", low, high)[rows - low], terms)

    def _terms(self, row: int) -> dict[int, int]:
        start, end = int(self._ends[row - 1]) if row else 0, int(self._ends[row])
        terms, weights = self._part("terms", start, end), self._part("weights", start, end)
        return dict(zip(terms.tolist(), weights.tolist(), strict=True))

    def _part(self, name: str, start: int, end: int) -> np.ndarray:
        """Return rows of a tensor; the rest of it is not read."""
        tensor = self._file.get_slice(name)
        if start == end:  # which the library refuses at the tensor's end
            return np.empty((0, *tensor.get_shape()[1:]), {"vectors": np.float32, "documents": np.uint8}.get(name, int))
        return np.asarray(tensor[start:end])
