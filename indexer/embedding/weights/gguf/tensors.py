"""Tensors of GGUF files under transformers' names and in transformers' layout, for every family.

llama.cpp reorders some: rotary dimensions interleaved, joined projections apart, experts stacked, 1 added to norms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from indexer.embedding.weights.gguf.metadata import Metadata, Stored

    Array = NDArray[np.float32]
    Layout = Callable[[Array, Mapping[str, Any]], Array]

TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NORMED_HEADS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
GEMMA_2 = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
MIXTRAL = {"ffn_gate_exps": "w1", "ffn_up_exps": "w3", "ffn_down_exps": "w2"}
EXPERTS = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}
ROUTED = {"ffn_gate_inp": "mlp.gate"}
SHARED = {
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
GPT2 = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
BLOOM = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "self_attention.query_key_value",
    "attn_output": "self_attention.dense",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
FALCON = {name: theirs for name, theirs in BLOOM.items() if name != "ffn_norm"}
MAMBA = {
    "attn_norm": "norm",
    "ssm_in": "mixer.in_proj",
    "ssm_conv1d": "mixer.conv1d",
    "ssm_x": "mixer.x_proj",
    "ssm_dt": "mixer.dt_proj",
    "ssm_a": "mixer.A_log",
    "ssm_d": "mixer.D",
    "ssm_out": "mixer.out_proj",
}
LFM2 = {
    "attn_norm": "operator_norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.out_proj",
    "attn_q_norm": "self_attn.q_layernorm",
    "attn_k_norm": "self_attn.k_layernorm",
    "shortconv.conv": "conv.conv",
    "shortconv.in_proj": "conv.in_proj",
    "shortconv.out_proj": "conv.out_proj",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_up": "feed_forward.w3",
    "ffn_down": "feed_forward.w2",
}
GPT_OSS = {
    "post_attention_norm": "post_attention_layernorm",
    "attn_sinks": "self_attn.sinks",
    "ffn_gate_inp": "mlp.router",
}
MINIMAX_M2 = {"ffn_gate_inp": "mlp.gate", "exp_probs_b": "mlp.e_score_correction_bias"}
WHOLE = ("A_log", "D", "sinks", "e_score_correction_bias")
"""Last part of names that transformers gives no .weight or .bias."""
IN_CONFIG = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors of which config.json tells."""


@dataclass(frozen=True)
class Names:
    """Where a family's tensors go."""

    block: Mapping[str, str]
    top: Mapping[str, str]
    blocks: str = "model.layers"


def _decoder(*more: Mapping[str, str]) -> Names:
    block: dict[str, str] = dict(BLOCK)
    for each in more:
        block |= each
    return Names(block, TOP)


def _transformer(block: Mapping[str, str], top: Mapping[str, str]) -> Names:
    stems = {name: f"transformer.{theirs}" for name, theirs in top.items()}
    return Names(block, {**stems, "output": "lm_head"}, "transformer.h")


NAMES = {
    "llama": _decoder(),
    "qwen2": _decoder(),
    "qwen2moe": _decoder(ROUTED, SHARED),
    "qwen3": _decoder(NORMED_HEADS),
    "qwen3moe": _decoder(NORMED_HEADS, ROUTED),
    "gemma": _decoder(),
    "gemma2": _decoder(GEMMA_2),
    "gemma3": _decoder(GEMMA_2, NORMED_HEADS),
    "phi3": _decoder({"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"}),
    "stablelm": _decoder(),
    "nemotron": _decoder(),
    "starcoder2": _decoder({"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}),
    "gpt2": _transformer(GPT2, {"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f"}),
    "falcon": _transformer(FALCON, {"token_embd": "word_embeddings", "output_norm": "ln_f"}),
    "bloom": _transformer(
        BLOOM,
        {"token_embd": "word_embeddings", "token_embd_norm": "word_embeddings_layernorm", "output_norm": "ln_f"},
    ),
    "mamba": Names(
        MAMBA,
        {"token_embd": "backbone.embeddings", "output_norm": "backbone.norm_f", "output": "lm_head"},
        "backbone.layers",
    ),
    "lfm2": Names(LFM2, {**TOP, "token_embd_norm": "model.embedding_norm"}),
    "gpt-oss": _decoder(GPT_OSS),
    "minimax-m2": _decoder(NORMED_HEADS, MINIMAX_M2),
}


@dataclass(frozen=True)
class Weight:
    """One tensor as it will be written."""

    name: str
    shape: tuple[int, ...]
    chunks: Callable[[], Iterator[Array]]
    """Gives the values in order, in pieces of any shape."""


def weights(model: Metadata, config: Mapping[str, Any]) -> Iterator[Weight]:
    """Yield every weight of the model, none of them read yet.

    Raises:
        ModelError: A tensor is not known.
    """
    names = NAMES[model.architecture]
    for stored in model.tensors.values():
        if stored.name in IN_CONFIG or (config.get("tie_word_embeddings") and stored.name == "output.weight"):
            continue
        stem, dot, ending = stored.name.rpartition(".")
        if ending not in ("weight", "bias"):
            stem, dot, ending = stored.name, "", ""
        block = re.fullmatch(r"blk\.(\d+)\.([\w.]+)", stem)
        if block and block[2] in EXPERTS and model.architecture in EXPERTS_OF:
            yield from EXPERTS_OF[model.architecture](model, stored, f"{names.blocks}.{block[1]}.mlp.experts", block[2])
            continue
        theirs = _name(model, names, block, stem)
        if theirs is None:
            raise ModelError(
                f"{model.source} holds a tensor {stored.name!r} that no {model.architecture} model has; it is of a "
                "variant that is not read: give the model's original folder or hub name instead"
            )
        layout = _layout(model.architecture, block[2] if block else stem, ending)
        whole = theirs.rpartition(".")[2] in WHOLE
        yield _weight(stored, theirs if whole else f"{theirs}{dot}{ending}", layout, config)


def _name(model: Metadata, names: Names, block: re.Match[str] | None, stem: str) -> str | None:
    if block is None:
        return names.top.get(stem)
    part = block[2]
    if model.architecture == "falcon" and model.has(r"blk\.0\.attn_norm_2\.weight"):  # two norms of one input
        part = {"attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"}.get(part, part)
        if part.startswith("ln_"):
            return f"{names.blocks}.{block[1]}.{part}"
    found = names.block.get(part)
    return None if found is None else f"{names.blocks}.{block[1]}.{found}"


def _weight(stored: Stored, name: str, layout: Layout | None, config: Mapping[str, Any]) -> Weight:
    if layout is None:
        return Weight(name, stored.shape, stored.chunks)
    shapes: dict[Layout, tuple[int, ...]] = {
        _turned: stored.shape[::-1],
        _row: (1, *stored.shape),
        _kernel: (stored.shape[0], 1, stored.shape[-1]),
    }
    shape = shapes.get(layout, stored.shape)
    return Weight(name, shape, lambda: iter([layout(stored.values(), config)]))


def _each_expert(stored: Stored) -> Iterator[Stored]:
    """Yield a matrix (o, i) for each of the experts that llama.cpp stacks (experts, o, i)."""
    for data in stored.data.reshape(stored.shape[0], stored.shape[1], -1):
        yield type(stored)(stored.name, stored.shape[1:], stored.kind, data)


def _experts_apart(model: Metadata, stored: Stored, name: str, part: str) -> Iterator[Weight]:
    """Yield a weight for each expert; transformers stacks them again as it loads them."""
    theirs = (MIXTRAL if model.architecture == "minimax-m2" else EXPERTS)[part]
    for number, single in enumerate(_each_expert(stored)):
        yield Weight(f"{name}.{number}.{theirs}.weight", single.shape, single.chunks)


def _experts_turned(model: Metadata, stored: Stored, name: str, part: str) -> Iterator[Weight]:
    """Yield the experts of GPT-OSS as transformers keeps them: (experts, i, o), gates and what they gate by turns."""
    if part == "ffn_up_exps":
        return  # comes with its gates
    pair, theirs = [stored], "down_proj"
    if part == "ffn_gate_exps":
        pair, theirs = [stored, model.tensors[stored.name.replace("ffn_gate", "ffn_up")]], "gate_up_proj"
    width = len(pair) * stored.shape[1]
    if stored.name.endswith(".bias"):
        both = [each.values() for each in pair]
        yield Weight(f"{name}.{theirs}_bias", (stored.shape[0], width), lambda: iter([_by_turns(both)]))
        return

    def chunks() -> Iterator[Array]:
        for singles in zip(*map(_each_expert, pair), strict=True):
            yield _by_turns([single.values().T for single in singles])

    yield Weight(f"{name}.{theirs}", (stored.shape[0], stored.shape[2], width), chunks)


def _by_turns(parts: list[Array]) -> Array:
    """Return (…, n * parts): the first of each part, then the second of each."""
    return np.stack(parts, axis=-1).reshape(*parts[0].shape[:-1], -1)


EXPERTS_OF = {
    "qwen2moe": _experts_apart,
    "qwen3moe": _experts_apart,
    "minimax-m2": _experts_apart,
    "gpt-oss": _experts_turned,
}


def _layout(architecture: str, part: str, ending: str) -> Layout | None:
    """Return what llama.cpp's order has to be turned back with; None: as it is."""
    if architecture == "llama" and part in ("attn_q", "attn_k"):
        return _halves_of_queries if part == "attn_q" else _halves_of_keys
    if architecture in ("gemma", "gemma2", "gemma3", "nemotron") and part.endswith("norm") and ending == "weight":
        return _less_one
    if architecture == "gpt2" and part in ("attn_qkv", "attn_output", "ffn_up", "ffn_down") and ending == "weight":
        return _turned
    if architecture in ("bloom", "falcon") and part == "attn_qkv":
        return _bloom_heads if architecture == "bloom" else _falcon_groups
    if part in ("ssm_conv1d", "shortconv.conv") and ending == "weight":
        return _kernel
    return {"ffn_gate_inp_shexp": _row, "ssm_a": _logarithm}.get(part)


def _less_one(values: Array, _: Mapping[str, Any]) -> Array:
    return values - 1


def _turned(values: Array, _: Mapping[str, Any]) -> Array:
    return values.T


def _row(values: Array, _: Mapping[str, Any]) -> Array:
    return values.reshape(1, -1)


def _kernel(values: Array, _: Mapping[str, Any]) -> Array:
    return values.reshape(len(values), 1, -1)


def _logarithm(values: Array, _: Mapping[str, Any]) -> Array:
    return np.log(-values)


def _halves_of_queries(values: Array, config: Mapping[str, Any]) -> Array:
    return _halves(values, config["num_attention_heads"])


def _halves_of_keys(values: Array, config: Mapping[str, Any]) -> Array:
    return _halves(values, config["num_key_value_heads"])


def _halves(values: Array, heads: int) -> Array:
    """Return weights (heads * head_dim, …) with the two halves of each head's rotary dimensions apart.

    GGUF interleaves them; transformers does not.
    """
    half = values.shape[0] // heads // 2
    return values.reshape(heads, half, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _bloom_heads(values: Array, config: Mapping[str, Any]) -> Array:
    """Return (heads * 3 * head_dim, …): queries, keys and values of each head together, not of all heads."""
    return values.reshape(3, config["n_head"], -1, *values.shape[1:]).swapaxes(0, 1).reshape(values.shape)


def _falcon_groups(values: Array, config: Mapping[str, Any]) -> Array:
    """Return the heads of each group that shares keys and values together: its queries, its key, its value."""
    heads, groups = config["num_attention_heads"], config["num_kv_heads"]
    width = config["hidden_size"] // heads
    queries, keys, rest = np.split(values, [heads * width, (heads + groups) * width])
    parts = [part.reshape(groups, -1, width, *values.shape[1:]) for part in (queries, keys, rest)]
    return np.concatenate(parts, axis=1).reshape(values.shape)
