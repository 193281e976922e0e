"""What a run tells people: curves as SVG, a model card, and the estimates of a dry run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semsearch.training.data import Rows
    from semsearch.training.recipe import Recipe
    from semsearch.training.trainer import Prepared, Result

WIDTH, HEIGHT, EDGE = 640, 260, 44


def curves(entries: Sequence[dict[str, Any]]) -> str:
    """Loss of each step and dev score of each checkpoint, one panel each."""
    panels = (
        ("loss", [(e["step"], e["loss"]) for e in entries if e["event"] == "step"]),
        ("dev score", [(e["step"], e["dev"]) for e in entries if e["event"] == "check"]),
    )
    body = [_panel(title, points, i * HEIGHT) for i, (title, points) in enumerate(panels) if points]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT * 2}" font-family="sans-serif" '
        f'font-size="12">{"".join(body)}</svg>\n'
    )


def _panel(title: str, points: Sequence[tuple[float, float]], top: int) -> str:
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high, last = min(ys), max(ys), max(*xs, 1)
    spread = (high - low) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = EDGE + (WIDTH - 2 * EDGE) * x / last
        return across, top + HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (y - low) / spread

    line = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in points)
    return (
        f'<text x="{EDGE}" y="{top + 20}">{title}: {ys[0]:.2f} → {ys[-1]:.2f} (from {low:.2f} to {high:.2f})</text>'
        f'<text x="{EDGE}" y="{top + HEIGHT - 20}">0</text>'
        f'<text x="{WIDTH - EDGE}" y="{top + HEIGHT - 20}" text-anchor="end">step {last}</text>'
        f'<polyline fill="none" stroke="#2563eb" stroke-width="1.5" points="{line}"/>'
    )


def card(recipe: Recipe, sources: Sequence[Rows], result: Result, scores: dict[str, float]) -> str:
    """The model card of an adapter."""
    rows = "\n".join(
        f"| `{s.source.path}` | {s.source.kind} | {', '.join(s.source.include) or 'all'} | {len(s.rows)} |"
        for s in sources
    )
    dev = "\n".join(f"| {name} | {value:.2f} |" for name, value in scores.items()) or "| none | |"
    untrained = f" (untrained: {result.first:.2f})" if result.first is not None else ""
    return f"""# {recipe.name}

{recipe.description or "A LoRA adapter for sentence vectors."}

Base model `{recipe.encoder.model}`, LoRA rank {recipe.lora.rank}, template `{recipe.encoder.template}`.
`encoder.json` says how to use it, `recipe.toml` and `provenance.json` how it was made.

## Data

| file | kind | sources | rows used |
|---|---|---|---|
{rows}

## Dev scores

Best of the checkpoints: step {result.best_step}{untrained}. These sets chose the checkpoint; they are no test result.

| set | score |
|---|---|
{dev}

## Limits

Trained on texts of at most {recipe.train.max_tokens} tokens. Similarity follows the training pairs' notion of meaning
and can repeat their mistakes and biases.
"""


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


@dataclass(frozen=True)
class Estimate:
    """What a run would take, from its data and one measured micro-batch."""

    rows: int
    steps: int
    parameters: int
    """Trainable."""
    adapter_bytes: int
    tokens_per_step: float
    tokens_per_second: float
    memory_bytes: float
    seconds: float
    """All steps and dev checks."""


def estimate(prepared: Prepared, device: str | None = None) -> Estimate:
    """Load the model and run one micro-batch forth and back."""
    import torch

    from semsearch.training.batching import micro_batches
    from semsearch.training.model import Student
    from semsearch.training.trainer import collate

    recipe, settings = prepared.recipe, prepared.recipe.train
    student = Student(recipe.encoder, recipe.lora, device=device, checkpointing=settings.checkpointing)
    number, rows = prepared.batches[0]
    source = prepared.sources[number]
    batch = collate([source.rows[i] for i in rows], source.source, distinct=recipe.lora.dropout == 0)
    ids = student.prompts(batch.texts, settings.max_tokens, query=batch.query, normalise=settings.normalise)
    parts = micro_batches([len(row) for row in ids], settings.micro_tokens)
    part = parts[len(parts) // 2]
    chosen = [ids[i] for i in part.rows]
    saved: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    student.train()
    student.embed(chosen[:2]).float().sum().backward()  # first calls prepare kernels
    clock = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        value = student.embed(chosen)
    value.float().sum().backward()
    speed = sum(map(len, chosen)) / (time.perf_counter() - clock)
    weights = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in student.peft.parameters()}
    activations = sum(size for place, size in saved.items() if place not in weights) / part.tokens
    tokens = sum(map(len, ids))
    trainable = sum(p.numel() for p in student.parameters())
    copies = 3 if student.notes["fast"] and student.dtype != torch.float32 else 2  # bf16, and fp32 to merge from
    fixed = sum(weights.values()) * copies + 16 * trainable  # the adapter's gradient and two moments
    live = max(min(tokens, settings.keep_tokens), part.tokens)
    again = max(0, tokens - settings.keep_tokens) / tokens  # this share goes forward twice, at about a third each
    seconds = len(prepared.batches) * tokens * (1 + again / 3) / speed
    checks = 1 + -(-len(prepared.batches) // settings.check_every)
    dev = student.prompts([text for chosen_set in prepared.dev for text in set(chosen_set.texts)], settings.max_tokens)
    seconds += checks * sum(map(len, dev)) / (2.3 * speed)
    return Estimate(
        rows=sum(len(s.rows) for s in prepared.sources), steps=len(prepared.batches), parameters=trainable,
        adapter_bytes=2 * trainable, tokens_per_step=tokens, tokens_per_second=speed,
        memory_bytes=fixed + live * activations, seconds=seconds,
    )  # fmt: skip
