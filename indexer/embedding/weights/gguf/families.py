"""The families of models that GGUF files are read of: what config.json says of each, in transformers' words.

llama.cpp keeps a model's shape under keys of its own, and leaves out what all models of a family share: that is
written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from indexer.embedding.weights.gguf.metadata import Metadata

LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""How Llama 3.1 and later scale their rotary frequencies; files hold only the factors that come of it."""


REFUSED = {
    **dict.fromkeys(("t5", "t5encoder"), "an encoder and a decoder; GGUF is read of decoders alone"),
    "deci": "whose code transformers does not have",
    "gemma4": "whose blocks differ in the size of their heads",
}
"""Families of transformers' own tables that are not read, and why."""


def config(model: Metadata) -> dict[str, Any]:
    """Return what config.json has to say.

    Raises:
        ModelError: The family is not known, a key is missing, or the model has something that is not read.
    """
    make = FAMILIES.get(model.architecture)
    if make is None:
        reason = REFUSED.get(model.architecture, "")
        raise ModelError(
            f"{model.source} is a GGUF file of architecture {model.architecture!r}{reason and f' ({reason})'}; those "
            f"read are {', '.join(FAMILIES)}: give the model's original folder or hub name instead"
        )
    return make(model)


def _whole(model: Metadata, architecture: str, model_type: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with what every one has."""
    fields = model.fields
    special = {
        name: int(fields[f"tokenizer.ggml.{key}_token_id"])
        for name, key in (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding"))
        if f"tokenizer.ggml.{key}_token_id" in fields
    }
    embeddings = model.tensors.get("token_embd.weight")
    if embeddings is None:
        raise ModelError(f"{model.source} has no token_embd.weight; it is incomplete")
    return {
        "architectures": [architecture],
        "model_type": model_type,
        **values,
        "tie_word_embeddings": "output.weight" not in model.tensors,
        "vocab_size": embeddings.shape[0],
        **special,
    }


def _decoder(model: Metadata, kv_heads: int | None = None) -> dict[str, Any]:
    """Return the shape of a decoder with rotary positions, under the names that most of them share.

    Args:
        model: The file.
        kv_heads: Key and value heads of a block; None: as the file says, the same in all blocks.
    """
    heads, hidden = int(model.get("attention.head_count")), int(model.get("embedding_length"))
    head_dim = int(model.get("attention.key_length", hidden // heads))
    if int(model.get("attention.value_length", head_dim)) != head_dim:
        raise ModelError(f"{model.source} has heads whose keys and values differ in size, which is not read")
    kv_heads = model.get("attention.head_count_kv", heads) if kv_heads is None else kv_heads
    feed_forward = model.get("feed_forward_length")
    if not isinstance(kv_heads, int) or not isinstance(feed_forward, int):
        raise ModelError(f"{model.source} has blocks of different shapes, which is not read")
    return {
        "hidden_size": hidden,
        "intermediate_size": feed_forward,
        "num_hidden_layers": int(model.get("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": int(model.get("context_length")),
        "rope_parameters": _rope(model, head_dim),
    }


def _rope(model: Metadata, head_dim: int) -> dict[str, Any]:
    theta = float(model.get("rope.freq_base", 10000.0))
    found: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    turned = int(model.get("rope.dimension_count", head_dim))
    if turned != head_dim:
        found["partial_rotary_factor"] = turned / head_dim
    kind = model.get("rope.scaling.type", "none")
    if kind in ("linear", "yarn"):
        found |= {"rope_type": kind, "factor": float(model.get("rope.scaling.factor"))}
        original = int(model.get("rope.scaling.original_context_length", 0))
        if kind == "yarn" and original:
            found["original_max_position_embeddings"] = original
    elif kind not in ("none", "longrope"):  # the latter's factors are tensors
        raise ModelError(f"{model.source} scales its rotary positions by {kind!r}, which is not read")
    if "rope_freqs.weight" in model.tensors:
        found |= _llama_3(model, theta, turned)
    return found


def _llama_3(model: Metadata, theta: float, turned: int) -> dict[str, Any]:
    """Return the scaling that gives the file's factors: each frequency's divisor, 1 for the high ones.

    Raises:
        ModelError: The factors are not those of Llama 3.
    """
    factors = model.tensors["rope_freqs.weight"].values().ravel().astype(np.float64)
    lengths = 2 * np.pi * theta ** (np.arange(0, turned, 2) / turned)
    low, high = LLAMA_3["low_freq_factor"], LLAMA_3["high_freq_factor"]
    positions, factor = LLAMA_3["original_max_position_embeddings"], float(factors.max())
    smooth = np.clip((positions / lengths - low) / (high - low), 0.0, 1.0)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-3):
        raise ModelError(f"{model.source} scales its rotary frequencies in a way of its own, which is not read")
    return {"rope_type": "llama3", "factor": round(factor, 4), **LLAMA_3}


def _rms(model: Metadata) -> dict[str, Any]:
    return {"rms_norm_eps": _short(model.get("attention.layer_norm_rms_epsilon"))}


def _short(value: float) -> float:
    """Return a number that was stored as float32 as a person would write it."""
    return float(f"{value:.6g}")


def _llama(model: Metadata) -> dict[str, Any]:
    values = {**_decoder(model), **_rms(model), "hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
    return _whole(model, "LlamaForCausalLM", "llama", values)


def _qwen2(model: Metadata) -> dict[str, Any]:
    return _whole(model, "Qwen2ForCausalLM", "qwen2", {**_decoder(model), **_rms(model)})


def _qwen3(model: Metadata) -> dict[str, Any]:
    return _whole(model, "Qwen3ForCausalLM", "qwen3", {**_decoder(model), **_rms(model)})


def _experts(model: Metadata) -> dict[str, Any]:
    return {
        "moe_intermediate_size": int(model.get("expert_feed_forward_length")),
        "num_experts": int(model.get("expert_count")),
        "num_experts_per_tok": int(model.get("expert_used_count")),
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def _qwen2moe(model: Metadata) -> dict[str, Any]:
    shared = model.tensors.get("blk.0.ffn_up_shexp.weight")
    extra = {"shared_expert_intermediate_size": shared.shape[0]} if shared is not None else {}
    values = {**_decoder(model), **_rms(model), **_experts(model), **extra, "norm_topk_prob": False}
    return _whole(model, "Qwen2MoeForCausalLM", "qwen2_moe", values)


def _qwen3moe(model: Metadata) -> dict[str, Any]:
    values = {**_decoder(model), **_rms(model), **_experts(model), "norm_topk_prob": True}
    return _whole(model, "Qwen3MoeForCausalLM", "qwen3_moe", values)


def _gemma(model: Metadata) -> dict[str, Any]:
    values = {**_decoder(model), **_rms(model), "hidden_activation": "gelu_pytorch_tanh"}
    return _whole(model, "GemmaForCausalLM", "gemma", values)


def _gemma2(model: Metadata) -> dict[str, Any]:
    shape = _decoder(model)
    values = {
        **shape,
        **_rms(model),
        "hidden_activation": "gelu_pytorch_tanh",
        "sliding_window": int(model.get("attention.sliding_window", 4096)),
        "attn_logit_softcapping": float(model.get("attn_logit_softcapping", 50.0)),
        "final_logit_softcapping": float(model.get("final_logit_softcapping", 30.0)),
        # the 27B model alone scales by the width of a head as it would be without head_dim
        "query_pre_attn_scalar": _scale(shape, blocks_of_the_largest=46),
    }
    return _whole(model, "Gemma2ForCausalLM", "gemma2", values)


def _gemma3(model: Metadata) -> dict[str, Any]:
    shape = _decoder(model)
    local = {"rope_type": "default", "rope_theta": float(model.get("rope.freq_base_swa", 10000.0))}
    full = {"rope_theta": float(model.get("rope.freq_base", 1_000_000.0))}
    values = {
        **shape,
        **_rms(model),
        "hidden_activation": "gelu_pytorch_tanh",
        "sliding_window": int(model.get("attention.sliding_window", 4096)),
        "layer_types": [
            "sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(shape["num_hidden_layers"])
        ],
        "rope_parameters": {"full_attention": shape["rope_parameters"] | full, "sliding_attention": local},
        "query_pre_attn_scalar": _scale(shape, blocks_of_the_largest=62),
    }
    return _whole(model, "Gemma3ForCausalLM", "gemma3_text", values)


def _scale(shape: Mapping[str, Any], blocks_of_the_largest: int) -> int:
    """Return the number by whose square root Gemma divides its attention's logits."""
    largest = shape["num_hidden_layers"] == blocks_of_the_largest
    return int(shape["hidden_size"] // shape["num_attention_heads"] if largest else shape["head_dim"])


def _phi3(model: Metadata) -> dict[str, Any]:
    shape = _decoder(model)
    window = int(model.get("attention.sliding_window", 0))
    values = {**shape, **_rms(model), "sliding_window": window or None}
    if "rope_factors_long.weight" in model.tensors:
        original = int(model.get("rope.scaling.original_context_length", 4096))
        values["original_max_position_embeddings"] = original
        values["rope_parameters"] = shape["rope_parameters"] | {
            "rope_type": "longrope",
            "original_max_position_embeddings": original,
            "short_factor": model.tensors["rope_factors_short.weight"].values().ravel().tolist(),
            "long_factor": model.tensors["rope_factors_long.weight"].values().ravel().tolist(),
        }
    del values["head_dim"]
    return _whole(model, "Phi3ForCausalLM", "phi3", values)


def _stablelm(model: Metadata) -> dict[str, Any]:
    if model.has(r"blk\.0\.attn_q_norm\.weight"):
        raise ModelError(f"{model.source} is a StableLM that normalises each head, which is not read")
    values = {
        **_decoder(model),
        "layer_norm_eps": _short(model.get("attention.layer_norm_epsilon")),
        "use_qkv_bias": model.has(r"blk\.0\.attn_q\.bias"),
        "use_parallel_residual": not model.has(r"blk\.0\.ffn_norm\.weight"),
    }
    values["rope_parameters"].setdefault("partial_rotary_factor", 1.0)  # transformers would take a quarter
    return _whole(model, "StableLmForCausalLM", "stablelm", values)


def _nemotron(model: Metadata) -> dict[str, Any]:
    epsilon = model.get("attention.layer_norm_epsilon", model.get("attention.layer_norm_rms_epsilon", 1e-5))
    values = {
        **_decoder(model),
        "norm_eps": _short(epsilon),
        "attention_bias": model.has(r"blk\.0\.attn_q\.bias"),
        "mlp_bias": model.has(r"blk\.0\.ffn_up\.bias"),
    }
    values["rope_parameters"].setdefault("partial_rotary_factor", 1.0)  # transformers would take a half
    return _whole(model, "NemotronForCausalLM", "nemotron", values)


def _starcoder2(model: Metadata) -> dict[str, Any]:
    window = int(model.get("attention.sliding_window", 0))
    values = {
        **_decoder(model),
        "norm_epsilon": _short(model.get("attention.layer_norm_epsilon")),
        "use_bias": model.has(r"blk\.0\.ffn_up\.bias"),
        "sliding_window": window or None,
    }
    return _whole(model, "Starcoder2ForCausalLM", "starcoder2", values)


def _gpt2(model: Metadata) -> dict[str, Any]:
    values = {
        "n_positions": int(model.get("context_length")),
        "n_embd": int(model.get("embedding_length")),
        "n_layer": int(model.get("block_count")),
        "n_head": int(model.get("attention.head_count")),
        "n_inner": int(model.get("feed_forward_length")),
        "layer_norm_epsilon": _short(model.get("attention.layer_norm_epsilon")),
    }
    return _whole(model, "GPT2LMHeadModel", "gpt2", values)


def _falcon(model: Metadata) -> dict[str, Any]:
    shape = _decoder(model)
    grouped = shape["num_key_value_heads"] > 1
    values = {
        **{name: shape[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")},
        **{name: shape[name] for name in ("max_position_embeddings", "rope_parameters")},
        "ffn_hidden_size": shape["intermediate_size"],
        "num_kv_heads": shape["num_key_value_heads"],
        "layer_norm_epsilon": _short(model.get("attention.layer_norm_epsilon")),
        "new_decoder_architecture": grouped,
        "num_ln_in_parallel_attn": (2 if model.has(r"blk\.0\.attn_norm_2\.weight") else 1) if grouped else None,
        "multi_query": not grouped,
        "parallel_attn": True,
        "alibi": False,
        "bias": model.has(r"blk\.0\.attn_qkv\.bias"),
    }
    return _whole(model, "FalconForCausalLM", "falcon", values)


def _bloom(model: Metadata) -> dict[str, Any]:
    values = {
        "hidden_size": int(model.get("embedding_length")),
        "n_layer": int(model.get("block_count")),
        "n_head": int(model.get("attention.head_count")),
        "layer_norm_epsilon": _short(model.get("attention.layer_norm_epsilon")),
    }
    return _whole(model, "BloomForCausalLM", "bloom", values) | {"tie_word_embeddings": True}


def _mamba(model: Metadata) -> dict[str, Any]:
    if model.get("ssm.dt_b_c_rms", default=False):
        raise ModelError(f"{model.source} is a Falcon Mamba, which is not read")
    hidden = int(model.get("embedding_length"))
    values = {
        "hidden_size": hidden,
        "num_hidden_layers": int(model.get("block_count")),
        "expand": int(model.get("ssm.inner_size")) // hidden,
        "state_size": int(model.get("ssm.state_size")),
        "conv_kernel": int(model.get("ssm.conv_kernel")),
        "time_step_rank": int(model.get("ssm.time_step_rank")),
        "layer_norm_epsilon": _short(model.get("attention.layer_norm_rms_epsilon")),
        "use_conv_bias": model.has(r"blk\.0\.ssm_conv1d\.bias"),
    }
    return _whole(model, "MambaForCausalLM", "mamba", values)


def _lfm2(model: Metadata) -> dict[str, Any]:
    kv_heads = [int(n) for n in model.get("attention.head_count_kv")]  # none in blocks that are convolutions
    values = {
        **_decoder(model, max(kv_heads)),
        "norm_eps": _short(model.get("attention.layer_norm_rms_epsilon")),
        "conv_L_cache": int(model.get("shortconv.l_cache")),
        "block_auto_adjust_ff_dim": False,
        "layer_types": ["full_attention" if n else "conv" for n in kv_heads],
    }
    return _whole(model, "Lfm2ForCausalLM", "lfm2", values)


def _local_experts(model: Metadata) -> dict[str, Any]:
    return {
        "intermediate_size": int(model.get("expert_feed_forward_length", model.get("feed_forward_length"))),
        "num_local_experts": int(model.get("expert_count")),
        "num_experts_per_tok": int(model.get("expert_used_count")),
    }


def _gpt_oss(model: Metadata) -> dict[str, Any]:
    shape = _decoder(model)
    if shape["rope_parameters"]["rope_type"] == "yarn":
        shape["rope_parameters"]["truncate"] = False
    values = {**shape, **_rms(model), **_local_experts(model)}
    values["sliding_window"] = int(model.get("attention.sliding_window", 128))
    return _whole(model, "GptOssForCausalLM", "gpt_oss", values)


def _minimax_m2(model: Metadata) -> dict[str, Any]:
    values = {**_decoder(model), **_rms(model), **_local_experts(model)}
    return _whole(model, "MiniMaxM2ForCausalLM", "minimax_m2", values)


FAMILIES: dict[str, Callable[[Metadata], dict[str, Any]]] = {
    "llama": _llama,  # Mistral's files call themselves llama
    "qwen2": _qwen2,
    "qwen2moe": _qwen2moe,
    "qwen3": _qwen3,
    "qwen3moe": _qwen3moe,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "stablelm": _stablelm,
    "nemotron": _nemotron,
    "starcoder2": _starcoder2,
    "gpt2": _gpt2,
    "falcon": _falcon,
    "bloom": _bloom,
    "mamba": _mamba,
    "lfm2": _lfm2,
    "gpt-oss": _gpt_oss,
    "minimax-m2": _minimax_m2,
}
