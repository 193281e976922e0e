"""The points in which databases differ, for the statements that they share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import and_, func, or_, true

from indexer.storage.filters import nanoseconds
from indexer.storage.sql.schema import documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from sqlalchemy import ColumnElement, Table, TableValuedAlias
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
    from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

    from indexer.types import Filter


class Dialect(Protocol):
    """How one database says what standard SQL does not."""

    def __hash__(self) -> int:
        """Statements that are made once are kept by their dialect."""
        ...

    def among(self, column: ColumnElement[int], ids: Iterable[int] | np.ndarray) -> ColumnElement[bool]:
        """Return the condition that a column is one of any number of ids, sent as one parameter."""
        ...

    def path_matches(self, globs: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a document's path matches one of the globs, see ``filters.glob``."""
        ...

    def field_is(self, name: str, values: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a document's field of this name has one of the values."""
        ...

    def field_names(self) -> TableValuedAlias:
        """Return the names of a document's fields as rows with one column, ``key``."""
        ...

    def insert(self, table: Table) -> PostgresInsert | SqliteInsert:
        """Return an INSERT that can say what to do where the row is there already."""
        ...


def conditions(dialect: Dialect, wanted: Filter | None) -> ColumnElement[bool]:
    """Return a filter as a condition on ``documents``; it agrees with ``filters.matches``."""
    parts: list[ColumnElement[bool]] = []
    if wanted is None:
        return true()
    if wanted.paths:
        parts.append(dialect.path_matches(wanted.paths))
    if wanted.kinds:
        names = [kind.lower().lstrip(".") for kind in wanted.kinds]
        endings = ["%." + re.sub(r"([%_\\])", r"\\\1", name) for name in names]
        path = func.lower(documents.c.path)
        parts.append(or_(documents.c.kind.in_(names), *(path.like(ending, escape="\\") for ending in endings)))
    if wanted.since is not None:
        parts.append(documents.c.mtime_ns >= nanoseconds(wanted.since))
    if wanted.until is not None:
        parts.append(documents.c.mtime_ns < nanoseconds(wanted.until))
    values: dict[str, list[str]] = {}
    for name, value in wanted.fields:
        values.setdefault(name, []).append(value)
    parts.extend(dialect.field_is(name, options) for name, options in values.items())
    return and_(true(), *parts)


def restricts(wanted: Filter | None) -> bool:
    """Tell whether a filter has any condition."""
    return wanted is not None and any(vars(wanted).values())
