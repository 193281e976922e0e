"""The description of an encoder: everything that decides which vector a text gets, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from indexer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Role = Literal["passage", "query"]
Pooling = Literal["last", "mean", "cls", "mask", "first-last"]
Capitals = Literal["lower"]
Precision = Literal["fp32", "bf16", "fp16", "int8", "nf4"]

COMPARABLE: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")
"""Precisions whose vectors may be compared with each other; every other difference of precision is refused.

Passages in int8 and queries in floats, or both among the passages, cost the default encoder nothing that could be seen
(scripts/research/LOG.md)."""


def comparable(one: Precision | None, other: Precision | None) -> bool:
    """Return whether vectors that were computed in these precisions may be compared."""
    return one == other or {one, other} <= set(COMPARABLE)


DEFAULT_MODEL = "smollm2-135m"
DEFAULT_ADAPTER = "default"
RETIRED = ("sts", "search")
"""Adapters that came with earlier versions and no longer do."""
PROMPTEOL = 'This sentence : "{text}" means in one word:"'
"""The template of Jiang et al. (2023), Section 3.2, as published."""

STORED_NAMES = {"normalize_text": "normalise"}
"""Field → its key in files and in the fingerprint, where the two differ. Collections of earlier versions hold the key,
so it stays."""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything that decides which vector a text gets. Also a TOML or JSON file, and a preset's name.

    ``weights``, ``adapter_weights`` and ``query_adapter_weights`` are digests of the files' content: None in a spec
    that a user writes, filled in once the files have been found (``indexer.embedding.resolve``).

    Raises:
        ConfigError: A field has a value that it cannot have.
    """

    model: str = DEFAULT_MODEL
    """Name of the embedded model, a local folder, a GGUF file, a hub name, or ``hash:D`` for tests."""
    revision: str | None = None
    """Hub branch, tag or commit of the model."""
    adapter: str | None = None
    """A shipped adapter's name, a local folder or a hub name, in PEFT's format."""
    merge_adapter: bool = True
    """Add the adapter into the base weights (in fp32, before any quantisation)."""
    template: str = PROMPTEOL
    query_template: str | None = None
    """Template for role "query"; None: the same as for passages."""
    demonstrations: tuple[tuple[str, str], ...] = ()
    """(sentence, word) pairs put before the text (the paper's Section 3.3)."""
    normalize_text: bool = True
    """Apply the paper's text normalisation before the template. Files say ``normalise``."""
    capitals: Capitals | None = None
    """"lower": a text in capitals is read in lower case, see ``prompts.prompt.lower_capitals``; None: as it stands."""
    pooling: Pooling = "last"
    layers: int | tuple[int, ...] | None = None
    """Use only the first N blocks, or those with these numbers (0 is the first), then the final norm; None: all."""
    dimensions: int | None = None
    """Keep this many numbers of a vector, see ``weights.projection``; None: all."""
    max_tokens: int = 512
    """Tokens of the text that are read; more are cut, and counted. The template's tokens do not count."""
    precision: Precision | None = None
    """None: the machine's default, see ``indexer.embedding.precision``."""
    query_adapter: str | None = None
    """Adapter for role "query", in a copy of the model of its own; None: the same as for passages."""
    weights: str | None = None
    adapter_weights: str | None = None
    query_adapter_weights: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        pairs = tuple((str(s), str(w)) for s, w in self.demonstrations)
        object.__setattr__(self, "demonstrations", pairs)
        if isinstance(self.layers, list):
            object.__setattr__(self, "layers", tuple(self.layers))
        for name in ("template", "query_template"):
            template = getattr(self, name)
            if template is not None and template.count("{text}") != 1:
                raise ConfigError(
                    f"{name} is {template!r}; a template holds the place {{text}} exactly once, "
                    f"for example {PROMPTEOL!r} (the bare text is '{{text}}')"
                )
        for name, kind in (("capitals", Capitals), ("pooling", Pooling), ("precision", Precision)):
            value = getattr(self, name)
            if value is not None and value not in get_args(kind):
                raise ConfigError(f"{name} is {value!r}; it is one of {', '.join(get_args(kind))}")
        for name in ("merge_adapter", "normalize_text"):
            if type(getattr(self, name)) is not bool:
                raise ConfigError(f"{_stored(name)} is {getattr(self, name)!r}; it is true or false")
        for name in ("max_tokens", "dimensions"):
            value = getattr(self, name)
            if (type(value) is not int or value < 1) and (name, value) != ("dimensions", None):
                raise ConfigError(f"{name} is {value!r}; it is a whole number from 1 up")
        if isinstance(self.layers, tuple):
            known = all(type(block) is int for block in self.layers) and self.layers[:1] == (0,)
            known = known and all(a < b for a, b in pairwise(self.layers))
        else:
            known = self.layers is None or (type(self.layers) is int and self.layers >= 1)
        if not known:
            raise ConfigError(
                f"layers is {self.layers!r}; it is a whole number from 1 up, or the numbers of the blocks to use, in "
                "rising order and with 0 first"
            )

    @property
    def blocks(self) -> tuple[int, ...] | None:
        """Numbers of the blocks that ``layers`` asks for; None: all."""
        return tuple(range(self.layers)) if isinstance(self.layers, int) else self.layers

    @property
    def hashed(self) -> bool:
        """Whether the encoder is one of hashed words (``hash:D``), without a model."""
        return self.model.startswith("hash:")

    @property
    def resolved(self) -> bool:
        """Whether the files behind the names have been found and hashed."""
        pairs = ((self.adapter, self.adapter_weights), (self.query_adapter, self.query_adapter_weights))
        return self.weights is not None and all(name is None or digest is not None for name, digest in pairs)

    @property
    def canonical(self) -> str:
        """The JSON text that is hashed.

        A name is replaced by the digest of its content, precision is left out, and so is a field that stands at
        "nothing": a new field does not change old fingerprints.

        Raises:
            ValueError: The spec is not resolved.
        """
        if not self.resolved:
            raise ValueError("the spec names files that have not been looked at: resolve it first")
        values = self.to_dict()
        for name in ("model", "revision", "adapter", "query_adapter", "precision"):
            values.pop(name)
        if self.adapter is None and self.query_adapter is None:
            values.pop("merge_adapter")
        kept = {name: value for name, value in values.items() if value is not None and value != []}
        return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of ``canonical``."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:16]

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Return the keys of ``to_dict``, which are those of files."""
        return tuple(_stored(field.name) for field in fields(cls))

    def to_dict(self) -> dict[str, Any]:
        """Return every field under its key in files, tuples as lists: ready for JSON."""
        values = {_stored(name): value for name, value in asdict(self).items()}
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, object], origin: str = "encoder spec") -> EncoderSpec:
        """Return the spec that ``to_dict``, a file or a person wrote; fields left out have their defaults.

        Args:
            values: Keys of files (``keys``); the Python name of a field is understood too.
            origin: Name of the place that the values come from, for messages.

        Raises:
            ConfigError: A field does not exist or has a value that it cannot have.
        """
        ours = {stored: name for name, stored in STORED_NAMES.items()}
        named = {ours.get(key, key): value for key, value in values.items()}
        unknown = sorted(set(named) - {field.name for field in fields(cls)})
        if unknown:
            raise ConfigError(f"{origin}: unknown field {', '.join(unknown)}; fields are {', '.join(cls.keys())}")
        arguments: dict[str, Any] = named
        try:
            return cls(**arguments)
        except (TypeError, ValueError, ConfigError) as error:
            raise ConfigError(f"{origin}: {error}") from error

    def override(self, values: Mapping[str, object], origin: str = "encoder spec") -> EncoderSpec:
        """Return this spec with some fields changed, named as in files.

        Raises:
            ConfigError: As ``from_dict``.
        """
        return EncoderSpec.from_dict(self.to_dict() | {_stored(key): value for key, value in values.items()}, origin)

    def difference(self, other: EncoderSpec) -> dict[str, tuple[object, object]]:
        """Return field → (ours, theirs) for the fields whose values differ."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return {name: (ours, theirs) for name, ours, theirs in pairs if ours != theirs}


def _stored(name: str) -> str:
    return STORED_NAMES.get(name, name)
