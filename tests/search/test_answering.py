"""What a search gives beyond the ranking. Passages are lines, vectors are hashes of words."""

from dataclasses import replace

import numpy as np
import pytest

from indexer.errors import ModelError, UsageError
from indexer.types import Filter
from semsearch.search.asking.request import SearchRequest
from tests.search import helpers

BOAT = "A sailing boat crosses the bay while the crew sings and the helmsman looks at the sky and at the water."
FILES = [
    ("/a.txt", [BOAT, "The anchor of a boat", "A boat needs paint"]),
    ("/b.txt", [BOAT.replace(" while ", "  while "), "Rooks and knights"]),
    ("/c.txt", [BOAT + " Aye!", "A galaxy far away"]),
    ("/d:7", ["The boat sank"]),
]
MODES = ["hybrid", "dense", "lexical"]


@pytest.fixture
def boats():
    return helpers.collection(helpers.memory(FILES))


def places(hits):
    return [(hit.path, hit.line_start) for hit in hits]


def test_one_query_alone_and_among_others_gives_the_same(boats):
    texts = ["sailing boat", "a far galaxy", "knights"]
    for mode in MODES:
        together = boats.search_many([SearchRequest(text, k=2, mode=mode, explain=True) for text in texts])
        assert together == [boats.search(text, k=2, mode=mode, explain=True) for text in texts]


@pytest.mark.parametrize("mode", MODES)
def test_duplicates_are_folded_and_there_are_still_k_hits(boats, mode):
    hits = boats.search("crew sings while the helmsman looks at the sky, sailing boat, bay", k=3, mode=mode)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].text == BOAT
    assert [twin.path for twin in hits[0].duplicates] == ["/b.txt", "/c.txt"]
    assert len({hit.passage for hit in hits}) == 3
    shown = boats.search(
        "crew sings while the helmsman looks at the sky, sailing boat, bay", k=3, mode=mode, collapse=False
    )
    assert {hit.path for hit in shown} == {"/a.txt", "/b.txt", "/c.txt"}
    assert all(not hit.duplicates for hit in shown)


@pytest.mark.parametrize("mode", MODES)
def test_a_ranking_is_searched_deeper_until_there_are_k(mode):
    same = [f"boat boat boat {'x' * i}" for i in range(1, 40)]
    files = [("/many.txt", same), *((f"/{i}.txt", [f"one boat among other things {'y' * i}"]) for i in range(3))]
    store = helpers.memory(files)
    hits = helpers.collection(store).search("boat", k=4, mode=mode, per_document=1)
    assert {hit.path for hit in hits} == {"/many.txt", "/0.txt", "/1.txt", "/2.txt"}


def test_explanations_say_what_each_retriever_found(boats):
    [hit] = boats.search("boats with anchors", k=1, explain=True)
    why = hit.explanation
    assert hit.text == "The anchor of a boat"
    vector = helpers.ENCODER.encode(["boats with anchors"])[0]
    assert why.scores["dense"] == pytest.approx(float(vector @ helpers.ENCODER.encode([hit.text])[0]), abs=2e-3)
    assert why.scores["lexical"] > 0
    assert hit.score == min(1.0, max(0.0, why.fused))
    assert why.rerank is None
    assert why.terms == ("boats", "anchors")
    assert dict(why.query_means).keys() == {"boats", "anchors"}  # a hash encoder's "next words" are its words
    assert dict(why.passage_means).keys() == {"anchor", "boat"}
    assert why.shared == ()
    assert 0 <= why.percentile <= 1


def test_a_passage_that_words_alone_found_has_its_similarity_too(boats):
    hits = boats.search("rooks", k=10, explain=True)
    assert all(hit.explanation.scores["dense"] is not None for hit in hits)
    assert {hit.explanation.scores["lexical"] is None for hit in hits} == {True, False}


def test_query_and_passage_are_read_with_their_own_prompts():
    class Roles(type(helpers.ENCODER)):
        def terms(self, texts, k, role, states=None):
            return [[(role, 0.5)] for _ in texts]

    store = helpers.memory(FILES)
    boats = helpers.collection(store, Roles(helpers.ENCODER.spec))
    why = boats.search("boat", k=1, explain=True)[0].explanation
    assert (why.query_means, why.passage_means) == ((("query", 0.5),), (("passage", 0.5),))
    why = boats.similar("/a.txt:1", k=1, explain=True)[0].explanation
    assert (why.query_means, why.passage_means) == ((("passage", 0.5),), (("passage", 0.5),))


def test_words_of_the_title_count_as_found():
    store = helpers.memory()
    helpers.add(store, "/s.md", [helpers.document("/s.md", ["It lies in the harbor."], title="The Ship")])
    [hit] = helpers.collection(store).search("ships in a harbor", k=1, explain=True)
    assert hit.explanation.terms == ("ships", "harbor")
    assert [hit.text[start:end] for start, end in hit.matches] == ["harbor"]


def test_half_characters_never_reach_a_tokenizer():
    class Strict(type(helpers.ENCODER)):
        def encode(self, texts, role="passage", normalize=True):
            return super().encode([text.encode().decode() for text in texts], role, normalize)

    store = helpers.memory(FILES)
    assert helpers.collection(store, Strict(helpers.ENCODER.spec)).search("boat \udce9", k=1, explain=True)


def test_every_mode_and_fusion_compares_with_the_query(boats):
    vector = helpers.ENCODER.encode(["sailing boat"])[0]
    for options in ({"mode": "dense"}, {"fusion": "convex"}, {"fusion": "rrf"}):
        for hit in boats.search("sailing boat", k=9, explain=True, **options):
            cosine = float(vector @ helpers.ENCODER.encode([hit.text])[0])
            assert hit.explanation.scores["dense"] == pytest.approx(cosine, abs=2e-3)
            assert (hit.explanation.fused is None) == ("mode" in options)


def test_lexical_explanations_need_no_model():
    store = helpers.memory(FILES)
    [hit] = helpers.collection(store, None).search("anchors", k=1, mode="lexical", explain=True)
    why = hit.explanation
    assert (why.terms, why.percentile, why.query_means, list(why.scores)) == (("anchors",), None, (), ["lexical"])


def test_a_model_without_words_is_said():
    class Mute(type(helpers.ENCODER)):
        def terms(self, texts, k, role, states=None):
            raise ModelError("no LM head")

    answer = helpers.collection(helpers.memory(FILES), Mute(helpers.ENCODER.spec)).search("boat", k=1, explain=True)
    assert answer[0].explanation.query_means == ()
    [note] = answer.notes
    assert "no LM head" in note


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_an_answer_is_of_one_commit_whatever_is_written_meanwhile(mode):
    files = [("/a.txt", [BOAT]), ("/b.txt", [BOAT + " Aye!"]), ("/c.txt", ["The anchor of a boat"])]
    store = helpers.memory(files)

    class Meddles(type(helpers.ENCODER)):
        """While a query is read, a file is taken away."""

        def encode(self, texts, role="passage", normalize=True):
            with store.writer() as writer:
                writer.remove(["/b.txt"])
                writer.finish()
            return super().encode(texts, role, normalize)

    boats = helpers.collection(store, Meddles(helpers.ENCODER.spec))
    first = boats.search("a sailing boat in a bay", k=3, mode=mode, collapse=False)
    assert sorted(hit.path for hit in first) == ["/a.txt", "/b.txt", "/c.txt"]
    then = boats.search("a sailing boat in a bay", k=3, mode=mode, collapse=False)
    assert sorted(hit.path for hit in then) == ["/a.txt", "/c.txt"]
    assert then.generation > first.generation


def test_unsure_hits_are_dropped(boats):
    everything = boats.search("sailing boat", k=10, mode="dense", explain=True)
    percentile = [hit.explanation.percentile for hit in everything]
    assert percentile == sorted(percentile, reverse=True)
    assert percentile[0] > percentile[-1]
    limit = percentile[len(percentile) // 2]
    sure = boats.search("sailing boat", k=10, mode="dense", min_confidence=limit)
    assert [hit.passage for hit in sure] == [h.passage for h in everything if h.explanation.percentile >= limit]
    assert boats.search("zzz", k=10, mode="hybrid", min_confidence=1.0).hits == ()
    assert len(boats.search("sailing boat", k=10, mode="dense", min_confidence=0.0)) == len(everything)


class Backwards:
    """Prefers what the ranking put last."""

    def score(self, query, texts):
        self.seen = query, list(texts)
        return np.arange(len(texts), dtype=np.float32)


def test_a_reranker_reads_more_than_k_and_decides(boats):
    judge = Backwards()
    before = boats.search("boat", k=50)
    hits = boats.search("boat", k=2, rerank=judge, explain=True)
    assert judge.seen == ("boat", [hit.text for hit in before])
    assert [hit.passage for hit in hits] == [hit.passage for hit in before[::-1][:2]]
    assert [hit.score for hit in hits] == [len(before) - 1, len(before) - 2]
    assert hits[0].explanation.rerank == hits[0].score
    assert before[-1].score == max(0.0, hits[0].explanation.fused)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"per_document": 0}, "per_document is 0"),
        ({"min_confidence": 1.5}, "min_confidence is 1.5"),
        ({"min_confidence": float("nan")}, "min_confidence is nan"),
        ({"min_confidence": 0.5, "mode": "lexical"}, "mode lexical"),
        ({"mode": "magic"}, "mode"),
    ],
)
def test_what_cannot_be_meant(boats, options, message):
    with pytest.raises(UsageError, match=message):
        boats.search("boat", **options)


def test_more_like_a_line_or_a_file_without_a_model():
    store = helpers.memory(FILES)
    boats = helpers.collection(store, None)
    hits = boats.similar("/a.txt:1", k=2)
    assert hits[0].path == "/b.txt"
    assert hits[1].text in ("A galaxy far away", "The boat sank", "Rooks and knights")
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert [twin.path for twin in hits[0].duplicates] == ["/c.txt"]
    assert hits[0].highlight is not None
    assert boats.similar("/a.txt:1", k=1, itself=True)[0].text == BOAT
    anchor = boats.search("anchor", k=1, mode="lexical")[0]
    assert boats.similar("/a.txt:2", k=3) == boats.similar(anchor, k=3) == boats.similar(anchor.passage, k=3)
    assert boats.similar("/a.txt:2-3", k=3) == boats.similar("/a.txt:2", k=3)
    assert boats.similar("/d:7", k=1)[0].path != "/d:7"
    assert boats.similar("/d:7:1", k=3) == boats.similar("/d:7", k=3)
    mean = helpers.ENCODER.encode(FILES[0][1]).mean(axis=0)
    others = helpers.ENCODER.encode([text for _, texts in FILES[1:] for text in texts])
    nearest = float((others @ mean).max() / np.linalg.norm(mean))
    assert boats.similar("/a.txt", k=1)[0].score == pytest.approx(nearest, abs=2e-3)
    assert sorted(places(boats.similar("/a.txt", k=9, filter=Filter(paths=("/c.txt",))))) == [
        ("/c.txt", 1),
        ("/c.txt", 2),
    ]
    assert len({hit.path for hit in boats.similar("/a.txt", k=9, per_document=1)}) == 3


def test_more_like_a_record_leaves_out_the_record_alone():
    store = helpers.memory()
    rows = [helpers.document("/r.csv", [f"boat {n}"], record=n, kind="csv", line_start=1) for n in ("one", "two")]
    helpers.add(store, "/r.csv", rows)
    boats = helpers.collection(store)
    records = [hit.document for hit in boats.similar("/r.csv:1")]
    assert records == []  # both records are on line 1 here: the documents of that line are left out
    assert [hit.document for hit in boats.similar("/r.csv:1", itself=True)] == ["one", "two"]


def test_similar_explains_with_the_text_it_started_from(boats):
    [hit] = boats.similar("/a.txt:2", k=1, explain=True)
    assert list(hit.explanation.scores) == ["dense"]
    assert hit.explanation.scores["dense"] == pytest.approx(hit.score, abs=2e-3)
    assert "anchor" in dict(hit.explanation.query_means)
    assert hit.explanation.fused is None
    assert replace(hit, explanation=None) == boats.similar("/a.txt:2", k=1)[0]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/nowhere.txt", "not in collection.*semsearch query.*semsearch index /nowhere.txt"),
        ("/a.txt:99", "/a.txt has nothing indexed on line 99.* 1 to 3"),
        ("/a.txt:0", "line 0"),
        ("/", "folder"),
        ("/a.txt:x", "not in collection .*did you mean 'a.txt'"),
        ("\0", "not in collection"),
    ],
)
def test_more_like_nothing(boats, place, message):
    with pytest.raises(UsageError, match=message):
        boats.similar(place)


def test_what_is_on_disk_is_not_told(boats, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there.txt").write_text("boat")
    for place in (tmp_path / "there", tmp_path / "there.txt"):
        other = place.with_stem("other")
        with pytest.raises(UsageError) as there:
            boats.similar(str(place))
        with pytest.raises(UsageError) as gone:
            boats.similar(str(other))
        assert str(there.value).replace(str(place), str(other)) == str(gone.value)


def test_similar_says_why_a_file_has_no_passages(boats):
    with boats.store.writer() as writer:
        writer.record(helpers.file("/bad\\xe9.pdf", status="failed", reason="it is encrypted"))
        writer.commit()
    with pytest.raises(UsageError, match="it is encrypted"):
        helpers.collection(boats.store).similar("/bad\udce9.pdf:3")


@pytest.mark.parametrize("notes", [1, 2, 3, 20])
def test_a_score_reads_as_0_to_1_however_few_notes_there_are(notes):
    files = [(f"/{n}.txt", [f"note number {n} about the sails of boat {n}"]) for n in range(notes)]
    docs = helpers.collection(helpers.memory(files))
    for query in ("note number 0 about the sails of boat 0", "sails", "nothing of the kind"):
        hits = docs.search(query, k=20, explain=True)
        assert all(0 <= hit.score <= 1 for hit in hits)
        fused = [hit.explanation.fused for hit in hits]
        assert fused == sorted(fused, reverse=True)
        assert max(fused, default=0) < 2
