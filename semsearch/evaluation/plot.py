"""Draw figures of results, as PNG or SVG by the file's ending.

matplotlib is imported only here and only when drawing.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import DataError, UsageError
from semsearch.evaluation.result_files import SHORT
from semsearch.evaluation.sentences.tasks import TASKS

if TYPE_CHECKING:
    from pathlib import Path

Results = Sequence[Mapping[str, Any]]


def available() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def scaling(results: Results, path: Path) -> None:
    """Draw the average over the number of parameters, one line a method (the paper's Figure 4).

    Raises:
        DataError: No result says how many parameters its model has.
    """
    lines: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        average = _average(result)
        if result.get("parameters") and average is not None:
            lines.setdefault(_method(result), []).append((float(result["parameters"]), average))
    if not lines:
        raise DataError("no result says how many parameters its model has; give `parameters` in the study's file")
    figure, axes = _figure(9, len(lines) // 4)
    for method, points in lines.items():
        x, y = zip(*sorted(points), strict=True)
        axes.plot(x, y, marker="o", label=method)
    axes.set(xscale="log", xlabel="parameters", ylabel=_kind(results))
    figure.legend(loc="outside right upper", fontsize="small")
    _save(figure, path)


def methods(results: Results, path: Path) -> None:
    """Draw the best average of each method (the paper's Figure 1).

    Raises:
        DataError: No result has an average.
    """
    best: dict[str, float] = {}
    for result in results:
        if (average := _average(result)) is not None:
            best[_method(result)] = max(average, best.get(_method(result), -np.inf))
    if not best:
        raise DataError("no result has an average of STS or transfer tasks; run `semsearch eval sts --output FILE`")
    figure, axes = _figure()
    rising = dict(sorted(best.items(), key=lambda item: item[1]))
    bars = axes.barh(list(rising), list(rising.values()))
    axes.bar_label(bars, fmt=" %.2f")
    axes.set(xlabel=_kind(results), xlim=(_floor(best.values()), max(best.values()) + 8))
    axes.grid(axis="y", visible=False)
    _save(figure, path)


def tasks(results: Results, path: Path) -> None:
    """Draw each task's score, one bar a result.

    Raises:
        DataError: No result has STS or transfer tasks.
    """
    names = [task for task in TASKS if any(task in result["scores"] for result in results)]
    if not names:
        raise DataError("no result has STS or transfer tasks; run `semsearch eval sts --output FILE`")
    figure, axes = _figure(max(6.4, 1.2 * len(names)), len(results))
    width = 0.8 / len(results)
    for number, result in enumerate(results):
        places = np.arange(len(names)) + (number - (len(results) - 1) / 2) * width
        axes.bar(places, [result["scores"].get(name, np.nan) for name in names], width, label=result["name"])
    axes.set_xticks(np.arange(len(names)), [SHORT.get(name, name) for name in names])
    axes.set(ylim=(_floor([v for r in results for k, v in r["scores"].items() if k in names]), None))
    figure.legend(loc="outside upper left", fontsize="small")
    _save(figure, path)


def read_demonstrations(files: Sequence[Path]) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Read logs of `semsearch demos search`: a line of JSON for each candidate, null where no demonstration was given.

    Returns:
        Name of the file → the development score of each demonstration, and name → the score without one.

    Raises:
        DataError: A file is no such log.
    """
    scores: dict[str, list[float]] = {}
    without: dict[str, float] = {}
    for path in files:
        scores[path.stem] = []
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                score = float(entry["score"])
                if entry["candidate"] is None:
                    without[path.stem] = score
                else:
                    scores[path.stem].append(score)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is no log of a demonstration search ({type(error).__name__}: {error}); "
                "`semsearch demos search --log FILE` writes one"
            ) from error
    return scores, without


def demonstrations(scores: Mapping[str, Sequence[float]], without: Mapping[str, float], path: Path) -> None:
    """Draw how the development score varies with the demonstration, one shape a model (the paper's Figure 3).

    A line marks the score without any.

    Raises:
        DataError: There are no scores.
    """
    if not scores or not all(len(values) for values in scores.values()):
        raise DataError("there are no demonstrations' scores to draw")
    figure, axes = _figure()
    axes.violinplot(list(scores.values()), showmedians=True)
    axes.set_xticks(range(1, len(scores) + 1), list(scores))
    for place, model in enumerate(scores, 1):
        if model in without:
            axes.hlines(without[model], place - 0.3, place + 0.3, color="black", linestyle="dashed")
            axes.annotate("none", (place + 0.32, without[model]), va="center", fontsize="small")
    axes.set(ylabel="STS-B dev, Spearman × 100")
    _save(figure, path)


def _average(result: Mapping[str, Any]) -> float | None:
    """Return the average of the tasks of a kind, or the score of the only task."""
    averages, scores = result.get("averages") or {}, list(result["scores"].values())
    value = averages.get("sts", averages.get("transfer", scores[0] if len(scores) == 1 else None))
    return None if value is None else float(value)


def _kind(results: Results) -> str:
    kinds = {kind for result in results for kind in result.get("averages") or {}}
    if kinds:
        return "average of STS tasks" if "sts" in kinds else "average of transfer tasks"
    return ", ".join({SHORT.get(name, name): None for result in results for name in result["scores"]})


def _method(result: Mapping[str, Any]) -> str:
    return str(result.get("method") or result["name"]) + (" (published)" if result.get("published") else "")


def _floor(values: Iterable[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return max(0.0, float(np.floor(min(finite) / 10)) * 10 - 10) if finite else 0.0


def _figure(width: float = 6.4, legend: int = 0) -> tuple[Any, Any]:
    """Return a figure with room for a legend of so many rows above or beside it, and its axes."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("plots need matplotlib; install it with: pip install 'semsearch[plot]'") from error
    figure = Figure(figsize=(width, 4.2 + 0.25 * legend), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    if path.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"{path} ends in {path.suffix or 'nothing'}; a plot is written as .png or .svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "semsearch"}):  # the same figure gives the same file
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, metadata=metadata, dpi=150)
