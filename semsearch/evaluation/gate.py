"""Compare two results on the same items by a paired bootstrap: did quality drop?

Each task's difference (new minus old, in points) gets an interval from resampling its items, the same draw for both
encoders; the average of the tasks gets one from the tasks' resamples together. The gate fails where a drop is larger
than the allowed one and the whole interval lies below zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from indexer.errors import DataError, UsageError
from semsearch.evaluation.metrics import Score, resamples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESAMPLES = 1000
CHUNK = 100
"""Resamples held at once."""
SEED = 1111
MAX_MOVED = 5
"""Items shown of each task that fails."""


@dataclass(frozen=True)
class Difference:
    """One task, or their average."""

    task: str
    before: float
    after: float
    low: float
    high: float
    """Bounds of the interval of ``after - before``, in points."""
    failed: bool
    moved: tuple[tuple[str, float, float], ...] = ()
    """The items that moved most for the worse: (what it is, before, after)."""

    @property
    def change(self) -> float:
        """``after - before``, in points."""
        return self.after - self.before


@dataclass(frozen=True)
class Verdict:
    """The differences of all tasks, and whether any fails the gate."""

    differences: tuple[Difference, ...]
    """The tasks in order, then their average where there are several."""
    max_drop: float
    confidence: float
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether any task dropped by more than allowed, and not by chance."""
        return any(d.failed for d in self.differences)

    @property
    def line(self) -> str:
        """The verdict for a log."""
        worst = min(self.differences, key=lambda d: d.change)
        rule = f"allowed {self.max_drop:g} points, confidence {self.confidence:g}"
        if self.failed:
            names = ", ".join(f"{d.task} {d.change:+.2f}" for d in self.differences if d.failed)
            return f"FAIL: quality dropped: {names} ({rule})"
        return f"PASS: largest change for the worse {worst.task} {min(worst.change, 0):+.2f} ({rule})"

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON shows it."""
        return {
            "verdict": "fail" if self.failed else "pass",
            "line": self.line,
            "max_drop": self.max_drop,
            "confidence": self.confidence,
            "differences": [
                {
                    "task": d.task,
                    "before": round(d.before, 4),
                    "after": round(d.after, 4),
                    "change": round(d.change, 4),
                    "low": round(d.low, 4),
                    "high": round(d.high, 4),
                    "failed": d.failed,
                    "moved": [{"item": what, "before": a, "after": b} for what, a, b in d.moved],
                }
                for d in self.differences
            ],
            "notes": list(self.notes),
        }


def compare(
    before: Sequence[Score],
    after: Sequence[Score],
    *,
    max_drop: float = 0.5,
    confidence: float = 0.95,
    notes: Sequence[str] = (),
) -> Verdict:
    """Compare the scores of two encoders on the same items, task by task.

    Args:
        before: Scores of the baseline.
        after: Scores of the same tasks in the same order.
        max_drop: Allowed drop of a task, in points.
        confidence: Share of resamples that the interval of a change holds, between 0 and 1.
        notes: Remarks to go with the verdict.

    Raises:
        UsageError: A limit means nothing.
    """
    if not 0 < confidence < 1 or max_drop < 0:
        raise UsageError(
            f"max-drop is {max_drop:g} and confidence {confidence:g}; a drop is 0 points or more, "
            "a confidence lies between 0 and 1"
        )
    differences, sampled = [], []
    for old, new in zip(before, after, strict=True):
        changes = _sampled_changes(old, new)
        sampled.append(changes)
        differences.append(_difference(old.task, old.value, new.value, changes, max_drop, confidence, _moved(old, new)))
    if len(differences) > 1:
        old_mean, new_mean = (float(np.mean([score.value for score in scores])) for scores in (before, after))
        changes = np.mean(sampled, axis=0)
        differences.append(_difference("average", old_mean, new_mean, changes, max_drop, confidence, ()))
    return Verdict(tuple(differences), max_drop, confidence, tuple(notes))


def _sampled_changes(old: Score, new: Score) -> np.ndarray:
    """Return (RESAMPLES,) float64, the change in points; each resample draws the same items for both."""
    changes = []
    for chunk in range(RESAMPLES // CHUNK):
        draws = resamples(len(new.items), CHUNK, SEED + chunk)
        changes.append(new.sampled(draws) - old.sampled(draws))
    return np.concatenate(changes)


def _difference(
    task: str,
    before: float,
    after: float,
    changes: np.ndarray,
    max_drop: float,
    confidence: float,
    moved: tuple[tuple[str, float, float], ...],
) -> Difference:
    low, high = np.quantile(changes, [(1 - confidence) / 2, (1 + confidence) / 2])
    failed = before - after > max_drop and high < 0
    return Difference(task, before, after, float(low), float(high), bool(failed), moved)


def _moved(old: Score, new: Score) -> tuple[tuple[str, float, float], ...]:
    """Return the items that got worst: whose rank went furthest from people's rank, or whose own value fell most."""
    if new.gold is None:
        worse = old.items - new.items
    else:
        wanted = rankdata(new.gold)
        worse = np.abs(rankdata(new.items) - wanted) - np.abs(rankdata(old.items) - wanted)
    rows = [int(row) for row in np.argsort(-worse, kind="stable")[:MAX_MOVED] if worse[row] > 0]
    return tuple((new.labels[row], round(float(old.items[row]), 5), round(float(new.items[row]), 5)) for row in rows)


def paired(baseline: Mapping[str, Any], result: Mapping[str, Any], scores: Sequence[Score]) -> list[Score]:
    """Return the baseline's scores of the tasks in ``scores``, with the gold and labels of the data at hand.

    Raises:
        DataError: The baseline lacks a task or its items, or was made on other data: other examples would be compared
            as if they were the same.
    """
    items, found = baseline.get("items") or {}, []
    for score in scores:
        if score.task not in items:
            raise DataError(
                f"the baseline has no items of {score.task}; it has {', '.join(items) or 'none'}: "
                "name its tasks with --tasks, or make a new baseline with --record FILE"
            )
        then, now = (_data(each, score.task) for each in (baseline, result))
        if then.get("sha256") != now["sha256"] or len(items[score.task]) != len(score.items):
            kind = {True: "quick", False: "full"}
            why = "the data has changed since"
            if then.get("quick") != now["quick"]:
                why = f"it is {kind[bool(then.get('quick'))]} and this run is {kind[now['quick']]}"
            raise DataError(
                f"the baseline's {score.task} was scored on other examples ({why}); "
                "run the gate in the baseline's mode and on its data, or make a new baseline with --record FILE"
            )
        values = np.array(items[score.task], np.float64)
        value = baseline["scores"].get(score.task, 100 * float(values.mean()))
        found.append(replace(score, items=values, value=float(value)))
    return found


def rounded(scores: Sequence[Score]) -> list[Score]:
    """Return scores with their items as a file keeps them: an encoder compared with its own record differs by 0."""
    return [replace(score, items=np.round(score.items, 5), value=round(score.value, 4)) for score in scores]


def notes(baseline: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """Return sentences on what else differs between two results."""
    found = []
    then, now = baseline["encoder"]["fingerprint"], result["encoder"]["fingerprint"]
    if then != now:
        found.append(f"another encoder: {baseline['name']} ({then}) before, {result['name']} ({now}) now")
    if baseline.get("dtype") != result.get("dtype"):
        found.append(f"another precision: {baseline.get('dtype')} before, {result.get('dtype')} now")
    old, new = baseline.get("versions", {}), result.get("versions", {})
    changed = [f"{name} {old[name]} → {new[name]}" for name in old if name in new and old[name] != new[name]]
    if changed:
        found.append(f"other versions: {', '.join(changed)}")
    return found


def _data(result: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    """Return what a result says of a task's data; a retrieval figure is called ``COLLECTION MODE``."""
    return result["data"].get(task) or result["data"].get(task.rpartition(" ")[0]) or {}


def render(verdict: Verdict) -> str:
    """Return the verdict for people: tasks, what moved most where it failed, notes, and the one line."""
    width = max(len(d.task) for d in verdict.differences)
    lines = [f"{'':{width}}  before   after  change  {verdict.confidence:.0%} interval"]
    for d in verdict.differences:
        mark = "  FAILED" if d.failed else ""
        lines.append(
            f"{d.task:{width}}  {d.before:6.2f}  {d.after:6.2f}  {d.change:+6.2f}  [{d.low:+.2f}, {d.high:+.2f}]{mark}"
        )
    for d in verdict.differences:
        if d.failed and d.moved:
            lines.append(f"\n{d.task}: what moved most")
            lines += [f"  {before:8.4f} → {after:8.4f}  {_short(what)}" for what, before, after in d.moved]
    lines += [f"note: {note}" for note in verdict.notes]
    return "\n".join([*lines, verdict.line])


def _short(text: str, length: int = 160) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
