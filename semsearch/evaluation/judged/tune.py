"""Choose the retrievers' weights by judgements, and say whether the choice is more than luck.

The retrievers search once; each point of a grid of weights only fuses what they found anew. The worth of the choice is
measured on queries that had no part in it (cross-validation), beside the weights in use, with a bootstrap interval.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from ir_measures import nDCG

from indexer.errors import DataError
from semsearch.evaluation import result_files
from semsearch.evaluation.judged import retrieval
from semsearch.evaluation.metrics import Score, resamples
from semsearch.evaluation.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from indexer.embedding.encoder import Encoder
    from semsearch.evaluation.judged.collection import Found, JudgedCollection
    from semsearch.evaluation.judged.queries import Judged

MEASURE = nDCG @ 10
DEPTH = 100
"""Passages that each retriever contributes: as many as in a search."""
STEPS = {2: 20, 3: 10}
"""Number of retrievers → steps of the grid between weight 0 and 1."""
FOLDS = 5
MIN_QUERIES = 4
"""Queries below which nothing can be said of weights."""
SAMPLES = 2_000
"""Bootstrap samples."""
MAX_SHOWN_POINTS = 30
"""A longer curve is shown by its best points."""


def result(
    judged: Sequence[Judged],
    opened: Callable[[Judged], JudgedCollection],
    encoder: Callable[[], Encoder],
    *,
    batch_tokens: int | None = None,
    progress: Progress = silent,
) -> tuple[dict[str, Any], list[Score]]:
    """Tune on all these collections together, each counting the same.

    Returns:
        What ``choose`` gives, with the run's provenance; and no scores, as nothing here is gated.

    Raises:
        DataError: There are too few queries.
    """
    started = time.monotonic()
    curves: list[np.ndarray] = []
    default: dict[str, float] = {}
    names: list[str] = []
    for each in judged:
        with opened(each) as collection:
            progress(f"{each.name}: searching", 0.0)
            found = collection.find(DEPTH)
        names, default = found.retrievers, dict(found.weights)
        curves.append(curve(each, found, [*grid(names), default], progress))
    points, known = grid(names), [values[:-1] for values in curves]
    chosen = choose(known, [values[-1] for values in curves], points, default)
    if "sparse" in names:
        chosen["without_sparse"] = without("sparse", known, points, default)
    chosen["collections"] = {each.name: len(each.queries) for each in judged}
    chosen["data"] = {each.name: {"source": each.source, "sha256": each.sha256} for each in judged}
    if notes := [f"{each.name}: {note}" for each in judged for note in each.notes]:
        chosen["notes"] = notes
    seconds = time.monotonic() - started
    return chosen | result_files.provenance(encoder(), seconds=seconds, seed=0, batch_tokens=batch_tokens), []


def grid(retrievers: Sequence[str]) -> list[dict[str, float]]:
    """Return weights of the retrievers that add up to 1, at even steps, the first one's from 0 up."""
    steps = STEPS[len(retrievers)]
    points: list[tuple[int, ...]] = [()]
    for _ in retrievers[1:]:
        points = [(*p, n) for p in points for n in range(steps - sum(p) + 1)]
    return [dict(zip(retrievers, (round(n / steps, 4) for n in (*p, steps - sum(p))), strict=True)) for p in points]


def curve(
    judged: Judged, found: Found, weights: Sequence[Mapping[str, float]], progress: Progress = silent
) -> np.ndarray:
    """Return (w, q) float64: nDCG@10 of each query under each of the weights."""
    rows = []
    for number, each in enumerate(weights):
        progress(f"{judged.name}: fusing", number / len(weights))
        rows.append(retrieval.measured(judged, found.fused(each, DEPTH), [MEASURE])[MEASURE])
    progress(f"{judged.name}: fusing", 1.0)
    return np.stack(rows)


def choose(
    curves: Sequence[np.ndarray],
    defaults: Sequence[np.ndarray],
    points: Sequence[Mapping[str, float]],
    default: Mapping[str, float],
    folds: int = FOLDS,
    seed: int = 0,
) -> dict[str, Any]:
    """Choose a point of the curve, and measure what such a choice gains on queries that it has not seen.

    Means are taken over queries, then over collections.

    Args:
        curves: For each collection (w, q), the figure of each point and query.
        defaults: For each collection (q,), the figures of the weights in use.
        points: The w points: retriever → weight.
        default: The weights in use.
        folds: Parts of the queries in the cross-validation.
        seed: Of the parts and of the bootstrap.

    Returns:
        JSON-ready: ``held_out`` is the cross-validated figure of the procedure; ``interval`` a paired bootstrap's, 95%,
        of its difference from the default. The verdict is ``better`` or ``worse`` where that interval lies on one side
        of 0, else ``no difference``.

    Raises:
        DataError: There are too few queries.
    """
    queries = sum(map(len, defaults))
    if queries < MIN_QUERIES:
        raise DataError(f"{queries} judged queries say nothing about weights; judge at least {MIN_QUERIES}, better 50")
    held, picks = cross_validate(curves, points, default, folds, seed)
    chosen = _best(curves, [np.ones(len(values), bool) for values in defaults], points, default)
    compared = _compared(held, defaults, seed)
    low, high = compared["interval"]
    return {
        "measure": str(MEASURE),
        "queries": queries,
        "default": {"weights": dict(default), "value": _mean(defaults)},
        "chosen": {"weights": dict(points[chosen]), "value": _mean([c[chosen] for c in curves])},
        "held_out": {"value": _mean(held), **compared, "folds": picks},
        "verdict": "better" if low > 0 else "worse" if high < 0 else "no difference",
        "curve": [{"weights": dict(point), "value": _mean([c[i] for c in curves])} for i, point in enumerate(points)],
    }


def cross_validate(
    curves: Sequence[np.ndarray],
    points: Sequence[Mapping[str, float]],
    default: Mapping[str, float],
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[list[np.ndarray], list[dict[str, float]]]:
    """Choose a point without each fold of the queries in turn, and score that fold with it.

    Returns:
        For each collection (q,), each query's figure under the point chosen without its fold; and the point chosen
        each time.
    """
    random = np.random.default_rng(seed)
    parts = [_folds(random, values.shape[1], folds) for values in curves]
    held = [np.zeros(values.shape[1]) for values in curves]
    picks = []
    for fold in range(folds):
        seen = [part != fold for part in parts]
        pick = _best(curves, seen, points, default)
        picks.append(dict(points[pick]))
        for values, kept, rest in zip(held, curves, seen, strict=True):
            values[~rest] = kept[pick, ~rest]
    return held, picks


def without(
    retriever: str, curves: Sequence[np.ndarray], points: Sequence[Mapping[str, float]], default: Mapping[str, float]
) -> dict[str, Any]:
    """Measure what a retriever adds: the held-out figure of weights chosen with it, less that of weights without it."""
    rest = [i for i, point in enumerate(points) if not point[retriever]]
    less, _ = cross_validate([values[rest] for values in curves], [points[i] for i in rest], default)
    full, _ = cross_validate(curves, points, default)
    return {"value": _mean(less), **_compared(full, less, 0)}


def _compared(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], seed: int) -> dict[str, Any]:
    """Return the mean difference of paired figures, and its 95% interval by a bootstrap within each collection."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    draws = np.mean([resamples(len(d), SAMPLES, seed + i) @ d / len(d) for i, d in enumerate(differences)], axis=0)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"difference": _mean(differences), "interval": [round(float(low), 5), round(float(high), 5)]}


def _folds(random: np.random.Generator, n: int, folds: int) -> np.ndarray:
    """Return (n,) int64, the fold of each query, as even as can be."""
    parts = np.arange(n) % folds
    random.shuffle(parts)
    return parts


def _best(
    curves: Sequence[np.ndarray],
    seen: Sequence[np.ndarray],
    points: Sequence[Mapping[str, float]],
    default: Mapping[str, float],
) -> int:
    """Return the point nearest to the default of those within one standard error of the best on the queries seen.

    A curve is mostly flat at its top, where the highest point is chance.

    Source: the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984, 3.4.3.
    """
    each = [values[:, kept] for values, kept in zip(curves, seen, strict=True) if kept.any()]
    means = np.stack([values.mean(axis=1) for values in each]).mean(axis=0)  # (w,)
    top = int(means.argmax())
    behind = [values - values[top] for values in each]
    error = np.sqrt(sum(diff.var(axis=1) / diff.shape[1] for diff in behind)) / len(each)  # (w,)
    near = means >= means[top] - error - 1e-9
    total = sum(default.values())
    away = [sum(abs(weight - default.get(name, 0) / total) for name, weight in point.items()) for point in points]
    return int(np.lexsort((-means, np.round(away, 9), ~near))[0])


def _mean(values: Sequence[np.ndarray]) -> float:
    return round(float(np.mean([each.mean() for each in values])), 5)


def render(found: Mapping[str, Any]) -> str:
    """Return the curve and the verdict as text for people."""

    def named(weights: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {weight:g}" for name, weight in weights.items() if weight) or "none"

    top, bottom = (pick(point["value"] for point in found["curve"]) for pick in (max, min))
    long = len(found["curve"]) > MAX_SHOWN_POINTS
    shown = sorted(found["curve"], key=lambda p: -p["value"])[:12] if long else found["curve"]
    width = max(len(named(point["weights"])) for point in shown)
    lines = [f"{found['measure']} of {found['queries']} queries, by weights:"]
    for point in shown:
        mark = "  chosen" if point["weights"] == found["chosen"]["weights"] else ""
        bar = "#" * round(40 * (point["value"] - bottom) / max(top - bottom, 1e-9))
        lines.append(f"  {named(point['weights']):{width}}  {point['value']:.4f}  {bar}{mark}")
    held, (low, high) = found["held_out"], found["held_out"]["interval"]
    if "without_sparse" in found:
        value, gain, (lowest, highest) = (found["without_sparse"][k] for k in ("value", "difference", "interval"))
        lines.append(
            f"chosen without sparse, on unseen queries: {value:.4f}; sparse adds {gain:+.4f}, "
            f"95% interval [{lowest:+.4f}, {highest:+.4f}]"
        )
    lines += [
        *(f"note: {note}" for note in found.get("notes", ())),
        f"in use now: {named(found['default']['weights'])}, {found['default']['value']:.4f}",
        f"chosen on all queries: {named(found['chosen']['weights'])}",
        f"a choice made this way, on queries that it has not seen: {held['value']:.4f}, "
        f"{held['difference']:+.4f} against those in use, 95% interval [{low:+.4f}, {high:+.4f}]",
        {
            "better": "verdict: better than the weights in use",
            "worse": "verdict: worse than the weights in use; keep those",
            "no difference": "verdict: no difference that these queries can show; keep the weights in use",
        }[found["verdict"]],
    ]
    return "\n".join(lines)
