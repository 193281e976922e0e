"""Small collections in folders, for what the contract of stores does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indexer.embedding.hash_encoder import HashEncoder
from indexer.storage import create_store, open_store
from tests.storage.contract.values import ENCODER, embed, embedded, ids, manifest, parsed, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from indexer.storage.local.store import LocalStore


def build(
    folder: Path, files: Iterable[tuple[str, Sequence[str]]] = (), finish: bool = True, **changes: object
) -> LocalStore:
    """Return a new collection that holds these files, embedded."""
    store = create_store(folder, manifest(**changes))
    with store.writer() as writer:
        for path, texts in files:
            writer.stage(parsed(path, texts))
        embed(store, writer)
        writer.finish() if finish else writer.commit()
    return store


def check(store: LocalStore, encoder: HashEncoder = ENCODER) -> None:
    """Assert the invariants that hold after every commit, whatever came before."""
    problems = store.examine(mend=False, open_encoder=lambda _: encoder)
    assert not problems, problems
    with store.snapshot() as snapshot:
        live = ids(snapshot)
        if not len(live):
            return
        texts = [found.passage.text for found in snapshot.get(live)]
        vectors, terms = encoder.encode_terms(texts)
        np.testing.assert_allclose(snapshot.vectors(live), vectors, atol=1e-3)
        found = snapshot.dense(vectors[:5], len(live))
        assert (np.sort(found.ids, 1) == live).all()
        np.testing.assert_allclose(found.scores[:, 0], 1, atol=2e-3)
        if store.manifest.sparse is not None:
            assert snapshot.terms(live) == terms


__all__ = ["ENCODER", "build", "check", "embed", "embedded", "open_store", "shown"]
