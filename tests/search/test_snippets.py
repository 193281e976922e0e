from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexer.embedding.encoder import HashEncoder
from indexer.storage.local.rows import words_of
from indexer.storage.local.schema import LEXICAL
from semsearch.search import snippets

TEXT = "The wing was tested. Drag rose with speed (Mach 2.5)! Did it stall? No one knows"


class Like(HashEncoder):
    """Finds that a text means the more what a query means, the more often it says ``word``; counts what it reads."""

    def __init__(self, word):
        super().__init__()
        self.word, self.read = word, []

    def encode(self, texts, role="passage", normalize=True):
        if role == "query":
            return np.array([[1.0, 0.0]] * len(texts), np.float32)
        self.read += texts
        angles = [1.5 / (1 + text.count(self.word)) for text in texts]
        return np.array([[np.cos(a), np.sin(a)] for a in angles], np.float32)


def said(text, span):
    return text[span[0] : span[1]]


def mark(query, *texts, encoder=None):
    return snippets.mark([query], [texts], encoder)[0]


def test_sentences_end_at_marks_not_at_decimal_points():
    assert [said(TEXT, span) for span in snippets.sentences(TEXT)] == [
        "The wing was tested.",
        "Drag rose with speed (Mach 2.5)!",
        "Did it stall?",
        "No one knows",
    ]


@given(st.text(alphabet="ab .!?\n\"')", max_size=80))
def test_sentences_hold_every_character_but_white_space_once(text):
    spans = snippets.sentences(text)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert "".join("".join(said(text, span).split()) for span in spans) == "".join(text.split())


def test_words_are_told_apart_as_in_the_collections_full_text():
    assert any(f"tokenize='{snippets.TOKENIZER}'" in statement for statement in LEXICAL)


def test_other_forms_of_a_word_match_and_are_found_where_they_stand():
    text = "He runs.\0\1 Running, re\u0301sume\u0301s and RÉSUMÉ; grunt, snake_case"
    [found] = snippets.find(["run", "running", "résumé", "snake_case"], [text])
    assert [said(text, span) for span in sorted(found)] == [
        "runs",
        "Running",
        "re\u0301sume\u0301s",
        "RÉSUMÉ",
        "snake_case",
    ]
    assert set(found.values()) == {"run", "résumé", "snake_case"}  # "running" is "run" again


@given(
    st.lists(st.text(alphabet="ab \0\1\2\"'*é船_", max_size=12), max_size=4), st.text(alphabet="ab \"'*é_", max_size=9)
)
def test_a_match_is_a_word_of_the_text(texts, query):
    for text, found in zip(texts, snippets.find(words_of(query), texts), strict=True):
        for start, end in found:
            assert 0 <= start < end <= len(text)
            assert text[start:end] == text[start:end].strip()


def test_most_words_win_and_common_words_do_not_count():
    [found] = mark("the speed and the drag", TEXT)
    assert said(TEXT, found.highlight).startswith("Drag")
    assert [said(TEXT, span) for span in found.matches] == ["Drag", "speed"]
    assert found.terms == ("speed", "drag")


def test_a_rare_word_outweighs_a_frequent_one():
    first = "The engine is loud. The turbine failed."
    others = ["An engine starts.", "Engines stop.", "Every engine is oiled."]
    assert said(first, mark("engine turbine", first, *others)[0].highlight) == "The turbine failed."


def test_without_a_shared_word_the_encoder_decides():
    assert mark("lift is lost", TEXT)[0].highlight is None
    assert said(TEXT, mark("lift is lost", TEXT, encoder=Like("stall"))[0].highlight) == "Did it stall?"


def test_meaning_decides_between_sentences_with_the_same_words_and_not_against_all_words():
    text = "A wing broke. The wing did stall. No wing."
    assert said(text, mark("wing", text)[0].highlight) == "A wing broke."
    assert said(text, mark("wing", text, encoder=Like("stall"))[0].highlight) == "The wing did stall."
    text = "Drag rose with speed. Did it stall?"
    assert said(text, mark("drag speed", text, encoder=Like("stall"))[0].highlight) == "Drag rose with speed."


def test_the_nearest_sentence_is_not_the_best_where_another_holds_more_words_and_is_near_too():
    text = "A red old boat did stall. Red and old: stall stall stall stall. Red and old it is."
    assert said(text, mark("red old boat", text, encoder=Like("stall"))[0].highlight) == "A red old boat did stall."


def test_only_sentences_that_can_still_win_are_encoded():
    encoder = Like("stall")
    mark("drag speed", "Drag rose with speed. Did it stall?", "Only one sentence here", encoder=encoder)
    assert encoder.read == []
    found = mark("lift", *[TEXT] * 20, "Alone", encoder=encoder)
    assert len(encoder.read) == snippets.SENTENCES
    assert said(TEXT, found[0].highlight) == "Did it stall?"
    assert found[19].highlight is None  # not read, so nothing is said of it
    assert found[20].highlight == (0, 5)


def test_several_queries_at_once_are_marked_as_alone():
    queries, passages = ["lift", "drag", "wing"], [[TEXT, "One. Two stall."], [TEXT], []]
    together = snippets.mark(queries, passages, Like("stall"))
    alone = [snippets.mark([q], [p], Like("stall"))[0] for q, p in zip(queries, passages, strict=True)]
    assert together == alone


def test_no_sentence_no_mark():
    assert [found.highlight for found in mark("x", "", "  ", encoder=HashEncoder())] == [None, None]
    assert snippets.mark([], [], HashEncoder()) == []
