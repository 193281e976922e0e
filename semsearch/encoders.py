"""Which encoder a command uses: flags over settings over preset over the adapter's own description over defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from indexer import embedding
from indexer.embedding import presets
from indexer.embedding.encoder import DEFAULT_MODEL, FLOATS, EncoderSpec
from indexer.errors import MismatchError
from semsearch.settings import Settings

Purpose = Literal["search", "sts"]
"""What the vectors are for; also the name of the shipped adapter that serves it best."""

FIELDS = (
    "model",
    "adapter",
    "template",
    "query_template",
    "query_adapter",
    "pooling",
    "precision",
    "layers",
    "max_tokens",
)
"""Fields of an EncoderSpec that are flags and settings of their own; ``preset`` gives all the others."""


@dataclass(frozen=True, kw_only=True)
class EncoderOverrides:
    """What a person said of the encoder; None: nothing."""

    preset: str | None = None
    model: str | None = None
    adapter: str | None = None
    template: str | None = None
    query_template: str | None = None
    query_adapter: str | None = None
    pooling: str | None = None
    precision: str | None = None
    layers: int | None = None
    max_tokens: int | None = None
    device: str | None = None
    batch_tokens: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Option → value, of those that decide the vectors and were given."""
        values = {name: getattr(self, name) for name in ("preset", *FIELDS)}
        return {name: value for name, value in values.items() if value is not None}


def choose(settings: Settings, flags: Mapping[str, Any] | EncoderOverrides, purpose: Purpose) -> EncoderSpec:
    """The encoder for a new collection, a list of texts or an evaluation; not yet resolved.

    ``flags``: ``preset`` and FIELDS → value or None. The shipped adapter of ``purpose`` is taken where nothing was
    said about the model but how to run it.
    """
    flags = flags.given if isinstance(flags, EncoderOverrides) else flags
    wanted = {name: getattr(settings, name) for name in ("preset", *FIELDS)}
    wanted |= {name: value for name, value in flags.items() if value is not None}
    spec = embedding.preset(wanted["preset"]) if wanted["preset"] else EncoderSpec()
    said = ("preset", "adapter", "template", "query_template", "query_adapter", "pooling", "layers")
    unsaid = all(wanted[name] is None for name in said)
    if unsaid and wanted["model"] in (None, DEFAULT_MODEL) and purpose in embedding.shipped_adapters():
        wanted["adapter"] = purpose
    return _put(spec, wanted)


def named(name: str) -> EncoderSpec:
    """The encoder of one name, whatever it names: a preset, a .toml or .json file, a shipped adapter, a folder with an
    adapter, ``none`` (the default model without adapter), else a model by name or path; not yet resolved.

    Raises ConfigError for a file that describes no encoder."""
    if name == "none":
        return EncoderSpec()
    if name in embedding.shipped_adapters() or (Path(name).expanduser() / "adapter_config.json").is_file():
        return _put(EncoderSpec(), {"adapter": name})
    if name in presets.presets() or name.endswith((".toml", ".json")):
        return presets.load(name)
    return _put(EncoderSpec(), {"model": name})


def confirm(made_by: EncoderSpec, flags: Mapping[str, Any] | EncoderOverrides, mend: str) -> EncoderSpec:
    """The encoder of an existing collection, looked up anew; ``flags`` are what the person said now.

    Raises MismatchError where the files have changed since or a flag asks for another encoder, showing both and
    ``mend``, the command that mends it. A precision that only rounds differently is let through:
    ``rounding_note`` says so.
    """
    flags = flags.given if isinstance(flags, EncoderOverrides) else flags
    base = embedding.preset(flags["preset"]) if flags.get("preset") else made_by
    asked = _put(replace(base, weights=None, adapter_weights=None, query_adapter_weights=None), flags)
    if asked.precision is None:
        asked = replace(asked, precision=made_by.precision)
    spec = embedding.resolve(asked)
    if spec.fingerprint != made_by.fingerprint:
        ours, theirs = describe(made_by), describe(spec)
        lines = "".join(
            f"\n  {name}: index {ours[name]!r}, asked for {theirs[name]!r}"
            for name in ours
            if ours[name] != theirs[name]
        )
        raise MismatchError(
            f"the index was made by encoder {made_by.fingerprint}, and encoder {spec.fingerprint} cannot search it:"
            f"{lines}\n{mend}"
        )
    if spec.precision != made_by.precision and not rounding_note(made_by, spec):
        raise MismatchError(
            f"the index was made in {made_by.precision} and {spec.precision} was asked for; only {', '.join(FLOATS)} "
            f"give vectors near enough to be compared\n{mend}"
        )
    return spec


def rounding_note(made_by: EncoderSpec, used: EncoderSpec) -> str | None:
    """What to tell a person when a query's precision differs harmlessly from the index's; None when it does not."""
    if used.precision != made_by.precision and {used.precision, made_by.precision} <= set(FLOATS):
        return (
            f"the index was made in {made_by.precision}, the query is encoded in {used.precision}: "
            "ranks may differ a little"
        )
    return None


def describe(spec: EncoderSpec) -> dict[str, object]:
    """The fields that decide the fingerprint, with names beside their contents, for messages and ``--json``."""
    values = spec.to_dict()
    values.pop("precision")
    return values


def _put(spec: EncoderSpec, wanted: Mapping[str, Any]) -> EncoderSpec:
    values = {name: wanted[name] for name in FIELDS if wanted.get(name) is not None}
    if values.get("query_adapter") == "none":
        spec, values = replace(spec, query_adapter=None), {k: v for k, v in values.items() if k != "query_adapter"}
    if "model" in values and values["model"] != spec.model:
        spec = replace(spec, revision=None)
    if values.get("adapter") == "none":
        spec, values = replace(spec, adapter=None), {k: v for k, v in values.items() if k != "adapter"}
    elif "adapter" in values and values["adapter"] != spec.adapter:
        spec = replace(spec, **embedding.adapter_description(values["adapter"]))
    return replace(spec, **values)
