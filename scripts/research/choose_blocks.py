"""Which blocks of an encoder to leave out: one after the other, each time the one whose absence changes vectors least.

    python scripts/research/choose_blocks.py --data DATA --keep 19 runs/sts

An encoder is anything that `semsearch eval gate --against` takes. How much vectors change is the mean cosine with those
of the whole model, over sentences of nli/triplets.jsonl.gz. The list printed last is what `layers` takes in a recipe;
the first block always stays. About 20 minutes of a core for the default model.
"""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer import embedding
from indexer.embedding.about import about
from semsearch import encoders
from semsearch.evaluation import result_files

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).resolve().parent.parent / "results" / "train" / "fast" / "blocks.json"
DRAWN, USED = 150, 80
"""Sentences: the first 80 of 150 drawn (as when the shipped list was chosen)."""


def sentences(data: Path) -> list[str]:
    with gzip.open(data / "nli" / "triplets.jsonl.gz", "rt", encoding="utf-8") as lines:
        anchors = [json.loads(line)["anchor"] for line in lines]
    drawn = np.random.default_rng(0).choice(len(anchors), DRAWN, replace=False)
    return [anchors[i] for i in drawn[:USED]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keep", type=int, required=True, metavar="N", help="how many blocks stay")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file to write")
    options = parser.parse_args()
    spec, texts = encoders.named(options.encoder), sentences(options.data)

    def vectors(blocks: Sequence[int]) -> np.ndarray:
        """(n, d) float32 of unit length."""
        return embedding.open_encoder(replace(spec, layers=tuple(blocks))).encode(texts)

    blocks = list(range(about(spec).blocks or 0))
    whole = vectors(blocks)
    rounds = []
    while len(blocks) > options.keep:
        without = {out: [block for block in blocks if block != out] for out in blocks[1:]}
        cosines = {out: float((vectors(rest) * whole).sum(1).mean()) for out, rest in without.items()}
        out = max(cosines, key=cosines.__getitem__)
        blocks = without[out]
        rounds.append({"blocks": len(blocks), "left out": out, "cosine": round(cosines[out], 4)})
        print(rounds[-1], flush=True)
    found = {"encoder": options.encoder, "rounds": rounds, "layers": blocks, "versions": result_files.versions()}
    result_files.write(options.output, found)
    print(blocks)


if __name__ == "__main__":
    main()
