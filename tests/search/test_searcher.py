"""What a search gives beyond the ranking. Passages are lines, vectors are hashes of words."""

from dataclasses import replace

import numpy as np
import pytest

from indexer.errors import ModelError, UsageError
from indexer.storage.local.store import Store
from indexer.types import Filter
from semsearch.search.searcher import Searcher
from tests.storage import helpers

BOAT = "A sailing boat crosses the bay while the crew sings and the helmsman looks at the sky and at the water."
FILES = [
    ("/a.txt", [BOAT, "The anchor of a boat", "A boat needs paint"]),
    ("/b.txt", [BOAT.replace(" while ", "  while "), "Rooks and knights"]),
    ("/c.txt", [BOAT + " Aye!", "A galaxy far away"]),
    ("/d:7", ["The boat sank"]),
]
MODES = ["hybrid", "dense", "lexical"]


@pytest.fixture
def searcher(tmp_path):
    with helpers.build(tmp_path / "boats", FILES) as store:
        store.commit()
        yield Searcher(store, helpers.ENCODER)


def places(hits):
    return [(hit.path, hit.line_start) for hit in hits]


def test_one_query_alone_and_among_others_gives_the_same(searcher):
    texts = ["sailing boat", "a far galaxy", "knights"]
    for mode in MODES:
        together = searcher.search_many(texts, 2, mode, explain=True)
        assert together == [searcher.search(text, 2, mode, explain=True) for text in texts]


@pytest.mark.parametrize("mode", MODES)
def test_duplicates_are_folded_and_there_are_still_k_hits(searcher, mode):
    hits = searcher.search("crew sings while the helmsman looks at the sky, sailing boat, bay", 3, mode)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].text == BOAT
    assert [twin.path for twin in hits[0].duplicates] == ["/b.txt", "/c.txt"]
    assert len({hit.passage for hit in hits}) == 3
    shown = searcher.search(
        "crew sings while the helmsman looks at the sky, sailing boat, bay", 3, mode, collapse=False
    )
    assert {hit.path for hit in shown} == {"/a.txt", "/b.txt", "/c.txt"}
    assert all(not hit.duplicates for hit in shown)


@pytest.mark.parametrize("mode", MODES)
def test_a_ranking_is_searched_deeper_until_there_are_k(tmp_path, mode):
    same = [f"boat boat boat {'x' * i}" for i in range(1, 40)]
    files = [("/many.txt", same), *((f"/{i}.txt", [f"one boat among other things {'y' * i}"]) for i in range(3))]
    with helpers.build(tmp_path / "c", files) as store:
        store.commit()
        hits = Searcher(store, helpers.ENCODER).search("boat", 4, mode, per_document=1)
    assert {hit.path for hit in hits} == {"/many.txt", "/0.txt", "/1.txt", "/2.txt"}


def test_explanations_say_what_each_arm_found(searcher):
    [hit] = searcher.search("boats with anchors", 1, explain=True)
    why = hit.explanation
    assert hit.text == "The anchor of a boat"
    vector = helpers.ENCODER.encode(["boats with anchors"])[0]
    assert why.scores["dense"] == pytest.approx(float(vector @ helpers.ENCODER.encode([hit.text])[0]), abs=2e-3)
    assert why.scores["lexical"] > 0
    assert why.fused == hit.score
    assert why.rerank is None
    assert why.terms == ("boats", "anchors")
    assert dict(why.query_means).keys() == {"boats", "anchors"}  # a hash encoder's "next words" are its words
    assert dict(why.passage_means).keys() == {"anchor", "boat"}
    assert why.shared == ()
    assert 0 <= why.unusual <= 1


def test_a_passage_that_words_alone_found_has_its_similarity_too(searcher):
    hits = searcher.search("rooks", 10, explain=True)
    assert all(hit.explanation.scores["dense"] is not None for hit in hits)
    assert {hit.explanation.scores["lexical"] is None for hit in hits} == {True, False}


def test_query_and_passage_are_read_with_their_own_prompts(tmp_path):
    class Roles(type(helpers.ENCODER)):
        def terms(self, texts, k, role):
            return [[(role, 0.5)] for _ in texts]

    with helpers.build(tmp_path / "c", FILES) as store:
        store.commit()
        searcher = Searcher(store, Roles(helpers.ENCODER.spec))
        why = searcher.search("boat", 1, explain=True)[0].explanation
        assert (why.query_means, why.passage_means) == ((("query", 0.5),), (("passage", 0.5),))
        why = searcher.similar("/a.txt", 1, 1, explain=True)[0].explanation
        assert (why.query_means, why.passage_means) == ((("passage", 0.5),), (("passage", 0.5),))


def test_words_of_the_title_count_as_found(tmp_path):
    with helpers.build(tmp_path / "c") as store:
        helpers.add(store, "/s.md", ["It lies in the harbor."], title="The Ship")
        [hit] = Searcher(store, helpers.ENCODER).search("ships in a harbor", 1, explain=True)
    assert hit.explanation.terms == ("ships", "harbor")
    assert [hit.text[start:end] for start, end in hit.matches] == ["harbor"]


def test_half_characters_never_reach_a_tokenizer(tmp_path):
    class Strict(type(helpers.ENCODER)):
        def encode(self, texts, role="passage", normalize=True):
            return super().encode([text.encode().decode() for text in texts], role, normalize)

    with helpers.build(tmp_path / "c", FILES) as store:
        store.commit()
        assert Searcher(store, Strict(helpers.ENCODER.spec)).search("boat \udce9", 1, explain=True)


def test_every_mode_and_fusion_compares_with_the_query(searcher):
    vector = helpers.ENCODER.encode(["sailing boat"])[0]
    for options in ({"mode": "dense"}, {"fusion": "convex"}, {"fusion": "rrf"}):
        for hit in searcher.search("sailing boat", 9, explain=True, **options):
            cosine = float(vector @ helpers.ENCODER.encode([hit.text])[0])
            assert hit.explanation.scores["dense"] == pytest.approx(cosine, abs=2e-3)
            assert (hit.explanation.fused is None) == ("mode" in options)


def test_lexical_explanations_need_no_model(tmp_path):
    def none():
        pytest.fail("no model is needed")

    with helpers.build(tmp_path / "c", FILES) as store:
        store.commit()
        [hit] = Searcher(store, none).search("anchors", 1, "lexical", explain=True)
    why = hit.explanation
    assert (why.terms, why.unusual, why.query_means, list(why.scores)) == (("anchors",), None, (), ["lexical"])


def test_a_model_without_words_is_said_once(tmp_path):
    class Mute(type(helpers.ENCODER)):
        def terms(self, texts, k, role):
            raise ModelError("no LM head")

    notes = []
    with helpers.build(tmp_path / "c", FILES) as store:
        store.commit()
        searcher = Searcher(store, Mute(helpers.ENCODER.spec), notes.append)
        for _ in range(2):
            assert searcher.search("boat", 1, explain=True)[0].explanation.query_means == ()
    assert len(notes) == 1
    assert "no LM head" in notes[0]


@pytest.mark.parametrize("mode", MODES)
def test_a_compaction_between_two_steps_is_no_error(tmp_path, monkeypatch, mode):
    files = [("/a.txt", [BOAT]), ("/b.txt", [BOAT + " Aye!"]), ("/c.txt", ["The anchor of a boat"])]
    with helpers.build(tmp_path / "c", files) as writer:
        writer.finish()
        with Store.open(tmp_path / "c") as store:
            read = store.get

            def get(ids):
                rows = read(ids)
                if "/b.txt" in [row.path for row in rows]:
                    writer.remove(["/b.txt"])
                    writer.commit()
                    writer.compact()
                return rows

            monkeypatch.setattr(store, "get", get)
            hits = Searcher(store, helpers.ENCODER).search("a sailing boat in a bay", 2, mode)
    assert sorted(hit.path for hit in hits) == ["/a.txt", "/c.txt"]


def test_unsure_hits_are_dropped(searcher):
    everything = searcher.search("sailing boat", 10, "dense", explain=True)
    unusual = [hit.explanation.unusual for hit in everything]
    assert unusual == sorted(unusual, reverse=True)
    assert unusual[0] > unusual[-1]
    limit = unusual[len(unusual) // 2]
    sure = searcher.search("sailing boat", 10, "dense", min_confidence=limit)
    assert [hit.passage for hit in sure] == [h.passage for h in everything if h.explanation.unusual >= limit]
    assert searcher.search("zzz", 10, "hybrid", min_confidence=1.0) == []
    assert len(searcher.search("sailing boat", 10, "dense", min_confidence=0.0)) == len(everything)


class Backwards:
    """Prefers what the ranking put last."""

    def score(self, query, texts):
        self.seen = query, list(texts)
        return np.arange(len(texts), dtype=np.float32)


def test_a_reranker_reads_more_than_k_and_decides(searcher):
    judge = Backwards()
    before = searcher.search("boat", 50)
    hits = searcher.search("boat", 2, rerank=judge, explain=True)
    assert judge.seen == ("boat", [hit.text for hit in before])
    assert [hit.passage for hit in hits] == [hit.passage for hit in before[::-1][:2]]
    assert [hit.score for hit in hits] == [len(before) - 1, len(before) - 2]
    assert hits[0].explanation.rerank == hits[0].score
    assert hits[0].explanation.fused == before[-1].score


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
def test_what_cannot_be_meant(searcher, options, message):
    with pytest.raises(UsageError, match=message):
        searcher.search("boat", **options)


def test_more_like_a_line_or_a_file_without_a_model(tmp_path):
    def none():
        pytest.fail("no model is needed")

    with helpers.build(tmp_path / "c", FILES) as store:
        store.commit()
        searcher = Searcher(store, none)
        hits = searcher.similar("/a.txt", 1, 2)
        assert hits[0].path == "/b.txt"
        assert hits[1].text in ("A galaxy far away", "The boat sank", "Rooks and knights")
        assert hits[0].score == pytest.approx(1.0, abs=1e-3)
        assert [twin.path for twin in hits[0].duplicates] == ["/c.txt"]
        assert hits[0].highlight is not None
        assert searcher.similar("/a.txt", 1, 1, itself=True)[0].text == BOAT
        assert searcher.similar("/a.txt:2", k=3) == searcher.similar("/a.txt", 2, 3)
        assert searcher.similar("/a.txt:2-3", k=3) == searcher.similar("/a.txt", 2, 3)
        assert searcher.similar("/d:7", k=1)[0].path != "/d:7"
        assert searcher.similar("/d:7:1", k=3) == searcher.similar("/d:7", k=3)
        mean = helpers.ENCODER.encode(FILES[0][1]).mean(axis=0)
        others = helpers.ENCODER.encode([text for _, texts in FILES[1:] for text in texts])
        nearest = float((others @ mean).max() / np.linalg.norm(mean))
        assert searcher.similar("/a.txt", k=1)[0].score == pytest.approx(nearest, abs=2e-3)
        assert sorted(places(searcher.similar("/a.txt", k=9, filter=Filter(paths=("/c.txt",))))) == [
            ("/c.txt", 1),
            ("/c.txt", 2),
        ]
        assert len({hit.path for hit in searcher.similar("/a.txt", k=9, per_document=1)}) == 3


def test_more_like_a_record_leaves_out_the_record_alone(tmp_path):
    with helpers.build(tmp_path / "c") as store:
        rows = [helpers.document("/r.csv", [f"boat {n}"], record=n, kind="csv", line_start=1) for n in ("one", "two")]
        store.stage(helpers.file("/r.csv"), rows)
        helpers.embed(store)
        store.commit()
        searcher = Searcher(store, helpers.ENCODER)
        records = [hit.document for hit in searcher.similar("/r.csv", 1)]
        assert records == []  # both records are on line 1 here: the documents of that line are left out
        assert [hit.document for hit in searcher.similar("/r.csv", 1, itself=True)] == ["one", "two"]


def test_similar_explains_with_the_text_it_started_from(searcher):
    [hit] = searcher.similar("/a.txt", 2, 1, explain=True)
    assert list(hit.explanation.scores) == ["dense"]
    assert hit.explanation.scores["dense"] == pytest.approx(hit.score, abs=2e-3)
    assert "anchor" in dict(hit.explanation.query_means)
    assert hit.explanation.fused is None
    assert replace(hit, explanation=None) == searcher.similar("/a.txt", 2, 1)[0]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/nowhere.txt", "no such file.*semsearch query"),
        ("/a.txt:99", "/a.txt has nothing indexed on line 99.* 1 to 3"),
        ("/a.txt:0", "line 0"),
        ("", "folder"),
        ("/a.txt:x", "no such file"),
        ("\0", "no such file"),
    ],
)
def test_more_like_nothing(searcher, place, message):
    with pytest.raises(UsageError, match=message):
        searcher.similar(place)


def test_similar_tells_files_on_disk_and_files_without_passages_apart(searcher, tmp_path):
    (tmp_path / "new.txt").write_text("boat")
    with pytest.raises(UsageError, match=r"semsearch index .*new\.txt"):
        searcher.similar(str(tmp_path / "new.txt"))
    searcher.store.record(helpers.file("/bad\udce9.pdf", status="failed", reason="it is encrypted"))
    searcher.store.commit()
    with pytest.raises(UsageError, match="it is encrypted"):
        searcher.similar("/bad\udce9.pdf:3")
