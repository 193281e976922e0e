"""Collections to answer judged queries with: the only module of evaluation that opens or makes one.

A document scores as its best passage.
"""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.corpus.readers import ReadOptions
from indexer.progress import Planned, TextsEmbedded
from semsearch import stores
from semsearch.collection import Collection
from semsearch.evaluation.judged.queries import Judged, digest, own_judgements, read_judgements
from semsearch.evaluation.progress import Progress, silent
from semsearch.evaluation.sentences import vector_cache
from semsearch.search.asking.asked import Need, read
from semsearch.search.ranking.retrieve import RETRIEVERS, retrieve
from semsearch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from indexer.embedding.encoder import Encoder
    from indexer.progress import Event
    from semsearch.encoders import EncoderOverrides
    from semsearch.search.asking.request import Mode
    from semsearch.search.ranking.retrieve import Candidates, Ranked

MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
"""Always scored, and gated."""
WAYS = (*MODES, "hybrid rrf", "sparse", "hybrid sparse")
"""Also rank fusion, and where there is a sparse index that alone and all three retrievers with equal weights."""
TIMED_QUERIES = 50
"""Queries timed one by one, each asking for 10 hits."""

Run = dict[str, dict[str, float]]
"""Query → document → score."""


class Found:
    """The passages that each retriever found for the judged queries, ready to be fused in any way."""

    def __init__(
        self, judged: Judged, candidates: Sequence[Candidates], owners: Mapping[int, str], weights: Mapping[str, float]
    ) -> None:
        """Keep what one search gave: ``candidates`` by query, and ``owners``, passage → document."""
        self._judged, self._candidates, self._owners = judged, candidates, owners
        self.weights = weights
        """Retriever → its weight in the collection's own fusion."""
        self.retrievers = list(candidates[0].found)

    def ways(self, depth: int) -> dict[str, Run]:
        """Return the run of every way of ranking that the retrievers at hand allow, all made of the one search."""
        names = self.retrievers
        weighed = [name for name in names if self.weights.get(name)] or ["dense", "lexical"]
        found = {name: [each.alone(name, depth) for each in self._candidates] for name in names}
        found["hybrid"] = [each.only(weighed).convex(self.weights, depth) for each in self._candidates]
        found["hybrid rrf"] = [each.only(["dense", "lexical"]).reciprocal_rank(depth) for each in self._candidates]
        if "sparse" in names:
            found["hybrid sparse"] = [each.convex(dict.fromkeys(names, 1.0), depth) for each in self._candidates]
        return {way: self._run(found[way]) for way in WAYS if way in found}

    def fused(self, weights: Mapping[str, float], depth: int) -> Run:
        """Return the run of a convex fusion with these weights."""
        return self._run([each.convex(weights, depth) for each in self._candidates])

    def _run(self, rankings: Sequence[Ranked]) -> Run:
        return {query: best(self._owners, ranked) for query, ranked in zip(self._judged.queries, rankings, strict=True)}


class JudgedCollection:
    """A collection with judged queries; a context manager that closes it."""

    def __init__(self, judged: Judged, docs: Collection) -> None:
        """Judge what ``docs`` finds."""
        self.judged, self.docs = judged, docs
        with docs.view() as view:
            rows = [row for each in view.snapshot.documents() for row in each.passages]
        self.owners = {row.id: judged.document(row.path, row.record) for row in rows}
        """Passage → the document that is judged: its record, or the file where a person judged files."""

    def __enter__(self) -> JudgedCollection:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the collection."""
        self.docs.close()

    @property
    def encoder(self) -> Encoder:
        """The encoder that queries are encoded with; loaded when it is first asked for."""
        return self.docs.encoder

    def find(self, depth: int) -> Found:
        """Search with every retriever of the collection, ``depth`` passages each."""
        texts = list(self.judged.queries.values())
        with self.docs.view() as view:
            names = [name for name in RETRIEVERS if view.has(name)]
            need = Need(vector=True, terms="sparse" in names)
            notes: list[str] = []
            asked = read(texts, [need] * len(texts), lambda: self.encoder, notes.append)
            return Found(self.judged, retrieve(view, asked, names, depth), self.owners, asdict(view.weights))

    def latency(self, mode: Mode) -> dict[str, float]:
        """Return percentiles of the time of single queries, from text to hits, in milliseconds."""
        texts = list(self.judged.queries.values())[:TIMED_QUERIES]
        self.docs.search(texts[0], mode=mode)  # whatever is opened at the first query is not the query's time
        times = []
        for text in texts:
            started = time.perf_counter()
            self.docs.search(text, mode=mode)
            times.append(1000 * (time.perf_counter() - started))
        return {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (50, 90, 99)}


def best(owners: Mapping[int, str], ranked: Ranked) -> dict[str, float]:
    """Return document → the score of its best passage."""
    found: dict[str, float] = {}
    for passage, value in zip(ranked.ids.tolist(), ranked.scores.tolist(), strict=True):
        found.setdefault(owners[passage], value)  # best first
    return found


def indexed(
    judged: Judged, encoder: Encoder, cache: Path, progress: Progress = silent, *, sparse: bool = False
) -> JudgedCollection:
    """Index the documents of ``judged`` with the real pipeline; what is in ``cache`` from an earlier run is kept."""
    if judged.corpus is None:
        raise ValueError("judgements of an existing collection have no documents to index")
    name = f"{judged.name}{'-sparse' if sparse else ''}-{digest(judged.corpus)[:12]}"
    path = cache / f"{name}-{vector_cache.key(encoder, 'indexer/corpus')}"
    docs = _opened(path, encoder)
    options = ReadOptions(id_field="_id")
    docs.index([str(judged.corpus)], options=options, sparse=sparse, force=True, progress=_Told(judged.name, progress))
    vector_cache.prune(path)
    return JudgedCollection(judged, docs)


@contextmanager
def existing(judgements: Path | None, settings: Settings, overrides: EncoderOverrides) -> Iterator[JudgedCollection]:
    """Open the collection of the settings with a file of judgements, or its own.

    Raises:
        CollectionNotFound: There is no such collection.
        DataError: The judgements do not belong to it, or there are none.
    """
    with Collection(settings=settings, encoder=overrides) as docs:
        yield judged_by(judgements, docs)


def reindexed(
    judgements: Path | None, settings: Settings, encoder: Encoder, cache: Path, progress: Progress = silent
) -> JudgedCollection:
    """Index the roots of the settings' collection again, read in the same way, with another encoder, in ``cache``."""
    with Collection(settings=settings) as docs, docs.view() as view:
        manifest, roots = view.snapshot.manifest, view.snapshot.roots()
        judged = judgements_for(docs, judgements)
    path = cache / f"{settings.collection}-{vector_cache.key(encoder, 'indexer/corpus')}"
    shutil.rmtree(path, ignore_errors=True)
    other = _opened(path, encoder)
    tokens = min(int(str(manifest.splitter["passage_tokens"])), encoder.spec.max_tokens)
    for root, options in roots.items():
        other.index(
            [root],
            options=ReadOptions.from_dict(options),
            passage_tokens=tokens,
            sparse=manifest.sparse is not None,
            force=True,
            progress=_Told(Path(root).name, progress),
        )
    return JudgedCollection(judged, other)


def judged_by(judgements: Path | None, docs: Collection) -> JudgedCollection:
    """Return a collection that is open with a file of judgements, or its own.

    Raises:
        DataError: The judgements do not belong to it, or there are none.
    """
    return JudgedCollection(judgements_for(docs, judgements), docs)


def judgements_for(docs: Collection, file: Path | None) -> Judged:
    """Return the judgements in a file; None: those that are kept with the collection.

    Raises:
        DataError: The judgements do not belong to the collection, or nothing was called right.
    """
    if file is None:
        return own_judgements(docs.judgements(), docs.name, stores.option(docs.settings))
    with docs.view() as view:
        files, roots = [each.path for each in view.snapshot.files("indexed")], sorted(view.snapshot.roots())
    return read_judgements(file, files, roots)


def _opened(path: Path, encoder: Encoder) -> Collection:
    """Return the collection in a folder, or one that is made there at the first index."""
    settings = Settings(home=path.parent, collection=path.name)
    return Collection(settings=settings, create=True, encoder=encoder)


class _Told:
    """Tells of an index run as the share of passages that have their vectors."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name, self._progress = name, progress
        self._total = self._done = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._total = event.texts
        elif isinstance(event, TextsEmbedded):
            self._done += event.texts
            share = min(1.0, self._done / max(self._total, 1))
            self._progress(f"{self._name}: embedding {self._total:,} passages", share)
