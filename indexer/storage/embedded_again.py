"""Embed some passages again and compare: a collection that another encoder made than it says cannot be mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import MismatchError, ModelError, StoreError
from indexer.types import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from indexer.storage.store import Snapshot

SAMPLES = 16
MIN_COSINE = 0.98
"""Between a stored vector and the same text embedded again: below it another model or template made it. Two runs
in bf16 with other batch sizes stay above 0.995."""
MIN_COSINE_INT8 = 0.95
"""The same where one of the two was computed in int8 and the other was not: the default encoder stays above 0.98."""


def embedded_again(
    snapshot: Snapshot, live: np.ndarray, open_encoder: Callable[[EncoderSpec], Encoder]
) -> list[Problem]:
    """Return what is wrong with the vectors of some passages.

    Args:
        snapshot: Of the collection.
        live: (n,) int64: passages that have a vector.
        open_encoder: Opens the encoder that made the collection.

    Raises:
        StoreError: It opens another one.
    """
    try:
        encoder = open_encoder(snapshot.manifest.spec)
    except (ModelError, MismatchError) as error:
        return [Problem("encoder", str(error), False, "make the model available again, or check without it")]
    if encoder.spec.fingerprint != snapshot.manifest.fingerprint:
        raise StoreError(
            f"the encoder is {encoder.spec.fingerprint}, the collection was made by {snapshot.manifest.fingerprint}; "
            "check it with its own"
        )
    if not len(live):
        return []
    sample = np.random.default_rng(0).choice(live, min(len(live), SAMPLES), replace=False)
    texts = [found.passage.text for found in snapshot.get(sample)]
    cosines = (encoder.encode(texts) * snapshot.vectors(sample)).sum(axis=1)
    rounded = (encoder.spec.precision == "int8") != (snapshot.manifest.spec.precision == "int8")
    if (wrong := cosines < (MIN_COSINE_INT8 if rounded else MIN_COSINE)).any():
        return [
            Problem(
                "vectors",
                f"{wrong.sum()} of {len(sample)} sampled passages got another vector when embedded again "
                f"(least cosine {cosines.min():.3f})",
                False,
                "index anew: the vectors were made by another model or on faulty hardware",
            )
        ]
    return []
