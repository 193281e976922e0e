"""The manifest of a collection: what made its vectors, in a JSON file that people can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from indexer.embedding.encoder import EncoderSpec
from indexer.errors import CollectionNotFound, CorruptError, FormatError, SemsearchError, StoreError
from indexer.storage.local.files import write_bytes

NAME = "manifest.json"
FORMAT = 2
"""Raised when a collection written by this version could not be read by an older one."""

VectorDtype = Literal["fp16", "fp32"]


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
        for field_ in fields(self):
            value, kind = getattr(self, field_.name), {"int": int, "str": str}[str(field_.type)]
            if type(value) is not kind:
                raise ValueError(f"index.{field_.name} is {value!r}")


@dataclass(frozen=True)
class Manifest:
    """The static truth of a collection. Only ``index`` changes after its creation."""

    spec: EncoderSpec
    """Resolved: with the digests of the weights and the precision used."""
    dim: int
    vector_dtype: VectorDtype = "fp16"
    splitter: Mapping[str, object] = field(default_factory=dict)
    index_kind: str = "flat"
    sparse: int | None = None
    """Most terms of a passage in the sparse index; None: there is none."""
    metric: str = "inner product of unit vectors"
    format: int = FORMAT
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    index: IndexFile | None = None
    """None where the FAISS file is yet to be built."""

    def __post_init__(self) -> None:
        if not isinstance(self.dim, int) or self.dim < 1:
            raise StoreError(f"dim is {self.dim!r}; it is a whole number from 1 up")
        if self.sparse is not None and (type(self.sparse) is not int or self.sparse < 1):
            raise StoreError(f"sparse is {self.sparse!r}; it is a whole number from 1 up, or nothing")
        if self.vector_dtype not in ("fp16", "fp32"):
            raise StoreError(f"vector dtype is {self.vector_dtype!r}; it is fp16 or fp32")

    @property
    def fingerprint(self) -> str:
        return self.spec.fingerprint

    def same_collection(self, other: Manifest) -> bool:
        """Whether both are of one collection, at whatever times; false where another took its place."""
        return (self.created, self.fingerprint) == (other.created, other.fingerprint)

    def with_index(self, index: IndexFile | None) -> Manifest:
        return replace(self, index=index)

    def save(self, folder: Path) -> None:
        """Write durably, in one step."""
        values = {
            "format": self.format,
            "created": self.created,
            "fingerprint": self.fingerprint,
            "precision": self.spec.precision,
            "spec": self.spec.to_dict(),
            "dim": self.dim,
            "metric": self.metric,
            "vector_dtype": self.vector_dtype,
            "splitter": dict(self.splitter),
            "index_kind": self.index_kind,
            "sparse": self.sparse,
            "index": None if self.index is None else vars(self.index),
        }
        write_bytes(folder / NAME, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Raises CollectionNotFound, CorruptError (not what ``save`` writes) or FormatError (of a newer version)."""
        path = folder / NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CollectionNotFound(f"{folder} holds no collection: `semsearch index` makes one") from error
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise CorruptError(f"{path} is not JSON ({error}); restore it from a copy") from error
        try:
            number = values["format"]
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise ValueError(f"format is {number!r}")
            if number > FORMAT:
                raise FormatError(
                    f"{folder} has format {number}, this version of semsearch reads up to {FORMAT}: "
                    "install a newer semsearch"
                )
            manifest = cls(
                spec=EncoderSpec.from_dict(values["spec"], origin=str(path)),
                dim=values["dim"],
                vector_dtype=values["vector_dtype"],
                splitter=dict(values["splitter"]),
                index_kind=str(values["index_kind"]),
                sparse=values.get("sparse"),
                metric=str(values["metric"]),
                format=number,
                created=str(values["created"]),
                index=None if values["index"] is None else IndexFile(**values["index"]),
            )
            if manifest.fingerprint != values["fingerprint"]:
                raise ValueError(f"the spec's fingerprint is {manifest.fingerprint}, noted is {values['fingerprint']}")
        except FormatError:
            raise
        except (KeyError, TypeError, ValueError, SemsearchError) as error:
            raise CorruptError(f"{path} is damaged: {error}; restore it from a copy, or index anew") from error
        return manifest
