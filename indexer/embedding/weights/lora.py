"""LoRA adapters in PEFT's format, put onto a model that has no LM head: merged into its weights, or beside them.

PEFT writes tensor names with the path of the model it trained, usually one with an LM head
(``base_model.model.model.layers.0…``); here they are matched to the modules of the bare model (``layers.0…``).
Merging is done here, since importing peft takes longer than loading the model; an unmerged adapter is peft's.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from indexer.embedding import quiet
from indexer.embedding.weights.digests import weight_files
from indexer.errors import ModelError


def merge(model: nn.Module, folder: Path) -> None:
    """W ← W + scale · B A in place, summed in fp32 and rounded once to the weight's dtype (Hu et al. 2021, eq. 3)."""
    config = _config(folder)
    if config.get("use_dora") or _saved(config) or config.get("bias", "none") != "none":
        raise ModelError(
            f"the adapter {folder} is more than plain LoRA and cannot be merged here; set merge_adapter = false"
        )
    tensors = _tensors(model, folder)
    for name in sorted({name.rpartition(".lora_")[0] for name in tensors}):
        module = model.get_submodule(name)
        a, b = (tensors[f"{name}.lora_{part}.weight"].float() for part in "AB")  # (r, in), (out, r)
        delta = b @ a * _scale(config, name, len(a))  # (out, in)
        if not isinstance(module, nn.Linear):  # GPT-2's Conv1D keeps its weight (in, out)
            delta = delta.T
        weight = module.weight
        if weight.shape != delta.shape:
            raise _other_base(folder, f"{name} is {tuple(weight.shape)} here and {tuple(delta.shape)} in the adapter")
        with torch.no_grad():
            weight.copy_(weight.float() + delta.to(weight.device))


def attach(model: nn.Module, folder: Path) -> nn.Module:
    """The model with the adapter's matrices beside its weights, through peft."""
    quiet.bitsandbytes()
    from peft import LoraConfig, inject_adapter_in_model
    from peft.utils import set_peft_model_state_dict

    tensors = _tensors(model, folder)
    names = sorted({name.rpartition(".lora_")[0] for name in tensors})
    values = {**_config(folder), "inference_mode": True, "task_type": None, "target_modules": names}
    values["layers_to_transform"] = None  # the names say it
    values["modules_to_save"] = _saved(values)
    config = LoraConfig.from_peft_type(**values)
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    try:
        model = inject_adapter_in_model(config, model)
        result = set_peft_model_state_dict(model, {n: t.to(dtype) for n, t in tensors.items()})
    except (RuntimeError, ValueError) as error:
        raise _other_base(folder, str(error).strip().splitlines()[-1].strip()) from error
    if result.unexpected_keys:
        raise _other_base(folder, f"no place for {result.unexpected_keys[0]}")
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(dtype)
    return model.eval()


def head(folder: Path, weight: Tensor) -> Tensor:
    """The LM head (v, d) with what the adapter does to it: LoRA of its own, or a whole one trained along (also where
    the base ties it to the embeddings, which stay as they are). Summed in fp32, in the dtype of ``weight``."""
    ours = {key.partition("lm_head.")[2]: tensor for key, tensor in _raw(folder).items() if "lm_head." in key}
    if "lora_A.weight" in ours:
        if "lora_magnitude_vector" in ours:
            raise ModelError(f"the adapter {folder} has DoRA on the LM head; terms are read with plain LoRA there")
        a, b = (ours[f"lora_{part}.weight"].float().to(weight.device) for part in "AB")  # (r, d), (v, r)
        return (weight.float() + b @ a * _scale(_config(folder), "lm_head", len(a))).to(weight)
    return ours["weight"].to(weight) if "weight" in ours else weight


def _saved(config: dict[str, Any]) -> list[str]:
    """Modules that were trained whole, other than the LM head, which changes no vector."""
    return [name for name in config.get("modules_to_save") or [] if name != "lm_head"]


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}/adapter_config.json cannot be read: {error}") from error
    if config.get("peft_type") != "LORA":
        raise ModelError(f"the adapter {folder} is of type {config.get('peft_type')!r}; only LORA is read")
    return config


def _scale(config: dict[str, Any], name: str, rank: int) -> float:
    """lora_alpha / r, or / sqrt(r) for rank-stabilised LoRA, with PEFT's exceptions per module."""
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.search(rf"(^|\.){pattern}$", name):
            alpha = value
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _tensors(model: nn.Module, folder: Path) -> dict[str, Tensor]:
    """The adapter's tensors under the names of the bare model's modules; those of blocks that it lacks are left out."""
    raw = {key: tensor for key, tensor in _raw(folder).items() if "lm_head." not in key}
    modules = {name for name, _ in model.named_modules()}
    blocks = {part for name in modules for part in name.split(".") if part.isdigit()}
    found: dict[str, Tensor] = {}
    for key, tensor in raw.items():
        name = key.removeprefix("base_model.model.")
        path = name.rpartition(".lora_")[0]
        if not path or ".lora_embedding_" in name:
            raise ModelError(f"the adapter {folder} changes {name}; only LoRA of linear layers and the LM head is read")
        parts = path.split(".")
        inner = next((".".join(parts[i:]) for i in range(len(parts)) if ".".join(parts[i:]) in modules), None)
        if inner is not None:
            found[name[len(path) - len(inner) :]] = tensor
        elif not any(part.isdigit() and part not in blocks for part in parts):
            raise _other_base(folder, f"it has {key}, which the model does not")
    if not found:
        raise _other_base(folder, f"none of its {len(raw)} tensors belongs to a module of the model")
    return found


def _raw(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        raw: dict[str, Tensor] = {}
        for file in weight_files(folder, "adapter_model"):
            path = folder / file
            raw |= load_file(path) if file.endswith(".safetensors") else torch.load(path, weights_only=True)
    except Exception as error:  # safetensors and pickle have their own families
        raise ModelError(f"the adapter's weights in {folder} cannot be read: {error}; fetch them again") from error
    return raw


def _other_base(folder: Path, why: str) -> ModelError:
    base = json.loads((folder / "adapter_config.json").read_text("utf-8")).get("base_model_name_or_path")
    return ModelError(f"the adapter {folder} was trained on another model ({base}): {why}; give its base with --model")
