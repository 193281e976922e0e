from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexer.embedding.encoder import HashEncoder
from semsearch import snippets

TEXT = "The wing was tested. Drag rose with speed (Mach 2.5)! Did it stall? No one knows"


def said(text, span):
    return text[span[0] : span[1]]


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


def test_most_distinct_words_win_and_common_words_do_not_count():
    assert said(TEXT, snippets.telling("the speed and the drag", [TEXT])[0]).startswith("Drag")


def test_without_a_shared_word_the_encoder_decides():
    class Stall(HashEncoder):
        """Finds only texts that speak of stalling like the query."""

        def encode(self, texts, role="passage", normalize=True):
            return np.array([[1.0, 0.0] if "stall" in t or role == "query" else [0.0, 1.0] for t in texts], np.float32)

    assert snippets.telling("lift is lost", [TEXT]) == [None]
    assert said(TEXT, snippets.telling("lift is lost", [TEXT], Stall())[0]) == "Did it stall?"


def test_no_sentence_no_mark():
    assert snippets.telling("x", ["", "  "], HashEncoder()) == [None, None]
