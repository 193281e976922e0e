"""The files of an adapter in PEFT's format, read and checked.

Only what gives PEFT's own vectors is let through. An option that is unknown here, or tensors that cannot be what was
trained, are refused by name: an adapter that is applied by half gives vectors that look sound.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from indexer.embedding import quiet
from indexer.embedding.weights.digests import weight_files
from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEPT_BASE = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of ``init_lora_weights`` that leave the base's weights as they are. Every other one changes them before
training (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) or freezes part of the adapter in a way of its own."""
UNDERSTOOD = frozenset(
    # read here
    "peft_type r lora_alpha rank_pattern alpha_pattern use_rslora use_dora lora_bias init_lora_weights modules_to_save "
    "target_modules exclude_modules layers_to_transform layers_pattern bias "
    # without effect on vectors
    "base_model_name_or_path revision task_type auto_mapping peft_version inference_mode lora_dropout fan_in_fan_out "
    "megatron_core loftq_config eva_config corda_config lora_ga_config qalora_group_size ensure_weight_tying "
    "runtime_config ephemeral_gpu_offload".split()
)
"""Fields of adapter_config.json that may be set."""


@dataclass(frozen=True)
class Lora:
    """LoRA of one linear layer: W + scale · B A (Hu et al. 2021, equation 3).

    i inputs, o outputs, r rank.
    """

    a: Tensor
    """(r, i)"""
    b: Tensor
    """(o, r)"""
    alpha: float
    scale: float
    """alpha / r, or alpha / √r for rank-stabilised LoRA."""
    bias: Tensor | None = None
    """(o,): added to B's output, and so scaled with it."""
    magnitude: Tensor | None = None
    """(o,): DoRA's length of each row."""

    @property
    def delta(self) -> Tensor:
        """(o, i) float32: what is added to the weight, but for DoRA."""
        return self.b.float() @ self.a.float() * self.scale


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter that can be applied as PEFT would."""

    folder: Path
    config: Mapping[str, Any]
    layers: Mapping[str, Lora]
    """Name of a linear layer in the model that was trained → its LoRA."""
    head: Lora | Tensor | None
    """LoRA of the LM head, or a head (v, d) that was trained whole."""

    def other_base(self, why: str) -> ModelError:
        """Return the error for an adapter that does not fit the model."""
        base = self.config.get("base_model_name_or_path")
        return ModelError(
            f"the adapter {self.folder} was trained on another model ({base}): {why}; give its base with --model"
        )


def read(folder: Path) -> AdapterFiles:
    """Read an adapter.

    Raises:
        ModelError: Its files cannot be read, are incomplete, or use something that is not applied here.
    """
    config = _config(folder)
    parts: dict[str, dict[str, Tensor]] = {}
    head: dict[str, Tensor] = {}
    for key, tensor in _tensors(folder).items():
        name = key.removeprefix("base_model.model.")
        if "lm_head." in name:
            head[name.partition("lm_head.")[2]] = tensor
            continue
        layer, _, part = name.rpartition(".lora_")
        if not layer or part not in ("A.weight", "B.weight", "B.bias", "magnitude_vector"):
            raise ModelError(f"the adapter {folder} changes {name}; only LoRA of linear layers and the LM head is read")
        if not _targeted(config, layer):
            raise ModelError(f"the adapter {folder} has tensors of {layer}, which its target_modules do not name")
        parts.setdefault(layer, {})[part] = tensor
    if not parts and not head:
        raise ModelError(
            f"the adapter {folder} was saved empty: it holds no tensors; gather the trained weights before saving "
            "(DeepSpeed ZeRO-3 and FSDP keep them apart)"
        )
    layers = {layer: _lora(folder, config, layer, found) for layer, found in parts.items()}
    return AdapterFiles(folder, config, layers, _head(folder, config, head))


def _head(folder: Path, config: Mapping[str, Any], found: Mapping[str, Tensor]) -> Lora | Tensor | None:
    if "lora_A.weight" in found or "lora_B.weight" in found:
        return _lora(folder, config, "lm_head", {name.removeprefix("lora_"): part for name, part in found.items()})
    return found.get("weight")


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    try:
        config: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise ModelError(f"the adapter {folder} is of type {kind!r}; only LORA is read")
    start = config.get("init_lora_weights")
    if not any(start is value or (isinstance(start, str) and start.lower() == value) for value in KEPT_BASE):
        raise ModelError(
            f"the adapter {folder} began as {start!r} (init_lora_weights), which changes the base's weights too; save "
            "it as plain LoRA with PEFT: save_pretrained(path_initial_model_for_weight_conversion=…)"
        )
    for name, value in config.items():
        if value and name not in UNDERSTOOD and not _usual(name, value):
            raise ModelError(
                f"the adapter {folder} uses {name} ({value!r}), which is not applied here; it would give other "
                "vectors than PEFT's"
            )
    for name, least in (("r", 1), ("lora_alpha", 0)):
        value = config.get(name)
        if not isinstance(value, int | float) or value < least:
            raise ModelError(f"{path}: {name} is {value!r}; it is a number from {least} up")
    return config


def _usual(name: str, value: object) -> bool:
    """Return whether a field of the installed PEFT stands at its default. Imported only for a field not known here."""
    quiet.bitsandbytes()
    from peft import LoraConfig

    return any(field.name == name and field.default == value for field in fields(LoraConfig))


def _tensors(folder: Path) -> dict[str, Tensor]:
    """Read what PEFT would read: adapter_model.safetensors, else adapter_model.bin, else parts of the one or other."""
    from safetensors.torch import load_file

    files = weight_files(folder, "adapter_model")
    whole = [name for name in ("adapter_model.safetensors", "adapter_model.bin") if name in files]
    raw: dict[str, Tensor] = {}
    try:
        for file in whole[:1] or files:
            path = folder / file
            raw |= load_file(path) if file.endswith(".safetensors") else torch.load(path, weights_only=True)
    except Exception as error:  # safetensors and pickle have their own families
        raise ModelError(f"the adapter's weights in {folder} cannot be read: {error}; fetch them again") from error
    return raw


def _lora(folder: Path, config: Mapping[str, Any], layer: str, found: Mapping[str, Tensor]) -> Lora:
    """Return one layer's LoRA out of its tensors, by the end of their names."""
    for part, tensor in found.items():
        if not tensor.numel():
            raise ModelError(
                f"the adapter {folder} was saved empty: {layer}.lora_{part} has no numbers; gather the trained weights "
                "before saving (DeepSpeed ZeRO-3 and FSDP keep them apart)"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"the adapter {folder} holds numbers that are not finite, in {layer}.lora_{part}")
    for part in ("A.weight", "B.weight"):
        if part not in found:
            raise ModelError(f"the adapter {folder} is incomplete: it lacks {layer}.lora_{part}")
    a, b = found["A.weight"], found["B.weight"]
    rank = _pattern(config.get("rank_pattern"), layer, config["r"])
    if a.ndim != 2 or b.ndim != 2 or not len(a) == b.shape[1] == rank:
        raise ModelError(
            f"the adapter {folder} does not fit its configuration: {layer} has A {tuple(a.shape)} and "
            f"B {tuple(b.shape)}, and its rank is {rank}"
        )
    extra = {"B.bias": bool(config.get("lora_bias")), "magnitude_vector": bool(config.get("use_dora"))}
    for part, asked in extra.items():
        if asked != (part in found):
            raise ModelError(
                f"the adapter {folder} does not fit its configuration: {layer}.lora_{part} is "
                f"{'missing' if asked else 'there, and nothing asks for it'}"
            )
    alpha = float(_pattern(config.get("alpha_pattern"), layer, config["lora_alpha"]))
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    magnitude = found.get("magnitude_vector")
    return Lora(a, b, alpha, scale, found.get("B.bias"), None if magnitude is None else magnitude.flatten())


def _pattern(values: Mapping[str, float] | None, layer: str, usual: float) -> float:
    """Return the value of the first pattern that the layer's name ends in, as PEFT looks it up."""
    for pattern, value in (values or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            return value
    return usual


def _targeted(config: Mapping[str, Any], layer: str) -> bool:
    """Return whether PEFT would give this layer an adapter; it leaves out tensors of others."""
    if _named(config.get("exclude_modules"), layer):
        return False
    target, only = config.get("target_modules"), config.get("layers_to_transform")
    if target in (None, "all-linear") or isinstance(target, str):
        return target in (None, "all-linear") or bool(re.fullmatch(target, layer))
    if layer in target:
        return True
    if only is not None and only != []:
        number = re.match(r".*?\.[^.]*\.(\d+)\.", f".{layer}")
        if number is None or int(number[1]) not in ([only] if isinstance(only, int) else only):
            return False
    return _named(target, layer)


def _named(names: str | list[str] | None, layer: str) -> bool:
    if isinstance(names, str):
        return bool(re.fullmatch(names, layer))
    return any(layer == name or layer.endswith(f".{name}") for name in names or ())
