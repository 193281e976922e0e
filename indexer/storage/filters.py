"""Which documents a filter lets through: the reference that stores must agree with."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from indexer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indexer.types import Filter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def nanoseconds(moment: datetime) -> int:
    """Since 1970, exact. Raises UsageError for a moment without a time zone."""
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no time zone; give one, as in {moment.isoformat()}+00:00")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


@lru_cache(maxsize=256)
def glob(pattern: str) -> re.Pattern[str]:
    """A path glob as a regular expression over the whole absolute path.

    ``*`` and ``?`` stay within a folder, ``**`` does not (``a/**/b`` matches ``a/b`` too), ``[…]`` is one character
    of a set; a pattern that is not absolute matches at any depth; one that ends in ``/`` matches all that is below.
    """
    if not pattern:
        raise UsageError("a path glob is empty; give one such as docs/**/*.md")
    if pattern.endswith("/"):
        pattern += "**"
    absolute = pattern.startswith("/") or re.match(r"[A-Za-z]:[\\/]", pattern) is not None
    parts, at = ["" if absolute else "(?:.*/)?"], 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif char == "*":
            parts.append("[^/]*")
            at += 1
        elif char == "?":
            parts.append("[^/]")
            at += 1
        elif char == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end]
            negated = inside[0] in "!^"
            body = re.sub(r"([\\\[\]&~|^])", r"\\\1", inside[1:] if negated else inside)
            parts.append(f"[{'^/' if negated else ''}{body}]")
            at = end + 1
        else:
            parts.append(re.escape(char))
            at += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise UsageError(f"{pattern!r} is no path glob: {error}") from error


def matches_path(patterns: tuple[str, ...], path: str) -> bool:
    """Tell whether a path matches one of the globs."""
    return any(glob(pattern).fullmatch(path.replace(os.sep, "/")) for pattern in patterns)


def matches(wanted: Filter, path: str, kind: str, mtime_ns: int, fields: Mapping[str, str]) -> bool:
    """Tell whether a document with these properties meets every condition of the filter."""
    if wanted.paths and not matches_path(wanted.paths, path):
        return False
    if wanted.kinds:
        kinds = [k.lower().lstrip(".") for k in wanted.kinds]
        if kind not in kinds and not any(path.lower().endswith("." + k) for k in kinds):
            return False
    if wanted.since is not None and mtime_ns < nanoseconds(wanted.since):
        return False
    if wanted.until is not None and mtime_ns >= nanoseconds(wanted.until):
        return False
    values: dict[str, set[str]] = {}
    for name, value in wanted.fields:
        values.setdefault(name, set()).add(value)
    return all(fields.get(name) in options for name, options in values.items())
