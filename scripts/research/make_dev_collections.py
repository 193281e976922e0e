"""Make development collections in BEIR layout from rows of data/pairs, for choosing settings of search.

    python scripts/research/make_dev_collections.py --data DATA --out DIR

A row belongs to a collection where a hash of its passage says so, so that the choice depends on nothing but the text;
the share of each source's passages is in SOURCES. Only sources whose licence is free are taken. Everything here must
stay out of training: DIR/texts.txt holds every query and passage, one a line, including the questions of a passage that
are not among the collection's queries, and a recipe leaves them out when ``clean.evaluation`` names that file.
DIR/pairs.jsonl has PAIRS questions of each collection with a passage that answers them, cut to PAIR_WORDS words: a
small set on which a training can choose its checkpoint. The test collections of data/retrieval are for reporting;
choose here instead.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from pathlib import Path

SOURCES = {
    "squad2_dev": ("squad2_dev", 0.40),
    "nq_open_oracle": ("nq_open_oracle", 0.15),
    "medquad": ("medquad", 0.08),
    "pubmedqa": ("pubmedqa", 0.40),
    "covid_qa": ("covid_qa_articles", 0.40),
    "scitldr": ("scitldr_tldr", 0.12),
}
"""File → the source of the rows taken (their field ``source``), share of its passages held out."""
PAIRS, PAIR_WORDS = 40, 72
DOCUMENTS, QUERIES, WORDS = 400, 150, 400
"""Most documents and queries of a collection; passages of more words are held out but not searched."""


def place(text: str) -> float:
    """A text's place between 0 and 1, the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def make(
    file: Path, source: str, share: float, folder: Path
) -> tuple[dict[str, object], set[str], list[dict[str, str]]]:
    """Write one collection. (What it holds, every text that must stay out of training, its rows of pairs.jsonl)."""
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
    held = [row for row in rows if place(row["positive"]) < share]
    texts = {text for row in held for text in (row["query"], row["positive"])}
    ours = [row for row in held if row["source"] == source and len(row["positive"].split()) <= WORDS]
    passages = sorted({row["positive"]: row.get("title") for row in ours}.items(), key=lambda item: place(item[0]))
    documents = {text: f"d{number}" for number, (text, _) in enumerate(passages[:DOCUMENTS])}
    relevant: dict[str, list[str]] = {}
    for row in ours:
        if row["positive"] in documents:
            relevant.setdefault(row["query"], []).append(documents[row["positive"]])
    queries = sorted(relevant, key=place)[:QUERIES]
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    corpus = [
        {"_id": documents[text], "title": title or "", "text": text} for text, title in passages if text in documents
    ]
    _write_lines(folder / "corpus.jsonl", corpus)
    _write_lines(folder / "queries.jsonl", [{"_id": f"q{n}", "text": text} for n, text in enumerate(queries)])
    judgements = [f"q{n}\t{document}\t1\n" for n, text in enumerate(queries) for document in relevant[text]]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judgements), encoding="utf-8")
    about = {
        "source": source,
        "share": share,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "rows": len(rows),
        "rows_held_out": len(held),
        "documents": len(documents),
        "queries": len(queries),
    }
    named = {document: text for text, document in documents.items()}
    pairs = [
        {"query": text, "positive": " ".join(named[relevant[text][0]].split()[:PAIR_WORDS]), "source": folder.name}
        for text in queries[:PAIRS]
    ]
    return about, texts, pairs


def _write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds pairs/")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    about, texts, pairs = {}, set(), []
    for name, (source, share) in SOURCES.items():
        file = options.data / "pairs" / f"{name}.jsonl.gz"
        about[f"dev-{name}"], found, some = make(file, source, share, options.out / f"dev-{name}")
        texts |= found
        pairs += some
        print(f"dev-{name}: " + ", ".join(f"{key} {value}" for key, value in about[f"dev-{name}"].items()))
    lines = sorted(" ".join(text.split()) for text in texts)
    (options.out / "texts.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    _write_lines(options.out / "pairs.jsonl", pairs)
    (options.out / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
