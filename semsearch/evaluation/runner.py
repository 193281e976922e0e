"""Tasks × one encoder → scores: what the commands, the gate and the study share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from indexer.embedding import models
from indexer.embedding.encoder import Encoder
from semsearch.evaluation import data as evaluation_data
from semsearch.evaluation import report, sts, transfer
from semsearch.evaluation.data import Data
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.tasks import TASKS
from semsearch.evaluation.vectors import Progress, encode


def cache_folder() -> Path:
    """Where vectors and the collections of retrieval tasks are kept between runs."""
    return models.cache_folder() / "evaluation"


def load(names: Sequence[str], folder: Path | None, quick: bool) -> list[Data]:
    """The named tasks' examples. Raises DataError before anything expensive has begun."""
    loaded = [evaluation_data.load(TASKS[name], folder) for name in names]
    return [evaluation_data.quick(data) for data in loaded] if quick else loaded


def score(
    loaded: Sequence[Data],
    encoder: Encoder,
    *,
    cache: Path | None = None,
    pearson: bool = False,
    progress: Progress = lambda what, share: None,
) -> list[Score]:
    """Every task's score; each distinct text of all of them is encoded once. Resumes from ``cache``, a folder."""
    texts = (text for data in loaded for items in data.parts.values() for text in items.texts)
    vectors = encode(encoder, texts, cache and cache / "vectors", progress)
    return [
        sts.score(data, vectors, pearson) if data.task.protocol == "sts" else transfer.score(data, vectors, progress)
        for data in loaded
    ]


def run(
    loaded: Sequence[Data],
    open_encoder: Callable[[], Encoder],
    *,
    cache: Path | None = None,
    pearson: bool = False,
    batch_tokens: int | None = None,
    name: str | None = None,
    progress: Progress = lambda what, share: None,
) -> tuple[dict[str, Any], list[Score]]:
    """Score, and describe the run: (result as in ``report``, the scores)."""
    started = time.monotonic()
    encoder = open_encoder()
    scores = score(loaded, encoder, cache=cache, pearson=pearson, progress=progress)
    seconds = time.monotonic() - started
    return report.of_tasks(
        scores, loaded, encoder, seconds=seconds, seed=transfer.SEED, batch_tokens=batch_tokens, name=name
    ), scores
