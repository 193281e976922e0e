"""Time of whole queries in a warm process: encode, retrieve, fuse, select, mark; with the real default encoder.

    python scripts/bench/bench_query.py [--passages 10000] [--queries 50] [--threads 2] [--output F]

Passages of 80 words are cut from the source texts of Python's own library; their vectors are drawn at random, because
embedding them would take longer than all the rest and no step's time depends on it. Queries are runs of five to eight
words from the passages. Prints the median and the 90th percentile in milliseconds of hybrid queries with and without
snippets, of the encoding alone, and of a search by words alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from semsearch import Collection

WORDS, PER_FILE = 80, 100


def passages(wanted: int) -> Iterator[str]:
    """Yield so many passages of real text."""
    left = wanted
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        words = path.read_text(encoding="utf-8", errors="replace").split(" ")
        for start in range(0, len(words) - WORDS, WORDS):
            if not left:
                return
            left -= 1
            yield " ".join(words[start : start + WORDS]).strip() or "empty"


def fill(docs: Collection, texts: list[str]) -> None:
    """Put the passages into the collection, with random vectors."""
    from indexer.types import Document, Embedded, FileRecord, Parsed, ParsedDocument, Passage

    random = np.random.default_rng(0)
    with docs.store.writer() as writer:
        for number in range(0, len(texts), PER_FILE):
            path = f"/made-up/{number}.py"
            documents = tuple(
                ParsedDocument(Document(path, text, "code", record=str(n)), (Passage(text, 0, len(text), 1, 1, WORDS),))
                for n, text in enumerate(texts[number : number + PER_FILE])
            )
            writer.stage(Parsed(FileRecord(path, "/made-up", 1, 1, "00"), documents))
        while works := writer.claim(5000):
            vectors = random.standard_normal((len(works), docs.store.manifest.dim), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            writer.put(Embedded(np.array([work.id for work in works]), vectors))
        writer.finish()


def timed(ask: Callable[[str], object], queries: list[str]) -> dict[str, float]:
    """Return median and 90th percentile of a query in milliseconds, after three to warm up."""
    for query in queries[:3]:
        ask(query)
    times = []
    for query in queries[3:]:
        started = time.perf_counter()
        ask(query)
        times.append(1000 * (time.perf_counter() - started))
    return {f"p{p}": round(float(np.percentile(times, p)), 1) for p in (50, 90)}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)

    from semsearch import Collection
    from semsearch.evaluation import result_files

    texts = list(passages(options.passages))
    random = np.random.default_rng(1)
    queries = []
    while len(queries) < options.queries + 3:
        words = texts[random.integers(len(texts))].split()
        start, size = random.integers(max(1, len(words) - 8)), random.integers(5, 9)
        if any(word.isalpha() for word in words[start : start + size]):
            queries.append(" ".join(words[start : start + size]).replace('"', " "))
    with tempfile.TemporaryDirectory() as home, Collection("bench", create=True, home=home) as docs:
        folder = Path(home) / "seed"
        folder.mkdir()
        (folder / "seed.txt").write_text("A first text, so that the collection is made by its encoder.")
        docs.index([folder])
        fill(docs, texts)
        encoder = docs.encoder
        found = {
            "hybrid with snippets": timed(lambda query: docs.search(query), queries),
            "hybrid without snippets": timed(lambda query: docs.search(query, snippets=False), queries),
            "encoding alone": timed(lambda query: encoder.encode([query], role="query"), queries),
            "words alone, with snippets": timed(lambda query: docs.search(query, mode="lexical"), queries),
        }
        result = {
            "passages": docs.status().counts.passages,
            "threads": options.threads,
            "precision": docs.status().spec.precision,
            "milliseconds": found,
            "load": os.getloadavg()[0],
            "versions": result_files.versions(),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
