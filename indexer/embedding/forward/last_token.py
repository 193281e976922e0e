"""The hidden state of the last token, and nothing else that a causal model could compute.

Against a plain forward over a padded batch this one
 - runs the tokens that all prompts begin with (template, demonstrations) once and keeps their keys and values;
 - packs the rest without padding: everything but attention works on (tokens, hidden);
 - in the last block computes keys and values for all tokens, and query, output and MLP for the last ones alone;
 - joins q, k and v, lays weights out for the machine's GEMM, fuses activations, and keeps the residual stream in
   fp32 on CPUs, where that costs nothing.

Legend: b sequences, t packed tokens, e hidden size, h heads, d head dimension.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock, RLock
from typing import Any

import torch
from torch import Tensor, nn

from indexer.embedding.forward.attention import Attention, Grouped, Past, Varlen, flash_kernel
from indexer.embedding.forward.families import Block, Decoder, Function, Maker, Mode, Rope, read, turns_plain_heads
from indexer.embedding.forward.linear import Dense, Int8, Packed, rowwise, steady

Ids = list[int]

SAMPLE = (
    "A man is playing the guitar on a stage.",
    "Two dogs run across the snow.",
    "The central bank raised interest rates by half a percent on Tuesday.",
    "How do I reset the password of my account?",
    "The enzyme catalyses the first step of the pathway.",
    "She sold her car and moved to Lisbon in 1994.",
    "def read(path): return open(path).read()",
    "Heavy rain flooded the lower part of the town, and the bridge was closed.",
    "A slice of bread with butter and jam",
    "The committee will meet again next month to discuss the budget.",
    "Which planets have rings?",
    "He was born in Vienna, studied law, and later became a composer.",
    "Add the onions and cook until soft, about ten minutes.",
    "no",
    "Shares of the company fell 3.2% after the report.",
    "The theorem follows by induction on the length of the proof.",
)
"""Texts of several kinds. Their prompts show ``fast_forward`` which inputs of the layers are large. Changing them
changes int8 vectors a little."""


Caller = Callable[[Callable[[], None]], None]


@dataclass(frozen=True)
class Plan:
    """The prefix that a batch uses."""

    prefix: int
    """Tokens."""
    past: list[Past] | None
    """Each block's keys and values of the prefix; None where there is none."""


class LastTokenForward:
    """Token ids to the hidden state of each last token, after the final norm. Built by ``fast_forward``.

    The same sequence gives the same vector in any batch up to the rounding of the matrix products (1e-5 in fp32); to
    the last digit where the forward is ``exact`` and the same prefix is named.
    """

    PREFIXES = 8
    """Prefixes kept, least recently used out first."""
    GAIN = 64
    """Tokens that a new prefix must save in its first batch: running it reads all weights once."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        device: torch.device,
        dtype: torch.dtype,
        wide: torch.dtype,
        interleaved: bool,
        attention: Callable[[Sequence[int], int], Attention],
        exact: bool = False,
    ) -> None:
        """Take a model's parts.

        Args:
            decoder: The parts.
            device: Where they lie.
            dtype: Of attention.
            wide: dtype of the residual stream.
            interleaved: Whether rotary pairs stand side by side.
            attention: Makes an Attention from lengths (ascending) and the prefix's length.
            exact: Whether every part of it gives a sequence the same bits in any batch.
        """
        self.decoder = decoder
        self.device = device
        self.dtype = dtype
        self.wide = wide
        self.interleaved = interleaved
        self.attention = attention
        self.exact = exact
        self.reuse = True
        """Whether shared prefixes are used."""
        self.batch_tokens = 1024 if device.type == "cpu" else 65536
        """Tokens of a batch at which the machine is fastest (on CPUs the activations then stay in cache)."""
        self.tokens = 0
        """Tokens run so far, prefixes included once each."""
        self._lock = RLock()
        """Held while the kept prefixes change."""
        self._counting = Lock()
        """Held while the tokens, or the tables of positions, change."""
        self._pasts: OrderedDict[tuple[int, ...], list[Past]] = OrderedDict()
        self._ropes: dict[str, Rope] = {}
        self._positions = 0

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Ids]) -> Tensor:
        """Return (b, e) float32 on the model's device, in the order given; no sequence may be empty."""
        return self.run(sequences, self.plan(sequences))

    def plan(self, sequences: Sequence[Ids], call: Caller | None = None, prefix: tuple[int, ...] | None = None) -> Plan:
        """Return the prefix to use for a batch; compute it where it is new and worth it.

        Args:
            sequences: The batch.
            call: Runs a function, if it has to run; None: in this thread.
            prefix: The one to use, with which all of them begin; None: the longest that is worth it, which depends on
                the batch and on those before it.
        """
        if prefix is not None:
            with self._lock:
                return Plan(len(prefix), self._keep(prefix, call) if prefix else None)
        if not self.reuse:
            return Plan(0, None)
        first, last = min(sequences), max(sequences)  # what these two share, all share
        alike = (a == b for a, b in zip(first, last, strict=False))
        limit = min(map(len, sequences)) - 1  # one token at least is left of every sequence
        shared = tuple(first[: next((i for i, same in enumerate(alike) if not same or i == limit), limit)])
        with self._lock:
            known = self._longest_known(shared)
            if (len(shared) - len(known)) * (len(sequences) - 1) >= self.GAIN:
                known = shared
            return Plan(len(known), self._keep(known, call) if known else None)

    @torch.inference_mode()
    def run(self, sequences: Sequence[Ids], plan: Plan) -> Tensor:
        """Run a batch as planned. Safe to call from several threads at once.

        Returns:
            (b, e) float32 on the model's device, in the order given.
        """
        prefix, past = plan.prefix, plan.past
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        x = self._run([sequences[i][prefix:] for i in order], prefix, past)
        x = self.decoder.finish(x).float()
        back = torch.empty(len(order), dtype=torch.long)
        back[order] = torch.arange(len(order))
        return x[back.to(x.device)]

    @torch.inference_mode()
    def prime(self, prefix: Ids) -> None:
        """Compute and keep a prefix beforehand, so that single prompts use it too."""
        if len(prefix) and self.reuse:
            with self._lock:
                self._keep(tuple(prefix), None)

    def _longest_known(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        return max((known for known in self._pasts if ids[: len(known)] == known), key=len, default=())

    def _keep(self, ids: tuple[int, ...], call: Caller | None) -> list[Past]:
        if ids not in self._pasts:
            known = self._longest_known(ids)
            kept: list[Past] = []

            @torch.inference_mode()
            def fill() -> None:
                self._run([list(ids[len(known) :])], len(known), self._pasts.get(known), kept)

            fill() if call is None else call(fill)
            self._pasts[ids] = kept
            if len(self._pasts) > self.PREFIXES:
                self._pasts.popitem(last=False)
        self._pasts.move_to_end(ids)
        return self._pasts[ids]

    def _run(self, tails: list[Ids], prefix: int, past: list[Past] | None, kept: list[Past] | None = None) -> Tensor:
        """Run sequences without their prefix, lengths ascending: (b, e).

        ``kept`` is filled with each block's keys and values, prefix included, and the run stops there.
        """
        lengths = [len(tail) for tail in tails]
        with self._counting:
            self.tokens += sum(lengths)
        ids = torch.tensor([i for tail in tails for i in tail])
        length = torch.tensor(lengths)
        after = length.cumsum(0)
        positions = torch.arange(len(ids)) + (prefix + length - after).repeat_interleave(length)
        ids, positions, ends = (x.to(self.device) for x in (ids, positions, after - 1))
        turns = self._turns(positions, prefix + lengths[-1])
        attention = self.attention(lengths, prefix)
        x = self.decoder.embed(ids, positions).to(self.wide)
        for i, block in enumerate(self.decoder.blocks):
            before = past[i] if past else None
            qkv = block.qkv
            normed = block.before_attention(x) if block.before_attention else x.clone()
            turn = None if block.rope is None else turns.get(block.rope)
            if qkv is None:
                assert block.q is not None and block.kv is not None  # noqa: PT018 - the last block's layers
                x, own = x[ends], normed[ends]
                k, v = self._heads(block, block.kv(block.kv.prepare(normed)), turn, "k", "v")
                if kept is None:
                    ended = None if turn is None else tuple(part[ends] for part in turn)
                    (q,) = self._heads(block, block.q(block.q.prepare(own)), ended, "q")
            else:
                q, k, v = self._heads(block, qkv(qkv.prepare(normed)), turn, "q", "k", "v")
            if kept is not None:
                kept.append((torch.cat((before[0], k)), torch.cat((before[1], v))) if before else (k, v))
                if qkv is None:
                    break
            y = block.out(block.out.prepare(attention(block, q, k, v, before, qkv is None)))
            x = self._add(x, y, block.after_attention, block.after_sum)
            x = self._add(x, self._mlp(block, x), block.after_mlp, block.after_mlp_sum)
        return x

    def _heads(self, block: Block, y: Tensor, turn: tuple[Tensor, ...] | None, *names: str) -> list[Tensor]:
        """Part y (t, heads*d) into one (t, heads, d) tensor for each name, q and k normed and turned."""
        sizes = [block.heads if name == "q" else block.kv_heads for name in names]
        y = torch.unflatten(y, -1, (-1, block.head_dim))
        turning = [size for name, size in zip(names, sizes, strict=True) if name != "v"]
        turned = sum(turning)
        head, tail = y[:, :turned], y[:, turned:]
        if block.q_norm is not None and block.k_norm is not None:
            norms = [block.q_norm if name == "q" else block.k_norm for name in names if name != "v"]
            parts = zip(norms, torch.split(head, turning, 1), strict=True)
            head = torch.cat([norm(part.to(self.wide)) for norm, part in parts], 1)
        if turn is not None:
            head = self._turn(head, turn)
        head, tail = head.to(self.dtype), tail.to(self.dtype)
        return [*torch.split(head, turning, 1), *([tail] if "v" in names else [])]

    def _turn(self, x: Tensor, turn: tuple[Tensor, ...]) -> Tensor:
        """Turn by rotary positions (Su et al. 2021, equation 34) in fp32; x (t, h, d)."""
        if self.interleaved:  # pairs side by side are complex numbers, and a turn is one product
            pairs = torch.view_as_complex(torch.unflatten(x.float(), -1, (-1, 2)))
            return torch.view_as_real(rowwise(torch.mul, pairs, turn[0])).flatten(-2)
        cos, sin = turn
        first, second = x.float().chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    def _turns(self, positions: Tensor, longest: int) -> Mapping[str, tuple[Tensor, ...]]:
        """Return for each rope the factors of each token: complex (t, 1, d / 2), or cos and sin of that shape."""
        with self._counting:
            if longest > self._positions:
                self._positions = max(512, 2 * longest)
                self._ropes = self.decoder.ropes(self._positions)
            ropes = self._ropes
        picked = {name: (cos[positions][:, None], sin[positions][:, None]) for name, (cos, sin) in ropes.items()}
        if self.interleaved:
            return {name: (torch.complex(cos, sin),) for name, (cos, sin) in picked.items()}
        return picked

    def _mlp(self, block: Block, x: Tensor) -> Tensor:
        h = block.up.prepare(block.before_mlp(x) if block.before_mlp else x.clone())
        y = block.up(h) if block.gate is None else block.up.times(h, block.gate(h))
        return block.down(block.down.prepare(y))

    def _add(self, x: Tensor, y: Tensor, after_part: Function | None, after_sum: Function | None) -> Tensor:
        x = x.add_(after_part(y.to(self.wide)) if after_part else y)
        return after_sum(x) if after_sum else x


def fast_forward(
    model: nn.Module,
    *,
    layers: int | None = None,
    int8: bool = False,
    sample: Sequence[Ids] = (),
    release: bool = False,
) -> LastTokenForward | None:
    """Return the fast forward of a loaded transformers model; None where its family or placement is not covered.

    Args:
        model: Without LM head, possibly wrapped by PEFT. It is what to call where there is no fast forward.
        layers: Use the first N blocks.
        int8: Quantise plain linear layers (weights per output, inputs per token), CPU only.
        sample: Some prompts for int8, to see which inputs are large; without them it is several times less exact.
        release: Give up the model's own copy of weights that were laid out anew; its forward is then unusable.
    """
    loose: Any = model
    if hasattr(model, "get_base_model"):
        model = loose = loose.get_base_model()
    parameters = list(model.parameters())
    device: torch.device = parameters[0].device
    dtype: torch.dtype = loose.dtype
    if any(p.device != device for p in parameters) or device.type == "meta" or hasattr(model, "_hf_hook"):
        return None
    if int8 and not (device.type == "cpu" and Int8.works()):
        return None
    blocks: int = loose.config.num_hidden_layers
    depth = min(layers or blocks, blocks)
    if int8:
        watch = _build(model, depth, "watch", dtype, release=False)
        if watch is None:
            return None
        forward, make = watch
        if sample:
            forward(sample)
        half = torch.bfloat16 if Packed.works(torch.bfloat16) else dtype  # of attention; other layers return fp32
        built = _build(model, depth, "int8", half, release, make.reach)
    else:
        packed = device.type == "cpu" and steady(dtype) is not Dense
        built = _build(model, depth, "packed" if packed else "dense", dtype, release)
    return None if built is None else built[0]


def _build(
    model: nn.Module,
    layers: int,
    mode: Mode,
    dtype: torch.dtype,
    release: bool,
    reach: dict[nn.Module, Tensor] | None = None,
) -> tuple[LastTokenForward, Maker] | None:
    device = next(model.parameters()).device
    wide = torch.float32 if device.type == "cpu" else dtype
    interleaved = mode in ("packed", "int8") and turns_plain_heads(model)
    stored: Any = model.dtype
    make = Maker(mode, stored, wide, interleaved, release, reach)
    decoder = read(model, layers, make)
    if decoder is None:
        return None
    make.finish()
    exact = mode == "packed" and dtype == torch.float32  # these products give a row the same bits beside any others
    attention: Callable[[Sequence[int], int], Attention] = partial(Grouped, apart=exact)
    kernel = flash_kernel(device, dtype, decoder.blocks[0].head_dim)
    if kernel is not None:
        attention = partial(Varlen, device=device, kernel=kernel)
    forward = LastTokenForward(
        decoder, device=device, dtype=dtype, wide=wide, interleaved=interleaved, attention=attention, exact=exact
    )
    return forward, make
