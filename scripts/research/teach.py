"""Compute the teacher's vectors for a recipe's training texts ahead of the training, in the order of its batches.

    python scripts/research/teach.py RECIPE|PRESET --data DATA --teacher NAME|FILE --vectors DIR [--steps N]

The training finds them where `semsearch train --teacher-vectors DIR` names the same folder. May run beside it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from semsearch.training import trainer
from semsearch.training.recipe import Recipe
from semsearch.training.step.teacher import open_teacher

BLOCK = 8
"""Batches whose texts go to the teacher at once."""


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="so many first batches [default: all]")
    options = parser.parse_args()
    recipe = Recipe.load(Path(options.recipe)) if options.recipe.endswith(".toml") else Recipe.preset(options.recipe)
    recipe = replace(recipe, loss=replace(recipe.loss, teacher=options.teacher))
    prepared = trainer.prepare(recipe, options.data)
    teacher = open_teacher(options.teacher, torch.device("cpu"), options.vectors)
    batches = prepared.batches[: options.steps]
    clock = time.perf_counter()
    for start in range(0, len(batches), BLOCK):
        texts = {
            text: None
            for number, rows in batches[start : start + BLOCK]
            for row in (prepared.sources[number].rows[i] for i in rows)
            for text in (row.anchor, row.positive, *row.negatives)
        }
        teacher.vectors(list(texts))
        print(f"batch {start + BLOCK} of {len(batches)}, {time.perf_counter() - clock:.0f} s", flush=True)


if __name__ == "__main__":
    main()
