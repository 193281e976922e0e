"""Index a collection in parts: side by side on many machines, and then brought together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from indexer import storage
from indexer.errors import MismatchError, SemsearchError
from indexer.plan import take_walk
from indexer.progress import silent
from indexer.storage.manifest import FORMAT, WORDS, moment
from indexer.storage.memory import MemoryStore
from indexer.storage.places import is_url
from semsearch import encoders, making
from semsearch.held import Held
from semsearch.results import Merged

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.corpus.formats import ReadOptions
    from indexer.embedding.encoder import Encoder as Backend
    from indexer.parts.destination import Destination
    from indexer.parts.folder import ShardFolder
    from indexer.parts.part import Part
    from indexer.parts.produce import PartReport, Workers
    from indexer.parts.ray_run import Task
    from indexer.progress import Progress
    from indexer.storage.manifest import Manifest

SHARDS, ON_RAY = ".shards", ".ray"
"""Folders within the home that have the shards of each collection, unless they are kept elsewhere."""

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class InParts(Held):
    """The verbs of ``Collection`` for indexing that one process is too slow for."""

    def index_part(
        self,
        paths: Paths,
        part: str,
        *,
        shards: str | os.PathLike[str] | None = None,
        options: ReadOptions | None = None,
        passage_tokens: int | None = None,
        sparse: bool = False,
        force: bool = False,
        checksum: bool = False,
        progress: Progress = silent,
    ) -> PartReport:
        """Read and embed one part of the files into shards, which ``merge`` takes in. The collection stays as it is.

        Which file is in which part, its path decides: every process, on whatever machine, can tell by itself. A part
        that was broken off goes on where it stopped when it is made again.

        Args:
            paths: Files and folders, the same for every part; none: all that the collection has been given before.
            part: ``I/N``: part I, from 1 up, of N.
            shards: Folder of the shards, the same for every part; None: one within the home.
            options: How to read them; None: as they were read last.
            passage_tokens: Most tokens of a passage, for a new collection.
            sparse: Make a new collection with a sparse index of the model's terms.
            force: Index ``/`` or the home folder all the same.
            checksum: Look at the bytes of every file, also where size, times and inode say that it has not changed.
            progress: Called with what happens.

        Raises:
            UsageError: The part or a path cannot be meant, or the folder has a run in another number of parts.
            MismatchError: The collection, or the folder, was made by another encoder than the one asked for.
            StoreError: The folder cannot be written.
        """
        from indexer.parts.part import Part
        from indexer.parts.produce import ThisProcess

        chosen, folder = Part.parse(part), self.shards(shards)
        manifest, open_encoder = self._made_with(folder, paths, passage_tokens, sparse)
        workers = ThisProcess(folder, chosen, manifest, making.splitter_of(manifest), open_encoder)
        return self._make(folder, chosen, manifest, paths, workers, options, force, checksum, progress)

    def index_on_ray(
        self,
        paths: Paths = (),
        address: str | None = None,
        *,
        shards: str | os.PathLike[str] | None = None,
        options: ReadOptions | None = None,
        passage_tokens: int | None = None,
        sparse: bool = False,
        force: bool = False,
        checksum: bool = False,
        index_plan: str | None = None,
        index_recall: float | None = None,
        progress: Progress = silent,
    ) -> Merged:
        """Do what ``index`` does on the machines of a Ray cluster: an encoder on each GPU, or on each core.

        Files lie in the same places on all machines, and so do shards, which a collection in a folder is made of in the
        end. Into one in a database the workers write themselves. What is written when a run breaks off is taken up by
        the next.

        Args:
            paths: As for ``index``.
            address: The cluster: HOST:PORT, ray://HOST:PORT, or auto for the one that this machine belongs to; None:
                that of RAY_ADDRESS, else a Ray on this machine alone.
            shards: Folder in which shards are kept; None: one within the home, deleted in the end.
            options: As for ``index``; so are all that follow.
            passage_tokens: Most tokens of a passage, for a new collection.
            sparse: Give a new collection a sparse index of the model's terms.
            force: Index ``/`` or the home folder all the same.
            checksum: Look at the bytes of every file.
            index_plan: As for ``index``.
            index_recall: As for ``index``.
            progress: Called with what happens.

        Raises:
            ClusterError: Ray is not installed or cannot be reached, or workers fail again and again.
            UsageError: As for ``index``.
            MismatchError: As for ``index``.
            LockedError: Another process writes to the collection.
        """
        from indexer.parts.destination import OneCollection, Shards
        from indexer.parts.part import WHOLE
        from indexer.parts.ray_run import RayWorkers
        from indexer.parts.together import update_together

        place = self.settings.place()
        if shards is None and is_url(place):
            self._check_new(roots_of(paths))
            making.check_index(index_plan)
            with self._to_write(passage_tokens, sparse, dry_run=False) as store:
                making.ask_for_index(store, index_plan, index_recall)
                into = OneCollection(partial(storage.open_store, place))
                workers = RayWorkers(self._task(store.manifest, into), address)
                with store.snapshot() as snapshot:
                    walk = take_walk(snapshot, roots_of(paths), options, force=force, exclude=[str(self.settings.root)])
                report = update_together(store, walk, workers, checksum=checksum, progress=progress)
                with store.snapshot() as snapshot:
                    return Merged(report, (), snapshot.counts().pending)
        folder = self.shards(self.settings.root / ON_RAY / self.name if shards is None else shards)
        manifest, _ = self._made_with(folder, paths, passage_tokens, sparse)
        making.check_index(index_plan, manifest.dim)  # not after all is embedded
        workers = RayWorkers(self._task(manifest, Shards(folder.path, manifest, WHOLE)), address)
        made = self._make(folder, WHOLE, manifest, paths, workers, options, force, checksum, progress)
        merged = self.merge(folder.path, index_plan=index_plan, index_recall=index_recall, progress=progress)
        if shards is None:
            folder.delete()
        return replace(merged, report=replace(merged.report, embedded=made.embedded, tokens=made.tokens))

    def merge(
        self,
        shards: str | os.PathLike[str] | None = None,
        *,
        index_plan: str | None = None,
        index_recall: float | None = None,
        progress: Progress = silent,
    ) -> Merged:
        """Take the shards of all finished parts into the collection, which is made where there is none.

        The collection is then as ``index`` would have made it. It can be done again at any time, in whole or after more
        parts are finished; what is gone leaves the collection only where every part is finished.

        Args:
            shards: Folder of the shards; None: the one within the home.
            index_plan: As for ``index``.
            index_recall: As for ``index``.
            progress: Called with what happens.

        Raises:
            UsageError: There are no finished parts, or they do not belong together; or no such index can be built.
            MismatchError: The collection, or a part, was made by another encoder.
            DataError: A shard is damaged or missing: nothing was changed.
            LockedError: Another process writes to the collection.
        """
        from indexer.parts.merge import merge

        making.check_index(index_plan)
        folder = self.shards(shards)
        gathered = folder.gather()
        if self._store is None:
            if self._overrides.given:
                encoders.confirm(gathered.manifest.spec, self._overrides, making.mend(self.settings))
            manifest = replace(gathered.manifest, words=WORDS, format=FORMAT, created=moment())
            self._hold(storage.create_store(self.settings.place(), manifest, index_device=self._runtime.index_device))
        try:
            making.ask_for_index(self.store, index_plan, index_recall)
            report = merge(self.store, folder, gathered, progress)
        except SemsearchError:
            self._discard_if_empty()
            raise
        with self.store.snapshot() as snapshot:
            return Merged(report, gathered.unfinished, snapshot.counts().pending)

    def shards(self, folder: str | os.PathLike[str] | None = None) -> ShardFolder:
        """Return a folder of shards; None: the one within the home."""
        from indexer.parts.folder import ShardFolder

        path = self.settings.root / SHARDS / self.name if folder is None else Path(folder).expanduser()
        return ShardFolder(path.absolute())

    def _task(self, manifest: Manifest, destination: Destination) -> Task:
        """Return what workers on other machines have to know."""
        from indexer.parts.ray_run import Task

        spec, run = manifest.spec, self._runtime
        return Task(
            destination,
            manifest.sparse,
            partial(making.splitter_for, spec, making.passage_tokens_of(manifest)),
            partial(run.open_near, spec, self._overrides.precision),
            run.device is None or run.device.startswith("cuda"),
        )

    def _make(
        self,
        folder: ShardFolder,
        part: Part,
        manifest: Manifest,
        paths: Paths,
        workers: Workers,
        options: ReadOptions | None,
        force: bool,
        checksum: bool,
        progress: Progress,
    ) -> PartReport:
        """Make a part beside what the collection shows; nothing, where it is yet to be made."""
        from indexer.parts.produce import make_part

        exclude = [os.fspath(self.settings.root), os.fspath(folder.path)]
        store = MemoryStore(manifest) if self._store is None else self._store
        with store.snapshot() as snapshot:
            walk = take_walk(snapshot, roots_of(paths), options, force=force, exclude=exclude)
            return make_part(folder, part, walk, snapshot, workers, checksum=checksum, progress=progress)

    def _made_with(
        self, folder: ShardFolder, paths: Paths, passage_tokens: int | None, sparse: bool
    ) -> tuple[Manifest, Callable[[], Backend]]:
        """Return what shards are made with: as the collection, else the folder, else as a new collection would be."""
        self._check_new(roots_of(paths))
        if self._store is not None:
            made, open_encoder = self._store.manifest, self._open_encoder
        elif (head := folder.head()) is not None:
            made, open_encoder = head[0], lambda: self._opened(head[0].spec)
        else:
            encoder = self._given or making.open_new(
                self.settings, self._overrides, self._runtime, passage_tokens, alone=False
            )
            return making.manifest_of(encoder, passage_tokens, sparse), lambda: encoder
        making.check_made_so(self.settings, made, passage_tokens, sparse)
        if self._given is None:
            encoders.confirm(made.spec, self._overrides, making.mend(self.settings))
        elif self._given.spec.fingerprint != made.fingerprint:
            raise MismatchError(
                f"the shards in {folder} were made by encoder {made.fingerprint}, and encoder "
                f"{self._given.spec.fingerprint} was given; name another folder"
            )
        return made, open_encoder


def roots_of(paths: Paths) -> list[str]:
    """Return the files and folders that are named, as text."""
    return [os.fspath(each) for each in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
