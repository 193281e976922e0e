"""The curves of a run as SVG, and its adapter's model card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from semsearch.training.data.rows import Rows
    from semsearch.training.recipe import Recipe

WIDTH, HEIGHT, EDGE = 640, 260, 44


def curves(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return an SVG of the loss of each step and the dev score of each checkpoint, one panel each."""
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
    """Return one panel, ``top`` pixels from the image's top."""
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


def card(
    recipe: Recipe, sources: Sequence[Rows], best_step: int, first: float | None, scores: Mapping[str, float]
) -> str:
    """Return the model card of an adapter, in Markdown.

    Args:
        recipe: The recipe of its run.
        sources: The rows that it was trained on.
        best_step: The step that it is of.
        first: The dev score before training; None: not known.
        scores: Its score on each dev set.
    """
    rows = "\n".join(
        f"| `{s.source.path}` | {s.source.kind} | {', '.join(s.source.include) or 'all'} | {len(s.rows)} |"
        for s in sources
    )
    dev = "\n".join(f"| {name} | {value:.2f} |" for name, value in scores.items()) or "| none | |"
    untrained = f" (untrained: {first:.2f})" if first is not None else ""
    return f"""# {recipe.name}

{recipe.description or "A LoRA adapter for sentence vectors."}

Base model `{recipe.encoder.model}`, LoRA rank {recipe.lora.rank}, template `{recipe.encoder.template}`.
`encoder.json` says how to use it, `recipe.toml` and `provenance.json` how it was made.

## Data

| file | kind | sources | rows used |
|---|---|---|---|
{rows}

## Dev scores

Best of the checkpoints: step {best_step}{untrained}. These sets chose the checkpoint; they are no test result.

| set | score |
|---|---|
{dev}

## Limits

Trained on texts of at most {recipe.train.max_tokens} tokens. Similarity follows the training pairs' notion of meaning
and can repeat their mistakes and biases.
"""
