"""Passages → vectors. The functions here load NumPy, torch and transformers only when they must."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.embedding.spec import EncoderSpec, Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenizers import Tokenizer

    from indexer.embedding.encoder import Encoder

__all__ = [
    "EncoderSpec",
    "Precision",
    "adapter_description",
    "default_precision",
    "demonstrating",
    "has_int8",
    "nearest_precision",
    "open_encoder",
    "preset",
    "resolve",
    "shipped_adapters",
    "tokenizer",
]


def resolve(spec: EncoderSpec) -> EncoderSpec:
    """Find and hash the files behind a spec, so that it has a fingerprint; fetch from the hub what is missing.

    Returns:
        The same spec with its digests filled in.

    Raises:
        ModelError: Something cannot be found.
        MismatchError: The spec has digests already and the files have changed since.
    """
    from indexer.embedding.weights import models

    return models.resolve(spec)


def open_encoder(
    spec: EncoderSpec,
    *,
    device: str | None = None,
    batch_tokens: int | None = None,
    device_map: str | None = None,
    workers: int | None = None,
) -> Encoder:
    """Load the encoder that a spec describes; fetch the model where it is missing.

    Args:
        spec: Resolved or not.
        device: cpu, cuda, cuda:N or mps; None: the best there is.
        batch_tokens: Tokens of one batch, padding included; None: what suits the device.
        device_map: accelerate's, for models larger than one GPU.
        workers: Threads that run the batches of a list side by side on a CPU; None: as many as torch uses cores.

    Raises:
        ModelError: Something cannot be found or loaded.
        PrecisionError: The device does not exist or cannot compute in the spec's precision.
        MismatchError: The files have changed since the spec was resolved.
    """
    if spec.hashed:
        from indexer.embedding.hash_encoder import HashEncoder

        return HashEncoder(spec)
    from indexer.embedding.hf_encoder import HFEncoder

    return HFEncoder(resolve(spec), device=device, batch_tokens=batch_tokens, device_map=device_map, workers=workers)


def demonstrating(encoder: Encoder, demonstrations: Sequence[tuple[str, str]]) -> Encoder:
    """Return an encoder with other demonstrations around a model that is loaded already, where it has one.

    Args:
        encoder: Opened, with or without demonstrations.
        demonstrations: Pairs of a sentence and its word.
    """
    from indexer.embedding.hf_encoder import HFEncoder

    if isinstance(encoder, HFEncoder):
        return encoder.demonstrating(demonstrations)
    return open_encoder(replace(encoder.spec, demonstrations=tuple(demonstrations)))


def shipped_adapters() -> list[str]:
    """Return the names of the adapters that come with the package."""
    from indexer.embedding.weights import models

    return models.shipped_adapters()


def adapter_description(name: str) -> dict[str, object]:
    """Return the fields of EncoderSpec that an adapter was trained with, from its ``encoder.json``.

    Returns:
        Template, normalise, layers and others under their keys in files, for ``EncoderSpec.override``; {} where the
        adapter has no such file.

    Raises:
        ModelError: There is no such adapter.
    """
    from indexer.embedding.weights import models

    return models.adapter_description(name)


def preset(name: str) -> EncoderSpec:
    """Return the encoder of a preset, by name, or of a TOML or JSON file.

    Raises:
        ConfigError: There is no such preset, or the file describes no encoder.
    """
    from indexer.embedding.prompts import presets

    return presets.load(name)


def tokenizer(spec: EncoderSpec) -> Tokenizer | Callable[[str], int]:
    """Return what counts a text's tokens for the splitter: the model's own tokenizer.

    Loads no torch where the tokenizer is all in its tokenizer.json, as the default model's is.

    Raises:
        ModelError: The model cannot be found, or its tokenizer not be read.
    """
    if spec.hashed:
        from indexer.embedding.hash_encoder import HashEncoder

        encoder = HashEncoder(spec)
        return lambda text: int(encoder.count_tokens([text])[0])
    from indexer.embedding.weights import models, tokens

    return tokens.load(models.locate(spec).model).backend


def has_int8(device: str | None = None) -> bool:
    """Return whether int8 is faster than any float there: a processor with VNNI.

    Raises:
        PrecisionError: There is no such device.
    """
    from indexer.embedding import precision

    return precision.has_int8(precision.pick_device(device))


def nearest_precision(spec: EncoderSpec, device: str | None = None) -> EncoderSpec:
    """Return the spec in its own precision, or in the device's default where it lacks that and both may be compared.

    Raises:
        PrecisionError: There is no such device.
    """
    if spec.hashed:
        return spec
    from indexer.embedding import precision

    return precision.nearest(spec, precision.pick_device(device))


def default_precision(device: str | None = None) -> Precision:
    """Return bf16 where the device has it in hardware, else fp32."""
    from indexer.embedding import precision

    return precision.default(precision.pick_device(device))
