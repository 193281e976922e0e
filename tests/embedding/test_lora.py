"""Adapters, merged and beside, against peft on the model it trained (the one with an LM head)."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from indexer.embedding import open_encoder, resolve
from indexer.embedding.spec import EncoderSpec
from indexer.errors import MismatchError, ModelError
from tests.models import make, make_lora

Tiny = Callable[[str], Path]

MODULES = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "opt": ["q_proj", "v_proj", "fc1", "fc2"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "qwen3": ["q_proj", "down_proj"],
    "bert": ["query", "value"],
}
TEXTS = ["A man is riding a horse", "", "Two dogs"]


def spec_of(base: Path, adapter: Path | None, **fields: object) -> EncoderSpec:
    values = {
        "model": str(base),
        "adapter": adapter and str(adapter),
        "precision": "fp32",
        "normalise": False,
        **fields,
    }
    return EncoderSpec.from_dict(values)


def reference(base: Path, adapter: Path, texts: list[str]) -> np.ndarray:
    causal = base.name != "bert"
    model = (AutoModelForCausalLM if causal else AutoModel).from_pretrained(base)
    model = PeftModel.from_pretrained(model, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = []
    for text in texts:
        ids = tokenizer(EncoderSpec().template.replace("{text}", text), return_tensors="pt").input_ids
        with torch.no_grad():
            rows.append(model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1].numpy())
    return np.stack(rows)


@pytest.fixture(scope="module")
def adapter_of(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(f"lora-{family}")
            made[family] = make_lora(tiny(family), folder, MODULES[family], causal=family != "bert")
        return made[family]

    return get


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("family", list(MODULES))
def test_equals_peft(tiny: Tiny, adapter_of: Callable[[str], Path], family: str, merge: bool) -> None:
    base, adapter = tiny(family), adapter_of(family)
    vectors = open_encoder(spec_of(base, adapter, merge_adapter=merge)).encode(TEXTS, normalize=False)
    np.testing.assert_allclose(vectors, reference(base, adapter, TEXTS), atol=5e-5, rtol=5e-4)
    bare = open_encoder(EncoderSpec(model=str(base), precision="fp32", normalize_text=False))
    assert np.abs(vectors - bare.encode(TEXTS, normalize=False)).max() > 0.01


def save_lora(base: Path, folder: Path, modules: list[str], **options: object) -> Path:
    """A random adapter of any kind that PEFT has, written by PEFT as it is."""
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": modules, **options})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_magnitude" in name:
            parameter.data *= 1 + torch.rand_like(parameter)
        elif "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.2
    model.save_pretrained(folder)
    return folder


VARIANTS = [
    {"use_rslora": True},
    {"use_dora": True},
    {"use_dora": True, "use_rslora": True},
    {"lora_bias": True},
    {"lora_bias": True, "use_rslora": True, "rank_pattern": {"up_proj": 2}},
    {"alpha_pattern": {"q_proj": 32}},
    {"alpha_pattern": {"model.layers.1.self_attn.q_proj": 32, "q_proj": 2, r"layers\.1\..*": 1}},
    {"rank_pattern": {"up_proj": 2}},
    {"rank_pattern": {"model.layers.0.mlp.up_proj": 2, r".*\.2\.mlp\.up_proj": 3}},
    {"layers_to_transform": [0, 2]},
    {"exclude_modules": ["model.layers.1.mlp.up_proj"]},
    {"target_modules": r".*layers\.[01]\.self_attn\.(q|v)_proj"},
    {"target_modules": "all-linear"},
    {"init_lora_weights": "gaussian"},
    {"init_lora_weights": False},
    {"init_lora_weights": "orthogonal"},
    {"modules_to_save": ["lm_head"]},
    {"bias": "lora_only"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: " ".join(f"{k}={v}" for k, v in options.items()))
@pytest.mark.parametrize("merge", [True, False])
def test_lora_variants(tiny: Tiny, tmp_path: Path, options: dict, merge: bool) -> None:
    base = tiny("llama")
    save_lora(base, tmp_path, **{"modules": ["q_proj", "up_proj"], **options} if "target_modules" not in options else
              {"modules": options["target_modules"]})  # fmt: skip
    opened = open_encoder(spec_of(base, tmp_path, merge_adapter=merge))
    vectors = opened.encode(TEXTS, normalize=False)
    np.testing.assert_allclose(vectors, reference(base, tmp_path, TEXTS), atol=5e-5, rtol=5e-4)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"lora_bias": True}], ids=str)
@pytest.mark.parametrize("merge", [True, False])
def test_lora_variants_on_transposed_layers_with_biases(tiny: Tiny, tmp_path: Path, options: dict, merge: bool) -> None:
    base = tiny("gpt2")
    save_lora(base, tmp_path, ["c_proj", "c_fc"], fan_in_fan_out=True, **options)
    vectors = open_encoder(spec_of(base, tmp_path, merge_adapter=merge)).encode(TEXTS, normalize=False)
    np.testing.assert_allclose(vectors, reference(base, tmp_path, TEXTS), atol=5e-5, rtol=5e-4)


def change_config(folder: Path, **values: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"init_lora_weights": "pissa"}, r"began as 'pissa' \(init_lora_weights\), .*path_initial_model"),
        ({"init_lora_weights": "pissa_niter_16"}, "began as 'pissa_niter_16'"),
        ({"init_lora_weights": "olora"}, "began as 'olora'"),
        ({"init_lora_weights": "corda"}, "began as 'corda'"),
        ({"init_lora_weights": "loftq"}, "began as 'loftq'"),
        ({"init_lora_weights": "lora_ga"}, "began as 'lora_ga'"),
        ({"init_lora_weights": "something of tomorrow"}, "began as 'something of tomorrow'"),
        ({"alora_invocation_tokens": [5, 6]}, r"uses alora_invocation_tokens \(\[5, 6\]\), which is not applied here"),
        ({"layer_replication": [[0, 2], [0, 2]]}, "uses layer_replication"),
        ({"trainable_token_indices": [1]}, "uses trainable_token_indices"),
        ({"target_parameters": ["experts.gate"]}, "uses target_parameters"),
        ({"megatron_config": {"a": 1}}, "uses megatron_config"),
        ({"use_qalora": True}, "uses use_qalora"),
        ({"option_of_tomorrow": "on"}, r"uses option_of_tomorrow \('on'\)"),
        ({"use_dora": True}, r"q_proj.lora_magnitude_vector is missing"),
        ({"lora_bias": True}, r"q_proj.lora_B.bias is missing"),
        ({"r": 8}, r"has A \(4, 32\) and B \(32, 4\), and its rank is 8"),
        ({"rank_pattern": {"q_proj": 2}}, "its rank is 2"),
        (
            {"target_modules": ["k_proj"]},
            r"tensors of model.layers.0.self_attn.q_proj, which its target_modules",
        ),
        ({"r": 0}, "r is 0; it is a number from 1 up"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"peft_type": "IA3"}, "of type 'IA3'; only LORA is read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("merge", [True, False])
def test_options_that_are_not_applied_are_named(
    tiny: Tiny, tmp_path: Path, values: dict, message: str, merge: bool
) -> None:
    folder = make_lora(tiny("llama"), tmp_path, ["q_proj"])
    change_config(folder, **values)
    with pytest.raises(ModelError, match=message):
        open_encoder(spec_of(tiny("llama"), folder, merge_adapter=merge))


def emptied(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(0) for name in tensors}


def not_finite(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone().index_fill_(0, torch.tensor([1]), float("inf")) for name, tensor in tensors.items()}


def deeper(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {name.replace("layers.1", "layers.3"): tensor.clone() for name, tensor in tensors.items()}


SPOILT = {
    "empty": (emptied, r"was saved empty: .*lora_[AB].weight has no numbers; gather the trained weights before saving"),
    "nothing": (lambda tensors: {}, "was saved empty: it holds no tensors"),
    "nan": (lambda tensors: {n: t * float("nan") for n, t in tensors.items()}, "numbers that are not finite, in model"),
    "infinite": (not_finite, "numbers that are not finite"),
    "no B": (lambda tensors: {n: t for n, t in tensors.items() if "layers.1.self_attn.q_proj.lora_B" not in n},
             r"is incomplete: it lacks model.layers.1.self_attn.q_proj.lora_B.weight"),
    "no A": (lambda tensors: {n: t for n, t in tensors.items() if "layers.2.self_attn.q_proj.lora_A" not in n},
             r"is incomplete: it lacks model.layers.2.self_attn.q_proj.lora_A.weight"),
    "more blocks": (deeper, r"it has model.layers.3.self_attn.q_proj, which the model does not"),
    "flat": (lambda tensors: {n: t.flatten() for n, t in tensors.items()}, "does not fit its configuration"),
    "a norm": (lambda tensors: tensors | {"base_model.model.model.norm.weight": torch.ones(32)},
               "changes model.norm.weight; only LoRA of linear layers"),
    "a bias": (lambda tensors: tensors | {"base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias":
                                          torch.ones(32)}, "changes model.layers.0.self_attn.q_proj.base_layer.bias"),
    "a bias of B": (lambda tensors: tensors | {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias":
                                               torch.ones(32)}, "lora_B.bias is there, and nothing asks for it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.parametrize("merge", [True, False])
def test_tensors_that_cannot_be_what_was_trained(tiny: Tiny, tmp_path: Path, kind: str, merge: bool) -> None:
    folder = make_lora(tiny("llama"), tmp_path, ["q_proj"])
    spoil, message = SPOILT[kind]
    path = folder / "adapter_model.safetensors"
    save_file(spoil(load_file(path)), path)
    with pytest.raises(ModelError, match=message):
        open_encoder(spec_of(tiny("llama"), folder, merge_adapter=merge))


def test_blocks_beyond_the_whole_model_are_no_blocks_left_out(tiny: Tiny, tmp_path: Path) -> None:
    folder = make_lora(tiny("llama"), tmp_path, ["q_proj"])
    path = folder / "adapter_model.safetensors"
    save_file(deeper(load_file(path)), path)
    with pytest.raises(ModelError, match=r"it has model.layers.3.self_attn.q_proj, which the model does not"):
        open_encoder(spec_of(tiny("llama"), folder, layers=2))


def test_a_copy_beside_the_adapter_is_not_read(tiny: Tiny, tmp_path: Path) -> None:
    folder = make_lora(tiny("llama"), tmp_path, ["q_proj"])
    want = open_encoder(spec_of(tiny("llama"), folder)).encode(TEXTS)
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor * 3 for name, tensor in tensors.items()}, folder / "adapter_model_old.safetensors")
    np.testing.assert_array_equal(open_encoder(spec_of(tiny("llama"), folder)).encode(TEXTS), want)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("layers", [2, (0, 2)])
def test_blocks_that_are_left_out_leave_out_what_the_adapter_has_for_them(
    tiny: Tiny, adapter_of: Callable[[str], Path], tmp_path: Path, merge: bool, layers: int | tuple[int, ...]
) -> None:
    """Against a model that was saved with two blocks after the adapter had been merged."""
    base, adapter = tiny("llama"), adapter_of("llama")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    del model.model.layers[2 if layers == 2 else 1]
    model.config.num_hidden_layers = 2
    model.save_pretrained(tmp_path / "llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "llama" / name).write_bytes((base / name).read_bytes())
    got = open_encoder(spec_of(base, adapter, merge_adapter=merge, layers=layers)).encode(TEXTS, normalize=False)
    want = open_encoder(spec_of(tmp_path / "llama", None)).encode(TEXTS, normalize=False)
    np.testing.assert_allclose(got, want, atol=5e-5, rtol=5e-4)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("base", ["opt", "gpt2", "wide llama"])
def test_an_adapter_of_another_base_is_refused(
    tiny: Tiny, adapter_of: Callable[[str], Path], tmp_path: Path, base: str, merge: bool
) -> None:
    folder = make("llama", tmp_path, width=64) if base == "wide llama" else tiny(base)
    with pytest.raises(ModelError, match=r"was trained on another model .* give its base with --model"):
        open_encoder(spec_of(folder, adapter_of("llama"), merge_adapter=merge))


def test_merging_is_part_of_the_fingerprint(tiny: Tiny, adapter_of: Callable[[str], Path]) -> None:
    spec = resolve(spec_of(tiny("llama"), adapter_of("llama")))
    beside = resolve(spec_of(tiny("llama"), adapter_of("llama"), merge_adapter=False))
    none = resolve(EncoderSpec(model=str(tiny("llama")), normalize_text=False))
    assert len({spec.fingerprint, beside.fingerprint, none.fingerprint}) == 3
    assert replace(beside, merge_adapter=True).fingerprint == spec.fingerprint


def test_queries_may_have_an_adapter_of_their_own(
    tiny: Tiny, adapter_of: Callable[[str], Path], tmp_path: Path
) -> None:
    base, passages = tiny("llama"), adapter_of("llama")
    queries = make_lora(base, tmp_path, ["q_proj"])
    both = open_encoder(spec_of(base, passages, query_adapter=str(queries), query_template="{text} ="))
    np.testing.assert_allclose(both.encode(TEXTS), open_encoder(spec_of(base, passages)).encode(TEXTS), atol=1e-6)
    alone = open_encoder(spec_of(base, queries, template="{text} ="))
    np.testing.assert_allclose(both.encode(TEXTS, role="query"), alone.encode(TEXTS), atol=1e-6)
    vectors, terms = both.encode_terms(TEXTS, role="query")
    np.testing.assert_allclose(vectors, alone.encode(TEXTS), atol=1e-6)
    assert terms == alone.encode_terms(TEXTS)[1]
    assert both.terms(TEXTS, 5, role="query") == alone.terms(TEXTS, 5)
    assert both.stats.texts == 4 * len(TEXTS)  # one count for both
    bare = open_encoder(spec_of(base, None, query_adapter=str(queries)))
    np.testing.assert_allclose(bare.encode(TEXTS, role="query"), open_encoder(spec_of(base, queries)).encode(TEXTS),
                               atol=1e-6)  # fmt: skip


def test_a_query_adapter_is_part_of_the_fingerprint_by_its_content(
    tiny: Tiny, adapter_of: Callable[[str], Path], tmp_path: Path
) -> None:
    base, passages = tiny("llama"), adapter_of("llama")
    queries = make_lora(base, tmp_path / "q", ["q_proj"])
    spec = resolve(spec_of(base, passages, query_adapter=str(queries)))
    assert spec.fingerprint != resolve(spec_of(base, passages)).fingerprint
    assert "query" not in resolve(spec_of(base, passages)).canonical  # fields at nothing change no fingerprint
    moved = queries.rename(tmp_path / "moved")
    assert resolve(spec_of(base, passages, query_adapter=str(moved))).fingerprint == spec.fingerprint
    make_lora(base, tmp_path / "moved", ["q_proj"], rank=2)
    with pytest.raises(MismatchError, match="query_adapter"):
        resolve(replace(spec, query_adapter=str(moved)))
