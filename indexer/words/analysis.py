"""The words of a text, in every script, as the index and the queries see them."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import regex
import Stemmer  # type: ignore[import-not-found]  # no stubs; narrowed in `stem`

from indexer.words.characters import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.words.characters import Plain

VERSION = 2
"""Number of this analysis; a collection's manifest says with which its index of words was made."""

MAX_TERM = 64
"""Characters of a term; longer ones are cut. A word of a language is shorter."""
MAX_PIECES = 4
"""Pieces of ``e-mail`` or ``node.js`` that are also found when they are written as one word."""

_UNSPACED = (
    r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc]&&[\p{L}\p{M}\p{Nl}]]"
)
_WORD = (
    r"[[\p{L}\p{N}\p{M}\p{Co}]--[[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc]"
    r"&&[\p{L}\p{M}\p{Nl}]]]"
)
TOKENS = regex.compile(
    rf"(?P<run>{_UNSPACED}+)|(?P<compound>{_WORD}+(?:(?:[-_.'/\\@:&]|-\n[ \t]*){_WORD}+)*)", regex.VERSION1
)
_ASCII_TOKENS = re.compile(r"[A-Za-z0-9]+(?:(?:[-_.'/\\@:&]|-\n[ \t]*)[A-Za-z0-9]+)*")
"""The same for a text in ASCII, ten times as fast."""
_WORDS = regex.compile(rf"{_WORD}+", regex.VERSION1)
_ASCII_WORDS = re.compile("[A-Za-z0-9]+")
_UNIT = regex.compile(r"\P{M}\p{M}*|\p{M}+", regex.VERSION1)
_PIECE = regex.compile(
    r"\p{Lu}{2,}s(?!\p{Ll})|\p{Lu}+(?!\p{Ll})|\p{Lu}?(?:(?!\p{Lu})[\p{L}\p{M}])+|\p{N}+|.", regex.VERSION1
)
_MIXED = regex.compile(r"\p{Ll}\p{Lu}|\p{Lu}{2}\p{Ll}|\p{L}\p{N}|\p{N}\p{L}", regex.VERSION1)
_LETTER = regex.compile(r"\p{L}", regex.VERSION1)
_SIGNS = regex.compile(r"(?:\+\+|#)(?![\w+#])", regex.VERSION1)
_LATER_RULES = re.compile(r"(.*(?:[aeiou][^aeiou]|[^aeiou]y[^aeiouy]).*)(?:(bl)|(log))(?:y|ies)", re.DOTALL)
"""Endings of two rules that Porter added to his algorithm later: FTS5 has them, Snowball's "porter" does not."""
_LATER_ENDINGS = ("bly", "blies", "logy", "logies")
_SIGNED = frozenset("+#")
MAX_KEPT = 48
"""Characters of a stretch of text whose words are kept; longer ones seldom come again."""
_STRETCHES = re.compile(
    r"\S+(?:(?:(?<=[-\u0640\u06e5\u06e6\u115f\u1160\u3164\ufcf2-\ufcf4\ufe71-\ufe7f\uffa0])|(?<=[^\w\x00-\x7f]))"
    r"[^\S\n]*\n\s*\S+)*"
)
"""What stands between white space, with the next line where a word may go on there: behind a hyphen, and behind a
character that may turn out to be one or nothing (``plain``)."""
_BEFORE = "([{\"'\u2018\u2019\u201c\u201d"
_BEHIND = ")]}\"',.;:!?-\u2018\u2019\u201c\u201d"
"""Signs that change nothing where a stretch begins with them, or ends."""
_stemmer = Stemmer.Stemmer("porter", 0)
_stemming = Lock()  # a stemmer is for one thread at a time


class Token(NamedTuple):
    """A word of a text, or a part of one."""

    start: int
    end: int
    """Offsets in the text as it is written."""
    term: str
    """Comparable and stemmed: equal for all forms of the word. It holds no white space and of ASCII signs only
    ``+``, ``#`` and ``.``."""
    part: bool = False
    """Whether it is a further term: a piece of ``camelCase``, ``e-mail`` as one word, the C of C++. Such terms stand in
    columns of their own and belong to no phrase."""
    first: int = 0
    """Of a pair of characters of an unspaced script the length of the first, as written; else 0."""
    single: bool = False
    """Whether it is one character of an unspaced script, the last of its run."""


_Fields = tuple[int, int, str, bool, int, bool]
"""Those of a token. The garbage collector does not look into plain tuples of such values, so many can be kept."""
_Words = tuple[tuple[_Fields, ...], str, str]
"""Those of a stretch: its tokens, its terms and its further terms."""
_new = tuple.__new__
"""Makes a named tuple in half the time."""


@lru_cache(1 << 16)
def stem(term: str) -> str:
    """Return the stem of a comparable word: the same as SQLite's FTS5 with its ``porter`` tokenizer gives."""
    term = term[:MAX_TERM]
    if len(term) < 3 or not term.isascii():
        return term
    if term.endswith(_LATER_ENDINGS) and (match := _LATER_RULES.fullmatch(term)):
        term = f"{match[1]}ble" if match[2] else f"{match[1]}log"
    with _stemming:
        return str(_stemmer.stemWord(term))


def analyse(text: str) -> list[Token]:
    """Return the words of a text, in their order; parts follow the word that they belong to.

    A word is a run of letters, digits and marks. Scripts that are written without spaces (Han, kana, Hangul, Thai, Lao,
    Khmer, Myanmar) give every two neighbouring characters, and the last one alone: so that each character begins
    exactly one term.
    """
    tokens: list[Token] = []
    append, new, kind, at = tokens.append, _new, Token, 0  # local names: this loop sees every word
    stretches = _stretches(text)
    for stretch, (found, _, _) in zip(stretches, _read_all(stretches), strict=True):
        at = text.index(stretch, at)
        for start, end, term, part, first, single in found:
            append(new(kind, (at + start, at + end, term, part, first, single)))
        at += len(stretch)
    return tokens


def indexed(text: str) -> tuple[str, str]:
    """Return the terms of a text and its further terms, each joined by blanks: two columns of an inverted index.

    The index's tokenizer has to part words at white space only.
    """
    found = list(_read_all(_stretches(text)))
    return " ".join([terms for _, terms, _ in found if terms]), " ".join([parts for _, _, parts in found if parts])


def _stretches(text: str) -> list[str]:
    """Return the pieces of a text, in their order, in which no word depends on what stands before or behind them."""
    if "\n" not in text or (text.isascii() and "-\n" not in text):
        return text.split()
    return _STRETCHES.findall(text)


def _read(stretch: str) -> _Words:
    """Return the words of a stretch, as ``analyse`` and as ``indexed`` has them."""
    word = stretch.lstrip(_BEFORE)
    start = len(stretch) - len(word)
    word = word.rstrip(_BEHIND)
    if word.isascii() and (word.isdigit() or (word.isalpha() and _is_even(word))):
        term = stem(word.lower())
        return ((start, start + len(word), term, False, 0, False),), term, ""
    tokens = _tokens(stretch)
    terms, parts = (" ".join([t.term for t in tokens if t.part is part]) for part in (False, True))
    return tuple([(t.start, t.end, t.term, t.part, t.first, t.single) for t in tokens]), terms, parts


def _read_all(stretches: list[str]) -> Iterator[_Words]:
    """Return the words of each stretch, kept or read now."""
    if len(max(stretches, key=len, default="")) <= MAX_KEPT:
        return map(_kept, stretches)
    return (_kept(each) if len(each) <= MAX_KEPT else _read(each) for each in stretches)


def _is_even(word: str) -> bool:
    """Tell whether capitals part an ASCII word into no pieces."""
    return word.islower() or word.isupper() or word[1:].islower()


_kept = lru_cache(1 << 16)(_read)
"""The same, remembered: most stretches of text come again and again."""


def _tokens(text: str) -> list[Token]:
    """Return what ``analyse`` says of a text, which is read as a whole and not stretch by stretch."""
    written = plain(text)
    shown, same = written.text, written.places is None
    tokens: list[Token] = []
    for match in _ASCII_TOKENS.finditer(shown) if shown.isascii() else TOKENS.finditer(shown):
        start, end = match.span()
        if match.lastgroup == "run":
            tokens += bigrams(written, (start, end), last=True)
            continue
        word = match.group()
        if word.isalpha() and word[1:].islower() and shown[end : end + 1] not in _SIGNED and shown[start - 1] != ".":
            span = (start, end) if same else written.span(start, end)  # nearly all words: nothing to look into
            tokens.append(Token(*span, stem(word.casefold())))
        else:
            tokens += _compound(written, start, end)
    return tokens


def bigrams(written: Plain, span: tuple[int, int], last: bool) -> Iterator[Token]:
    """Yield each two neighbouring characters with their marks, and with ``last`` the last one alone."""
    units = [unit.span() for unit in _UNIT.finditer(written.text, *span)]
    for one, other in pairwise(units):
        first, middle = written.span(*one)
        pair = written.text[one[0] : other[1]].casefold()
        yield Token(first, written.span(*other)[1], pair, first=middle - first)
    if last or len(units) == 1:
        yield Token(*written.span(*units[-1]), written.text[slice(*units[-1])].casefold(), single=True)


def words(written: Plain, start: int, end: int) -> list[tuple[int, int]]:
    """Return the spans, in plain text, of the words that ``node.js`` or ``3.11.7`` consists of."""
    pattern = _ASCII_WORDS if written.text.isascii() else _WORDS
    return [match.span() for match in pattern.finditer(written.text, start, end)]


def named(text: str, start: int, end: int) -> str | None:
    """Return ``c++``, ``f#`` or ``.net`` where the word at this place of a plain text is such a name."""
    if text[end : end + 1] in _SIGNED and (signs := _SIGNS.match(text, end)):
        return text[start:end].casefold() + signs.group()
    if text[start:end] == "NET" and text[start - 1 : start] == ".":
        return ".net"
    before = text[max(0, start - 2) : start]
    if before[-1:] == "." and not (before[:-1].isalnum() or before == ".."):
        return "." + text[start:end].casefold()
    return None


def pieces(word: str) -> list[tuple[int, int]]:
    """Return the spans of the pieces of ``camelCase``, ``HTTPServer`` or ``covid19``; one or none: it has none."""
    if word.isascii() and (word.isdigit() or (word.isalpha() and _is_even(word))):
        return []
    if not _MIXED.search(word):
        return []
    return [match.span() for match in _PIECE.finditer(word)]


def joined(text: str, spans: list[tuple[int, int]]) -> str | None:
    """Return ``email`` for the words of ``e-mail``; None where they are too many, or numbers."""
    if not 2 <= len(spans) <= MAX_PIECES or not _LETTER.search(text, *spans[0]):
        return None
    if {text[end] for (_, end) in spans[:-1]} - set("-_.'&"):
        return None
    return stem("".join(text[start:end] for start, end in spans).casefold())


def _compound(written: Plain, start: int, end: int) -> Iterator[Token]:
    text = written.text
    spans = words(written, start, end)
    whole = joined(text, spans)
    for number, (first, last) in enumerate(spans):
        word = text[first:last]
        span = written.span(first, last)
        term = stem(word.casefold())
        name = named(text, first, last)
        if name and last - first == 1 and name[-1] in "+#":  # C++ is another thing than C
            yield Token(span[0], written.span(first, first + len(name))[1], name)
            yield Token(*span, term, part=True)
        else:
            yield Token(*span, term)
            if name and name[0] == ".":
                yield Token(*written.span(first - 1, last), name, part=True)
            elif name:
                yield Token(*written.span(first, first + len(name)), name, part=True)
        if number == 0 and whole is not None:
            yield Token(*written.span(start, end), whole, part=True)
        for left, right in pieces(word):
            if right - left > 1 and right - left < len(word):
                piece = stem(word[left:right].casefold())
                yield Token(*written.span(first + left, first + right), piece, part=True)
