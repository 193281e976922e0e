"""Take the shards of a run into a collection, as if one process had read and embedded all files."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from indexer.closing import Closing
from indexer.embedder import WINDOW
from indexer.errors import DataError
from indexer.parts.agreement import check_alike
from indexer.parts.shard_file import damaged
from indexer.pipeline import Report, ended, take_in
from indexer.plan import make_plan
from indexer.progress import Progress, silent
from indexer.types import Embedded

if TYPE_CHECKING:
    from collections.abc import Generator

    from indexer.parts.folder import Gathered, ShardFolder
    from indexer.parts.pieces import Entry
    from indexer.parts.shard_file import Shard
    from indexer.plan import Plan
    from indexer.storage.store import Store, Writer
    from indexer.types import Parsed, Work

OPEN = 64
"""Shards that are open at a time: the files of a run come in the order of their paths, from all parts in turn."""


def merge(store: Store, folder: ShardFolder, gathered: Gathered, progress: Progress = silent) -> Report:
    """Bring a collection up to date with what the finished parts of a run found.

    It can be done again at any time, in whole or after more parts are finished, and goes on where it was broken off.
    Files that are gone leave the collection only where every part is finished.

    Args:
        store: The collection.
        folder: The shards.
        gathered: What they say, and that they are whole.
        progress: Hears of every file.

    Raises:
        MismatchError: The collection was made by another encoder, or is split otherwise.
        DataError: Shards are missing.
        LockedError: Another process writes to the collection.
    """
    started = time.monotonic()
    mend = "merge into another collection (--collection), or make shards with the options of this one"
    check_alike(gathered.manifest, store.manifest, str(folder), f"collection {store.name!r}", mend)
    report = Report()
    with store.writer() as writer, _Vectors(folder) as vectors:
        with store.snapshot() as snapshot:
            plan = make_plan(snapshot, gathered.walk, whole=not gathered.unfinished)
        _check_there(plan, gathered, store.name)

        def commit() -> None:
            report.embedded += vectors.give(writer)  # no commit leaves a text of these files without its vector
            writer.commit()

        with closing(vectors.files(plan, gathered)) as results:
            take_in(writer, plan, results, commit, report, progress)
        writer.finish(progress)
    return ended(report, store, started)


def _check_there(plan: Plan, gathered: Gathered, name: str) -> None:
    """Refuse, before anything is changed, files that neither the shards nor the collection have."""
    for each in plan.read:
        part, listed = gathered.files[each.file.path]
        known = each.before.digest if each.before is not None else None
        if not listed.shards and (listed.digest is None or listed.digest != known):
            raise DataError(
                f"{each.file.path} is in no shard: when part {part} was made, a collection had it as it is, and "
                f"{name!r} has not; make the part again for this collection: semsearch index --shard {part} "
                f"--collection {name}, which reads only what is missing"
            )


class _Vectors(Closing):
    """The vectors of the files that were read last, by their texts."""

    def __init__(self, folder: ShardFolder):
        self._folder = folder
        self._open: OrderedDict[str, Shard] = OrderedDict()
        self._vectors: dict[str, np.ndarray] = {}
        self._terms: dict[str, dict[int, int]] = {}
        self._strange: dict[str, Work] = {}
        """Texts that waited for a vector before: of these shards perhaps none has it."""

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def files(self, plan: Plan, gathered: Gathered) -> Generator[Parsed | None]:
        """Yield what shards hold of each file of the plan; None where its bytes are the known ones."""
        for each in plan.read:
            part, listed = gathered.files[each.file.path]
            places = [(self._shard(name), name) for name in listed.shards]
            entries = sorted(
                ((entry, name) for shard, name in places for entry in shard.of(each.file.path)),
                key=lambda found: found[0].number,
            )
            if listed.shards and [entry.number for entry, _ in entries] != list(range(1, _of(entries) + 1)):
                raise damaged(self._folder.path, f"{each.file.path} is not wholly in its shards", part)
            if not entries or entries[0][0].file.digest == each.known is not None:
                yield None
                continue
            parsed = [self._learn(entry, self._shard(name)) for entry, name in entries]
            yield replace(parsed[0], documents=tuple(document for some in parsed for document in some.documents))

    def _learn(self, entry: Entry, shard: Shard) -> Parsed:
        piece, embedded = shard.piece(entry), shard.embedded(entry)
        for row, passage in enumerate(piece.texts()):
            self._vectors[passage.text] = embedded.vectors[row]
            if embedded.terms is not None:
                self._terms[passage.text] = embedded.terms[row]
        return piece.parsed

    def _shard(self, name: str) -> Shard:
        if name not in self._open:
            if len(self._open) >= OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[name] = self._folder.open(name)
        self._open.move_to_end(name)
        return self._open[name]

    def give(self, writer: Writer) -> int:
        """Give waiting texts their vectors. Return how many there were."""
        ready = [self._strange.pop(text) for text in self._strange.keys() & self._vectors.keys()]
        while works := writer.claim(WINDOW["cpu"]):
            for work in works:
                if work.text in self._vectors:
                    ready.append(work)
                else:
                    self._strange[work.text] = work
        for start in range(0, len(ready), WINDOW["cpu"]):
            some = ready[start : start + WINDOW["cpu"]]
            ids = np.array([work.id for work in some], np.int64)
            terms = tuple(self._terms[work.text] for work in some) if self._terms else None
            writer.put(Embedded(ids, np.stack([self._vectors[work.text] for work in some]), terms))
        self._vectors.clear()
        self._terms.clear()
        return len(ready)


def _of(entries: list[tuple[Entry, str]]) -> int:
    return entries[0][0].of if entries else -1
