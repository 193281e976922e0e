import pytest

from indexer.types import Passage, StoredPassage
from semsearch import render
from semsearch.search.ranking.selection import Folded
from semsearch.search.showing import snippets
from semsearch.search.showing.hits import Hit

LOG = "".join(f"step {i} compiled unit {i} ok\n" for i in range(12)) + "walrus failure in unit 12\n"
CODE = "def read():\n" + "".join(f"    v{i} = port.take({i})\n" for i in range(9)) + "    walrus(v1)\n    return v1\n"
LIST = "".join(f"- item number {i} of the list\n" for i in range(30)) + "- a walrus\n"
TABLE = "name,place,number\n" + "".join(f"seal {i},pool {i},{i}\n" for i in range(20)) + "walrus,sea,3\n"
PROSE = "The pool was empty and nobody came to look at it for a long time. " * 12 + "Then a walrus came. It stayed."
LONG = "word " * 300 + "walrus " + "word " * 300
CHINESE = "双方同意把期限改为三十天" * 60 + "walrus" + "双方同意" * 60


def hit(text, query, **more):
    row = StoredPassage(1, Passage(text, 0, len(text), 1, 1, 1), "/a.txt", "text", None, None, {}, 0)
    [[mark]] = snippets.mark([query], [[text]])
    return Hit.of(1, row, 0.5, mark, **more)


def shown(found, width=80):
    return render.hits([found], width)


@pytest.mark.parametrize("text", [LOG, CODE, LIST, TABLE, PROSE, LONG, CHINESE, LOG + PROSE, PROSE + LOG])
@pytest.mark.parametrize("before", ["", "\n\n", "Heading\n\n"])
def test_what_is_shown_holds_the_match(text, before):
    found = hit(before + text, "walrus")
    start, end = render.excerpt(found.text, found.highlight, found.matches)
    assert "walrus" in found.text[start:end]
    assert end - start <= render.WIDTH
    assert found.text.count("\n", start, end) <= render.EXCERPT
    assert "walrus" in shown(found)


def test_where_most_matches_stand_together():
    text = "boat " + "x " * 400 + "red boat sail " + "y " * 400
    found = hit(text, "red boat sail")
    start, end = render.excerpt(text, found.highlight, found.matches)
    assert "red boat sail" in text[start:end]


def test_wrapped_prose_is_wrapped_once():
    text = (
        "This paragraph was written by someone whose editor breaks its lines\n"
        "at sixty-eight columns or so, and the terminal is narrower than that,\n"
        "so that a walrus would stand alone."
    )
    lines = [line.strip() for line in shown(hit(text, "walrus"), width=60).splitlines()[1:] if line.strip()]
    assert " ".join(lines) == text.replace("\n", " ")
    assert all(len(line) > 40 for line in lines[:-1])


def test_a_duplicate_tells_its_difference():
    row = StoredPassage(2, Passage("a walrus", 0, 8, 1, 1, 1), "/b.txt", "text", None, None, {}, 0)
    found = hit("no walrus", "walrus", duplicates=[Folded(row, "- no"), Folded(row, None)])
    assert "also: /b.txt:1 (- no)\n" in shown(found)
    assert "also: /b.txt:1\n" in shown(found)
