from indexer.errors import ModelError
from semsearch.search.showing import explain


class Says:
    """An encoder whose next tokens are given."""

    def __init__(self, *tokens):
        self.tokens = list(tokens)

    def terms(self, texts, k, role, states=None):
        return [self.tokens[:k] for _ in texts]


def test_spellings_are_counted_together_and_what_is_no_word_is_left_out():
    tokens = [(" Music", 0.25), ("\n", 0.2), ('"', 0.2), ("music", 0.125), (" jazz", 0.25), ("\ufffd\ufffd", 0.1)]
    tokens += [("j", 0.9), (" The", 0.9), ("楽", 0.0625)]
    [words] = explain.meanings(["x"], Says(*tokens), "passage", print)
    assert words == (("music", 0.375), ("jazz", 0.25), ("楽", 0.0625))


def test_only_the_likeliest_words_are_shown():
    [words] = explain.meanings(["x"], Says(*((f"w{i}", 0.1 - i / 1000) for i in range(20))), "passage", print)
    assert [word for word, _ in words] == ["w0", "w1", "w2", "w3", "w4"]


def test_a_model_without_a_head_gives_no_words_and_says_so():
    class Mute:
        def terms(self, texts, k, role, states=None):
            raise ModelError("no LM head here")

    notes = []
    assert explain.meanings(["x", "y"], Mute(), "query", notes.append) == [(), ()]
    assert "no LM head here" in notes[0]


def test_shared_words_in_the_order_of_the_query():
    assert explain.shared((("a", 0.5), ("b", 0.3), ("c", 0.1)), (("c", 0.9), ("a", 0.1))) == ("a", "c")


def test_a_real_model_says_words(tiny_llama):
    from dataclasses import replace

    from indexer import embedding
    from indexer.embedding.spec import EncoderSpec

    encoder = embedding.open_encoder(embedding.resolve(replace(EncoderSpec(), model=str(tiny_llama), precision="fp32")))
    found = explain.meanings(["A man is riding a horse", "Two dogs"], encoder, "passage", print)
    assert len(found) == 2
    assert all(0 < weight < 1 for words in found for _, weight in words)
    assert all(words for words in found)


def test_numbers_fit_json():
    assert (explain.number(float("nan")), explain.number(0.5)) == (None, 0.5)
