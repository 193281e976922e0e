"""``--filter`` expressions → Filter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from indexer.errors import UsageError
from indexer.types import Filter

HELP = (
    "path=GLOB, type=KIND (markdown, pdf, py …), since=DATE, until=DATE or FIELD=VALUE of a record; "
    "repeat to combine. field.NAME=VALUE where a record's field is called like one of these."
)


def parse(expressions: Sequence[str]) -> Filter | None:
    """One Filter from all expressions, None for none. Raises UsageError for one that cannot be read."""
    if not expressions:
        return None
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


def _date(expression: str, value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise UsageError(
            f"filter {expression!r}: {value!r} is no date; write 2026-01-31 or 2026-01-31T12:00"
        ) from error
    return moment.astimezone()  # without a zone it is local time
