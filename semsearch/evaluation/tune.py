"""Which weights of the arms suit these judgements, and whether that is more than luck.

The arms are ranked once; every point of a grid of weights only fuses them anew. What the choice is worth is measured
on queries that had no part in it (cross-validation), beside the weights in use now, with a bootstrap interval.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ir_measures
import numpy as np
from ir_measures import nDCG

from indexer.embedding.encoder import Encoder
from indexer.errors import DataError
from semsearch.evaluation import report, retrieval
from semsearch.evaluation.beir import Judged
from semsearch.evaluation.metrics import Score, resamples
from semsearch.evaluation.vectors import Progress
from semsearch.search.ranking import ARMS, DEPTH, Candidates, Weights
from semsearch.search.searcher import Searcher

MEASURE = nDCG @ 10
STEPS = {2: 20, 3: 10}
"""Number of arms → steps of the grid between weight 0 and 1."""
FOLDS = 5
LEAST = 4
"""Queries below which nothing can be said of weights."""
SAMPLES = 2_000


def result(
    judged: Sequence[Judged],
    searchers: Callable[[Judged], Searcher],
    encoder: Callable[[], Encoder],
    *,
    batch_tokens: int | None = None,
    progress: Progress = lambda what, share: None,
) -> tuple[dict[str, Any], list[Score]]:
    """Tune on all these collections together, each counting the same: ``choose`` with the run's provenance.

    Raises DataError for too few queries."""
    started = time.monotonic()
    curves, default, arms = [], Weights(), list[str]()
    for each in judged:
        with searchers(each) as searcher:
            progress(f"{each.name}: searching", 0.0)
            default = Weights.of(searcher.store.path)
            arms = [arm for arm in ARMS if searcher.ranker.has(arm)]
            candidates = searcher.ranker.candidates(list(each.queries.values()), arms, DEPTH)
            owners = retrieval.owners(each, searcher.store)
            weights = [*grid(arms), asdict(default)]
            curves.append(curve(each, candidates, owners, weights, progress))
    points, known = grid(arms), [values[:-1] for values in curves]
    found = choose(known, [values[-1] for values in curves], points, asdict(default))
    if "sparse" in arms:
        found["without_sparse"] = without("sparse", known, points, asdict(default))
    found["collections"] = {each.name: len(each.queries) for each in judged}
    found["data"] = {each.name: {"source": each.source, "sha256": each.sha256} for each in judged}
    seconds = time.monotonic() - started
    return found | report.provenance(encoder(), seconds=seconds, seed=0, batch_tokens=batch_tokens), []


def grid(arms: Sequence[str]) -> list[dict[str, float]]:
    """Weights of the arms that add up to 1, at even steps, the first arm's from 0 up."""
    steps = STEPS[len(arms)]
    points: list[tuple[int, ...]] = [()]
    for _ in arms[1:]:
        points = [(*p, n) for p in points for n in range(steps - sum(p) + 1)]
    return [dict(zip(arms, (round(n / steps, 4) for n in (*p, steps - sum(p))), strict=True)) for p in points]


def curve(
    judged: Judged,
    candidates: Sequence[Candidates],
    owners: Mapping[int, str],
    weights: Sequence[Mapping[str, float]],
    progress: Progress = lambda what, share: None,
) -> np.ndarray:
    """(w, q) float64: nDCG@10 of each query under each of the weights."""
    relevant = {query: dict(documents) for query, documents in judged.relevant.items()}
    place = {query: i for i, query in enumerate(judged.queries)}
    values = np.zeros((len(weights), len(place)))
    for row, each in enumerate(weights):
        progress(f"{judged.name}: fusing", row / len(weights))
        run = {
            query: retrieval.best(owners, found.convex(each, DEPTH))
            for query, found in zip(judged.queries, candidates, strict=True)
        }
        for metric in ir_measures.iter_calc([MEASURE], relevant, run):
            values[row, place[metric.query_id]] = metric.value
    progress(f"{judged.name}: fusing", 1.0)
    return values


def choose(
    curves: Sequence[np.ndarray],
    defaults: Sequence[np.ndarray],
    points: Sequence[Mapping[str, float]],
    default: Mapping[str, float],
    folds: int = FOLDS,
    seed: int = 0,
) -> dict[str, Any]:
    """The point of the curve that is chosen, and what such a choice gains on queries that it has not seen.

    curves: per collection (w, q) of each point and query; defaults: per collection (q,) of the weights in use. Means
    are taken over queries, then over collections. ``held_out`` is the cross-validated figure of the procedure;
    ``interval`` a paired bootstrap's, 95%, of its difference from the default. The verdict is ``better`` or ``worse``
    where that interval lies on one side of 0, else ``no difference``.
    """
    queries = sum(map(len, defaults))
    if queries < LEAST:
        raise DataError(f"{queries} judged queries say nothing about weights; judge at least {LEAST}, better 50")
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
    """Per collection (q,): each query's figure under the point chosen without its fold; the point chosen each time."""
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
    arm: str, curves: Sequence[np.ndarray], points: Sequence[Mapping[str, float]], default: Mapping[str, float]
) -> dict[str, Any]:
    """What an arm adds: the held-out figure of weights chosen with it, less that of weights chosen without it."""
    rest = [i for i, point in enumerate(points) if not point[arm]]
    less, _ = cross_validate([values[rest] for values in curves], [points[i] for i in rest], default)
    full, _ = cross_validate(curves, points, default)
    return {"value": _mean(less), **_compared(full, less, 0)}


def _compared(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], seed: int) -> dict[str, Any]:
    """The mean difference of paired figures, and its 95% interval by a bootstrap within each collection."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    draws = np.mean([resamples(len(d), SAMPLES, seed + i) @ d / len(d) for i, d in enumerate(differences)], axis=0)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"difference": _mean(differences), "interval": [round(float(low), 5), round(float(high), 5)]}


def _folds(random: np.random.Generator, n: int, folds: int) -> np.ndarray:
    """(n,) the fold of each query, as even as can be."""
    parts = np.arange(n) % folds
    random.shuffle(parts)
    return parts


def _best(
    curves: Sequence[np.ndarray],
    seen: Sequence[np.ndarray],
    points: Sequence[Mapping[str, float]],
    default: Mapping[str, float],
) -> int:
    """The point nearest to the default of those within one standard error of the best on the queries seen.

    (The one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984, 3.4.3: a curve is mostly
    flat at its top, where the highest point is chance.)"""
    each = [values[:, kept] for values, kept in zip(curves, seen, strict=True) if kept.any()]
    means = np.stack([values.mean(axis=1) for values in each]).mean(axis=0)  # (w,)
    top = int(means.argmax())
    behind = [values - values[top] for values in each]
    error = np.sqrt(sum(diff.var(axis=1) / diff.shape[1] for diff in behind)) / len(each)  # (w,)
    near = means >= means[top] - error - 1e-9
    total = sum(default.values())
    away = [sum(abs(weight - default.get(arm, 0) / total) for arm, weight in point.items()) for point in points]
    return int(np.lexsort((-means, np.round(away, 9), ~near))[0])


def _mean(values: Sequence[np.ndarray]) -> float:
    return round(float(np.mean([each.mean() for each in values])), 5)


def render(found: Mapping[str, Any]) -> str:
    """The curve and the verdict, for people."""

    def named(weights: Mapping[str, float]) -> str:
        return ", ".join(f"{arm} {weight:g}" for arm, weight in weights.items() if weight) or "none"

    top, bottom = (pick(point["value"] for point in found["curve"]) for pick in (max, min))
    shown = sorted(found["curve"], key=lambda p: -p["value"])[:12] if len(found["curve"]) > 30 else found["curve"]
    width = max(len(named(point["weights"])) for point in shown)
    lines = [f"{found['measure']} of {found['queries']} queries, by weights:"]
    for point in shown:
        mark = "  chosen" if point["weights"] == found["chosen"]["weights"] else ""
        bar = "#" * round(40 * (point["value"] - bottom) / max(top - bottom, 1e-9))
        lines.append(f"  {named(point['weights']):{width}}  {point['value']:.4f}  {bar}{mark}")
    held, (low, high) = found["held_out"], found["held_out"]["interval"]
    if "without_sparse" in found:
        value, gain, (least, most) = (found["without_sparse"][k] for k in ("value", "difference", "interval"))
        lines.append(
            f"chosen without sparse, on unseen queries: {value:.4f}; sparse adds {gain:+.4f}, "
            f"95% interval [{least:+.4f}, {most:+.4f}]"
        )
    lines += [
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
