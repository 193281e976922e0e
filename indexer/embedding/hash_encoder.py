"""An encoder without a model: signed feature hashing of words, for tests."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from indexer.embedding.encoder import MAX_TERMS, EncodeStats, Positions, Terms, TokenVectors, Vectors
from indexer.embedding.spec import EncoderSpec, Role
from indexer.errors import ConfigError, ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BATCH = 64
"""Texts of a batch."""


class HashEncoder:
    """An Encoder that hashes lower-cased words: fast, exact, the same everywhere.

    Texts that share words are near. Tests and crash tests use it in place of a language model.
    """

    exact = True

    def __init__(self, spec: EncoderSpec | None = None, dim: int = 64) -> None:
        """Make the encoder of a spec with model ``hash:D``, or of ``dim`` dimensions where no spec is given.

        Raises:
            ConfigError: The model is not named ``hash:D``, or other dimensions are asked for.
            ModelError: The spec has an adapter, and there is no model that it could change.
        """
        spec = spec or EncoderSpec(model=f"hash:{dim}")
        match = re.fullmatch(r"hash:(\d+)", spec.model)
        if not match or int(match[1]) < 1:
            raise ConfigError(f"model is {spec.model!r}; a hash encoder is named hash:D, with D dimensions")
        if spec.dimensions is not None:
            raise ConfigError(f"{spec.model} has as many dimensions as its name says; leave dimensions out")
        adapter = spec.adapter or spec.query_adapter
        if adapter is not None:
            raise ModelError(f"{spec.model} has no model that the adapter {adapter!r} could change; use adapter none")
        self.dim = int(match[1])
        self.spec = replace(spec, weights=f"hash-1:{self.dim}", precision=spec.precision or "fp32")
        self.device = "cpu"
        self.stats = EncodeStats()
        self._counting = Lock()

    def encode(self, texts: Sequence[str], role: Role = "passage", normalize: bool = True) -> Vectors:
        """Return (n, d) float32."""
        del role  # both are the same
        vectors = np.zeros((len(texts), self.dim), np.float32)
        read = truncated = 0
        for row, text in enumerate(texts):
            words = _words(text)
            for word in words[: self.spec.max_tokens] or [""]:
                place, sign = self._place(word)
                vectors[row, place] += sign
            if not vectors[row].any():  # words that cancel out
                vectors[row, 0] = 1.0
            read += len(words)
            truncated += len(words) > self.spec.max_tokens
        with self._counting:
            self.stats.texts += len(texts)
            self.stats.tokens += read
            self.stats.truncated += truncated
        if normalize:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        return vectors

    def encode_batches(
        self, texts: Sequence[str], role: Role = "passage", normalize: bool = True
    ) -> Iterator[tuple[Positions, Vectors]]:
        """Yield positions (b,) and vectors (b, d), in order."""
        for start in range(0, len(texts), BATCH):
            rows = np.arange(start, min(start + BATCH, len(texts)))
            yield rows, self.encode(texts[start : start + BATCH], role, normalize)

    def count_tokens(self, texts: Sequence[str]) -> Positions:
        """Return (n,) int64: the words of each text."""
        return np.array([len(_words(text)) for text in texts], np.int64)

    def texts_of(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Refuse: words are hashed, and there is no vocabulary."""
        del ids
        raise UsageError(f"{self.spec.model} has no token ids; give texts")

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the vector of each word of each text, all of the same weight."""
        found = []
        for text in texts:
            vectors = np.zeros((len(_words(text)), self.dim), np.float32)
            for row, word in enumerate(_words(text)):
                place, sign = self._place(word)
                vectors[row, place] = sign
            found.append(TokenVectors(vectors, np.ones(len(vectors), np.float32)))
        return found

    def terms(
        self, texts: Sequence[str], k: int, role: Role = "passage", states: Vectors | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return the k most frequent words of each text with their shares."""
        del role, states  # the words alone say it
        result = []
        for text in texts:
            words = _words(text)
            counts = sorted(((words.count(w), w) for w in set(words)), key=lambda x: (-x[0], x[1]))
            result.append([(w, c / len(words)) for c, w in counts[:k]])
        return result

    def encode_terms(
        self, texts: Sequence[str], role: Role = "passage", max_terms: int = MAX_TERMS, normalize: bool = True
    ) -> tuple[Vectors, list[Terms]]:
        """Return vectors and terms: a word's term is a hash of it, its weight 100 log(1 + occurrences), rounded."""
        result = []
        for text in texts:
            words = _words(text)[: self.spec.max_tokens]
            weights = {_term(word): round(100 * math.log1p(words.count(word))) for word in set(words)}
            result.append(dict(sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:max_terms]))
        return self.encode(texts, role, normalize), result

    def term_batches(
        self, texts: Sequence[str], role: Role = "passage", max_terms: int = MAX_TERMS
    ) -> Iterator[tuple[Positions, Vectors, list[Terms]]]:
        """Yield positions (b,), vectors (b, d) and terms, in order."""
        for start in range(0, len(texts), BATCH):
            rows = np.arange(start, min(start + BATCH, len(texts)))
            yield rows, *self.encode_terms(texts[start : start + BATCH], role, max_terms)

    def _place(self, word: str) -> tuple[int, float]:
        """Return the dimension that a word counts in, and whether it counts up or down."""
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = int.from_bytes(digest, "little")
        return (value >> 1) % self.dim, 1.0 if value & 1 else -1.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _term(word: str) -> int:
    """Return 31 bits of a word's hash."""
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1
