"""semsearch train"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from indexer.errors import UsageError
from semsearch import render


@click.command()
@click.argument("recipe", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--preset", metavar="NAME", help="A recipe that comes with the package (--list shows them).")
@click.option("--list", "listing", is_flag=True, help="Show the presets.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    show_default=True,
    help="Folder that the recipe's paths are relative to.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The run's folder [default: runs/NAME].")
@click.option("--resume", is_flag=True, help="Go on with the run in --out after it was interrupted.")
@click.option("--dry-run", is_flag=True, help="Read the data and estimate memory and time; train nothing.")
@click.option("--model", metavar="NAME|PATH", help="Another base model than the recipe's.")
@click.option("--layers", type=click.IntRange(min=1), metavar="N", help="Train the first N blocks only.")
@click.option("--teacher", metavar="NAME|FILE", help="Adapter, run folder, preset or file to learn from.")
@click.option("--steps", type=click.IntRange(min=1), help="Stop the schedule after so many steps.")
@click.option("--batch", type=click.IntRange(min=2), help="Rows a step.")
@click.option("--lr", type=float, help="Highest learning rate.")
@click.option("--seed", type=int, help="Of the order of rows, the adapter's first values and dropout.")
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps [default: the best there is].")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout: the log as it grows, then the result.")
def command(
    recipe: Path | None,
    preset: str | None,
    listing: bool,
    data: Path,
    out: Path | None,
    resume: bool,
    dry_run: bool,
    model: str | None,
    layers: int | None,
    teacher: str | None,
    steps: int | None,
    batch: int | None,
    lr: float | None,
    seed: int | None,
    device: str | None,
    as_json: bool,
) -> int:
    """Fine-tune a model for sentence vectors; RECIPE is a TOML file, or take a --preset.

    The run's folder then holds the adapter (use it with --adapter FOLDER), its recipe, log, curves and evaluation.
    Stopped with Ctrl-C or killed, it goes on from its last checkpoint with --resume.
    """
    from semsearch.training import recipe as recipes

    if listing:
        for name in recipes.presets():
            click.echo(f"{name}\t{recipes.Recipe.preset(name).description}")
        return 0
    if (recipe is None) == (preset is None):
        raise UsageError(f"name a recipe file or a --preset, one of {', '.join(recipes.presets())}")
    chosen = recipes.Recipe.load(recipe) if recipe is not None else recipes.Recipe.preset(str(preset))
    chosen = chosen.with_train(steps=steps, batch=batch, lr=lr, seed=seed)
    if model is not None or layers is not None:
        encoder = replace(chosen.encoder, model=model or chosen.encoder.model, layers=layers or chosen.encoder.layers)
        chosen = replace(chosen, encoder=encoder)
    if teacher is not None:
        chosen = replace(chosen, loss=replace(chosen.loss, teacher=teacher))

    from semsearch.training import report, trainer

    prepared = trainer.prepare(chosen, data)
    for source in prepared.sources:
        counts = ", ".join(f"{name} {count}" for name, count in source.counts.items())
        click.echo(f"{source.source.path}: {counts}", err=True)
    if dry_run:
        found = report.estimate(prepared, device)
        click.echo(render.dump(asdict(found)) if as_json else _estimate(found))
        return 0

    def progress(entry: dict[str, Any]) -> None:
        if as_json:
            click.echo(render.dump(entry))
        click.echo(_line(entry), err=True)

    result = trainer.train(prepared, out or Path("runs") / chosen.name, device=device, resume=resume, progress=progress)
    value = {"event": "done", **asdict(result), "folder": str(result.folder)}
    if as_json:
        click.echo(render.dump(value))
    else:
        score = "" if result.best is None else f", dev {result.best:.2f}"
        before = "" if result.first is None else f" (untrained {result.first:.2f})"
        click.echo(f"{result.folder}: adapter of step {result.best_step}{score}{before}")
    return 0


def _line(entry: dict[str, Any]) -> str:
    if entry["event"] == "check":
        scores = ", ".join(f"{name} {value:.2f}" for name, value in entry["scores"].items())
        return f"step {entry['step']}: dev {entry['dev']:.2f} ({scores}){' best' if entry['best'] else ''}"
    return (
        f"step {entry['step']}/{entry['steps']}  loss {entry['loss']:.4f}  lr {entry['lr']:.1e}  "
        f"{entry['tokens_per_second']} tokens/s  {render.duration(entry['left'])} left"
    )


def _estimate(found: Any) -> str:
    return (
        f"{found.rows} rows, {found.steps} steps of about {found.tokens_per_step:.0f} tokens\n"
        f"{found.parameters / 1e6:.1f} M trainable parameters, adapter {render.size(found.adapter_bytes)}\n"
        f"memory about {render.size(found.memory_bytes)}, {found.tokens_per_second:.0f} tokens/s, "
        f"about {render.duration(found.seconds)}"
    )
