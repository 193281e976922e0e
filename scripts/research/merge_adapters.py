"""Merge adapters: a weighted sum of what each adds to the weights, brought back to one rank.

    python scripts/research/merge_adapters.py --out DIR ADAPTER=WEIGHT ADAPTER=WEIGHT …

ADAPTER is a shipped adapter or a folder, WEIGHT any number: 0.5 and 0.5 are the mean, 1.25 and -0.25 go beyond the
first. The sum of products of rank r has a rank of up to r times their number; the best sum of the first's rank is kept,
and what that loses is printed. The first adapter gives the description of the encoder as well.

o outputs, i inputs, r rank, R the ranks of all together.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from indexer.embedding.spec import EncoderSpec
from indexer.embedding.weights import adapter_files, models, projection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from indexer.embedding.weights.adapter_files import AdapterFiles, Lora


def summed(layers: Sequence[tuple[Lora, float]], rank: int, scale: float) -> tuple[Tensor, Tensor, float, float]:
    """Add layers up.

    Returns:
        A (rank, i) and B (o, rank), of which ``scale`` B A is the sum; the squared size of the sum, and of what of it
        the rank has no room for.
    """
    a = torch.cat([lora.a.double() for lora, _ in layers])  # (R, i)
    b = torch.cat([lora.b.double() * lora.scale * weight for lora, weight in layers], 1)  # (o, R)
    (left, small_b), (right, small_a) = torch.linalg.qr(b), torch.linalg.qr(a.T)
    u, sizes, v = torch.linalg.svd(small_b @ small_a.T)  # of (R, R), as small as the ranks are
    half = sizes[:rank].sqrt()
    return (
        half[:, None] * (v[:rank] @ right.T),
        left @ u[:, :rank] * half / scale,
        float((sizes**2).sum()),
        float((sizes[rank:] ** 2).sum()),
    )


def merge(files: Sequence[AdapterFiles], weights: Sequence[float]) -> tuple[Mapping[str, Tensor], float]:
    """Return tensors by their names in PEFT's files, and the relative size of what the rank cost."""
    first, (whole, lost) = files[0], (0.0, 0.0)
    tensors = {}
    for name, lora in first.layers.items():
        of_each = [(each.layers[name], weight) for each, weight in zip(files, weights, strict=True)]
        a, b, size, cut = summed(of_each, len(lora.a), lora.scale)
        whole, lost = whole + size, lost + cut
        tensors |= {f"base_model.model.{name}.lora_{part}.weight": each for part, each in (("A", a), ("B", b))}
    return tensors, (lost / whole) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", metavar="ADAPTER=WEIGHT")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    names, weights = zip(*(part.rsplit("=", 1) for part in options.parts), strict=True)
    folders = [models.locate(EncoderSpec(adapter=name)).adapter for name in names]
    files = [adapter_files.read(folder) for folder in folders if folder is not None]
    if any(each.layers.keys() != files[0].layers.keys() for each in files):
        parser.error("the adapters are of different layers")
    tensors, lost = merge(files, [float(weight) for weight in weights])
    options.out.mkdir(parents=True, exist_ok=True)
    projected = [projection.FILE] if (files[0].folder / projection.FILE).is_file() else []
    for name in ("adapter_config.json", "encoder.json", *projected):
        shutil.copyfile(files[0].folder / name, options.out / name)
    stored = load_file(files[0].folder / "adapter_model.safetensors")
    if tensors.keys() != stored.keys():
        parser.error(f"{names[0]} has other tensors than plain LoRA")
    made = {name: each.to(stored[name].dtype).contiguous() for name, each in tensors.items()}
    save_file(made, options.out / "adapter_model.safetensors", {"format": "pt"})
    print(f"{options.out}: {100 * lost:.2f}% of the sum's size has no room in rank {files[0].config['r']}")


if __name__ == "__main__":
    main()
