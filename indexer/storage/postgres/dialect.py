"""PostgreSQL's own conditions: sets of ids as arrays, globs as regular expressions, fields as jsonb."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Text, any_, cast, func, literal, literal_column, or_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, Insert, insert

from indexer.storage.filters import glob
from indexer.storage.sql.schema import documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from sqlalchemy import ColumnElement, Table, TableValuedAlias


class PostgresDialect:
    """See ``sql.dialect.Dialect``."""

    def among(self, column: ColumnElement[int], ids: Iterable[int] | np.ndarray) -> ColumnElement[bool]:
        """Return the condition that a column is one of the ids."""
        numbers: Any = cast(literal([int(number) for number in ids], ARRAY(BigInteger)), ARRAY(BigInteger))
        return column == any_(numbers)

    def path_matches(self, globs: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a document's path matches a glob."""
        path: ColumnElement[str] = documents.c.path
        if os.sep != "/":
            path = func.replace(path, os.sep, "/")
        return or_(*(path.op("~")(f"^(?:{glob(pattern).pattern})$") for pattern in globs))

    def field_is(self, name: str, values: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a document's field has one of the values."""
        pairs = [_without_nul(json.dumps({name: value})) for value in values]
        return or_(*(FIELDS.op("@>")(cast(literal(pair, Text), JSONB)) for pair in pairs))

    def field_names(self) -> TableValuedAlias:
        """Return the names of a document's fields as rows."""
        return func.jsonb_object_keys(FIELDS).table_valued("key", name="field").render_derived()

    def insert(self, table: Table) -> Insert:
        """Return an INSERT that can say what to do where the row is there already."""
        return insert(table)


def _without_nul(text: str) -> str:
    return text.replace("\\u0000", "\\u0001")


FIELDS: ColumnElement[Any] = literal_column(r"CAST(replace(documents.fields, '\u0000', '\u0001') AS jsonb)", JSONB)
"""A document's fields as a value that an index finds them in; jsonb holds no NUL, so that stands for another."""

POSTGRES = PostgresDialect()
