"""Make the shards of one part of a run: read its files, embed their passages, and keep both in a folder."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from indexer.embedder import WINDOW, EncoderEmbedder
from indexer.parsing import Job, read_files
from indexer.parts import pieces as cutting
from indexer.parts.listing import Listed, Listing
from indexer.parts.shard_file import distinct, write_shard
from indexer.plan import make_plan
from indexer.progress import Progress, ShardWritten, silent
from indexer.types import Embedded, FileRecord, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from indexer.corpus.splitter import Splitter
    from indexer.embedder import Embedder
    from indexer.embedding.encoder import Encoder
    from indexer.parts.folder import ShardFolder
    from indexer.parts.part import Part
    from indexer.parts.pieces import Entry, Piece
    from indexer.plan import Plan, ToRead, Walk
    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Snapshot
    from indexer.types import Parsed

SHARD = {device: window // 4 for device, window in WINDOW.items()}
"""Passages of a shard: more pads less, fewer is less to lose with a worker that dies."""

RECENT = 64 << 20
"""Bytes of vectors that a worker remembers, so that a text which many files share is embedded once."""


@dataclass(frozen=True)
class Written:
    """One shard was written, or some files turned out to have the bytes that a collection knows."""

    shard: str | None
    pieces: tuple[tuple[str, int, int], ...] = ()
    """Path, number of the piece and of pieces, of each piece in it."""
    failed: int = 0
    """Files among the pieces that could not be read, or not wholly."""
    texts: int = 0
    """Distinct texts that were embedded for it, and not for one before."""
    tokens: int = 0
    same: tuple[str, ...] = ()
    """Files that have not changed, whatever their times say."""
    staged: tuple[FileRecord, ...] = ()
    """Files that went straight into a collection, and not into a shard."""
    left_out: tuple[FileRecord, ...] = ()
    """Files of which there is nothing to take into it."""
    reused: int = 0
    """Passages of the staged ones that had a vector already."""


class Workers(Protocol):
    """Whoever reads files and embeds them: this process, or the machines of a cluster."""

    def run(self, jobs: Sequence[Job]) -> Generator[Written]:
        """Write the files' pieces into shards; yield each as it is there, in any order."""
        ...


@dataclass
class PartReport:
    """What making one part did. Counts are of files where nothing else is said."""

    part: Part
    folder: Path
    read: int = 0
    """Read in this run."""
    kept: int = 0
    """In shards of an earlier run already."""
    unchanged: int = 0
    """Known to the collection as they are."""
    failed: int = 0
    skipped: int = 0
    embedded: int = 0
    """Texts that went through the model in this run."""
    tokens: int = 0
    shards: int = 0
    """Shards that the part consists of now."""
    seconds: float = 0.0


def make_part(
    folder: ShardFolder,
    part: Part,
    walk: Walk,
    snapshot: Snapshot,
    workers: Workers,
    *,
    checksum: bool = False,
    progress: Progress = silent,
) -> PartReport:
    """Bring the shards of a part up to date with its files. A run that was broken off is gone on with by the next.

    Args:
        folder: Where the shards are kept.
        part: Which of the walk's files are meant.
        walk: All files of the run.
        snapshot: The collection that the shards are for: what it knows is not read again.
        workers: Reads and embeds.
        checksum: Look at the bytes of every file, whatever its size and times say.
        progress: Hears of every shard.

    Raises:
        UsageError: The folder has a run in another number of parts, or other files.
        MismatchError: Its shards are of another encoder or splitter.
        StoreError: It cannot be written.
    """
    started = time.monotonic()
    folder.prepare(snapshot.manifest, part)
    mine = replace(walk, entries=tuple(entry for entry in walk.entries if part.holds(entry.path)))
    plan = make_plan(snapshot, mine, checksum=checksum, whole=False)
    report = PartReport(part, folder.path, unchanged=plan.unchanged)
    pieces, same = _keep(folder.entries(part), plan), set[str]()
    report.kept = len(pieces)
    jobs = [Job(each.file, each.options, each.known) for each in plan.read if each.file.path not in pieces]
    with closing(workers.run(jobs)) as results:
        for written in results:
            same.update(written.same)
            for path, number, of in written.pieces:
                pieces.setdefault(path, [""] * of)[number - 1] = written.shard or ""
            report.failed += written.failed
            report.embedded += written.texts
            report.tokens += written.tokens
            report.read = len(pieces) - report.kept
            progress(ShardWritten(report.read + len(same), len(jobs), written.texts, written.tokens))
    report.unchanged += len(same)
    report.failed += sum(file.status == "failed" for file, _ in plan.left_out)
    report.skipped = sum(file.status == "skipped" for file, _ in plan.left_out)
    report.shards = len({name for names in pieces.values() for name in names})
    known = {record.path: record.digest for record in snapshot.files()}
    files = tuple(
        Listed(each, None, tuple(dict.fromkeys(pieces[each.path])))
        if each.path in pieces
        else Listed(each, known.get(each.path))
        for each in mine.entries
    )
    folder.finish(Listing(part, snapshot.manifest, walk.roots, walk.missing, files))
    report.seconds = time.monotonic() - started
    return report


def _keep(there: dict[str, list[tuple[str, Entry]]], plan: Plan) -> dict[str, list[str]]:
    """Return the files that shards of an earlier run hold as they are now: path → shard of each piece."""
    kept = {}
    for each in plan.read:
        names = {
            entry.number: (name, entry.of)
            for name, entry in there.get(each.file.path, ())
            if _is_same(entry, each) and not (each.known is not None and entry.file.digest == each.known)
        }
        if names and len(names) == next(iter(names.values()))[1]:
            kept[each.file.path] = [names[number][0] for number in sorted(names)]
    return kept


def _is_same(entry: Entry, each: ToRead) -> bool:
    """Tell whether a piece is of the file as it is now, read to its end, and in the same way."""
    then, now = entry.file, each.file
    return (
        (then.size, then.mtime_ns, then.ctime_ns, then.inode) == (now.size, now.mtime_ns, now.ctime_ns, now.inode)
        and then.digest is not None
        and then.status != "failed"
        and entry.options == each.options
    )


def read_pieces(jobs: Iterable[Job], results: Iterable[Parsed | None], limit: int, same: list[str]) -> Iterator[Piece]:
    """Yield what was read of files in pieces; the paths of those that have the known bytes are put into ``same``."""
    for job, parsed in zip(jobs, results, strict=True):
        if parsed is None:
            same.append(job.file.path)
        else:
            yield from cutting.cut(parsed, job.options, limit)


class Remembering:
    """An embedder that computes a text's vector once, also where shards that follow each other have the text."""

    def __init__(self, embedder: Embedder, dim: int):
        """Take who embeds, and the number of dimensions, which decides how many vectors there is room for."""
        self.window = embedder.window
        self.texts = self.tokens = 0
        """What went through the model, in all."""
        self._embedder = embedder
        self._room = RECENT // (4 * dim)
        self._recent: OrderedDict[str, tuple[np.ndarray, dict[int, int] | None]] = OrderedDict()

    def embed(self, works: Sequence[Work]) -> Iterator[Embedded]:
        """Yield the vectors of all works: those that are remembered first, then the others as they are computed."""
        if known := [work for work in works if work.text in self._recent]:
            for work in known:
                self._recent.move_to_end(work.text)
            found = [self._recent[work.text] for work in known]
            weighed = [terms for _, terms in found if terms is not None]
            ids = np.array([work.id for work in known], np.int64)
            yield Embedded(ids, np.stack([vector for vector, _ in found]), tuple(weighed) or None)
        new = {work.id: work for work in works if work.text not in self._recent}
        for some in self._embedder.embed(list(new.values())) if new else ():
            for row, number in enumerate(some.ids.tolist()):
                terms = None if some.terms is None else some.terms[row]
                self._recent[new[number].text] = some.vectors[row].copy(), terms  # and not a view of the whole batch
                self.tokens += new[number].tokens
            self.texts += len(some.ids)
            yield some
        while len(self._recent) > self._room:
            self._recent.popitem(last=False)


def embed_pieces(pieces: Sequence[Piece], embedder: Embedder, manifest: Manifest) -> Embedded:
    """Return the vectors (n, d) of the pieces' n distinct texts, in their order."""
    works = [Work(row, text, tokens) for row, (text, tokens) in enumerate(distinct(pieces).items())]
    vectors = np.empty((len(works), manifest.dim), np.float32)
    terms: dict[int, dict[int, int]] = {}
    for some in embedder.embed(works) if works else ():
        vectors[some.ids] = some.vectors
        terms.update(zip(some.ids.tolist(), some.terms or (), strict=False))
    ordered = None if manifest.sparse is None else tuple(terms[row] for row in range(len(works)))
    return Embedded(np.arange(len(works)), vectors, ordered)


def write_pieces(
    folder: Path, manifest: Manifest, part: Part, pieces: Sequence[Piece], embedder: Remembering
) -> Written:
    """Embed pieces and write them as one shard."""
    texts, tokens = embedder.texts, embedder.tokens
    embedded = embed_pieces(pieces, embedder, manifest)
    return Written(
        write_shard(folder, manifest, part, pieces, embedded),
        tuple((piece.parsed.file.path, piece.number, piece.of) for piece in pieces),
        sum(piece.parsed.file.status == "failed" and piece.number == 1 for piece in pieces),
        embedder.texts - texts,
        embedder.tokens - tokens,
    )


class ThisProcess:
    """Reads as ``index`` does, and embeds in this process."""

    def __init__(
        self,
        folder: ShardFolder,
        part: Part,
        manifest: Manifest,
        splitter: Splitter,
        open_encoder: Callable[[], Encoder],
    ):
        """Take what it works with; the encoder is opened when there is something to embed."""
        self._folder, self._part, self._manifest = folder, part, manifest
        self._splitter, self._open_encoder = splitter, open_encoder

    def run(self, jobs: Sequence[Job]) -> Generator[Written]:
        """Yield shards in the order of the files."""
        if not jobs:
            return
        encoder = self._open_encoder()
        embedder = Remembering(EncoderEmbedder(encoder, self._manifest.sparse), encoder.dim)
        limit = SHARD["cuda" if encoder.device.startswith("cuda") else "cpu"]
        same: list[str] = []
        with closing(read_files(jobs, self._splitter)) as results:
            for bundle in cutting.bundles(read_pieces(jobs, results, limit, same), limit):
                yield write_pieces(self._folder.path, self._manifest, self._part, bundle, embedder)
        if same:
            yield Written(None, same=tuple(same))
