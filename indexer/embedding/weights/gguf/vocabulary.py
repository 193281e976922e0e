"""The tokenizer of a GGUF file → tokenizer.json and tokenizer_config.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from indexer.embedding.weights.gguf.metadata import Metadata

_CONTROL, _USER_DEFINED = 3, 4  # values of tokenizer.ggml.token_type
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What Qwen2's tokenizer.json splits text by, before merges."""
SPLITTERS = {"smollm": "digits", "starcoder": "digits", "default": "", "gpt-2": "", "qwen2": "qwen"}
"""tokenizer.ggml.pre → how a byte-level tokenizer made here splits text."""


def write(model: Metadata, folder: Path) -> None:
    """Write the tokenizer's files.

    Raises:
        ModelError: It is of a kind that neither we nor transformers can make.
    """
    fields = model.fields
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    special = {
        f"{name}_token": tokens[int(fields[f"tokenizer.ggml.{key}_token_id"])]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        if f"tokenizer.ggml.{key}_token_id" in fields
    }
    special.setdefault("pad_token", special.get("eos_token", tokens[0]))
    target = folder / "tokenizer.json"
    if fields.get("tokenizer.ggml.model") == "gpt2" and fields.get("tokenizer.ggml.pre") in SPLITTERS:
        _byte_level(fields, special).save(str(target))
    else:  # sentencepiece and rarer splittings: transformers knows them
        _by_transformers(model.source).save(str(target))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _by_transformers(source: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name).backend_tokenizer
    except Exception as error:  # it has no common one
        raise ModelError(
            f"the tokenizer of {source} cannot be made: {type(error).__name__}: {error}; give the model's original "
            "folder or hub name instead"
        ) from error


def _byte_level(fields: Mapping[str, Any], special: Mapping[str, str]) -> Any:
    """Return the byte-level BPE tokenizer that the model was trained with."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    splitting = SPLITTERS[fields["tokenizer.ggml.pre"]]
    parts: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=splitting != "qwen")]
    if splitting == "digits":
        parts.insert(0, pre_tokenizers.Digits(individual_digits=True))
    elif splitting == "qwen":
        parts.insert(0, pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated"))
        tokenizer.normalizer = normalizers.NFC()
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
    around = ["$A"]
    if fields.get("tokenizer.ggml.add_bos_token") and "bos_token" in special:
        around.insert(0, special["bos_token"])
    if fields.get("tokenizer.ggml.add_eos_token") and "eos_token" in special:
        around.append(special["eos_token"])
    if len(around) > 1:
        named = [(token, tokens.index(token)) for token in dict.fromkeys(around) if token != "$A"]
        tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=named)
    return tokenizer
