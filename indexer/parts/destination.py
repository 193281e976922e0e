"""Where workers put what they have read and embedded: into shards, or straight into a collection that many write to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from indexer.embedder import embed_waiting
from indexer.parts.produce import Written, write_pieces
from indexer.pipeline import Report, holds_something

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from indexer.parts.part import Part
    from indexer.parts.pieces import Piece
    from indexer.parts.produce import Remembering
    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Store


class Destination(Protocol):
    """Takes pieces of files. It is sent to other machines, so that all in it can be pickled."""

    @property
    def whole(self) -> bool:
        """Whether files come as one piece, however large they are."""
        ...

    def write(self, pieces: Sequence[Piece], embedder: Remembering) -> Written:
        """Embed pieces and keep them, durably."""
        ...


@dataclass(frozen=True)
class Shards:
    """A folder of shards, in the same place on all machines."""

    folder: Path
    manifest: Manifest
    part: Part
    whole: bool = False

    def write(self, pieces: Sequence[Piece], embedder: Remembering) -> Written:
        """Write a shard."""
        return write_pieces(self.folder, self.manifest, self.part, pieces, embedder)


@dataclass(frozen=True)
class OneCollection:
    """A collection that any number of processes write to at a time."""

    open_store: Callable[[], Store]
    whole: bool = True

    def write(self, pieces: Sequence[Piece], embedder: Remembering) -> Written:
        """Stage files, and embed what waits: these texts, and those that others have left."""
        report = Report()
        with _opened(self.open_store).writer() as writer:
            staged = [piece.parsed for piece in pieces if holds_something(piece.parsed)]
            reused = sum(writer.stage(parsed).reused for parsed in staged)
            writer.commit()
            embed_waiting(writer, embedder, report.hear)
        return Written(
            None,
            texts=report.embedded,
            staged=tuple(parsed.file for parsed in staged),
            left_out=tuple(piece.parsed.file for piece in pieces if not holds_something(piece.parsed)),
            reused=reused,
        )


@cache
def _opened(open_store: Callable[[], Store]) -> Store:
    """Return the store of a worker's process, which writes to it many times."""
    return open_store()
