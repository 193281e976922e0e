"""The tables that only a collection in PostgreSQL has, and the types of its vectors."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.types import UserDefinedType

from indexer.errors import StoreError

HEAD = "0001"
"""The newest migration."""
MAX_DIM = 16_000
"""Dimensions that a vector of pgvector can have."""

own = MetaData()

manifests = Table("manifest", own, Column("value", Text, nullable=False))
notes = Table("notes", own, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
judged = Table("judgements", own, Column("number", BigInteger, primary_key=True), Column("line", Text, nullable=False))

vectors = Table(
    "vectors",
    own,
    Column("id", BigInteger, primary_key=True),
    Column("vector", LargeBinary, nullable=False),  # halfvec(d) or vector(d), as the manifest says
)

words = Table(  # of the passages that the newest generation shows
    "words",
    own,
    Column("id", BigInteger, primary_key=True),
    Column("terms", TSVECTOR, nullable=False),
    Column("length", Integer, nullable=False),
)

frequencies = Table(  # passages of ``words`` that hold a term, as a word or as a further term
    "frequencies",
    own,
    Column("term", Text, primary_key=True),
    Column("passages", BigInteger, nullable=False),
)

totals = Table(  # one row: of all of ``words``
    "totals", own, Column("passages", BigInteger, nullable=False), Column("length", BigInteger, nullable=False)
)


class VectorType(UserDefinedType[Any]):
    """``halfvec(d)``, ``vector(d)`` or ``bit(d)``."""

    cache_ok = True

    def __init__(self, name: str, dim: int | None = None) -> None:
        self.name = name
        self.dim = dim

    def get_col_spec(self, **_: Any) -> str:
        """Return it as SQL."""
        return self.name if self.dim is None else f"{self.name}({self.dim})"


def stored_type(dtype: str, dim: int) -> VectorType:
    """Return the type that vectors are stored in.

    Raises:
        StoreError: pgvector has none of so many dimensions.
    """
    if dim > MAX_DIM:
        raise StoreError(f"the encoder's vectors have {dim} dimensions; pgvector stores at most {MAX_DIM}")
    return VectorType("halfvec" if dtype == "fp16" else "vector", dim)
