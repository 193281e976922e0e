"""A Llama's modules with its weights and no forward of its own, made without importing transformers.

``fast_forward`` reads modules, not methods, and importing transformers takes longer than loading the default model
and answering a query with it. Names are transformers', so that checkpoints and adapters fit.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from indexer.embedding.weights import depth
from indexer.embedding.weights.digests import weight_files
from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Llama(nn.Module):
    """The whole model."""

    def __init__(self, config: SimpleNamespace) -> None:
        """Make the modules that config.json describes."""
        super().__init__()
        self.config = config
        weight = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=weight, _freeze=True)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config)
        self.rotary_emb = Rotary(config)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        dtype: torch.dtype = self.embed_tokens.weight.dtype
        return dtype

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the token embeddings."""
        embeddings: nn.Embedding = self.embed_tokens
        return embeddings


class Block(nn.Module):
    """One block."""

    def __init__(self, config: SimpleNamespace) -> None:
        """Make the modules that config.json describes."""
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config)
        self.post_attention_layernorm = RMSNorm(config)


class Attention(nn.Module):
    """The projections of attention."""

    def __init__(self, config: SimpleNamespace) -> None:
        """Make the modules that config.json describes."""
        super().__init__()
        self.head_dim = config.head_dim
        self.scaling = config.head_dim**-0.5
        inner, outer = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, outer, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, outer, bias=False)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias=False)


class MLP(nn.Module):
    """The gated MLP."""

    def __init__(self, config: SimpleNamespace) -> None:
        """Make the modules that config.json describes."""
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.act_fn = nn.functional.silu


class RMSNorm(nn.Module):
    """The weight of a norm."""

    def __init__(self, config: SimpleNamespace) -> None:
        """Make the modules that config.json describes."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.variance_epsilon = config.rms_norm_eps


class Rotary(nn.Module):
    """Angles of positions (Su et al. 2021, equation 15)."""

    def __init__(self, config: SimpleNamespace) -> None:
        """Make the modules that config.json describes."""
        super().__init__()
        self.theta = config.rope_parameters["rope_theta"]
        self.head_dim = config.head_dim

    def forward(self, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin, each (1, s, head_dim) in the dtype of ``like``; both halves of a head turn alike."""
        steps = torch.arange(0, self.head_dim, 2, device=positions.device).float() / self.head_dim
        angles = positions[..., None].float() / self.theta**steps  # (1, s, head_dim / 2)
        angles = torch.cat((angles, angles), -1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def load(folder: Path, blocks: Sequence[int] | None, dtype: torch.dtype | None) -> Llama | None:
    """Return the Llama in a folder, on the CPU; None for something else, or a variant that is not made here.

    Args:
        folder: In transformers' layout.
        blocks: Numbers of the blocks to load; None: all.
        dtype: Of the weights; None: as stored.

    Raises:
        ModelError: The weights are damaged.
    """
    config = _config(folder)
    files = weight_files(folder)
    if config is None or not files or not files[0].endswith(".safetensors"):
        return None
    with torch.device("meta"):
        model = Llama(config)
    if blocks is not None:
        depth.keep(model, blocks)
    from safetensors import safe_open

    wanted = set(model.state_dict())
    found: dict[str, Tensor] = {}
    try:
        for name in files:
            with safe_open(folder / name, "pt") as file:
                for key in file.keys():  # noqa: SIM118 - not a dict
                    ours = key.removeprefix("model.")
                    if ours in wanted:
                        found[ours] = file.get_tensor(key)
                    elif ours.startswith("layers.0.") and ours.endswith(".weight"):
                        raise ValueError(f"{key} has no place in the Llama that config.json describes")
        if dtype is not None:
            found = {key: tensor.to(dtype) for key, tensor in found.items()}
        model.load_state_dict(found, assign=True)
    except Exception as error:  # safetensors' and torch's own
        raise ModelError(
            f"the weights in {folder} cannot be loaded: {str(error).splitlines()[-1].strip()}; if the files are "
            "damaged, delete the folder and fetch the model again"
        ) from error
    return model


def _config(folder: Path) -> SimpleNamespace | None:
    try:
        values: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}/config.json cannot be read: {error}") from error
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    rope = {"rope_theta": values.get("rope_theta"), **rope}
    if (
        values.get("model_type") != "llama"
        or values.get("hidden_act", "silu") != "silu"
        or values.get("attention_bias")
        or values.get("mlp_bias")
        or values.get("quantization_config")
        or rope.get("rope_type", rope.get("type", "default")) != "default"
        or not rope["rope_theta"]
        or not {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "rms_norm_eps", "max_position_embeddings"} <= set(values)
    ):  # fmt: skip
        return None
    values["rope_parameters"] = {"rope_type": "default", "rope_theta": float(rope["rope_theta"])}
    heads = values["num_attention_heads"]
    defaults = {
        "head_dim": values["hidden_size"] // heads,
        "num_key_value_heads": heads,
        "tie_word_embeddings": False,
        "layer_types": None,
    }
    return SimpleNamespace(**defaults | {k: v for k, v in values.items() if v is not None})
