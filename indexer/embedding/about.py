"""Facts about an encoder that need no run of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.embedding.prompts.presets import presets
from indexer.embedding.prompts.prompt import PromptTemplate
from indexer.embedding.weights import models, packaged

if TYPE_CHECKING:
    from pathlib import Path

    from indexer.embedding.spec import EncoderSpec


@dataclass(frozen=True)
class About:
    """One encoder."""

    spec: EncoderSpec
    """Resolved."""
    folder: Path | None
    """Where the model's files lie; None for one that has not been fetched, or has no files."""
    bytes: int
    """Size of those files."""
    family: str | None
    blocks: int | None
    dim: int | None
    prompt: str
    """Of a passage, with {text} in its place."""


@dataclass(frozen=True)
class Listing:
    """Names that an encoder can be asked for by."""

    embedded: dict[str, Path | None]
    """Name → folder, None before the first use."""
    adapters: list[str]
    presets: dict[str, EncoderSpec]


def listing() -> Listing:
    """Return the models, adapters and presets that go by a name. Touches no network."""
    return Listing(
        {name: packaged.embedded_folder(name) for name in packaged.EMBEDDED}, models.shipped_adapters(), presets()
    )


def about(spec: EncoderSpec) -> About:
    """Resolve a spec and look at its files; an embedded model is not fetched.

    Raises:
        ModelError: Something cannot be found.
    """
    spec = models.resolve(spec)
    template = PromptTemplate(PromptTemplate.of(spec).template, spec.demonstrations, normalize_text=False)
    prompt = template.render("{text}")
    if spec.model.startswith("hash:"):
        return About(spec, None, 0, None, None, int(spec.model.removeprefix("hash:")), prompt)
    folder = packaged.embedded_folder(spec.model) if spec.model in packaged.EMBEDDED else models.locate(spec).model
    if folder is None:
        return About(spec, None, 0, None, None, None, prompt)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    total = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    blocks = config.get("num_hidden_layers") or config.get("n_layer") or config.get("num_layers")
    dim = (
        config.get("word_embed_proj_dim") or config.get("hidden_size") or config.get("n_embd") or config.get("d_model")
    )
    kept = len(spec.blocks) if spec.blocks else blocks
    return About(spec, folder, total, config.get("model_type"), kept, spec.dimensions or dim, prompt)
