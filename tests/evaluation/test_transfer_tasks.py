"""Transfer figures against a direct scikit-learn script, written from SentEval's description of each task."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold

from indexer.embedding.hash_encoder import HashEncoder
from indexer.errors import DataError
from semsearch.evaluation import runner
from semsearch.evaluation.sentences import task_data, transfer_tasks
from semsearch.evaluation.sentences.senteval_files import Items
from semsearch.evaluation.sentences.task_data import Data
from semsearch.evaluation.sentences.tasks import TASKS

FOLDS = 5


@pytest.fixture(autouse=True)
def quiet() -> None:
    warnings.simplefilter("ignore")


def quick(name: str, shared_data: Path) -> Data:
    return task_data.quick(task_data.load(TASKS[name], shared_data))


def in_order(items: Items) -> tuple[np.ndarray, np.ndarray]:
    """Features and classes of single sentences, or of pairs, sorted as SentEval does before it makes folds."""
    encode = HashEncoder().encode
    if items.second is None:
        rows = sorted(zip(items.first, items.gold, strict=True), key=lambda row: (len(row[0].split()), row[1]))
        return encode([text for text, _ in rows], normalize=False), np.array([label for _, label in rows])
    rows = sorted(
        zip(items.first, items.second, items.gold, strict=True),
        key=lambda row: (len(row[0].split()), len(row[1].split()), row[2]),
    )
    u, v = (encode([row[side] for row in rows], normalize=False) for side in (0, 1))
    return np.c_[np.abs(u - v), u * v], np.array([row[2] for row in rows])


def accuracy(train_x, train_y, test_x, test_y, c: float) -> float:
    return LogisticRegression(C=c, random_state=1111).fit(train_x, train_y).score(test_x, test_y)


def mean_over_folds(x: np.ndarray, y: np.ndarray, c: float) -> float:
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=1111)
    return round(100 * np.mean([accuracy(x[a], y[a], x[b], y[b], c) for a, b in folds.split(x, y)]), 2)


def test_nested_folds(shared_data: Path) -> None:
    one = quick("CR", shared_data)
    x, y = in_order(one.parts["all"])
    regularisation, tests = [2.0**t for t in range(-2, 4)], []
    for a, b in StratifiedKFold(FOLDS, shuffle=True, random_state=1111).split(x, y):
        scores = [mean_over_folds(x[a], y[a], c) for c in regularisation]
        best = regularisation[int(np.argmax(scores))]
        tests.append(round(100 * accuracy(x[a], y[a], x[b], y[b], best), 2))
    score = runner.score([one], HashEncoder())[0]
    assert score.value == round(float(np.mean(tests)), 2)
    assert 100 * score.items.mean() == pytest.approx(score.value, abs=0.01)


def test_a_dev_part_chooses(shared_data: Path) -> None:
    one = quick("SST2", shared_data)
    (x, y), (dx, dy), (tx, ty) = (in_order(one.parts[part]) for part in ("train", "dev", "test"))
    regularisation = [2.0**t for t in range(-2, 4)]
    best = regularisation[int(np.argmax([round(100 * accuracy(x, y, dx, dy, c), 2) for c in regularisation]))]
    score = runner.score([one], HashEncoder())[0]
    assert score.value == round(100 * accuracy(x, y, tx, ty, best), 2)
    assert score.details["C"] == best


@pytest.mark.parametrize("name", ["TREC", "MRPC"])
def test_folds_of_the_train_part_choose(name: str, shared_data: Path) -> None:
    one = quick(name, shared_data)
    (x, y), (tx, ty) = (in_order(one.parts[part]) for part in ("train", "test"))
    regularisation = [2.0**t for t in range(-1, 6)]
    best = regularisation[int(np.argmax([mean_over_folds(x, y, c) for c in regularisation]))]
    model = LogisticRegression(C=best, random_state=1111).fit(x, y)
    score = runner.score([one], HashEncoder())[0]
    assert score.value == round(100 * model.score(tx, ty), 2)
    if name == "MRPC":
        assert score.details["f1"] == round(100 * f1_score(ty, model.predict(tx)), 2)


def test_ten_folds_in_full_mode_five_in_quick() -> None:
    assert transfer_tasks.FOLDS == {False: 10, True: 5}


def test_items_stand_in_the_order_of_the_data(shared_data: Path) -> None:
    one = quick("TREC", shared_data)
    score = runner.score([one], HashEncoder())[0]
    assert score.labels == one.parts["test"].first
    backwards = one.parts["test"].take(range(len(score.items) - 1, -1, -1))
    again = runner.score([Data(one.task, one.parts | {"test": backwards}, one.source, quick=True)], HashEncoder())[0]
    assert (again.items[::-1] == score.items).all()


def test_too_few_examples_of_a_class_are_an_error() -> None:
    items = Items(("a", "b", "c", "d", "e", "f"), None, np.array([1, 1, 1, 1, 1, 0]))
    with pytest.raises(DataError, match="rarest class has 1 examples, and 10 folds"):
        runner.score([Data(TASKS["CR"], {"all": items}, "folder")], HashEncoder())


def test_the_number_of_threads_changes_nothing(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = quick("MRPC", shared_data)
    items = []
    for workers in (1, 3):
        monkeypatch.setattr(transfer_tasks, "_workers", lambda workers=workers: workers)
        items.append(runner.score([one], HashEncoder())[0].items)
    assert (items[0] == items[1]).all()
