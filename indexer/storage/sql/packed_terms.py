"""Weighted terms of a passage as bytes, six for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import CorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indexer.embedding.encoder import Terms

PAIR = np.dtype([("term", "<u4"), ("weight", "<u2")])
"""Six bytes a term."""


def pack(terms: Mapping[int, int]) -> bytes:
    """Raises StoreError for a term or weight that is no number from 0 and 1 up that fits."""
    if not all(0 <= term < 1 << 32 and 0 < weight < 1 << 16 for term, weight in terms.items()):
        raise StoreError("a term is a number below 2**32 and its weight one from 1 to 65535")
    return np.array(list(terms.items()), PAIR).tobytes()


def unpack(blob: bytes) -> Terms:
    """Raises CorruptError where it is not what ``pack`` gives."""
    found = pairs([blob])
    return dict(zip(found["term"].tolist(), found["weight"].tolist(), strict=True))


def pairs(blobs: Sequence[bytes]) -> np.ndarray:
    """Return the terms of all of them, one behind the other, as records of term and weight."""
    try:
        return np.frombuffer(b"".join(blobs), PAIR)
    except ValueError as error:
        raise CorruptError("stored terms have a wrong length; run `semsearch doctor`") from error
