from contextlib import closing

import numpy as np
import pytest

from indexer.errors import StoreError
from indexer.types import Filter, Parsed
from semsearch.search.answering import Models, rank, search
from semsearch.search.asking.asked import Need, read
from semsearch.search.asking.request import SearchRequest
from semsearch.search.asking.weights import Weights
from semsearch.search.ranking.calibration import FEW, STRONG, Prior
from semsearch.search.ranking.retrieve import retrieve
from tests.search import helpers
from tests.search.helpers import ENCODER

TEXTS = [
    "The wing of the aircraft was tested at high speed",
    "Drag and lift of a wing in supersonic flow",
    "Heat transfer from a hot plate to a cold stream",
    "Sailing boats cross the bay when the wind is right",
    "The boat was moored in the bay for the winter",
    "Turbulent flow past a plate, with heat and drag measured",
    "A recipe for bread: flour, water, salt and yeast",
]
FILES = [("/data/a.txt", TEXTS[:4]), ("/data/b.md", TEXTS[4:])]


@pytest.fixture
def store():
    return helpers.memory(FILES)


def asked(*texts, sparse=False):
    return read(texts, [Need(vector=True, terms=sparse)] * len(texts), lambda: ENCODER, print)


def ranked(view, query, depth=100, **options):
    request = SearchRequest(query, **options)
    [found] = rank(view, request, asked(query, sparse=view.has("sparse")), depth)
    return found


def everything(store):
    """Ids of all passages with their vectors."""
    with store.snapshot() as snapshot:
        ids = np.array([row.id for each in snapshot.documents() for row in each.passages], np.int64)
        return np.sort(ids), snapshot.vectors(np.sort(ids))


@pytest.mark.parametrize("weights", [Weights(), Weights(0.5, 0.5), Weights(3, 1), Weights(1, 0), Weights(0, 1)])
@pytest.mark.parametrize(
    "query", ["wing drag", "boat in the bay", "the wind and the salt and the wing", "船 zzz", "?!"]
)
def test_hybrid_is_the_formula_over_all_passages(store, query, weights):
    view = helpers.view(store, weights)
    ids, vectors = everything(store)
    dense = vectors @ ENCODER.encode([query], role="query")[0]
    found = view.snapshot.lexical([query], 100)
    lexical = dict(zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True))
    pairs = (vectors @ vectors.T)[np.triu_indices(len(ids), 1)]
    few = 1 - len(ids) / FEW  # the encoder's own spread counts for so much; its mean is not known
    spread = np.sqrt((1 - few) * pairs.std() ** 2 + few * Prior().spread ** 2)
    scaled = (dense - pairs.mean()) / (STRONG * spread)
    share = np.array([lexical.get(int(number), 0.0) for number in ids]) / (float(found.full[0]) or 1.0)
    expected = (weights.dense * scaled + weights.lexical * share) / (weights.dense + weights.lexical)
    result = ranked(view, query)
    by_id = dict(zip(ids.tolist(), expected.tolist(), strict=True))
    np.testing.assert_allclose(result.scores, [by_id[number] for number in result.ids.tolist()], atol=1e-4)
    assert (np.diff(result.scores) <= 0).all()
    assert len(result.ids) == (len(ids) if weights.dense else len(lexical.keys() - {-1}))
    np.testing.assert_allclose(np.sum(list(result.parts.values()), axis=0), result.scores, atol=1e-5)


def test_each_retriever_says_what_it_scored(store):
    view = helpers.view(store)
    result = ranked(view, "wing drag")
    words = view.snapshot.lexical(["wing drag"], 100)
    lexical = dict(zip(words.ids[0].tolist(), words.scores[0].tolist(), strict=True))
    np.testing.assert_allclose(result.raw["lexical"], [lexical.get(number, np.nan) for number in result.ids.tolist()])
    vectors = view.snapshot.vectors(result.ids) @ ENCODER.encode(["wing drag"], role="query")[0]
    np.testing.assert_allclose(result.raw["dense"], vectors, atol=1e-3)


def test_what_only_words_found_is_compared_with_the_query_too(store):
    """With one place for each retriever the dense score of the passage found by words is computed, not guessed."""
    view = helpers.view(store)
    query = "the the the of the yeast"
    [found] = retrieve(view, asked(query), ["dense", "lexical"], 1)
    assert found.found["dense"].tolist() != found.found["lexical"].tolist()
    vectors = view.snapshot.vectors(found.ids) @ ENCODER.encode([query])[0]
    np.testing.assert_allclose(found.raw["dense"], vectors, atol=1e-3)
    assert np.isnan(found.raw["lexical"]).sum() == 1
    assert found.scaled["lexical"].min() == 0


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_filters_apply_to_every_retriever(store, mode, fusion):
    view = helpers.view(store)
    result = ranked(view, "boat in the bay", mode=mode, fusion=fusion, filter=Filter(paths=("*.md",)))
    assert {row.path for row in view.snapshot.get(result.ids)} == {"/data/b.md"}
    result = ranked(view, "boat in the bay", mode=mode, fusion=fusion, filter=Filter(paths=("*.pdf",)))
    assert len(result.ids) == len(result.scores) == 0


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_the_best_k_are_the_first_of_more(store, fusion):
    view = helpers.view(store)
    few, many = (ranked(view, "heat and drag of a boat", depth, fusion=fusion) for depth in (2, 50))
    assert few.ids.tolist() == many.ids[:2].tolist()


def test_one_passage():
    view = helpers.view(helpers.memory([("/a.txt", ["the only boat"])]))
    for query in ("boat", "nothing alike"):
        result = ranked(view, query)
        assert len(result.ids) == 1
        assert np.isfinite(result.scores).all()


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_sparse(fusion):
    store = helpers.memory([("/a.txt", TEXTS)], sparse=True)
    view = helpers.view(store)
    alone = ranked(view, "drag of a wing", 10, mode="sparse")
    theirs = view.snapshot.sparse(ENCODER.encode_terms(["drag of a wing"], "query")[1], 10)
    assert alone.ids.tolist() == theirs.ids[0][theirs.ids[0] >= 0].tolist()
    three = ranked(helpers.view(store, Weights(1, 1, 1)), "drag of a wing", fusion=fusion)
    assert set(three.raw) == ({"dense", "lexical", "sparse"} if fusion == "convex" else {"dense", "lexical"})
    assert set(ranked(view, "drag of a wing").raw) == {"dense", "lexical"}


def refuse():
    pytest.fail("a model was opened")


NONE = Models(refuse, refuse)
SOME = Models(lambda: ENCODER, refuse)


def test_refusals(store):
    with pytest.raises(StoreError, match="--sparse"):
        search(helpers.view(store), [SearchRequest("wing", mode="sparse")], NONE)
    with pytest.raises(StoreError, match="holds no passages yet"):
        search(helpers.view(helpers.memory()), [SearchRequest("wing")], NONE)


def test_words_alone_need_no_model(store):
    assert search(helpers.view(store), [SearchRequest("wing", mode="lexical")], NONE)[0]
    assert search(helpers.view(store, Weights(0, 1)), [SearchRequest("wing", snippets=False)], NONE)[0]


# Passages whose vectors are yet to come


@pytest.fixture
def partial(store):
    """Two new files: the words of both are there at once, the vectors of neither."""
    helpers.add(store, "/data/new.txt", [helpers.document("/data/new.txt", ["A harbour wing of bread"])], vectors=False)
    return store


def ids_of(store, path):
    with store.snapshot() as snapshot:
        return [row.id for each in snapshot.documents(path) for row in each.passages]


def test_a_passage_without_a_vector_is_judged_by_its_words_alone(partial):
    view = helpers.view(partial)
    [new] = ids_of(partial, "/data/new.txt")
    result = ranked(view, "harbour wing")
    at = result.ids.tolist().index(new)
    found = view.snapshot.lexical(["harbour wing"], 100)
    share = float(found.scores[0][found.ids[0].tolist().index(new)] / found.full[0])
    assert result.scores[at] == pytest.approx(share, abs=1e-6)
    assert np.isnan(result.raw["dense"][at])
    assert result.parts["dense"][at] == 0
    others = [i for i in range(len(result.ids)) if i != at]
    assert np.isfinite(result.raw["dense"][others]).all()


def test_an_answer_says_how_much_is_still_without_vectors(partial):
    answer = search(helpers.view(partial), [SearchRequest("harbour wing")], SOME)[0]
    assert answer[0].path == "/data/new.txt"
    assert "1 passages are not embedded yet, and 1 of 8 are found by their words alone" in answer.notes[0]
    assert "semsearch index --collection boats" in answer.notes[0]
    assert search(helpers.view(partial), [SearchRequest("wing", mode="lexical")], NONE)[0].notes == ()
    with closing(partial.writer()) as writer:
        helpers.embed(partial, writer)
        writer.commit()
    assert search(helpers.view(partial), [SearchRequest("harbour wing")], SOME)[0].notes == ()


def test_explanations_say_that_a_passage_has_no_vector_and_confidence_leaves_it_out(partial):
    view = helpers.view(partial)
    [answer] = search(view, [SearchRequest("harbour wing", explain=True)], SOME)
    [why] = [hit.explanation for hit in answer if hit.path == "/data/new.txt"]
    assert (why.scores["dense"], why.percentile) == (None, None)
    [sure] = search(view, [SearchRequest("harbour wing", min_confidence=0.0)], SOME)
    assert "/data/new.txt" not in {hit.path for hit in sure}


def test_while_there_are_no_vectors_at_all_hybrid_is_a_search_by_words():
    view = helpers.view(helpers.memory(FILES, vectors=False))
    [answer] = search(view, [SearchRequest("wing bay")], NONE)
    [words] = search(view, [SearchRequest("wing bay", mode="lexical")], NONE)
    assert [hit.passage for hit in answer] == [hit.passage for hit in words]
    assert len(answer) == 4
    [dense] = search(view, [SearchRequest("wing bay", mode="dense")], NONE)
    assert len(dense) == 0
    assert "7 passages are not embedded yet" in dense.notes[0]


def test_a_changed_file_is_shown_as_it_was_until_its_vectors_are_there(store):
    with closing(store.writer()) as writer:
        parsed = helpers.document("/data/b.md", ["Nothing but harbours"])
        writer.stage(Parsed(helpers.file("/data/b.md"), (parsed,)))
        writer.commit()
    assert len(search(helpers.view(store), [SearchRequest("harbours", mode="lexical")], NONE)[0]) == 0
    assert search(helpers.view(store), [SearchRequest("bread yeast")], SOME)[0][0].path == "/data/b.md"


def test_a_giant_k_is_cut_to_the_size_of_the_collection(store):
    for mode in ("hybrid", "dense", "lexical"):
        [answer] = search(helpers.view(store), [SearchRequest("the wing", mode=mode, k=2**31 - 1)], SOME)
        assert len(answer) <= len(TEXTS)
    [answer] = search(helpers.view(store), [SearchRequest("wing", mode="dense", k=2**31 - 1)], SOME)
    assert len(answer) == len(TEXTS)


def test_each_query_is_encoded_once_whatever_is_asked(store):
    class Counts(type(ENCODER)):
        queries = 0

        def encode(self, texts, role="passage", normalize=True):
            Counts.queries += len(texts) if role == "query" else 0
            return super().encode(texts, role, normalize)

    encoder = Counts(ENCODER.spec)
    everything = SearchRequest("wing drag", explain=True, min_confidence=0.1, per_document=1, rerank=Longest())
    search(
        helpers.view(store), [everything, SearchRequest("boat in a bay", explain=True)], Models(lambda: encoder, refuse)
    )
    assert Counts.queries == 2


class Longest:
    def score(self, query, texts):
        return np.array([len(text) for text in texts], np.float32)


def test_counts_weights_and_calibration_are_looked_up_once_a_commit(store, monkeypatch):
    looks = []
    kind = type(store.snapshot())
    for name in ("counts", "sample"):
        real = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda self, *a, name=name, real=real: looks.append(name) or real(self, *a))
    annotation = store.annotation
    monkeypatch.setattr(store, "annotation", lambda name: looks.append("weights") or annotation(name))
    boats = helpers.collection(store)
    for query in ("wing", "boat", "heat"):
        boats.search(query, explain=True, min_confidence=0.0)
    assert sorted(looks) == ["counts", "sample", "weights"]
    helpers.add(store, "/data/c.txt", [helpers.document("/data/c.txt", ["Something else"])])
    boats.search("wing", explain=True)
    assert sorted(looks) == sorted(2 * ["counts", "sample", "weights"])
