"""A store in memory: the reference for all others, and what tests and examples use. It ends with its process.

A vector belongs to a text: every passage of that text has it. A file has the documents that were staged last and those
that are shown; the two differ while a changed file waits for vectors.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.closing import Closing
from indexer.errors import LockedError, StoreError
from indexer.judgements import latest
from indexer.progress import silent
from indexer.storage.memory_snapshot import MemorySnapshot, State
from indexer.storage.storable import storable_document, storable_file, storable_judgement, storable_path
from indexer.storage.vectors import DTYPES, check_embedded
from indexer.types import Staged, StoredDocument, StoredPassage, Waiting, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from indexer.progress import Progress
    from indexer.storage.manifest import Manifest
    from indexer.types import Document, Embedded, FileRecord, Judgement, Parsed, ParsedDocument


class MemoryStore:
    """A collection in memory; see ``Store``. One writer at a time."""

    def __init__(self, manifest: Manifest, name: str = "memory"):
        """Make an empty collection."""
        self.name = name
        self.replaced: dict[str, MemoryStore] = {}
        """Stores in whose place this one was put, by the names that ``replace`` gave them."""
        self._lock = threading.RLock()
        self._writer: MemoryWriter | None = None
        self._last_id = 0  # of a passage; not part of the state, so that no rollback gives an id out again
        self._annotations: dict[str, dict[str, object]] = {}
        self._judgements: list[Judgement] = []
        self._beside: MemoryStore | None = None
        self._life = secrets.token_hex(4)
        self._now = MemorySnapshot(State(), manifest, f"{self._life}.0")

    @property
    def manifest(self) -> Manifest:
        """What made the vectors."""
        return self._now.manifest

    def version(self) -> str:
        """Return a text that differs after every commit that changed what a search sees."""
        return self._now.version

    def snapshot(self) -> MemorySnapshot:
        """Return what is committed now."""
        return self._now

    def writer(self) -> MemoryWriter:
        """Return the writer.

        Raises:
            LockedError: There is one that has not been closed.
        """
        with self._lock:
            if self._writer is not None:
                raise LockedError(f"another writer has {self.name} open; close it, or wait until it ends")
            self._writer = MemoryWriter(self)
            return self._writer

    def annotation(self, name: str) -> dict[str, object] | None:
        """Return a JSON object that was kept under the name."""
        with self._lock:
            return dict(self._annotations[name]) if name in self._annotations else None

    def annotate(self, name: str, value: Mapping[str, object] | None) -> None:
        """Keep a JSON object under the name; None removes it."""
        with self._lock:
            self._annotations.pop(name, None)
            if value is not None:
                self._annotations[name] = dict(value)

    def judge(self, judgements: Sequence[Judgement]) -> None:
        """Keep what a person said of some places."""
        with self._lock:
            self._judgements = latest([*self._judgements, *map(storable_judgement, judgements)])

    def judgements(self) -> list[Judgement]:
        """Return the judgements that count, in the order in which they were made."""
        with self._lock:
            return list(self._judgements)

    def close(self) -> None:
        """Do nothing: there are no files."""

    # Of Maintenance, the part that makes sense in memory

    def compact(self) -> None:
        """Forget the vectors of texts that no passage has any more."""
        with self.writer():
            old = self._now.state
            texts, state = old.texts(), old.copy()
            for kept in (state.vectors, state.terms):
                for text in kept.keys() - texts:
                    del kept[text]
            self._publish(state)

    def beside(self, manifest: Manifest) -> MemoryStore:
        """Return a store to be filled and put in this one's place."""
        with self._lock:
            if self._beside is None or self._beside.manifest.fingerprint != manifest.fingerprint:
                self._beside = MemoryStore(manifest, f"{self.name}-new")
            return self._beside

    def replace(self, new: MemoryStore, version: str) -> str:
        """Put ``new`` in this store's place. Return the name under which ``replaced`` has the old one."""
        with self.writer(), new.writer():
            if self.version() != version:
                raise StoreError(f"{self.name} has changed since {new.name} was made from it; make it again")
            before = f"{self.name}-before" + (f"-{len(self.replaced) + 1}" if self.replaced else "")
            self.replaced[before] = MemoryStore(self.manifest, before)
            self.replaced[before]._become(self)
            self.replaced[before].judge(self._judgements)
            self._become(new)  # and keep the judgements
            self._beside = None
            return before

    def _become(self, other: MemoryStore) -> None:
        self._now, self._life, self._last_id = other._now, other._life, other._last_id
        self._annotations = dict(other._annotations)

    def _publish(self, state: State) -> None:
        self._now = MemorySnapshot(state, self.manifest, f"{self._life}.{state.generation}")


class MemoryWriter(Closing):
    """The one writer of a MemoryStore; see ``Writer``."""

    def __init__(self, store: MemoryStore):
        """Begin with what is committed."""
        self._store = store
        self._claimed: dict[int, str] = {}
        """Texts that were handed out and are not back, by the id of the work."""
        self._begin()

    def _begin(self) -> None:
        self._state = self._store._now.state.copy()
        self._given: set[str] = set()
        """Texts that got vectors since the last commit."""
        self._waiting: dict[str, Work] | None = None

    def set_root(self, path: str, options: Mapping[str, object]) -> None:
        """Remember a root and the options to read it with."""
        self._open().roots[storable_path(path)] = dict(options)

    def drop_root(self, path: str) -> None:
        """Forget a root."""
        self._open().roots.pop(storable_path(path), None)

    def record(self, file: FileRecord) -> None:
        """Note a file's status, times or digest."""
        state, file = self._open(), storable_file(file)
        state.files[file.path] = file
        if file.status == "indexed":
            for group in (state.staged, state.shown):
                if file.path in group:
                    group[file.path] = tuple(_touched(document, file.mtime_ns) for document in group[file.path])

    def stage(self, parsed: Parsed) -> Staged:
        """Take in a new or changed file in place of what it had."""
        state, file = self._open(), storable_file(parsed.file)
        state.files[file.path] = file
        old = list(state.shown.get(file.path, ()))
        documents: list[StoredDocument] = []
        for each in parsed.documents:
            fresh = storable_document(each, file.path)
            kept = next((document for document in old if _same(document, fresh)), None)
            if kept is not None:
                old.remove(kept)
                documents.append(_touched(replace(kept, document=fresh.document), file.mtime_ns))
                state.shown[file.path] = tuple(
                    documents[-1] if document is kept else document for document in state.shown[file.path]
                )
                continue
            first = self._store._last_id + 1
            self._store._last_id += len(fresh.passages)
            documents.append(_stored(fresh, first, file.mtime_ns))
        state.staged[file.path] = tuple(documents)
        self._waiting = None
        passages = [p for document in documents for p in document.passages]
        return Staged(len(passages), sum(p.passage.text in state.vectors for p in passages))

    def remove(self, paths: Iterable[str]) -> int:
        """Forget files. Return the number that were known."""
        state, removed = self._open(), 0
        for path in map(storable_path, paths):
            removed += state.files.pop(path, None) is not None
            state.staged.pop(path, None)
            state.shown.pop(path, None)
        self._waiting = None
        return removed

    def _works(self) -> dict[str, Work]:
        """Return the texts that wait for a vector, oldest first: those of documents that are or are to be shown."""
        if self._waiting is None:
            passages = [p for documents in self._state.staged.values() for d in documents for p in d.passages]
            self._waiting = {}
            for p in sorted(passages, key=lambda p: p.id):
                if p.passage.text not in self._state.vectors:
                    self._waiting.setdefault(p.passage.text, Work(p.id, p.passage.text, p.passage.tokens))
        return self._waiting

    def waiting(self) -> Waiting:
        """Return how much waits for vectors, claimed work included."""
        self._open()
        works = self._works().values()
        return Waiting(len(works), sum(work.tokens for work in works))

    def claim(self, n: int, lease: float | None = None) -> list[Work]:  # noqa: ARG002 - alone, a lease never ends
        """Return at most n texts that wait for a vector and are not claimed."""
        self._open()
        claimed = set(self._claimed.values())
        works = [work for text, work in self._works().items() if text not in claimed][:n]
        self._claimed.update((work.id, work.text) for work in works)
        return works

    def put(self, embedded: Embedded) -> None:
        """Give claimed texts their vectors."""
        state, manifest = self._open(), self._store.manifest
        check_embedded(manifest.dim, manifest.sparse is not None, embedded.ids, embedded)
        waiting = self._works()
        for row, number in enumerate(embedded.ids.tolist()):
            text = self._claimed.pop(number, None)
            if text is None or text not in waiting:
                continue  # no longer wanted
            state.vectors[text] = embedded.vectors[row].astype(DTYPES[manifest.vector_dtype])
            if embedded.terms is not None:
                state.terms[text] = dict(embedded.terms[row])
            self._given.add(text)
            del waiting[text]

    def commit(self) -> int:
        """Make everything so far visible. Return the generation."""
        state, before = self._open(), self._store._now.state
        for path, documents in state.staged.items():
            shown = state.shown.get(path, ())
            complete = all(p.passage.text in state.vectors for d in documents for p in d.passages)
            if complete or all(document in documents for document in shown):
                state.shown[path] = documents
            if not state.shown.get(path):  # an empty file is no change to a search
                state.shown.pop(path, None)
        changed = state.shown != before.shown or any(
            p.passage.text in self._given for documents in state.shown.values() for d in documents for p in d.passages
        )
        self._store._publish(replace(state, generation=state.generation + changed))
        self._begin()
        return self._store._now.generation

    def rollback(self) -> None:
        """Undo everything since the last commit and give claimed work back."""
        self._open()
        self._claimed.clear()
        self._begin()

    def finish(self, progress: Progress = silent) -> None:  # noqa: ARG002 - there is no index to tell of
        """Commit."""
        self.commit()

    def close(self) -> None:
        """End writing."""
        with self._store._lock:
            if self._store._writer is self:
                self._store._writer = None

    def _open(self) -> State:
        if self._store._writer is not self:
            raise StoreError("this writer has been closed; ask the store for another")
        return self._state


def _described(document: Document) -> tuple[object, ...]:
    return document.kind, document.record, document.title, document.fields


def _same(held: StoredDocument, fresh: ParsedDocument) -> bool:
    """Return whether a held document has the same contents: its passages and what describes them."""
    return _described(held.document) == _described(fresh.document) and fresh.passages == tuple(
        p.passage for p in held.passages
    )


def _stored(parsed: ParsedDocument, first: int, mtime_ns: int) -> StoredDocument:
    """Return the document with ids from ``first`` up."""
    d = parsed.document
    passages = tuple(
        StoredPassage(number, passage, d.path, d.kind, d.record, d.title, d.fields, mtime_ns)
        for number, passage in enumerate(parsed.passages, first)
    )
    return StoredDocument(d, passages, mtime_ns)


def _touched(held: StoredDocument, mtime_ns: int) -> StoredDocument:
    if held.mtime_ns == mtime_ns:
        return held
    return StoredDocument(held.document, tuple(replace(p, mtime_ns=mtime_ns) for p in held.passages), mtime_ns)
