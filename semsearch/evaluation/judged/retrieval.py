"""Retrieval quality: the product's own search on judged queries, each way of ranking next to the others.

Measures are ir-measures' (pytrec-eval underneath), per query, between 0 and 1.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import ir_measures
import numpy as np
from ir_measures import AP, RR, R, nDCG

from indexer.errors import DataError
from semsearch.evaluation import result_files
from semsearch.evaluation.judged.collection import MODES
from semsearch.evaluation.judged.queries import shortened
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from indexer.embedding.encoder import Encoder
    from semsearch.evaluation.judged.collection import JudgedCollection, Run
    from semsearch.evaluation.judged.queries import Judged

MEASURES = (nDCG @ 10, AP, RR, R @ 10, R @ 100)
GATED = str(nDCG @ 10)
DEPTH = 1000
"""Passages ranked for each query; their documents are what is judged."""


class Judge(Protocol):
    """What is done with judged queries and the collections that answer them: ``result`` here or ``tune.result``."""

    def __call__(
        self,
        judged: Sequence[Judged],
        opened: Callable[[Judged], JudgedCollection],
        encoder: Callable[[], Encoder],
        *,
        batch_tokens: int | None = None,
        progress: Progress = silent,
    ) -> tuple[dict[str, Any], list[Score]]:
        """Return the result as JSON shows it, and the scores with their items."""
        ...


def score(collection: JudgedCollection, progress: Progress = silent) -> tuple[dict[str, Any], list[Score]]:
    """Score one collection.

    Returns:
        ``{scores, latency_ms, counts, notes}`` as in the JSON, and a Score of nDCG@10 for each way of ranking.

    Raises:
        DataError: No judged document is in the collection.
    """
    judged, documents = collection.judged, set(collection.owners.values())
    notes = [*judged.notes, *_lost(judged, documents)]
    scores: dict[str, dict[str, float]] = {}
    latency: dict[str, dict[str, float]] = {}
    kept: list[Score] = []
    progress(f"{judged.name}: searching", 0.0)
    labels = tuple(judged.queries.values())
    for way, run in collection.find(DEPTH).ways(DEPTH).items():
        values = measure(judged, run)
        scores[way] = {name: float(each.mean()) for name, each in values.items()}
        items = values[GATED]
        kept.append(Score(f"{judged.name} {way}", 100 * float(items.mean()), items, None, labels, scores[way]))
    for step, mode in enumerate(MODES):
        progress(f"{judged.name}: searching", (1 + step) / (1 + len(MODES)))
        latency[mode] = collection.latency(mode)
    progress(f"{judged.name}: searching", 1.0)
    counts = {"queries": len(labels), "documents": len(documents), "passages": len(collection.owners)}
    return {"scores": scores, "latency_ms": latency, "counts": counts, **({"notes": notes} if notes else {})}, kept


def _lost(judged: Judged, documents: set[str]) -> list[str]:
    """Return a note of judged documents that the collection does not hold.

    Raises:
        DataError: It holds none of them: figures of 0 would say nothing of the search.
    """
    wanted = dict.fromkeys(document for row in judged.relevant.values() for document in row)
    lost = [document for document in wanted if document not in documents]
    if len(lost) == len(wanted):
        raise DataError(
            f"{judged.name}: none of the {len(wanted):,} documents judged relevant is in the collection "
            f"({shortened([repr(name) for name in lost])}); their identifiers or texts were not read as they stand"
        )
    names = shortened([repr(name) for name in lost])
    return [f"{len(lost):,} judged documents are not in the collection and count as not found: {names}"] if lost else []


def measure(judged: Judged, run: Run) -> dict[str, np.ndarray]:
    """Return measure's name → (q,) float64, the value of each judged query, 0 for one without a result."""
    return {str(name): values for name, values in measured(judged, run, MEASURES).items()}


def measured(judged: Judged, run: Run, measures: Sequence[Any]) -> dict[Any, np.ndarray]:
    """Return measure → (q,) float64, the value of each judged query, 0 for one without a result.

    A document that is the query itself (``judged.own``) is left out of what the query found, as BEIR's tools do.
    """
    place = {query: row for row, query in enumerate(judged.queries)}
    values = {name: np.zeros(len(place)) for name in measures}
    found = {q: _without(row, q) if q in judged.own else row for q, row in run.items()}
    for metric in ir_measures.iter_calc(list(measures), {q: dict(d) for q, d in judged.relevant.items()}, found):
        values[metric.measure][place[metric.query_id]] = metric.value
    return values


def _without(row: Mapping[str, float], document: str) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != document}


def result(
    judged: Sequence[Judged],
    opened: Callable[[Judged], JudgedCollection],
    encoder: Callable[[], Encoder],
    *,
    batch_tokens: int | None = None,
    progress: Progress = silent,
) -> tuple[dict[str, Any], list[Score]]:
    """Score every collection.

    Returns:
        The figures with their means over collections and the items behind them, and the scores of MODES, which
        a gate compares.
    """
    started = time.monotonic()
    tasks: dict[str, dict[str, Any]] = {}
    scores: list[Score] = []
    for each in judged:
        with opened(each) as collection:
            tasks[each.name], kept = score(collection, progress)
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
        **result_files.provenance(encoder(), seconds=seconds, seed=0, batch_tokens=batch_tokens),
        "depth": DEPTH,
        "items": {each.task: result_files.item_values(each.items) for each in scores},
    }, [score for score in scores if score.task.rpartition(" ")[2] in MODES]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return round(value, 5) if isinstance(value, float) else value
