"""A model folder → a transformers model without LM head, ready to run: depth cut, adapter on, in its precision."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from indexer.embedding import quiet
from indexer.embedding.precision import DTYPES
from indexer.embedding.weights import depth, llama, lora, models, quantise
from indexer.embedding.weights.digests import weight_files
from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from indexer.embedding.spec import EncoderSpec, Precision


def load(
    located: models.Located,
    spec: EncoderSpec,
    precision: Precision,
    device: torch.device,
    device_map: str | None = None,
    whole: bool = False,
) -> nn.Module:
    """Return the model in eval mode on its device.

    Args:
        located: The folders.
        spec: The encoder.
        precision: Of the weights; "int8" is loaded as fp32 on a CPU, where the forward quantises.
        device: Where the model goes.
        device_map: accelerate's, for models larger than one GPU.
        whole: Load one of transformers' own classes even where modules without a forward would do.

    Raises:
        ModelError: The model or its adapter cannot be loaded, or they do not belong together.
    """
    merging = located.adapter is not None and spec.merge_adapter
    beside = located.adapter is not None and not merging
    target = DTYPES[precision]
    small = precision == "nf4" or (precision == "int8" and device.type == "cuda")
    if small and device.type == "cuda" and not merging:
        # bitsandbytes quantises each weight as it arrives: the whole is never in memory at 16 bits.
        half = torch.bfloat16 if precision == "nf4" else torch.float16
        model = _read(located, spec, half, device_map or str(device), precision)
    else:
        if small and device_map is not None:
            raise ModelError(f"a merged adapter in {precision} is not spread over devices; set merge_adapter = false")
        # What is merged or quantised here is read as it was stored, so that it is rounded once.
        dtype = None if small or (target != torch.float32 and merging) else target
        on_gpu = device_map or (str(device) if device.type == "cuda" else None)  # straight to it, file by file
        found: nn.Module | None = None
        if spec.pooling == "last" and not small and device_map is None and not beside and not whole:
            found = llama.load(located.model, spec.blocks, dtype)
        model = found if found is not None else _read(located, spec, dtype or "auto", on_gpu)
        if located.adapter is not None and merging:
            lora.merge(model, located.adapter, spec.blocks, depth.total(located.model))
        if small:
            (quantise.nf4 if precision == "nf4" else quantise.llm_int8)(model, device)
        else:
            model = model.to(target)
        if device_map is None:
            model = model.to(device)
    if located.adapter is not None and beside:
        model = lora.attach(model, located.adapter, spec.blocks, depth.total(located.model))
    return model.eval().requires_grad_(False)


def read_config(folder: Path, blocks: Sequence[int] | None = None) -> Any:
    """Return transformers' configuration, cut to the first blocks, so many that ``blocks`` are among them.

    Raises:
        ModelError: It cannot be read, or the model has fewer blocks.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}/config.json cannot be read: {error}") from error
    config.use_cache = False
    if blocks is not None:
        depth.shorten(config, range(depth.needed(config, blocks)))
    return config


def max_positions(config: Any) -> int | None:
    """Return the longest input a model can read, in tokens; None where positions are relative (T5)."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= config.pad_token_id + 1  # positions start after the padding's
    return positions


def width(config: Any) -> int:
    """Return the size d of the model's hidden states as they leave it."""
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)


def _read(
    located: models.Located,
    spec: EncoderSpec,
    dtype: torch.dtype | str,
    device_map: str | None,
    small: Precision | None = None,
) -> nn.Module:
    """Return transformers' model; ``small``: nf4 or int8, quantised by bitsandbytes as it is read."""
    import transformers

    loose: Any = transformers

    folder, config = located.model, read_config(located.model, spec.blocks)
    kind: Any = loose.AutoModel
    if config.model_type == "t5":
        kind = loose.T5EncoderModel
    quantised = None
    if small is not None:
        quiet.bitsandbytes()
        quantised = loose.BitsAndBytesConfig(
            load_in_4bit=small == "nf4",
            load_in_8bit=small == "int8",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    try:
        with quiet.loading_weights():
            found, info = kind.from_pretrained(
                str(folder), config=config, dtype=dtype, device_map=device_map, quantization_config=quantised,
                output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # transformers, safetensors and pickle have no common one
        raise ModelError(
            f"the weights in {folder} cannot be loaded: {type(error).__name__}: {error}; if the files are damaged, "
            "delete the folder and fetch the model again"
        ) from error
    model: nn.Module = found
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
    mismatched = sorted(str(name) for name in info["mismatched_keys"])
    spare = surplus(model, info["unexpected_keys"])
    if missing or mismatched or spare:  # transformers would fill up with random numbers, or leave out
        raise ModelError(
            f"the weights in {folder} do not belong to its config.json: {len(missing)} missing, {len(mismatched)} of "
            f"another shape, {len(spare)} with no place in it (the first: {(missing + mismatched + spare)[0]})"
        )
    if spec.blocks is not None:
        depth.keep(model, spec.blocks)
    return model


def surplus(model: nn.Module, unexpected: Iterable[str]) -> list[str]:
    """Return names of weights that a model has no place for, though it has their block: a sign of another family.

    The LM head, pooler or decoder, and blocks cut off by ``layers``, are left out on purpose.
    """
    blocks = {name for name, _ in model.named_modules() if re.search(r"\.\d+$", name)}
    found = []
    for name in unexpected:
        block = re.match(r"(?:.*?\.)??([a-z_.]*\.\d+)\..*\.weight$", name)
        if block and any(block[1] == known or block[1].endswith(f".{known}") for known in blocks):
            found.append(name)
    return sorted(found)


def lm_head(located: models.Located, model: Any) -> torch.Tensor:
    """Return the LM head (v, d), which turns a hidden state into logits, on the embeddings' device and dtype.

    It is the input embeddings where they are tied, with what the adapter does to the head.

    Raises:
        ModelError: The model does not predict the next token, or was saved without its head.
    """
    head = _lm_head(located.model, model)
    return head if located.adapter is None else lora.head(located.adapter, head)


def _lm_head(folder: Path, model: Any) -> torch.Tensor:
    embeddings: torch.Tensor = model.get_input_embeddings().weight
    if getattr(model.config, "is_encoder_decoder", False) or model.config.model_type in ("bert", "roberta", "t5"):
        raise ModelError(f"a {model.config.model_type} encoder does not predict a next token, so it has no terms")
    if getattr(model.config, "tie_word_embeddings", True):
        return embeddings
    from safetensors import safe_open

    for name in weight_files(folder):
        if name.endswith(".safetensors"):
            with safe_open(folder / name, "pt") as file:
                if "lm_head.weight" in file.keys():  # noqa: SIM118 - not a dict
                    stored: torch.Tensor = file.get_tensor("lm_head.weight")
                    return stored.to(embeddings)
        else:
            weights: dict[str, torch.Tensor] = torch.load(folder / name, weights_only=True, mmap=True)
            if "lm_head.weight" in weights:
                return weights["lm_head.weight"].to(embeddings)
    raise ModelError(f"{folder} has no lm_head.weight: the model was saved without its LM head, so it has no terms")
