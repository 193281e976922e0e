"""Hidden states of a sequence → one vector: (b, s, d), (b, s) → (b, d).

b batch, s sequence, d hidden; ``mask`` is true on the tokens that count. Padding may be on either side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from indexer.embedding.spec import Pooling


def pool(hidden: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """Pool by name: (b, d).

    Args:
        hidden: (b, s, d); for "first-last" the mean of the first and the last block's output.
        mask: (b, s), true on every real token; for "mask" at the mask token alone.
        how: Which way.
    """
    return POOLERS[how](hidden, mask.bool())


def last(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the last token that counts: where a causal model has read everything."""
    position = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)  # (b,)
    return hidden[torch.arange(len(hidden), device=hidden.device), position]


def first(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the first token that counts: BERT's [CLS]."""
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(1)]


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the tokens that count, summed in fp32."""
    weights = mask.unsqueeze(-1).float()  # (b, s, 1)
    return (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1.0)


POOLERS = {"last": last, "cls": first, "mean": mean, "mask": last, "first-last": mean}
