"""Semantic textual similarity: rank correlation of cosines with people's scores.

A task's figure is Spearman's correlation over its subsets put together (the setting "all"); each subset's own, their
mean and their mean weighted by size stand beside it.

Source: Gao et al. 2021 ("SimCSE"), Jiang et al. 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from semsearch.evaluation.metrics import Score, cosine, pearson, spearman

if TYPE_CHECKING:
    from semsearch.evaluation.sentences.task_data import Data
    from semsearch.evaluation.sentences.vector_cache import Vectors


def score(data: Data, vectors: Vectors, with_pearson: bool = False) -> Score:
    """Score one STS task. A correlation that is undefined (all similarities equal) counts as 0 and is noted."""
    name = data.task.name
    pairs = {part: (items.first, items.pair_second) for part, items in data.parts.items()}
    similarities = {part: cosine(vectors[first], vectors[second]) for part, (first, second) in pairs.items()}
    together = np.concatenate(list(similarities.values()))
    gold = np.concatenate([items.gold for items in data.parts.values()])
    notes: list[str] = []
    measures = {"spearman": spearman, "pearson": pearson} if with_pearson else {"spearman": spearman}

    def measured(what: str, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        values = {measure: function(x, y) for measure, function in measures.items()}
        if values["spearman"] is None:
            notes.append(
                f"{what}: all similarities or all scores are equal, so no correlation is defined; counted as 0"
            )
        return {"n": len(x)} | {measure: 100 * (value or 0.0) for measure, value in values.items()}

    overall = measured(name, together, gold)
    subsets = {p: measured(f"{name} {p}", similarities[p], items.gold) for p, items in data.parts.items()}
    sizes = [subset["n"] for subset in subsets.values()]
    details: dict[str, Any] = overall | {"subsets": subsets}
    for measure in measures:
        values = [subset[measure] for subset in subsets.values()]
        suffix = "" if measure == "spearman" else f"_{measure}"
        details |= {f"mean{suffix}": float(np.mean(values)), f"wmean{suffix}": float(np.average(values, weights=sizes))}
    if notes:
        details["notes"] = notes
    labels = tuple(f"{a} | {b}" for first, second in pairs.values() for a, b in zip(first, second, strict=True))
    return Score(name, overall["spearman"], together, gold, labels, details)
