"""Small collections in memory for the tests of search: passages are lines, vectors are hashes of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing

import numpy as np

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.storage.manifest import Manifest
from indexer.storage.memory import MemoryStore
from indexer.types import Document, Embedded, FileRecord, Parsed, ParsedDocument, Passage, StoredPassage
from semsearch.collection import Collection
from semsearch.search.asking.weights import Weights
from semsearch.search.view import View

__all__ = ["MemoryStore", "StoredPassage"]
DIM = 32
ENCODER = HashEncoder(EncoderSpec(model=f"hash:{DIM}"))
MTIME = 1_700_000_000_000_000_000


def file(path: str, **changes: object) -> FileRecord:
    values = {"path": path, "root": "/data", "size": 1, "mtime_ns": MTIME, "digest": "00"}
    return FileRecord(**(values | changes))


def document(path: str, texts: Sequence[str], **changes: object) -> ParsedDocument:
    """A document whose passages are the texts, one a line; all on one line where it is a record."""
    passages, start = [], 0
    kind, first = str(changes.pop("kind", "text")), int(changes.pop("line_start", 1))
    for number, text in enumerate(texts):
        line = first + (0 if changes.get("record") else number)
        passages.append(Passage(text, start, start + len(text), line, line, max(1, len(text.split()))))
        start += len(text) + 1
    return ParsedDocument(Document(path, "\n".join(texts), kind, line_start=first, **changes), tuple(passages))


def memory(
    files: Iterable[tuple[str, Sequence[str]]] = (), *, vectors: bool = True, sparse: bool = False
) -> MemoryStore:
    store = MemoryStore(Manifest(spec=ENCODER.spec, dim=DIM, sparse=128 if sparse else None), "boats")
    for path, texts in files:
        add(store, path, [document(path, texts)], vectors=vectors)
    return store


def add(store: MemoryStore, path: str, documents: Sequence[ParsedDocument], *, vectors: bool = True) -> None:
    """Stage, embed and commit a file."""
    with closing(store.writer()) as writer:
        writer.stage(Parsed(file(path), tuple(documents)))
        if vectors:
            embed(store, writer)
        writer.commit()


def embed(store: MemoryStore, writer) -> None:
    """Give every text that waits its vector."""
    while work := writer.claim(1000):
        found, terms = ENCODER.encode_terms([each.text for each in work])
        ids = np.array([each.id for each in work], np.int64)
        writer.put(Embedded(ids, found, None if store.manifest.sparse is None else tuple(terms)))


def view(store: MemoryStore, weights: Weights | None = None) -> View:
    return View(store.snapshot(), weights or Weights(), "boats")


def collection(store: MemoryStore, encoder=ENCODER) -> Collection:
    """A collection whose encoder is given, or refused where it is None."""
    made = Collection(store=store)

    def refuse():
        raise AssertionError("no model is needed")

    made._encoder_of = (lambda spec: encoder) if encoder is not None else lambda spec: refuse()
    return made
