"""Adapters, merged and beside, against peft on the model it trained (the one with an LM head)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
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


@pytest.mark.parametrize(
    "options",
    [{"use_rslora": True}, {"alpha_pattern": {"q_proj": 32}}, {"rank_pattern": {"up_proj": 2}}],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("merge", [True, False])
def test_lora_variants(tiny: Tiny, tmp_path: Path, options: dict, merge: bool) -> None:
    base = tiny("llama")
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], **options)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.2
    model.save_pretrained(tmp_path)
    vectors = open_encoder(spec_of(base, tmp_path, merge_adapter=merge)).encode(TEXTS, normalize=False)
    np.testing.assert_allclose(vectors, reference(base, tmp_path, TEXTS), atol=5e-5, rtol=5e-4)


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


def test_other_kinds_of_adapter_are_named(tiny: Tiny, adapter_of: Callable[[str], Path], tmp_path: Path) -> None:
    for path in adapter_of("llama").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = (tmp_path / "adapter_config.json").read_text()
    (tmp_path / "adapter_config.json").write_text(config.replace('"use_dora": false', '"use_dora": true'))
    with pytest.raises(ModelError, match="more than plain LoRA"):
        open_encoder(spec_of(tiny("llama"), tmp_path))
    (tmp_path / "adapter_config.json").write_text(config.replace('"LORA"', '"IA3"'))
    with pytest.raises(ModelError, match="of type 'IA3'; only LORA is read"):
        open_encoder(spec_of(tiny("llama"), tmp_path))
