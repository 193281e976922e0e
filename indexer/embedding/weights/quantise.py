"""Quantise a loaded model's linear layers in place: 4 bits (NF4) on CPUs and GPUs, 8 bits on either."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from indexer.embedding import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator


def nf4(model: nn.Module, device: torch.device) -> None:
    """Quantise to NF4 with double quantisation and bf16 compute.

    On a CPU the weights are rounded to NF4 and kept as bf16: bitsandbytes' 4-bit kernels there repack weights in
    place on the first forward, and are slower; the numbers are the same.

    Source:
        Dettmers et al. 2023, Section 3.
    """
    quiet.bitsandbytes()
    import bitsandbytes

    bnb: Any = bitsandbytes

    for name, module in _linear(model):
        weight = module.weight.data
        if device.type == "cpu":
            # Rows of one 64-value block each: its CPU kernel misreads the scales of rows that are no multiple of it.
            rows = weight.to(torch.bfloat16).reshape(-1, 64)
            packed, state = bnb.functional.quantize_4bit(rows, quant_type="nf4", compress_statistics=True)
            module.weight.data = bnb.functional.dequantize_4bit(packed, state).to(torch.bfloat16).view(weight.shape)
        else:
            small = bnb.nn.Linear4bit(
                module.in_features, module.out_features, module.bias is not None,
                compute_dtype=torch.bfloat16, compress_statistics=True, quant_type="nf4",
            )  # fmt: skip
            small.weight = bnb.nn.Params4bit(
                weight.to(torch.bfloat16), requires_grad=False, compress_statistics=True, quant_type="nf4"
            )
            _put(model, name, module, small)
    _rest(model, torch.bfloat16)


def llm_int8(model: nn.Module, device: torch.device) -> None:
    """Quantise to bitsandbytes' 8 bits: a scale for each output, inputs quantised as they come, large ones at 16 bits.

    What is not quantised becomes fp16, in which its kernels compute.

    Source:
        Dettmers et al. 2022, *LLM.int8()*, Section 3.
    """
    quiet.bitsandbytes()
    import bitsandbytes

    bnb: Any = bitsandbytes

    for name, module in _linear(model):
        small = bnb.nn.Linear8bitLt(
            module.in_features, module.out_features, module.bias is not None, has_fp16_weights=False, threshold=6.0
        )
        small.weight = bnb.nn.Int8Params(module.weight.data.cpu(), has_fp16_weights=False, requires_grad=False)
        _put(model, name, module, small)
        small.to(device)  # quantises
    _rest(model, torch.float16 if device.type == "cuda" else torch.float32)


def dynamic(model: nn.Module) -> nn.Module:
    """Return a copy for the CPU whose linear layers quantise weights once to int8, and activations as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao has been deprecated for years and has no successor in torch
        quantization: Any = torch.ao.quantization
        made: nn.Module = quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
        return made


def _linear(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Yield the linear layers that there are now."""
    yield from [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def _put(model: nn.Module, name: str, module: nn.Linear, small: nn.Module) -> None:
    """Put a quantised layer in the place of one, with its bias."""
    if module.bias is not None:
        small.bias = nn.Parameter(module.bias.data, requires_grad=False)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, small)


def _rest(model: nn.Module, dtype: torch.dtype) -> None:
    """Turn everything that is not quantised into ``dtype``."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
