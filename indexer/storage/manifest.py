"""The manifest of a collection: what made its vectors and words. A value; each store keeps it in its own way."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from indexer.embedding.spec import EncoderSpec
from indexer.errors import FormatError, SemsearchError, StoreError
from indexer.storage.planner import RECALL, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 4
"""Raised when a collection written by this version could not be read by an older one."""
WORDS = 2
"""The analysis of words that new collections are made with, see ``Manifest.words``."""

VectorDtype = Literal["fp16", "fp32"]


def moment() -> str:
    """Return the time now as a manifest notes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Manifest:
    """What made the vectors and words of a collection; fixed when it is made."""

    spec: EncoderSpec
    """Resolved: with the digests of the weights and the precision used."""
    dim: int
    vector_dtype: VectorDtype = "fp16"
    splitter: Mapping[str, object] = field(default_factory=dict)
    index_plan: str | None = None
    """Factory of the vectors' index that a person has asked for; None: it is planned, see ``planner``."""
    index_recall: float = RECALL
    """The recall@10 that the index is to have."""
    sparse: int | None = None
    """Most terms of a passage in the sparse index; None: there is none."""
    words: int = WORDS
    """1: words as SQLite's FTS5 tells them apart and stems them (collections made before version 0.2); 2: as
    ``indexer.words`` does."""
    metric: str = "inner product of unit vectors"
    format: int = FORMAT
    created: str = field(default_factory=moment)
    """With the fingerprint it tells collections apart, also two that follow each other in one place within a second."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            StoreError: One of them cannot be.
            UsageError: The index plan is none.
        """
        if not isinstance(self.dim, int) or self.dim < 1:
            raise StoreError(f"dim is {self.dim!r}; it is a whole number from 1 up")
        if self.sparse is not None and (type(self.sparse) is not int or self.sparse < 1):
            raise StoreError(f"sparse is {self.sparse!r}; it is a whole number from 1 up, or nothing")
        if self.vector_dtype not in ("fp16", "fp32"):
            raise StoreError(f"vector dtype is {self.vector_dtype!r}; it is fp16 or fp32")
        if self.index_plan is not None:
            Shape.of(self.index_plan, self.dim)
        if not isinstance(self.index_recall, float) or not 0 < self.index_recall <= 1:
            raise StoreError(f"index recall is {self.index_recall!r}; it is a number above 0 and at most 1, as in 0.95")
        if self.words not in (1, 2):
            raise StoreError(f"words is {self.words!r}; it is 1 or 2")

    @property
    def fingerprint(self) -> str:
        """The encoder's fingerprint."""
        return self.spec.fingerprint

    def same_collection(self, other: Manifest) -> bool:
        """Tell whether both are of one collection; false where another took its place."""
        return (self.created, self.fingerprint) == (other.created, other.fingerprint)

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON-ready values."""
        return {
            "format": self.format,
            "created": self.created,
            "fingerprint": self.fingerprint,
            "precision": self.spec.precision,
            "spec": self.spec.to_dict(),
            "dim": self.dim,
            "metric": self.metric,
            "vector_dtype": self.vector_dtype,
            "splitter": dict(self.splitter),
            "index_plan": self.index_plan,
            "index_recall": self.index_recall,
            "sparse": self.sparse,
            "words": self.words,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str) -> Manifest:
        """Return the manifest of what ``to_dict`` gave; ``origin`` names the place for messages.

        Raises:
            FormatError: A newer version wrote it.
            ValueError: It is not what ``to_dict`` gives.
        """
        try:
            number = values["format"]
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise ValueError(f"format is {number!r}")
            if number > FORMAT:
                raise FormatError(
                    f"{origin} has format {number}, this version of semsearch reads up to {FORMAT}: "
                    "install a newer semsearch"
                )
            manifest = cls(
                spec=EncoderSpec.from_dict(values["spec"], origin=origin),
                dim=values["dim"],
                vector_dtype=values["vector_dtype"],
                splitter=dict(values["splitter"]),
                index_plan=values.get("index_plan"),
                index_recall=values.get("index_recall", RECALL),
                sparse=values.get("sparse"),
                words=values.get("words", 1),
                metric=str(values["metric"]),
                format=number,
                created=str(values["created"]),
            )
            if manifest.fingerprint != values["fingerprint"]:
                raise ValueError(f"the spec's fingerprint is {manifest.fingerprint}, noted is {values['fingerprint']}")
        except FormatError:
            raise
        except (KeyError, TypeError, SemsearchError) as error:
            raise ValueError(str(error)) from error
        return manifest
