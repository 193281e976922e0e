"""Fast forms of a training step's parts.

Each piece computes what it replaces, and is used only where a forward of the whole model agrees with the plain one
(``student.Student`` checks).

t tokens, i inputs, o outputs, r rank, b batch, s sequence, d hidden.

* LoRA merged for the forward pass: y = x (W + sBA)ᵀ, one matrix product instead of three, in the base's precision;
  the backward pass needs dX = dY (W + sBA) and the adapter's small products, and never forms a dW. The merged
  weight is the one that serves later, so training sees its rounding.
  A GPU spends its time on starting kernels at this size (scripts/results/gpu), so there the merged weight is a leaf
  of torch's own, dW is formed, and once a step becomes the adapter's gradients: dA = s Bᵀ dW, dB = s dW Aᵀ.
* Attention by plain matrix products, on CPUs: for sentences, torch's fused CPU kernel spends six times as long on its
  backward pass in bf16.
* RMSNorm in two passes over memory, with a backward pass of its own; on a GPU torch's one kernel.

Measured on one Zen 4 core (bf16, 1,152 tokens of 24-token sentences): scripts/research/LOG.md, "Training".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _MergedLinear(torch.autograd.Function):
    """y = x Wᵀ + bias, where W already holds s·B·A; gradients for x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, weight: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        ctx.save_for_backward(x, a, b, weight)
        ctx.scale = scale
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, weight = ctx.saved_tensors
        dx = dy @ weight if ctx.needs_input_grad[0] else None
        x, dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])  # (t, i), (t, o)
        up = dy @ b.to(dy.dtype)  # (t, r)
        down = F.linear(x, a.to(x.dtype))  # (t, r)
        da = (up.T @ x).to(a.dtype).mul_(ctx.scale)  # (r, i)
        db = (dy.T @ down).to(b.dtype).mul_(ctx.scale)  # (o, r)
        return dx, da, db, None, None, None


class FastLora:
    """Takes the place of a PEFT LoRA layer's forward, over a plain ``nn.Linear``.

    The parameters stay PEFT's own, in float32. ``refresh`` must follow every change of them, and with ``whole``
    ``collect`` every backward pass.
    """

    def __init__(self, layer: Any, dtype: torch.dtype, whole: bool) -> None:
        """Take over a PEFT layer's forward; its base weight becomes the merged one, in ``dtype``.

        Args:
            layer: PEFT's.
            dtype: Of the arithmetic.
            whole: Whether the backward pass forms the merged weight's gradient.
        """
        name = layer.active_adapters[0]
        self._a: nn.Parameter = layer.lora_A[name].weight  # (r, i)
        self._b: nn.Parameter = layer.lora_B[name].weight  # (o, r)
        self._scale = float(layer.scaling[name])
        self._dropout: nn.Module = layer.lora_dropout[name]
        base: nn.Linear = layer.base_layer
        self._base = base.weight.data  # (o, i), in the precision the file has
        self._bias = None if base.bias is None else base.bias.data.to(dtype)
        self._merged = torch.empty_like(self._base, dtype=dtype)
        base.weight.data = self._merged  # one name for both, so that plain code that reads the base is fast too
        self._whole = whole
        if whole:
            self._merged.requires_grad_()
        self.refresh()
        layer.forward = self.__call__

    @torch.no_grad()
    def refresh(self) -> None:
        """Merge the adapter's present values into the weights that the forward pass uses."""
        self._merged.copy_(torch.addmm(self._base.float(), self._b, self._a, alpha=self._scale))

    @torch.no_grad()
    def collect(self) -> None:
        """Turn the merged weight's gradient into the adapter's."""
        grad = self._merged.grad  # (o, i)
        if grad is None:
            return
        wide = grad.float().mul_(self._scale)
        for parameter, value in ((self._a, self._b.T @ wide), (self._b, wide @ self._a.T)):
            parameter.grad = value if parameter.grad is None else parameter.grad.add_(value)
        self._merged.grad = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output: (…, i) → (…, o)."""
        if self._dropout.training and isinstance(self._dropout, nn.Dropout):
            # y = x Wᵀ + s (drop(x) - x) Aᵀ Bᵀ: dropout changes the adapter's input only, and W has the adapter in it
            low = F.linear(self._dropout(x) - x, self._a.to(x.dtype))
            extra = F.linear(low, (self._scale * self._b).to(x.dtype))
            return self._linear(x) + extra
        return self._linear(x)

    def _linear(self, x: Tensor) -> Tensor:
        if self._whole or not torch.is_grad_enabled():
            return F.linear(x, self._merged, self._bias)
        return _apply(_MergedLinear, x, self._a, self._b, self._merged, self._bias, self._scale)


class _RMSNorm(torch.autograd.Function):
    """Llama's: w · x / sqrt(mean(x²) + eps), computed in float32, rounded to x's precision before w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        inverse = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)  # (b, s, 1)
        normal = (wide * inverse).to(x.dtype)
        ctx.save_for_backward(normal, inverse, weight)
        result: Tensor = normal * weight
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        normal, inverse, weight = ctx.saved_tensors
        wide = normal.float()
        grad = (dy * weight).float()
        mean = torch.linalg.vecdot(grad, wide).div_(wide.shape[-1]).unsqueeze(-1)
        return grad.sub_(wide.mul_(mean)).mul_(inverse).to(normal.dtype), None, None


def fast_norm(norm: nn.Module, one_kernel: bool) -> None:
    """Replace the forward of a Llama-like RMSNorm, whose weight is not trained; ``one_kernel``: by torch's own."""
    weight: Any = norm.weight
    eps: Any = norm.variance_epsilon

    def forward(x: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, eps) if one_kernel else _apply(_RMSNorm, x, weight, eps)

    setattr(norm, "forward", forward)  # noqa: B010 - a method is replaced on purpose, which mypy forbids


def _apply(function: type[torch.autograd.Function], *values: object) -> Tensor:
    """Return a function's one output; torch has no types for it."""
    result: Tensor = function.apply(*values)  # type: ignore[no-untyped-call]
    return result


def attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Return causal attention, in transformers' interface.

    The queries are the last tokens of the keys, and padding is on the right. Heads of one group are put into one
    product, so keys and values are never repeated.

    Args:
        query: (b, heads, s, d).
        key: (b, groups, k, d).
        value: (b, groups, k, d).
        scaling: Of the products; None: 1 / √d.
        dropout: Of the weights.

    Returns:
        (b, s, heads, d), and None in place of the weights.
    """
    b, heads, s, d = query.shape
    groups, k = key.shape[1], key.shape[2]
    scaling = d**-0.5 if scaling is None else scaling
    query = (query * scaling).reshape(b, groups, heads // groups * s, d)
    scores = query @ key.transpose(2, 3)  # (b, groups, heads/groups · s, k)
    hidden = torch.full((s, k), -torch.inf, dtype=scores.dtype, device=scores.device).triu(k - s + 1)
    weights = (scores.view(b, groups, heads // groups, s, k) + hidden).softmax(-1, dtype=torch.float32).to(value.dtype)
    weights = F.dropout(weights, dropout, dropout > 0)
    mixed = weights.view(b, groups, heads // groups * s, k) @ value
    return mixed.view(b, heads, s, d).transpose(1, 2), None


def no_mask(*_: Any, **__: Any) -> None:
    """Return no mask: ``attention`` knows that its input is causal and padded on the right."""


def register() -> str:
    """Make ``attention`` known to transformers, and return its name there."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register("semsearch_short", attention)
    AttentionMaskInterface.register("semsearch_short", no_mask)
    return "semsearch_short"
