"""The losses: supervised contrastive with in-batch and hard negatives, and distillation from a teacher.

n texts of a batch, a anchors, c candidates, d hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Groups:
    """Which of a batch's n texts are anchors and candidates.

    ``candidates`` begins with the positives, in the anchors' order; hard negatives follow. ``masked`` is true where
    a candidate must not count as a negative of an anchor.
    """

    anchors: Tensor
    """(a,) int64: positions among the texts."""
    candidates: Tensor
    """(c,) int64, c ≥ a."""
    masked: Tensor
    """(a, c) bool, false at an anchor's own positive."""
    hard: Tensor
    """(a, c) bool: the anchor's own hard negatives, which no threshold masks."""

    def to(self, device: torch.device) -> Groups:
        """Return the same groups on another device."""
        return Groups(*(part.to(device) for part in (self.anchors, self.candidates, self.masked, self.hard)))


def group(rows: Sequence[tuple[int, int, tuple[int, ...]]], keys: Sequence[str]) -> Groups:
    """Return the groups of rows of (anchor, positive, hard negatives), which are positions among the texts.

    ``keys``: the texts' comparison keys. A candidate is masked for an anchor where its text equals the anchor's or its
    positive's, or where it is the positive of a row with an equal anchor: such a text is no negative.
    """
    anchors = [row[0] for row in rows]
    candidates = [row[1] for row in rows] + [n for row in rows for n in row[2]]
    owner = list(range(len(rows))) + [i for i, row in enumerate(rows) for _ in row[2]]
    numbers: dict[str, int] = {}
    key = torch.tensor([numbers.setdefault(k, len(numbers)) for k in keys])
    a, c = torch.tensor(anchors), torch.tensor(candidates)
    own = torch.tensor(owner)[None, :] == torch.arange(len(rows))[:, None]  # (a, c)
    positive = torch.arange(len(candidates)) < len(rows)  # (c,)
    masked = (key[c][None, :] == key[a][:, None]) | (key[c][None, :] == key[c[: len(rows)]][:, None])
    masked |= (key[a][torch.tensor(owner)][None, :] == key[a][:, None]) & positive[None, :]
    masked &= ~(own & positive[None, :])
    return Groups(a, c, masked, own & ~positive[None, :])


def contrastive(
    vectors: Tensor,
    groups: Groups,
    temperature: float,
    *,
    margin: float | None = None,
    guide: Tensor | None = None,
    symmetric: bool = False,
) -> Tensor:
    """Return the contrastive loss, equation 2 of Jiang et al. (2023).

    It is the mean over anchors of

        -log( exp(cos(h_i, h_i⁺)/τ) / Σ_j [exp(cos(h_i, h_j⁺)/τ) + exp(cos(h_i, h_j⁻)/τ)] )

    with masked candidates left out of the sum.

    Args:
        vectors: (n, d).
        groups: Which texts are anchors and candidates.
        temperature: τ.
        margin: An in-batch candidate whose cosine with the anchor exceeds that of the anchor's own positive by more
            than this is taken for a false negative and left out; None: none is.
        guide: (n, e), whose cosines find the false negatives; None: the model's own do.
        symmetric: Whether to add the loss of finding each positive's anchor among the anchors.

    Returns:
        A scalar.
    """
    rows = len(groups.anchors)
    masked = groups.masked
    scores = _cosines(vectors, groups)  # (a, c)
    if margin is not None:
        seen = scores.detach() if guide is None else _cosines(guide, groups)
        false = seen > seen.diagonal()[:, None] + margin
        masked = masked | (false & ~groups.hard)
    target = torch.arange(rows, device=vectors.device)
    logits = (scores / temperature).masked_fill(masked, -torch.inf)
    loss = F.cross_entropy(logits, target)
    if symmetric:
        back = (scores[:, :rows].T / temperature).masked_fill(masked[:, :rows].T, -torch.inf)
        loss = (loss + F.cross_entropy(back, target)) / 2
    return loss


def distil_scores(vectors: Tensor, teacher: Tensor, groups: Groups, temperature: float) -> Tensor:
    """Return the Kullback-Leibler divergence of the model's from the teacher's view of each anchor's candidates.

    A view is the softmax of the cosines over ``temperature``; the mean over anchors is taken. vectors: (n, d),
    teacher: (n, e).
    """
    wanted = F.log_softmax(_cosines(teacher, groups) / temperature, dim=1)
    seen = F.log_softmax(_cosines(vectors, groups) / temperature, dim=1)
    return F.kl_div(seen, wanted, log_target=True, reduction="batchmean")


def distil_vectors(vectors: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between the model's and the teacher's vector of each text. Both (n, d)."""
    return 1 - F.cosine_similarity(vectors, teacher, dim=1).mean()


def _cosines(vectors: Tensor, groups: Groups) -> Tensor:
    """Return the cosines of anchors and candidates: (n, d) → (a, c)."""
    unit = F.normalize(vectors, dim=1)
    return unit[groups.anchors] @ unit[groups.candidates].T
