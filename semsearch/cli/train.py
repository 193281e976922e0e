"""Fine-tune a model: ``semsearch train``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.errors import DataError, GateFailed, UsageError
from semsearch import render
from semsearch.cli import output
from semsearch.cli.options import gather, settings_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from semsearch.evaluation.gate import Verdict
    from semsearch.settings import Settings
    from semsearch.training.adapt import Adaptation
    from semsearch.training.recipe import Recipe
    from semsearch.training.trainer import Prepared, Result


@dataclass(frozen=True)
class _Changes:
    """What is changed in the recipe."""

    preset: str | None = None
    model: str | None = None
    layers: int | None = None
    teacher: str | None = None
    steps: int | None = None
    batch: int | None = None
    lr: float | None = None
    seed: int | None = None

    def base(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the model, layers and seed that were asked for."""
        if self.seed is not None:
            recipe = recipe.with_train(seed=self.seed)
        if self.model is None and self.layers is None:
            return recipe
        model, layers = self.model or recipe.encoder.model, self.layers or recipe.encoder.layers
        return replace(recipe, encoder=replace(recipe.encoder, model=model, layers=layers))

    def override(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the rest, once it fits the number of pairs."""
        if self.teacher is not None:
            recipe = replace(recipe, loss=replace(recipe.loss, teacher=self.teacher))
        return recipe.with_train(steps=self.steps, batch=self.batch, lr=self.lr)


@dataclass(frozen=True)
class _Run:
    """How the training runs, and what is done with its result."""

    data: Path
    judgements: Path | None = None
    no_judgements: bool = False
    out: Path | None = None
    resume: bool = False
    dry_run: bool = False
    gated: bool = False
    max_drop: float = 0.5
    yes: bool = False
    device: str | None = None
    teacher_vectors: Path | None = None


CHANGES = [
    click.option("--preset", metavar="NAME", help="A recipe that comes with the package (--list shows them)."),
    click.option("--model", metavar="NAME|PATH", help="Another base model than the recipe's."),
    click.option("--layers", type=click.IntRange(min=1), metavar="N", help="Train the first N blocks only."),
    click.option("--teacher", metavar="NAME|FILE", help="Adapter, run folder, preset or file to learn from."),
    click.option("--steps", type=click.IntRange(min=1), help="Stop the schedule after so many steps."),
    click.option("--batch", type=click.IntRange(min=2), help="Rows a step."),
    click.option("--lr", type=float, help="Highest learning rate."),
    click.option("--seed", type=int, help="Of the order of rows, the adapter's first values and dropout."),
]
RUN = [
    click.option(
        "--judgements",
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --collection: lines of query<TAB>relevant path[<TAB>grade] "
        "[default: the collection's own, where 30 queries or more are judged].",
    ),
    click.option("--no-judgements", is_flag=True, help="With --collection: train on its texts alone."),
    click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(),
        show_default=True,
        help="Folder that the recipe's paths are relative to.",
    ),
    click.option(
        "--out", type=click.Path(path_type=Path, file_okay=False), help="The run's folder [default: runs/NAME]."
    ),
    click.option(
        "--teacher-vectors",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder that keeps the teacher's vectors between runs.",
    ),
    click.option("--resume", is_flag=True, help="Go on with the run in --out after it was interrupted."),
    click.option("--dry-run", is_flag=True, help="Read the data and estimate memory and time; train nothing."),
    click.option(
        "--gate", "gated", is_flag=True, help="Compare the result with what it began from (exit 5 on a drop)."
    ),
    click.option(
        "--max-drop", type=float, default=0.5, show_default=True, help="Drop that the gate allows, in points."
    ),
    click.option("--yes", is_flag=True, help="With --collection: re-index without asking where the gate passes."),
    click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps [default: the best there is]."),
]


@click.command()
@click.argument("recipe", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--list", "listing", is_flag=True, help="Show the presets.")
@gather("changes", _Changes, CHANGES)
@gather("how", _Run, RUN)
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout: the log as it grows, then the result.")
@settings_options
@click.pass_context
def command(
    context: click.Context,
    recipe: Path | None,
    listing: bool,
    changes: _Changes,
    how: _Run,
    as_json: bool,
    settings: Settings,
) -> int:
    """Fine-tune a model for sentence vectors; RECIPE is a TOML file, or take a --preset.

    The run's folder then holds the adapter (use it with --adapter FOLDER), its recipe, log, curves and evaluation.
    Stopped with Ctrl-C or killed, it goes on from its last checkpoint with --resume.

    With --collection NAME the encoder of that collection is trained further on pairs made of its own texts, and of
    queries that people have judged (semsearch judge, or --judgements) where there are enough. The result is compared
    with the present encoder on pairs held out; only where it is not worse, re-indexing with it is offered. That embeds
    the collection anew beside the live one and swaps.
    """
    if listing:
        return _list()
    of_collection = context.params.get("collection") is not None
    settings = settings.override({"device": how.device})
    chosen = changes.base(_recipe(recipe, changes, how, of_collection))
    task = _prepare(chosen, changes, how, settings if of_collection else None, settings)
    for source in task.prepared.sources:
        counts = ", ".join(f"{name} {count}" for name, count in source.counts.items())
        output.LOG.info("%s: %s", source.source.path, counts)
    if how.dry_run:
        return _dry_run(task.prepared, how, as_json)
    name = f"{chosen.name}-{settings.collection}" if of_collection else chosen.name
    folder = how.out or Path("runs") / name
    result = _train(task.prepared, folder, how, as_json)
    verdicts = task.judge(settings, folder, how.max_drop)
    _report(result, verdicts, as_json)
    if failed := [verdict.line for verdict in verdicts.values() if verdict.failed]:
        raise GateFailed("; ".join(failed))
    if task.adaptation is not None:
        _offer(settings, folder, how.yes, as_json, task.adaptation, verdicts)
    return 0


@dataclass(frozen=True)
class _Task:
    """A training that is ready to run, and how its result is judged."""

    prepared: Prepared
    adaptation: Adaptation | None = None
    sts: Any = None

    def judge(self, settings: Settings, folder: Path, max_drop: float) -> Mapping[str, Verdict]:
        """Return what the gate says of the run's adapter, by what was looked at."""
        from semsearch.training import adapt

        if self.adaptation is not None:
            return adapt.judge(self.adaptation, settings, folder, max_drop)
        if self.sts is not None:
            return adapt.judge_run(self.prepared.recipe, settings, self.sts, folder, max_drop)
        return {}


def _list() -> int:
    from semsearch.training import recipe as recipes

    for name in recipes.presets():
        click.echo(f"{name}\t{recipes.Recipe.preset(name).description}")
    return 0


def _recipe(path: Path | None, changes: _Changes, how: _Run, of_collection: bool) -> Recipe:
    """Return the recipe that was named, by file or preset."""
    from semsearch.training import recipe as recipes

    if not of_collection and (how.judgements is not None or how.no_judgements or how.yes):
        raise UsageError("--judgements, --no-judgements and --yes belong to --collection NAME")
    if how.judgements is not None and how.no_judgements:
        raise UsageError("--judgements FILE and --no-judgements contradict each other; give one of them")
    if of_collection and (changes.model is not None or changes.layers is not None):
        raise UsageError("a collection's own encoder is trained; leave out --model and --layers, or --collection")
    preset = changes.preset
    if path is None and preset is None and of_collection:
        preset = "collection"
    if path is not None and preset is None:
        return recipes.Recipe.load(path)
    if path is None and preset is not None:
        return recipes.Recipe.preset(preset)
    raise UsageError(f"name a recipe file or a --preset, one of {', '.join(recipes.presets())}")


def _prepare(chosen: Recipe, changes: _Changes, how: _Run, of: Settings | None, settings: Settings) -> _Task:
    """Return the training, its data read; ``of``: the settings of the collection that is trained on."""
    from semsearch.training import adapt, trainer

    if of is not None:
        judgements: Any = "none" if how.no_judgements else how.judgements or "own"
        adaptation = adapt.prepare(of, chosen, judgements, how.data, changes.override)
        output.LOG.info("trained on: %s", adaptation.judged)
        output.LOG.info("held out for the gate: %s", adaptation.held)
        if adaptation.sts is None:
            output.LOG.info("%s is not checked: no data at hand (--data or SEMSEARCH_DATA)", adapt.STS)
        return _Task(adaptation.prepared, adaptation)
    prepared = trainer.prepare(changes.override(chosen), how.data, device=how.device)
    sts = adapt.sts_data(settings.data, how.data) if how.gated else None
    if how.gated and sts is None:
        raise DataError(f"--gate needs {adapt.STS}: a folder in SentEval's layout, by --data or SEMSEARCH_DATA")
    return _Task(prepared, sts=sts)


def _dry_run(prepared: Prepared, how: _Run, as_json: bool) -> int:
    from semsearch.training.run import estimate

    found = estimate.estimate(prepared, how.device)
    output.value(asdict(found), _estimate(found), as_json)
    return 0


def _train(prepared: Prepared, folder: Path, how: _Run, as_json: bool) -> Result:
    """Train, and show the log as it grows."""
    from semsearch.training import trainer

    def progress(entry: dict[str, Any]) -> None:
        if as_json:
            click.echo(output.json_text(entry))
        output.LOG.info("%s", _line(entry))

    return trainer.train(
        prepared, folder, device=how.device, resume=how.resume, progress=progress, vectors=how.teacher_vectors
    )


def _report(result: Result, verdicts: Mapping[str, Verdict], as_json: bool) -> None:
    """Print the result and the gate's figures."""
    if not as_json:
        _show(result, verdicts)
        return
    value = {"event": "done", **asdict(result), "folder": str(result.folder)}
    gate = {"gate": {what: verdict.to_dict() for what, verdict in verdicts.items()}} if verdicts else {}
    click.echo(output.json_text(value | gate))


def _show(result: Result, verdicts: Mapping[str, Verdict]) -> None:
    score = "" if result.best is None else f", dev {result.best:.2f}"
    before = "" if result.first is None else f" (before training {result.first:.2f})"
    click.echo(f"{result.folder}: adapter of step {result.best_step}{score}{before}")
    if verdicts:
        from semsearch.evaluation import gate

        for what, verdict in verdicts.items():
            click.echo(f"\n{what}\n{gate.render(verdict)}")


def _offer(
    settings: Settings,
    folder: Path,
    yes: bool,
    as_json: bool,
    adaptation: Adaptation,
    verdicts: Mapping[str, Verdict],
) -> None:
    """Re-index and swap: where asked to, or where a person says so now."""
    from semsearch.cli.progress import Reporter
    from semsearch.cli.reindex import show
    from semsearch.training import adapt

    change = verdicts[str(adaptation.held)].differences[0].change
    if change <= 0:
        output.LOG.info("no gain was seen on what was held out (%+.2f points)", change)
    name = settings.collection
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        yes = click.confirm(f"embed collection {name!r} anew with it, beside the present one, and swap?", err=True)
    if not yes:
        home = f" --home {shlex.quote(str(settings.home))}" if settings.home is not None else ""
        adapter = shlex.quote(str(folder.absolute()))
        command = f"semsearch reindex --collection {shlex.quote(name)}{home} --adapter {adapter}"
        output.LOG.info("to use it, embed the collection anew and swap: %s", command)
        return
    with Reporter() as progress:
        done = adapt.install(settings, folder, progress)
    if done is None:
        output.LOG.info("collection %r has this adapter already", settings.collection)
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
