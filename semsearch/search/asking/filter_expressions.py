"""Filter expressions: read them, and refuse those that nothing in a collection can meet.

An expression is NAME=VALUE. A mistyped name or kind would find nothing and look like a correct empty answer, so an
answer without hits is checked against what the collection holds.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from indexer.errors import UsageError
from semsearch.nearest import choices, hint

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from indexer.types import Filter

HELP = (
    "path=GLOB, type=KIND (markdown, pdf, py …), since=DATE, until=DATE or FIELD=VALUE of a record; "
    "repeat to combine. field.NAME=VALUE where a record's field is called like one of these."
)


def parse(expressions: Sequence[str]) -> Filter | None:
    """Return one Filter from all expressions, None for none.

    Raises:
        UsageError: One of them cannot be read.
    """
    if not expressions:
        return None
    from indexer.types import Filter

    paths, kinds, fields = [], [], []
    dates: dict[str, datetime] = {}
    for expression in expressions:
        name, equals, value = expression.partition("=")
        name = name.strip()
        if not equals:
            name, value = "path", expression
        if not name or not value:
            raise UsageError(f"filter {expression!r} is not NAME=VALUE; filters are {HELP}")
        if name == "path":
            paths.append(value)
        elif name == "type":
            kinds.append(value.lower().lstrip("."))
        elif name in ("since", "until"):
            dates[name] = _date(expression, value)
        else:
            fields.append((re.sub(r"^field\.", "", name), value))
    return Filter(tuple(paths), tuple(kinds), dates.get("since"), dates.get("until"), tuple(fields))


def write(condition: Filter) -> list[str]:
    """Return expressions that ``parse`` makes this Filter of."""
    dates = (("since", condition.since), ("until", condition.until))
    return [
        *(f"path={glob}" for glob in condition.paths),
        *(f"type={kind}" for kind in condition.kinds),
        *(f"{name}={moment.isoformat()}" for name, moment in dates if moment is not None),
        *(f"field.{name}={value}" for name, value in condition.fields),
    ]


NAMES = ("path", "type", "since", "until")
"""Conditions that are not a record's field."""


def check(condition: Filter, kinds: Collection[str], endings: Collection[str], fields: Collection[str]) -> list[str]:
    """Return remarks on conditions that no document of a collection meets.

    Args:
        condition: The filter of a search that found nothing.
        kinds: Kinds of the collection's documents.
        endings: Endings of its files' names, without the dot.
        fields: Names of its records' fields.

    Raises:
        UsageError: A field that no record has, or a kind that there is not: both with the nearest there are.
    """
    for name, _ in condition.fields:
        if name not in fields:
            allowed = [*NAMES, *fields]
            shown = f"its records' fields are {choices(name, fields)}" if fields else "it holds no records with fields"
            raise UsageError(
                f"no record of this collection has a field {name!r}{hint(name, allowed)}; {shown}; other filters are "
                f"{', '.join(NAMES)}"
            )
    remarks = []
    for kind in condition.kinds:
        if kind in kinds or kind in endings:
            continue
        if kind not in _known_kinds():
            there = choices(kind, {*kinds, *endings})
            raise UsageError(f"nothing in this collection is of type {kind!r}; there are {there}")
        remarks.append(f"nothing in this collection is of type {kind}; there are {', '.join(sorted(kinds))}")
    return remarks


def _known_kinds() -> frozenset[str]:
    """Return every kind and ending there can be, in this collection or another."""
    from indexer.corpus.formats import BINARY, KINDS

    return frozenset([*KINDS, *BINARY, *(ending for endings in KINDS.values() for ending in endings)])


def _date(expression: str, value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise UsageError(
            f"filter {expression!r}: {value!r} is no date; write 2026-01-31 or 2026-01-31T12:00"
        ) from error
    return moment.astimezone()  # without a zone it is local time
