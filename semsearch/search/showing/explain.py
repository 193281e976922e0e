"""Explain why a hit was found: its scores, the words that matched, and the model's words for it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import Role

MEANINGS = 5
"""Words shown of what a text means."""
_TOKENS = 30
"""Most likely next tokens looked at for them: some are punctuation, some the same word in another spelling."""

Words = tuple[tuple[str, float], ...]
"""(word, probability), most likely first."""


@dataclass(frozen=True)
class Explanation:
    """Why one passage was found."""

    scores: Mapping[str, float | None]
    """Retriever (dense, lexical, sparse) → its own score; None where it did not find the passage. ``dense``, the
    cosine, is there in every mode but lexical, and None for a passage that has no vector yet."""
    parts: Mapping[str, float]
    """Retriever → what it adds to the fused score; empty where the fusion is no sum of scores."""
    fused: float | None
    """The fused score; None where nothing was fused."""
    rerank: float | None
    """The cross-encoder's score; None without one."""
    percentile: float | None
    """Share of random pairs of passages of this collection that are less similar than the passage is to the query (0
    to 1); None without vectors."""
    terms: tuple[str, ...]
    """Words of the query, as it has them, that the passage or its title holds in some form."""
    query_means: Words
    """The model's words for what the query means in one word; empty where the model predicts no words."""
    passage_means: Words
    shared: tuple[str, ...]
    """Words in both."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Explanation:
        """Return the explanation that ``dataclasses.asdict`` made a mapping of, which may have been JSON since.

        Raises:
            TypeError: A field is missing or unknown.
        """
        changed = {name: tuple(values[name]) for name in ("terms", "shared")}
        changed |= {name: tuple(map(tuple, values[name])) for name in ("query_means", "passage_means")}
        return cls(**{**values, **changed})


def meanings(
    texts: Sequence[str],
    encoder: Encoder,
    role: Role,
    note: Callable[[str], None],
    states: np.ndarray | None = None,
) -> list[Words]:
    """Return what the model says that each text means "in one word": its most likely next words after the prompt.

    Tokens that are no words, single letters and common words are left out, and spellings that differ in case or space
    are counted together. A token may be the beginning of a longer word. Where the model has no LM head there are
    none, and ``note`` is told. ``states``: the texts' vectors (n, d), not normalised, which spare a forward pass.
    """
    try:
        return [_words(found) for found in encoder.terms(texts, _TOKENS, role, states)]
    except ModelError as error:
        note(f"no words for what texts mean: {error}")
        return [() for _ in texts]


def shared(query: Words, passage: Words) -> tuple[str, ...]:
    """Return the words of both, most likely first."""
    theirs = {word for word, _ in passage}
    return tuple(word for word, _ in query if word in theirs)


def number(score: float) -> float | None:
    """Return a score as JSON can hold it: NaN, the score of what was not found, as None."""
    return None if isnan(score) else score


def _words(tokens: Sequence[tuple[str, float]]) -> Words:
    from indexer.words import COMMON

    weights: dict[str, float] = {}
    for token, weight in tokens:
        word = token.strip().lower()
        if word not in COMMON and "\ufffd" not in word and sum(map(str.isalnum, word)) > word.isascii():
            weights[word] = weights.get(word, 0.0) + weight
    best = sorted(weights.items(), key=lambda item: -item[1])[:MEANINGS]
    return tuple((word, round(weight, 4)) for word, weight in best)
