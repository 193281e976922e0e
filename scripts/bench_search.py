"""Time of a query in a warm process, to ranked ids, over a large collection of made-up passages.

    python scripts/bench_search.py [--passages 100000] [--queries 200] [--threads 2] [--folder DIR] [--output FILE]

Passages of about 80 words drawn by Zipf's law from 50,000, with random unit vectors of 576 dimensions; queries of two
to eight words drawn by the same law, so that some consist of words that stand everywhere. Dense, lexical and hybrid
(convex and rrf) through ``Ranker.rank``, without the encoder's forward pass and without snippets; beside them, in the
same process, faiss' IndexFlatIP and bm25s fused by ranks, a peer without filters, updates or persistence. --folder
keeps the collection for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from indexer.embedding.encoder import Encoder, EncoderSpec, HashEncoder
from indexer.storage.manifest import Manifest
from indexer.storage.local.store import Store
from indexer.types import Document, FileRecord, Passage
from semsearch.evaluation import report
from semsearch.search import fusion
from semsearch.search.ranking import Ranker

DIM, VOCABULARY, WORDS, PER_FILE, K = 576, 50_000, 80, 100, 10


class Given(HashEncoder):
    """Gives random vectors, at no cost: the forward pass is not what is measured."""

    def __init__(self) -> None:
        super().__init__(EncoderSpec(model=f"hash:{DIM}"))
        self.random = np.random.default_rng(1)

    def encode(self, texts: Sequence[str], role: str = "passage", normalize: bool = True) -> np.ndarray:
        return unit(self.random, len(texts))


def unit(random: np.random.Generator, n: int) -> np.ndarray:
    vectors = random.standard_normal((n, DIM), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def words(random: np.random.Generator, n: int) -> list[str]:
    """Made-up words, each rank about as frequent as in English."""
    ranks = np.minimum(np.exp(random.random(n) * np.log(VOCABULARY)).astype(np.int64), VOCABULARY - 1)
    return [_word(rank) for rank in ranks.tolist()]


def _word(rank: int) -> str:
    """Consonants and vowels in turn, so that no stemmer makes two of them one."""
    letters = ""
    while rank or not letters:
        rank, digit = divmod(rank, 75)
        letters += "bcdfghjklmnpqrt"[digit // 5] + "aeiou"[digit % 5]
    return letters + "x"


def texts(passages: int) -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(words(random, int(n))) for n in random.integers(WORDS // 2, 3 * WORDS // 2, passages)]


def build(folder: Path, passages: int) -> Store:
    """The collection in ``folder``, made where there is none."""
    path = folder / f"search-{passages}"
    if (path / "manifest.json").is_file():
        return Store.open(path)
    encoder = Given()
    with Store.create(path, Manifest(spec=encoder.spec, dim=DIM, splitter={"passage_tokens": 128})) as store:
        every = texts(passages)
        for start in range(0, passages, PER_FILE):
            file = FileRecord(f"/made/{start}.txt", "/made", 1, 1, "00")
            store.stage(file, _file(file.path, every[start : start + PER_FILE]))
        while rows := store.unembedded(8_192):
            store.add_vectors([number for number, _ in rows], unit(encoder.random, len(rows)))
            store.commit()
        store.finish()
    return Store.open(path)


def _file(path: str, parts: Sequence[str]) -> Iterator[tuple[Document, list[Passage]]]:
    for number, text in enumerate(parts):
        passage = Passage(text, 0, len(text), number + 1, number + 1, len(text.split()))
        yield Document(path, text, "jsonl", record=str(number), line_start=number + 1), [passage]


def timed(answer: Callable[[str], object], queries: Sequence[str]) -> dict[str, float]:
    """Milliseconds; the first queries are not counted."""
    for query in queries[:5]:
        answer(query)
    times = []
    for query in queries:
        started = time.perf_counter()
        answer(query)
        times.append(1000 * (time.perf_counter() - started))
    return {"median": round(float(np.median(times)), 2), "p90": round(float(np.percentile(times, 90)), 2)}


def peer(encoder: Encoder, every: Sequence[str], vectors: np.ndarray) -> Callable[[str], object]:
    """faiss and bm25s, fused by ranks."""
    import bm25s
    import faiss

    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    lexical = bm25s.BM25()
    lexical.index([text.split() for text in every], show_progress=False)

    def answer(query: str) -> object:
        dense = index.search(encoder.encode([query]), 100)[1][0]
        scores = lexical.get_scores(query.split())
        best = np.argpartition(-scores, 100)[:100]
        return fusion.reciprocal_rank([dense, best[np.argsort(-scores[best])]], K)

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(options.threads)
    encoder = Given()
    random = np.random.default_rng(2)
    queries = [" ".join(words(random, int(n))) for n in random.integers(2, 9, options.queries)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as aside, build(options.folder or Path(aside), options.passages) as store:
        ranker = Ranker(store, lambda: encoder)
        began = time.perf_counter()
        ranker.rank([queries[0]], K)
        first = 1000 * (time.perf_counter() - began)
        figures = {
            "dense": timed(lambda query: ranker.rank([query], K, "dense"), queries),
            "lexical": timed(lambda query: ranker.rank([query], K, "lexical"), queries),
            "hybrid": timed(lambda query: ranker.rank([query], K), queries),
            "hybrid rrf": timed(lambda query: ranker.rank([query], K, fusion="rrf"), queries),
        }
        vectors = store.vectors(store.allowed(None))
    figures["peer: IndexFlatIP + bm25s, rrf"] = timed(peer(encoder, texts(options.passages), vectors), queries)
    result = {
        "passages": options.passages,
        "dimensions": DIM,
        "queries": options.queries,
        "threads": options.threads,
        "k": K,
        "milliseconds": figures,
        "first_query_ms": round(first, 1),
        "versions": report.versions(),
        "hardware": report.hardware(None),
        "load": [round(x, 1) for x in os.getloadavg()],  # above the number of cores: others were at work
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(result, indent=1))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
