"""Add mined hard negatives to files of pairs.

    python scripts/train_mine.py DATA/pairs/squad2_dev.jsonl.gz … --out mined/ --adapter runs/sts

Each file's rows come out as {"query", "positive", "negatives", "source"} under the same name, for a source of kind
"pairs" in a recipe.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

from indexer import embedding
from indexer.embedding.encoder import EncoderSpec
from semsearch.training import data, mining
from semsearch.training.recipe import Source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--adapter", help="shipped name or a run's folder")
    parser.add_argument("--preset", help="any encoder, in place of --adapter")
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=128)
    options = parser.parse_args()
    if options.preset:
        values = embedding.preset(options.preset).to_dict()
    else:
        values = dict(embedding.adapter_description(options.adapter)) if options.adapter else {}
        values |= {"adapter": options.adapter}
    encoder = embedding.open_encoder(EncoderSpec.from_dict({**values, "max_tokens": options.max_tokens}))
    options.out.mkdir(parents=True, exist_ok=True)
    for file in options.files:
        rows = data.load(Source(path=str(file.resolve()), kind="pairs"), file.parent).rows
        mined = mining.mine(rows, encoder, negatives=options.negatives)
        name = file.name if file.suffix == ".gz" else file.name + ".gz"
        with gzip.open(options.out / name, "wt", encoding="utf-8") as out:
            for row in mined:
                record = {"query": row.anchor, "positive": row.positive, "negatives": list(row.negatives)}
                out.write(json.dumps({**record, "source": file.name.split(".")[0]}, ensure_ascii=False) + "\n")
        print(f"{file.name}: {len(mined)} rows, {sum(bool(r.negatives) for r in mined)} with a hard negative")


if __name__ == "__main__":
    main()
