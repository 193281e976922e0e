"""Causal attention over sequences packed without padding, each after the same cached prefix.

    Grouped   equal lengths together, as two batched products and a softmax over blocks of queries; any device
    Varlen    one call of a variable-length kernel: flash attention on CUDA

Legend: t tokens of all sequences, b sequences, s tokens of one, p tokens of the prefix, h query heads, g key and
value heads (r = h / g queries share one), d head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from indexer.embedding.forward.families import Block

Past = tuple[Tensor, Tensor]
"""Keys and values (p, g, d) of the prefix in one block."""


class Attention(Protocol):
    """Built for one batch; called once a block.

    q (t, h, d) and k, v (t, g, d), packed, to (t, h*d). ``last``: q holds the last token of each sequence alone,
    (b, h, d) to (b, h*d).
    """

    def __call__(self, block: Block, q: Tensor, k: Tensor, v: Tensor, past: Past | None, last: bool) -> Tensor:
        """Return the attended values of one block."""
        ...


class Grouped:
    """Attention of sequences of equal length together.

    A product over several matrices may round otherwise than the same product over one, so that a sequence's last digits
    depend on how many of its length there are. With ``apart`` each sequence has products of its own, and the same
    result in any batch.

    Flash attention spends its time on bookkeeping at a sentence's length. Here the queries of the heads that share a
    key are one matrix, and blocks of queries skip the keys that come after them. Scores are rounded to the dtype of q
    before the softmax, which is computed in fp32 (as transformers' eager attention does).
    """

    QUERIES = 64
    """Rows of a block: fewer skip more of the future, more make better matrices. 64 measured best from 128 tokens."""

    def __init__(self, lengths: Sequence[int], prefix: int, apart: bool = False) -> None:
        """Prepare for sequences of these lengths, ascending and without the prefix."""
        self.groups: list[tuple[int, int]] = []  # (sequences, tokens of each)
        for length in lengths:
            if not apart and self.groups and self.groups[-1][1] == length:
                self.groups[-1] = (self.groups[-1][0] + 1, length)
            else:
                self.groups.append((1, length))
        self.prefix = prefix
        self.masks: dict[tuple[int | None, int, int, int], Tensor] = {}

    def __call__(self, block: Block, q: Tensor, k: Tensor, v: Tensor, past: Past | None, last: bool) -> Tensor:
        """Return (t, h*d), or (b, h*d) for the last tokens alone."""
        out = torch.empty_like(q)
        token = row = 0
        for b, s in self.groups:
            keys, values = (torch.unflatten(x[token : token + b * s], 0, (b, s)) for x in (k, v))
            if past is not None:
                keys, values = (torch.cat((p.expand(b, -1, -1, -1), x), 1)
                                for p, x in zip(past, (keys, values), strict=True))  # fmt: skip
            steps = 1 if last else s
            asked, answer = (torch.unflatten(x[row : row + b * steps], 0, (b, steps)) for x in (q, out))
            self._attend(block, asked, keys, values, answer)
            token += b * s
            row += b * steps
        return out.flatten(1)

    def _attend(self, block: Block, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> None:
        """Q (b, n, h, d): the last n positions of the (b, m, g, d) keys. Writes out (b, n, h, d)."""
        (b, n, h, d), (_, m, g, _) = q.shape, k.shape
        r = h // g
        q = q.transpose(1, 2)  # (b, h, n, d)
        k = k.permute(0, 2, 3, 1).reshape(b * g, d, m)
        v = v.transpose(1, 2).reshape(b * g, m, d)
        out = torch.unflatten(out, 2, (g, r)).permute(0, 2, 3, 1, 4)  # (b, g, r, n, d)
        for start in range(0, n, self.QUERIES):
            stop = min(n, start + self.QUERIES)
            seen = m - n + stop  # keys up to the block's last query
            rows = q[:, :, start:stop].reshape(b * g, r * (stop - start), d)
            mask = self._mask(block.window, stop - start, seen, r, q)
            scores = torch.baddbmm(mask, rows, k[:, :, :seen], alpha=block.scale)
            weights = torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype)
            out[:, :, :, start:stop] = torch.bmm(weights, v[:, :seen]).view(b, g, r, stop - start, d)

    def _mask(self, window: int | None, n: int, m: int, r: int, like: Tensor) -> Tensor:
        """(r*n, m): 0 where the query may look, -inf elsewhere; query i is the key m - n + i."""
        key = (window, n, m, r)
        if key not in self.masks:
            query = torch.arange(m - n, m, device=like.device)[:, None]
            position = torch.arange(m, device=like.device)
            hidden = position > query
            if window is not None:
                hidden |= position <= query - window
            mask = torch.zeros(n, m, dtype=like.dtype, device=like.device)
            self.masks[key] = mask.masked_fill_(hidden, float("-inf")).repeat(r, 1)
        return self.masks[key]


Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int, float, int | None], Tensor]
"""q (tq, h, d), k and v (tk, g, d), cumulative lengths of both (b + 1,) int32, longest of both, scale, window:
to (tq, h, d). Causal, aligned at the last query and key of each sequence."""


@dataclass
class Varlen:
    """Needs fp16 or bf16 on CUDA; ``kernel`` is replaceable so that the packing can be tested anywhere."""

    lengths: Sequence[int]
    prefix: int
    device: torch.device
    kernel: Kernel

    def __post_init__(self) -> None:
        """Compute where each sequence begins, on the device."""
        length = torch.tensor(self.lengths, device=self.device)
        ends = torch.cat((length.new_zeros(1), length.cumsum(0)))  # (b + 1,)
        each = torch.arange(len(self.lengths) + 1, device=self.device)
        self.own = ends.int()
        self.one = each.int()
        self.keys = (ends + each * self.prefix).int()
        self.longest = max(self.lengths)
        if self.prefix:
            # Where in (prefix, packed tokens) each key is: the prefix again before every sequence.
            total = int(sum(self.lengths)) + len(self.lengths) * self.prefix
            place = torch.arange(total, device=self.device)
            sequence = torch.searchsorted(self.keys[1:].long(), place, right=True)
            offset = place - self.keys.long()[sequence]
            self.gather = torch.where(offset < self.prefix, offset, offset + ends[sequence])

    def __call__(self, block: Block, q: Tensor, k: Tensor, v: Tensor, past: Past | None, last: bool) -> Tensor:
        """Return (t, h*d), or (b, h*d) for the last tokens alone."""
        if past is not None:
            k, v = (torch.cat((p, x)).index_select(0, self.gather) for p, x in zip(past, (k, v), strict=True))
        ends, longest = (self.one, 1) if last else (self.own, self.longest)
        return self.kernel(
            q, k, v, ends, self.keys, longest, self.longest + self.prefix, block.scale, block.window
        ).flatten(1)


def flash(
    q: Tensor, k: Tensor, v: Tensor, ends_q: Tensor, ends_k: Tensor, longest_q: int, longest_k: int,
    scale: float, window: int | None, *, options: Mapping[str, int],
) -> Tensor:  # fmt: skip
    """Run torch's flash attention as a ``Kernel``; ``options``: arguments that not every torch has."""
    from torch.nn.attention import varlen

    kernel: Any = varlen.varlen_attn
    left = -1 if window is None else window - 1
    attended: Tensor = kernel(
        q, k, v, ends_q, ends_k, longest_q, longest_k, scale=scale, window_size=(left, 0), **options
    )
    return attended


def flash_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> Kernel | None:
    """Return ``flash`` where it runs, else None.

    It needs CUDA, 16 bits and a torch whose function knows windows (2.11). It is tried out on heads that share keys,
    since each of torch's flash kernels covers something else, and one of them wants to be told so and another does not
    know the word. With one split of the keys a text's vector does not depend on the others in its batch; where the
    kernel cannot be told so, it decides by the batch's longest.
    """
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return None
    for options in ({"num_splits": 1, "enable_gqa": True}, {"enable_gqa": True}, {"num_splits": 1}, {}):
        kernel = partial(flash, options=options)
        try:
            if attends(kernel, device, dtype, head_dim):
                return kernel
        except (ImportError, TypeError, RuntimeError, ValueError):
            continue
    return None


def attends(kernel: Kernel, device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Return whether a kernel gives what attention is, on two sequences of random numbers with two heads to a key."""
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(7, heads, head_dim, generator=random).to(device, dtype) for heads in (2, 1, 1))
    ends = torch.tensor([0, 4, 7], dtype=torch.int32, device=device)
    seen = kernel(q, k, v, ends, ends, 4, 4, head_dim**-0.5, None).float()
    wide = [x.float().expand(-1, 2, -1).transpose(0, 1) for x in (q, k, v)]  # (h, t, d)
    alone = []
    for one in (slice(0, 4), slice(4, 7)):
        x, y, z = (each[:, one] for each in wide)
        alone.append(F.scaled_dot_product_attention(x, y, z, is_causal=True))
    return bool(torch.allclose(seen, torch.cat(alone, 1).transpose(0, 1), atol=0.05))
