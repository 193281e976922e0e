import numpy as np
import pytest

from indexer.errors import StoreError, UsageError
from indexer.storage.local.catalog import MemoryCatalog
from indexer.storage.local.store import Store
from indexer.types import Filter
from semsearch.search.calibration import STRONG
from semsearch.search.ranking import Ranker, Weights
from tests.storage.helpers import ENCODER, add, build, document, embed, file, manifest, stage

TEXTS = [
    "The wing of the aircraft was tested at high speed",
    "Drag and lift of a wing in supersonic flow",
    "Heat transfer from a hot plate to a cold stream",
    "Sailing boats cross the bay when the wind is right",
    "The boat was moored in the bay for the winter",
    "Turbulent flow past a plate, with heat and drag measured",
    "A recipe for bread: flour, water, salt and yeast",
]


@pytest.fixture
def store(tmp_path):
    with build(tmp_path / "c", [("/data/a.txt", TEXTS[:4]), ("/data/b.md", TEXTS[4:])]) as store:
        store.commit()
        yield store


@pytest.fixture
def ranker(store):
    return Ranker(store, lambda: ENCODER)


@pytest.mark.parametrize("weights", [None, Weights(0.5, 0.5), Weights(3, 1), Weights(1, 0), Weights(0, 1)])
@pytest.mark.parametrize(
    "query", ["wing drag", "boat in the bay", "the wind and the salt and the wing", "船 zzz", "?!"]
)
def test_hybrid_is_the_formula_over_all_passages(store, ranker, query, weights):
    ids = store.allowed(None)
    dense = store.vectors(ids) @ ENCODER.encode([query], role="query")[0]
    found = store.search_text(query, 100)
    lexical = dict(zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True))
    pairs = (store.vectors(ids) @ store.vectors(ids).T)[np.triu_indices(len(ids), 1)]
    scaled = (dense - pairs.mean()) / (STRONG * pairs.std())
    share = np.array([lexical.get(int(id), 0.0) for id in ids]) / (store.text_scale(query) or 1.0)
    chosen = weights or Weights()
    expected = (chosen.dense * scaled + chosen.lexical * share) / (chosen.dense + chosen.lexical)
    [ranked] = ranker.rank([query], 100, weights=weights)
    by_id = dict(zip(ids.tolist(), expected.tolist(), strict=True))
    np.testing.assert_allclose(ranked.scores, [by_id[id] for id in ranked.ids.tolist()], atol=1e-4)
    assert (np.diff(ranked.scores) <= 0).all()
    assert len(ranked.ids) == (len(ids) if chosen.dense else len(lexical.keys() - {-1}))
    np.testing.assert_allclose(np.sum(list(ranked.shares.values()), axis=0), ranked.scores, atol=1e-5)


def test_each_arm_says_what_it_scored(store, ranker):
    [ranked] = ranker.rank(["wing drag"], 100)
    words = store.search_text("wing drag", 100)
    lexical = {id: s for id, s in zip(words.ids[0].tolist(), words.scores[0].tolist(), strict=True) if id >= 0}
    np.testing.assert_allclose(ranked.arms["lexical"], [lexical.get(id, np.nan) for id in ranked.ids.tolist()])
    vectors = store.vectors(ranked.ids) @ ENCODER.encode(["wing drag"], role="query")[0]
    np.testing.assert_allclose(ranked.arms["dense"], vectors, atol=1e-3)


def test_what_only_words_found_is_compared_with_the_query_too(store, ranker):
    """With one place for each arm the dense score of the passage found by words is computed, not guessed."""
    [found] = ranker.candidates(["the the the of the yeast"], ["dense", "lexical"], 1)
    assert found.found["dense"].tolist() != found.found["lexical"].tolist()
    vectors = store.vectors(found.ids) @ ENCODER.encode(["the the the of the yeast"])[0]
    np.testing.assert_allclose(found.raw["dense"], vectors, atol=1e-3)
    assert np.isnan(found.raw["lexical"]).sum() == 1
    assert found.scaled["lexical"].min() == 0


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_filters_apply_to_every_arm(store, ranker, mode, fusion):
    [ranked] = ranker.rank(["boats in the bay"], 10, mode, Filter(paths=("*.md",)), fusion=fusion)
    assert {row.path for row in store.get(ranked.ids)} == {"/data/b.md"}
    [ranked] = ranker.rank(["boats in the bay"], 10, mode, Filter(paths=("*.pdf",)), fusion=fusion)
    assert len(ranked.ids) == len(ranked.scores) == 0


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_the_best_k_are_the_first_of_more(ranker, fusion):
    [few], [many] = (ranker.rank(["heat and drag of a boat"], k, fusion=fusion) for k in (2, 50))
    assert few.ids.tolist() == many.ids[:2].tolist()


def test_one_passage(tmp_path):
    with build(tmp_path / "c", [("/a.txt", ["the only boat"])]) as store:
        store.commit()
        for query in ("boat", "nothing alike"):
            [ranked] = Ranker(store, lambda: ENCODER).rank([query])
            assert len(ranked.ids) == 1
            assert np.isfinite(ranked.scores).all()


def test_calibration_follows_the_collection(store, ranker):
    before = ranker.calibration
    assert ranker.calibration is before
    add(store, "/data/c.txt", ["Something quite different: foxes, geese, owls"])
    assert ranker.calibration is not before
    assert len(ranker.calibration.pairs) > len(before.pairs)


def test_a_word_that_stands_twice_counts_twice(store):
    once = {id: s for id, s in zip(*(x[0].tolist() for x in _found(store, "wing bread")), strict=True)}
    twice = {id: s for id, s in zip(*(x[0].tolist() for x in _found(store, "wing bread bread")), strict=True)}
    [bread] = [row.id for row in store.passages() if "bread" in row.passage.text]
    assert twice[bread] == pytest.approx(2 * once[bread])
    assert {id: s for id, s in twice.items() if id != bread} == {id: s for id, s in once.items() if id != bread}


def _found(store, query):
    found = store.search_text(query, 100)
    return found.ids, found.scores


@pytest.mark.parametrize("query", ["wing", "the wing the bay", "unheard of", "flow flow", "!"])
def test_the_scale_of_words_is_that_of_the_reference(store, query):
    memory = MemoryCatalog()
    for path, texts in (("/data/a.txt", TEXTS[:4]), ("/data/b.md", TEXTS[4:])):
        memory.stage(file(path), [document(path, texts)])
    memory.embed({number: b"" for number, _ in memory.unembedded(100)})
    memory.commit()
    assert store.text_scale(query) == pytest.approx(memory.text_scale(query, memory.state()[0]))


def test_how_many_hold_a_word_is_counted_anew_after_a_change(store):
    before = store.text_scale("wing")
    add(store, "/data/c.txt", ["wing " * 3 + f"number {n}" for n in range(3)])
    assert store.text_scale("wing") < before


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_sparse(tmp_path, fusion):
    with Store.create(tmp_path / "c", manifest(sparse=128)) as store:
        stage(store, "/a.txt", TEXTS)
        embed(store)
        store.commit()
        ranker = Ranker(store, lambda: ENCODER)
        [alone] = ranker.rank(["drag of a wing"], 10, "sparse")
        [theirs] = [store.search_terms(terms, 10) for terms in ENCODER.encode_terms(["drag of a wing"], "query")[1]]
        assert alone.ids.tolist() == theirs.ids[0][theirs.ids[0] >= 0].tolist()
        [three] = ranker.rank(["drag of a wing"], 10, weights=Weights(1, 1, 1), fusion=fusion)
        assert set(three.arms) == ({"dense", "lexical", "sparse"} if fusion == "convex" else {"dense", "lexical"})
        assert set(ranker.rank(["drag of a wing"], 10)[0].arms) == {"dense", "lexical"}


def test_refusals(store, ranker, tmp_path):
    for arguments, what in (
        ((["wing", " \0"],), "the query is empty"),
        ((["wing"], 0), "k is 0"),
        ((["wing"], 1, "best"), "hybrid, dense, lexical, sparse"),
    ):
        with pytest.raises(UsageError, match=what):
            ranker.rank(*arguments)
    with pytest.raises(UsageError, match="convex, rrf"):
        ranker.rank(["wing"], fusion="sum")
    with pytest.raises(StoreError, match="--sparse"):
        Ranker(store, lambda: pytest.fail("a model was opened")).rank(["wing"], mode="sparse")
    with build(tmp_path / "none") as empty, pytest.raises(StoreError, match="holds no passages yet"):
        Ranker(empty, lambda: ENCODER).rank(["wing"])


def test_words_alone_need_no_model(store):
    def refuse():
        raise AssertionError("a model was opened")

    assert len(Ranker(store, refuse).rank(["wing"], mode="lexical")[0].ids)
    assert len(Ranker(store, refuse).rank(["wing"], weights=Weights(0, 1))[0].ids)
