"""The verbs of an encoder: texts to vectors and to weighted terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indexer.embedding.spec import EncoderSpec, Role

Vectors = NDArray[np.float32]
Positions = NDArray[np.int64]

Terms = dict[int, int]
"""A sparse vector: the identifier of a vocabulary term → its weight above 0, heaviest first."""
MAX_TERMS = 128
"""Terms of one text, unless another number is asked for."""


@dataclass
class EncodeStats:
    """Running totals of one encoder, for progress lines and reports."""

    texts: int = 0
    tokens: int = 0
    """Tokens sent through the model, the shared prefix counted once a batch."""
    truncated: int = 0
    """Texts cut to ``max_tokens``."""


class TokenVectors(NamedTuple):
    """The tokens of one text as the model first sees them, before its layers."""

    vectors: Vectors
    """(t, e) unit length."""
    weights: Vectors
    """(t,) above 0: near 1 for a rare token, small for one that is everywhere."""


class Encoder(Protocol):
    """Texts to vectors. Safe to call from several threads at once."""

    spec: EncoderSpec
    """Resolved, with the precision in use."""
    dim: int
    device: str
    """Where it runs: cpu, cuda:0, mps."""
    stats: EncodeStats

    @property
    def exact(self) -> bool:
        """Whether a text's vector has the same bits alone, in any batch and after any other; else it may be rounded."""
        ...

    def encode(self, texts: Sequence[str], role: Role = "passage", normalize: bool = True) -> Vectors:
        """Return one vector a text.

        Args:
            texts: n texts.
            role: Which prompt (and adapter) to use.
            normalize: Give every vector the length 1.

        Returns:
            (n, d) float32, row i for texts[i]; (0, d) where there are no texts.
        """
        ...

    def encode_batches(
        self, texts: Sequence[str], role: Role = "passage", normalize: bool = True
    ) -> Iterator[tuple[Positions, Vectors]]:
        """Yield the vectors of ``encode`` as they are computed.

        Yields:
            Positions (b,) int64 in ``texts`` and vectors (b, d) float32. Every position comes exactly once, in
            whatever order is fastest.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> Positions:
        """Return (n,) int64: the tokens of each text alone, without template and special tokens."""
        ...

    def texts_of(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each list of token ids of the model's own vocabulary.

        Raises:
            UsageError: An id is none of them, or the encoder has no vocabulary.
        """
        ...

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the input vectors of each text's tokens. The model is not run: it costs little more than counting.

        They say how alike words are, and nothing of the text around them. There are none (t = 0) where the model keeps
        its input vectors out of reach.
        """
        ...

    def terms(
        self, texts: Sequence[str], k: int, role: Role = "passage", states: Vectors | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return the k most likely next tokens after each text's prompt with their probabilities, best first.

        Args:
            texts: n texts.
            k: Tokens of each.
            role: Which prompt (and adapter) to use.
            states: (n, d) float32 vectors of the texts that are not normalised; they spare another forward pass where
                the vector is the state of the last token.

        Raises:
            ModelError: The model has no LM head.
        """
        ...

    def encode_terms(
        self, texts: Sequence[str], role: Role = "passage", max_terms: int = MAX_TERMS, normalize: bool = True
    ) -> tuple[Vectors, list[Terms]]:
        """Return vectors and weighted terms of one forward pass.

        The inner product of two texts' terms says how well they match.

        Args:
            texts: n texts.
            role: Which prompt (and adapter) to use.
            max_terms: Terms that are kept of each text, the heaviest.
            normalize: Give the vectors unit length.

        Returns:
            Vectors (n, d) as ``encode`` gives them, and n texts' terms.

        Raises:
            ModelError: The model has no LM head, or the vector is not the last token's state.
        """
        ...

    def term_batches(
        self, texts: Sequence[str], role: Role = "passage", max_terms: int = MAX_TERMS
    ) -> Iterator[tuple[Positions, Vectors, list[Terms]]]:
        """Yield the results of ``encode_terms`` as they are computed, in the manner of ``encode_batches``.

        Yields:
            Positions (b,) int64, vectors (b, d) float32, b texts' terms.
        """
        ...
