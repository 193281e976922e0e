"""What a run tells of itself while it goes on: one callable that is given small events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from indexer.types import IndexReport


@dataclass(frozen=True)
class FileRead:
    """One more file has been read and split."""

    path: str
    files: int
    """Files of this run so far, this one included."""


@dataclass(frozen=True)
class Planned:
    """It is known how much there is to embed."""

    texts: int
    """Distinct texts that wait for a vector."""
    tokens: int
    """Their tokens, without template."""
    seconds: float | None
    """How long embedding them is estimated to take; None for short runs."""


@dataclass(frozen=True)
class TextsEmbedded:
    """So many more texts have vectors."""

    texts: int
    tokens: int


@dataclass(frozen=True)
class ShardWritten:
    """One more shard of a part is there."""

    files: int
    """Files of this run that are in shards so far."""
    of: int
    """Files that this run has to read."""
    texts: int
    """Texts that were embedded for it."""
    tokens: int


@dataclass(frozen=True)
class IndexPlanned:
    """The index of the vectors is about to be built."""

    factory: str
    """FAISS's name of it."""
    rows: int
    """Passages that go into it."""
    bytes: int
    """Predicted, of its file."""
    seconds: float
    """Predicted, of building it."""
    why: str


@dataclass(frozen=True)
class IndexBuilt:
    """The index of the vectors is built, and what it finds is measured."""

    report: IndexReport


Event: TypeAlias = FileRead | Planned | TextsEmbedded | ShardWritten | IndexPlanned | IndexBuilt
Progress: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """Say nothing: the progress of whoever does not want to hear of any."""
