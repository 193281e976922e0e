"""The seam between a collection and whatever keeps it: Store, Snapshot, Writer and Maintenance.

A store keeps files, their documents and passages, the passages' vectors and words. Readers hold a snapshot, writers a
writer; neither sees the other's changes before they are committed. Implementations: ``memory`` (the reference) and
``local`` (one folder on one disk). All pass the same contract tests (tests/storage/contract).

Shapes: q queries, k results, n passages, d dimensions. Passage ids are int64 and never used twice in one store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import numpy as np

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from indexer.progress import Progress
    from indexer.storage.manifest import Manifest
    from indexer.types import (
        Counts,
        Embedded,
        Facets,
        FileRecord,
        Filter,
        IndexReport,
        Judgement,
        Neighbours,
        Parsed,
        Problem,
        Staged,
        StoredDocument,
        StoredPassage,
        Waiting,
        Work,
    )

    Terms = Mapping[int, int]


class Store(Protocol):
    """One collection, wherever it is kept. Safe to use from many threads."""

    @property
    def name(self) -> str:
        """The collection's name, for messages."""
        ...

    @property
    def manifest(self) -> Manifest:
        """What made the vectors: encoder, dimensions, splitter, index. It changes only by replacement."""
        ...

    def version(self) -> str:
        """Return a short text that differs after every commit that changed what a search sees, and after replacement.

        Cheap: whoever keeps a snapshot asks it before each use.
        """
        ...

    def snapshot(self) -> Snapshot:
        """Return what is committed now, pinned. The caller closes it.

        Raises:
            CollectionNotFound: The collection is gone.
            CorruptError: Its parts disagree.
            FormatError: A newer version of semsearch wrote it.
        """
        ...

    def writer(self) -> Writer:
        """Return a writer. The caller closes it.

        Raises:
            LockedError: Another one writes, and this store lets only one do so.
            StoreError: The medium cannot be written.
        """
        ...

    def annotation(self, name: str) -> dict[str, object] | None:
        """Return a small JSON object that was kept with the collection, such as tuned weights; None without one."""
        ...

    def annotate(self, name: str, value: Mapping[str, object] | None) -> None:
        """Keep a small JSON object with the collection, durably; None removes it."""
        ...

    def judge(self, judgements: Sequence[Judgement]) -> None:
        """Keep what a person said of some places, durably before it returns. Of one place the last word counts.

        It needs no writer and waits for none. A collection that is put in this one's place takes the judgements over,
        those included that are made meanwhile.
        """
        ...

    def judgements(self) -> list[Judgement]:
        """Return the judgements that count, in the order in which they were made; those taken back are left out."""
        ...

    def close(self) -> None:
        """Let go of connections and files. Open snapshots stay usable."""
        ...


class Snapshot(Protocol):
    """What one commit shows. It stays as it is, and readable, whatever writers do. Safe to use from many threads.

    A new document is shown from the first commit after it was staged: its passages are found by words, and by vectors
    as these arrive. New contents of a changed file are shown in one step, when their last vector is there; until then
    the old contents are.
    """

    @property
    def generation(self) -> int:
        """Number of the commit, growing with each that changed what a search sees."""
        ...

    @property
    def version(self) -> str:
        """The store's ``version()`` when the snapshot was taken."""
        ...

    @property
    def manifest(self) -> Manifest:
        """The manifest of the collection that the snapshot is of."""
        ...

    def counts(self) -> Counts:
        """Return the collection's size."""
        ...

    def facets(self) -> Facets:
        """Return the kinds and record fields of the shown documents, with the number of documents of each."""
        ...

    def roots(self) -> dict[str, dict[str, object]]:
        """Return the indexed roots, by path, with the options that each was read with."""
        ...

    def files(self, status: str | None = None) -> Iterator[FileRecord]:
        """Yield every known file by path, also failed and skipped ones; those of one status where it is given."""
        ...

    def documents(self, path: str | None = None) -> Iterator[StoredDocument]:
        """Yield the documents that a search can find, in the order of their paths and, within a file, as staged."""
        ...

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredPassage]:
        """Return the shown passages in the order of the ids; unknown ids are left out."""
        ...

    def dense(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the nearest passages by cosine.

        Args:
            queries: (q, d) float32, unit length.
            k: Results a query, 1 or more; more than there are passages is cut to their number.
            filter: Applied before the top k is taken.

        Returns:
            (q, k). Equal scores are in the order of ids. Scores do not depend on q.
        """
        ...

    def lexical(self, queries: Sequence[str], k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the best passages by BM25 over titles (counted twice) and texts, with ``full``.

        A query is a person's text; any of its words may match, see ``indexer.words``.
        """
        ...

    def sparse(self, queries: Sequence[Terms], k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the best passages by the inner product of weighted terms, of those that share one.

        Raises:
            StoreError: The collection has no sparse index.
        """
        ...

    def embedded(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether each passage has a vector in this snapshot."""
        ...

    def vectors(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n, d) float32 in the order of the ids.

        Raises:
            StoreError: One of them has no vector.
        """
        ...

    def terms(self, ids: Sequence[int] | np.ndarray) -> list[dict[int, int]]:
        """Return the weighted terms of each passage.

        Raises:
            StoreError: One of them has none, or there is no sparse index.
        """
        ...

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Return (m, d) float32 vectors of m = min(n, embedded passages) different passages, drawn with the seed."""
        ...

    def close(self) -> None:
        """Let the snapshot go."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Writer(Protocol):
    """Changes of a collection. Nothing is durable or visible before ``commit``; ``rollback`` drops what came since.

    One thread at a time. Closing it drops what was not committed.
    """

    def set_root(self, path: str, options: Mapping[str, object]) -> None:
        """Remember a root and the options (JSON-ready) to read it with."""
        ...

    def drop_root(self, path: str) -> None:
        """Forget a root; its files stay until they are removed."""
        ...

    def record(self, file: FileRecord) -> None:
        """Note a file's status, times or digest; its passages stay as they are."""
        ...

    def stage(self, parsed: Parsed) -> Staged:
        """Take in a new or changed file: its record, documents and passages, in place of what it had.

        Documents that are equal to those it had stay as they are, vectors included.
        """
        ...

    def remove(self, paths: Iterable[str]) -> int:
        """Forget files with all they hold, from the next commit on. Return the number that were known."""
        ...

    def waiting(self) -> Waiting:
        """Return how much waits for vectors, claimed work included."""
        ...

    def claim(self, n: int, lease: float | None = None) -> list[Work]:
        """Return at most n texts that wait for a vector, oldest first, each distinct text once.

        Nobody gets them again before ``rollback``, before this writer is closed or, where several can write, before
        ``lease`` seconds have passed.
        """
        ...

    def put(self, embedded: Embedded) -> None:
        """Give claimed texts their vectors; every waiting passage of the same text gets them too.

        Vectors of work that is no longer wanted (its file has changed since) are passed over.

        Raises:
            StoreError: Shapes do not fit, or a vector holds NaN or infinity.
        """
        ...

    def commit(self) -> int:
        """Make everything so far durable and visible in one step. Return the generation."""
        ...

    def rollback(self) -> None:
        """Undo everything since the last commit and give claimed work back."""
        ...

    def finish(self, progress: Progress = ...) -> None:
        """Commit, and bring derived files and indexes up to date; ``progress`` hears of an index that is built."""
        ...

    def close(self) -> None:
        """End writing; others can."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Maintenance(Protocol):
    """Looking after a store that lies somewhere: every store that outlives its process has it."""

    def sizes(self) -> dict[str, int]:
        """Return bytes on disk by part: catalog, vectors, index, and terms where there is a sparse index."""
        ...

    def engines(self) -> dict[str, str]:
        """Return what searches the collection, in which versions, for people: part → description; "warning" is one."""
        ...

    def index_report(self) -> IndexReport | None:
        """Return which index the vectors have and what was measured of it; None where there is none."""
        ...

    def ask_for_index(self, plan: str | None, recall: float | None) -> None:
        """Remember which index a person wants; the next ``finish`` of a writer makes it. None changes nothing.

        Args:
            plan: A factory of FAISS, see ``planner.Shape``, or "auto".
            recall: The recall@10 that it is to have, above 0 and at most 1.

        Raises:
            UsageError: The plan is none.
            StoreError: The store makes its index in a way of its own.
        """
        ...

    def examine(self, *, mend: bool, open_encoder: Callable[[EncoderSpec], Encoder] | None = None) -> list[Problem]:
        """Return what is wrong, and with ``mend`` put right what can be; with an encoder, embed a sample again."""
        ...

    def compact(self) -> None:
        """Drop what no commit shows any more and give its space back. Snapshots that are held stay readable."""
        ...

    def beside(self, manifest: Manifest) -> Store:
        """Return a store to be filled and then put in this one's place.

        It is new, or left by an earlier run that has the same encoder.
        """
        ...

    def replace(self, new: Store, version: str) -> str:
        """Put ``new`` in this store's place in one step. Return the name under which the old one stays.

        This store's judgements go over to it in the same step; the old one keeps them too.

        Raises:
            StoreError: This store is no longer at ``version``: the new one lacks what has come since.
            LockedError: Another process writes to one of them.
        """
        ...

    def rename(self, name: str) -> None:
        """Give the collection another name."""
        ...

    def delete(self) -> None:
        """Delete the collection with everything in it."""
        ...
