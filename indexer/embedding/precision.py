"""Precisions: the numbers that a model computes in, and those that this machine can do."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from indexer.embedding.spec import comparable
from indexer.errors import PrecisionError

if TYPE_CHECKING:
    from indexer.embedding.spec import EncoderSpec, Precision

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.float32,  # on a CPU; on a GPU bitsandbytes' kernels want fp16
    "nf4": torch.bfloat16,
}
"""The dtype of what is not quantised."""


def pick_device(device: str | None) -> torch.device:
    """Return the named device, else the best there is: cuda, mps, cpu.

    Raises:
        PrecisionError: There is no such device.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise PrecisionError(f"device is {device!r}; it is cpu, cuda, cuda:N or mps") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (found.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(found.type, False):
        names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        names += ["mps"] if there["mps"] else []
        raise PrecisionError(f"there is no device {device!r} here; there is {', '.join(names)}")
    return found


def default(device: torch.device) -> Precision:
    """Return bf16 where the device computes it in hardware, else fp32."""
    return "bf16" if has_bf16(device) else "fp32"


def has_bf16(device: torch.device) -> bool:
    """Return whether the device computes bf16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        has = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # no public test exists
        return has() or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return False  # mps has it from macOS 14 on, but not for every operation


def has_int8(device: torch.device) -> bool:
    """Return whether int8 is faster than any float there: a processor with AVX-512's VNNI, or AMX."""
    return device.type == "cpu" and getattr(torch.cpu, "_is_vnni_supported", lambda: False)()  # no public test exists


def nearest(spec: EncoderSpec, device: torch.device) -> EncoderSpec:
    """Return the spec in its own precision, or in the device's default where it lacks that and both may be compared."""
    own = default(device)
    if spec.precision in (None, *available(device)) or not comparable(spec.precision, own):
        return spec
    return replace(spec, precision=own)


def available(device: torch.device) -> list[Precision]:
    """Return the precisions that a device can do, slow emulation of bf16 on older processors included."""
    names: list[Precision] = ["fp32"]
    if device.type != "mps":
        names.append("bf16")
    if device.type != "cpu":
        names.append("fp16")
    if device.type == "cpu" and torch.backends.quantized.supported_engines not in ([], ["none"]):
        names.append("int8")
    if device.type in ("cpu", "cuda") and importlib.util.find_spec("bitsandbytes"):
        names += ["nf4"] if device.type == "cpu" else ["int8", "nf4"]
    return names


def check(precision: Precision, device: torch.device) -> None:
    """Refuse a precision before anything is loaded.

    Raises:
        PrecisionError: This device cannot compute in it.
    """
    names = available(device)
    if precision in names:
        return
    why = {
        "fp16": "fp16 is slow and overflows on a CPU",
        "int8": "int8 needs a CPU, or a CUDA device and bitsandbytes (pip install 'semsearch[nf4]')",
        "nf4": "NF4 needs a CPU or CUDA device and bitsandbytes (pip install 'semsearch[nf4]')",
        "bf16": "bf16 is not complete on mps",
    }.get(precision, "")
    raise PrecisionError(f"precision {precision} cannot be had on {device}: {why}; choose one of {', '.join(names)}")
