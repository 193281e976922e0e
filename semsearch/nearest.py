"""The nearest of the allowed words to one that was mistyped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAMED = 12
"""Allowed values that a message names; of more it names the nearest."""


def nearest(seen: str, allowed: Iterable[str]) -> list[str]:
    """Return the allowed words that look like ``seen``, nearest first; none where none does."""
    import difflib  # here: most commands are typed rightly

    by_lower = {word.lower(): word for word in sorted(allowed, reverse=True)}
    found = difflib.get_close_matches(seen.lower(), list(by_lower), n=3, cutoff=0.6)
    return [by_lower[word] for word in found]


def hint(seen: str, allowed: Iterable[str]) -> str:
    """Return `` (did you mean 'query'?)`` for the nearest allowed word, or nothing."""
    found = nearest(seen, allowed)
    return f" (did you mean {found[0]!r}?)" if found else ""


def choices(seen: str, allowed: Iterable[str]) -> str:
    """Return what a message says of the allowed words: the nearest, and all of them where they are few."""
    words = sorted(set(allowed))
    shown = ", ".join(words[:MAX_NAMED]) + (" …" if len(words) > MAX_NAMED else "")
    return f"{shown or 'none'}{hint(seen, words)}"


def check_names(seen: Iterable[str], allowed: Iterable[str], what: str) -> None:
    """Raise UsageError for a name that is not allowed, with the nearest one."""
    words = list(allowed)
    for name in seen:
        if name not in words:
            raise UsageError(f"there is no {what} {name!r}{hint(name, words)}; there are {', '.join(words)}")
