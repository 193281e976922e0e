"""Token ids → pooled hidden states by one padded transformers forward: the reference for every faster way.

b batch, s sequence, d hidden.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from indexer.embedding.forward.pooling import pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.embedding.spec import Pooling
    from indexer.embedding.weights.tokens import Tokens


class Forward(Protocol):
    """One batch through the model."""

    tokens: int
    """Tokens run so far; a shared prefix counts once, padding not at all."""

    def __call__(self, ids: list[list[int]], /) -> Tensor:
        """Return (b, d) on the model's device, in its dtype or float32, for b prompts' token ids, none empty."""
        ...


class PlainForward:
    """Right padding and a mask; every family that transformers has."""

    def __init__(self, model: Any, pooling: Pooling, tokenizer: Tokens) -> None:
        """Take a transformers model without LM head."""
        self._model = model
        self._pooling: Pooling = pooling
        self._pad_id = tokenizer.pad_id
        self._mask_id = tokenizer.mask_id
        self.tokens = 0
        self._counting = Lock()
        ropes = " ".join(str(getattr(module, "rope_type", "")) for module in model.modules())
        self.concurrent = pooling != "first-last" and "dynamic" not in ropes and "longrope" not in ropes
        """Whether several threads may run it at once: not where transformers notes something down in the modules."""

    @torch.inference_mode()
    def __call__(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Run one padded batch: (b, d)."""
        with self._counting:
            self.tokens += sum(map(len, ids))
        device = _entry(self._model.get_input_embeddings())
        tokens, mask = padded(ids, self._pad_id, device)  # (b, s)
        arguments: dict[str, Any] = {"input_ids": tokens, "attention_mask": mask}
        if self._pooling == "first-last":
            states = self._model(**arguments, output_hidden_states=True).hidden_states  # embeddings, then each block
            hidden = (states[1].float() + states[-1].float()) / 2  # (b, s, d)
        else:
            hidden = self._model(**arguments).last_hidden_state  # (b, s, d)
        if self._pooling == "mask":
            mask = tokens.eq(-1 if self._mask_id is None else self._mask_id)
        return pool(hidden, mask.to(hidden.device), self._pooling)


def _entry(embeddings: Any) -> torch.device:
    """Return the device that token ids go to; embeddings that accelerate keeps elsewhere are there when they run."""
    device: torch.device = embeddings.weight.device
    return torch.device(embeddings._hf_hook.execution_device) if device.type == "meta" else device


def padded(ids: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return right-padded ids and their mask, both (b, s) int64."""
    longest = max(map(len, ids))
    tokens = torch.full((len(ids), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(ids), longest), dtype=torch.long)
    for row, values in enumerate(ids):
        tokens[row, : len(values)] = torch.tensor(values, dtype=torch.long)
        mask[row, : len(values)] = 1
    return tokens.to(device), mask.to(device)
