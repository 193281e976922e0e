"""GGUF files of the llama family → a model folder in transformers' layout. Needs neither torch nor transformers.

transformers reads GGUF too, but slowly, needs torch to do it, refuses to save the result, and gives byte-level
tokenizers a wrong splitting of digits; so weights and byte-level tokenizers are written here.
"""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
"""Part of every converted folder's name: raise it when the conversion gives other weights or token ids."""

_BLOCK = {
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
_CONTROL, _USER_DEFINED = 3, 4  # values of tokenizer.ggml.token_type


def convert(source: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and tokenizer files of the GGUF file ``source`` into ``folder``.

    Quantised and bf16 weights become bf16; files of F16 or F32 keep their type.

    Raises:
        ModelError: The file is not GGUF, or of another architecture than llama.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(source)
        fields = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise ModelError(f"{source} is not a readable GGUF file: {error}") from error
    if fields.get("general.architecture") != "llama":
        raise ModelError(
            f"{source} is a GGUF file of architecture {fields.get('general.architecture')!r}; only llama is read: "
            "give the model's original folder or hub name instead"
        )
    config = _config(fields, tied=not any(t.name == "output.weight" for t in reader.tensors))
    folder.mkdir(parents=True, exist_ok=True)
    config["dtype"] = _write_weights(reader, config, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    _write_tokenizer(fields, source, folder)


def _config(fields: dict[str, Any], tied: bool) -> dict[str, Any]:
    def get(name: str, default: Any = None) -> Any:
        value = fields.get(f"llama.{name}", default)
        if value is None:
            raise ModelError(f"the GGUF file does not say llama.{name}; it is incomplete")
        return value

    heads = int(get("attention.head_count"))
    hidden = int(get("embedding_length"))
    special = {
        name: int(fields[f"tokenizer.ggml.{key}_token_id"])
        for name, key in (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding"))
        if f"tokenizer.ggml.{key}_token_id" in fields
    }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": int(get("feed_forward_length")),
        "num_hidden_layers": int(get("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(get("attention.head_count_kv", heads)),
        "head_dim": int(get("attention.key_length", hidden // heads)),
        "hidden_act": "silu",
        "max_position_embeddings": int(get("context_length")),
        "rms_norm_eps": float(f"{get('attention.layer_norm_rms_epsilon'):.6g}"),  # stored as float32
        "rope_parameters": {"rope_type": "default", "rope_theta": float(get("rope.freq_base", 10000.0))},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        **special,
    }


def _write_weights(reader: Any, config: dict[str, Any], path: Path) -> str:
    """Write all tensors under transformers' names and return the dtype they have.

    The safetensors format is written by hand, one tensor at a time: its library has no bfloat16 for numpy.
    """
    from gguf import GGMLQuantizationType, dequantize

    kinds: dict[str, Any] = {t.name: t.tensor_type for t in reader.tensors}
    stored: dict[Any, str] = {GGMLQuantizationType.F32: "float32", GGMLQuantizationType.F16: "float16"}
    dtype = stored.get(kinds.get("token_embd.weight"), "bfloat16")
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position, width = 0, 4 if dtype == "float32" else 2
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        end = position + width * math.prod(shape)
        code = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
        header[_name(tensor.name)] = {"dtype": code, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in reader.tensors:
            values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
            values = values.reshape([int(n) for n in reversed(tensor.shape)])
            if ".attn_q." in tensor.name:
                values = _unpermute(values, config["num_attention_heads"])
            elif ".attn_k." in tensor.name:
                values = _unpermute(values, config["num_key_value_heads"])
            file.write((_bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)).tobytes())
    return dtype


def _name(name: str) -> str:
    """Return transformers' name of a tensor."""
    whole = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in whole:
        return whole[name]
    if name == "rope_freqs.weight":
        raise ModelError("the GGUF file scales its rotary frequencies (Llama 3.1 and later), which is not read here")
    parts = name.split(".")  # blk.N.WHAT.weight
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _BLOCK and parts[3] == "weight":
        return f"model.layers.{parts[1]}.{_BLOCK[parts[2]]}.weight"
    raise ModelError(f"the GGUF file holds a tensor {name!r} that a Llama model does not have")


def _unpermute(weights: np.ndarray, heads: int) -> np.ndarray:
    """Return weights (heads * head_dim, d) with the two halves of each head's rotary dimensions apart.

    GGUF interleaves them; transformers does not.
    """
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, half, 2, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """Return the bits of bfloat16 (uint16), rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _write_tokenizer(fields: dict[str, Any], source: Path, folder: Path) -> None:
    tokens = fields["tokenizer.ggml.tokens"]
    special = {
        f"{name}_token": tokens[int(fields[f"tokenizer.ggml.{key}_token_id"])]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        if f"tokenizer.ggml.{key}_token_id" in fields
    }
    special.setdefault("pad_token", special.get("eos_token", tokens[0]))
    if fields.get("tokenizer.ggml.model") == "gpt2" and fields.get("tokenizer.ggml.pre") in _SPLITTERS:
        _byte_level(fields, special.get("bos_token")).save(str(folder / "tokenizer.json"))
    else:  # sentencepiece and rarer splittings: transformers knows them
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


_SPLITTERS = {"smollm": "digits", "default": "", "gpt-2": ""}


def _byte_level(fields: dict[str, Any], bos: str | None) -> Any:
    """Return the byte-level BPE tokenizer that the model was trained with."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    parts: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if _SPLITTERS[fields["tokenizer.ggml.pre"]] == "digits":
        parts.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    tokenizer.decoder = decoders.ByteLevel()
    kinds = fields.get("tokenizer.ggml.token_type", [])
    added = [
        AddedToken(token, special=kind == _CONTROL, normalized=False)
        for token, kind in zip(tokens, kinds, strict=False)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_tokens(added)
    tokenizer.add_special_tokens([token for token in added if token.special])
    if fields.get("tokenizer.ggml.add_bos_token") and bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokens.index(bos))]
        )
    return tokenizer
