"""The Catalog: files, documents, passages and words. The protocol, and an implementation in memory."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from indexer.storage.filters import matches
from indexer.storage.local.rows import document_digest, printable, rarity, storable, words_of
from indexer.types import Counts, Document, FileRecord, Filter, Neighbours, Passage, StoredPassage


class Catalog(Protocol):
    """Reading is done at a generation: the number of a commit that changed what a search sees.

    Writing collects changes until ``commit`` makes them durable and visible together, or ``rollback`` drops them.
    Passage ids are int64 and never used twice.
    """

    def state(self) -> tuple[int, int]:
        """(newest generation, oldest generation that can still be read)."""
        ...

    def counts(self, generation: int) -> Counts: ...

    def files(self, status: str | None = None) -> Iterator[FileRecord]:
        """By path. Every file known, also failed and skipped ones; as the last commit left them."""
        ...

    def roots(self) -> dict[str, dict[str, object]]: ...

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredPassage]:
        """In the order of the ids; unknown ones are left out."""
        ...

    def passages(self, generation: int, path: str | None = None) -> Iterator[StoredPassage]:
        """Everything that the generation shows, by id; of one file where a path is given."""
        ...

    def live(self, generation: int, filter: Filter | None = None) -> np.ndarray:
        """(n,) int64, ascending: the passages that the generation shows and the filter lets through."""
        ...

    def changes(self, since: int, until: int) -> tuple[np.ndarray, np.ndarray]:
        """Passages (added, removed) between two generations, int64, ascending."""
        ...

    def search_text(self, query: str, k: int, generation: int, filter: Filter | None = None) -> Neighbours:
        """(1, k): the best passages by BM25 with any of the query's words; a title's words count twice, and a word of
        the query as often as it stands there."""
        ...

    def text_scale(self, query: str, generation: int) -> float:
        """The BM25 of a passage of average length that holds each of the query's words once. It counts the words that
        no passage holds, too, so that a score divided by it says how much of the query a passage holds."""
        ...

    def terms(self, ids: np.ndarray | None = None) -> tuple[np.ndarray, list[bytes]]:
        """(ids ascending, packed terms) of those asked for that have any; None asks for all."""
        ...

    def set_root(self, path: str, options: Mapping[str, object]) -> None: ...

    def drop_root(self, path: str) -> None: ...

    def record(self, file: FileRecord) -> None:
        """Note a file's status; its passages stay as they are."""
        ...

    def remove(self, paths: Iterable[str]) -> int:
        """Forget files. The number that were known."""
        ...

    def stage(
        self, file: FileRecord, contents: Iterable[tuple[Document, Sequence[Passage]]]
    ) -> tuple[int, int, dict[int, int]]:
        """Take in a file's documents, each to be shown once all its passages have vectors; where the file had others,
        all at once. Whatever ``contents`` raises undoes this file alone.

        (passages of the file, of these in documents that have not changed, {new id: older id of the same text that
        has a vector})."""
        ...

    def unembedded(self, limit: int) -> list[tuple[int, str]]:
        """The first passage of each distinct text that waits for a vector, oldest first."""
        ...

    def unembedded_count(self) -> tuple[int, int]:
        """(distinct texts that wait for a vector, their tokens)."""
        ...

    def embed(self, vectors: Mapping[int, bytes], twins: bool = True, terms: Mapping[int, bytes] | None = None) -> None:
        """Give waiting passages their vectors, and their packed terms where there are any; with ``twins`` every
        waiting one of the same text gets them too."""
        ...

    def commit(self) -> int:
        """Publish what is complete and make it all durable, in one step. The generation that results."""
        ...

    def rollback(self) -> None: ...

    def forget_dead(self) -> None:
        """Delete what the newest generation does not show; older ones can then no longer be read."""
        ...


@dataclass
class _Held:
    """One document in memory."""

    document: Document
    digest: bytes
    passages: dict[int, Passage]
    mtime_ns: int
    waiting: set[int] = field(default_factory=set)
    terms: dict[int, bytes] = field(default_factory=dict)


@dataclass
class _State:
    generation: int = 0
    oldest: int = 0
    last_id: int = 0
    roots: dict[str, dict[str, object]] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    shown: dict[str, list[_Held]] = field(default_factory=dict)
    pending: dict[str, list[_Held]] = field(default_factory=dict)
    outdated: dict[str, list[_Held]] = field(default_factory=dict)
    """Shown documents that newer, pending contents of their file will replace."""
    discarded: list[tuple[int, _Held]] = field(default_factory=list)
    """Contents that were replaced before they were shown, for their vectors; forgotten from a generation on."""
    dirty: bool = False
    history: dict[int, list[_Held]] = field(default_factory=lambda: {0: []})


class MemoryCatalog:
    """The reference: every generation is kept as a plain list. Slow, small, and nothing survives the process."""

    def __init__(self) -> None:
        self._committed = _State()
        self._now = _State()

    def state(self) -> tuple[int, int]:
        return self._now.generation, self._now.oldest

    def counts(self, generation: int) -> Counts:
        status = [file.status for file in self._now.files.values()]
        shown = self._now.history[generation]
        here = {number for held in shown for number in held.passages}
        past = {n for g, s in self._now.history.items() if g < generation for held in s for n in held.passages}
        return Counts(
            files=status.count("indexed"),
            documents=len(shown),
            passages=len(here),
            pending=sum(len(held.waiting) for held in self._all_pending()),
            tombstones=len(past - here),
            failed=status.count("failed"),
            skipped=status.count("skipped"),
        )

    def _all_pending(self) -> list[_Held]:
        return [held for documents in self._now.pending.values() for held in documents]

    def files(self, status: str | None = None) -> Iterator[FileRecord]:
        files = self._now.files
        return iter([files[path] for path in sorted(files) if status in (None, files[path].status)])

    def roots(self) -> dict[str, dict[str, object]]:
        return dict(sorted(self._now.roots.items()))

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredPassage]:
        found = {}
        for held in self._all_past() + self._all_pending():
            found.update({p.id: p for p in _stored(held)})
        return [found[int(number)] for number in ids if int(number) in found]

    def passages(self, generation: int, path: str | None = None) -> Iterator[StoredPassage]:
        rows = [p for held in self._now.history[generation] for p in _stored(held)]
        wanted = None if path is None else printable(path)
        return iter(sorted((p for p in rows if wanted in (None, p.path)), key=lambda p: p.id))

    def live(self, generation: int, filter: Filter | None = None) -> np.ndarray:
        filter = filter or Filter()
        return np.array(
            [p.id for p in self.passages(generation) if matches(filter, p.path, p.kind, p.mtime_ns, p.fields)], np.int64
        )

    def changes(self, since: int, until: int) -> tuple[np.ndarray, np.ndarray]:
        before, after = self.live(since), self.live(until)
        return np.setdiff1d(after, before), np.setdiff1d(before, after)

    def search_text(self, query: str, k: int, generation: int, filter: Filter | None = None) -> Neighbours:
        allowed = set(self.live(generation, filter).tolist())
        rows = list(self.passages(generation))
        texts = {p.id: _columns(p) for p in rows}
        lengths = {number: len(title) + len(text) for number, (title, text) in texts.items()}
        length = sum(lengths.values()) / max(1, len(texts)) or 1.0
        scores: dict[int, float] = {}
        for word in words_of(query, repeated=True):
            counts = {number: 2 * _count(word, title) + _count(word, text) for number, (title, text) in texts.items()}
            having = {number: n for number, n in counts.items() if n}
            for number, n in having.items():
                share = n * 2.2 / (n + 1.2 * (0.25 + 0.75 * lengths[number] / length))
                scores[number] = scores.get(number, 0.0) + rarity(len(texts), len(having)) * share
        best = sorted(((-s, n) for n, s in scores.items() if n in allowed))[:k]
        ids, values = np.full((1, k), -1, np.int64), np.full((1, k), -np.inf, np.float32)
        ids[0, : len(best)], values[0, : len(best)] = [n for _, n in best], [-s for s, _ in best]
        return Neighbours(ids, values)

    def text_scale(self, query: str, generation: int) -> float:
        texts = [_columns(p) for p in self.passages(generation)]
        held = {word: sum(any(_count(word, part) for part in text) for text in texts) for word in words_of(query)}
        return sum(rarity(len(texts), held[word]) for word in words_of(query, repeated=True))

    def set_root(self, path: str, options: Mapping[str, object]) -> None:
        self._now.roots[printable(path)] = dict(options)

    def drop_root(self, path: str) -> None:
        self._now.roots.pop(printable(path), None)

    def record(self, file: FileRecord) -> None:
        path = printable(file.path)
        self._now.files[path] = replace(file, path=path, root=printable(file.root))
        if file.status == "indexed":
            for group in (self._now.shown, self._now.pending, self._now.outdated):
                for held in group.get(path, []):
                    held.mtime_ns = file.mtime_ns

    def remove(self, paths: Iterable[str]) -> int:
        removed = 0
        for path in map(printable, paths):
            removed += self._now.files.pop(path, None) is not None
            self._discard(path)
            gone = self._now.shown.pop(path, []) + self._now.outdated.pop(path, [])
            self._now.dirty |= bool(gone)
        return removed

    def _discard(self, path: str) -> None:
        for held in self._now.pending.pop(path, []):
            held.passages = {n: part for n, part in held.passages.items() if n not in held.waiting}
            held.waiting = set()
            self._now.discarded.append((self._now.generation + 1, held))

    def _all_past(self) -> list[_Held]:
        """Every document, shown once or never, that has not been forgotten."""
        return [held for shown in self._now.history.values() for held in shown] + [h for _, h in self._now.discarded]

    def stage(
        self, file: FileRecord, contents: Iterable[tuple[Document, Sequence[Passage]]]
    ) -> tuple[int, int, dict[int, int]]:
        path = printable(file.path)
        self._discard(path)
        contents = list(contents)
        vectors = {}  # text → the first passage that has a vector
        for held in self._all_past() + self._all_pending():
            for number, part in held.passages.items():
                if number not in held.waiting:
                    vectors.setdefault(part.text, number)
        self._now.files[path] = replace(file, path=path, root=printable(file.root))
        old = sorted(
            self._now.shown.pop(path, []) + self._now.outdated.pop(path, []), key=lambda h: min(h.passages, default=0)
        )
        kept: list[_Held] = []
        fresh: list[_Held] = []
        for document, parts in contents:
            digest = document_digest(document, parts)
            same = next((held for held in old if held.digest == digest), None)
            if same is not None:
                old.remove(same)
                same.mtime_ns = file.mtime_ns
                kept.append(same)
                continue
            numbers = range(self._now.last_id + 1, self._now.last_id + 1 + len(parts))
            self._now.last_id += len(parts)
            texts = {n: replace(p, text=storable(p.text)) for n, p in zip(numbers, parts, strict=True)}
            fresh.append(_Held(replace(document, path=path), digest, texts, file.mtime_ns, set(numbers)))
        self._now.shown[path], self._now.outdated[path], self._now.pending[path] = kept, old, fresh
        twins = {n: vectors[p.text] for held in fresh for n, p in held.passages.items() if p.text in vectors}
        return sum(len(p) for _, p in contents), sum(len(held.passages) for held in kept), twins

    def unembedded(self, limit: int) -> list[tuple[int, str]]:
        found: dict[str, int] = {}
        for number, part in self._waiting():
            found.setdefault(part.text, number)
        return [(number, value) for value, number in found.items()][:limit]

    def _waiting(self) -> list[tuple[int, Passage]]:
        return sorted(((n, held.passages[n]) for held in self._all_pending() for n in held.waiting), key=lambda x: x[0])

    def unembedded_count(self) -> tuple[int, int]:
        tokens = {part.text: part.tokens for _, part in self._waiting()}
        return len(tokens), sum(tokens.values())

    def embed(self, vectors: Mapping[int, bytes], twins: bool = True, terms: Mapping[int, bytes] | None = None) -> None:
        waiting = dict(self._waiting())
        texts = {waiting[n].text: n for n in vectors if n in waiting}
        like = {n: n if n in vectors else texts.get(part.text) if twins else None for n, part in waiting.items()}
        for held in self._all_pending():
            for number in list(held.waiting):
                if (source := like[number]) is not None:
                    held.waiting.remove(number)
                    if terms is not None:
                        held.terms[number] = terms[source]

    def terms(self, ids: np.ndarray | None = None) -> tuple[np.ndarray, list[bytes]]:
        every = {n: blob for held in self._all_past() + self._all_pending() for n, blob in held.terms.items()}
        wanted = sorted(every if ids is None else every.keys() & set(ids.tolist()))
        return np.array(wanted, np.int64), [every[n] for n in wanted]

    def commit(self) -> int:
        now = self._now
        for path, documents in now.pending.items():
            outdated = now.outdated.get(path, [])
            ready = [held for held in documents if not held.waiting]
            if outdated and len(ready) < len(documents):
                continue
            now.shown[path] = now.shown.get(path, []) + ready
            now.pending[path] = [held for held in documents if held.waiting]
            now.outdated[path] = []
            now.dirty |= bool(ready or outdated)
        if now.dirty:
            now.generation += 1
            now.dirty = False
        groups = (*now.shown.values(), *now.outdated.values())
        now.history[now.generation] = [held for documents in groups for held in documents]
        self._committed = copy.deepcopy(now)
        return now.generation

    def rollback(self) -> None:
        self._now = copy.deepcopy(self._committed)

    def forget_dead(self) -> None:
        self._now.history = {g: shown for g, shown in self._now.history.items() if g == self._now.generation}
        self._now.discarded = [(died, held) for died, held in self._now.discarded if died > self._now.generation]
        self._now.oldest = self._now.generation


def _stored(held: _Held) -> list[StoredPassage]:
    d = held.document
    return [
        StoredPassage(n, p, d.path, d.kind, d.record, d.title, dict(d.fields), held.mtime_ns)
        for n, p in held.passages.items()
    ]


def _columns(passage: StoredPassage) -> tuple[list[str], list[str]]:
    """The words of title and text."""
    title, text = (re.findall(r"\w+", part.lower()) for part in (passage.title or "", passage.passage.text))
    return title, text


def _count(wanted: str, words: Sequence[str]) -> int:
    """How often a word, a phrase or ``begin*`` stands in a text, in no other form."""
    if wanted.endswith("*"):
        return sum(word.startswith(wanted[:-1]) for word in words)
    phrase = wanted.split()
    return sum(list(words[i : i + len(phrase)]) == phrase for i in range(len(words)))
