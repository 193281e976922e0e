"""Small values for the tests of stores, and questions put to a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.storage.manifest import Manifest
from indexer.types import Document, Embedded, FileRecord, Parsed, ParsedDocument, Passage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.embedding.encoder import Encoder
    from indexer.storage.store import Snapshot, Store, Writer
    from indexer.types import Staged, Work

DIM = 32
ENCODER = HashEncoder(EncoderSpec(model=f"hash:{DIM}"))
OTHER = HashEncoder(EncoderSpec(model="hash:16"))
MTIME = 1_700_000_000_000_000_000
TERMS = 128


def manifest(encoder: Encoder = ENCODER, **changes: object) -> Manifest:
    return Manifest(spec=encoder.spec, dim=encoder.dim, **changes)


def file(path: str, **changes: object) -> FileRecord:
    values = {"path": path, "root": "/data", "size": 1, "mtime_ns": MTIME, "digest": "00"}
    return FileRecord(**(values | changes))


def document(path: str, texts: Sequence[str], **changes: object) -> ParsedDocument:
    """Return a document whose passages are the texts, one a line."""
    passages, start = [], 0
    for line, text in enumerate(texts, 1):
        passages.append(Passage(text, start, start + len(text), line, line, max(1, len(text.split()))))
        start += len(text) + 1
    return ParsedDocument(
        Document(path, "\n".join(texts), str(changes.pop("kind", "text")), **changes), tuple(passages)
    )


def parsed(path: str, *documents: Sequence[str] | ParsedDocument, **changes: object) -> Parsed:
    """Return a file of documents; texts stand for a document of them, and further ones are records."""
    return Parsed(
        file(path, **changes),
        tuple(
            each if isinstance(each, ParsedDocument) else document(path, each, record=str(n) if n else None)
            for n, each in enumerate(documents)
        ),
    )


def embedded(works: Sequence[Work], sparse: bool, encoder: Encoder = ENCODER) -> Embedded:
    vectors, terms = encoder.encode_terms([work.text for work in works])
    ids = np.array([work.id for work in works], np.int64)
    return Embedded(ids, vectors, tuple(terms) if sparse else None)


def embed(store: Store, writer: Writer, n: int = 100_000, encoder: Encoder = ENCODER) -> list[str]:
    """Claim at most n texts and put their vectors. Return them."""
    works = writer.claim(n)
    writer.put(embedded(works, store.manifest.sparse is not None, encoder))
    return [work.text for work in works]


def add(store: Store, path: str, *documents: Sequence[str] | ParsedDocument, **changes: object) -> Staged:
    """Stage a file, embed it and commit."""
    with store.writer() as writer:
        staged = writer.stage(parsed(path, *documents, **changes))
        embed(store, writer)
        writer.commit()
    return staged


def remove(store: Store, *paths: str) -> None:
    with store.writer() as writer:
        writer.remove(paths)
        writer.commit()


def shown(snapshot: Snapshot) -> list[str]:
    """Return the texts of all shown passages, in the order of their documents."""
    return [p.passage.text for each in snapshot.documents() for p in each.passages]


def ids(snapshot: Snapshot) -> np.ndarray:
    """Return the ids of all shown passages, ascending."""
    return np.array(sorted(p.id for each in snapshot.documents() for p in each.passages), np.int64)


def texts(snapshot: Snapshot, numbers: np.ndarray) -> list[str]:
    """Return the texts of found passages, best first."""
    return [p.passage.text for p in snapshot.get(numbers[numbers >= 0])]


def dense(snapshot: Snapshot, query: str, k: int = 10, encoder: Encoder = ENCODER) -> list[str]:
    found = snapshot.dense(encoder.encode([query]), k)
    return texts(snapshot, found.ids[0])


def lexical(snapshot: Snapshot, query: str, k: int = 10) -> list[str]:
    return texts(snapshot, snapshot.lexical([query], k).ids[0])


def now(store: Store) -> list[str]:
    """Return the texts that a new snapshot shows."""
    with store.snapshot() as snapshot:
        return shown(snapshot)
