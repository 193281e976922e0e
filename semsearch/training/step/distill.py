"""Distillation of single texts: the teacher's similarities in the model's own space, and its vectors through a map.

No text needs a positive or a negative: every one of a batch is compared with every other. Close to LEAF (Vujanic and
Rueckstiess 2025), which learns the teacher's vectors through a linear map alone.

n texts of a batch, d the model's numbers, e the teacher's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from semsearch.training.recipe import Distill


def make_map(dim: int, teacher_dim: int, seed: int, device: torch.device) -> nn.Parameter:
    """Return the start of the linear map: (e, d) float32 with orthogonal rows or columns, so that lengths are kept."""
    random = torch.Generator().manual_seed(seed)
    weight = torch.empty(teacher_dim, dim)
    nn.init.orthogonal_(weight, generator=random)
    return nn.Parameter(weight.to(device))


def loss(
    vectors: Tensor,
    teacher: Tensor,
    keys: Sequence[int],
    owners: Sequence[int],
    mapping: nn.Parameter | None,
    rules: Distill,
    *,
    alone: bool,
) -> Tensor:
    """Return the weighted sum of the losses that a recipe's [distill] names.

    Args:
        vectors: The model's (n, d), float32.
        teacher: The teacher's (n, e), float32.
        keys: Equal numbers for texts that are equal to a reader: n of them.
        owners: Equal numbers for texts of one row: n of them.
        mapping: The linear map, (e, d); None where ``rules.vectors`` is 0.
        rules: The recipe's [distill].
        alone: Whether the map alone learns from the teacher's vectors in this step.

    Returns:
        A scalar.
    """
    total = vectors.new_zeros(())
    same, own = _equal(keys, vectors.device), _equal(owners, vectors.device)
    for weight, hidden in ((rules.scores, same), (rules.others, same | own)):
        if weight:
            whole = similarities(vectors, teacher, hidden, rules.temperature)
            cut = [similarities(vectors[:, :size], teacher, hidden, rules.temperature) for size in rules.dimensions]
            total = total + weight * (torch.stack([whole, torch.stack(cut).mean()]).mean() if cut else whole)
    if rules.vectors and mapping is not None:
        mapped = F.linear(vectors.detach() if alone else vectors, mapping)
        total = total + rules.vectors * (1 - F.cosine_similarity(mapped, teacher, dim=1).mean())
    return total


def similarities(vectors: Tensor, teacher: Tensor, hidden: Tensor, temperature: float) -> Tensor:
    """Return the mean over texts of the divergence of the model's view of other texts from the teacher's.

    A view is the softmax of the cosines over ``temperature``. The divergence is Kullback and Leibler's.

    Args:
        vectors: The model's (n, d).
        teacher: The teacher's (n, e).
        hidden: (n, n) bool: true where the text of the column is no part of the view of the row's.
        temperature: Of both views.

    Returns:
        A scalar.
    """
    low = torch.finfo(vectors.dtype).min  # not -inf, whose difference with itself is no number
    wanted = F.log_softmax(_cosines(teacher, temperature).masked_fill(hidden, low), dim=1)
    seen = F.log_softmax(_cosines(vectors, temperature).masked_fill(hidden, low), dim=1)
    terms = wanted.exp() * (wanted - seen)
    return terms.masked_fill(hidden, 0.0).sum(1).mean()


def _equal(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Return (n, n) bool: which of n numbers are equal."""
    found = torch.tensor(numbers, device=device)
    return found[:, None] == found[None, :]


def _cosines(vectors: Tensor, temperature: float) -> Tensor:
    """Return the cosines of all pairs over ``temperature``: (n, n)."""
    unit = F.normalize(vectors, dim=1)
    return unit @ unit.T / temperature
