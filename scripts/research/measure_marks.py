"""Count how often the marked sentence of a passage is the one that answers the query.

    python scripts/research/measure_marks.py --data DATA --dev DEV [--encoder search]

``answer_sentences.jsonl`` beside this script names rows of DATA/pairs and, for each, the sentences that answer its
query, as offsets: judged by reading. DEV is what scripts/research/make_dev_collections.py makes: each query is asked
with the ten best passages by words of its own development collection, the right one among them, and once with that one
alone. A mark is right where more than half of the shorter of both is shared.
The figures are in scripts/research/LOG.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from indexer import embedding
from indexer.storage.bm25 import Bm25
from semsearch.encoders import named
from semsearch.search.showing import snippets

if TYPE_CHECKING:
    from indexer.embedding.encoder import Encoder

JUDGED = Path(__file__).with_name("answer_sentences.jsonl")
HITS = 10

Case = tuple[str, list[str], int, list[list[int]]]
"""Query, passages, place of the right one, spans that answer."""


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of JSON lines, gzipped or not."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [json.loads(line) for line in text.splitlines()]


def cases(data: Path, dev: Path) -> list[Case]:
    """Return what was judged, each with the passages that a search by words shows."""
    judged = [json.loads(line) for line in JUDGED.read_text(encoding="utf-8").splitlines()]
    found: list[Case] = []
    for name in dict.fromkeys(each["file"] for each in judged):
        rows = read(data / "pairs" / f"{name}.jsonl.gz")
        texts = [row["text"] for row in read(dev / f"dev-{name}" / "corpus.jsonl")]
        index = Bm25((number, "", text) for number, text in enumerate(texts))
        for each in judged:
            if each["file"] == name:
                query, gold = rows[each["row"]]["query"], rows[each["row"]]["positive"]
                ids = index.search([query], HITS).ids[0].tolist()
                shown = [texts[number] for number in ids if number >= 0]
                shown = shown if gold in shown else [*shown[: HITS - 1], gold]
                found.append((query, shown, shown.index(gold), each["answers"]))
    return found


def is_right(mark: tuple[int, int] | None, answers: list[list[int]]) -> bool:
    """Return whether a mark shows an answer."""
    if mark is None:
        return False
    return any(
        2 * (min(mark[1], end) - max(mark[0], start)) > min(mark[1] - mark[0], end - start) for start, end in answers
    )


def measure(judged: list[Case], encoder: Encoder | None) -> tuple[int, float]:
    """Return how many marks are right, and the median milliseconds of a query."""
    right, times = 0, []
    for query, passages, at, answers in judged:
        start = time.perf_counter()
        [marks] = snippets.mark([query], [passages], encoder)
        times.append(1e3 * (time.perf_counter() - start))
        right += is_right(marks[at].highlight, answers)
    return right, statistics.median(times)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds pairs/")
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--encoder", default="default")
    options = parser.parse_args()
    judged = cases(options.data, options.dev)
    alone: list[Case] = [(query, [passages[at]], 0, answers) for query, passages, at, answers in judged]
    encoder = embedding.open_encoder(named(options.encoder))
    measure(judged[:3], encoder)  # warm
    for name, given in (("among ten", judged), ("alone", alone)):
        for by, model in (("words", None), ("words and token vectors", encoder)):
            right, median = measure(given, model)
            print(f"{name}, {by}: {right} of {len(given)} right, {median:.1f} ms a query")


if __name__ == "__main__":
    main()
