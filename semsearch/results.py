"""The values that say what was done to a collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.embedding.spec import EncoderSpec
    from indexer.parts.part import Part
    from indexer.pipeline import Report


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


@dataclass(frozen=True)
class Merged:
    """What ``merge`` did."""

    report: Report
    """As of one run; ``embedded`` counts the texts whose vectors the shards had."""
    unfinished: tuple[Part, ...]
    """Parts that are not made yet: nothing that is gone was removed."""
    pending: int
    """Passages that wait for vectors all the same: of runs that were broken off."""
