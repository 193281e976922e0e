"""Causal transformers models read into one form: families differ in names and in which parts exist.

A model with a part that is not read here (another rope, logit caps, bidirectional attention, weights spread over
devices) is refused with None: its own forward is the fallback.

Legend: t tokens, e hidden size, h query heads, g key and value heads, d head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from indexer.embedding.forward.linear import (
    Dense,
    Int8,
    Linear,
    Modules,
    Watched,
    bias_of,
    plain,
    smoothing,
    steady,
    weight_of,
)

Function = Callable[[Tensor], Tensor]
Rope = tuple[Tensor, Tensor]
"""cos, sin (positions, d / 2) fp32."""


@dataclass(kw_only=True)
class Block:
    """One block of a model.

    x += after_attention(attention(before_attention(x))), then after_sum(x); the MLP likewise. Absent parts are None.
    The last block has ``q`` and ``kv`` apart, every other one ``qkv``.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    qkv: Linear | None
    q: Linear | None
    kv: Linear | None
    out: Linear
    gate: Linear | None
    up: Linear
    """Its activation is in ``gate`` where there is one, else its own."""
    down: Linear
    before_attention: Function | None = None
    after_attention: Function | None = None
    after_sum: Function | None = None
    before_mlp: Function | None = None
    after_mlp: Function | None = None
    after_mlp_sum: Function | None = None
    q_norm: Function | None = None
    k_norm: Function | None = None
    rope: str | None = None
    """Which of ``Decoder.ropes`` turns q and k."""
    window: int | None = None
    """A token sees itself and the window - 1 before it."""


@dataclass
class Decoder:
    """A model's parts."""

    embed: Callable[[Tensor, Tensor], Tensor]
    """ids (t,), positions (t,) to (t, e)."""
    blocks: list[Block]
    finish: Function
    """Final norm and projection, where the model has them."""
    ropes: Callable[[int], dict[str, Rope]]
    """Tables for the first n positions."""


Mode = Literal["dense", "packed", "int8", "watch"]


class Maker:
    """The builder of one model's linear layers and norms."""

    def __init__(
        self,
        mode: Mode,
        dtype: torch.dtype,
        wide: torch.dtype,
        interleave: bool,
        release: bool,
        reach: dict[nn.Module, Tensor] | None = None,
    ) -> None:
        """Take how to build; ``dtype``: of the layers' inputs, ``reach``: what a watching model has noted."""
        self.mode = mode
        self.dtype = dtype
        self.wide = wide
        """dtype of the residual stream, and so of the norms."""
        self.interleave = interleave
        """Whether rotary pairs are put side by side (rows of q and k reordered), so that they are complex numbers."""
        self.release = release
        self.used: list[nn.Module] = []
        self.reach = {} if reach is None else reach
        """By the first of the modules that read an input: the largest |x| of each part. Mode "watch" fills it as the
        layers run, "int8" reads it."""

    def join(
        self,
        modules: Sequence[nn.Module],
        activation: Function | None = None,
        *,
        rotary: int = 0,
        head_dim: int = 0,
        beside: Sequence[nn.Module] = (),
    ) -> Linear:
        """Return layers that read the same input as one.

        Args:
            modules: The layers.
            activation: Function that follows.
            rotary: So many of them, the first, hold heads that will be turned.
            head_dim: Dimension of a head, where some are turned.
            beside: Layers that prepare the same input, first the one that does it, where that is not ``modules``.
        """
        readers = [*beside, *modules]
        if not all(plain(module) for module in readers):
            return Modules(modules, activation, self.dtype)
        weights = [weight_of(module) for module in modules]
        biases = [bias_of(module) for module in modules]
        if self.interleave:
            weights[:rotary] = [interleave(w, head_dim) for w in weights[:rotary]]
            biases[:rotary] = [b if b is None else interleave(b, head_dim) for b in biases[:rotary]]
        made = self.make(weights, biases, activation, readers[0], [weight_of(module) for module in readers])
        if isinstance(made, Dense) and self.mode == "dense":
            if len(modules) > 1:  # the model's own layers become views of the joined weight: no second copy
                share(modules, made.weight)
        else:
            self.used += modules
        return made

    def make(
        self,
        weights: list[Tensor],
        biases: list[Tensor | None],
        activation: Function | None,
        reader: nn.Module,
        read_by: Sequence[Tensor],
    ) -> Linear:
        """Return one layer of these weights (o, i) under each other.

        Args:
            weights: (o, i) each.
            biases: (o,) each, or None.
            activation: Function that follows.
            reader: Names the input.
            read_by: Every weight that the input is multiplied with.
        """
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]
        bias = None
        if any(b is not None for b in biases):
            pairs = zip(biases, weights, strict=True)
            bias = torch.cat([w.new_zeros(len(w)) if b is None else b for b, w in pairs])
        if self.mode == "int8":
            reach = self.reach.get(reader)
            return Int8(weight, bias, activation, None if reach is None else smoothing(reach, read_by))
        if self.mode == "watch":
            return Watched(weight, bias, activation, self.reach, reader)
        layer = steady(self.dtype) if self.mode == "packed" else Dense
        return layer(weight, bias, activation)

    def norm(self, module: Any, head: bool = False) -> Function | None:
        """Return a LayerNorm, or an RMSNorm as Llama (weight) and Gemma (1 + weight) write it.

        Args:
            module: transformers' norm; None gives None.
            head: Whether it is over one head's (possibly interleaved) dimensions.
        """
        if module is None:
            return None
        if isinstance(module, nn.LayerNorm):
            weight, bias = (None if p is None else p.detach().to(self.wide) for p in (module.weight, module.bias))
            return lambda x: F.layer_norm(x, module.normalized_shape, weight, bias, module.eps)
        gemma = type(module).__name__.startswith("Gemma")
        eps = module.eps if gemma else module.variance_epsilon
        factor: Tensor = module.weight.detach().float() + gemma
        if head and self.interleave:
            factor = interleave(factor, len(factor))
        factor = factor.to(self.wide)
        return lambda x: F.rms_norm(x, factor.shape, factor, eps)

    def finish(self) -> None:
        """Free the weights that now exist a second time, where that was asked for."""
        if self.release and self.mode != "watch":
            for used in self.used:
                module: Any = used
                module.weight = nn.Parameter(module.weight.new_empty(0), requires_grad=False)


def interleave(rows: Tensor, head_dim: int) -> Tensor:
    """Return rows (h*d, …) with each head's from (first halves, second halves) put into pairs."""
    return torch.unflatten(rows, 0, (-1, 2, head_dim // 2)).transpose(1, 2).reshape(rows.shape)


def share(modules: Iterable[Any], joined: Tensor) -> None:
    """Make the modules' weights views of the one that joins them, in their order."""
    start = 0
    for module in modules:
        rows = len(module.weight)
        module.weight.data = joined[start : start + rows]
        start += rows


LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")


def read(model: Any, layers: int, make: Maker) -> Decoder | None:
    """Return the first ``layers`` blocks of a transformers model; None for one that is not covered."""
    kind = model.config.model_type
    if kind in LLAMA_LIKE:
        return _llama(model, layers, make)
    if kind == "opt":
        return _opt(model.decoder, layers, make)
    if kind == "gpt2":
        return _gpt2(model, layers, make)
    return None


def turns_plain_heads(model: Any) -> bool:
    """Return whether the rows of q and k can be reordered.

    The model must have rotary positions, and q and k nothing but weights (no adapter).
    """
    return model.config.model_type in LLAMA_LIKE and all(
        plain(layer.self_attn.q_proj) and plain(layer.self_attn.k_proj) for layer in model.layers
    )


def _no_ropes(_: int) -> dict[str, Rope]:
    return {}


def _same(x: Tensor) -> Tensor:
    return x


STATIC_ROPES = {"default", "linear", "llama3", "yarn"}
"""Those whose angles depend on the position alone."""


def _llama(model: Any, layers: int, make: Maker) -> Decoder | None:
    config = model.config
    if getattr(config, "attn_logit_softcapping", None) or getattr(config, "use_bidirectional_attention", None):
        return None
    gemma = config.model_type == "gemma3_text"
    kinds = sorted(set(config.layer_types)) if gemma else [""]
    parameters = [config.rope_parameters[kind] if gemma else config.rope_parameters for kind in kinds]
    head_dim = model.layers[0].self_attn.head_dim
    if any(p.get("rope_type", "default") not in STATIC_ROPES or p.get("partial_rotary_factor", 1) != 1
           for p in parameters):  # fmt: skip
        return None

    def ropes(n: int) -> dict[str, Rope]:
        device = model.embed_tokens.weight.device
        like = torch.empty(0, dtype=torch.float32, device=device)
        positions = torch.arange(n, device=device)[None]
        tables = {kind: model.rotary_emb(like, positions, *([kind] if gemma else [])) for kind in kinds}
        return {kind: tuple(x[0, :, : head_dim // 2] for x in table) for kind, table in tables.items()}

    blocks = []
    for i, layer in enumerate(model.layers[:layers]):
        a, mlp = layer.self_attn, layer.mlp
        last = i == layers - 1
        kind = config.layer_types[i] if getattr(config, "layer_types", None) else ""
        sliding = kind == "sliding_attention" or (config.model_type == "mistral" and not kind)
        heads = {"head_dim": head_dim}
        blocks.append(
            Block(
                heads=config.num_attention_heads,
                kv_heads=config.num_key_value_heads,
                head_dim=head_dim,
                scale=a.scaling,
                qkv=None if last else make.join((a.q_proj, a.k_proj, a.v_proj), rotary=2, **heads),
                q=make.join((a.q_proj,), rotary=1, **heads) if last else None,
                kv=make.join((a.k_proj, a.v_proj), rotary=1, **heads) if last else None,
                out=make.join((a.o_proj,)),
                gate=make.join((mlp.gate_proj,), mlp.act_fn, beside=(mlp.up_proj,)),
                up=make.join((mlp.up_proj,), beside=(mlp.up_proj, mlp.gate_proj)),
                down=make.join((mlp.down_proj,)),
                before_attention=make.norm(layer.input_layernorm),
                after_attention=make.norm(layer.post_attention_layernorm) if gemma else None,
                before_mlp=make.norm(layer.pre_feedforward_layernorm if gemma else layer.post_attention_layernorm),
                after_mlp=make.norm(layer.post_feedforward_layernorm) if gemma else None,
                q_norm=make.norm(getattr(a, "q_norm", None), head=True),
                k_norm=make.norm(getattr(a, "k_norm", None), head=True),
                rope=kind if gemma else "",
                window=config.sliding_window if sliding else None,
            )
        )
    return Decoder(lambda ids, _: model.embed_tokens(ids), blocks, make.norm(model.norm) or _same, ropes)


def _opt(decoder: Any, layers: int, make: Maker) -> Decoder:
    """Read an OPT: 350m alone norms after each sum instead of before each part, and its embeddings are narrower."""
    blocks = []
    for i, layer in enumerate(decoder.layers[:layers]):
        a = layer.self_attn
        last = i == layers - 1
        attention, mlp = make.norm(layer.self_attn_layer_norm), make.norm(layer.final_layer_norm)
        before = layer.do_layer_norm_before
        blocks.append(
            Block(
                heads=a.num_heads,
                kv_heads=a.num_heads,
                head_dim=a.head_dim,
                scale=a.scaling,
                qkv=None if last else make.join((a.q_proj, a.k_proj, a.v_proj)),
                q=make.join((a.q_proj,)) if last else None,
                kv=make.join((a.k_proj, a.v_proj)) if last else None,
                out=make.join((a.out_proj,)),
                gate=None,
                up=make.join((layer.fc1,), layer.activation_fn),
                down=make.join((layer.fc2,)),
                before_attention=attention if before else None,
                after_sum=None if before else attention,
                before_mlp=mlp if before else None,
                after_mlp_sum=None if before else mlp,
            )
        )

    def embed(ids: Tensor, positions: Tensor) -> Tensor:
        x = decoder.embed_tokens(ids)
        x = x if decoder.project_in is None else decoder.project_in(x)
        found: Tensor = x + F.embedding(positions + decoder.embed_positions.offset, decoder.embed_positions.weight)
        return found

    norm = make.norm(decoder.final_layer_norm)

    def finish(x: Tensor) -> Tensor:
        x = x if norm is None else norm(x)
        return x if decoder.project_out is None else decoder.project_out(x.to(make.dtype))

    return Decoder(embed, blocks, finish, _no_ropes)


def _gpt2(model: Any, layers: int, make: Maker) -> Decoder | None:
    if model.config.add_cross_attention or not all(plain(block.attn.c_attn) for block in model.h[:layers]):
        return None  # q, k and v are one layer: an adapter on it cannot be taken apart
    blocks = []
    for i, layer in enumerate(model.h[:layers]):
        a = layer.attn
        last = i == layers - 1
        weights, biases = weight_of(a.c_attn).chunk(3), a.c_attn.bias.detach().chunk(3)

        def heads(
            parts: slice, a: Any = a, weights: tuple[Tensor, ...] = weights, biases: tuple[Tensor, ...] = biases
        ) -> Linear:
            return make.make(list(weights[parts]), list(biases[parts]), None, a.c_attn, weights)

        blocks.append(
            Block(
                heads=a.num_heads,
                kv_heads=a.num_heads,
                head_dim=a.head_dim,
                scale=a.scaling,
                qkv=None if last else heads(slice(3)),
                q=heads(slice(1)) if last else None,
                kv=heads(slice(1, 3)) if last else None,
                out=make.join((a.c_proj,)),
                gate=None,
                up=make.join((layer.mlp.c_fc,), layer.mlp.act),
                down=make.join((layer.mlp.c_proj,)),
                before_attention=make.norm(layer.ln_1),
                before_mlp=make.norm(layer.ln_2),
            )
        )
    return Decoder(lambda ids, positions: model.wte(ids) + model.wpe(positions), blocks, make.norm(model.ln_f) or _same,
                   _no_ropes)  # fmt: skip
