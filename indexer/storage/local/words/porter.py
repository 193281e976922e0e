"""Queries of collections made before version 0.2, whose words FTS5 itself stems (``porter unicode61``)."""

from __future__ import annotations

import re

from indexer.storage.storable import storable

MAX_WORDS = 256
"""Words of one query that are looked up; a whole page pasted in does not need more."""
MIN_PREFIX = 2
"""Letters that ``begin*`` has at least; fewer would be in nearly every passage."""
COMMON = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "so",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
"""English words that say nothing of what a text is about: question words too. A query is not searched for them."""
_WORD = re.compile(r"\w+")
_WANTED = re.compile(r'"([^"]*)"|(\w+)(\*(?!\S))?')


def words_of(query: str) -> list[str]:
    """Return what a query looks for, as often as it stands there.

    That is a word, the words between double quotes as one phrase, or ``begin*`` for every word that begins so. Of the
    query's words the first MAX_WORDS count. COMMON words are left out, but not from a phrase, and not where there are
    no others. Anything else, operators among them, only separates words.
    """
    wanted, telling, room = [], [], MAX_WORDS
    for phrase, word, star in _WANTED.findall(storable(query).lower()):
        words = ([word] if word else _WORD.findall(phrase))[:room]
        if words:
            room -= len(words)
            wanted.append(" ".join(words) + (star if len(word) >= MIN_PREFIX else ""))
            if wanted[-1] not in COMMON or phrase:
                telling.append(wanted[-1])
    return telling or wanted


def expressions(query: str) -> list[str]:
    """Return what a query looks for as FTS5 writes it; nothing in it is syntax."""
    return [f'"{word[:-1]}"*' if word.endswith("*") else f'"{word}"' for word in words_of(query)]
