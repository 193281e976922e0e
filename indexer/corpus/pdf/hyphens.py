"""Words that were parted at the end of a line, put together again."""

from __future__ import annotations

import re
from collections import Counter

_MARKED = "\x02\ufffe\u00ad"
"""How pdfium marks a hyphen at the line's end, and the soft hyphen."""
_PARTED = re.compile(rf"(\w+)(?:[{_MARKED}][ ]*\n?|[-\u2010][ ]*\n)(?=(\w+))")
_SOFT = re.compile(f"[{_MARKED}]\n?")
_WORD = re.compile(r"\w+(?:[-\u2010]\w+)+|\w+")


def mend(pages: list[str]) -> list[str]:
    """Return the pages' texts with parted words joined.

    The hyphen stays in a compound: where the text has the word with its hyphen elsewhere and not without, before a
    capital letter or a digit, and after a digit.
    """
    if not any(_PARTED.search(page) or _SOFT.search(page) for page in pages):
        return pages
    known = Counter(word.lower() for page in pages for word in _WORD.findall(page))

    def join(match: re.Match[str]) -> str:
        before, after = match[1], match[2]
        if "\u00ad" in match[0]:
            return before
        joined, compound = (before + after).lower(), f"{before}-{after}".lower()
        if not after[0].isalpha() or not before[-1].isalpha() or (after[0].isupper() and not before.isupper()):
            return f"{before}-"
        if known[compound] and not known[joined]:
            return f"{before}-"
        return before

    return [_SOFT.sub("", _PARTED.sub(join, page)) for page in pages]
