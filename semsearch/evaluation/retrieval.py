"""Retrieval quality: the product's own pipeline and searcher on judged queries, each mode beside the others.

A document scores as its best passage. Measures are ir-measures' (pytrec-eval underneath), per query, between 0 and 1.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import AP, RR, R, nDCG

from indexer import pipeline
from indexer.corpus.readers import ReadOptions
from indexer.embedding.encoder import TERMS, Encoder
from indexer.storage.manifest import Manifest
from indexer.storage.local.store import Store
from semsearch.collections import PASSAGE_TOKENS, splitter_for
from semsearch.evaluation import report, vectors
from semsearch.evaluation.beir import Judged, digest
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.vectors import Progress
from semsearch.search.ranking import ARMS, Candidates, Mode, Ranked, Weights
from semsearch.search.searcher import Searcher

MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
"""Always scored, and gated."""
WAYS = (*MODES, "hybrid rrf", "sparse", "hybrid sparse")
"""Beside them rank fusion, and where there is a sparse index that alone and all three arms with equal weights."""
MEASURES = (nDCG @ 10, AP, RR, R @ 10, R @ 100)
GATED = str(nDCG @ 10)
DEPTH = 1000
"""Passages ranked for each query; their documents are what is judged."""
TIMED = 50
"""Queries timed one by one, each asking for 10 hits."""


def score(
    judged: Judged, searcher: Searcher, progress: Progress = lambda what, share: None
) -> tuple[dict[str, Any], list[Score]]:
    """One collection's figures: ({scores, latency_ms, counts} as in the JSON, a Score of nDCG@10 for each way of
    ranking)."""
    store, queries = searcher.store, list(judged.queries)
    texts = [judged.queries[query] for query in queries]
    documents = owners(judged, store)
    scores: dict[str, dict[str, float]] = {}
    latency: dict[str, dict[str, float]] = {}
    kept: list[Score] = []
    progress(f"{judged.name}: searching", 0.0)
    arms = [arm for arm in ARMS if searcher.ranker.has(arm)]
    candidates = searcher.ranker.candidates(texts, arms, DEPTH)
    for way, ranked in ways(candidates, asdict(Weights.of(store.path))).items():
        run = {query: best(documents, each) for query, each in zip(queries, ranked, strict=True)}
        values = measure(judged, run)
        scores[way] = {name: float(each.mean()) for name, each in values.items()}
        items = values[GATED]
        kept.append(Score(f"{judged.name} {way}", 100 * float(items.mean()), items, None, tuple(texts), scores[way]))
    for step, mode in enumerate(MODES):
        progress(f"{judged.name}: searching", (1 + step) / (1 + len(MODES)))
        latency[mode] = _latency(searcher, texts, mode)
    progress(f"{judged.name}: searching", 1.0)
    counts = {"queries": len(queries), "documents": len(set(documents.values())), "passages": len(documents)}
    return {"scores": scores, "latency_ms": latency, "counts": counts}, kept


def owners(judged: Judged, store: Store) -> dict[int, str]:
    """Passage → the document that is judged: its record, or the file where a person judged files."""
    by_record = judged.corpus is not None
    return {row.id: (row.record if by_record else row.path) or "" for row in store.passages()}


def ways(candidates: Sequence[Candidates], weights: Mapping[str, float]) -> dict[str, list[Ranked]]:
    """Every way of ranking that the arms at hand allow, made of one search: the same that ``Ranker.rank`` gives."""
    arms = list(candidates[0].found)
    weighed = [arm for arm in arms if weights.get(arm)] or ["dense", "lexical"]
    found = {arm: [each.alone(arm, DEPTH) for each in candidates] for arm in arms}
    found["hybrid"] = [each.only(weighed).convex(weights, DEPTH) for each in candidates]
    found["hybrid rrf"] = [each.only(["dense", "lexical"]).reciprocal_rank(DEPTH) for each in candidates]
    if "sparse" in arms:
        found["hybrid sparse"] = [each.convex(dict.fromkeys(arms, 1.0), DEPTH) for each in candidates]
    return {way: found[way] for way in WAYS if way in found}


def measure(judged: Judged, run: dict[str, dict[str, float]]) -> dict[str, np.ndarray]:
    """Measure's name → (q,) value of each judged query, 0 for one without a result.

    ``run``: query → document → score."""
    place = {query: row for row, query in enumerate(judged.queries)}
    values = {str(name): np.zeros(len(place)) for name in MEASURES}
    for metric in ir_measures.iter_calc(MEASURES, {q: dict(d) for q, d in judged.relevant.items()}, run):
        values[str(metric.measure)][place[metric.query_id]] = metric.value
    return values


def result(
    judged: Sequence[Judged],
    searchers: Callable[[Judged], Searcher],
    encoder: Callable[[], Encoder],
    *,
    batch_tokens: int | None = None,
    progress: Progress = lambda what, share: None,
) -> tuple[dict[str, Any], list[Score]]:
    """Every collection's figures with their means over collections, the items behind them, and the scores of MODES:
    those that a gate compares."""
    started = time.monotonic()
    tasks, scores = {}, []
    for each in judged:
        with searchers(each) as searcher:
            tasks[each.name], kept = score(each, searcher, progress)
        scores += kept
    figures = [task["scores"] for task in tasks.values()]
    everywhere = [way for way in figures[0] if all(way in each for each in figures)]
    means = {way: {m: float(np.mean([f[way][m] for f in figures])) for m in figures[0][way]} for way in everywhere}
    seconds = time.monotonic() - started
    return {
        "scores": _rounded(means),
        **({"latency_ms": tasks[judged[0].name]["latency_ms"]} if len(judged) == 1 else {}),
        "quick": any(each.quick for each in judged),
        "tasks": _rounded(tasks),
        "data": {each.name: {"source": each.source, "sha256": each.sha256, "quick": each.quick} for each in judged},
        **report.provenance(encoder(), seconds=seconds, seed=0, batch_tokens=batch_tokens),
        "depth": DEPTH,
        "items": {each.task: report.item_values(each.items) for each in scores},
    }, [score for score in scores if score.task.rpartition(" ")[2] in MODES]


def collection(
    judged: Judged,
    encoder: Encoder,
    cache: Path,
    progress: Progress = lambda what, share: None,
    sparse: bool = False,
) -> Store:
    """A collection of the documents, made by the real pipeline and kept in ``cache`` for the next run."""
    assert judged.corpus is not None
    name = f"{judged.name}{'-sparse' if sparse else ''}-{digest(judged.corpus)[:12]}"
    path = cache / f"{name}-{vectors.key(encoder, 'indexer/corpus')}"
    store = _opened(path, encoder, sparse=TERMS if sparse else None)
    _update(store, [str(judged.corpus)], encoder, ReadOptions(id_field="_id"), judged.name, progress)
    vectors.prune(path)
    return store


def reindexed(store: Store, encoder: Encoder, cache: Path, progress: Progress = lambda what, share: None) -> Store:
    """The same roots as ``store``'s, read in the same way, in a collection of another encoder in ``cache``."""
    path = cache / f"{Path(store.path).name}-{vectors.key(encoder, 'indexer/corpus')}"
    shutil.rmtree(path, ignore_errors=True)
    other = _opened(path, encoder, int(store.manifest.splitter["passage_tokens"]), store.manifest.sparse)
    for root, options in store.roots().items():
        _update(other, [root], encoder, ReadOptions.from_dict(options), Path(root).name, progress)
    return other


def _opened(path: Path, encoder: Encoder, passage_tokens: int = PASSAGE_TOKENS, sparse: int | None = None) -> Store:
    if (path / "manifest.json").is_file():
        return Store.open(path, writable=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokens = min(passage_tokens, encoder.spec.max_tokens)
    splitter = {"passage_tokens": tokens}
    return Store.create(path, Manifest(spec=encoder.spec, dim=encoder.dim, splitter=splitter, sparse=sparse))


def _update(
    store: Store, roots: list[str], encoder: Encoder, options: ReadOptions, name: str, progress: Progress
) -> None:
    class Observer(pipeline.Observer):
        total = done = 0

        def planned(self, plan: pipeline.Report) -> None:
            self.total = plan.to_embed

        def embedded(self, passages: int, *rest: int) -> None:
            self.done += passages
            progress(f"{name}: embedding {self.total:,} passages", min(1.0, self.done / max(self.total, 1)))

    splitter = splitter_for(store.manifest.spec, int(store.manifest.splitter["passage_tokens"]))
    pipeline.update(store, roots, lambda: encoder, splitter=splitter, options=options, force=True, observer=Observer())


def best(documents: Mapping[int, str], ranked: Ranked) -> dict[str, float]:
    """Document → the score of its best passage."""
    found: dict[str, float] = {}
    for id, value in zip(ranked.ids.tolist(), ranked.scores.tolist(), strict=True):
        found.setdefault(documents[id], value)  # best first
    return found


def _latency(searcher: Searcher, texts: Sequence[str], mode: Mode) -> dict[str, float]:
    """Milliseconds of single queries, from text to hits."""
    searcher.search(texts[0], 10, mode)  # whatever is opened at the first query is not the query's time
    times = []
    for text in texts[:TIMED]:
        started = time.perf_counter()
        searcher.search(text, 10, mode)
        times.append(1000 * (time.perf_counter() - started))
    return {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (50, 90, 99)}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return round(value, 5) if isinstance(value, float) else value
