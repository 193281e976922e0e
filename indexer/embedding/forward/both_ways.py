"""Hidden states of BERT and its kin, whose tokens see both ways, over sequences packed without padding, and pooled.

Against a padded forward this one works on real tokens alone and joins query, key and value into one product. A sequence
has the same bits in any batch: every sequence has an attention of its own, and ``Filled`` gives a row the same result
beside any others.

Legend: b sequences, t packed tokens, s tokens of one, e hidden size, h heads, d head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from indexer.embedding.forward.linear import Dense, Filled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.embedding.spec import Pooling

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert")
"""Model types whose layers are laid out as BERT's."""


@dataclass(frozen=True)
class Layer:
    """One layer: attention and MLP, a norm after each."""

    qkv: Dense
    """(t, e) to (t, 3e)."""
    out: Dense
    after_attention: nn.Module
    up: Dense
    """With the activation."""
    down: Dense
    after_mlp: nn.Module


class BothWaysForward:
    """Token ids to pooled hidden states. Built by ``both_ways``. Safe to call from several threads at once."""

    def __init__(self, embeddings: Any, layers: Sequence[Layer], heads: int, first: int, pooling: Pooling) -> None:
        """Take a model's parts.

        Args:
            embeddings: Of words, positions and kinds of tokens, with the norm after their sum.
            layers: From the input up.
            heads: Of each layer.
            first: Position of the first token.
            pooling: mean or cls.
        """
        self._embeddings = embeddings
        self._layers = layers
        self._heads = heads
        self._first = first
        self._mean = pooling == "mean"
        self.exact = Filled.works()
        """Whether a sequence has the same bits in any batch."""
        self.tokens = 0
        """Tokens run so far."""
        self._counting = Lock()

    @torch.inference_mode()
    def __call__(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Return (b, e) float32 for b prompts' token ids, none empty."""
        lengths = [len(each) for each in ids]
        with self._counting:
            self.tokens += sum(lengths)
        x = self._embed(ids, lengths)  # (t, e)
        for layer in self._layers:
            qkv = layer.qkv(x)  # (t, 3e)
            attended = torch.cat([self._attend(part) for part in torch.split(qkv, lengths)])
            x = layer.after_attention(layer.out(attended).add_(x))
            x = layer.after_mlp(layer.down(layer.up(x)).add_(x))
        return torch.stack([part.mean(0) if self._mean else part[0] for part in torch.split(x, lengths)])

    def _embed(self, ids: Sequence[Sequence[int]], lengths: Sequence[int]) -> Tensor:
        tokens = torch.tensor([i for each in ids for i in each])
        positions = torch.cat([torch.arange(self._first, self._first + length) for length in lengths])
        parts = self._embeddings
        x = parts.word_embeddings(tokens) + parts.token_type_embeddings.weight[0] + parts.position_embeddings(positions)
        normed: Tensor = parts.LayerNorm(x)
        return normed

    def _attend(self, qkv: Tensor) -> Tensor:
        """Return (s, e), the attended values of one sequence's (s, 3e)."""
        q, k, v = torch.unflatten(qkv, 1, (3, self._heads, -1)).permute(1, 2, 0, 3)  # each (h, s, d)
        scores = torch.bmm(q, k.transpose(1, 2)).mul_(1 / sqrt(q.shape[-1]))  # (h, s, s)
        return torch.bmm(torch.softmax(scores, -1), v).transpose(0, 1).flatten(1)


def both_ways(model: Any, pooling: Pooling) -> BothWaysForward | None:
    """Return the packed forward of a loaded transformers model; None where it is not covered.

    Covered are BERT and RoBERTa in fp32 on a CPU, pooled by mean or first token, as their authors laid them out:
    without adapters, quantised layers or parts elsewhere.
    """
    config: Any = getattr(model, "config", None)
    if getattr(config, "model_type", None) not in FAMILIES or pooling not in ("mean", "cls"):
        return None
    if getattr(config, "is_decoder", False) or getattr(config, "position_embedding_type", "absolute") != "absolute":
        return None
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in model.parameters()):
        return None
    if hasattr(model, "_hf_hook") or not hasattr(model, "encoder"):
        return None
    try:
        layers = [_layer(each) for each in model.encoder.layer]
    except (AttributeError, TypeError):  # laid out in another way
        return None
    first = 0 if config.model_type == "bert" else model.embeddings.padding_idx + 1
    return BothWaysForward(model.embeddings, layers, config.num_attention_heads, first, pooling)


def _layer(block: Any) -> Layer:
    attention, own = block.attention, block.attention.self
    return Layer(
        qkv=_joined(own.query, own.key, own.value),
        out=_joined(attention.output.dense),
        after_attention=attention.output.LayerNorm,
        up=_joined(block.intermediate.dense, activation=block.intermediate.intermediate_act_fn),
        down=_joined(block.output.dense),
        after_mlp=block.output.LayerNorm,
    )


def _joined(*modules: nn.Module, activation: Any = None) -> Dense:
    """Return linear layers that read the same input as one.

    Raises:
        TypeError: One of them is another kind of layer, such as an adapter around one.
    """
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for module in modules:
        if type(module) is not nn.Linear or module.bias is None:
            raise TypeError(f"{type(module).__name__} is no plain linear layer")
        weights.append(module.weight)
        biases.append(module.bias)
    layer = Filled if Filled.works() else Dense
    with torch.inference_mode():
        if len(modules) == 1:
            return layer(weights[0], biases[0], activation)
        return layer(torch.cat(weights), torch.cat(biases), activation)
