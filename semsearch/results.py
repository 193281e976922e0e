"""The values that say what was done to a collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.embedding.spec import EncoderSpec


@dataclass(frozen=True)
class Compaction:
    """What ``compact`` did."""

    dropped: int
    """Passages."""
    before: int
    """Bytes on disk."""
    after: int


@dataclass(frozen=True)
class Reindexed:
    """What ``reindex`` did."""

    name: str
    spec: EncoderSpec
    """The collection's encoder now."""
    before: str
    """Name under which the old collection stays."""
    before_place: str
    weights_left: bool
    """Whether the old one has weights of its own, which suit its encoder alone."""
