"""Find the place to look at in a passage: its sentence nearest to the query, and the query's words in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np

from indexer import words
from semsearch.search.showing.sentences import Span, sentences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from indexer.embedding.encoder import Encoder, TokenVectors

NEAR = 0.6
"""Worth of a sentence whose words are all as near to the query's as can be, beside one that holds every word found.
Chosen on wikiqa and trecqa, where 0.3 to 1.5 do equally well (scripts/research/LOG.md)."""
MAX_SENTENCES = 400
"""Sentences of all passages of one query that are compared by meaning, in the order of the passages."""


@dataclass(frozen=True)
class Mark:
    """The place to look at in one passage."""

    highlight: Span | None
    """The sentence nearest to the query; None where no sentence stands out."""
    matches: tuple[Span, ...] = ()
    """Words of the query, in any form of theirs, ascending; none lies in another."""
    terms: tuple[str, ...] = ()
    """The query's words that were found, as the query has them and in its order."""


def mark(queries: Sequence[str], passages: Sequence[Sequence[str]], encoder: Encoder | None = None) -> list[list[Mark]]:
    """Return for each query what to look at in each of its passages.

    A sentence is worth the words it holds, each more the fewer sentences hold it, plus how near its tokens are to those
    of the query by the encoder's input vectors. The model itself is not run. Without an encoder words decide alone.

    Args:
        queries: n texts.
        passages: For each query the texts of its passages.
        encoder: Gives token vectors.
    """
    return [_mark(query, texts, encoder) for query, texts in zip(queries, passages, strict=True)]


def _mark(query: str, texts: Sequence[str], encoder: Encoder | None) -> list[Mark]:
    wanted = words.query(query)
    held = words.find(wanted, texts)
    spans = [sentences(text) for text in texts]
    worth = _worth(spans, held)
    near = None if encoder is None else _nearness(query, texts, spans, encoder)
    if near is not None:
        worth = [by_words + NEAR * by_meaning for by_words, by_meaning in zip(worth, near, strict=True)]
    return [
        Mark(
            of_text[int(np.argmax(each))] if each.any() or (len(each) == 1 and near is not None) else None,
            _apart(found),
            tuple(item.text for item in wanted.distinct if item.text in found.values()),
        )
        for of_text, found, each in zip(spans, held, worth, strict=True)
    ]


def _worth(spans: Sequence[Sequence[Span]], held: Sequence[Mapping[Span, str]]) -> list[NDArray[np.float64]]:
    """Return for each passage the worth of its sentences (n,) by their words: 1 for one with all that were found."""
    found = [
        [{word for (at, _), word in places.items() if start <= at < end} for start, end in of_text]
        for of_text, places in zip(spans, held, strict=True)
    ]
    holding = Counter(word for passage in found for sentence in passage for word in sentence)
    count = sum(map(len, found))
    rarity = {word: log(1 + count / n) for word, n in holding.items()}
    total = sum(rarity.values()) or 1.0
    return [np.array([sum(rarity[w] for w in sorted(s)) / total for s in passage]) for passage in found]


def _nearness(
    query: str, texts: Sequence[str], spans: Sequence[Sequence[Span]], encoder: Encoder
) -> list[NDArray[np.float64]] | None:
    """Return for each passage how near its sentences (n,) are to the query, 0 to 1; None where nothing is known.

    The nearest token of the sentence counts for each token of the query, weighted by how rare that is.
    """
    places = [(passage, at) for passage, of_text in enumerate(spans) for at in range(len(of_text))][:MAX_SENTENCES]
    asked, *said = encoder.token_vectors([query, *(texts[p][slice(*spans[p][at])] for p, at in places)])
    if not len(asked.vectors):
        return None
    near = [np.zeros(len(of_text)) for of_text in spans]
    for (passage, at), worth in zip(places, _near(asked, said), strict=True):
        near[passage][at] = worth
    return near


def _near(query: TokenVectors, sentences: Sequence[TokenVectors]) -> NDArray[np.float64]:
    """Return how near each sentence (n,) is to the query; 0 where it has no tokens."""
    lengths = np.array([len(each.vectors) for each in sentences])
    worth = np.zeros(len(sentences))
    if lengths.any():
        every = query.vectors @ np.concatenate([each.vectors for each in sentences]).T  # (tokens of the query, of all)
        starts = (np.cumsum(lengths) - lengths)[lengths > 0]
        best = np.maximum.reduceat(every, starts, axis=1).clip(0)  # (tokens of the query, sentences that have any)
        worth[lengths > 0] = query.weights @ best / query.weights.sum()
    return worth


def _apart(found: Mapping[Span, str]) -> tuple[Span, ...]:
    """Return the spans in order; those that overlap as one."""
    spans: list[Span] = []
    for start, end in sorted(found):
        if spans and start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return tuple(spans)
