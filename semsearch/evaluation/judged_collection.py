"""Collections to answer judged queries with: the only module of evaluation that opens or makes one.

A document scores as its best passage.
"""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer import pipeline
from indexer.corpus.readers import ReadOptions
from indexer.embedding.encoder import Encoder, MAX_TERMS
from indexer.storage.local.store import Store
from indexer.storage.manifest import Manifest
from semsearch import collections
from semsearch.collections import PASSAGE_TOKENS, Runtime, splitter_for
from semsearch.evaluation import vector_cache
from semsearch.evaluation.judged import Judged, digest, read_judgements
from semsearch.evaluation.progress import Progress, silent
from semsearch.search.ranking import ARMS, Mode, Weights
from semsearch.search.searcher import Searcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from semsearch.search.ranking import Candidates, Ranked
    from semsearch.settings import Settings

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

    def __init__(self, judged: Judged, searcher: Searcher) -> None:
        """Judge what ``searcher`` finds."""
        self.judged, self.searcher = judged, searcher
        by_record = judged.corpus is not None
        self.owners = {row.id: (row.record if by_record else row.path) or "" for row in searcher.store.passages()}
        """Passage → the document that is judged: its record, or the file where a person judged files."""

    def __enter__(self) -> JudgedCollection:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the collection."""
        self.searcher.close()

    @property
    def encoder(self) -> Encoder:
        """The encoder that queries are encoded with; loaded when it is first asked for."""
        return self.searcher.encoder

    def find(self, depth: int) -> Found:
        """Search with every retriever of the collection, ``depth`` passages each."""
        weights = asdict(Weights.of(self.searcher.store.path))
        ranker = self.searcher.ranker
        retrievers = [name for name in ARMS if ranker.has(name)]
        candidates = ranker.candidates(list(self.judged.queries.values()), retrievers, depth)
        return Found(self.judged, candidates, self.owners, weights)

    def latency(self, mode: Mode) -> dict[str, float]:
        """Return percentiles of the time of single queries, from text to hits, in milliseconds."""
        texts = list(self.judged.queries.values())[:TIMED_QUERIES]
        self.searcher.search(texts[0], 10, mode)  # whatever is opened at the first query is not the query's time
        times = []
        for text in texts:
            started = time.perf_counter()
            self.searcher.search(text, 10, mode)
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
    store = _opened(path, encoder, sparse=MAX_TERMS if sparse else None)
    _update(store, [str(judged.corpus)], encoder, ReadOptions(id_field="_id"), judged.name, progress)
    vector_cache.prune(path)
    return JudgedCollection(judged, Searcher(store, encoder))


@contextmanager
def existing(judgements: Path, settings: Settings, flags: Mapping[str, Any]) -> Iterator[JudgedCollection]:
    """Open the collection of the settings with a person's judgements of its files.

    Raises:
        CollectionNotFound: There is no such collection.
        DataError: The judgements do not belong to it.
    """
    runtime = Runtime(device=settings.device, batch_tokens=settings.batch_tokens)
    with collections.searcher(settings, flags=flags, runtime=runtime) as searcher:
        yield _judged_by(judgements, searcher)


def reindexed(
    judgements: Path, settings: Settings, encoder: Encoder, cache: Path, progress: Progress = silent
) -> JudgedCollection:
    """Index the roots of the settings' collection again, read in the same way, with another encoder, in ``cache``."""
    with collections.searcher(settings, flags={}, runtime=Runtime()) as searcher:
        store = searcher.store
        path = cache / f"{Path(store.path).name}-{vector_cache.key(encoder, 'indexer/corpus')}"
        shutil.rmtree(path, ignore_errors=True)
        other = _opened(path, encoder, _passage_tokens(store), store.manifest.sparse)
        for root, options in store.roots().items():
            _update(other, [root], encoder, ReadOptions.from_dict(options), Path(root).name, progress)
    return _judged_by(judgements, Searcher(other, encoder))


def _judged_by(judgements: Path, searcher: Searcher) -> JudgedCollection:
    store = searcher.store
    judged = read_judgements(judgements, [file.path for file in store.files("indexed")], sorted(store.roots()))
    return JudgedCollection(judged, searcher)


def _opened(path: Path, encoder: Encoder, passage_tokens: int = PASSAGE_TOKENS, sparse: int | None = None) -> Store:
    if (path / "manifest.json").is_file():
        return Store.open(path, writable=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    splitter: dict[str, object] = {"passage_tokens": min(passage_tokens, encoder.spec.max_tokens)}
    return Store.create(path, Manifest(spec=encoder.spec, dim=encoder.dim, splitter=splitter, sparse=sparse))


def _passage_tokens(store: Store) -> int:
    return int(str(store.manifest.splitter["passage_tokens"]))


class _Told(pipeline.Observer):
    """Tells of an index run as the share of passages that have their vectors."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name, self._progress = name, progress
        self._total = self._done = 0

    def planned(self, plan: pipeline.Report) -> None:
        self._total = plan.to_embed

    def embedded(self, passages: int, *_rest: int) -> None:
        self._done += passages
        share = min(1.0, self._done / max(self._total, 1))
        self._progress(f"{self._name}: embedding {self._total:,} passages", share)


def _update(
    store: Store, roots: list[str], encoder: Encoder, options: ReadOptions, name: str, progress: Progress
) -> None:
    splitter = splitter_for(store.manifest.spec, _passage_tokens(store))
    observer = _Told(name, progress)
    pipeline.update(store, roots, lambda: encoder, splitter=splitter, options=options, force=True, observer=observer)
