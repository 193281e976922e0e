"""LoRA adapters put onto a model that has no LM head: merged into its weights, or beside them.

PEFT writes tensor names with the path of the model it trained, usually one with an LM head
(``base_model.model.model.layers.0…``); here they are matched to the modules of the bare model (``layers.0…``).
Merging is done here, since importing peft takes longer than loading the model; an unmerged adapter is peft's.

i inputs, o outputs, v vocabulary, d hidden.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from indexer.embedding import quiet
from indexer.embedding.weights import adapter_files
from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from indexer.embedding.weights.adapter_files import AdapterFiles, Lora


def merge(model: nn.Module, folder: Path, blocks: Sequence[int] | None, total: int | None) -> None:
    """Add an adapter into the model's weights, in place: summed in fp32 and rounded once to the weight's dtype.

    Args:
        model: Without LM head.
        folder: With PEFT's files.
        blocks: Numbers of the blocks that the model was cut to; None: it has all.
        total: How many blocks it had before; None: not known.

    Raises:
        ModelError: The adapter cannot be applied as PEFT would, or was trained on another model.
    """
    files = adapter_files.read(folder)
    for name, lora in _placed(model, files, blocks, total).items():
        module = model.get_submodule(name)
        weight = module.weight
        assert isinstance(weight, Tensor)
        transposed = not isinstance(module, nn.Linear)  # GPT-2's Conv1D keeps its weight (i, o)
        old = weight.detach().float()
        old = old.T if transposed else old  # (o, i)
        delta = lora.delta.to(old.device)
        if old.shape != delta.shape:
            raise files.other_base(f"{name} is {tuple(old.shape)} here and {tuple(delta.shape)} in the adapter")
        new = old + delta
        if lora.magnitude is not None:  # DoRA (Liu et al. 2024, equation 5)
            new *= (lora.magnitude.float().to(new.device) / new.norm(dim=1))[:, None]
        with torch.no_grad():
            weight.copy_(new.T if transposed else new)
        if lora.bias is not None:
            _add_bias(module, lora.bias.float() * lora.scale, weight)


def attach(model: nn.Module, folder: Path, blocks: Sequence[int] | None, total: int | None) -> nn.Module:
    """Return the model with an adapter's matrices beside its weights, through peft.

    Args:
        model: Without LM head.
        folder: With PEFT's files.
        blocks: Numbers of the blocks that the model was cut to; None: it has all.
        total: How many blocks it had before; None: not known.

    Raises:
        ModelError: The adapter cannot be applied as PEFT would, or was trained on another model.
    """
    quiet.bitsandbytes()
    from peft import LoraConfig, inject_adapter_in_model
    from peft.utils import set_peft_model_state_dict

    files = adapter_files.read(folder)
    placed = _placed(model, files, blocks, total)
    config = LoraConfig(
        r=int(files.config["r"]),
        lora_alpha=files.config["lora_alpha"],
        target_modules=sorted(placed),
        # by whole names: the patterns of the file are of names in another model
        rank_pattern={re.escape(name): len(lora.a) for name, lora in placed.items()},
        alpha_pattern={re.escape(name): lora.alpha for name, lora in placed.items()},
        use_rslora=bool(files.config.get("use_rslora")),
        use_dora=bool(files.config.get("use_dora")),
        lora_bias=bool(files.config.get("lora_bias")),
        fan_in_fan_out=bool(files.config.get("fan_in_fan_out")),
        inference_mode=True,
    )
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    tensors: dict[str, Tensor] = {}
    for name, lora in placed.items():
        parts = {"A.weight": lora.a, "B.weight": lora.b, "B.bias": lora.bias, "magnitude_vector": lora.magnitude}
        tensors |= {f"{name}.lora_{part}": tensor.to(dtype) for part, tensor in parts.items() if tensor is not None}
    try:
        adapted: nn.Module = inject_adapter_in_model(config, model)
        result: Any = set_peft_model_state_dict(adapted, tensors)
    except (RuntimeError, ValueError) as error:
        raise files.other_base(str(error).strip().splitlines()[-1].strip()) from error
    if result.unexpected_keys:
        raise files.other_base(f"no place for {result.unexpected_keys[0]}")
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_" in parameter_name:
            parameter.data = parameter.data.to(dtype)
    return adapted.eval()


def head(folder: Path, weight: Tensor) -> Tensor:
    """Return the LM head (v, d) with what an adapter does to it, in the dtype of ``weight`` (v, d).

    The adapter may have LoRA of the head, or a whole one trained along (also where the base ties it to the embeddings,
    which stay as they are).

    Raises:
        ModelError: The adapter cannot be applied as PEFT would.
    """
    ours = adapter_files.read(folder).head
    if ours is None:
        return weight
    if isinstance(ours, Tensor):
        return ours.to(weight)
    if ours.magnitude is not None or ours.bias is not None:
        raise ModelError(f"the adapter {folder} has more than plain LoRA on the LM head; terms need plain LoRA there")
    return (weight.float() + ours.delta.to(weight.device)).to(weight)


def _add_bias(module: nn.Module, bias: Tensor, like: Tensor) -> None:
    bias = bias.to(like.device)
    if isinstance(module.bias, Tensor):
        bias = bias + module.bias.detach().float()
    module.bias = nn.Parameter(bias.to(like.dtype), requires_grad=False)


def _placed(
    model: nn.Module, files: AdapterFiles, blocks: Sequence[int] | None, total: int | None
) -> Mapping[str, Lora]:
    """Return the adapter's layers under the names of the bare model's modules, but those of blocks cut off."""
    modules = {name for name, _ in model.named_modules()}
    placed: dict[str, Lora] = {}
    for layer, lora in files.layers.items():
        parts = layer.split(".")
        inner = next((".".join(parts[i:]) for i in range(len(parts)) if ".".join(parts[i:]) in modules), None)
        if inner in placed:
            raise files.other_base(f"two of its layers are {inner} here")
        if inner is not None:
            placed[inner] = lora
        elif not _cut_off(parts, blocks, total):
            raise files.other_base(f"it has {layer}, which the model does not")
    if not placed:
        raise files.other_base(f"none of its {len(files.layers)} layers belongs to the model")
    return placed


def _cut_off(parts: Sequence[str], blocks: Sequence[int] | None, total: int | None) -> bool:
    """Return whether a layer is of a block that the model had before it was cut."""
    number = next((int(part) for part in parts if part.isdigit()), None)
    return blocks is not None and number is not None and number not in blocks and (total is None or number < total)
