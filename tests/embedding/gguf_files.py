"""Tiny random models of every family as GGUF files: names by the gguf package's own table, layouts as llama.cpp's.

What is turned over here is turned back by ``indexer.embedding.weights.gguf``; nothing is shared with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers

HIDDEN, HEADS, KV, HEAD, MLP, BLOCKS, POSITIONS, EXPERTS = 64, 4, 2, 16, 96, 2, 128, 3
Writer = gguf.GGUFWriter
SIZES = {
    "hidden_size": HIDDEN, "num_hidden_layers": BLOCKS, "num_attention_heads": HEADS, "num_key_value_heads": KV,
    "intermediate_size": MLP, "max_position_embeddings": POSITIONS, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}
GEMMA = {**SIZES, "head_dim": 24, "query_pre_attn_scalar": 24, "sliding_window": 8}
MOE = {
    "num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": False,
}  # fmt: skip


def _partial(share: float) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": share}}


YARN = {
    "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 5000.0, "factor": 4.0, "original_max_position_embeddings": 32,
        "truncate": False,
    }
}  # fmt: skip


CONFIGS: dict[str, Callable[[int], Any]] = {
    "llama": lambda v: transformers.LlamaConfig(vocab_size=v, **SIZES, **ROPE),
    "qwen2": lambda v: transformers.Qwen2Config(vocab_size=v, tie_word_embeddings=True, **SIZES, **ROPE),
    "qwen3": lambda v: transformers.Qwen3Config(vocab_size=v, head_dim=24, **SIZES, **ROPE),
    "qwen2moe": lambda v: transformers.Qwen2MoeConfig(
        vocab_size=v, shared_expert_intermediate_size=48, **SIZES, **MOE, **ROPE
    ),
    "qwen3moe": lambda v: transformers.Qwen3MoeConfig(
        vocab_size=v, head_dim=HEAD, **SIZES, **{**MOE, "norm_topk_prob": True}, **ROPE
    ),
    "gemma": lambda v: transformers.GemmaConfig(vocab_size=v, head_dim=24, **SIZES, **ROPE),
    "gemma2": lambda v: transformers.Gemma2Config(vocab_size=v, **GEMMA, **ROPE),
    "gemma3": lambda v: transformers.Gemma3TextConfig(vocab_size=v, **GEMMA),
    "phi3": lambda v: transformers.Phi3Config(vocab_size=v, **SIZES, **ROPE),
    "stablelm": lambda v: transformers.StableLmConfig(vocab_size=v, use_qkv_bias=True, **SIZES, **_partial(0.25)),
    "nemotron": lambda v: transformers.NemotronConfig(vocab_size=v, head_dim=HEAD, **SIZES, **_partial(0.5)),
    "starcoder2": lambda v: transformers.Starcoder2Config(vocab_size=v, **SIZES),
    "gpt2": lambda v: transformers.GPT2Config(
        vocab_size=v, n_positions=1024, n_embd=HIDDEN, n_layer=BLOCKS, n_head=HEADS, n_inner=MLP
    ),
    "falcon": lambda v: transformers.FalconConfig(
        vocab_size=v, hidden_size=HIDDEN, num_hidden_layers=BLOCKS, num_attention_heads=HEADS, ffn_hidden_size=MLP,
        multi_query=True,
    ),
    "falcon, grouped": lambda v: transformers.FalconConfig(
        vocab_size=v, hidden_size=HIDDEN, num_hidden_layers=BLOCKS, num_attention_heads=HEADS, ffn_hidden_size=MLP,
        new_decoder_architecture=True, num_kv_heads=KV,
    ),
    "bloom": lambda v: transformers.BloomConfig(vocab_size=v, hidden_size=HIDDEN, n_layer=BLOCKS, n_head=HEADS),
    "mamba": lambda v: transformers.MambaConfig(
        vocab_size=v, hidden_size=HIDDEN, num_hidden_layers=BLOCKS, state_size=8, expand=3, time_step_rank=5,
        conv_kernel=3,
    ),
    "lfm2": lambda v: transformers.Lfm2Config(
        vocab_size=v, layer_types=["conv", "full_attention"], conv_L_cache=4, block_auto_adjust_ff_dim=False, **SIZES,
        **ROPE,
    ),
    "gpt-oss": lambda v: transformers.GptOssConfig(
        vocab_size=v, head_dim=24, num_local_experts=EXPERTS, num_experts_per_tok=2, sliding_window=8, **SIZES, **YARN,
    ),
    "minimax-m2": lambda v: transformers.MiniMaxM2Config(
        vocab_size=v, head_dim=HEAD, num_local_experts=EXPERTS, num_experts_per_tok=2, **SIZES, **_partial(0.5),
    ),
}  # fmt: skip
FAMILIES = tuple(CONFIGS)
UNREAD = ("gemma", "falcon, grouped", "gpt-oss")
"""Of these, what transformers' own loader does not know, or turns over wrongly."""


def make(family: str, vocabulary: int) -> torch.nn.Module:
    """A random model in which every tensor changes the result."""
    torch.manual_seed(sum(map(ord, family)))
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[family](vocabulary), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.1 if parameter.ndim == 1 else 0.2
            parameter.add_(torch.randn_like(parameter) * spread)
    return model


def write(family: str, model: Any, tokenizer: dict[str, Any], target: Path) -> None:
    """Write the model as llama.cpp's converter would.

    Args:
        family: Of ``CONFIGS``.
        model: The model.
        tokenizer: The ``model`` part of a byte-level tokenizer.json; four special tokens first.
        target: The file.
    """
    architecture = family.split(",")[0]
    writer = Writer(target, architecture)
    config = model.config
    _keys(writer, architecture, config)
    add_tokenizer(writer, tokenizer)
    for name, tensor in tensors(architecture, model).items():
        writer.add_tensor(name, np.ascontiguousarray(tensor, np.float32))
    finish(writer)


def finish(writer: Writer) -> None:
    """Write the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _keys(writer: Writer, architecture: str, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(getattr(config, "max_position_embeddings", POSITIONS))
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(4 * HIDDEN if architecture == "bloom" else MLP)
    if architecture == "mamba":
        _of_states(writer, config)
        return
    writer.add_head_count(HEADS)
    kv = {"falcon": getattr(config, "num_kv_heads", 1), "gpt2": HEADS, "bloom": HEADS}.get(architecture, KV)
    if architecture == "falcon" and not config.new_decoder_architecture:
        kv = 1
    if architecture == "lfm2":
        writer.add_head_count_kv([0 if kind == "conv" else KV for kind in config.layer_types])
        writer.add_shortconv_l_cache(config.conv_L_cache)
    else:
        writer.add_head_count_kv(kv)
    writer.add_layer_norm_rms_eps(getattr(config, "rms_norm_eps", getattr(config, "norm_eps", 1e-5)))
    writer.add_layer_norm_eps(
        getattr(config, "layer_norm_eps", getattr(config, "norm_epsilon", getattr(config, "layer_norm_epsilon", 1e-5)))
    )
    head = getattr(config, "head_dim", None) or HEAD
    if architecture not in ("gpt2", "bloom", "falcon"):
        writer.add_key_length(head)
        writer.add_value_length(head)
    rope = getattr(config, "rope_parameters", None) or {}
    full = rope.get("full_attention", rope)
    if full:
        writer.add_rope_freq_base(full["rope_theta"])
        writer.add_rope_dimension_count(int(head * full.get("partial_rotary_factor", 1.0)))
    if full.get("rope_type") == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(full["factor"])
        writer.add_rope_scaling_orig_ctx_len(full["original_max_position_embeddings"])
    if architecture in ("gemma2", "gemma3", "gpt-oss"):
        writer.add_sliding_window(config.sliding_window)
    if architecture in ("gpt-oss", "minimax-m2"):
        writer.add_expert_count(EXPERTS)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(MLP)
        if architecture == "minimax-m2":
            writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    if "moe" in architecture:
        writer.add_expert_count(EXPERTS)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(32)


def _of_states(writer: Writer, config: Any) -> None:
    writer.add_ssm_conv_kernel(config.conv_kernel)
    writer.add_ssm_inner_size(config.intermediate_size)
    writer.add_ssm_state_size(config.state_size)
    writer.add_ssm_time_step_rank(config.time_step_rank)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)


def add_tokenizer(writer: Writer, model: dict[str, Any], pre: str = "gpt-2") -> None:
    """Write a byte-level tokenizer whose first four tokens are special."""
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i < 4 else 1 for i in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def tensors(architecture: str, model: Any) -> dict[str, np.ndarray]:
    """The model's tensors under llama.cpp's names and in its layout."""
    number = next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, BLOCKS)
    config, found = model.config, {}
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        block = name.split(".")[2] if "layers." in name else ""
        if ".experts." in name and architecture == "gpt-oss":
            found |= _experts_of_gpt_oss(name, values)
            continue
        if name.endswith("e_score_correction_bias"):
            found[f"blk.{block}.exp_probs_b.bias"] = values
            continue
        if ".experts.gate_up_proj" in name:
            for part, half in zip(("gate", "up"), np.split(values, 2, axis=1), strict=True):
                found[f"blk.{block}.ffn_{part}_exps.weight"] = half
            continue
        stem, ending = name, "" if architecture == "mamba" else ".weight"
        if name.endswith((".weight", ".bias")):
            stem, _, last = name.rpartition(".")
            ending = f".{last}"
        theirs = names.get_name(stem) or names.get_name(stem.removeprefix("transformer."))
        assert theirs is not None, name
        found[theirs + ending] = _turned(architecture, config, theirs, ending, values)
    return found


def _experts_of_gpt_oss(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    block, ending = name.split(".")[2], "bias" if name.endswith("_bias") else "weight"
    if ending == "weight":
        values = values.swapaxes(1, 2)
    if ".down_proj" in name:
        return {f"blk.{block}.ffn_down_exps.{ending}": values}
    return {f"blk.{block}.ffn_{part}_exps.{ending}": values[:, i::2] for i, part in enumerate(("gate", "up"))}


def _turned(architecture: str, config: Any, name: str, ending: str, values: np.ndarray) -> np.ndarray:
    if architecture == "llama" and name.endswith(("attn_q", "attn_k")):
        heads = HEADS if name.endswith("attn_q") else KV
        return values.reshape(heads, 2, HEAD // 2, -1).swapaxes(1, 2).reshape(values.shape)
    if architecture in ("gemma", "gemma2", "gemma3", "nemotron") and name.endswith("norm") and ending == ".weight":
        return values + 1
    if architecture == "gpt2" and values.ndim == 2 and name.startswith("blk"):
        return values.T
    if architecture == "bloom" and name.endswith("attn_qkv"):
        return values.reshape(HEADS, 3, HEAD, -1).swapaxes(0, 1).reshape(values.shape)
    if architecture == "falcon" and name.endswith("attn_qkv"):
        groups = config.num_kv_heads if config.new_decoder_architecture else 1
        grouped = values.reshape(groups, HEADS // groups + 2, HEAD, -1)
        parts = grouped[:, :-2], grouped[:, -2:-1], grouped[:, -1:]
        return np.concatenate([part.reshape(-1, values.shape[-1]) for part in parts])
    if name.endswith("ffn_gate_inp_shexp"):
        return values.reshape(-1)
    if name.endswith("ssm_a"):
        return -np.exp(values)
    if name.endswith(("ssm_conv1d", "shortconv.conv")) and ending == ".weight":
        return values[:, 0]
    return values
