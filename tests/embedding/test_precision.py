"""Precisions: refused early where they cannot be had, and near fp32 where they can."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from indexer.embedding import default_precision, open_encoder
from indexer.embedding import precision as precisions
from indexer.embedding.spec import EncoderSpec
from indexer.errors import PrecisionError
from tests.models import make_lora

Tiny = Callable[[str], Path]
CPU = torch.device("cpu")
TEXTS = ["A man is riding a horse", "", "Two dogs", "word " * 30]


def vectors(folder: Path, precision: str, pooling: str = "last", **fields: object) -> np.ndarray:
    spec = EncoderSpec.from_dict({"model": str(folder), "precision": precision, "pooling": pooling, **fields})
    return open_encoder(spec, device="cpu").encode(TEXTS)


@pytest.mark.parametrize(("family", "pooling"), [("llama", "last"), ("opt", "last"), ("opt-350m", "last"),
                                                 ("gpt2", "last"), ("qwen3", "mean"), ("bert", "mean")])  # fmt: skip
@pytest.mark.parametrize(("precision", "near"), [("bf16", 0.995), ("int8", 0.98), ("nf4", 0.8)])
def test_near_fp32(tiny: Tiny, family: str, pooling: str, precision: str, near: float) -> None:
    exact, rounded = (vectors(tiny(family), p, pooling) for p in ("fp32", precision))
    cosine = (exact * rounded).sum(1)
    assert rounded.dtype == np.float32
    assert cosine.min() > near
    assert not np.array_equal(exact, rounded)


@pytest.mark.parametrize("merge", [True, False])
def test_nf4_with_an_adapter(tiny: Tiny, tmp_path: Path, merge: bool) -> None:
    """Against NF4 done by hand: every linear weight rounded to 4 bits by bitsandbytes, the adapter before or after."""
    import bitsandbytes as bnb
    from peft import PeftModel

    def round4(model: torch.nn.Module) -> None:
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and "lora" not in name and "lm_head" not in name:
                blocks = module.weight.data.bfloat16().view(-1, 64)
                packed, state = bnb.functional.quantize_4bit(blocks, quant_type="nf4", compress_statistics=True)
                rounded = bnb.functional.dequantize_4bit(packed, state).float()
                error = (rounded - blocks).norm() / blocks.norm()
                assert 0.07 < error < 0.11  # what 16 levels leave of normally distributed weights
                module.weight.data = rounded.view(module.weight.shape)

    base = tiny("llama")
    adapter = make_lora(base, tmp_path, ["q_proj", "v_proj", "up_proj"])
    model = AutoModelForCausalLM.from_pretrained(base)
    model = PeftModel.from_pretrained(model, adapter)
    if merge:
        model = model.merge_and_unload()
    round4(model)
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = EncoderSpec().template.replace("{text}", "Two dogs.")
    with torch.no_grad():
        states = model.eval()(**tokenizer(prompt, return_tensors="pt", return_token_type_ids=False),
                              output_hidden_states=True).hidden_states  # fmt: skip
    expected = torch.nn.functional.normalize(states[-1][0, -1], dim=0).numpy()
    got = vectors(base, "nf4", adapter=str(adapter), merge_adapter=merge)[TEXTS.index("Two dogs")]
    assert float(got @ expected) > 0.998  # what is left is bf16 against fp32


def test_merged_in_fp32_and_rounded_once(tiny: Tiny, tmp_path: Path) -> None:
    """bf16 with an adapter too small to change a bf16 weight by itself, but not the sum of both."""
    import json

    from safetensors.torch import load_file, save_file

    base = tiny("llama")
    adapter = make_lora(base, tmp_path / "a", ["q_proj"])
    stored = {k: v.bfloat16() for k, v in load_file(base / "model.safetensors").items()}
    half = tmp_path / "half"
    half.mkdir()
    for path in base.iterdir():
        (half / path.name).write_bytes(path.read_bytes())
    save_file(stored, half / "model.safetensors", {"format": "pt"})
    config = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    lora = load_file(adapter / "adapter_model.safetensors")
    name = "layers.0.self_attn.q_proj"
    a, b = (lora[f"base_model.model.model.{name}.lora_{part}.weight"] for part in "AB")
    expected = (stored[f"model.{name}.weight"].float() + b @ a * 8 / 4).bfloat16()

    from indexer.embedding.weights import loading, models

    spec = EncoderSpec(model=str(half), adapter=str(adapter))
    for pooling in ("last", "mean"):  # read by us, and by transformers
        spec = EncoderSpec(model=str(half), adapter=str(adapter), pooling=pooling)
        model = loading.load(models.locate(spec), spec, "bf16", CPU, None)
        assert torch.equal(model.get_submodule(name).weight, expected)


def test_what_a_cpu_cannot_do_is_refused_before_loading() -> None:
    spec = EncoderSpec(model="/no/such/model", weights="x", precision="fp16")
    with pytest.raises(PrecisionError, match=r"fp16 cannot be had on cpu: .* choose one of fp32, bf16"):
        precisions.check("fp16", CPU)
    from indexer.embedding.hf_encoder import HFEncoder

    with pytest.raises(PrecisionError):
        HFEncoder(spec, device="cpu")


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "gpu 1"])
def test_devices_that_are_not_there(device: str) -> None:
    with pytest.raises(PrecisionError, match=r"there is cpu|it is cpu, cuda, cuda:N or mps"):
        precisions.pick_device(device)


def test_the_default_is_one_that_can_be_had() -> None:
    for device in (None, "cpu"):
        precisions.check(default_precision(device), precisions.pick_device(device))
    assert precisions.default(CPU) == ("bf16" if precisions.has_bf16(CPU) else "fp32")


def test_the_encoder_says_which_precision_it_took(tiny: Tiny) -> None:
    opened = open_encoder(EncoderSpec(model=str(tiny("llama"))), device="cpu")
    assert opened.spec.precision == default_precision("cpu")
    assert opened.spec.resolved


# -- bitsandbytes' own layers, as far as it has them on a CPU --------------------------------------------------------


def test_eight_bits_of_bitsandbytes_are_near_fp32(tiny: Tiny) -> None:
    """What int8 is on a GPU: every linear layer, through the fast forward, which calls such layers as they are."""
    import bitsandbytes as bnb

    from indexer.embedding.forward.last_token import fast_forward
    from indexer.embedding.weights import loading, models, quantise

    spec = EncoderSpec(model=str(tiny("llama")))
    model = loading.load(models.locate(spec), spec, "fp32", CPU, whole=True)
    exact = fast_forward(model)
    assert exact is not None
    ids = [[5, 9, 40, 77, 120, 33], [5, 9, 7]]
    expected = torch.nn.functional.normalize(exact(ids))
    linear = sum(isinstance(module, torch.nn.Linear) for module in model.modules())
    quantise.llm_int8(model, CPU)
    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear8bitLt)]
    assert len(layers) == linear > 0
    assert all(layer.weight.dtype == torch.int8 for layer in layers)
    made = fast_forward(model)
    assert made is not None
    got = torch.nn.functional.normalize(made(ids))
    assert 0.98 < float((got * expected).sum(1).min()) < 1 - 1e-7


@pytest.mark.parametrize("precision", ["nf4", "int8"])
def test_what_is_quantised_while_it_is_read_is_what_is_quantised_afterwards(tiny: Tiny, precision: str) -> None:
    """The way of models that do not fit into memory at 16 bits: each weight is quantised as it comes from its file."""
    import bitsandbytes as bnb

    from indexer.embedding.weights import loading, models, quantise
    from tests.models import make

    folder = tiny("llama").parent / "wide"
    if not folder.is_dir():
        make("llama", folder, width=64)
    spec = EncoderSpec(model=str(folder / "llama"))
    located = models.locate(spec)
    read = loading._read(located, spec, torch.float32 if precision == "int8" else torch.bfloat16, "cpu", precision)
    kind = bnb.nn.Linear4bit if precision == "nf4" else bnb.nn.Linear8bitLt
    small = [module for module in read.modules() if isinstance(module, kind)]
    assert len(small) == 3 * 7  # blocks × layers
    after = loading.load(located, spec, "fp32", CPU, whole=True)
    (quantise.nf4 if precision == "nf4" else quantise.llm_int8)(after, CPU)
    ids = torch.tensor([[5, 9, 40, 77, 120, 33]])
    with torch.no_grad():
        ours, theirs = (torch.nn.functional.normalize(m.eval()(ids).last_hidden_state[0, -1].float(), dim=0)
                        for m in (read, after))  # fmt: skip
    assert float(ours @ theirs) > 0.999


def test_a_model_whose_parts_lie_on_the_disk_gives_the_same_vectors(tiny: Tiny, tmp_path: Path) -> None:
    """device_map with offloading: what accelerate does where the memory of all devices is too small."""
    from accelerate import disk_offload

    from indexer.embedding.forward.last_token import fast_forward
    from indexer.embedding.forward.plain import PlainForward
    from indexer.embedding.weights import loading, models, tokens

    spec = EncoderSpec(model=str(tiny("qwen3")))
    located = models.locate(spec)
    model = loading.load(located, spec, "fp32", CPU, whole=True)
    plain = PlainForward(model, "last", tokens.load(located.model))
    ids = [[5, 9, 40, 77], [5, 9]]
    expected = plain(ids)
    disk_offload(model, str(tmp_path), execution_device=CPU)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert fast_forward(model) is None  # its weights are not there until a layer runs
    torch.testing.assert_close(plain(ids), expected)
