"""Linear layers in the form that is fastest on the machine at hand, with what follows them fused in.

    Modules   any module, called as it is: LoRA not merged, NF4, whatever transformers put there
    Dense     one weight for several plain layers that read the same input (q, k and v), any device
    Packed    Dense on a CPU with oneDNN: the weight laid out once as its GEMM wants it, activation and product fused
    Filled    Dense on a CPU with MKL, its inputs filled up so that a row has the same bits beside any others
    Int8      Dense with int8 weights (a scale per output) and int8 inputs (a scale per token), summed in int32
    Watched   Dense that notes how large each input gets: what Int8 needs to know beforehand

Legend: t tokens, i inputs, o outputs.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Input = Any
"""Result of ``prepare``: the cast tensor, or int8 values (t, i) with their scales (t, 1). Each layer takes its own."""


class Linear(Protocol):
    """Some layers that read the same input, as one."""

    dtype: torch.dtype
    """Of what the calls return."""

    def prepare(self, x: Tensor) -> Input:
        """Return x (t, i), in any float dtype, as the calls want it; may write into x.

        Layers that read the same x share the result.
        """
        ...

    def __call__(self, x: Input) -> Tensor:
        """Return (t, o): the layer, then its activation where it has one."""
        ...

    def times(self, x: Input, other: Tensor) -> Tensor:
        """Return (t, o): the layer's output times ``other`` (t, o), elementwise."""
        ...


class Modules:
    """Modules called as they are."""

    def __init__(
        self, modules: Sequence[nn.Module], activation: Callable[[Tensor], Tensor] | None, dtype: torch.dtype
    ) -> None:
        """Take the modules; ``dtype``: what they want and return."""
        self.modules = modules
        self.activation = activation
        self.dtype = dtype

    def prepare(self, x: Tensor) -> Tensor:
        """Return x (t, i) in the layer's dtype."""
        return x.to(self.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Return (t, o)."""
        outputs = [module(x) for module in self.modules]
        y = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        return self.activation(y) if self.activation else y

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (t, o): the output times ``other``."""
        return self(x) * other


class Dense:
    """One weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Callable[[Tensor], Tensor] | None) -> None:
        """Take a weight (o, i), a bias (o,) and the function that follows."""
        self.weight = weight  # (o, i)
        self.bias = bias
        self.activation = activation
        self.dtype = weight.dtype

    def prepare(self, x: Tensor) -> Tensor:
        """Return x (t, i) in the layer's dtype."""
        return x.to(self.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Return (t, o)."""
        y = F.linear(x, self.weight, self.bias)
        return self.activation(y) if self.activation else y

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (t, o): the output times ``other``."""
        return F.linear(x, self.weight, self.bias).mul_(other)


class Packed(Dense):
    """One weight in oneDNN's layout.

    Uses the operators that torch.compile emits for CPUs (``mkldnn::_linear_pointwise``). They are not a documented API,
    so ``Packed.works`` tries them before the first use.
    """

    ROWS = 2048
    """Tokens of a batch that the layout is chosen for; any number runs."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Callable[[Tensor], Tensor] | None) -> None:
        """Lay a weight (o, i) out anew."""
        super().__init__(weight, bias, activation)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), self.ROWS)
        self.fused, self.algorithm = _onednn_activation(activation)
        if self.fused != "none":
            self.activation = None

    @staticmethod
    def works(dtype: torch.dtype) -> bool:
        """Return whether the operators are there and right."""
        try:
            identity = torch.eye(16, dtype=dtype)
            layer = Packed(identity, None, F.silu)
            return bool(torch.allclose(layer.times(identity, layer(identity)).diag().float(), F.silu(torch.ones(16)),
                                       atol=1e-2))  # fmt: skip
        except (AttributeError, NotImplementedError, RuntimeError):
            return False

    def __call__(self, x: Tensor) -> Tensor:
        """Return (t, o)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.fused, [], self.algorithm)
        return self.activation(y) if self.activation else y

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (t, o): the output times ``other``."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, "mul")
        return y


class Filled(Dense):
    """One weight in fp32, multiplied by MKL.

    MKL gives a row the same bits beside any others, except where one of its threads is left with one to three rows: so
    they are filled up to a multiple of ``ROWS``. A single short text is multiplied the other way round, for MKL parts
    the rows of the first factor among its threads, and the weight has more of them.

    Without AVX-512 products of many rows are faster than oneDNN's, those of a short text slower, and no weight is laid
    out anew (``scripts/research/LOG.md``).
    """

    ROWS = 16
    """A multiple of four was enough with 1 to 128 threads; the other way round has the same bits from 12 rows on."""
    SHORT = 32
    """Rows of a short text."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Callable[[Tensor], Tensor] | None) -> None:
        """Take a weight (o, i), a bias (o,) and the function that follows."""
        super().__init__(weight.contiguous(), bias, activation)
        self.activation = _inplace(activation)

    @staticmethod
    @cache
    def works() -> bool:
        """Return whether there is MKL, and gives rows the same bits beside any others."""
        if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
            return False
        x = torch.arange(60 * 40, dtype=torch.float32).sin().view(60, 40)
        layer = Filled(torch.arange(48 * 40, dtype=torch.float32).cos().view(48, 40), None, None)
        whole = layer(x)
        return all(torch.equal(layer(x[-n:]), whole[-n:]) for n in (*range(1, 20), 31, 32, 57))

    def __call__(self, x: Tensor) -> Tensor:
        """Return (t, o)."""
        y = self._product(x)
        return rowwise(self.activation, y) if self.activation else y

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (t, o): the layer's output times ``other``."""
        return self._product(x).mul_(other)

    def _product(self, x: Tensor) -> Tensor:
        rows, missing = len(x), -len(x) % self.ROWS
        x = F.pad(x, (0, 0, 0, missing)) if missing else x
        if rows <= self.SHORT and len(self.weight) % 4 == 0 and _without_avx512():
            y = F.linear(self.weight, x).t()[:rows].contiguous()
        else:
            y = F.linear(x, self.weight)[:rows]
        return y if self.bias is None else y.add_(self.bias)  # given to the product, it would be added at another time


UNDIVIDED = 32_768
"""So many values torch leaves to one thread (its GRAIN_SIZE)."""


def rowwise(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return ``function(*inputs)``, elementwise over (t, …) each, with the same bits for any number of threads.

    Torch parts more values among its threads wherever it comes out, and computes the few before a border by other
    instructions, with another last digit. So they are given to it by rows, few at a time.
    """
    rows = max(1, UNDIVIDED // max(1, inputs[0][:1].numel()))
    if len(inputs[0]) <= rows or torch.get_num_threads() == 1:
        return function(*inputs)
    return torch.cat([function(*parts) for parts in zip(*(torch.split(each, rows) for each in inputs), strict=True)])


@cache
def steady(dtype: torch.dtype) -> type[Dense]:
    """Return the layer for a CPU that is the fastest for many rows, and in fp32 gives each the same bits beside any.

    ``Dense`` itself: the machine has none that does. The choice depends on nothing but the machine.
    """
    if dtype == torch.float32 and _without_avx512() and Filled.works():
        return Filled
    return Packed if Packed.works(dtype) else Dense


class Watched(Dense):
    """One weight that notes how large its inputs get."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: Callable[[Tensor], Tensor] | None,
        reach: dict[nn.Module, Tensor],
        key: nn.Module,
    ) -> None:
        """Take a weight (o, i); ``reach[key]`` (i,) will be the largest |x| of each input so far."""
        super().__init__(weight, bias, activation)
        self.reach = reach
        self.key = key

    def prepare(self, x: Tensor) -> Tensor:
        """Return x (t, i) in the layer's dtype, and note how large it is."""
        reach = x.abs().amax(0)
        self.reach[self.key] = torch.maximum(self.reach.get(self.key, reach), reach)
        return super().prepare(x)


class Int8:
    """One weight in 8 bits.

    y = (q W) s w + b with q = round(x / s), s = max|x| / 127 for each token and w = max|W| / 127 for each output.

    A few inputs of a language model are far larger than the rest and would leave them few steps. ``smooth`` (i,)
    divides each input, and its column of W is multiplied by the same (SmoothQuant, Xiao et al. 2023, equation 3).

    Uses oneDNN's product of unsigned by signed bytes, the one that processors have an instruction for (VNNI): q is
    stored with 128 added. As with ``Packed``, it is tried before the first use (``int8_steps``).
    """

    dtype = torch.float32

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: Callable[[Tensor], Tensor] | None,
        smooth: Tensor | None = None,
        steps: int | None = None,
    ) -> None:
        """Quantise a weight (o, i); ``steps``: of inputs, each way from 0; None: as many as the machine computes."""
        self.steps = int8_steps() if steps is None else steps
        self.zero = self.steps + 1
        weight = weight.float()
        if smooth is not None:
            weight = weight * smooth
        self.shrink = None if smooth is None else 1 / smooth
        self.scale = weight.abs().amax(1).clamp(min=1e-12) / 127  # (o,)
        values = (weight / self.scale[:, None]).round_().to(torch.int8).contiguous()
        self.weight = torch.ops.onednn.qlinear_prepack(values, None)
        self.zeros = torch.zeros(len(self.scale), dtype=torch.int64)
        self.bias = None if bias is None else bias.float()
        self.activation = _inplace(activation)

    @staticmethod
    def works() -> bool:
        """Return whether this machine has the product, in 127 steps or in 63."""
        return int8_steps() > 0

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise x (t, i): bytes (t, i) that hold 128 (or 64) more than the steps, and the scales (t, 1)."""
        x = x.float()
        if self.shrink is not None:
            x.mul_(self.shrink)
        largest = torch.maximum(x.amax(-1, keepdim=True), x.amin(-1, keepdim=True).neg_())  # abs() would be a copy
        scale = largest.clamp_(min=1e-12).div_(self.steps)  # (t, 1)
        values = x.mul_(scale.reciprocal()).round_()
        if self.zero == 128:
            return values.to(torch.int8).view(torch.uint8).bitwise_xor_(128), scale  # flipping the top bit adds 128
        return values.add_(self.zero).to(torch.uint8), scale

    def __call__(self, x: tuple[Tensor, Tensor]) -> Tensor:
        """Return (t, o) float32."""
        values, scale = x
        y = self.sums(values).mul_(scale)
        if self.bias is not None:
            y += self.bias
        return self.activation(y) if self.activation else y

    def sums(self, values: Tensor) -> Tensor:
        """Return (t, o) float32: products of the bytes (t, i) of ``prepare``, with the weight's scales alone."""
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            values, 1.0, self.zero, self.weight, self.scale, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return y

    def times(self, x: tuple[Tensor, Tensor], other: Tensor) -> Tensor:
        """Return (t, o) float32: the output times ``other``."""
        return self(x).mul_(other)


@cache
def int8_steps() -> int:
    """Return how many steps, each way from 0, inputs of ``Int8`` may have on this machine; 0: it cannot run.

    Processors without VNNI add two products of bytes in 16 bits, and cut off what is larger. 127 steps then give wrong
    sums without a word; with 63 the largest sum fits.
    """
    return next((steps for steps in (127, 63) if _exact(steps)), 0)


def _exact(steps: int) -> bool:
    """Try products among which are the largest there can be."""
    x = torch.linspace(-1, 1, 16)[None]
    try:
        for weight in (torch.eye(16), torch.ones(4, 16), -torch.ones(4, 16)):
            layer, share = Int8(weight, None, None, steps=steps), 2 / steps * float(weight[0].abs().sum())
            for each in (x, torch.ones_like(x), -torch.ones_like(x)):
                if not torch.allclose(layer(layer.prepare(each.clone())), each @ weight.T, atol=share):
                    return False
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return True


def smoothing(reach: Tensor, weights: Sequence[Tensor], share: float = 0.65) -> Tensor:
    """Return by how much to divide each input (i,).

    Args:
        reach: (i,), the largest |x| of each input.
        weights: (o, i) each, all that read the input.
        share: Part of the difficulty that goes to the weights; 0.65 was best on the default model between 0.3 and 0.8.

    An input that was hardly seen, as behind a ReLU, may still come: it is taken for a quarter of the average.
    """
    reach, largest = reach.float(), torch.cat([w.float().abs().amax(0, keepdim=True) for w in weights]).amax(0)
    reach, largest = (x.clamp(min=max(float(x.mean()) / 4, 1e-6)) for x in (reach, largest))
    return reach**share / largest ** (1 - share)


def _without_avx512() -> bool:
    """Return whether this is an x86 processor whose products are MKL's for AVX2, those that were looked at."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def plain(module: nn.Module) -> bool:
    """Return whether the module is nothing but weight and bias: such layers can be joined, repacked and quantised."""
    return (type(module) is nn.Linear or _transposed(module)) and not hasattr(module, "_hf_hook")


def weight_of(module: nn.Module) -> Tensor:
    """Return the weight (o, i), also of GPT-2's Conv1D, which stores the transpose."""
    loose: Any = module
    weight: Tensor = loose.weight.detach()
    return weight.t() if _transposed(module) else weight


def bias_of(module: nn.Module) -> Tensor | None:
    """Return the bias (o,), where there is one."""
    loose: Any = module
    return None if loose.bias is None else torch.Tensor.detach(loose.bias)


def _onednn_activation(activation: Callable[[Tensor], Tensor] | None) -> tuple[str, str]:
    """Return name and algorithm of oneDNN's post-operation; ("none", "") where it has none for this activation."""
    if activation is None:
        return "none", ""
    for name, algorithm, function in (
        ("swish", "", F.silu),
        ("relu", "", F.relu),
        ("gelu", "none", F.gelu),
        ("gelu", "tanh", lambda x: F.gelu(x, approximate="tanh")),
    ):
        probe = torch.linspace(-4, 4, 65)
        if torch.allclose(activation(probe), function(probe), atol=1e-6, rtol=0):
            return name, algorithm
    return "none", ""


def _inplace(activation: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor] | None:
    """Return the same function without a copy, where there is one."""
    known: dict[str, Callable[[Tensor], Tensor]] = {"swish": partial(F.silu, inplace=True), "relu": F.relu_}
    return known.get(_onednn_activation(activation)[0], activation)


def _transposed(module: nn.Module) -> bool:
    """GPT-2's Conv1D, known by name: importing transformers for it would take longer than answering a query."""
    return type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")
