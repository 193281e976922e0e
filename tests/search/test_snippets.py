import re

import numpy as np

from indexer.embedding.encoder import TokenVectors
from indexer.embedding.hash_encoder import HashEncoder
from semsearch.search.showing import snippets

TEXT = "The wing was tested. Drag rose with speed (Mach 2.5)! Did it stall? No one knows"


class Like(HashEncoder):
    """Finds one word near to every word of a query but to those that it equals."""

    def __init__(self, word):
        super().__init__()
        self.word = word

    def token_vectors(self, texts):
        found = []
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", text.lower())
            vectors = np.array([[1.0, 0.0] if row == 0 or word == self.word else [0.0, 1.0] for word in words])
            found.append(TokenVectors(vectors.reshape(-1, 2).astype(np.float32), np.ones(len(words), np.float32)))
        return found


def said(text, span):
    return text[span[0] : span[1]]


def mark(query, *texts, encoder=None):
    return snippets.mark([query], [texts], encoder)[0]


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


def test_the_model_is_never_run():
    class Still(HashEncoder):
        def encode(self, texts, role="passage", normalize=True):
            raise AssertionError("a forward pass")

    found = mark("stall", *[TEXT] * 20, "Alone", encoder=Still())
    assert {said(TEXT, each.highlight) for each in found[:20]} == {"Did it stall?"}
    assert found[20].highlight == (0, 5)


def test_matches_that_overlap_are_one():
    [found] = mark("node.js 押金退还期限", "On Node.js 22: 押金退还。", encoder=HashEncoder())
    text = "On Node.js 22: 押金退还。"
    assert [said(text, span) for span in found.matches] == ["Node.js", "押金退还"]


def test_several_queries_at_once_are_marked_as_alone():
    queries, passages = ["lift", "drag", "wing"], [[TEXT, "One. Two stall."], [TEXT], []]
    together = snippets.mark(queries, passages, Like("stall"))
    alone = [snippets.mark([q], [p], Like("stall"))[0] for q, p in zip(queries, passages, strict=True)]
    assert together == alone


def test_no_sentence_no_mark():
    assert [found.highlight for found in mark("x", "", "  ", encoder=HashEncoder())] == [None, None]
    assert snippets.mark([], [], HashEncoder()) == []
