"""Characters of a text made comparable, each with its place in the text as it is written.

One function does it for the index of words, queries, highlights, filters and the search for duplicates.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import accumulate

import regex

_CLUSTER = regex.compile(
    r"[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?"  # a Korean syllable in its letters
    r"|[\u3040-\u30ff\uff66-\uff9d][\u3099\u309a\uff9e\uff9f]"  # kana with its voice mark
    r"|[\u0400-\u04ff][\u0300-\u036f]"  # Cyrillic letters with a breve or dots are letters of their own
    r"|[\u00ad\u2010][ \t]*\r?\n[ \t]*(?=\p{L})"  # a word parted at the end of a line
    r"|.",
    regex.DOTALL,
)
_HANGUL = range(0xAC00, 0xD7A4)
_KANA = range(0x3041, 0x3100)
_CYRILLIC = range(0x0400, 0x0530)
_PLAIN_CYRILLIC = frozenset("ёЁѐЀѝЍ")
"""Cyrillic letters whose mark is often left out when they are typed."""
_STRIPPED = (
    (0x0300, 0x036F),  # marks of Latin and Greek letters
    (0x0591, 0x05C7),  # Hebrew points
    (0x0610, 0x061A),  # Arabic marks, vowels
    (0x064B, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06ED),
    (0x0711, 0x0711),  # Syriac vowels
    (0x0730, 0x074A),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFE20, 0xFE2F),
    (0xE0100, 0xE01EF),
)
_LIKE = {
    "\u0640": "",  # Arabic tatweel
    "\u0649": "\u064a",  # Arabic letters that keyboards of several languages write differently
    "\u06cc": "\u064a",
    "\u06a9": "\u0643",
    "\u0629": "\u0647",
    "\u115f": "",  # fillers without a sound
    "\u1160": "",
    "\u3164": "",
    "\uffa0": "",
    "\u2018": "'",
    "\u2019": "'",
    "\u201b": "'",
    "\u02bc": "'",
    "\uff07": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u201e": '"',
    "\u2010": "-",
    "\u2011": "-",
    "\u2212": "-",
    "\u266f": "#",
    "\u2122": " ",  # ™ and ℠ are no letters of the word before them
    "\u2120": " ",
    "ł": "l",
    "Ł": "L",
    "ø": "o",
    "Ø": "O",
    "đ": "d",
    "Đ": "D",
    "ħ": "h",
    "Ħ": "H",
    "ŧ": "t",
    "Ŧ": "T",
    "ı": "i",
    "æ": "ae",
    "Æ": "AE",
    "œ": "oe",
    "Œ": "OE",
}


@dataclass(frozen=True, slots=True)
class Plain:
    """A text without what tells equal words apart, with upper and lower case as written."""

    text: str
    places: tuple[int, ...] | None
    """Where each character of ``text`` begins in the text as written; None: at the same place."""
    written: str

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the offsets in the text as written of the characters from ``start`` to ``end``, ``end`` excluded."""
        if self.places is None:
            return start, end
        first, last = self.places[start], self.places[end - 1] + 1
        if end < len(self.places) and self.places[end] < last:  # one written character gave several
            return first, last
        while last < len(self.written) and _is_stripped(self.written[last]):
            last += 1
        return first, last


class _Table(dict[str, str]):
    """Cluster of characters → its comparable characters, found once and kept."""

    def __missing__(self, cluster: str) -> str:
        value = _plain(cluster)
        if len(cluster) < 4:
            self[cluster] = value
        return value


_TABLE = _Table()


def plain(text: str) -> Plain:
    """Return the text in plain characters, with their places.

    Invisible characters (soft hyphens, zero-width spaces, word joiners, variation selectors) are out, also a hyphen
    U+2010 or U+00AD with the line end behind it. Ligatures, full-width and other compatibility forms are written
    plainly, digits of every script as ASCII digits. Diacritics of Latin and Greek letters are out, and the vowel
    marks of Arabic and Hebrew; marks that are letters elsewhere (Indic, Thai, kana, Cyrillic й) stay.
    """
    if text.isascii():
        return Plain(text, None, text)
    clusters = _CLUSTER.findall(text)
    pieces = [_TABLE[cluster] for cluster in clusters]
    joined = "".join(pieces)
    if len(clusters) == len(text) == len(joined) and "" not in pieces:
        return Plain(joined, None, text)
    places: list[int] = []
    for place, piece in zip(accumulate(map(len, clusters), initial=0), pieces, strict=False):
        places += [place] * len(piece)
    return Plain(joined, tuple(places), text)


def comparable(text: str) -> str:
    """Return the text as it is compared: plain characters, case folded. White space and punctuation stay."""
    return plain(text).text.casefold()


def _plain(cluster: str) -> str:
    if len(cluster) > 1:
        if cluster[0] in "\u00ad\u2010":
            return ""
        composed = unicodedata.normalize("NFKC", cluster)
        return _plain(composed) if len(composed) == 1 else "".join(map(_plain, cluster))
    if cluster in _LIKE:
        return _LIKE[cluster]
    code = ord(cluster)
    if code < 128 or code in _HANGUL or code in _KANA or (code in _CYRILLIC and cluster not in _PLAIN_CYRILLIC):
        return cluster
    if _is_stripped(cluster):
        return ""
    category = unicodedata.category(cluster)
    if category == "Nd":
        return str(unicodedata.decimal(cluster))
    if category == "Cs":
        return " "
    decomposed = unicodedata.normalize("NFKD", cluster)
    if decomposed == cluster:
        return cluster
    composed = unicodedata.normalize("NFKC", cluster)  # half-width kana and Korean letters: no pieces of them
    if len(composed) == 1 and (ord(composed) in _HANGUL or ord(composed) in _KANA):
        return composed
    return "".join(_plain(c) if c in _LIKE else c for c in decomposed if not _is_stripped(c))


def _is_stripped(character: str) -> bool:
    code = ord(character)
    if code < 0xAD:
        return False
    return unicodedata.category(character) == "Cf" or any(first <= code <= last for first, last in _STRIPPED)
