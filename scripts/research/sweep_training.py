"""Compare training recipes by short runs that differ from a base in one thing, with provenance.

    python scripts/research/sweep_training.py --data DATA --out DIR [NAME…]

The base is the recipe `sts` cut down to 480 human triplets without a teacher, 12 steps of 40. Every run is judged after
its last step on the whole of STS-B dev and on 200 Quora duplicates. Runs go to DIR, figures to
scripts/results/train/sweep.json: a run whose recipe is recorded already is not run again. About four minutes of a core
each, two longer. Differences no larger than those between the seeds of the base mean nothing.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexer import embedding
from indexer.embedding.spec import EncoderSpec
from semsearch import encoders
from semsearch.evaluation import result_files
from semsearch.training import adapt, trainer
from semsearch.training.data import devset
from semsearch.training.recipe import Dev, Loss, Recipe

RESULTS = Path(__file__).resolve().parent.parent / "results" / "train" / "sweep.json"
DEV = (
    Dev(path="senteval/downstream/STS/STSBenchmark/sts-dev.csv"),
    Dev(path="pairs/qqp.jsonl.gz", kind="pairs", limit=200),
)
STS = Recipe.preset("sts")
HUMAN, GPT3 = STS.sources[:2]
ALL = replace(HUMAN, include=())
BASE = replace(STS, name="base", description="", loss=Loss(), sources=(HUMAN,), dev=()).with_train(
    batch=40, steps=12, warmup=2, check_every=12, save_every=1000
)


def variant(name: str, part: str = "", **changes: Any) -> Recipe:
    """The base with other values in one of its parts, or other parts."""
    parts = {part: replace(getattr(BASE, part), **changes)} if part else changes
    return replace(BASE, name=name, **parts)


LONGER = replace(BASE, name="1,920 triplets", sources=(HUMAN, GPT3)).with_train(
    batch=80, steps=24, warmup=4, check_every=24
)
VARIANTS = (
    BASE,
    variant("seed 2", "train", seed=2),
    variant("seed 3", "train", seed=3),
    variant("lr 2e-4", "train", lr=2e-4),
    variant("lr 8e-4", "train", lr=8e-4),
    variant("temperature 0.02", "loss", temperature=0.02),
    variant("temperature 0.1", "loss", temperature=0.1),
    variant("batch 20, 24 steps", "train", batch=20, steps=24),
    variant("batch 80, 6 steps", "train", batch=80, steps=6),
    variant("rank 8", "lora", rank=8, alpha=16),
    variant("rank 64", "lora", rank=64, alpha=128),
    variant("published template", "encoder", template=EncoderSpec().template),
    variant("nf4", "lora", base="nf4"),
    variant("19 blocks", "encoder", layers=19),
    variant("24 blocks", "encoder", layers=24),
    variant("19 blocks of fast", "encoder", layers=Recipe.preset("fast").encoder.layers),
    variant("half GPT-3's triplets", sources=(HUMAN, GPT3)),
    variant("human triplets, all licences", sources=(ALL,)),
    variant("mixture of sts", sources=STS.sources),
    variant("scores of a teacher", loss=STS.loss),
    LONGER,
    replace(LONGER, name="1,920 triplets, all licences", sources=(ALL, GPT3)),
)


def run(recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    trainer.train(trainer.prepare(recipe, data), out, resume=(out / "run.json").is_file())
    encoder = embedding.open_encoder(encoders.named(str(out)))
    _, scores = devset.evaluate(devset.load(DEV, data), adapt.encoded(encoder))
    provenance = json.loads((out / "provenance.json").read_text("utf-8"))
    kept = ("data", "tokens", "seconds", "tokens_per_second", "machine", "versions")
    return {
        "recipe": recipe.to_dict(),
        "sha256": recipe.digest,
        "scores": {name: round(score, 2) for name, score in scores.items()},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: provenance[name] for name in kept},
    }


def recorded() -> dict[str, Any]:
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}


def table(found: dict[str, Any]) -> str:
    """Figures in Markdown, each with its difference from the base."""
    base = found["base"]["scores"]
    lines = ["| | " + " | ".join(base) + " |", "|---" * (len(base) + 1) + "|"]
    for name, each in found.items():
        cells = [f"{score:.2f} ({score - base[which]:+.2f})" for which, score in each["scores"].items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these runs, and the base")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    options = parser.parse_args()
    unknown = set(options.names) - {recipe.name for recipe in VARIANTS}
    if unknown:
        parser.error(f"no run {', '.join(sorted(unknown))}; runs are " + "; ".join(r.name for r in VARIANTS))
    for recipe in VARIANTS:
        known = recorded().get(recipe.name, {}).get("sha256") == recipe.digest
        if known or (options.names and recipe.name not in (BASE.name, *options.names)):
            continue
        result = run(recipe, options.data, options.out / recipe.name.replace(" ", "-"))
        found = {**recorded(), recipe.name: result}  # as it is now: several may run at once
        result_files.write(RESULTS, {each.name: found[each.name] for each in VARIANTS if each.name in found})
        print(recipe.name, result["scores"], flush=True)
    print(table(recorded()))


if __name__ == "__main__":
    main()
