"""GGUF files of every family: converted tensor by tensor, against the model they were written from and transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType
from transformers.integrations import GGUF_CONFIG_MAPPING

from indexer.embedding import open_encoder, resolve
from indexer.embedding.spec import EncoderSpec
from indexer.embedding.weights import packaged, tokens
from indexer.embedding.weights.gguf import convert as conversion
from indexer.embedding.weights.gguf import families, metadata, tensors
from indexer.errors import ModelError
from tests.embedding import gguf_files
from tests.embedding.gguf_files import FAMILIES, UNREAD

Tiny = Callable[[str], Path]
IDS = torch.tensor([[5, 9, 40, 77, 120, 33, 8, 200, 14, 15, 16, 17, 90, 3]])
"""Longer than the windows of those that have one."""


@pytest.fixture(scope="module")
def vocabulary(tiny: Tiny) -> dict[str, Any]:
    """The tiny tokenizer: the ``model`` part of its tokenizer.json."""
    made: dict[str, Any] = json.loads((tiny("gpt2") / "tokenizer.json").read_text())["model"]
    return made


@pytest.fixture(scope="module")
def written(vocabulary: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """Family → the model and the file it was written into."""
    folder = tmp_path_factory.mktemp("gguf")
    made: dict[str, tuple[Any, Path]] = {}

    def get(family: str) -> tuple[Any, Path]:
        if family not in made:
            model = gguf_files.make(family, len(vocabulary["vocab"]))
            path = folder / f"{family.replace(', ', '-')}.gguf"
            gguf_files.write(family, model, vocabulary, path)
            made[family] = model, path
        return made[family]

    return get


def states(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(IDS, output_hidden_states=True).hidden_states[-1]
        return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_converted_file_is_the_model_that_was_written(
    family: str, written: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    model, path = written(family)
    conversion.convert(path, tmp_path / "folder")
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder", dtype=torch.float32).eval()
    assert type(read) is type(model)
    torch.testing.assert_close(states(read), states(model), rtol=1e-4, atol=1e-4)
    logits, expected = read(IDS).logits, model(IDS).logits  # the head too, tied or not
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in UNREAD])
def test_it_has_the_weights_that_transformers_own_loader_gives(
    family: str, written: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    model, path = written(family)
    conversion.convert(path, tmp_path / "folder")
    ours = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder", dtype=torch.float32).state_dict()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(  # which would leave out some of the file's sizes
        path.parent, gguf_file=path.name, config=model.config, dtype=torch.float32
    ).state_dict()
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-5, atol=1e-5, msg=name)


def random_blocks(kind: GGMLQuantizationType, rows: int, columns: int, seed: int) -> np.ndarray:
    """Rows of random blocks: any bits are values, but for the half-precision scales, which are made small."""
    size, width = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (rows * columns // size, width), dtype=np.uint8)
    scales = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "Q8_0": (0,),
              "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "IQ4_NL": (0,)}[kind.name]  # fmt: skip
    for place in scales:
        scale = random.uniform(1e-3, 3e-3, len(blocks)).astype(np.float16)
        blocks[:, place : place + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


@pytest.mark.parametrize(
    "kinds", [("Q2_K", "Q3_K"), ("Q4_K", "Q6_K"), ("Q5_K", "Q8_0"), ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL")]
)
def test_quantised_weights_are_those_of_transformers_rounded_to_bf16(
    kinds: tuple[str, ...], vocabulary: dict[str, Any], tmp_path: Path
) -> None:
    config = transformers.Qwen2Config(
        vocab_size=len(vocabulary["vocab"]), hidden_size=256, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(2)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(256)
    writer.add_feed_forward_length(512)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    gguf_files.add_tokenizer(writer, vocabulary)
    for i, (name, values) in enumerate(gguf_files.tensors("qwen2", model).items()):
        if values.ndim == 1:
            writer.add_tensor(name, np.ascontiguousarray(values, np.float32))
            continue
        kind = GGMLQuantizationType[kinds[i % len(kinds)]]
        writer.add_tensor(name, random_blocks(kind, *values.shape, seed=i), raw_dtype=kind)
    gguf_files.finish(writer)
    conversion.convert(path, tmp_path / "folder")
    assert json.loads((tmp_path / "folder/config.json").read_text())["dtype"] == "bfloat16"
    ours = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder").state_dict()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.bfloat16
    ).state_dict()
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert torch.equal(ours[name], weight), name


def test_the_encoder_takes_the_file_itself(
    written: Callable[[str], tuple[Any, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file beside its original folder: the same vectors, in every way that a batch goes."""
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path))
    texts = ["A man is riding a horse.", "Two dogs.", "The stock market fell on Friday, and the waves are high."]
    for family in ("qwen2", "gemma3", "phi3", "stablelm", "mamba", "lfm2", "gpt-oss"):
        model, path = written(family)
        original = tmp_path / "original" / family
        model.save_pretrained(original)
        (converted,) = [packaged.converted(path, lambda _: None)]
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(converted / name, original / name)
        encoder = open_encoder(resolve(EncoderSpec(model=str(path), precision="fp32")))
        ours = encoder.encode(texts)
        theirs = open_encoder(resolve(EncoderSpec(model=str(original), precision="fp32"))).encode(texts)
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=family)
        np.testing.assert_allclose(ours[:1], encoder.encode(texts[:1]), atol=1e-5, err_msg=family)  # alone, in a batch


@pytest.mark.parametrize(("family", "reason"), [("t5", r" \(an encoder and a decoder; .*\)"), ("bert", "")])
def test_other_families_are_refused_with_those_that_are_read(family: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(1)
    gguf_files.finish(writer)
    with pytest.raises(
        ModelError, match=rf"architecture '{family}'{reason}; those read are llama, qwen2, .*, minimax-m2: give"
    ) as error:
        conversion.convert(path, tmp_path / "folder")
    assert set(families.FAMILIES) == set(tensors.NAMES)
    assert all(name in str(error.value) for name in families.FAMILIES)
    assert not (tmp_path / "folder").exists()


def test_every_family_that_transformers_reads_is_read_or_named_with_the_reason() -> None:
    theirs = {name.replace("_moe", "moe").replace("_", "-") for name in GGUF_CONFIG_MAPPING}
    others = {"general", "tokenizer", "mistral", "umt5"}  # Mistral's files call themselves llama, umT5's t5
    assert theirs - others == (set(families.FAMILIES) - {"gemma"}) | (set(families.REFUSED) - {"t5encoder"})


def test_a_tensor_of_another_variant_is_refused_by_name(vocabulary: dict[str, Any], tmp_path: Path) -> None:
    model = gguf_files.make("qwen2", len(vocabulary["vocab"]))
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    gguf_files._keys(writer, "qwen2", model.config)
    gguf_files.add_tokenizer(writer, vocabulary)
    writer.add_tensor("token_embd.weight", np.zeros((8, 64), np.float32))
    writer.add_tensor("blk.0.attn_sinks.weight", np.zeros(4, np.float32))
    gguf_files.finish(writer)
    with pytest.raises(ModelError, match=r"'blk.0.attn_sinks.weight' that no qwen2 model has"):
        conversion.convert(path, tmp_path / "folder")


# -- what files say of rotary positions ---------------------------------------------------------------------------


def config_of(tmp_path: Path, architecture: str, **extra: Any) -> dict[str, Any]:
    """The configuration of a file of 64 × 4 heads with more keys; arrays become tensors."""
    path = tmp_path / f"{architecture}.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {
        "block_count": 2, "context_length": 131072, "embedding_length": 256, "feed_forward_length": 96,
        "attention.head_count": 4, "attention.head_count_kv": 4,
    }.items():  # fmt: skip
        writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in extra.items():
        if isinstance(value, np.ndarray):
            writer.add_tensor(key, value)
        elif isinstance(value, str):
            writer.add_string(f"{architecture}.{key}", value)
        elif isinstance(value, float):
            writer.add_float32(f"{architecture}.{key}", value)
        else:
            writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_tensor("token_embd.weight", np.zeros((8, 256), np.float32))
    gguf_files.finish(writer)
    return families.config(metadata.read(path))


def test_the_rotary_scaling_of_llama_3_is_found_again_from_its_factors(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    plain = transformers.LlamaConfig(
        hidden_size=256, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}
    )
    scaled = transformers.LlamaConfig(hidden_size=256, num_attention_heads=4, rope_parameters=scaling)
    rotary = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding
    factors = (rotary(plain).inv_freq / rotary(scaled).inv_freq).numpy()
    extra = {"rope.freq_base": 500000.0, "rope.dimension_count": 64}
    found = config_of(tmp_path, "llama", **extra, **{"rope_freqs.weight": factors.astype(np.float32)})
    assert found["rope_parameters"] == scaling
    with pytest.raises(ModelError, match="in a way of its own"):
        config_of(tmp_path, "llama", **extra, **{"rope_freqs.weight": np.linspace(1, 9, 32, dtype=np.float32)})


def test_linear_and_yarn_scaling_are_taken_over_and_others_refused(tmp_path: Path) -> None:
    scaled = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32768}
    found = config_of(tmp_path, "qwen2", **scaled)["rope_parameters"]
    assert (found["rope_type"], found["factor"], found["original_max_position_embeddings"]) == ("yarn", 4.0, 32768)
    linear = {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}
    both = config_of(tmp_path, "gemma3", **linear)["rope_parameters"]
    assert both["full_attention"]["factor"] == 8.0
    assert both["sliding_attention"]["rope_type"] == "default"
    with pytest.raises(ModelError, match=r"by 'su', which is not read"):
        config_of(tmp_path, "qwen2", **{"rope.scaling.type": "su"})


def test_long_rope_of_phi_3_comes_with_its_factors(tmp_path: Path) -> None:
    short, long = np.linspace(1, 2, 32, dtype=np.float32), np.linspace(1, 40, 32, dtype=np.float32)
    named = {"rope_factors_short.weight": short, "rope_factors_long.weight": long}
    found = config_of(tmp_path, "phi3", **{"rope.scaling.original_context_length": 4096}, **named)
    ready = transformers.Phi3Config(**{name: found[name] for name in found if name not in ("architectures",)})
    assert ready.rope_parameters["rope_type"] == "longrope"
    np.testing.assert_allclose(ready.rope_parameters["long_factor"], long)
    assert found["original_max_position_embeddings"] == 4096


# -- files, parts, memory, progress --------------------------------------------------------------------------------


def test_a_model_in_parts_is_one_and_its_digest_is_of_all(
    written: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    _, path = written("qwen2")
    whole = metadata.read(path)
    names = list(whole.tensors)
    for number in range(2):
        writer = gguf.GGUFWriter(tmp_path / f"m-0000{number + 1}-of-00002.gguf", "qwen2")
        if number == 0:
            for key, field in gguf.GGUFReader(path).fields.items():
                if not key.startswith("GGUF.") and key != "general.architecture":
                    kind = field.types[0]
                    sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
                    writer.add_key_value(key, field.contents(), kind, sub)
        for name in names[number::2]:
            writer.add_tensor(name, whole.tensors[name].values())
        gguf_files.finish(writer)
    first, second = tmp_path / "m-00001-of-00002.gguf", tmp_path / "m-00002-of-00002.gguf"
    conversion.convert(second, tmp_path / "parts")
    conversion.convert(path, tmp_path / "whole")
    read = [transformers.AutoModelForCausalLM.from_pretrained(tmp_path / n) for n in ("parts", "whole")]
    torch.testing.assert_close(states(read[0]), states(read[1]))
    before = resolve(EncoderSpec(model=str(first))).weights
    second.write_bytes(second.read_bytes()[:-1] + b"\x01")
    assert resolve(EncoderSpec(model=str(first))).weights != before
    second.unlink()
    with pytest.raises(ModelError, match=r"m-00002-of-00002.gguf must lie beside it"):
        conversion.convert(first, tmp_path / "again")


def test_a_large_tensor_is_never_whole_in_memory(
    written: Callable[[str], tuple[Any, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = written("qwen2moe")
    monkeypatch.setattr(metadata, "CHUNK", 512)
    largest: list[int] = []
    write = conversion._bfloat16
    monkeypatch.setattr(conversion, "_bfloat16", lambda values: largest.append(values.size) or write(values))
    shares: list[float] = []
    model = metadata.read(path)
    weights = list(tensors.weights(model, families.config(model)))
    conversion._write_weights(weights, "bfloat16", tmp_path / "w.safetensors", shares.append)
    assert max(largest) == 512
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_disk_without_room_is_said_before_anything_is_written(
    written: Callable[[str], tuple[Any, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = written("qwen2")
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(ModelError, match=r"needs 0.0 GB as it is loaded, and .* free some space"):
        conversion.convert(path, tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_long_conversion_says_how_far_it_is(
    written: Callable[[str], tuple[Any, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = written("qwen2")
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path))
    monkeypatch.setattr(packaged, "TOLD_SECONDS", 0.0)
    said: list[str] = []
    packaged.converted(path, said.append)
    assert "(once)" in said[0]
    assert len(said) > 5
    assert all("converting qwen2.gguf: " in line and "s left" in line for line in said[1:])


# -- tokenizers ---------------------------------------------------------------------------------------------------

HARD = [
    "It's 1234 o'clock,  isn't it?\n\n\tYes!", "cafe\u0301 naïve Ångström", " lead", "x" * 30, "日本語 テキスト",
    "a<|im_end|>b", "tabs\t\tand   spaces \n", "3.14159 2,000",
]  # fmt: skip


def converted_tokenizer(tmp_path: Path, vocabulary: dict[str, Any], pre: str, **flags: bool) -> tokens.Tokens:
    path = tmp_path / "t.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    gguf_files._keys(writer, "qwen2", gguf_files.CONFIGS["qwen2"](8))
    gguf_files.add_tokenizer(writer, vocabulary, pre)
    if flags.get("bos"):
        writer.add_add_bos_token(True)
    if flags.get("eos"):
        writer.add_add_eos_token(True)
    writer.add_tensor("token_embd.weight", np.zeros((8, 64), np.float32))
    gguf_files.finish(writer)
    conversion.convert(path, tmp_path / "folder")
    return tokens.load(tmp_path / "folder")


def test_qwens_tokenizer_is_the_one_of_its_class(vocabulary: dict[str, Any], tmp_path: Path) -> None:
    ours = converted_tokenizer(tmp_path, vocabulary, "qwen2")
    theirs = transformers.Qwen2Tokenizer(vocab=vocabulary["vocab"], merges=[tuple(m) for m in vocabulary["merges"]])
    for text in HARD:
        assert ours.backend.encode(text).ids == theirs.backend_tokenizer.encode(text).ids, text
    assert ours.pad_id == 0
    assert ours.backend.encode("a</s>b").tokens[1] == "</s>"  # a control token stays whole


def test_tokens_at_begin_and_end_are_added_where_the_file_says_so(vocabulary: dict[str, Any], tmp_path: Path) -> None:
    plain = converted_tokenizer(tmp_path, vocabulary, "gpt-2").backend.encode("A man.").ids
    both = converted_tokenizer(tmp_path, vocabulary, "gpt-2", bos=True, eos=True).backend.encode("A man.").ids
    assert both == [1, *plain, 2]


def test_a_sentencepiece_tokenizer_is_transformers(tmp_path: Path) -> None:
    path = tmp_path / "s.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    gguf_files._keys(writer, "gemma3", gguf_files.CONFIGS["gemma3"](8))
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "b", "▁a", "ab"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(i) for i in range(len(pieces))])
    writer.add_token_types([3, 3, 3, 2, *[6] * 256, *[1] * 5])
    for name, number in (("pad", 0), ("eos", 1), ("bos", 2), ("unk", 3)):
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(True)
    writer.add_tensor("token_embd.weight", np.zeros((8, 64), np.float32))
    gguf_files.finish(writer)
    conversion.convert(path, tmp_path / "folder")
    ours = tokens.load(tmp_path / "folder")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="s.gguf")
    for text in ("a ab", "ab  b", "aé"):
        assert ours.backend.encode(text).ids == theirs(text)["input_ids"]
    assert ours.backend.encode("a").ids[0] == 2  # <bos>
    assert ours.pad_id == 0
