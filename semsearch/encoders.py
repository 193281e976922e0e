"""Which encoder is used: overrides over settings over preset over the adapter's own description over defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from indexer import embedding
from indexer.embedding.spec import (
    COMPARABLE,
    DEFAULT_ADAPTER,
    DEFAULT_MODEL,
    RETIRED,
    EncoderSpec,
    Pooling,
    Precision,
    comparable,
)
from indexer.errors import MismatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from semsearch.settings import Settings

FIELDS = (
    "model",
    "adapter",
    "template",
    "query_template",
    "query_adapter",
    "pooling",
    "precision",
    "layers",
    "dimensions",
    "max_tokens",
)
"""Fields of an EncoderSpec that are options and settings of their own; ``preset`` gives all the others."""
RUNTIME = ("device", "batch_tokens")
"""Options that change no vector by more than rounding."""


@dataclass(frozen=True, kw_only=True)
class EncoderOverrides:
    """The options that say which encoder to use and how to run it. None: not given.

    Raises:
        UsageError: An option has a value that it cannot have.
    """

    model: str | None = None
    """Hub name, folder, GGUF file or name of an embedded model."""
    adapter: str | None = None
    """Shipped name, folder or hub name; "none": without adapter."""
    template: str | None = None
    query_template: str | None = None
    query_adapter: str | None = None
    """As ``adapter``, for queries alone."""
    pooling: Pooling | None = None
    precision: Precision | None = None
    layers: int | None = None
    """Use the first N blocks."""
    dimensions: int | None = None
    """Keep N numbers of each vector."""
    max_tokens: int | None = None
    preset: str | None = None
    """A named encoder, or a TOML or JSON file that describes one."""
    device: str | None = None
    """cpu, cuda, cuda:N or mps."""
    batch_tokens: int | None = None
    """Tokens of one batch."""

    def __post_init__(self) -> None:
        """Check the values."""
        choices: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("pooling", get_args(Pooling)),
            ("precision", get_args(Precision)),
        )
        for name, allowed in choices:
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise UsageError(
                    f"{name} is {value!r}; {_nearest(str(value), allowed)}it is one of {', '.join(allowed)}"
                )
        for name in ("layers", "dimensions", "max_tokens", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UsageError(f"{name} is {value!r}; it is a whole number from 1 up")
        for name in ("model", "adapter", "template", "query_template", "query_adapter", "preset", "device"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise UsageError(f"{name} is {value!r}; it is text")

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> EncoderOverrides:
        """Return the overrides that a mapping names.

        Raises:
            UsageError: A name is no option, or a value not one that it can have.
        """
        known = tuple(field.name for field in fields(cls))
        for name in values:
            if name not in known:
                raise UsageError(
                    f"there is no encoder option {name!r}; {_nearest(name, known)}options are {', '.join(known)}"
                )
        arguments: dict[str, Any] = dict(values)
        return cls(**arguments)

    @property
    def given(self) -> dict[str, Any]:
        """Option → value, of those that decide the vectors and were given."""
        values = {name: getattr(self, name) for name in ("preset", *FIELDS)}
        return {name: value for name, value in values.items() if value is not None}


NOTHING = EncoderOverrides()
"""No option was given."""


def choose(settings: Settings, overrides: EncoderOverrides) -> EncoderSpec:
    """Return the encoder for a new collection, a list of texts or an evaluation; not yet resolved.

    The default adapter is taken where nothing was said about the model but how to run it.

    Raises:
        ConfigError: There is no such preset, or a field has a value that it cannot have.
        ModelError: There is no such adapter.
    """
    wanted = {name: getattr(settings, name) for name in ("preset", *FIELDS)} | overrides.given
    spec = embedding.preset(wanted["preset"]) if wanted["preset"] else EncoderSpec()
    said = ("preset", "adapter", "template", "query_template", "query_adapter", "pooling", "layers")
    unsaid = all(wanted[name] is None for name in said)
    if unsaid and wanted["model"] in (None, DEFAULT_MODEL):
        wanted["adapter"] = DEFAULT_ADAPTER
    return _put(spec, wanted)


def in_bulk(spec: EncoderSpec, device: str | None) -> EncoderSpec:
    """Return the spec as many texts are embedded by it: in int8 where that is faster and loses nothing.

    It was measured with the default encoder alone (scripts/research/LOG.md), so others stay as they are; so does one
    whose precision somebody chose. Evaluation and training compute in floats.

    Raises:
        PrecisionError: There is no such device.
    """
    if (
        spec.precision is None
        and _as_shipped(spec) == _as_shipped(named(DEFAULT_ADAPTER))
        and embedding.has_int8(device)
    ):
        return replace(spec, precision="int8")
    return spec


def _as_shipped(spec: EncoderSpec) -> EncoderSpec:
    """Leave out what does not matter to a precision: where a text is cut, and its vector."""
    return replace(spec, dimensions=None, max_tokens=512, weights=None, adapter_weights=None)


def named(name: str) -> EncoderSpec:
    """Return the encoder of one name, whatever it names; not yet resolved.

    Args:
        name: A preset, a .toml or .json file, a shipped adapter, a folder with an adapter, ``none`` (the default model
            without adapter), else a model by name or path.

    Raises:
        ConfigError: A file describes no encoder.
    """
    if name == "none":
        return EncoderSpec()
    if name in embedding.shipped_adapters() or (Path(name).expanduser() / "adapter_config.json").is_file():
        return _put(EncoderSpec(), {"adapter": name})
    from indexer.embedding.prompts import presets

    if name in presets.presets() or name.endswith((".toml", ".json")):
        return presets.load(name)
    return _put(EncoderSpec(), {"model": name})


def confirm(made_by: EncoderSpec, overrides: EncoderOverrides, mend: str) -> EncoderSpec:
    """Look the encoder of an existing collection up anew and return it, resolved.

    A precision that only rounds differently is let through: ``rounding_note`` says so.

    Args:
        made_by: The collection's encoder.
        overrides: Options that the person gave now.
        mend: The command that mends a mismatch, for the message.

    Raises:
        MismatchError: The files have changed since, or are not there any more, or an option asks for another encoder.
    """
    if gone := {made_by.adapter, made_by.query_adapter} & set(RETIRED):
        raise MismatchError(f"the index was made with the adapter {gone.pop()!r}, which no longer comes along\n{mend}")
    base = embedding.preset(overrides.preset) if overrides.preset else made_by
    base = replace(base, weights=None, adapter_weights=None, query_adapter_weights=None)
    asked = _put(base, overrides.given)
    if asked.hashed and not base.hashed:  # no model that the collection's adapters and projection could change
        own = overrides.adapter and asked.adapter, overrides.query_adapter and asked.query_adapter
        asked = replace(asked, adapter=own[0] or None, query_adapter=own[1] or None, dimensions=overrides.dimensions)
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
    if not comparable(spec.precision, made_by.precision):
        raise MismatchError(
            f"the index was made in {made_by.precision} and {spec.precision} was asked for; only "
            f"{', '.join(COMPARABLE)} give vectors near enough to be compared\n{mend}"
        )
    return spec


def rounding_note(made_by: EncoderSpec, used: EncoderSpec) -> str | None:
    """Return the remark on a query's precision that is not the index's, though comparable; None where it is."""
    if used.precision != made_by.precision:
        return (
            f"the index was made in {made_by.precision}, texts are encoded in {used.precision} now: "
            "ranks may differ a little"
        )
    return None


def describe(spec: EncoderSpec) -> dict[str, object]:
    """Return the fields that decide the fingerprint, with names beside their contents, for messages and ``--json``."""
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
        spec = spec.override(embedding.adapter_description(values["adapter"]), f"adapter {values['adapter']}")
    return replace(spec, **values)


def _nearest(name: str, known: tuple[str, ...]) -> str:
    import difflib

    found = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {found[0]!r}? " if found else ""
