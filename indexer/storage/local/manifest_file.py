"""manifest.json: a collection's manifest and the note of its FAISS file, in a form that people can read."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from indexer.errors import CollectionNotFound, CorruptError, FormatError, StoreError
from indexer.storage.local.files import write_bytes
from indexer.storage.manifest import FORMAT, Manifest

if TYPE_CHECKING:
    from pathlib import Path

NAME = "manifest.json"


@dataclass(frozen=True)
class IndexFile:
    """The derived FAISS file: what it was built from, and how to tell that it is whole."""

    kind: str
    generation: int
    rows: int
    size: int
    mtime_ns: int
    sha256: str
    name: str = "index.faiss"

    def __post_init__(self) -> None:
        """Check the types.

        Raises:
            ValueError: One of them is wrong.
        """
        for field_ in fields(self):
            value, kind = getattr(self, field_.name), {"int": int, "str": str}[str(field_.type)]
            if type(value) is not kind:
                raise ValueError(f"index.{field_.name} is {value!r}")


@dataclass(frozen=True)
class ManifestFile:
    """The content of manifest.json."""

    manifest: Manifest
    index: IndexFile | None = None
    """None where the FAISS file is yet to be built."""

    def with_index(self, index: IndexFile | None) -> ManifestFile:
        """Return it with another FAISS file noted."""
        return replace(self, index=index)

    def at_newest_format(self) -> ManifestFile:
        """Return it as this version writes collections: older versions then refuse to read this one."""
        return replace(self, manifest=replace(self.manifest, format=FORMAT))

    def save(self, folder: Path) -> None:
        """Write durably, in one step."""
        values = {**self.manifest.to_dict(), "index": None if self.index is None else vars(self.index)}
        write_bytes(folder / NAME, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> ManifestFile:
        """Read the manifest of a folder.

        Raises:
            CollectionNotFound: There is none.
            CorruptError: It is not what ``save`` writes.
            FormatError: A newer version wrote it.
            StoreError: It cannot be read.
        """
        path = folder / NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CollectionNotFound(f"{folder} holds no collection: `semsearch index` makes one") from error
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise CorruptError(f"{path} is not JSON ({error}); restore it from a copy") from error
        try:
            note = values["index"]
            return cls(Manifest.from_dict(values, str(folder)), None if note is None else IndexFile(**note))
        except FormatError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"{path} is damaged: {error}; restore it from a copy, or index anew") from error
