"""semsearch train"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.errors import DataError, GateFailed, UsageError
from semsearch import render
from semsearch.cli.options import collection_option, home_option
from semsearch.settings import Settings, load_settings

if TYPE_CHECKING:
    from semsearch.evaluation.gate import Verdict
    from semsearch.training.recipe import Recipe
    from semsearch.training.trainer import Result


@click.command()
@click.argument("recipe", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--preset", metavar="NAME", help="A recipe that comes with the package (--list shows them).")
@click.option("--list", "listing", is_flag=True, help="Show the presets.")
@collection_option
@click.option(
    "--judgements",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --collection: lines of query<TAB>relevant path[<TAB>grade].",
)
@home_option
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
@click.option(
    "--teacher-vectors",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps the teacher's vectors between runs.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Stop the schedule after so many steps.")
@click.option("--batch", type=click.IntRange(min=2), help="Rows a step.")
@click.option("--lr", type=float, help="Highest learning rate.")
@click.option("--seed", type=int, help="Of the order of rows, the adapter's first values and dropout.")
@click.option("--gate", "gated", is_flag=True, help="Compare the result with what it began from (exit 5 on a drop).")
@click.option("--max-drop", type=float, default=0.5, show_default=True, help="Drop that the gate allows, in points.")
@click.option("--yes", is_flag=True, help="With --collection: re-index without asking where the gate passes.")
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps [default: the best there is].")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout: the log as it grows, then the result.")
def command(
    recipe: Path | None,
    preset: str | None,
    listing: bool,
    collection: str | None,
    judgements: Path | None,
    home: Path | None,
    data: Path,
    out: Path | None,
    resume: bool,
    dry_run: bool,
    model: str | None,
    layers: int | None,
    teacher: str | None,
    teacher_vectors: Path | None,
    steps: int | None,
    batch: int | None,
    lr: float | None,
    seed: int | None,
    gated: bool,
    max_drop: float,
    yes: bool,
    device: str | None,
    as_json: bool,
) -> int:
    """Fine-tune a model for sentence vectors; RECIPE is a TOML file, or take a --preset.

    The run's folder then holds the adapter (use it with --adapter FOLDER), its recipe, log, curves and evaluation.
    Stopped with Ctrl-C or killed, it goes on from its last checkpoint with --resume.

    With --collection NAME the encoder of that collection is trained further on pairs made of its own texts, and of
    --judgements where there are some. The result is compared with the present encoder on pairs held out; only where
    it is not worse, re-indexing with it is offered. That embeds the collection anew beside the live one and swaps.
    """
    from semsearch.training import recipe as recipes

    if listing:
        for name in recipes.presets():
            click.echo(f"{name}\t{recipes.Recipe.preset(name).description}")
        return 0
    if collection is None and (judgements is not None or yes):
        raise UsageError("--judgements and --yes belong to --collection NAME")
    if collection is not None and (model is not None or layers is not None):
        raise UsageError("a collection's own encoder is trained; leave out --model and --layers, or --collection")
    if recipe is None and preset is None and collection is not None:
        preset = "collection"
    if (recipe is None) == (preset is None):
        raise UsageError(f"name a recipe file or a --preset, one of {', '.join(recipes.presets())}")
    chosen = recipes.Recipe.load(recipe) if recipe is not None else recipes.Recipe.preset(str(preset))
    if seed is not None:
        chosen = chosen.with_train(seed=seed)
    if model is not None or layers is not None:
        encoder = replace(chosen.encoder, model=model or chosen.encoder.model, layers=layers or chosen.encoder.layers)
        chosen = replace(chosen, encoder=encoder)

    def override(chosen: Recipe) -> Recipe:
        if teacher is not None:
            chosen = replace(chosen, loss=replace(chosen.loss, teacher=teacher))
        return chosen.with_train(steps=steps, batch=batch, lr=lr)

    from semsearch.training import adapt, estimate, trainer

    settings = load_settings().override({"home": home, "collection": collection, "device": device})
    adaptation = None
    if collection is not None:
        adaptation = adapt.prepare(settings, chosen, judgements, data, override)
        prepared = adaptation.prepared
        click.echo(f"held out for the gate: {adaptation.held}", err=True)
    else:
        prepared = trainer.prepare(override(chosen), data, device=device)
    sts = adapt.sts_data(settings.data, data) if gated and adaptation is None else None
    if gated and adaptation is None and sts is None:
        raise DataError(f"--gate needs {adapt.STS}: a folder in SentEval's layout, by --data or SEMSEARCH_DATA")
    for source in prepared.sources:
        counts = ", ".join(f"{name} {count}" for name, count in source.counts.items())
        click.echo(f"{source.source.path}: {counts}", err=True)
    if dry_run:
        found = estimate.estimate(prepared, device)
        click.echo(render.dump(asdict(found)) if as_json else _estimate(found))
        return 0

    def progress(entry: dict[str, Any]) -> None:
        if as_json:
            click.echo(render.dump(entry))
        click.echo(_line(entry), err=True)

    folder = out or Path("runs") / (chosen.name if collection is None else f"{chosen.name}-{collection}")
    result = trainer.train(prepared, folder, device=device, resume=resume, progress=progress, vectors=teacher_vectors)
    verdicts: dict[str, Verdict] = {}
    if adaptation is not None:
        verdicts = adapt.judge(adaptation, settings, folder, max_drop)
    elif sts is not None:
        verdicts = adapt.judge_run(prepared.recipe, settings, sts, folder, max_drop)
    if as_json:
        value = {"event": "done", **asdict(result), "folder": str(result.folder)}
        gate = {"gate": {what: verdict.to_dict() for what, verdict in verdicts.items()}} if verdicts else {}
        click.echo(render.dump(value | gate))
    else:
        _show(result, verdicts)
    if adaptation is not None and adaptation.sts is None:
        click.echo(f"{adapt.STS} was not checked: no data at hand (--data or SEMSEARCH_DATA)", err=True)
    if failed := [verdict.line for verdict in verdicts.values() if verdict.failed]:
        raise GateFailed("; ".join(failed))
    if adaptation is not None:
        change = next(iter(verdicts.values())).differences[0].change
        if change <= 0:
            click.echo(f"no gain was seen on what was held out ({change:+.2f} points)", err=True)
        _offer(settings, folder, yes, as_json)
    return 0


def _show(result: Result, verdicts: Mapping[str, Verdict]) -> None:
    score = "" if result.best is None else f", dev {result.best:.2f}"
    before = "" if result.first is None else f" (before training {result.first:.2f})"
    click.echo(f"{result.folder}: adapter of step {result.best_step}{score}{before}")
    if verdicts:
        from semsearch.evaluation import gate

        for what, verdict in verdicts.items():
            click.echo(f"\n{what}\n{gate.render(verdict)}")


def _offer(settings: Settings, folder: Path, yes: bool, as_json: bool) -> None:
    """Re-index and swap: where asked to, or where a person says so now."""
    from semsearch.cli.progress import Reporter
    from semsearch.cli.reindex import show
    from semsearch.training import adapt

    name = settings.collection
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        yes = click.confirm(f"embed collection {name!r} anew with it, beside the present one, and swap?", err=True)
    if not yes:
        home = f" --home {shlex.quote(str(settings.home))}" if settings.home is not None else ""
        adapter = shlex.quote(str(folder.absolute()))
        command = f"semsearch reindex --collection {shlex.quote(name)}{home} --adapter {adapter}"
        click.echo(f"to use it, embed the collection anew and swap: {command}", err=True)
        return
    with Reporter() as progress:
        done = adapt.install(settings, folder, progress)
    if done is None:
        click.echo(f"collection {name!r} has this adapter already", err=True)
    else:
        show(done, as_json)


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
