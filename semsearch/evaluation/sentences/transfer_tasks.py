"""Transfer tasks: a logistic regression on frozen vectors, as SentEval's scikit-learn mode does it.

Where the paper is silent, their code decides: examples in order of (words, class),
stratified folds shuffled with seed 1111, mean fold accuracies rounded to two decimals before the best C is taken
(the smallest among equals), scikit-learn's own defaults for everything else. MR, CR, SUBJ and MPQA: nested folds, C
from 2^-2 to 2^3. SST2: C from 2^-2 to 2^3, by its dev part. TREC and MRPC: C from 2^-1 to 2^5, by folds of the train
part. Vectors are not normalised. When SentEval was published, scikit-learn's default solver was liblinear; today's
is L-BFGS.

Source: Conneau and Kiela 2018, "SentEval".
"""

from __future__ import annotations

import os
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from indexer.errors import DataError
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from semsearch.evaluation.sentences.senteval_files import Items
    from semsearch.evaluation.sentences.task_data import Data
    from semsearch.evaluation.sentences.vector_cache import Vectors

SEED = 1111
FOLDS = {False: 10, True: 5}
"""Whether quick → number of folds (SentEval's full and fast modes)."""
Predicted = tuple[np.ndarray, dict[str, Any]]
"""(n,) int64 classes, and figures as JSON shows them."""
NESTED_C = tuple(2.0**t for t in range(-2, 4))
TRAIN_C = tuple(2.0**t for t in range(-1, 6))


def score(data: Data, vectors: Vectors, progress: Progress = silent) -> Score:
    """Return the accuracy of one transfer task (MRPC: F1 too).

    Raises:
        DataError: A class has fewer examples than there are folds.
    """
    task, folds = data.task, FOLDS[data.quick]
    order = {name: _senteval_order(items) for name, items in data.parts.items()}
    sorted_parts = {name: items.take(order[name]) for name, items in data.parts.items()}
    x = {name: _features(items, vectors) for name, items in sorted_parts.items()}
    y = {name: items.gold for name, items in sorted_parts.items()}
    rarest = min(int(np.bincount(classes).min()) for name, classes in y.items() if name in ("all", "train"))
    if rarest < folds:
        raise DataError(f"{task.name}: its rarest class has {rarest} examples, and {folds} folds need at least {folds}")

    def tell(share: float) -> None:
        progress(f"{task.name}: fitting classifiers", share)

    # One thread a fit and as many fits as cores: faster, and no rounding that depends on the number of threads.
    # The default of 100 iterations often ends before convergence on raw vectors; SentEval leaves it at that.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if task.protocol == "folds":
            part = "all"
            predicted, details = _nested(x["all"], y["all"], folds, tell)
        else:
            part = "test"
            predicted, details = _train_test(task.protocol, x, y, folds, tell)
    if task.name == "MRPC":
        details["f1"] = _percent(f1_score(y[part], predicted))
    right = np.zeros(len(predicted))
    right[order[part]] = predicted == y[part]
    sizes = {name: len(items) for name, items in data.parts.items()}
    labels = tuple(_label(data.parts[part], row) for row in range(len(right)))
    return Score(task.name, details["acc"], right, None, labels, details | {"n": sizes, "folds": folds})


def _train_test(
    protocol: str, x: Mapping[str, np.ndarray], y: Mapping[str, np.ndarray], folds: int, tell: Callable[[float], None]
) -> Predicted:
    """Predict the test part by a classifier of the train part, whose C the dev part or folds of it chose."""
    if protocol == "dev":
        n, choices = len(y["train"]), NESTED_C
        tried_x, tried_y = np.concatenate([x["train"], x["dev"]]), np.concatenate([y["train"], y["dev"]])
        splits = [(np.arange(n), np.arange(n, len(tried_y)))]
    else:
        choices, tried_x, tried_y = TRAIN_C, x["train"], y["train"]
        splits = list(_folds(folds).split(tried_x, tried_y))
    c, development = _choose(tried_x, tried_y, splits, choices, tell)
    predicted = _fit(x["train"], y["train"], c).predict(x["test"])
    return predicted, {"acc": _percent((predicted == y["test"]).mean()), "devacc": development, "C": c}


def _nested(x: np.ndarray, y: np.ndarray, folds: int, tell: Callable[[float], None]) -> Predicted:
    """Predict every example once, by a classifier whose C was chosen by folds of the other examples."""
    predicted = np.zeros_like(y)
    tests, developments, chosen = [], [], []
    for number, (train, test) in enumerate(_folds(folds).split(x, y)):
        inner = [(train[a], train[b]) for a, b in _folds(folds).split(x[train], y[train])]
        c, development = _choose(x, y, inner, NESTED_C, partial(_tell_part, tell, number, folds))
        predicted[test] = _fit(x[train], y[train], c).predict(x[test])
        tests.append(_percent((predicted[test] == y[test]).mean()))
        developments.append(development)
        chosen.append(c)
    acc, devacc = round(float(np.mean(tests)), 2), round(float(np.mean(developments)), 2)
    return predicted, {"acc": acc, "devacc": devacc, "C": chosen}


def _tell_part(tell: Callable[[float], None], done: int, parts: int, share: float) -> None:
    tell((done + share) / parts)


def _choose(
    x: np.ndarray,
    y: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    choices: Sequence[float],
    tell: Callable[[float], None],
) -> tuple[float, float]:
    """Return the C with the best mean accuracy over ``splits`` (train rows, test rows), and that in percent."""

    def accuracy(train: np.ndarray, test: np.ndarray, c: float) -> float:
        return float((_fit(x[train], y[train], c).predict(x[test]) == y[test]).mean())

    jobs = [delayed(accuracy)(train, test, c) for c in choices for train, test in splits]
    found = []
    for value in Parallel(n_jobs=_workers(), prefer="threads", return_as="generator")(jobs):
        found.append(value)
        tell(len(found) / len(jobs))
    means = [_percent(np.mean(values)) for values in np.reshape(found, (len(choices), len(splits)))]
    best = int(np.argmax(means))
    return choices[best], means[best]


def _fit(x: np.ndarray, y: np.ndarray, c: float) -> LogisticRegression:
    return LogisticRegression(C=c, random_state=SEED).fit(x, y)


def _folds(count: int) -> StratifiedKFold:
    return StratifiedKFold(n_splits=count, shuffle=True, random_state=SEED)


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _percent(share: float) -> float:
    return round(100 * float(share), 2)


def _senteval_order(items: Items) -> np.ndarray:
    """Return the rows by number of words (of both sentences), then class: the folds depend on it."""
    sides = (items.first, items.second or items.first)
    words = [np.array([len(text.split()) for text in side]) for side in sides]
    return np.lexsort((items.gold, words[1], words[0]))


def _features(items: Items, vectors: Vectors) -> np.ndarray:
    """Return the vectors of single sentences, (n, d), or |u - v| and u * v of pairs, (n, 2d)."""
    u = vectors[items.first]
    if items.second is None:
        return u
    v = vectors[items.second]
    return np.concatenate([np.abs(u - v), u * v], axis=1)


def _label(items: Items, row: int) -> str:
    return items.first[row] if items.second is None else f"{items.first[row]} | {items.second[row]}"
