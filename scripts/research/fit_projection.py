"""Fit the projection by which an adapter's vectors are made shorter to a teacher's similarities.

    python scripts/research/teach.py mpnet --data DATA --teacher TEACHER --vectors VECTORS
    python scripts/research/fit_projection.py ADAPTER --recipe mpnet --data DATA --teacher TEACHER --vectors VECTORS

ADAPTER is a shipped adapter's name or a folder. Of the recipe's texts those are read whose vectors the teacher has left
in VECTORS. The matrix begins as the principal axes of the adapter's own vectors. A step takes some texts, and for each
the divergence of its similarities with many others, as a softmax, from the teacher's; for the whole vector and for each
size to which it may be cut alike. A penalty holds the matrix near its beginning. Every tenth text is held out: its
divergence is printed. Interrupted, it goes on with the vectors in the cache folder; the fit takes a few minutes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from indexer import embedding
from indexer.embedding.weights import models, projection
from semsearch import encoders
from semsearch.cli.eval import Progress
from semsearch.evaluation import runner
from semsearch.evaluation.sentences import vector_cache
from semsearch.training import trainer
from semsearch.training.recipe import Recipe
from semsearch.training.step.teacher import VectorFolder, key

SIZES = (384, 256, 128)
TEMPERATURES = (0.05, 0.1)
RATE, PENALTY, WARMUP, STEPS = 1e-3, 1e-3, 10, 150
TEXTS, OTHERS = 128, 2000
"""Of a step: those whose similarities are learned, and those that they are similar to."""


def divergence(weight: Tensor, rows: Tensor, others: Tensor, ours: Tensor, theirs: Tensor, size: int) -> Tensor:
    """Return the divergence of the teacher's view of ``others`` from ours, a mean over ``rows`` and temperatures.

    Args:
        weight: (d, d), a column for each number that is kept.
        rows: (r,) int64, texts.
        others: (o,) int64, texts; a text is not compared with itself.
        ours: (n, d) float32, our vectors of all texts.
        theirs: (n, e) float32, the teacher's, of unit length.
        size: Numbers that are kept.
    """
    itself = rows[:, None] == others[None, :]
    shorter = [F.normalize(ours[which] @ weight[:, :size], dim=1) for which in (rows, others)]
    similar = shorter[0] @ shorter[1].T, theirs[rows] @ theirs[others].T
    parts = []
    for temperature in TEMPERATURES:
        seen, wanted = ((each / temperature).masked_fill(itself, -1e4).log_softmax(1) for each in similar)
        parts.append(F.kl_div(seen, wanted, reduction="batchmean", log_target=True))
    return torch.stack(parts).mean()


def fit(ours: Tensor, theirs: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Return the projection (d, d), a row for each number, the one that matters most first."""
    begun = projection.principal_axes(ours.numpy()).T.contiguous()
    weight = begun.clone().requires_grad_()
    optimizer = torch.optim.Adam([weight], RATE)
    draw = torch.Generator().manual_seed(seed)
    numbers = torch.arange(len(ours))
    held, learned = numbers[numbers % 10 == 0], numbers[numbers % 10 != 0]
    sizes = (ours.shape[1], *SIZES)
    for step in range(steps):
        if step % 50 == 0:
            tell(step, weight, held, ours, theirs)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARMUP) * (1 - step / steps)
        order = learned[torch.randperm(len(learned), generator=draw)]
        rows, others = order[:TEXTS], order[:OTHERS]
        losses = [divergence(weight, rows, others, ours, theirs, size) for size in sizes]
        loss = torch.stack(losses).mean() + PENALTY * (weight - begun).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tell(steps, weight, held, ours, theirs)
    return weight.detach().T


@torch.no_grad()
def tell(step: int, weight: Tensor, held: Tensor, ours: Tensor, theirs: Tensor) -> None:
    """Print the held-out texts' divergence, of each size."""
    found = {size: divergence(weight, held, held, ours, theirs, size) for size in (ours.shape[1], *SIZES)}
    print(
        f"step {step}: " + ", ".join(f"{size} numbers {float(value):.4f}" for size, value in found.items()), flush=True
    )


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    spec = embedding.resolve(replace(encoders.named(options.adapter), dimensions=None))  # the whole state
    folder = models.locate(spec).adapter
    if folder is None:
        parser.error(f"{options.adapter} is no adapter")
    teacher = embedding.resolve(encoders.named(options.teacher))
    known = VectorFolder(options.vectors / teacher.fingerprint).fresh()
    prepared = trainer.prepare(Recipe.preset(options.recipe), options.data)
    keys = {text: key(text) for source in prepared.sources for row in source.rows for text in row.texts}
    texts = sorted(text for text, found in keys.items() if found in known)
    print(f"{len(texts):,} texts", flush=True)
    cache = runner.cache_folder() / "vectors"
    ours = vector_cache.encode(embedding.open_encoder(spec), texts, cache, Progress())[texts]
    theirs = np.stack([known[keys[text]] for text in texts]).astype(np.float32)
    unit = [F.normalize(torch.from_numpy(each), dim=1) for each in (ours, theirs)]
    projection.write(fit(unit[0], unit[1], options.steps), folder)


if __name__ == "__main__":
    main()
