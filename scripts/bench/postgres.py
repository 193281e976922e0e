"""A collection in PostgreSQL: load, index, bytes a passage, recall and time of searches, over made-up passages.

    python scripts/bench/postgres.py URL [--rows 20000] [--dim 576] [--output FILE.json]

URL is that of a database in which a collection can be made; it is deleted at the end. Vectors lie in clusters, texts
are words drawn by Zipf's law: bytes and the cost of the database are those of real passages, recall is easier.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.storage import create_store
from indexer.storage.manifest import Manifest
from indexer.storage.places import place_in
from indexer.types import Document, Embedded, FileRecord, Parsed, ParsedDocument, Passage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENT = 50
"""Passages of a document."""
WORDS = 80
"""Words of a passage."""
VOCABULARY = 30_000
QUERIES = 100


def documents(rows: int, random: np.random.Generator) -> Iterator[Parsed]:
    for start in range(0, rows, DOCUMENT):
        text, parts = "", []
        for number in range(start, min(start + DOCUMENT, rows)):
            words = np.minimum(random.zipf(1.2, WORDS), VOCABULARY)
            part = f"p{number} " + " ".join(f"w{word}" for word in words)
            parts.append(Passage(part, len(text), len(text) + len(part), number, number, 2 * WORDS))
            text += part + "\n"
        path = f"/bench/{start}.txt"
        yield Parsed(
            FileRecord(path, "/bench", len(text), start, "00"),
            (ParsedDocument(Document(path, text, "text"), tuple(parts)),),
        )


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def median_ms(ask: Callable[[int], object]) -> float:
    times = []
    for number in range(QUERIES):
        started = time.perf_counter()
        ask(number)
        times.append(1_000 * (time.perf_counter() - started))
    return round(statistics.median(times), 2)


def measure(url: str, rows: int, dim: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    spec = HashEncoder(EncoderSpec(model=f"hash:{dim}")).spec
    store = create_store(place_in(url, f"bench-{os.getpid()}"), Manifest(spec=spec, dim=dim))
    try:
        centres = random.normal(size=(max(1, rows // 100), dim))
        vectors = unit(centres[np.arange(rows) % len(centres)] + 0.8 * random.normal(size=(rows, dim)))
        started = time.perf_counter()
        with store.writer() as writer:
            for parsed in documents(rows, random):
                writer.stage(parsed)
            writer.commit()
            staged = time.perf_counter() - started
            done = 0
            while works := writer.claim(4_096):
                ids = np.array([work.id for work in works], np.int64)
                writer.put(Embedded(ids, vectors[done : done + len(ids)]))
                writer.commit()
                done += len(ids)
            loaded = time.perf_counter() - started
            writer.finish()
            finished = time.perf_counter() - started
        queries = unit(vectors[:QUERIES] + 0.5 * random.normal(size=(QUERIES, dim)) / dim**0.5)
        asked = [f"w{w} w{2 * w + 40} w{5 * w + 900}" for w in range(20, 20 + QUERIES)]
        with store.snapshot() as snapshot:
            found = [snapshot.dense(query[None], 10).scores[0] for query in queries]
            exact = np.sort(queries @ vectors.astype(np.float16).astype(np.float32).T, axis=1)[:, ::-1][:, :10]
            shares = [(ours >= right[-1] - 1e-5).mean() for ours, right in zip(found, exact, strict=True)]
            recall = float(np.mean(shares))
            times = {
                "dense": median_ms(lambda n: snapshot.dense(queries[n : n + 1], 50)),
                "words": median_ms(lambda n: snapshot.lexical([asked[n]], 50)),
            }
            opened = median_ms(lambda _: store.snapshot().close())
        return {
            "rows": rows,
            "dim": dim,
            "engines": store.engines(),
            "seconds": {
                "stage": round(staged, 1),
                "vectors": round(loaded - staged, 1),
                "index": round(finished - loaded, 1),
            },
            "bytes_a_passage": {part: round(size / rows) for part, size in store.sizes().items()},
            "recall@10": round(recall, 4),
            "median_ms": {**times, "snapshot": opened},
            "machine": {"processor": platform.processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        }
    finally:
        store.delete()
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=576)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    result = json.dumps(measure(options.url, options.rows, options.dim), indent=2)
    print(result)
    if options.output is not None:
        options.output.write_text(result + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
