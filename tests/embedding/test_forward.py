"""The fast forward against transformers, one prompt at a time without padding, over families and ways of batching."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from indexer.embedding.forward.attention import Varlen, attends
from indexer.embedding.forward.last_token import LastTokenForward, fast_forward
from indexer.embedding.forward.linear import Dense, Filled, Int8, Packed, int8_steps, rowwise, steady

VOCABULARY = 200
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
         "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
GROUPED = {**SIZES, "intermediate_size": 96, "num_key_value_heads": 2}
OPT = {**SIZES, "ffn_dim": 96}
LONG = {"rope_theta": 10000.0, "original_max_position_embeddings": 32, "factor": 4.0}
CONFIGS: dict[str, Callable[[], transformers.PreTrainedConfig]] = {
    "llama": lambda: transformers.LlamaConfig(**GROUPED),
    "llama, biases": lambda: transformers.LlamaConfig(**GROUPED, attention_bias=True, mlp_bias=True),
    "llama, one head each": lambda: transformers.LlamaConfig(**{**GROUPED, "num_key_value_heads": 4}),
    "llama, rope of llama 3": lambda: transformers.LlamaConfig(
        **GROUPED,
        rope_parameters={"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **LONG},
    ),
    "llama, yarn": lambda: transformers.LlamaConfig(**GROUPED, rope_parameters={"rope_type": "yarn", **LONG}),
    "mistral, window": lambda: transformers.MistralConfig(**GROUPED, sliding_window=6),
    "qwen2": lambda: transformers.Qwen2Config(**GROUPED),
    "qwen3, wide heads": lambda: transformers.Qwen3Config(**GROUPED, head_dim=16),
    "gemma3, windows": lambda: transformers.Gemma3TextConfig(**GROUPED, head_dim=16, sliding_window=6),
    "opt": lambda: transformers.OPTConfig(**OPT, word_embed_proj_dim=48),
    "opt like 350m": lambda: transformers.OPTConfig(**OPT, word_embed_proj_dim=24, do_layer_norm_before=False),
    "gpt2": lambda: transformers.GPT2Config(**SIZES),
}
BATCH = [[7, 8, 9, *range(10, 10 + n)] for n in (1, 30, 5, 6, 5, 130, 1)] + [[7, 8, 9, 50]]
"""Three shared tokens, a repeated length, one left to itself after the prefix, one of more than two query blocks."""


def make(config: transformers.PreTrainedConfig) -> nn.Module:
    """Random weights wide enough that every part of every block changes the result by far more than 1e-5."""
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1) if p.dim() == 1 else p.mul_(5)
    return model


@cache
def reference(family: str) -> tuple[nn.Module, Tensor]:
    model = make(CONFIGS[family]())
    return model, alone(model, BATCH)


@torch.no_grad()
def alone(model: nn.Module, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(b, e): the last position of each sequence run by itself."""
    return torch.stack([model(torch.tensor([ids])).last_hidden_state[0, -1].float() for ids in sequences])


def fast(model: nn.Module, gain: int = 1, **options: object) -> LastTokenForward:
    made = fast_forward(model, **options)  # type: ignore[arg-type]
    assert made is not None
    made.GAIN = gain
    return made


def close(got: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert got.dtype == torch.float32
    assert got.shape == expected.shape
    assert float((got - expected).abs().max() / expected.abs().max()) < tolerance


def softmax_attention(
    q: Tensor, k: Tensor, v: Tensor, ends_q: Tensor, ends_k: Tensor, longest_q: int, longest_k: int,
    scale: float, window: int | None,
) -> Tensor:  # fmt: skip
    """The contract of a variable-length kernel, one sequence at a time."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    out = torch.empty_like(q)
    starts = zip(ends_q[:-1], ends_q[1:], ends_k[:-1], ends_k[1:], strict=True)
    for q0, q1, k0, k1 in (tuple(map(int, row)) for row in starts):
        assert q1 - q0 <= longest_q
        assert k1 - k0 <= longest_k
        scores = torch.einsum("qhd,khd->hqk", q[q0:q1], k[k0:k1]) * scale
        distance = torch.arange(k1 - k0 - (q1 - q0), k1 - k0)[:, None] - torch.arange(k1 - k0)
        scores[:, (distance < 0) | (distance >= (window or k1 + 1))] = float("-inf")
        out[q0:q1] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[k0:k1])
    return out


def test_a_kernel_is_taken_for_one_only_if_it_attends() -> None:
    """A kernel that does not know heads that share keys, or the order of tokens, is not used."""
    where = (torch.device("cpu"), torch.float32, 16)
    assert attends(softmax_attention, *where)
    both_ways = lambda q, k, v, *rest: softmax_attention(q.flip(0), k, v, *rest)  # noqa: E731
    assert not attends(both_ways, *where)
    own_keys = lambda q, k, v, *rest: softmax_attention(q[:, :1], k, v, *rest).expand(-1, 2, -1)  # noqa: E731
    assert not attends(own_keys, *where)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("reuse", [True, False], ids=["prefix once", "no prefix"])
@pytest.mark.parametrize("packing", ["grouped", "variable-length kernel"])
def test_equals_unbatched_transformers(family: str, reuse: bool, packing: str) -> None:
    model, expected = reference(family)
    forward = fast(model)
    forward.reuse = reuse
    if packing != "grouped":
        forward.attention = lambda lengths, prefix: Varlen(lengths, prefix, torch.device("cpu"), softmax_attention)
    close(forward(BATCH), expected)
    assert forward.tokens == sum(map(len, BATCH)) - reuse * 3 * (len(BATCH) - 1)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_equals_transformers_padded_on_either_side(family: str, side: str) -> None:
    model, _ = reference(family)
    longest = max(map(len, BATCH))
    pads = [[0] * (longest - len(ids)) for ids in BATCH]
    left = side == "left"
    ids = torch.tensor([[*pad, *s] if left else [*s, *pad] for s, pad in zip(BATCH, pads, strict=True)])
    mask = torch.tensor([[0] * len(pad) + [1] * len(s) if left else [1] * len(s) + [0] * len(pad)
                         for s, pad in zip(BATCH, pads, strict=True)])  # fmt: skip
    with torch.no_grad():
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        hidden = model(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state
    last = torch.full((len(BATCH),), longest - 1) if left else mask.sum(1) - 1
    close(fast(model)(BATCH), hidden[torch.arange(len(BATCH)), last])


@pytest.mark.parametrize("family", CONFIGS)
def test_bf16_is_no_worse_than_transformers_in_bf16(family: str) -> None:
    """A bf16 number has 8 bits, so each product is off by up to 0.4%; several blocks of random weights add up to a
    few percent in either implementation. Ours, with an fp32 residual stream, must not be the worse one by half."""
    _, expected = reference(family)
    model = make(CONFIGS[family]()).to(torch.bfloat16)
    theirs, ours = alone(model, BATCH) - expected, fast(model)(BATCH) - expected
    assert float(ours.norm() / expected.norm()) < 0.03
    assert float(ours.norm()) < 1.5 * float(theirs.norm())


@pytest.mark.parametrize("family", CONFIGS)
def test_int8_is_close_or_refused(family: str) -> None:
    """Half a step of 127 is 0.4% of the largest value of a row, which is several times the typical one; a processor
    that has no more than 63 steps may be off by twice as much."""
    _, expected = reference(family)
    model = make(CONFIGS[family]())
    if not Int8.works():
        assert fast_forward(model, int8=True) is None
        return
    for sample in ((), BATCH[:4]):
        error = fast(model, int8=True, sample=sample)(BATCH) - expected
        assert 1e-4 < float(error.norm() / expected.norm()) < 0.05 * 127 / int8_steps()


@pytest.mark.parametrize("steps", [127, 63])
def test_the_largest_int8_products_are_exact_or_the_machine_takes_fewer_steps(steps: int) -> None:
    """64 inputs at their largest times weights at their largest: sums that 16 bits cannot hold."""
    if steps > int8_steps():
        pytest.skip(f"this processor adds pairs of products in 16 bits: it takes {int8_steps()} steps, not {steps}")
    for sign in (1.0, -1.0):
        layer = Int8(torch.ones(8, 64), None, None, steps=steps)
        x = torch.full((3, 64), sign)
        torch.testing.assert_close(layer(layer.prepare(x)), torch.full((3, 8), 64 * sign), rtol=1e-3, atol=0)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "gemma3, windows"])
def test_a_sample_saves_int8_from_large_inputs(family: str) -> None:
    """One part of the hidden state 100 times the others, as trained models have it, takes nearly all of 127 steps."""
    assert Int8.works(), "nothing to prove on this processor: no 8-bit products"
    model = make(CONFIGS[family]())
    inputs = 0 if family == "gpt2" else 1  # which side of a weight its inputs are
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1 and name.endswith("weight") and ("ln_" in name or "norm" in name) and len(p) == 48:
                p[7] = 100.0
            if p.dim() == 2 and p.shape[inputs] == 48 and "embed" not in name and "wte" not in name:
                p.select(inputs, 7).mul_(0.01)
    others = [i for i in range(48) if i != 7]
    expected = alone(model, BATCH)[:, others]
    blind, aware = (fast(model, int8=True, sample=sample)(BATCH)[:, others] for sample in ((), BATCH[:4]))
    assert float((aware - expected).norm()) < 0.8 * float((blind - expected).norm())


@pytest.mark.parametrize("family", ["llama", "gemma3, windows", "opt like 350m", "gpt2"])
@pytest.mark.parametrize("layers", [1, 2])
def test_first_layers_only(family: str, layers: int) -> None:
    model = make(CONFIGS[family]())
    shallow = fast(model, layers=layers)(BATCH)
    blocks = {"gpt2": "h"}.get(family, "layers")
    part = model.decoder if "opt" in family else model
    setattr(part, blocks, getattr(part, blocks)[:layers])
    model.config.num_hidden_layers = layers
    close(shallow, alone(model, BATCH))


sequences = st.lists(
    st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=8
)  # few ids, so that prefixes are shared


@given(batch=sequences, data=st.data())
@settings(max_examples=60, deadline=None)
def test_vector_depends_on_neither_company_nor_order(batch: list[list[int]], data: st.DataObject) -> None:
    model, _ = reference("llama")
    forward = fast(model)
    together = forward(batch)
    order = data.draw(st.permutations(range(len(batch))))
    shuffled = forward([batch[i] for i in order])
    single = torch.cat([forward([ids]) for ids in batch])
    torch.testing.assert_close(shuffled, together[list(order)], atol=2e-5, rtol=0)
    torch.testing.assert_close(single, together, atol=2e-5, rtol=0)


def test_one_prefix_serves_batches_and_single_prompts() -> None:
    model, _ = reference("llama")
    forward = fast(model, gain=40)
    template = list(range(20, 40))
    for first in (50, 60):
        batch = [[*template, *range(first + n, first + n + 5)] for n in (2, 3, 4)]
        close(forward(batch), alone(model, batch))
    assert forward.tokens == 20 + 2 * 3 * 5
    close(forward([[*template, 90]]), alone(model, [[*template, 90]]))
    assert forward.tokens == 20 + 2 * 3 * 5 + 1


def test_longer_prefix_builds_on_a_shorter_one() -> None:
    model, _ = reference("opt")
    forward = fast(model)
    forward.prime(range(20, 30))
    assert forward.tokens == 10
    batch = [[*range(20, 35), i] for i in (3, 4)]
    close(forward(batch), alone(model, batch))
    assert forward.tokens == 15 + 2


def test_a_prefix_too_short_to_pay_is_not_run_apart() -> None:
    model, _ = reference("llama")
    forward = fast(model, gain=64)
    close(forward(BATCH), alone(model, BATCH))
    assert forward.tokens == sum(map(len, BATCH))


def test_prefixes_kept_are_few() -> None:
    model, _ = reference("llama")
    forward = fast(model)
    for i in range(40):
        forward.prime([i, i])
    assert len(forward._pasts) == forward.PREFIXES


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_adapter_beside_the_weights(family: str) -> None:
    targets = {"llama": ["q_proj", "v_proj", "down_proj"], "opt": ["k_proj", "fc1"], "gpt2": ["c_fc"]}[family]
    model = get_peft_model(make(CONFIGS[family]()), LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    model.eval()
    bare = alone(model.get_base_model(), BATCH)
    with model.disable_adapter():
        assert float((alone(model, BATCH) - bare).abs().max()) > 0.01  # the adapter does something
    close(fast(model)(BATCH), bare)


def test_model_stays_usable_unless_released() -> None:
    model = make(CONFIGS["llama"]())
    expected = alone(model, BATCH)
    kept = fast(model)
    close(alone(model, BATCH), expected, 1e-7)
    close(kept(BATCH), expected)
    close(fast(model, release=True)(BATCH), expected)
    assert (steady(torch.float32) is not Dense) == (model.layers[0].mlp.up_proj.weight.numel() == 0)


@pytest.mark.parametrize(
    "config",
    [
        transformers.BertConfig(hidden_size=48, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48),
        transformers.LlamaConfig(**GROUPED, rope_parameters={"rope_type": "dynamic", **LONG}),
        transformers.Gemma3TextConfig(**GROUPED, head_dim=16, attn_logit_softcapping=5.0),
        transformers.GPTNeoXConfig(**{**SIZES, "intermediate_size": 96}),
    ],
    ids=lambda config: config.model_type,
)
def test_what_is_not_covered_is_refused(config: transformers.PreTrainedConfig) -> None:
    assert fast_forward(make(config)) is None


@pytest.fixture
def team() -> Iterator[Callable[[int], None]]:
    """Sets the threads that torch shares work among."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("layer", [Filled, Packed])
@pytest.mark.parametrize(("inputs", "outputs"), [(192, 512), (512, 192), (37, 64), (48, 5)])
def test_a_row_has_the_same_bits_beside_any_others(
    layer: type[Filled | Packed], inputs: int, outputs: int, team: Callable[[int], None]
) -> None:
    avx2 = torch.backends.mkl.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX2"
    if not (avx2 if layer is Filled else Packed.works(torch.float32)):
        pytest.skip("the machine has no such product")
    assert layer is Packed or Filled.works()
    made = torch.Generator().manual_seed(0)
    x, weight = torch.randn(400, inputs, generator=made), torch.randn(outputs, inputs, generator=made)
    bias, other = torch.randn(outputs, generator=made), torch.randn(400, outputs, generator=made)
    activation = F.silu if outputs > 5 else nn.Identity()  # of few values, the last come out otherwise
    product = layer(weight, bias, activation)
    team(1)
    whole, times = product(x), product.times(x, other)
    torch.testing.assert_close(whole, activation(F.linear(x, weight, bias)), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(times, F.linear(x, weight, bias) * other, atol=1e-3, rtol=1e-5)
    for threads in (1, 2, 5, 16):
        team(threads)
        for rows in (*range(1, 40), 97, 255, 400):
            assert torch.equal(product(x[:rows]), whole[:rows]), (threads, rows)
            assert torch.equal(product.times(x[-rows:], other[-rows:]), times[-rows:]), (threads, rows)


def test_values_shared_out_among_threads_have_the_same_bits(team: Callable[[int], None]) -> None:
    x = torch.randn(397, 512, generator=torch.Generator().manual_seed(0))
    turned = (
        torch.view_as_complex(x.view(397, 4, 64, 2)),
        torch.view_as_complex(x.cos()[:, None, :128].view(397, 1, 64, 2)),
    )
    team(1)
    alone = F.silu(x), torch.mul(*turned)
    team(5)
    assert torch.equal(rowwise(F.silu, x), alone[0])
    assert torch.equal(rowwise(torch.mul, *turned), alone[1])
