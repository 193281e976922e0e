"""Why a hit was found: its scores and what they are worth, the words that matched, and what the model understands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from indexer.embedding.encoder import Encoder, Role
from indexer.errors import ModelError
from indexer.storage.local.rows import COMMON

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
    """Arm (dense, lexical, sparse) → its own score; None where the arm did not find the passage. ``dense``, the
    cosine, is there in every mode but lexical."""
    parts: Mapping[str, float]
    """Arm → what it adds to the fused score; empty where the fusion is no sum of scores."""
    fused: float | None
    """The fused score; None where nothing was fused."""
    rerank: float | None
    """The cross-encoder's score; None without one."""
    unusual: float | None
    """Share of random pairs of passages of this collection that are less similar (0 to 1); None without vectors."""
    terms: tuple[str, ...]
    """Words of the query, as it has them, that the passage or its title holds in some form."""
    query_means: Words
    """What the model would say that the query means in one word; empty where the model predicts no words."""
    passage_means: Words
    shared: tuple[str, ...]
    """Words in both."""


def meanings(texts: Sequence[str], encoder: Encoder, role: Role, note: Callable[[str], None]) -> list[Words]:
    """What the model says that each text means "in one word": its most likely next words after the prompt.

    Tokens that are no words, single letters and common words are left out, and spellings that differ in case or space
    are counted together. A token may be the beginning of a longer word. Where the model has no LM head there are
    none, and ``note`` is told.
    """
    try:
        return [_words(found) for found in encoder.terms(texts, _TOKENS, role)]
    except ModelError as error:
        note(f"no words for what texts mean: {error}")
        return [() for _ in texts]


def shared(query: Words, passage: Words) -> tuple[str, ...]:
    """Words of both, most likely first."""
    theirs = {word for word, _ in passage}
    return tuple(word for word, _ in query if word in theirs)


def number(score: float) -> float | None:
    """A score as JSON can hold it: NaN, which no arm found, as None."""
    return None if isnan(score) else score


def _words(tokens: Sequence[tuple[str, float]]) -> Words:
    weights: dict[str, float] = {}
    for token, weight in tokens:
        word = token.strip().lower()
        if word not in COMMON and "\ufffd" not in word and sum(map(str.isalnum, word)) > word.isascii():
            weights[word] = weights.get(word, 0.0) + weight
    best = sorted(weights.items(), key=lambda item: -item[1])[:MEANINGS]
    return tuple((word, round(weight, 4)) for word, weight in best)
