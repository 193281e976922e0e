"""Where workers put what they have read and embedded: into shards, or straight into a collection that many write to."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from indexer.embedder import embed_waiting
from indexer.errors import ClusterError
from indexer.parts.durable import ASIDE
from indexer.parts.produce import Written, write_pieces
from indexer.pipeline import Report, holds_something

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from indexer.parts.part import Part
    from indexer.parts.pieces import Piece
    from indexer.parts.produce import Remembering
    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Store

TRIES = 3
"""Times that a worker may die of the same passages before the run is given up."""


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
    tries: int = TRIES
    whole: bool = False

    def write(self, pieces: Sequence[Piece], embedder: Remembering) -> Written:
        """Write a shard.

        Raises:
            ClusterError: Workers have died of these pieces again and again.
        """
        with self._counted(pieces):
            return write_pieces(self.folder, self.manifest, self.part, pieces, embedder)

    @contextmanager
    def _counted(self, pieces: Sequence[Piece]) -> Iterator[None]:
        """Count how often pieces were begun: whoever runs the workers may begin again for ever."""
        paths = sorted({piece.parsed.file.path for piece in pieces})
        key = "\n".join([*paths, *(f"{piece.number}/{piece.of}" for piece in pieces)])
        begun = self.folder / f".{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()}{ASIDE}"
        with begun.open("ab") as stream:
            stream.write(b".")
        if begun.stat().st_size > self.tries:
            begun.unlink()
            raise ClusterError(
                f"{self.tries} workers have died while they embedded {', '.join(paths[:3])} or files beside them: look "
                "at their memory; a smaller --batch-tokens needs less"
            )
        yield
        begun.unlink(missing_ok=True)


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
