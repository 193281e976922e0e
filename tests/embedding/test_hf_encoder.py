"""Every family, template, pooling and length against a plain, unbatched transformers forward written here."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, T5EncoderModel

from indexer import embedding
from indexer.embedding import open_encoder, resolve
from indexer.embedding.hf_encoder import HFEncoder, batches
from indexer.embedding.spec import PROMPTEOL, EncoderSpec, Pooling
from indexer.errors import ModelError
from tests.models import CAUSAL, FAMILIES

Tiny = Callable[[str], Path]

TEXTS = [
    "",
    "A",
    "Two dogs are running on the beach",
    'Is "this" a question?',
    "  spaces  and\ttabs\nand lines  ",
    "naïve café, 日本語, 😀",
    "word " * 20,
    "Two dogs are running on the beach",
]
BARE = "{text}"
ICL = (("A jockey riding a horse.", "Equestrian"), ("meat from a deer.", "Venison"))


@cache
def _reference_model(folder: Path) -> tuple:
    if folder.name in CAUSAL:  # with the LM head, as the paper's authors load it
        model = AutoModelForCausalLM.from_pretrained(folder)
    else:
        model = (T5EncoderModel if folder.name == "t5" else AutoModel).from_pretrained(folder)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def reference(folder: Path, prompt: str, pooling: str) -> np.ndarray:
    """(d,): one prompt alone, no padding, no mask."""
    model, tokenizer = _reference_model(folder)
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
    top = states[-1][0]  # (s, d)
    if pooling == "last":
        vector = top[-1]
    elif pooling == "cls":
        vector = top[0]
    elif pooling == "mean":
        vector = top.mean(0)
    elif pooling == "first-last":
        vector = ((states[1][0] + top) / 2).mean(0)
    else:
        vector = top[(ids[0] == tokenizer.mask_token_id).nonzero()[-1, 0]]
    return vector.numpy()


def encoder(folder: Path, **fields: object) -> HFEncoder:
    spec = EncoderSpec.from_dict({"model": str(folder), "precision": "fp32", **fields})
    opened = open_encoder(spec)
    assert isinstance(opened, HFEncoder)
    return opened


def paper(text: str) -> str:
    """The paper's normalisation, written a second time."""
    if len(text) > 0 and text[-1] not in [".", "?", '"', "'"]:
        text = text + "."
    text = text.replace('"', "'")
    if len(text) > 0 and text[-1] == "?":
        text = text[:-1] + "."
    return text


CASES = [
    *((family, PROMPTEOL, "last") for family in CAUSAL),
    *((family, BARE, "last") for family in CAUSAL),
    *((family, BARE, "mean") for family in FAMILIES),
    ("llama", PROMPTEOL, "first-last"),
    ("bert", BARE, "cls"),
    ("bert", BARE, "first-last"),
    ("bert", 'This sentence of "{text}" means [MASK].', "mask"),
    ("roberta", BARE, "cls"),
    ("roberta", "This sentence : ' {text} ' means<mask>.", "mask"),
    ("t5", BARE, "first-last"),
]


@pytest.mark.parametrize(("family", "template", "pooling"), CASES)
def test_equals_plain_transformers(tiny: Tiny, family: str, template: str, pooling: str) -> None:
    folder = tiny(family)
    texts = [t for t in TEXTS if t] if template == BARE else TEXTS  # transformers cannot run an empty prompt
    got = encoder(folder, template=template, pooling=pooling, normalise=template != BARE)
    vectors = got.encode(texts, normalize=False)
    render = paper if template != BARE else str
    expected = np.stack([reference(folder, template.replace("{text}", render(t)), pooling) for t in texts])
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), got.dim)
    np.testing.assert_allclose(vectors, expected, atol=2e-5, rtol=1e-4)
    assert np.abs(expected[1] - expected[2]).max() > 0.01  # the texts do differ, by far more than the tolerance


@pytest.mark.parametrize("family", CAUSAL)
def test_demonstrations_are_part_of_the_prompt(tiny: Tiny, family: str) -> None:
    folder = tiny(family)
    prefix = "".join(PROMPTEOL.replace("{text}", s) + w + '".' for s, w in ICL)
    vectors = encoder(folder, demonstrations=ICL).encode(TEXTS[:4], normalize=False)
    expected = [reference(folder, prefix + PROMPTEOL.replace("{text}", paper(t)), "last") for t in TEXTS[:4]]
    np.testing.assert_allclose(vectors, np.stack(expected), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "bert", "t5"])
def test_length_one_is_only_a_scale(tiny: Tiny, family: str) -> None:
    opened = encoder(tiny(family), pooling="mean")
    raw, unit = opened.encode(TEXTS[:3], normalize=False), opened.encode(TEXTS[:3])
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_the_first_blocks_and_the_final_norm(tiny: Tiny, family: str) -> None:
    """Against the hidden state that the whole model has after two of its blocks, put through its own last norm."""
    folder = tiny(family)
    pooling = "last" if family in CAUSAL else "mean"
    vectors = encoder(folder, layers=2, pooling=pooling).encode(["Two dogs are running"], normalize=False)
    model, tokenizer = _reference_model(folder)
    ids = tokenizer(PROMPTEOL.replace("{text}", "Two dogs are running."), return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[2]  # embeddings, block 1, block 2
        match family:
            case "opt":
                hidden = model.model.decoder.final_layer_norm(hidden)
            case "opt-350m":
                hidden = model.model.decoder.project_out(hidden)
            case "gpt2":
                hidden = model.transformer.ln_f(hidden)
            case "t5":
                hidden = model.encoder.final_layer_norm(hidden)
            case "llama" | "qwen3" | "gemma3":
                hidden = model.model.norm(hidden)
    expected = hidden[0, -1] if pooling == "last" else hidden[0].mean(0)
    np.testing.assert_allclose(vectors[0], expected.numpy(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_by_number_leave_the_others_out(tiny: Tiny, family: str, tmp_path: Path) -> None:
    """Against a model saved with the first and the last of three blocks."""
    folder = tiny(family)
    pooling = "last" if family in CAUSAL else "mean"
    vectors = encoder(folder, layers=(0, 2), pooling=pooling).encode(TEXTS[:3], normalize=False)
    model = copy.deepcopy(_reference_model(folder)[0])
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3]
    del lists[0][1]
    model.config.num_hidden_layers = 2
    if getattr(model.config, "layer_types", None):
        del model.config.layer_types[1]
    model.save_pretrained(tmp_path)
    for file in folder.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    expected = encoder(tmp_path, pooling=pooling).encode(TEXTS[:3], normalize=False)
    np.testing.assert_allclose(vectors, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("layers", "seen"), [(9, "asks for 9 blocks; the model has 3"), ((0, 3), "asks for block 3; the model has 0 to 2")]
)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_more_layers_than_there_are(tiny: Tiny, layers: int | tuple[int, ...], seen: str, pooling: Pooling) -> None:
    with pytest.raises(ModelError, match=seen):
        encoder(tiny("llama"), layers=layers, pooling=pooling)


@pytest.mark.parametrize("family", ["llama", "opt", "gemma3", "bert", "t5"])
@pytest.mark.parametrize("length", [15, 16, 17, 40])
def test_truncation_cuts_the_text_and_keeps_the_suffix(tiny: Tiny, family: str, length: int) -> None:
    """At the limit nothing is cut; past it the prompt is that of the text's first tokens, its suffix whole."""
    folder, limit = tiny(family), 16
    opened = encoder(folder, max_tokens=limit, normalise=False, pooling="mean")
    _, tokenizer = _reference_model(folder)
    text = "horse " * 60
    ids = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    text = text[: ids["offset_mapping"][length - 1][1]]
    assert opened.count_tokens([text]).tolist() == [length]
    kept = text[: ids["offset_mapping"][min(length, limit) - 1][1]]
    expected = reference(folder, PROMPTEOL.replace("{text}", kept), "mean")
    np.testing.assert_allclose(opened.encode([text, "a"], normalize=False)[0], expected, atol=2e-5, rtol=1e-4)
    assert opened.stats.truncated == (length > limit)


def test_a_text_in_capitals_is_that_in_lower_case_where_it_is_cut_too(tiny: Tiny) -> None:
    opened = encoder(tiny("llama"), max_tokens=16, capitals="lower")
    texts = ["the man is riding a horse", "two people walk along the street " * 8]
    np.testing.assert_allclose(opened.encode([t.upper() for t in texts]), opened.encode(texts), atol=1e-6)
    assert opened.stats.truncated == 2
    asis = encoder(tiny("llama"), max_tokens=16)
    assert not np.allclose(asis.encode([texts[0].upper()]), asis.encode(texts[:1]))


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "bert", "roberta"])
def test_a_prompt_longer_than_the_models_positions_is_cut_in_the_text(tiny: Tiny, family: str) -> None:
    opened = encoder(tiny(family), max_tokens=512, pooling="mean")
    vectors = opened.encode(["horse " * 300, "horse " * 400], normalize=False)
    assert opened.stats.truncated == 2
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    prompts = opened.tokens.prompts(_prompt(opened), ["horse " * 300], 512, 160)
    assert 150 < len(prompts.ids[0]) <= 160


def test_a_prompt_that_leaves_no_room(tiny: Tiny) -> None:
    opened = encoder(tiny("opt"), template="word " * 200 + "{text}")
    with pytest.raises(ModelError, match="the model reads 160"):
        opened.encode(["a"])


def test_mask_pooling_needs_a_mask_token(tiny: Tiny) -> None:
    with pytest.raises(ModelError, match="has no mask token"):
        encoder(tiny("llama"), pooling="mask")


@pytest.fixture(scope="module")
def small(tiny: Tiny) -> HFEncoder:
    """A budget so small that a few texts make several batches."""
    return open_encoder(resolve(EncoderSpec(model=str(tiny("llama")), precision="fp32")), batch_tokens=96)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=60), max_size=12))
def test_order_duplicates_and_batches_do_not_matter(small: HFEncoder, texts: list[str]) -> None:
    together = small.encode(texts, normalize=False)
    assert together.shape == (len(texts), small.dim)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(vector, small.encode([text], normalize=False)[0], atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(small.encode(texts[::-1], normalize=False)[::-1], together, atol=2e-5, rtol=1e-4)


def test_duplicates_are_computed_once(tiny: Tiny) -> None:
    opened = encoder(tiny("llama"))

    def tokens(texts: list[str]) -> int:
        before = opened.stats.tokens
        opened.encode(texts)
        return opened.stats.tokens - before

    tokens(["the first call of all computes the template once more"])
    tokens(["a first text after it keeps the template"])
    assert tokens(["one text"]) == tokens(["one text"] * 50)
    assert opened.stats.texts == 53


def test_the_template_is_computed_once_for_single_queries_too(tiny: Tiny) -> None:
    opened = encoder(tiny("llama"), demonstrations=ICL)
    used = []
    for text in ("one", "two", "three"):
        before = opened.stats.tokens
        opened.encode([text])
        used.append(opened.stats.tokens - before)
    assert used[2] < used[0] / 3  # of about 60 tokens all but the text and the template's end


def test_every_position_comes_exactly_once(small: HFEncoder) -> None:
    texts = [f"text {i % 7} " * (i % 5) for i in range(40)]
    rows, vectors = zip(*small.encode_batches(texts), strict=True)
    assert sorted(np.concatenate(rows).tolist()) == list(range(40))
    assert len(rows) > 1
    assert all(len(r) == len(v) for r, v in zip(rows, vectors, strict=True))


def test_no_texts(small: HFEncoder) -> None:
    assert small.encode([]).shape == (0, 32)
    assert list(small.encode_batches([])) == []
    assert small.terms([], 3) == []


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 500))
def test_batches_hold_the_budget(lengths: list[int], budget: int) -> None:
    made = list(batches(lengths, budget))
    assert sorted(row for batch in made for row in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@pytest.mark.parametrize("family", CAUSAL)
def test_terms_are_the_language_models_next_tokens(tiny: Tiny, family: str) -> None:
    folder = tiny(family)
    model, tokenizer = _reference_model(folder)
    ids = tokenizer(PROMPTEOL.replace("{text}", "Two dogs."), return_tensors="pt").input_ids
    with torch.no_grad():
        chances = model(input_ids=ids).logits[0, -1].softmax(0)
    weights, best = chances.topk(5)
    got = encoder(folder, pooling="mean").terms(["A", "Two dogs", "Two dogs"], 5)
    assert got[1] == got[2]
    assert [term for term, _ in got[1]] == [tokenizer.decode([i]) for i in best.tolist()]
    np.testing.assert_allclose([w for _, w in got[1]], weights.numpy(), rtol=1e-3)


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_encoders_have_no_terms(tiny: Tiny, family: str) -> None:
    with pytest.raises(ModelError, match="no terms"):
        encoder(tiny(family), pooling="mean").terms(["a"], 3)


def _prompt(opened: HFEncoder):
    from indexer.embedding.prompts.prompt import PromptTemplate

    return PromptTemplate.of(opened.spec)


def test_a_batch_that_does_not_fit_into_memory_is_halved(tiny: Tiny) -> None:
    """A forward that has room for three prompts, in place of a small GPU."""
    opened = encoder(tiny("llama"))
    expected = opened.encode(TEXTS)
    whole, sizes = opened._forwards["last"], []

    class Narrow:
        tokens = 0

        def __call__(self, ids: list[list[int]]) -> torch.Tensor:
            sizes.append(len(ids))
            if len(ids) > 3 or max(map(len, ids)) > 60:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return whole(ids)

    opened._forwards["last"] = Narrow()
    np.testing.assert_allclose(opened.encode(TEXTS), expected, atol=1e-5)
    assert max(sizes) > 3
    with pytest.raises(ModelError, match=r"a prompt of \d+ tokens does not fit into the memory of cpu"):
        opened.encode(["word " * 100])


def test_a_text_of_many_megabytes_is_not_tokenised_whole(tiny: Tiny) -> None:
    opened = encoder(tiny("llama"), max_tokens=16)
    long = "horse and dog " * 2_000_000
    asked: list[int] = []
    encode = opened.tokens._encode
    opened.tokens._encode = lambda texts, special: (asked.extend(map(len, texts)), encode(texts, special))[1]
    vectors = opened.encode([long, "horse and dog " * 50])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert opened.stats.truncated == 2
    assert max(asked) < 10_000


def test_device_map_gives_the_same_vectors(tiny: Tiny) -> None:
    spec = EncoderSpec(model=str(tiny("llama")), precision="fp32")
    mapped = open_encoder(spec, device="cpu", device_map="auto")
    np.testing.assert_allclose(mapped.encode(TEXTS), open_encoder(spec, device="cpu").encode(TEXTS), atol=1e-5)


def test_other_demonstrations_around_a_loaded_model_are_an_encoder_of_their_own(tiny: Tiny) -> None:
    shots = (("A dog runs.", "Dog"), ("The market fell.", "Decline"))
    bare = encoder(tiny("llama"))
    before = bare.encode(TEXTS)
    shown = embedding.demonstrating(bare, shots)
    np.testing.assert_allclose(
        shown.encode(TEXTS), encoder(tiny("llama"), demonstrations=shots).encode(TEXTS), atol=1e-6
    )
    assert shown.spec.demonstrations == shots
    assert bare.spec.demonstrations == ()
    np.testing.assert_allclose(bare.encode(TEXTS), before, atol=1e-6)
    assert shown.stats.texts == len(TEXTS)
    assert bare.stats.texts == 2 * len(TEXTS)
    assert shown._model is bare._model
