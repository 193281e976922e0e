"""Write the projection of adapters that were merged or come without one: the principal axes of their vectors.

    python scripts/research/write_axes.py --recipe NAME --data DATA FOLDER…

What `semsearch train` leaves beside a fresh adapter: the axes of about 1,000 texts of the recipe's rows. FOLDER is an
adapter's; its projection is replaced.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from indexer import embedding
from semsearch import encoders
from semsearch.training import trainer
from semsearch.training.recipe import Recipe
from semsearch.training.run import projection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    recipe = Recipe.preset(options.recipe)
    sources = trainer.prepare(recipe, options.data).sources
    for folder in options.folders:
        spec = replace(encoders.named(str(folder)), dimensions=None)  # the whole state
        encoder = embedding.open_encoder(spec)
        projection.write(folder, None, encoder.encode, encoder.dim, sources, recipe.train.seed)


if __name__ == "__main__":
    main()
