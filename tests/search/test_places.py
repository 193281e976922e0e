"""What a person names in a collection, and what ``get`` gives back of it."""

import pytest

from indexer.errors import UsageError
from tests.search import helpers

TEXT = ["First line", "Second line", "", "Fourth line", "Fifth line"]


@pytest.fixture
def docs():
    store = helpers.memory([("/data/a.txt", TEXT[:2]), ("/data/odd:3", ["One", "Two"])])
    rows = [
        helpers.document("/data/r.csv", [f"Row {n}"], record=f"r{n}", kind="csv", line_start=n, title=f"T{n}")
        for n in (2, 3)
    ]
    helpers.add(store, "/data/r.csv", rows)
    pages = helpers.document("/data/p.pdf", ["On page one", "On page two"], kind="pdf", page_starts=(0, 12))
    helpers.add(store, "/data/p.pdf", [pages])
    return helpers.collection(store, None)


def test_a_whole_file(docs):
    found = docs.get("/data/a.txt")
    assert (found.text, found.line_start, found.line_end) == ("First line\nSecond line", 1, 2)
    assert (found.path, found.kind, found.page, found.document) == ("/data/a.txt", "text", None, None)
    assert len(found.passages) == 2


def test_lines_of_it(docs):
    assert docs.get("/data/a.txt:2").text == "Second line"
    assert docs.get("/data/a.txt:1-2").text == "First line\nSecond line"
    assert docs.get("/data/a.txt:2-99").line_end == 2
    assert docs.get("/data/a.txt:2", context=1).text == "First line\nSecond line"
    assert len(docs.get("/data/a.txt:2").passages) == 1


def test_a_path_that_ends_like_a_line_number(docs):
    assert docs.get("/data/odd:3").text == "One\nTwo"
    assert docs.get("/data/odd:3:2").text == "Two"


def test_a_hit_and_its_id_are_its_lines(docs):
    [hit] = docs.search("second", k=1, mode="lexical")
    for place in (hit, hit.passage, str(hit.passage), f"{hit.path}:{hit.line_start}"):
        found = docs.get(place)
        assert (found.path, found.line_start, found.text) == ("/data/a.txt", 2, "Second line")


def test_records_are_given_whole(docs):
    found = docs.get("/data/r.csv:3")
    assert (found.text, found.document, found.title, found.line_start) == ("Row 3", "r3", "T3", 3)
    both = docs.get("/data/r.csv")
    assert (both.text, both.document, both.title) == ("Row 2\n\nRow 3", None, None)


def test_the_page_of_a_hit(docs):
    [hit] = docs.search("two", k=1, mode="lexical", filter="type=pdf")
    assert docs.get(hit).text == "On page two"
    assert docs.get("/data/p.pdf").page is None


def test_relative_paths(docs, monkeypatch, tmp_path):
    (tmp_path / "b.txt").write_text("here")
    helpers.add(docs.store, str(tmp_path / "b.txt"), [helpers.document(str(tmp_path / "b.txt"), ["here"])])
    monkeypatch.chdir(tmp_path)
    assert docs.get("b.txt").text == "here"
    assert docs.get("./b.txt:1").text == "here"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/data/b.txt", "did you mean 'a.txt'"),
        ("/elsewhere/a.txt", "did you mean '/data/a.txt'"),
        ("/data/a.txt:9", "line 9; its passages are on lines 1 to 2"),
        ("/data/a.txt:2-1", "ends before it begins"),
        ("999999", "no passage 999999"),
        (999999, "no passage 999999"),
        ("", "the place is empty; name an indexed file"),
    ],
)
def test_what_is_not_there(docs, place, message):
    with pytest.raises(UsageError, match=message):
        docs.get(place)


def test_context_is_from_0_up(docs):
    with pytest.raises(UsageError, match="context is -1"):
        docs.get("/data/a.txt:2", context=-1)


def test_an_id_ends_with_its_passage(docs):
    [hit] = docs.search("second", k=1, mode="lexical")
    helpers.add(docs.store, "/data/a.txt", [helpers.document("/data/a.txt", ["Something else"])])
    with pytest.raises(UsageError, match="search again"):
        docs.get(hit)
