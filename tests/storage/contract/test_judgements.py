"""What people said of a collection's answers."""

import threading

import pytest

from indexer.types import Judgement
from tests.storage.contract.values import add


def judged(grade, query="boats", path="/data/a", **more) -> Judgement:
    return Judgement(query, path, grade, at="2026-11-26T10:00:00+00:00", **more)


class TestJudging:
    def test_none_at_first(self, store):
        assert store.judgements() == []
        store.judge([])
        assert store.judgements() == []

    def test_the_last_word_on_a_place_counts(self, store):
        passage = {"line_start": 3, "line_end": 5}
        store.judge([judged(1, **passage), judged(0), judged(0, record="7"), judged(1, "ships")])
        assert store.judgements() == [judged(1, **passage), judged(0), judged(0, record="7"), judged(1, "ships")]
        store.judge([judged(3, **passage), judged(None, "ships")])
        assert store.judgements() == [judged(0), judged(0, record="7"), judged(3, **passage)]
        store.judge([judged(1, "ships")])  # taken back, and said again
        assert store.judgements()[-1] == judged(1, "ships")

    def test_every_field_comes_back(self, store):
        whole = Judgement(
            "où? 漢字 \U0001f600", "/data/\udcff", 2, "row\n1", 1, 2, "2026-11-26T10:00:00+00:00", "abc", 7
        )
        store.judge([whole])
        [again] = store.judgements()
        assert vars(again) == {**vars(whole), "path": "/data/\\xff"}

    def test_no_writer_is_needed_and_none_waited_for(self, store):
        version = store.version()
        with store.writer() as writer:
            store.judge([judged(1)])
            writer.rollback()
            assert store.judgements() == [judged(1)]
        assert store.version() == version  # a search sees no change

    def test_a_commit_leaves_them(self, store):
        store.judge([judged(1)])
        add(store, "/data/a", ["one"])
        store.judge([judged(0, "other")])
        add(store, "/data/a", ["two"])
        assert store.judgements() == [judged(1), judged(0, "other")]

    def test_from_many_threads(self, store):
        def judge(n):
            for m in range(10):
                store.judge([judged(n, f"{n} {m}")])

        threads = [threading.Thread(target=judge, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {(each.query, each.grade) for each in store.judgements()} == {
            (f"{n} {m}", n) for n in range(4) for m in range(10)
        }


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"query": " "}, "needs a query"),
        ({"path": ""}, "needs a query and a path"),
        ({"query": 1}, "query is 1"),
        ({"grade": -1}, "grade is -1"),
        ({"grade": True}, "grade is True"),
        ({"grade": float("nan")}, "grade is nan"),
        ({"record": 3}, "record is 3"),
        ({"line_start": 3}, "both or not at all"),
        ({"line_start": "3", "line_end": "4"}, "line_start is '3'"),
    ],
)
def test_what_no_judgement_is(values, what):
    with pytest.raises(ValueError, match=what):
        Judgement(**{"query": "a", "path": "/a", "grade": 1, **values})


def test_white_space_makes_no_other_query():
    assert Judgement(" two \n words ", "/a", 1).about == Judgement("two words", "/a", 0).about
