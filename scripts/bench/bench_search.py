"""Time of a query in a warm process, to ranked ids, over a large collection of made-up passages.

    python scripts/bench/bench_search.py [--passages 100000] [--queries 200] [--threads 2] [--folder DIR] [--output F]

Passages of about 80 words drawn by Zipf's law from 50,000, with random unit vectors of 576 dimensions; queries of two
to eight words drawn by the same law, so that some consist of words that stand everywhere. Dense, lexical and hybrid
(convex and rrf) through ``answering.rank``, without the encoder's forward pass and without snippets; beside them, in
the same process, faiss' IndexFlatIP and bm25s fused by ranks, a peer without filters, updates or persistence.
--folder keeps the collection for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer import storage
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.storage.manifest import Manifest
from indexer.types import Document, Embedded, FileRecord, Parsed, ParsedDocument, Passage
from semsearch.evaluation import result_files
from semsearch.search import answering
from semsearch.search.asking.asked import Asked
from semsearch.search.asking.request import SearchRequest
from semsearch.search.ranking import fusion
from semsearch.search.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import Role
    from indexer.storage.store import Store
    from semsearch.search.ranking.retrieve import Ranked

DIM, VOCABULARY, WORDS, PER_FILE, K = 576, 50_000, 80, 100, 10


class Given(HashEncoder):
    """Gives random vectors, at no cost: the forward pass is not what is measured."""

    def __init__(self) -> None:
        super().__init__(EncoderSpec(model=f"hash:{DIM}"))
        self.random = np.random.default_rng(1)

    def encode(self, texts: Sequence[str], role: Role = "passage", normalize: bool = True) -> np.ndarray:
        return unit(self.random, len(texts))


def unit(random: np.random.Generator, n: int) -> np.ndarray:
    vectors: np.ndarray = random.standard_normal((n, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def words(random: np.random.Generator, n: int) -> list[str]:
    """Made-up words, each rank about as frequent as in English."""
    ranks = np.minimum(np.exp(random.random(n) * np.log(VOCABULARY)).astype(np.int64), VOCABULARY - 1)
    return [_word(rank) for rank in ranks.tolist()]


@cache
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
    """Return the collection in ``folder``, made where there is none."""
    path = folder / f"search-{passages}"
    if storage.exists(path):
        return storage.open_store(path)
    encoder = Given()
    store = storage.create_store(path, Manifest(spec=encoder.spec, dim=DIM, splitter={"passage_tokens": 128}))
    with store.writer() as writer:
        every = texts(passages)
        for start in range(0, passages, PER_FILE):
            file = FileRecord(f"/made/{start}.txt", "/made", 1, 1, "00")
            writer.stage(Parsed(file, tuple(_documents(file.path, every[start : start + PER_FILE]))))
        while work := writer.claim(8_192):
            writer.put(Embedded(np.array([each.id for each in work], np.int64), unit(encoder.random, len(work))))
            writer.commit()
        writer.finish()
    return store


def _documents(path: str, parts: Sequence[str]) -> Iterator[ParsedDocument]:
    for number, text in enumerate(parts):
        passage = Passage(text, 0, len(text), number + 1, number + 1, len(text.split()))
        yield ParsedDocument(Document(path, text, "jsonl", record=str(number), line_start=number + 1), (passage,))


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
    """FAISS and bm25s, fused by ranks."""
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


def hybrid(folder: Path, passages: int, number: int, threads: int) -> dict[str, object]:
    """Return what hybrid queries take in a collection that lies in the folder, and the memory they need."""
    import faiss

    faiss.omp_set_num_threads(threads)
    encoder, random = Given(), np.random.default_rng(2)
    queries = [" ".join(words(random, int(n))) for n in random.integers(2, 9, number)]
    before, began = resident(), time.perf_counter()
    with closing(build(folder, passages)) as store, Views(store).latest() as view:
        request = SearchRequest("any", k=K)

        def rank(query: str, request: SearchRequest = request) -> list[Ranked]:
            return answering.rank(view, request, [Asked(query, encoder.encode([query])[0])], K)

        opened = time.perf_counter() - began
        rank(queries[0])
        first = time.perf_counter() - began
        modes = {mode: timed(partial(rank, request=SearchRequest("any", k=K, mode=mode)), queries)
                 for mode in ("dense", "lexical")}  # fmt: skip
        return {
            "hybrid_ms": timed(rank, queries),
            **{f"{mode}_ms": figures for mode, figures in modes.items()},
            "open_ms": round(1000 * opened, 1),
            "first_query_ms": round(1000 * first, 1),
            "resident_mb": resident(),
            "before_mb": before,
        }


def resident() -> dict[str, int]:
    """Return resident megabytes: all, and those that are no file's pages. Of Linux."""
    values = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {name: int(values[key].split()[0]) // 1024 for name, key in (("rss", "VmRSS"), ("anonymous", "RssAnon"))}


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
    with (
        tempfile.TemporaryDirectory() as aside,
        closing(build(options.folder or Path(aside), options.passages)) as store,
        Views(store).latest() as view,
    ):

        def rank(query: str, request: SearchRequest) -> list[Ranked]:
            return answering.rank(view, request, [Asked(query, encoder.encode([query])[0])], K)

        began = time.perf_counter()
        rank(queries[0], SearchRequest("any", k=K))
        first = 1000 * (time.perf_counter() - began)
        figures = {
            name: timed(partial(rank, request=request), queries)
            for name, request in {
                "dense": SearchRequest("any", k=K, mode="dense"),
                "lexical": SearchRequest("any", k=K, mode="lexical"),
                "hybrid": SearchRequest("any", k=K),
                "hybrid rrf": SearchRequest("any", k=K, fusion="rrf"),
            }.items()
        }
        ids = [passage.id for document in view.snapshot.documents() for passage in document.passages]
        vectors = view.snapshot.vectors(ids)
    figures["peer: IndexFlatIP + bm25s, rrf"] = timed(peer(encoder, texts(options.passages), vectors), queries)
    result = {
        "passages": options.passages,
        "dimensions": DIM,
        "queries": options.queries,
        "threads": options.threads,
        "k": K,
        "milliseconds": figures,
        "first_query_ms": round(first, 1),
        "versions": result_files.versions(),
        "hardware": result_files.hardware(None),
        "load": [round(x, 1) for x in os.getloadavg()],  # above the number of cores: others were at work
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(result, indent=1))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
