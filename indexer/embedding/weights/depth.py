"""A model with some of its blocks left out.

The last blocks of a language model turn to the next token, and those in the middle change least: leaving these out and
training what is left costs less than cutting the end off (Gromov et al. 2024, *The Unreasonable Ineffectiveness of the
Deeper Layers*).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from torch import nn

from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def total(folder: Path) -> int | None:
    """Read from a model's config.json how many blocks it has; None where it does not say."""
    try:
        values = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    found = values.get("num_hidden_layers") or values.get("n_layer") or values.get("num_layers")
    return found if isinstance(found, int) else None


def needed(config: Any, blocks: Sequence[int]) -> int:
    """Return how many of the first blocks a model needs to have all these.

    Raises:
        ModelError: The model has fewer.
    """
    if blocks[-1] >= config.num_hidden_layers:
        raise ModelError(
            f"layers asks for {blocks[-1] + 1} blocks; the model has {config.num_hidden_layers}"
            if len(blocks) == blocks[-1] + 1
            else f"layers asks for block {blocks[-1]}; the model has 0 to {config.num_hidden_layers - 1}"
        )
    return blocks[-1] + 1


def shorten(config: Any, blocks: Sequence[int]) -> None:
    """Make ``config`` that of a model with these blocks only."""
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in blocks]
    config.num_hidden_layers = len(blocks)


def keep(model: Any, blocks: Sequence[int]) -> None:
    """Take all other blocks out. Those kept have the names they had, which are an adapter's names for them."""
    if needed(model.config, blocks) == len(blocks) == model.config.num_hidden_layers:
        return
    holder, name = _place(model)
    every = getattr(holder, name)
    kept = nn.ModuleList()
    for block in blocks:
        kept.add_module(str(block), every[block])
    setattr(holder, name, kept)
    shorten(model.config, blocks)
    for place, module_of in enumerate(kept):  # by which it finds its keys and values in a cache
        module: Any
        for module in module_of.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place


def rename(model: nn.Module) -> None:
    """Name the blocks 0, 1, 2 …, as in a model that never had others."""
    holder, name = _place(model)
    setattr(holder, name, nn.ModuleList(getattr(holder, name)))


def _place(model: Any) -> tuple[nn.Module, str]:
    """Return the module that has the list of blocks, the outermost of that length, and the list's name."""
    for holder in model.modules():
        for name, child in holder.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == model.config.num_hidden_layers:
                return holder, name
    raise ModelError(f"{type(model).__name__} has no list of blocks to choose from; let layers be a number")
