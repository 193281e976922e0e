"""Batches larger than memory go in micro-batches by token budget, with gradient caching over them.

Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (2021): every text is embedded
without a graph, the loss gives each vector's gradient, and a second forward with a graph carries it into the model.
Here the first ``keep_tokens`` of a batch keep their graph from the first pass and need no second one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class MicroBatch:
    """Texts that go through the model together, of about the same length."""

    rows: tuple[int, ...]
    """Positions among the batch's texts."""
    tokens: int
    """With padding."""


def micro_batches(lengths: Sequence[int], budget: int) -> list[MicroBatch]:
    """Return all texts in micro-batches, longest first.

    One has at most ``budget`` tokens with padding; a longer text is alone. One that is a quarter full ends where the
    next text is a tenth shorter than its longest: little padding, and no crumbs that waste a pass over the weights.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    result: list[MicroBatch] = []
    rows: list[int] = []
    for i in order:
        if rows:
            longest = lengths[rows[0]]
            full = longest * (len(rows) + 1) > budget
            if full or (4 * longest * len(rows) >= budget and lengths[i] < 0.9 * longest):
                result.append(MicroBatch(tuple(rows), longest * len(rows)))
                rows = []
        rows.append(i)
    if rows:
        result.append(MicroBatch(tuple(rows), lengths[rows[0]] * len(rows)))
    return result


def backward(
    embed: Callable[[MicroBatch], Tensor],
    batches: Sequence[MicroBatch],
    shape: tuple[int, int],
    loss: Callable[[Tensor], Tensor],
    *,
    keep_tokens: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    gather: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Leave in the parameters' ``.grad`` what ``loss(all vectors).backward()`` would, and return the loss.

    Args:
        embed: A micro-batch → (b, d), with a graph where grad mode is on.
        batches: All texts of the batch, or this process's share of them.
        shape: (n, d): all texts of the batch.
        loss: (n, d) float32 → scalar.
        keep_tokens: So many tokens keep their graph from the first pass.
        seed: Sets the random numbers of each micro-batch's dropout, the same in both passes.
        device: Where the vectors are.
        gather: Makes the sum over several processes of a tensor that is zero where another process holds the rows;
            each process then sees the whole batch's vectors and carries back the gradients of its own.
    """
    kept: dict[int, Tensor] = {}
    vectors = torch.zeros(shape, dtype=torch.float32, device=device)
    budget = keep_tokens
    for number, batch in enumerate(batches):
        graph = batch.tokens <= budget
        with torch.set_grad_enabled(graph):
            part = _seeded(embed, batch, seed, number)
        if graph:
            kept[number] = part
            budget -= batch.tokens
        vectors[list(batch.rows)] = part.detach().float()
        del part
    if gather is not None:
        vectors = gather(vectors)
    leaf = vectors.requires_grad_()
    value = loss(leaf)
    torch.autograd.backward(value)
    assert leaf.grad is not None
    for number in reversed(range(len(batches))):  # the graph made last goes first, and with it its memory
        batch = batches[number]
        part = kept.pop(number) if number in kept else _seeded(embed, batch, seed, number)
        torch.autograd.backward(part, leaf.grad[list(batch.rows)].to(part.dtype))
        del part
    return float(value.detach())


def _seeded(embed: Callable[[MicroBatch], Tensor], batch: MicroBatch, seed: int, number: int) -> Tensor:
    """Return the micro-batch's vectors, with random numbers that depend on seed and number alone."""
    torch.manual_seed((seed * 1_000_003 + number) % 2**63)
    return embed(batch)
