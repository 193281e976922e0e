"""Small collections for the tests of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from indexer.embedding.encoder import EncoderSpec, HashEncoder
from indexer.storage.manifest import Manifest
from indexer.storage.local.store import Store
from indexer.types import Document, FileRecord, Passage

DIM = 32
ENCODER = HashEncoder(EncoderSpec(model=f"hash:{DIM}"))
MTIME = 1_700_000_000_000_000_000


def manifest(**changes: object) -> Manifest:
    return Manifest(spec=ENCODER.spec, dim=DIM, **changes)


def file(path: str, **changes: object) -> FileRecord:
    values = {"path": path, "root": "/data", "size": 1, "mtime_ns": MTIME, "digest": "00"}
    return FileRecord(**(values | changes))


def document(path: str, texts: Sequence[str], **changes: object) -> tuple[Document, list[Passage]]:
    """A document whose passages are the texts, one a line."""
    passages, start = [], 0
    for line, text in enumerate(texts, 1):
        passages.append(Passage(text, start, start + len(text), line, line, max(1, len(text.split()))))
        start += len(text) + 1
    return Document(path, "\n".join(texts), str(changes.pop("kind", "text")), **changes), passages


def stage(store: Store, path: str, texts: Sequence[str], **changes: object) -> None:
    store.stage(file(path), [document(path, texts, **changes)])


def embed(store: Store, limit: int = 1000) -> int:
    """Give waiting passages their vectors. How many texts had to be embedded."""
    rows = store.unembedded(limit)
    give(store, rows)
    return len(rows)


def give(store: Store, rows: Sequence[tuple[int, str]]) -> None:
    """These passages their vectors, and terms where the store keeps them."""
    vectors, terms = ENCODER.encode_terms([text for _, text in rows])
    store.add_vectors([number for number, _ in rows], vectors, None if store.manifest.sparse is None else terms)


def add(store: Store, path: str, texts: Sequence[str], **changes: object) -> None:
    """Stage, embed and commit."""
    stage(store, path, texts, **changes)
    embed(store)
    store.commit()


def build(folder: Path, files: Iterable[tuple[str, Sequence[str]]] = ()) -> Store:
    store = Store.create(folder, manifest())
    for path, texts in files:
        stage(store, path, texts)
    embed(store, 100_000)
    return store


def texts(store: Store) -> list[str]:
    """What the store shows, in the order of ids."""
    return [found.passage.text for found in store.passages()]


def nearest(store: Store, query: str, k: int = 3) -> list[str]:
    found = store.search(ENCODER.encode([query]), k)
    return [passage.passage.text for passage in store.get(found.ids[0])]


def lexical(store: Store, query: str, k: int = 10) -> list[str]:
    found = store.search_text(query, k)
    return [passage.passage.text for passage in store.get(found.ids[0])]


def check(store: Store) -> None:
    """The invariants that hold after every commit, whatever came before."""
    problems = store.verify(ENCODER)
    assert not problems, problems
    live = store.allowed(None)
    shown = list(store.passages())
    assert [p.id for p in shown] == live.tolist()
    if len(live):
        vectors = ENCODER.encode([p.passage.text for p in shown])
        np.testing.assert_allclose(store.vectors(live), vectors, atol=1e-3)
        found = store.search(vectors[:5], len(live))
        assert (np.sort(found.ids, 1) == live).all()
        np.testing.assert_allclose(found.scores[:, 0], 1, atol=2e-3)
    if store.manifest.sparse is not None:
        expected = ENCODER.encode_terms([p.passage.text for p in shown])[1]
        assert store.terms(live) == expected
        for query in (*expected[:3], {1: 1}):
            best = by_terms(expected, query)
            found = store.search_terms(query, len(live) + 1)
            assert found.ids[0].tolist() == [*(int(live[row]) for row in best), *[-1] * (len(live) + 1 - len(best))]


def by_terms(stored: Sequence[dict[int, int]], query: dict[int, int]) -> list[int]:
    """Rows that share a term with the query, best first: a dense inner product over the whole vocabulary."""
    vocabulary = sorted({term for terms in (*stored, query) for term in terms})
    dense = np.array([[terms.get(term, 0) for term in vocabulary] for terms in (*stored, query)], np.int64)
    products = dense[:-1] @ dense[-1]
    return [row for row in np.argsort(-products, kind="stable").tolist() if products[row] > 0]
