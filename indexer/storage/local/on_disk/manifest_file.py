"""manifest.json: a collection's manifest and the note of its FAISS file, in a form that people can read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from indexer.errors import CollectionNotFound, CorruptError, FormatError, StoreError
from indexer.storage.local.on_disk.files import write_bytes
from indexer.storage.manifest import FORMAT, Manifest
from indexer.storage.planner import RECALL
from indexer.types import IndexReport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "manifest.json"


@dataclass(frozen=True)
class IndexFile:
    """The derived FAISS file: what it was built from, how well it finds, and how to tell that it is whole."""

    factory: str
    generation: int
    rows: int
    size: int
    mtime_ns: int
    sha256: str
    name: str = "index.faiss"
    why: str = ""
    """Why it was planned so."""
    named: str | None = None
    """The factory that a person had asked for; None: it was planned."""
    effort: Mapping[str, float] = field(default_factory=dict)
    asked: float = RECALL
    recall: float | None = None
    """The recall@10 that was measured; None: it has not been, as in collections of format 3 and before."""
    sampled: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Check the types.

        Raises:
            ValueError: One of them is wrong.
        """
        kinds: dict[str, tuple[type, ...]] = dict.fromkeys(
            ("generation", "rows", "size", "mtime_ns", "sampled"), (int,)
        )
        kinds |= dict.fromkeys(("factory", "sha256", "name", "why"), (str,))
        kinds |= {"asked": (int, float), "seconds": (int, float), "recall": (int, float, type(None))}
        kinds |= {"named": (str, type(None))}
        for name, allowed in kinds.items():
            if type(getattr(self, name)) not in allowed:
                raise ValueError(f"index.{name} is {getattr(self, name)!r}")
        if not isinstance(self.effort, dict) or not all(isinstance(each, int | float) for each in self.effort.values()):
            raise ValueError(f"index.effort is {self.effort!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], dtype: str) -> IndexFile:
        """Return the note of a manifest, also of one of format 3 and before, which said a kind and no factory.

        Raises:
            ValueError: A value is of a wrong type.
            TypeError: One is missing, or there is one too many.
        """
        noted = dict(values)
        if "kind" in noted and "factory" not in noted:
            kind = noted.pop("kind")
            noted["factory"] = {"flat": "Flat" if dtype == "fp32" else "SQfp16", "sq8": "SQ8"}.get(kind, kind)
        return cls(**noted)

    def asked_as(self, manifest: Manifest) -> bool:
        """Return whether it is what the manifest asks for: the factory, where one is named, and the recall."""
        return self.named == manifest.index_plan and self.asked == manifest.index_recall

    def report(self) -> IndexReport:
        """Return what ``status`` says of it."""
        return IndexReport(
            factory=self.factory,
            rows=self.rows,
            bytes=self.size,
            why=self.why,
            search=dict(self.effort),
            asked=self.asked,
            recall=self.recall,
            sampled=self.sampled,
            seconds=self.seconds,
        )


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
        values = {**self.manifest.to_dict(), "index": None if self.index is None else asdict(self.index)}
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
            note, manifest = values["index"], Manifest.from_dict(values, str(folder))
            return cls(manifest, None if note is None else IndexFile.from_dict(note, manifest.vector_dtype))
        except FormatError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"{path} is damaged: {error}; restore it from a copy, or index anew") from error
