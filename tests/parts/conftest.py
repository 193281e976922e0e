"""A corpus that two ways of indexing are compared on, and the comparison."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from indexer.corpus.splitter import Splitter
from indexer.parts import produce
from indexer.parts.folder import ShardFolder
from indexer.parts.merge import merge
from indexer.parts.part import Part
from indexer.parts.produce import ThisProcess, make_part
from indexer.pipeline import update
from indexer.plan import take_walk
from indexer.storage.memory import MemoryStore
from tests.pipeline.conftest import count_words
from tests.storage.contract.factories import KINDS, Factory, making
from tests.storage.contract.values import ENCODER, TERMS, manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from indexer.corpus.formats import ReadOptions
    from indexer.parts.produce import PartReport
    from indexer.pipeline import Report
    from indexer.progress import Progress
    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Store

BOAT = "A sailing boat, number {}, crosses the bay in the morning with the wind, and comes home at night."
SHARED = "Shared words of every file."
QUERIES = ["a sailing boat on the bay", "shared words of every file", "number 7", "Überfahrt nach Köln"]


COUNTED = ("new", "changed", "moved", "deleted", "unchanged", "failed", "skipped", "total", "vanished", "warnings")
"""What the report of a run says of files."""


@pytest.fixture
def splitter() -> Splitter:
    return Splitter(count_words, 20)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two dozen files of several kinds; equal texts in many of them, and names that sort otherwise than they walk."""
    folder = tmp_path / "corpus"
    for name in ("a", "a-b", "deep/er"):
        (folder / name).mkdir(parents=True)
    for n in range(18):
        place = folder / ("a", "a-b", "deep/er", ".")[n % 4]
        (place / f"{n}.txt").write_text(f"{BOAT.format(n)}\n\n{SHARED}\n")
    (folder / "a.md").write_text("# Überfahrt\n\nNach Köln.\n\n## Zurück\n\n" + SHARED)
    (folder / "people.csv").write_text(
        "id,text,year\n" + "".join(f"{n},Person number {n},19{n}\n" for n in range(60, 99))
    )
    (folder / "page.html").write_text("<title>Boats</title><h1>Sails</h1><p>A boat.</p><h2>More</h2><p>The bay.</p>")
    (folder / "empty.txt").write_text("")
    (folder / "blank.txt").write_text(" \n \n")
    (folder / "torn.pdf").write_bytes(b"%PDF-1.7 and no more")
    return folder


@pytest.fixture(params=KINDS, ids=str)
def factory(request: pytest.FixtureRequest) -> Factory:
    return request.param


@pytest.fixture
def make(factory: Factory, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Make stores, by the changes of their manifest."""
    with making(factory, tmp_path, splitter={"passage_tokens": 20}, sparse=TERMS) as new:
        yield new


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let shards hold so few passages that every part has several, and a file of records is in more than one."""
    monkeypatch.setattr(produce, "SHARD", {"cpu": 8})


@dataclass
class Bench:
    """One run in parts, with everything that it is made of."""

    folder: ShardFolder
    roots: list[str]
    splitter: Splitter
    manifest: Manifest
    options: ReadOptions | None = None

    def part(self, text: str, store: Store | None = None, progress: Progress = lambda _: None) -> PartReport:
        """Make one part, for a new collection or beside a store."""
        part = Part.parse(text)
        with (store or MemoryStore(self.manifest)).snapshot() as snapshot:
            walk = take_walk(snapshot, self.roots, self.options)
            workers = ThisProcess(self.folder, part, snapshot.manifest, self.splitter, lambda: ENCODER)
            return make_part(self.folder, part, walk, snapshot, workers, progress=progress)

    def vectors(self, texts: list[str]) -> tuple[np.ndarray, list[dict[int, int]]]:
        return ENCODER.encode_terms(texts, max_terms=TERMS)

    def merge(self, store: Store) -> Report:
        return merge(store, self.folder, self.folder.gather())

    def index(self, store: Store) -> Report:
        """Do the same in one process."""
        return update(store, self.roots, lambda: ENCODER, splitter=self.splitter, options=self.options)


@pytest.fixture
def bench(tmp_path: Path, corpus: Path, splitter: Splitter) -> Bench:
    made = manifest(splitter={"passage_tokens": 20}, sparse=TERMS)
    return Bench(ShardFolder(tmp_path / "shards"), [str(corpus)], splitter, made)


def shown(store: Store, ordered: bool = True) -> dict[str, object]:
    """Return everything that a person can see of a collection, its ids replaced by places.

    Without ``ordered`` all hits are compared, and not in which order those of equal scores come.
    """
    k = 20 if ordered else 500
    with store.snapshot() as snapshot:
        documents = list(snapshot.documents())
        place = {part.id: (part.path, part.record, part.passage.start) for each in documents for part in each.passages}
        encoded, terms = ENCODER.encode_terms(QUERIES, role="query")
        found = {
            "dense": snapshot.dense(encoded, k),
            "lexical": snapshot.lexical(QUERIES, k),
            "sparse": snapshot.sparse(terms, k),
        }
        return {
            "files": list(snapshot.files()),
            "roots": snapshot.roots(),
            "documents": [
                (each.document, [(replace(part, id=0)) for part in each.passages], each.mtime_ns) for each in documents
            ],
            "vectors": np.asarray(snapshot.vectors(list(place))).tolist(),
            "terms": snapshot.terms(list(place)),
            "counts": replace(snapshot.counts(), tombstones=0),
            "hits": {
                name: [
                    _sorted(((place[n], score) for n, score in zip(ids, scores, strict=True) if n >= 0), ordered)
                    for ids, scores in zip(some.ids.tolist(), some.scores.tolist(), strict=True)
                ]
                for name, some in found.items()
            },
        }


def _sorted(hits: Iterable[tuple[object, float]], as_they_come: bool) -> list[tuple[object, float]]:
    return list(hits) if as_they_come else sorted(hits, key=lambda hit: (-hit[1], str(hit[0])))


def change(corpus: Path) -> None:
    (corpus / "a" / "0.txt").write_text(f"{BOAT.format('0, of the rowing kind')}\n\n{SHARED}\n")
    (corpus / "people.csv").write_text("id,text,year\n1,Person number 7,1907\n2,Person number 61,1961\n")
    (corpus / "a" / "4.txt").rename(corpus / "moved.txt")
    (corpus / "a" / "8.txt").unlink()
    (corpus / "page.html").write_text("")  # skipped from now on
    os.utime(corpus / "a.md", ns=(1, 1))  # touched only
    (corpus / "torn.pdf").write_bytes(b"%PDF-1.7 and still no more")
