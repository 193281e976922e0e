"""Compare a search by words alone under both analyses of words, on collections in BEIR layout.

    python scripts/research/measure_words.py DIR/dev-* > figures.md

Analysis 1 is FTS5's own (``porter unicode61 remove_diacritics 2``), 2 is ``indexer.words``. Documents are not split
and have no vectors; the time to index is that of the whole catalog. The figures are in scripts/research/LOG.md.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.embedding.hash_encoder import HashEncoder
from indexer.storage import create_store
from indexer.storage.manifest import Manifest
from indexer.types import Document, FileRecord, Parsed, ParsedDocument, Passage

if TYPE_CHECKING:
    from indexer.storage.store import Snapshot, Store

DEPTH = 10


def lines(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ndcg(ranking: list[str], relevant: dict[str, int]) -> float:
    """Return nDCG@10 of one ranking."""
    found = [relevant.get(name, 0) for name in ranking[:DEPTH]]
    best = sorted(relevant.values(), reverse=True)[:DEPTH]
    gains = [sum(((1 << grade) - 1) / math.log2(at + 2) for at, grade in enumerate(grades)) for grades in (found, best)]
    return gains[0] / gains[1]


def build(analysis: int, corpus: list[dict[str, str]], folder: Path) -> Store:
    """Return a collection with the corpus in it, each row a record of one passage."""
    manifest = Manifest(spec=HashEncoder(dim=8).spec, dim=8, splitter={"passage_tokens": 128}, words=analysis)
    store = create_store(folder / str(analysis), manifest)
    documents = [
        ParsedDocument(
            Document("/corpus", row["text"], "jsonl", record=row["_id"], title=row["title"]),
            (Passage(row["text"], 0, len(row["text"]), 1, 1, 1),),
        )
        for row in corpus
    ]
    with store.writer() as writer:
        writer.stage(Parsed(FileRecord("/corpus", "/corpus", 1, 1, "00"), tuple(documents)))
        writer.commit()
    return store


def search(snapshot: Snapshot, text: str) -> list[str]:
    """Return the names of the ten best documents."""
    ids = snapshot.lexical([text], DEPTH).ids[0]
    return [str(passage.record) for passage in snapshot.get(ids[ids >= 0])]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    folders = parser.parse_args().folders
    print("| collection | FTS5's words | indexer.words | better / worse queries | index s | query ms |")
    print("|---|---|---|---|---|---|")
    sums = [0.0, 0.0]
    for folder in folders:
        corpus = lines(folder / "corpus.jsonl")
        qrels: dict[str, dict[str, int]] = defaultdict(dict)
        for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            name, document, grade = line.split("\t")
            qrels[name][document] = int(grade)
        queries = [row for row in lines(folder / "queries.jsonl") if row["_id"] in qrels]
        found, seconds = {}, []
        for analysis in (1, 2):
            start = time.perf_counter()
            with (
                tempfile.TemporaryDirectory() as scratch,
                closing(build(analysis, corpus, Path(scratch))) as store,
                store.snapshot() as snapshot,
            ):
                built = time.perf_counter()
                found[analysis] = [ndcg(search(snapshot, row["text"]), qrels[row["_id"]]) for row in queries]
                seconds.append((built - start, (time.perf_counter() - built) / len(queries)))
        means = [100 * sum(found[a]) / len(queries) for a in (1, 2)]
        sums = [total + mean / len(folders) for total, mean in zip(sums, means, strict=True)]
        pairs = list(zip(found[1], found[2], strict=True))
        better, worse = sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)
        (s1, q1), (s2, q2) = seconds
        print(
            f"| {folder.name} | {means[0]:.2f} | {means[1]:.2f} | {better} / {worse} "
            f"| {s1:.2f}, {s2:.2f} | {1e3 * q1:.1f}, {1e3 * q2:.1f} |"
        )
    print(f"| mean | {sums[0]:.2f} | {sums[1]:.2f} | | | |")


if __name__ == "__main__":
    main()
