"""Compare a search by words alone under both analyses of words, on collections in BEIR layout.

    python scripts/research/measure_words.py DIR/dev-* > figures.md

Analysis 1 is FTS5's own (``porter unicode61 remove_diacritics 2``), 2 is ``indexer.words``. Documents are not split,
nothing but SQLite is used. The figures are in scripts/research/LOG.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

from indexer.storage.local import porter
from indexer.storage.local.fts import TermWords
from indexer.words import indexed

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


def build(analysis: int, corpus: list[dict[str, str]]) -> sqlite3.Connection:
    """Return a database with the corpus indexed."""
    database = sqlite3.connect(":memory:")
    if analysis == 1:
        database.execute(
            "CREATE VIRTUAL TABLE words USING fts5(title, text, tokenize='porter unicode61 remove_diacritics 2')"
        )
        rows = [(number, row["title"], row["text"]) for number, row in enumerate(corpus)]
        database.executemany("INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)", rows)
    else:
        columns = ", ".join(TermWords.COLUMNS)
        database.execute(f'CREATE VIRTUAL TABLE words USING fts5({columns}, tokenize="{TermWords.TOKENIZER}")')
        for number, row in enumerate(corpus):
            (title, title_parts), (text, text_parts) = indexed(row["title"]), indexed(row["text"])
            database.execute(
                f"INSERT INTO words (rowid, {columns}) VALUES (?, ?, ?, ?, ?)",
                (number, title, text, title_parts, text_parts),
            )
    return database


def search(analysis: int, database: sqlite3.Connection, text: str) -> list[int]:
    """Return the rows of the ten best documents."""
    found_by = porter.expressions(text) if analysis == 1 else TermWords().expressions(text)
    score = "bm25(words, 2.0, 1.0)" if analysis == 1 else TermWords.SCORE
    match = " OR ".join(found_by)
    if not match:
        return []
    found = database.execute(
        f"SELECT rowid FROM words WHERE words MATCH ? ORDER BY {score}, rowid LIMIT {DEPTH}", (match,)
    )
    return [row[0] for row in found]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    print("| collection | FTS5's words | indexer.words | better / worse queries | index s | query ms |")
    print("|---|---|---|---|---|---|")
    sums = [0.0, 0.0]
    folders = parser.parse_args().folders
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
            with closing(build(analysis, corpus)) as database:
                built = time.perf_counter()
                found[analysis] = [
                    ndcg([corpus[n]["_id"] for n in search(analysis, database, row["text"])], qrels[row["_id"]])
                    for row in queries
                ]
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
