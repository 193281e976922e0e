from datetime import datetime

import pytest

from indexer.errors import UsageError
from semsearch.search.asking import filter_expressions


def test_nothing_said_is_no_filter():
    assert filter_expressions.parse([]) is None


def test_every_form():
    found = filter_expressions.parse(
        ["path=docs/**", "*.md", "type=.PDF", "since=2026-01-31", "until=2026-02-01T12:30", "author=Ada=L"]
    )
    assert found.paths == ("docs/**", "*.md")
    assert found.kinds == ("pdf",)
    assert found.since == datetime(2026, 1, 31).astimezone()
    assert found.until == datetime(2026, 2, 1, 12, 30).astimezone()
    assert found.fields == (("author", "Ada=L"),)


def test_a_field_named_like_a_condition():
    assert filter_expressions.parse(["field.type=memo"]).fields == (("type", "memo"),)


@pytest.mark.parametrize("expression", ["since=yesterday", "=x", "author=", "until=2026-13-01"])
def test_unreadable(expression):
    with pytest.raises(UsageError, match=expression.split("=")[-1] or "author"):
        filter_expressions.parse([expression])


KINDS, ENDINGS = {"markdown", "csv"}, {"md", "csv", "tar.gz"}


def check(expression, fields=("author",)):
    return filter_expressions.check(filter_expressions.parse([expression]), KINDS, ENDINGS, set(fields))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("typ=pdf", "no record of this collection has a field 'typ'.*did you mean 'type'"),
        ("autor=Ada", "did you mean 'author'"),
        ("type=markdwn", "nothing in this collection is of type 'markdwn'; there are .*did you mean 'markdown'"),
    ],
)
def test_a_condition_that_nothing_can_meet_is_refused_with_the_nearest(expression, message):
    with pytest.raises(UsageError, match=message):
        check(expression)


def test_without_records_there_are_no_fields():
    with pytest.raises(UsageError, match="holds no records with fields"):
        check("colour=red", fields=())


def test_a_kind_that_is_only_absent_is_a_remark():
    assert check("type=md") == []
    assert check("type=tar.gz") == []
    [remark] = check("type=pdf")
    assert "of type pdf; there are csv, markdown" in remark


def test_a_search_refuses_what_nothing_can_meet():
    from tests.search import helpers

    store = helpers.memory([("/a.md", ["a boat"])])
    helpers.add(
        store, "/r.csv", [helpers.document("/r.csv", ["a boat"], kind="csv", record="1", fields={"port": "Hull"})]
    )
    docs = helpers.collection(store, None)
    with pytest.raises(UsageError, match="did you mean 'port'"):
        docs.search("boat", mode="lexical", filter="prt=Hull")
    assert len(docs.search("boat", mode="lexical", filter="port=Hull")) == 1
    answer = docs.search("boat", mode="lexical", filter="port=Leith")  # a value that no record has is no mistake
    assert (len(answer), answer.notes) == (0, ())
    assert "of type pdf" in docs.search("boat", mode="lexical", filter="type=pdf").notes[0]
