"""Encoding on a GPU gives what transformers gives, and what the CPU gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from indexer.embedding import open_encoder, precision, resolve
from indexer.embedding.forward.attention import Grouped, Varlen
from indexer.embedding.forward.last_token import LastTokenForward, fast_forward
from indexer.embedding.spec import EncoderSpec
from tests.device import DEVICE, HALF, on_device

pytestmark = on_device

SIZES = {
    "vocab_size": 200, "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CONFIGS: dict[str, Callable[[], transformers.PreTrainedConfig]] = {
    "llama": lambda: transformers.LlamaConfig(**SIZES),
    "qwen2": lambda: transformers.Qwen2Config(**SIZES),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES, head_dim=64),
    "gemma3, windows": lambda: transformers.Gemma3TextConfig(**SIZES, head_dim=64, sliding_window=6),
    "mistral, window": lambda: transformers.MistralConfig(**SIZES, sliding_window=6),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=200, hidden_size=128, word_embed_proj_dim=128, ffn_dim=192, num_hidden_layers=3,
        num_attention_heads=2,
    ),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=200, n_embd=128, n_layer=3, n_head=2),
}  # fmt: skip
BATCH = [[7, 8, 9, *range(10, 10 + n)] for n in (1, 30, 5, 6, 5, 130, 1)] + [[7, 8, 9, 50]]
TEXTS = [
    "A man is riding a horse.", "Two dogs.", "What is the boundary layer of a flat plate in supersonic flow?", "no",
    "The stock market fell on Friday, and the waves are high. " * 6,
]  # fmt: skip
ERRORS = {"fp32": 1e-4, "bf16": 0.06, "fp16": 0.02}
"""Length of the difference of two unit vectors: float32 sums in another order, bf16's 8 and fp16's 11 bits."""


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def make(family: str, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(CONFIGS[family](), dtype=torch.float32).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1) if p.dim() == 1 else p.mul_(3)
    return model.to(DEVICE, dtype)


@torch.no_grad()
def alone(model: nn.Module) -> torch.Tensor:
    """(b, e): the last position of each prompt run by itself through transformers."""
    rows = [model(torch.tensor([ids], device=DEVICE)).last_hidden_state[0, -1].float() for ids in BATCH]
    return torch.stack(rows)


def away(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((nn.functional.normalize(ours) - nn.functional.normalize(theirs)).norm(dim=1).max())


def fast(model: nn.Module) -> LastTokenForward:
    made = fast_forward(model)
    assert made is not None
    made.GAIN = 1
    return made


@pytest.mark.parametrize("family", CONFIGS)
def test_the_fast_forward_is_transformers(family: str) -> None:
    model = make(family, torch.float32)
    expected = alone(model)
    assert away(fast(model)(BATCH), expected) < ERRORS["fp32"]


@pytest.mark.parametrize("family", CONFIGS)
def test_at_sixteen_bits_it_is_as_near_to_fp32_as_transformers(family: str) -> None:
    exact, half = alone(make(family, torch.float32)), make(family, HALF)
    ours, theirs = away(fast(half)(BATCH), exact), away(alone(half), exact)
    assert ours < max(1.5 * theirs, ERRORS["bf16"] / 4)


def test_packed_attention_is_the_grouped_one() -> None:
    """Where the variable-length kernel runs it must be used, and give what the products give."""
    model = make("llama", HALF)
    packed, plain = fast(model), fast(model)
    plain.attention = Grouped
    if DEVICE == "cuda" and torch.cuda.get_device_capability() >= (8, 0):
        assert isinstance(packed.attention([1, 2], 0), Varlen)
    assert away(packed(BATCH), plain(BATCH)) < ERRORS["bf16"]


def test_a_prompt_alone_and_in_a_batch() -> None:
    for dtype, most in ((torch.float32, ERRORS["fp32"]), (HALF, ERRORS["bf16"] / 2)):
        forward = fast(make("llama", dtype))
        together = forward(BATCH)
        assert away(torch.cat([forward([ids]) for ids in BATCH]), together) < most


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_the_encoders_vectors_are_those_of_the_cpu(name: str, tiny_llama: Path, tiny_opt: Path) -> None:
    if name not in precision.available(torch.device(DEVICE)):
        pytest.skip(f"{DEVICE} does not compute in {name}")
    for folder in (tiny_llama, tiny_opt):
        spec = resolve(EncoderSpec(model=str(folder), demonstrations=(("A dog runs.", "Dog"),)))
        exact = open_encoder(replace(spec, precision="fp32"), device="cpu").encode(TEXTS)
        encoder = open_encoder(replace(spec, precision=name), device=DEVICE)
        ours = encoder.encode(TEXTS * 40)  # texts that repeat, a prefix that all share
        assert float(np.linalg.norm(ours[:5] - exact, axis=1).max()) < ERRORS[name]
        np.testing.assert_array_equal(ours[:5], ours[5:10])
        singly = np.concatenate([encoder.encode([text]) for text in TEXTS])
        assert float(np.linalg.norm(singly - ours[:5], axis=1).max()) < ERRORS[name]


def test_nf4_on_the_device_is_nf4_on_the_cpu(tiny: Callable[[str], Path]) -> None:
    pytest.importorskip("bitsandbytes")
    from tests.models import make as made

    folder = made("llama", tiny("llama").parent / "wide", width=64)
    spec = resolve(EncoderSpec(model=str(folder), precision="nf4"))
    vectors = [open_encoder(spec, device=device).encode(TEXTS) for device in ("cpu", DEVICE)]
    assert float(np.linalg.norm(vectors[0] - vectors[1], axis=1).max()) < ERRORS["bf16"]
