"""Tuning of the retrievers' weights: the known best is found, and its worth is not flattered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.errors import CorruptError, DataError, UsageError
from indexer.storage import open_store
from semsearch.cli import run
from semsearch.collection import Collection
from semsearch.encoders import NOTHING, EncoderOverrides
from semsearch.evaluation.judged import beir, retrieval, tune
from semsearch.evaluation.judged import collection as judged_collection
from semsearch.evaluation.runner import Evaluation
from semsearch.search.asking.asked import Need, read
from semsearch.search.asking.weights import Weights
from semsearch.search.ranking.retrieve import retrieve
from semsearch.settings import Settings
from tests.evaluation.test_retrieval import folder, index

POINTS = tune.grid(["dense", "lexical"])
DEFAULT = {"dense": 0.5, "lexical": 0.5}


def peaked(queries: int, at: float, seed: int = 0, noise: float = 0.3) -> np.ndarray:
    """(w, q): figures whose mean is best at one dense weight, each query with its own chance."""
    random = np.random.default_rng(seed)
    means = np.array([0.6 - (point["dense"] - at) ** 2 for point in POINTS])
    return means[:, None] + noise * random.standard_normal((len(POINTS), queries))


def default_of(curve: np.ndarray) -> np.ndarray:
    return curve[[point == DEFAULT for point in POINTS].index(True)]


def test_the_grid_adds_up_to_one_and_holds_every_retriever_alone():
    for names in (["dense", "lexical"], ["dense", "lexical", "sparse"]):
        points = tune.grid(names)
        assert len({tuple(p.values()) for p in points}) == len(points) == {2: 21, 3: 66}[len(names)]
        assert all(sum(p.values()) == pytest.approx(1) for p in points)
        assert {name for p in points for name, weight in p.items() if weight == 1} == set(names)


def test_the_known_best_weight_is_found_and_proved():
    curves = [peaked(300, 0.1, seed, noise=0.1) for seed in (1, 2)]
    found = tune.choose(curves, [default_of(c) for c in curves], POINTS, DEFAULT)
    assert found["chosen"]["weights"]["dense"] == pytest.approx(0.1, abs=0.1)
    assert found["verdict"] == "better"
    low, high = found["held_out"]["interval"]
    assert 0 < low < found["held_out"]["difference"] < high
    assert found["held_out"]["difference"] == pytest.approx(0.16, abs=0.04)


def test_of_pure_chance_nothing_is_promised():
    """Every weight is equally good: the best on all queries looks better than it is, the held-out figure does not."""
    better, gains, promised = 0, [], []
    for seed in range(40):
        curve = 0.5 + 0.3 * np.random.default_rng(seed).standard_normal((len(POINTS), 60))
        found = tune.choose([curve], [default_of(curve)], POINTS, DEFAULT, seed=seed)
        better += found["verdict"] == "better"
        gains.append(found["held_out"]["difference"])
        promised.append(found["chosen"]["value"] - found["default"]["value"])
    assert np.mean(promised) > 0.03
    assert abs(np.mean(gains)) < 0.02
    assert better <= 4


def test_equal_weights_leave_the_default_alone():
    curve = np.full((len(POINTS), 20), 0.7)
    found = tune.choose([curve], [curve[0]], POINTS, {"dense": 0.6, "lexical": 0.9})
    assert found["chosen"]["weights"] == {"dense": 0.4, "lexical": 0.6}
    assert found["verdict"] == "no difference"


def test_a_peak_within_the_error_of_the_mean_changes_nothing():
    curve = np.full((len(POINTS), 50), 0.7)
    curve[-2, :3] += 0.1
    curve[-2, 3:5] -= 0.08
    found = tune.choose([curve], [curve[0]], POINTS, DEFAULT)
    assert curve[-2].mean() == curve.mean(axis=1).max() > 0.7
    assert found["chosen"]["weights"] == DEFAULT
    curve[-2, :20] += 0.1
    assert tune.choose([curve], [curve[0]], POINTS, DEFAULT)["chosen"]["weights"]["dense"] == 0.95


def test_collections_count_the_same_whatever_their_size():
    large, small = peaked(400, 0.9, noise=0), peaked(20, 0.1, noise=0)
    found = tune.choose([large, small], [default_of(large), default_of(small)], POINTS, DEFAULT)
    assert found["chosen"]["weights"]["dense"] == 0.5


def test_what_a_third_retriever_adds_is_measured_on_unseen_queries():
    points = tune.grid(["dense", "lexical", "sparse"])
    for gain in (0.0, 0.2):
        best = np.array([gain if point["sparse"] == 0.3 else 0.0 for point in points])
        proved, differences = 0, []
        for seed in range(12):
            curve = 0.5 + best[:, None] + 0.1 * np.random.default_rng(seed).standard_normal((len(points), 200))
            found = tune.without("sparse", [curve], points, DEFAULT)
            proved += found["interval"][0] > 0
            differences.append(found["difference"])
        assert np.mean(differences) == pytest.approx(gain, abs=0.02)
        assert proved == 12 if gain else proved <= 2


def test_too_few_queries():
    with pytest.raises(DataError, match="3 judged queries say nothing"):
        tune.choose([peaked(3, 0.5)], [np.zeros(3)], POINTS, DEFAULT)


def test_the_curve_is_what_searching_with_each_weight_gives(tmp_path: Path) -> None:
    judged = beir.load("made", folder(tmp_path / "made"))
    encoder = HashEncoder()
    with judged_collection.indexed(judged, encoder, tmp_path / "cache") as collection:
        texts = list(judged.queries.values())
        weights = [Weights(0.0, 1.0), Weights(0.3, 0.7), Weights(1.0, 0.0)]
        curve = tune.curve(judged, collection.find(100), [vars(each) for each in weights])
        for row, each in zip(curve, weights, strict=True):
            with collection.docs.view() as view:
                asked = read(texts, [Need(vector=True)] * len(texts), lambda: encoder, print)
                names = [name for name, weight in vars(each).items() if weight]
                ranked = [found.convex(vars(each), 100) for found in retrieve(view, asked, names, 100)]
            run = {
                q: judged_collection.best(collection.owners, found)
                for q, found in zip(judged.queries, ranked, strict=True)
            }
            np.testing.assert_allclose(row, retrieval.measure(judged, run)["nDCG@10"])
        assert len(np.unique(curve.mean(axis=1))) > 1


def test_result_over_a_folder(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "made")
    evaluation = Evaluation(
        Settings(data=tmp_path / "data"), EncoderOverrides(model="hash:64"), sparse=True, cache=tmp_path / "cache"
    )
    found, _ = evaluation.retrieval((), tune.result)
    assert found["collections"] == {"made": 6}
    assert len(found["curve"]) == 66
    assert found["encoder"]["spec"]["model"] == "hash:64"
    assert "verdict: " in tune.render(found)
    assert "sparse adds" in tune.render(found)
    json.dumps(found)


def test_kept_weights_are_used_and_are_the_new_default(tmp_path: Path) -> None:
    settings = index(tmp_path)
    with Collection(settings=settings) as docs:
        before = docs.search("wing flutter here", explain=True)[0].explanation
        docs.keep_weights(Weights(1.0, 0.0))
        after = docs.search("wing flutter here", explain=True)[0].explanation
        assert set(after.parts) == {"dense"}
        assert set(before.parts) == {"dense", "lexical"}
    rows = "".join(
        f"{t}\t{t.replace(' ', '-')}.md\n" for t in ("wing flutter", "heat transfer", "jet noise", "shock wave")
    )
    (tmp_path / "judged.tsv").write_text(rows, encoding="utf-8")
    found, _ = Evaluation(settings, NOTHING).own("mine", tmp_path / "judged.tsv", tune.result)
    assert found["default"]["weights"] == {"dense": 1.0, "lexical": 0.0, "sparse": 0.0}


@pytest.mark.parametrize("text", ["{", '{"weights": {"dense": -1}}', '{"weights": {"width": 1}}', "[]"])
def test_a_damaged_file_of_weights_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "search.json").write_text(text, encoding="utf-8")
    with pytest.raises(CorruptError, match=r"search\.json"):
        Weights.read(tmp_path)


def test_weights_that_cannot_be_meant() -> None:
    with pytest.raises(UsageError, match="all 0"):
        Weights(0, 0, 0)
    with pytest.raises(UsageError, match="from 0 up"):
        Weights(-1, 1)


def test_candidates_of_some_retrievers_are_as_if_only_these_were_asked(tmp_path: Path) -> None:
    judged = beir.load("made", folder(tmp_path / "made"))
    with judged_collection.indexed(judged, HashEncoder(), tmp_path / "cache", sparse=True) as collection:
        texts = list(judged.queries.values())
        asked = read(texts, [Need(vector=True, terms=True)] * len(texts), HashEncoder, print)
        with collection.docs.view() as view:
            every = retrieve(view, asked, ["dense", "lexical", "sparse"], 7)
            some = retrieve(view, asked, ["lexical", "sparse"], 7)
        for one, other in zip(every, some, strict=True):
            cut = one.only(["lexical", "sparse"])
            np.testing.assert_array_equal(cut.ids, other.ids)
            for name in other.found:
                np.testing.assert_array_equal(cut.raw[name], other.raw[name])
                np.testing.assert_array_equal(cut.scaled[name], other.scaled[name])


def test_save_keeps_proven_weights_and_no_others(tmp_path: Path, capsys) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    rows = []
    for n in range(40):
        shared = " ".join(f"topic{n * k % 7}" for k in range(1, 6))
        (notes / f"{n}.txt").write_text(f"{shared} code{n}", encoding="utf-8")
        rows.append(f"code{n} of topic{n % 7} topic{n % 5}\t{n}.txt\n")
    (tmp_path / "judged.tsv").write_text("".join(rows), encoding="utf-8")
    home = ["--home", tmp_path / "home"]
    tuning = [
        "eval",
        "tune",
        "--collection",
        "mine",
        "--judgements",
        tmp_path / "judged.tsv",
        "--save",
        "--json",
        *home,
    ]
    assert run(list(map(str, ["index", "--model", "hash:16", "--collection", "mine", notes, *home]))) == 0
    path = tmp_path / "home" / "mine"
    Weights(1, 0).save(open_store(path))
    capsys.readouterr()

    assert run(list(map(str, tuning))) == 0
    first, err = capsys.readouterr()
    assert json.loads(first)["saved"] is True
    assert "weights kept" in err
    assert Weights.of(open_store(path)).lexical >= 0.5
    assert json.loads(first)["chosen"]["weights"] == {
        "dense": Weights.of(open_store(path)).dense,
        "lexical": Weights.of(open_store(path)).lexical,
    }

    kept = (path / "search.json").read_bytes()
    assert run(list(map(str, tuning))) == 0
    second, err = capsys.readouterr()
    assert json.loads(second)["saved"] is False
    assert json.loads(second)["default"] == {
        **json.loads(first)["chosen"],
        "weights": vars(Weights.of(open_store(path))),
    }
    assert "nothing saved" in err
    assert (path / "search.json").read_bytes() == kept

    assert run(["eval", "tune", "--save", "--data", str(tmp_path)]) == 2
    assert "name it with --collection" in capsys.readouterr().err
