"""What to look at in a passage: its sentence nearest to the query, and the query's words in it."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import log

import numpy as np

from indexer.embedding.encoder import Encoder
from indexer.storage.local.rows import match_of, words_of

Span = tuple[int, int]
"""Offsets (start, end) of characters in a text."""

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""What tells words apart and takes endings off, in FTS5: the same as in the collection's own full text."""
MEANING = 0.5
"""What the nearest of all sentences is worth beside one that holds every word found."""
SENTENCES = 16
"""Most sentences that are encoded for one query: a person waits for it as for two or three passages."""

_SENTENCE = re.compile(r"\S.*?(?:[.!?][\"')\]]*(?=\s)|\n\s*\n|$)", re.DOTALL)
_UNSPOKEN = str.maketrans("\0\1\2", "   ")


@dataclass(frozen=True)
class Mark:
    """What to look at in one passage."""

    highlight: Span | None
    """The sentence nearest to the query; None where no sentence stands out."""
    matches: tuple[Span, ...] = ()
    """Words of the query, in any form of theirs, ascending."""
    terms: tuple[str, ...] = ()
    """The query's words that were found, as the query has them and in its order."""


def sentences(text: str) -> list[Span]:
    """The sentences of ``text``, without the white space between them."""
    spans = []
    for match in _SENTENCE.finditer(text):
        end = match.start() + len(match.group().rstrip())
        if end > match.start():
            spans.append((match.start(), end))
    return spans


def find(words: Sequence[str], texts: Sequence[str]) -> list[dict[Span, str]]:
    """Where each text holds words, in any form that the collection's search by words takes for the same: span → word.

    A word that is another form of an earlier one adds nothing.
    """
    found: list[dict[Span, str]] = [{} for _ in texts]
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"CREATE VIRTUAL TABLE held USING fts5(text, tokenize='{TOKENIZER}')")
        rows = ((row, text.translate(_UNSPOKEN)) for row, text in enumerate(texts))
        database.executemany("INSERT INTO held (rowid, text) VALUES (?, ?)", rows)
        query = "SELECT rowid, highlight(held, 0, char(1), char(2)) FROM held WHERE held MATCH ?"
        for word in words:
            for row, text in database.execute(query, (match_of(word),)):
                for number, match in enumerate(re.finditer("\1([^\2]*)\2", text)):
                    start = match.start() - 2 * number  # without the marks before it
                    found[row].setdefault((start, start + len(match[1])), word)
    return found


def mark(queries: Sequence[str], passages: Sequence[Sequence[str]], encoder: Encoder | None = None) -> list[list[Mark]]:
    """For each query what to look at in each of its passages.

    A sentence is as good as the words it holds, each worth more the fewer sentences hold it, plus how near it is to
    the query by ``encoder``. Only sentences that can still win are encoded, all in one batch; without an encoder
    words decide alone.
    """
    wanted = [words_of(query) for query in queries]
    held = [find(words, texts) for words, texts in zip(wanted, passages, strict=True)]
    spans = [[sentences(text) for text in texts] for texts in passages]
    worth = [_worth(*pair) for pair in zip(spans, held, strict=True)]
    if encoder is not None:
        _add_meaning(queries, passages, spans, worth, encoder)

    def stands_out(worths: np.ndarray) -> bool:
        return bool(worths.any()) or (len(worths) == 1 and encoder is not None)

    return [
        [
            Mark(
                each_spans[int(np.argmax(each))] if stands_out(each) else None,
                tuple(sorted(each_held)),
                tuple(word for word in words if word in each_held.values()),
            )
            for each_spans, each_held, each in zip(*of_query, strict=True)
        ]
        for words, *of_query in zip(wanted, spans, held, worth, strict=True)
    ]


def _worth(spans: Sequence[Sequence[Span]], held: Sequence[Mapping[Span, str]]) -> list[np.ndarray]:
    """For each passage what its sentences (n,) are worth by their words, from 0 to 1 for one with all that were found
    anywhere."""
    words = [
        [{word for (at, _), word in found.items() if start <= at < end} for start, end in sentences]
        for sentences, found in zip(spans, held, strict=True)
    ]
    holding = Counter(word for passage in words for sentence in passage for word in sentence)
    count = sum(map(len, words))
    rarity = {word: log(1 + count / n) for word, n in holding.items()}
    total = sum(rarity.values()) or 1.0
    return [np.array([sum(rarity[w] for w in sorted(s)) / total for s in passage]) for passage in words]


def _add_meaning(
    queries: Sequence[str],
    passages: Sequence[Sequence[str]],
    spans: Sequence[Sequence[Sequence[Span]]],
    worth: Sequence[Sequence[np.ndarray]],
    encoder: Encoder,
) -> None:
    """Add to the worth of sentences from 0 for the farthest from the query to MEANING for the nearest."""
    places: list[tuple[int, int, int]] = []  # query, passage, sentence
    for query, of_query in enumerate(worth):
        room = SENTENCES
        for passage, each in enumerate(of_query):
            if len(each) < 2:
                continue
            rivals = [i for i in np.argsort(-each, kind="stable") if each[i] + MEANING >= each.max()][:room]
            if len(rivals) > 1:
                room -= len(rivals)
                places += [(query, passage, int(i)) for i in rivals]
    if not places:
        return
    asked = sorted({query for query, _, _ in places})
    vectors = dict(zip(asked, encoder.encode([queries[q] for q in asked], role="query"), strict=True))
    said = encoder.encode([passages[q][p][slice(*spans[q][p][s])] for q, p, s in places])
    for query in asked:
        rows = [row for row, place in enumerate(places) if place[0] == query]
        cosines = said[rows] @ vectors[query]
        width = float(np.ptp(cosines)) or 1.0
        for row, cosine in zip(rows, cosines, strict=True):
            _, passage, sentence = places[row]
            worth[query][passage][sentence] += MEANING * float(cosine - cosines.min()) / width
