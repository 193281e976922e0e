"""Passages → vectors. The functions here load torch and transformers only when they must."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from indexer.embedding.encoder import Encoder, EncoderSpec, HashEncoder, Precision

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def resolve(spec: EncoderSpec) -> EncoderSpec:
    """Find and hash the files behind a spec: the same spec with its digests filled in, so that it has a fingerprint.

    Hub files that are not on this machine are fetched. Raises ModelError for what cannot be found, and
    MismatchError where the spec has digests already and the files have changed since.
    """
    from indexer.embedding import models

    return models.resolve(spec)


def open_encoder(
    spec: EncoderSpec, *, device: str | None = None, batch_tokens: int | None = None, device_map: str | None = None
) -> Encoder:
    """Load the encoder that a spec describes; fetches the model where it is missing.

    ``device``: cpu, cuda, cuda:N or mps; None: the best there is. ``batch_tokens``: most tokens of one batch,
    padding included; None: what suits the device. ``device_map``: accelerate's, for models larger than one GPU.
    Raises ModelError, PrecisionError and MismatchError (the files changed since the spec was resolved).
    """
    if spec.model.startswith("hash:"):
        return HashEncoder(spec)
    from indexer.embedding.hf_encoder import HFEncoder

    return HFEncoder(resolve(spec), device=device, batch_tokens=batch_tokens, device_map=device_map)


def shipped_adapters() -> list[str]:
    """Names of the adapters that come with the package."""
    from indexer.embedding import models

    return models.shipped_adapters()


def adapter_description(name: str) -> dict[str, object]:
    """Fields of EncoderSpec that an adapter was trained with (template, normalise, layers …), from its
    ``encoder.json``; none where it has no such file. Raises ModelError where there is no such adapter."""
    from indexer.embedding import models

    return models.adapter_description(name)


def preset(name: str) -> EncoderSpec:
    """The encoder of a preset, by name, or of a TOML or JSON file. Raises ConfigError."""
    from indexer.embedding import presets

    return presets.load(name)


def tokenizer(spec: EncoderSpec) -> Tokenizer | Callable[[str], int]:
    """What counts a text's tokens for the splitter: the model's own tokenizer.

    Loads no torch where the tokenizer is all in its tokenizer.json, as the default model's is."""
    if spec.model.startswith("hash:"):
        encoder = HashEncoder(spec)
        return lambda text: int(encoder.count_tokens([text])[0])
    from indexer.embedding import models, tokens

    return tokens.load(models.locate(spec).model).backend


def default_precision(device: str | None = None) -> Precision:
    """bf16 where the device has it in hardware, else fp32."""
    from indexer.embedding import precision

    return precision.default(precision.pick_device(device))
