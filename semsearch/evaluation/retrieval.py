"""Retrieval quality: the product's own pipeline and searcher on judged queries, each mode beside the others.

A document scores as its best passage. Measures are ir-measures' (pytrec-eval underneath), per query, between 0 and 1.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import AP, RR, R, nDCG

from indexer import embedding, pipeline
from indexer.corpus.readers import ReadOptions
from indexer.corpus.splitter import Splitter
from indexer.embedding.encoder import Encoder
from indexer.storage.manifest import Manifest
from indexer.storage.store import Store
from semsearch.collections import PASSAGE_TOKENS
from semsearch.evaluation import report, vectors
from semsearch.evaluation.beir import Judged, digest
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.vectors import Progress
from semsearch.searcher import Mode, Searcher

MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
MEASURES = (nDCG @ 10, AP, RR, R @ 10, R @ 100)
GATED = str(nDCG @ 10)
DEPTH = 1000
"""Passages ranked for each query; their documents are what is judged."""
TIMED = 50
"""Queries timed one by one, each asking for 10 hits."""


def score(
    judged: Judged, searcher: Searcher, progress: Progress = lambda what, share: None
) -> tuple[dict[str, Any], list[Score]]:
    """One collection's figures: ({scores, latency_ms, counts} as in the JSON, a Score of nDCG@10 for each mode)."""
    store, queries = searcher.store, list(judged.queries)
    texts = [judged.queries[query] for query in queries]
    by_record = judged.corpus is not None
    documents = {row.id: row.record if by_record else row.path for row in store.passages()}
    scores: dict[str, dict[str, float]] = {}
    latency: dict[str, dict[str, float]] = {}
    kept: list[Score] = []
    for step, mode in enumerate(MODES):
        progress(f"{judged.name}: searching", step / len(MODES))
        found = searcher.rank(texts, DEPTH, mode)
        run = {
            query: _best(documents, ids, values)
            for query, ids, values in zip(queries, found.ids, found.scores, strict=True)
        }
        values = measure(judged, run)
        scores[mode] = {name: float(each.mean()) for name, each in values.items()}
        items = values[GATED]
        kept.append(Score(f"{judged.name} {mode}", 100 * float(items.mean()), items, None, tuple(texts), scores[mode]))
        latency[mode] = _latency(searcher, texts, mode)
    progress(f"{judged.name}: searching", 1.0)
    counts = {"queries": len(queries), "documents": len(set(documents.values())), "passages": len(documents)}
    return {"scores": scores, "latency_ms": latency, "counts": counts}, kept


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
    """Every collection's figures with their means over collections, and the items behind them."""
    started = time.monotonic()
    tasks, scores = {}, []
    for each in judged:
        with searchers(each) as searcher:
            tasks[each.name], kept = score(each, searcher, progress)
        scores += kept
    figures = [task["scores"] for task in tasks.values()]
    means = {mode: {m: float(np.mean([f[mode][m] for f in figures])) for m in figures[0][mode]} for mode in MODES}
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
    }, scores


def collection(judged: Judged, encoder: Encoder, cache: Path, progress: Progress = lambda what, share: None) -> Store:
    """A collection of the documents, made by the real pipeline and kept in ``cache`` for the next run."""
    assert judged.corpus is not None
    path = cache / f"{judged.name}-{digest(judged.corpus)[:12]}-{vectors.key(encoder, 'indexer/corpus')}"
    store = _opened(path, encoder)
    _update(store, [str(judged.corpus)], encoder, ReadOptions(id_field="_id"), judged.name, progress)
    vectors.prune(path)
    return store


def reindexed(store: Store, encoder: Encoder, cache: Path, progress: Progress = lambda what, share: None) -> Store:
    """The same roots as ``store``'s, read in the same way, in a collection of another encoder in ``cache``."""
    path = cache / f"{Path(store.path).name}-{vectors.key(encoder, 'indexer/corpus')}"
    shutil.rmtree(path, ignore_errors=True)
    other = _opened(path, encoder, int(store.manifest.splitter["passage_tokens"]))
    for root, options in store.roots().items():
        _update(other, [root], encoder, ReadOptions.from_dict(options), Path(root).name, progress)
    return other


def _opened(path: Path, encoder: Encoder, passage_tokens: int = PASSAGE_TOKENS) -> Store:
    if (path / "manifest.json").is_file():
        return Store.open(path, writable=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokens = min(passage_tokens, encoder.spec.max_tokens)
    return Store.create(path, Manifest(spec=encoder.spec, dim=encoder.dim, splitter={"passage_tokens": tokens}))


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

    splitter = Splitter(embedding.tokenizer(store.manifest.spec), int(store.manifest.splitter["passage_tokens"]))
    pipeline.update(store, roots, lambda: encoder, splitter=splitter, options=options, force=True, observer=Observer())


def _best(documents: dict[int, str | None], ids: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Document → the score of its best passage."""
    best: dict[str, float] = {}
    for id, value in zip(ids.tolist(), scores.tolist(), strict=True):
        if id >= 0:
            document = documents[id] or ""
            best[document] = max(value, best.get(document, -np.inf))
    return best


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
