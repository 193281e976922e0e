"""The gate: broken encoders fail it, harmless changes do not, and what cannot be compared is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.errors import DataError, UsageError
from semsearch.evaluation import gate, result_files, runner
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.sentences.task_data import Data
from semsearch.evaluation.sentences.tasks import STS
from tests.evaluation.conftest import Changed


@pytest.fixture(scope="module")
def loaded(shared_data: Path) -> list[Data]:
    return runner.load(STS, shared_data, quick=True)


@pytest.fixture(scope="module")
def baseline(loaded: list[Data], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A recorded run, read back from its file."""
    path = tmp_path_factory.mktemp("gate") / "baseline.json"
    result_files.write(path, runner.run(loaded, lambda: HashEncoder(dim=256))[0])
    return result_files.read(path)


def judge(baseline: dict, loaded: list[Data], encoder: Changed, **limits: float) -> gate.Verdict:
    result, scores = runner.run(loaded, lambda: encoder)
    before = gate.paired(baseline, result, scores)
    return gate.compare(before, gate.rounded(scores), notes=gate.notes(baseline, result), **limits)


def noise(scale: float) -> Callable[[np.ndarray], np.ndarray]:
    random = np.random.default_rng(7)
    return lambda v: (v + random.normal(0, scale, v.shape)).astype(np.float32)


def coarse(v: np.ndarray) -> np.ndarray:
    """Two bits a value, badly scaled: what a broken quantisation does."""
    return np.clip(np.round(v / 4 + 0.2), -1, 1).astype(np.float32)


def padded(v: np.ndarray) -> np.ndarray:
    """All but the longest text of a batch read from a padding token, which saw little of the text."""
    return np.concatenate([v[:1], 0.05 * v[1:] + np.linspace(1, 2, v.shape[1], dtype=np.float32)])


BROKEN = {
    "the prompt's words drown the text": {"text": lambda t: "this sentence means in one word " * 6 + t},
    "the last word is missing": {"text": lambda t: " ".join(t.split()[:-1])},
    "only the beginning is seen": {"text": lambda t: " ".join(t.split()[:3])},
    "padding on the wrong side": {"vectors": padded},
    "another position of the batch": {"vectors": lambda v: np.roll(v, 1, axis=0)},
    "noise": {"vectors": noise(2.0)},
    "coarse values": {"vectors": coarse},
    "half of the dimensions shuffled": {
        "vectors": lambda v: np.concatenate(
            [v[:, :64], np.random.default_rng(len(v)).permuted(v[:, 64:], axis=1)], axis=1
        )
    },
    "constant": {"vectors": np.ones_like},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_encoder_fails(what: str, baseline: dict, loaded: list[Data]) -> None:
    verdict = judge(baseline, loaded, Changed(256, **BROKEN[what]))
    assert verdict.failed
    assert verdict.line.startswith("FAIL: quality dropped: ")
    failed = next(d for d in verdict.differences if d.failed)
    assert failed.change < -0.5
    assert failed.high < 0


@pytest.mark.parametrize(
    "harmless",
    [
        {},
        {"vectors": lambda v: v * 3},
        {"vectors": noise(1e-3)},
        {"vectors": lambda v: v[:, ::-1]},
    ],
    ids=["the same", "scaled", "rounding", "dimensions in another order"],
)
def test_a_harmless_change_passes(harmless: dict, baseline: dict, loaded: list[Data]) -> None:
    verdict = judge(baseline, loaded, Changed(256, **harmless))
    assert not verdict.failed, gate.render(verdict)
    assert verdict.line.startswith("PASS: ")


def test_the_same_encoder_differs_by_nothing(baseline: dict, loaded: list[Data]) -> None:
    assert all(d.change == d.low == d.high == 0 for d in judge(baseline, loaded, Changed(256)).differences)


def test_another_fingerprint_is_compared_and_noted(baseline: dict, loaded: list[Data]) -> None:
    verdict = judge(baseline, loaded, Changed(16))
    assert any(note.startswith("another encoder: hash:256") for note in verdict.notes)


def test_both_limits_must_be_passed(baseline: dict, loaded: list[Data]) -> None:
    encoder = Changed(256, text=lambda t: " ".join(t.split()[:-1]))
    assert judge(baseline, loaded, encoder).failed
    assert not judge(baseline, loaded, encoder, max_drop=50).failed
    slight = Changed(256, vectors=noise(0.03))
    assert not judge(baseline, loaded, slight, max_drop=0, confidence=0.999999).failed
    with pytest.raises(UsageError, match=r"confidence 1\.5"):
        judge(baseline, loaded, encoder, confidence=1.5)


def test_the_interval_covers_the_true_change() -> None:
    """100 experiments in which the change is known: about 95 of the intervals hold it."""
    random, covered = np.random.default_rng(3), 0
    for _ in range(100):
        easy = random.random(200)
        old, new = (easy < 0.7).astype(float), (easy + random.normal(0, 0.1, 200) < 0.65).astype(float)
        truth = 100 * (0.65 - 0.70)
        scores = [Score("t", 100 * v.mean(), v, None, ("",) * 200, {}) for v in (old, new)]
        (difference,) = gate.compare([scores[0]], [scores[1]]).differences
        covered += difference.low <= truth <= difference.high
    assert covered >= 88


def test_the_items_that_got_worst_are_shown() -> None:
    gold = np.arange(40.0)
    old = Score("STS12", 100.0, gold / 40, gold, tuple(f"item {i}" for i in range(40)), {})
    items = old.items.copy()
    items[5] = 2.0
    (difference,) = gate.compare([old], [Score("STS12", 50.0, items, gold, old.labels, {})]).differences
    assert difference.moved[0] == ("item 5", 0.125, 2.0)
    right = Score("CR", 100.0, np.ones(40), None, old.labels, {})
    wrong = Score("CR", 90.0, np.where(np.arange(40) < 4, 0.0, 1.0), None, old.labels, {})
    verdict = gate.compare([right], [wrong])
    assert [what for what, _, _ in verdict.differences[0].moved] == ["item 0", "item 1", "item 2", "item 3"]
    assert re.search(r"CR: what moved most\n +1\.0000 → +0\.0000  item 0\n", gate.render(verdict))


def test_other_examples_are_refused(baseline: dict, shared_data: Path) -> None:
    full = runner.load(["STS12"], shared_data, quick=False)
    with pytest.raises(DataError, match="it is quick and this run is full"):
        judge(baseline, full, Changed(256))
    changed = baseline | {"data": {k: v | {"sha256": {}} for k, v in baseline["data"].items()}}
    with pytest.raises(DataError, match="STS12 was scored on other examples \\(the data has changed since\\)"):
        judge(changed, runner.load(["STS12"], shared_data, quick=True), Changed(256))
    dev = runner.load(["STSBenchmark-dev"], shared_data, quick=True)
    with pytest.raises(DataError, match="no items of STSBenchmark-dev; it has STS12"):
        judge(baseline, dev, Changed(256))


def test_a_quick_baseline_is_small_enough_to_commit(baseline: dict, tmp_path: Path) -> None:
    result_files.write(tmp_path / "b.json", baseline)
    assert (tmp_path / "b.json").stat().st_size < 30_000
