"""Bulk loading by COPY: rows as text, vectors as the bytes that PostgreSQL itself keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
BLOCK = 4_096
"""Vectors sent at a time."""


def copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Load rows into a table, within the connection's transaction."""
    driver: Any = connection.connection.driver_connection
    names = ", ".join(f'"{name}"' for name in columns)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as stream:
        for row in rows:
            stream.write_row(row)


def copy_vectors(connection: Connection, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Load vectors, float16 as halfvec and float32 as vector, within the connection's transaction.

    Args:
        connection: In a transaction.
        ids: (n,) int64.
        vectors: (n, d), of the type that the collection stores.
    """
    driver: Any = connection.connection.driver_connection
    number = np.dtype(">f2" if vectors.dtype == np.float16 else ">f4")
    dim = vectors.shape[1]
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("id_size", ">i4"),
            ("id", ">i8"),
            ("size", ">i4"),
            ("dim", ">u2"),
            ("unused", ">u2"),
            ("numbers", number, (dim,)),
        ]
    )
    with driver.cursor() as cursor, cursor.copy("COPY vectors (id, vector) FROM STDIN (FORMAT BINARY)") as stream:
        stream.write(_HEADER)
        for start in range(0, len(ids), BLOCK):
            part = vectors[start : start + BLOCK]
            rows = np.zeros(len(part), row)
            rows["fields"], rows["id_size"], rows["id"] = 2, 8, ids[start : start + BLOCK]
            rows["size"], rows["dim"], rows["numbers"] = 4 + dim * number.itemsize, dim, part
            stream.write(rows.tobytes())
        stream.write(_END)


def vectors_of(blobs: Sequence[bytes], dim: int, dtype: Any) -> np.ndarray:
    """Return (n, d) of vectors as ``halfvec_send`` and ``vector_send`` give them."""
    number = np.dtype(dtype).newbyteorder(">")
    rows = np.frombuffer(b"".join(blobs), np.dtype([("dim", ">u2"), ("unused", ">u2"), ("numbers", number, (dim,))]))
    return rows["numbers"].astype(dtype)
