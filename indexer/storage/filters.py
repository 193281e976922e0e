"""Which documents a filter lets through: the reference that the SQL form must agree with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from indexer.errors import UsageError
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
    return any(glob(pattern).fullmatch(path.replace(os.sep, "/")) for pattern in patterns)


def matches(filter: Filter, path: str, kind: str, mtime_ns: int, fields: Mapping[str, str]) -> bool:
    """Whether a document with these properties meets every condition of the filter."""
    if filter.paths and not matches_path(filter.paths, path):
        return False
    if filter.kinds:
        kinds = [k.lower().lstrip(".") for k in filter.kinds]
        if kind not in kinds and not any(path.lower().endswith("." + k) for k in kinds):
            return False
    if filter.since is not None and mtime_ns < nanoseconds(filter.since):
        return False
    if filter.until is not None and mtime_ns >= nanoseconds(filter.until):
        return False
    values: dict[str, set[str]] = {}
    for name, value in filter.fields:
        values.setdefault(name, set()).add(value)
    return all(fields.get(name) in wanted for name, wanted in values.items())


def conditions(filter: Filter | None) -> tuple[str, dict[str, object]]:
    """The same as SQL: conditions on documents ``d``, each beginning with AND, and their values.

    ``matches_path`` is a function of the connection, given the globs as JSON."""
    parts: list[str] = []
    values: dict[str, object] = {}
    if filter is None:
        return "", values
    if filter.paths:
        parts.append(
            "d.path IN (SELECT path FROM (SELECT DISTINCT path FROM documents) WHERE matches_path(:paths, path))"
        )
        values["paths"] = json.dumps(filter.paths)
    if filter.kinds:
        options = []
        for number, kind in enumerate(filter.kinds):
            name = kind.lower().lstrip(".")
            values[f"kind{number}"] = name
            values[f"ending{number}"] = "%." + re.sub(r"([%_\\])", r"\\\1", name)
            options.append(f"d.kind = :kind{number} OR lower(d.path) LIKE :ending{number} ESCAPE '\\'")
        parts.append(" OR ".join(options))
    if filter.since is not None:
        parts.append("d.mtime_ns >= :since")
        values["since"] = nanoseconds(filter.since)
    if filter.until is not None:
        parts.append("d.mtime_ns < :until")
        values["until"] = nanoseconds(filter.until)
    wanted: dict[str, list[str]] = {}
    for name, value in filter.fields:
        wanted.setdefault(name, []).append(value)
    for number, (name, options) in enumerate(wanted.items()):
        parts.append(
            f"EXISTS (SELECT 1 FROM json_each(d.fields) WHERE key = :name{number} "
            f"AND value IN (SELECT value FROM json_each(:options{number})))"
        )
        values[f"name{number}"] = name
        values[f"options{number}"] = json.dumps(options)
    return "".join(f" AND ({part})" for part in parts), values
