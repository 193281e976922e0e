"""What an encoder is: its description (EncoderSpec), its verbs (Encoder), and one without a model (HashEncoder)."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Literal, Protocol, get_args

import numpy as np

from indexer.errors import ConfigError

Role = Literal["passage", "query"]
Pooling = Literal["last", "mean", "cls", "mask", "first-last"]
Capitals = Literal["lower"]
Precision = Literal["fp32", "bf16", "fp16", "int8", "nf4"]

FLOATS = ("fp32", "bf16", "fp16")
"""Precisions whose vectors may be compared with each other; every other difference of precision is refused."""

DEFAULT_MODEL = "smollm2-135m"
PROMPTEOL = 'This sentence : "{text}" means in one word:"'
"""The template of Jiang et al. (2023), Section 3.2, as published."""

Terms = dict[int, int]
"""A sparse vector: the identifier of a vocabulary term → its weight above 0, heaviest first."""
TERMS = 128
"""Most terms of one text."""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything that decides what vector a text gets. Also a TOML or JSON file, and a preset's name.

    ``weights``, ``adapter_weights`` and ``query_adapter_weights`` are digests of the files' content: None in a spec
    that a user writes, filled in once the files have been found (``indexer.embedding.models.resolve``).
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
    normalise: bool = True
    """The paper's text normalisation before the template."""
    capitals: Capitals | None = None
    """"lower": a text in capitals is read in lower case, see ``prompt.lower_capitals``; None: as it stands."""
    pooling: Pooling = "last"
    layers: int | tuple[int, ...] | None = None
    """Use only the first N blocks, or those with these numbers (0 is the first), then the final norm; None: all."""
    max_tokens: int = 512
    """Most tokens of the text; more are cut, and counted. The template's tokens do not count."""
    precision: Precision | None = None
    """None: the machine's default, bf16 where it has it and else fp32."""
    query_adapter: str | None = None
    """Adapter for role "query", in a copy of the model of its own; None: the same as for passages."""
    weights: str | None = None
    adapter_weights: str | None = None
    query_adapter_weights: str | None = None

    def __post_init__(self) -> None:
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
        if type(self.max_tokens) is not int or self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens!r}; it is a whole number from 1 up")
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
    def resolved(self) -> bool:
        """Whether the files behind the names have been found and hashed."""
        pairs = ((self.adapter, self.adapter_weights), (self.query_adapter, self.query_adapter_weights))
        return self.weights is not None and all(name is None or digest is not None for name, digest in pairs)

    @property
    def canonical(self) -> str:
        """The JSON that is hashed: what was asked for by name is replaced by its content, precision is left out,
        and a field that stands at "nothing" is left out, so that new fields do not change old fingerprints."""
        if not self.resolved:
            raise ValueError("the spec names files that have not been looked at: resolve it first")
        values = asdict(self)
        for name in ("model", "revision", "adapter", "query_adapter", "precision"):
            values.pop(name)
        if self.adapter is None and self.query_adapter is None:
            values.pop("merge_adapter")
        kept = {k: v for k, v in values.items() if v is not None and v != ()}
        return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of ``canonical``."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, object]:
        """JSON-ready: every field, tuples as lists."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, object], origin: str = "encoder spec") -> EncoderSpec:
        """Raises ConfigError, naming ``origin``, for a field that does not exist."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"{origin}: unknown field {', '.join(unknown)}; fields are {', '.join(known)}")
        try:
            return cls(**values)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{origin}: {error}") from error

    def difference(self, other: EncoderSpec) -> dict[str, tuple[object, object]]:
        """Field → (ours, theirs), for the fields whose values differ."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return {name: (ours, theirs) for name, ours, theirs in pairs if ours != theirs}


@dataclass
class EncodeStats:
    """Running totals of one encoder, for progress lines and reports."""

    texts: int = 0
    tokens: int = 0
    """Tokens sent through the model, the shared prefix counted once a batch."""
    truncated: int = 0
    """Texts cut to ``max_tokens``."""


class Encoder(Protocol):
    """Texts to vectors. Not safe for several threads at once unless the class says so."""

    spec: EncoderSpec
    """Resolved, with the precision in use."""
    dim: int
    device: str
    """Where it runs: cpu, cuda:0, mps."""
    stats: EncodeStats

    def encode(self, texts: Sequence[str], role: Role = "passage", normalize: bool = True) -> np.ndarray:
        """(n, d) float32, row i for texts[i]; unit length where ``normalize``. No texts: (0, d)."""
        ...

    def encode_batches(
        self, texts: Sequence[str], role: Role = "passage", normalize: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same vectors as they are computed: (positions (b,) int64, vectors (b, d) float32), every position
        exactly once, in whatever order is fastest."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) int64: tokens of each text alone, without template and special tokens."""
        ...

    def terms(self, texts: Sequence[str], k: int, role: Role = "passage") -> list[list[tuple[str, float]]]:
        """For each text its k most likely next tokens after the role's prompt with their probabilities, best first.

        Raises ModelError where the model has no LM head."""
        ...

    def encode_terms(
        self, texts: Sequence[str], role: Role = "passage", most: int = TERMS
    ) -> tuple[np.ndarray, list[Terms]]:
        """Of one forward pass: unit vectors (n, d) as ``encode`` gives them, and each text's weighted terms, at most
        so many. The inner product of two texts' terms says how well they match.

        Raises ModelError where the model has no LM head, or the vector is not the last token's state."""
        ...

    def term_batches(
        self, texts: Sequence[str], role: Role = "passage", most: int = TERMS
    ) -> Iterator[tuple[np.ndarray, np.ndarray, list[Terms]]]:
        """The same as they are computed: (positions (b,), vectors (b, d), b texts' terms), as ``encode_batches``."""
        ...


class HashEncoder:
    """An encoder without a model: signed feature hashing of lower-cased words. Fast, exact, the same everywhere.

    Texts that share words are near; used by tests and crash tests in place of a language model.
    """

    def __init__(self, spec: EncoderSpec | None = None, dim: int = 64):
        spec = spec or EncoderSpec(model=f"hash:{dim}")
        match = re.fullmatch(r"hash:(\d+)", spec.model)
        if not match or int(match[1]) < 1:
            raise ConfigError(f"model is {spec.model!r}; a hash encoder is named hash:D, with D dimensions")
        self.dim = int(match[1])
        self.spec = replace(spec, weights=f"hash-1:{self.dim}", precision=spec.precision or "fp32")
        self.device = "cpu"
        self.stats = EncodeStats()

    def encode(self, texts: Sequence[str], role: Role = "passage", normalize: bool = True) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", text.lower())
            for word in words[: self.spec.max_tokens] or [""]:
                digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                value = int.from_bytes(digest, "little")
                vectors[row, (value >> 1) % self.dim] += 1.0 if value & 1 else -1.0
            if not vectors[row].any():  # words that cancel out
                vectors[row, 0] = 1.0
            self.stats.texts += 1
            self.stats.tokens += len(words)
            self.stats.truncated += len(words) > self.spec.max_tokens
        if normalize:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        return vectors

    def encode_batches(
        self, texts: Sequence[str], role: Role = "passage", normalize: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(texts), 64):
            rows = np.arange(start, min(start + 64, len(texts)))
            yield rows, self.encode([texts[i] for i in rows], role, normalize)

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(re.findall(r"\w+", text)) for text in texts], np.int64)

    def terms(self, texts: Sequence[str], k: int, role: Role = "passage") -> list[list[tuple[str, float]]]:
        result = []
        for text in texts:
            words = re.findall(r"\w+", text.lower())
            counts = sorted(((words.count(w), w) for w in set(words)), key=lambda x: (-x[0], x[1]))
            result.append([(w, c / len(words)) for c, w in counts[:k]])
        return result

    def encode_terms(
        self, texts: Sequence[str], role: Role = "passage", most: int = TERMS
    ) -> tuple[np.ndarray, list[Terms]]:
        """A word's term is a hash of it, its weight 100 log(1 + occurrences), rounded."""
        result = []
        for text in texts:
            words = re.findall(r"\w+", text.lower())[: self.spec.max_tokens]
            weights = {_term(word): round(100 * math.log1p(words.count(word))) for word in set(words)}
            result.append(dict(sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:most]))
        return self.encode(texts, role), result

    def term_batches(
        self, texts: Sequence[str], role: Role = "passage", most: int = TERMS
    ) -> Iterator[tuple[np.ndarray, np.ndarray, list[Terms]]]:
        for start in range(0, len(texts), 64):
            rows = np.arange(start, min(start + 64, len(texts)))
            yield rows, *self.encode_terms([texts[i] for i in rows], role, most)


def _term(word: str) -> int:
    """31 bits of a word's hash."""
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1
