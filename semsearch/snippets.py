"""The sentence of a passage that tells most about a query."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from indexer.embedding.encoder import Encoder

_SENTENCE = re.compile(r"\S.*?(?:[.!?][\"')\]]*(?=\s)|\n\s*\n|$)", re.DOTALL)
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    """a an and are as at be by can could did do does for from had has have how i if in into is it its me my no not of
    on or our so than that the their them then there these they this to was we were what when where which who why will
    with would you your""".split()
)


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans (start, end) of the sentences of ``text``, without the white space between them."""
    spans = []
    for match in _SENTENCE.finditer(text):
        end = match.start() + len(match.group().rstrip())
        if end > match.start():
            spans.append((match.start(), end))
    return spans


def terms(text: str) -> set[str]:
    """The words that a match is judged by: lower case, common words left out unless there are no others."""
    words = {word.lower() for word in _WORD.findall(text)}
    return words - _COMMON or words


def telling(query: str, texts: Sequence[str], encoder: Encoder | None = None) -> list[tuple[int, int] | None]:
    """For each text the span of its most telling sentence: the one with most distinct words of the query.

    Where no sentence shares a word, the one nearest to the query by ``encoder``, or None without an encoder.
    """
    wanted = terms(query)
    spans = [sentences(text) for text in texts]
    best: list[tuple[int, int] | None] = []
    for text, candidates in zip(texts, spans, strict=True):
        shared = [len(wanted & terms(text[start:end])) for start, end in candidates]
        top = max(shared, default=0)
        best.append(candidates[shared.index(top)] if top else None)
    unmatched = [i for i, span in enumerate(best) if span is None and spans[i]]
    if encoder is not None and unmatched:
        vector = encoder.encode([query], role="query")[0]
        flat = [(i, span) for i in unmatched for span in spans[i]]
        scores = encoder.encode([texts[i][start:end] for i, (start, end) in flat]) @ vector
        for i in unmatched:
            rows = [row for row, (j, _) in enumerate(flat) if j == i]
            best[i] = flat[rows[int(np.argmax(scores[rows]))]][1]
    return best
