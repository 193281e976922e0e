"""The things that a person's query looks for: words, phrases, beginnings of words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import regex

from indexer.words.analysis import TOKENS, bigrams, joined, named, pieces, stem, words
from indexer.words.characters import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.words.characters import Plain

MAX_WORDS = 256
"""Words of one query that are looked up; a whole page pasted in does not need more."""
MIN_PREFIX = 2
"""Letters that ``begin*`` has at least; fewer would be in nearly every passage."""
MAX_PHRASE = 4
"""Characters of an unspaced script that are looked for as one word; more are a sentence, looked for in pairs."""
MAX_LONG_PHRASE = 8
"""The same for katakana, and for scripts that need more characters for a word, as Thai does."""
MAX_SHORT = 2
"""Letters of a word that makes one word with those it is joined to by hyphens, as in ``e-mail`` and ``COVID-19``.
Longer ones (``gradient-based``) are looked for each alone: on development collections that finds more."""

COMMON = frozenset(
    """a an and are as at be by can could did do does for from had has have how i if in into is it its me my no not of
    on or our so than that the their them then there these they this to was we were what when where which who why will
    with would you your""".split()
)
"""English words that say nothing of what a text is about: question words too. A query is not searched for them (on
development collections that is worth 1 point of nDCG@10 to a search by words, see scripts/research/LOG.md)."""
KEYWORDS = frozenset("as for from if in not or this with".split())
"""Common words that can be the name of something, as in "with statement"."""
SHORTENED = frozenset("d ll m re s t ve".split())
"""Letters behind an apostrophe that are no word: it's, don't, we'll."""

_PART = regex.compile(r'["\u201c-\u201f]([^"\u201c-\u201f]*)["\u201c-\u201f]|([^"\u201c-\u201f]+)|.', regex.DOTALL)
_LONG_SCRIPT = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{M}]+|[\p{Katakana}\u30fc]+", regex.VERSION1)
_HIRAGANA = regex.compile(r"\p{Hiragana}+", regex.VERSION1)
_LETTERS = regex.compile(r"\p{L}\p{M}*\p{L}", regex.VERSION1)


@dataclass(frozen=True)
class Wanted:
    """One thing that a query looks for."""

    text: str
    """As the query has it."""
    alternatives: tuple[tuple[str, ...], ...]
    """Phrases, each of one or more terms in a row; whatever of them a text holds is this thing."""
    prefix: bool = False
    """Whether the last term of a phrase is only the beginning of one."""

    @property
    def anywhere(self) -> bool:
        """Whether a text's further terms (``Token.part``) count as well as its words.

        They do for a single term. Phrases are looked for among the words only, and so is what has alternatives: no word
        of a text is then counted twice.
        """
        return len(self.alternatives) == 1 and len(self.alternatives[0]) == 1


@dataclass(frozen=True)
class Query:
    """All that a query looks for."""

    wanted: tuple[Wanted, ...]
    """In the order of the query's text; what it says twice stands here twice."""

    @cached_property
    def distinct(self) -> tuple[Wanted, ...]:
        """Each thing once."""
        first: dict[tuple[object, bool], Wanted] = {}
        for wanted in self.wanted:
            first.setdefault((wanted.alternatives, wanted.prefix), wanted)
        return tuple(first.values())


@dataclass(frozen=True)
class _Item:
    wanted: Wanted
    word: str | None = None
    """The word as written, where it may turn out to be a common one."""
    common: bool = False
    """Whether it is common whatever its capitals, as ``don't`` is."""


def query(text: str) -> Query:
    """Return the things that a query looks for.

    These are its words, ``"several words"`` in a row, and ``begin*`` for every word that begins so. Words that are
    joined (``node.js``, ``3.11.7``, ``e-mail``, ``snake_case``) are looked for in a row; those of ``node.js`` and of
    paths also alone, and longer words between hyphens only alone. COMMON words are left out; but not in a phrase, not
    where no others are, and not where they are written in capitals amid lower case (WHO, CAN, IT, vitamin A). Anything
    else, operators among it, only separates words. The first MAX_WORDS words count.
    """
    items: list[_Item] = []
    room = MAX_WORDS
    for match in _PART.finditer(text):
        if room <= 0:
            break
        if match[1] is not None:
            found = _phrase(match[1], room)
            room -= sum(len(item.wanted.alternatives[0]) for item in found)
        elif match[2] is not None:
            found = _words(match[2], room)
            room -= len(found)
        else:
            continue
        items += found
    return Query(tuple(item.wanted for item in _telling(items)))


def _telling(items: Sequence[_Item]) -> Sequence[_Item]:
    """Leave common words out, where others remain."""
    lower = any(item.word is not None and item.word[1:].islower() for item in items)
    telling = [not _is_common(item, at, len(items), lower) for at, item in enumerate(items)]
    kept = list(telling)
    if len({item.wanted.alternatives for item, tells in zip(items, telling, strict=True) if tells}) == 1:
        for at, item in enumerate(items):
            beside = telling[max(0, at - 1) : at] + telling[at + 1 : at + 2]
            if any(beside) and item.word is not None and item.word.casefold() in KEYWORDS:
                kept[at] = True
    return [item for item, keep in zip(items, kept, strict=True) if keep] or items


def _is_common(item: _Item, at: int, count: int, lower: bool) -> bool:
    if item.common:
        return True
    word = item.word
    if word is None or word.casefold() not in COMMON:
        return False
    if not lower or not word.isupper():
        return True
    if word == "I":  # "what I need", but "World War I"
        return at == 0 or at < count - 1
    return word == "A" and at == 0


def _phrase(text: str, room: int) -> list[_Item]:
    """Return the words between quotes, in a row."""
    written = plain(text)
    matches = list(TOKENS.finditer(written.text))
    terms: list[str] = []
    alone = False
    for number, match in enumerate(matches):
        if match["run"] is not None:
            pairs = list(bigrams(written, match.span(), last=number < len(matches) - 1))
            terms += [token.term for token in pairs]
            alone = len(matches) == 1 and len(pairs) == 1 and pairs[0].single
        else:
            terms += [_main(written.text, *span) for span in words(written, *match.span())]
    if not terms:
        return []
    return [_Item(Wanted(f'"{text.strip()}"', (tuple(terms[:room]),), prefix=alone))]


def _words(text: str, room: int) -> list[_Item]:
    """Return the words of a piece of a query without quotes, at most ``room``."""
    written = plain(text)
    items: list[_Item] = []
    for match in TOKENS.finditer(written.text):
        if len(items) >= room:
            break
        start, end = match.span()
        starred = written.text[end : end + 1] == "*" and not written.text[end + 1 : end + 2].strip()
        if match["run"] is not None:
            items += _run(written, start, end)
        else:
            items += _compound(written, start, end, starred)
    return items[:room]


def _run(written: Plain, start: int, end: int) -> list[_Item]:
    """Return what is looked for of a run of an unspaced script: one word, or each pair of a sentence's characters."""
    tokens = list(bigrams(written, (start, end), last=False))
    most = MAX_LONG_PHRASE if _LONG_SCRIPT.fullmatch(written.text, start, end) else MAX_PHRASE
    if len(tokens) < most:
        terms = tuple(token.term for token in tokens)
        return [_Item(Wanted(_said(written, start, end), (terms,), prefix=tokens[0].single))]
    pairs = [_Item(Wanted(written.written[token.start : token.end], ((token.term,),))) for token in tokens]
    return [pair for pair in pairs if not _HIRAGANA.fullmatch(pair.wanted.text)] or pairs


def _compound(written: Plain, start: int, end: int, starred: bool) -> list[_Item]:
    """Return what is looked for of a word, or of words joined by hyphens, dots and the like."""
    text = written.text
    spans = words(written, start, end)
    if len(spans) == 1:
        return [_word(written, *spans[0], starred)]
    if text[spans[-1][0] - 1] == "'" and text[slice(*spans[-1])].casefold() in SHORTENED:
        return _shortened(written, spans)
    terms = tuple(_main(text, *span) for span in spans)
    whole = None if starred else joined(text, spans)
    prefix = starred and spans[-1][1] - spans[-1][0] >= MIN_PREFIX
    said = _said(written, start, end) + "*" * prefix
    together = _Item(Wanted(said, (terms,) if whole is None else (terms, (whole,)), prefix))
    alone = [_word(written, *span) for span in spans if _LETTERS.search(text, *span)]
    signs = {text[last] for _, last in spans[:-1]}
    if "_" in signs or prefix or not alone:
        return [together]
    if signs == {"-"}:
        if all(last - first > MAX_SHORT for first, last in spans):
            return [_word(written, *span) for span in spans]
        return [together]
    return [together, *alone]


def _shortened(written: Plain, spans: list[tuple[int, int]]) -> list[_Item]:
    """Return the word of ``user's``, and ``don't`` as the common word that it is."""
    text, (start, _), (tail, end) = written.text, spans[0], spans[-1]
    if text[tail:end].casefold() == "t":
        phrase = tuple(_main(text, *span) for span in spans)
        whole = joined(text, spans)
        alternatives = (phrase,) if whole is None else (phrase, (whole,))
        return [_Item(Wanted(_said(written, start, end), alternatives), common=True)]
    return [_word(written, *span) for span in spans[:-1]]


def _word(written: Plain, start: int, end: int, starred: bool = False) -> _Item:
    text = written.text
    word = text[start:end]
    if starred and end - start >= MIN_PREFIX:
        return _Item(Wanted(_said(written, start, end) + "*", ((stem(word.casefold()),),), prefix=True))
    if name := named(text, start, end):
        first = start - (name[0] == ".")
        return _Item(Wanted(_said(written, first, first + len(name)), ((name,),)))
    alternatives: tuple[tuple[str, ...], ...] = ((stem(word.casefold()),),)
    spans = pieces(word)
    if len(spans) > 1 and all(right - left > 1 or word[left].isdigit() for left, right in spans):
        alternatives += (tuple(stem(word[left:right].casefold()) for left, right in spans),)
    return _Item(Wanted(_said(written, start, end), alternatives), word)


def _main(text: str, start: int, end: int) -> str:
    """Return the term of a word that stands in a row with others."""
    name = named(text, start, end)
    return name if name and end - start == 1 and name[-1] in "+#" else stem(text[start:end].casefold())


def _said(written: Plain, start: int, end: int) -> str:
    first, last = written.span(start, end)
    return written.written[first:last]
