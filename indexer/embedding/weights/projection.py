"""Shorter vectors: the first numbers of each, after the adapter's projection where its folder has one.

A model that was trained in Matryoshka's manner has what matters most in its first numbers. For others
``projection.safetensors`` holds a matrix, ``weight`` (m, d), whose first rows matter most. `semsearch train` writes the
principal axes of the vectors of training texts: directions at right angles along which they are spread most, widest
first; turning changes no similarity, and what is cut off afterwards tells texts apart least.

d the model's numbers, m at most as many, n those that are kept.

Source: Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from indexer.embedding.encoder import Vectors

FILE = "projection.safetensors"
"""In the folder of an adapter."""


def load(adapter: Path | None, width: int, dimensions: int) -> Tensor:
    """Return (n, d) float32: a vector's product with it is the shorter vector.

    Args:
        adapter: The folder of an adapter, whose projection is taken where it has one; else the first numbers stay.
        width: d.
        dimensions: n.

    Raises:
        ConfigError: There are fewer numbers than are to be kept.
        ModelError: The file cannot be read, or is of another model.
    """
    import torch

    projects = adapter is not None and (adapter / FILE).is_file()
    rows = _read(adapter / FILE, width) if adapter is not None and projects else torch.eye(width)
    if dimensions > len(rows):
        what = f"the projection in {adapter} gives" if projects else "the model's vectors have"
        raise ConfigError(f"dimensions is {dimensions}; {what} {len(rows)} numbers, keep as many or fewer")
    return rows[:dimensions]


def principal_axes(vectors: Vectors) -> Tensor:
    """Return the principal axes of vectors: (min(n, d), d) float32, orthonormal, widest first.

    Those of the vectors as they stand, from the origin and not from their mean: what is kept is their inner products.

    Args:
        vectors: (n, d) of unit length.
    """
    import torch

    axes: Tensor = torch.linalg.svd(torch.from_numpy(vectors), full_matrices=False).Vh
    return axes


def write(weight: Tensor, adapter: Path) -> None:
    """Put a projection (m, d) into an adapter's folder, in half precision."""
    from safetensors.torch import save_file

    save_file({"weight": weight.half().contiguous()}, adapter / FILE)


def _read(file: Path, width: int) -> Tensor:
    from safetensors.torch import load_file

    try:
        weight = load_file(file)["weight"].float()
    except Exception as error:  # safetensors has its own family
        raise ModelError(f"the projection {file} cannot be read: {error}; fetch the adapter again") from error
    if weight.ndim != 2 or weight.shape[1] != width:
        raise ModelError(
            f"the projection {file} has the shape {tuple(weight.shape)}, and the model's vectors have {width} numbers"
        )
    return weight
