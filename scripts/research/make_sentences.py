"""Make single sentences of the passages in DATA/pairs, for a teacher to say what it makes of them.

    python scripts/research/make_sentences.py --data DATA --out DATA/sentences.jsonl.gz

A line is {"query", "positive"}: two sentences that follow each other, which says that they share a batch and no more.
Only of files that are free to ship, and of no passage that make_dev_collections.py wrote to DATA/development/texts.txt.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from pathlib import Path

from semsearch.training.data.clean import key

FILES = ("medquad", "scitldr", "wiki_passages", "nq_open_oracle", "squad2_dev", "pubmedqa", "covid_qa", "xquad_en")
END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
WORDS = range(5, 46)
MOST = 16
"""Sentences of one passage: MedQuAD has answers of thousands of words."""


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    held = {key(line) for line in (options.data / "development" / "texts.txt").read_text("utf-8").splitlines()}
    seen: set[str] = set()
    count = 0
    with gzip.open(options.out, "wt", encoding="utf-8") as out:
        for name in FILES:
            with gzip.open(options.data / "pairs" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
                passages = dict.fromkeys(json.loads(line)["positive"] for line in lines)
            for passage in passages:
                if key(passage) in held:
                    continue
                sentences = [s for s in END.split(passage) if len(s.split()) in WORDS and key(s) not in seen][:MOST]
                seen.update(map(key, sentences))
                for first, second in zip(sentences[::2], sentences[1::2], strict=False):
                    out.write(json.dumps({"query": first, "positive": second, "source": name}) + "\n")
                    count += 1
            print(f"{name}: {count} rows so far", flush=True)


if __name__ == "__main__":
    main()
