"""Measure quality: ``semsearch eval``."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.errors import GateFailed, UsageError
from semsearch.cli.lazy import NearestGroup
from semsearch.cli.options import Choice, encoder_options, home_option, json_option
from semsearch.cli.output import LOG, json_text
from semsearch.render import duration
from semsearch.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from semsearch.encoders import EncoderOverrides
    from semsearch.evaluation.runner import Evaluation

LOG_SECONDS = 20.0
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=NearestGroup)
def command() -> None:
    """Measure embedding and search quality, and gate on it.

    Data: --data or SEMSEARCH_DATA names a folder in SentEval's layout (with downstream/ in it) or BEIR's
    (corpus.jsonl, queries.jsonl, qrels/), or one that holds senteval/ and retrieval/; without it, the hub.
    """


@dataclass(frozen=True)
class Setup:
    """What the options that the commands share came to."""

    settings: Settings
    flags: EncoderOverrides
    """Of the encoder."""
    quick: bool
    output: Path | None
    as_json: bool

    @contextmanager
    def evaluation(self, sparse: bool = False, quick: bool = False) -> Iterator[Evaluation]:
        """Give the run of tasks, with its progress shown."""
        from semsearch.evaluation.runner import Evaluation

        progress = Progress()
        try:
            yield Evaluation(self.settings, self.flags, self.quick or quick, sparse=sparse, progress=progress)
        finally:
            progress.close()

    def show(self, result: Mapping[str, Any], text: str | None = None) -> None:
        """The figures on stdout, as ``text`` where it is given, and the whole of the result in --output."""
        from semsearch.evaluation import result_files

        if self.output is not None:
            result_files.write(self.output, result)
        if self.as_json:
            click.echo(json_text(result_files.public(result)))
        else:
            click.echo(_figures(result) if text is None else text)


def task_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that runs tasks takes: the function gets a Setup and ``tasks``."""

    @wraps(function)
    def with_setup(
        *,
        quick: bool,
        target: Path | None,
        as_json: bool,
        data: Path | None,
        overrides: EncoderOverrides,
        home: Path | None = None,
        **rest: Any,
    ) -> None:
        said = {"home": home, "data": data, "device": overrides.device, "batch_tokens": overrides.batch_tokens}
        function(Setup(load_settings().override(said), overrides, quick, target, as_json), **rest)

    options = [
        click.option("--data", type=click.Path(path_type=Path), help="Folder of evaluation data [SEMSEARCH_DATA]."),
        click.option("--tasks", metavar="A,B", callback=_names, help="Only these tasks."),
        click.option("--quick", is_flag=True, help="A fixed subset, in minutes on a CPU: 150 pairs of each STS task, "
                     "at most 1,000 examples of a transfer task with 5 folds, 50 queries over 500 documents."),
        click.option("--output", "target", type=FILE, metavar="FILE", help="Write the result with every item as JSON."),
        json_option,
    ]  # fmt: skip
    command: Callable[..., Any] = with_setup
    for option in reversed(options):
        command = option(command)
    made: Callable[..., Any] = encoder_options(command)
    return made


def own_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the commands take, beside ``task_options``, that can judge a collection of the user's."""
    options = [
        click.option("--collection", "-c", metavar="[NAME]", is_flag=False, flag_value="",
                     help="This collection of yours instead."),
        click.option("--judgements", type=FILE, help="Lines of query<TAB>relevant path[<TAB>grade] "
                     "[default: the collection's own: semsearch judge]."),
        home_option,
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


sparse_option = click.option(
    "--sparse", is_flag=True, help="Give collections in BEIR layout a sparse index, and score it."
)


def _figures(result: Mapping[str, Any]) -> str:
    from semsearch.evaluation import result_files

    tasks = result["tasks"] | result.get("retrieval", {}).get("tasks", {})
    encoder = result["encoder"]
    made_by = f"{encoder['fingerprint']} ({result['name']}, {result['dtype']}), {duration(result['seconds'])}"
    quick = ", quick: a subset, not comparable with published figures" if result["quick"] else ""
    details = [result_files.describe(task, each) for task, each in tasks.items()]
    return "\n".join([result_files.render([result]), "", *details, "", f"encoder {made_by}{quick}"])


def _names(_context: click.Context, _parameter: click.Parameter, tasks: str | None) -> list[str]:
    if tasks is None:
        return []
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--tasks {tasks!r} names no task; give names with commas between them, such as STS12,STS13")
    return names


class Progress:
    """What is being done and the time left, on stderr: one line rewritten on a terminal, else a line now and then."""

    def __init__(self) -> None:
        """Begin with nothing to show."""
        self._what, self._started, self._logged = "", 0.0, 0.0
        self._terminal = sys.stderr.isatty()
        self._dirty = False

    def __call__(self, what: str, share: float) -> None:
        """Show what is being done, and the share of it that is done."""
        now = time.monotonic()
        if what != self._what:
            self.close()
            self._what, self._started, self._logged = what, now, now if self._terminal else now - LOG_SECONDS
        if now - self._logged < (0.2 if self._terminal else LOG_SECONDS) and share < 1:
            return
        self._logged = now
        left = (now - self._started) * (1 - share) / share if share > 0 else None
        line = f"{what}: {share:.0%}" + (f", {duration(left)} left" if left is not None and share < 1 else "")
        click.echo(f"\r\x1b[K{line}" if self._terminal else line, err=True, nl=not self._terminal)
        self._dirty = self._terminal

    def close(self) -> None:
        """End the line."""
        if self._dirty:
            click.echo(err=True)
        self._dirty = False


@command.command()
@task_options
@click.option("--pearson", is_flag=True, help="Pearson's correlation beside Spearman's.")
def sts(setup: Setup, tasks: list[str], pearson: bool) -> None:
    """STS12 to STS16, STS-B and SICK-R: Spearman's correlation, as the papers report it.

    STSBenchmark is its test part; the dev part is STSBenchmark-dev and is scored only when named.
    """
    from semsearch.evaluation.sentences.tasks import STS, select

    names = select(tasks, STS)
    with setup.evaluation() as evaluation:
        result, _ = evaluation.tasks(names, pearson)
    setup.show(result)


@command.command()
@task_options
def transfer(setup: Setup, tasks: list[str]) -> None:
    """MR, CR, SUBJ, MPQA, SST2, TREC and MRPC: accuracy of a logistic regression, as SentEval does it."""
    from semsearch.evaluation.sentences.tasks import TRANSFER, select

    names = select(tasks, TRANSFER)
    with setup.evaluation() as evaluation:
        result, _ = evaluation.tasks(names)
    setup.show(result)


@command.command()
@task_options
@own_options
@sparse_option
def retrieval(setup: Setup, tasks: list[str], collection: str | None, judgements: Path | None, sparse: bool) -> None:
    """nDCG@10, AP, RR and recall of dense, lexical and hybrid search, side by side, with latencies.

    Over collections in BEIR layout (--data; --tasks names some of several, or one of the hub's), or over a collection
    of your own with your judgements: those kept with it, or a file.
    """
    with setup.evaluation(sparse) as evaluation:
        if collection is not None or judgements is not None:
            result, _ = evaluation.own(collection, judgements)
        else:
            result, _ = evaluation.retrieval(tasks)
    setup.show(result)


@command.command()
@task_options
@own_options
@sparse_option
@click.option("--save", is_flag=True, help="Keep the weights with the collection, where they proved better.")
def tune(
    setup: Setup, tasks: list[str], collection: str | None, judgements: Path | None, sparse: bool, save: bool
) -> None:
    """Which weights of dense and lexical search suit your judgements, and whether that is more than luck.

    The choice is scored on queries that it has not seen (cross-validation), with a 95% interval. --save keeps weights
    that are better than those in use with the collection; every search of it then uses them.
    """
    own = collection is not None or judgements is not None
    if save and not own:
        raise UsageError("--save keeps weights with a collection of yours; name it with --collection")

    from semsearch.evaluation.judged import tune

    with setup.evaluation(sparse) as evaluation:
        if own:
            result, _ = evaluation.own(collection, judgements, tune.result)
        else:
            result, _ = evaluation.retrieval(tasks, tune.result)
    if save:
        result["saved"] = result["verdict"] == "better"
        if result["saved"]:
            _keep(setup.settings.override({"collection": collection or None}), result["chosen"]["weights"])
        else:
            LOG.info("nothing saved: no better weights were proved")
    setup.show(result, tune.render(result))


def _keep(settings: Settings, weights: Mapping[str, float]) -> None:
    """Keep weights with a collection."""
    from semsearch.collection import Collection
    from semsearch.search.asking.weights import Weights

    with Collection(settings=settings) as docs:
        docs.keep_weights(Weights(**weights))
        LOG.info("weights kept with collection %r", docs.name)


@command.command(name="all")
@task_options
def all_(setup: Setup, tasks: list[str]) -> None:
    """Every STS and transfer task, and every retrieval collection in the data folder, if there is one."""
    with setup.evaluation() as evaluation:
        result = evaluation.all(tasks)
    setup.show(result)


@command.command()
@task_options
@own_options
@click.option("--baseline", type=FILE, metavar="FILE", help="Compare with this record.")
@click.option(
    "--against", metavar="ENCODER", help="Compare with this encoder: preset, spec file, adapter, model or none."
)
@click.option("--record", type=FILE, metavar="FILE", help="Write a baseline instead of comparing.")
@click.option("--max-drop", type=float, default=0.5, show_default=True, help="Allowed drop of a task, in points.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="How sure a drop must be.")
def gate(
    setup: Setup,
    tasks: list[str],
    baseline: Path | None,
    against: str | None,
    record: Path | None,
    max_drop: float,
    confidence: float,
    collection: str | None,
    judgements: Path | None,
) -> None:
    """Fail (exit 5) where quality dropped: a drop of a task larger than --max-drop, and real at --confidence.

    \b
    semsearch eval gate --quick --record baseline.json     once, and commit the file
    semsearch eval gate --baseline baseline.json           in CI

    Tasks are those of the baseline, or the seven STS tasks; names of retrieval collections work as well.
    """
    if sum(x is not None for x in (baseline, against, record)) != 1:
        raise UsageError("the gate needs one of --baseline FILE, --against ENCODER and --record FILE")
    own = collection is not None or judgements is not None

    from semsearch.evaluation import gate, result_files

    before = result_files.read(baseline) if baseline else None
    names = tasks or (result_files.task_names(before) if before and not own else [])
    with setup.evaluation(quick=bool(before and before.get("quick"))) as evaluation:
        result, scores = evaluation.own(collection, judgements) if own else evaluation.named(names)
        if against is not None:
            before, _ = evaluation.against(against, names, collection, judgements)
    if record is not None:
        result_files.write(record, result)
        setup.show(result)
        LOG.info("baseline recorded in %s", record)
        return
    assert before is not None
    verdict = gate.compare(
        gate.paired(before, result, scores),
        gate.rounded(scores),
        max_drop=max_drop,
        confidence=confidence,
        notes=gate.notes(before, result),
    )
    setup.show({**result, "gate": verdict.to_dict()}, gate.render(verdict))
    if verdict.failed:
        raise GateFailed(verdict.line)


@command.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--format", "style", type=Choice(["text", "markdown", "csv"]), default="text")
@click.option("--published", is_flag=True, help="Add the paper's own rows, marked as published.")
@json_option
def show(files: tuple[Path, ...], style: str, published: bool, as_json: bool) -> None:
    """Results side by side, as the paper's table."""
    from semsearch.evaluation import result_files

    results = [result_files.read(path) for path in files] + (result_files.published() if published else [])
    if as_json:
        click.echo(json_text([result_files.public(result) for result in results]))
    else:
        click.echo(result_files.render(results, style))


@command.command()
@click.argument("file", type=FILE)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of evaluation data [SEMSEARCH_DATA].")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the results [the file's].")
@json_option
def study(file: Path, data: Path | None, output: Path | None, as_json: bool) -> None:
    """Encoders × tasks as a TOML file lists them; run it again to go on where it stopped."""
    from semsearch.evaluation import result_files, study

    progress = Progress()
    try:
        results = study.run(study.read(file), data or load_settings().data, output, progress=progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json_text([result_files.public(result) for result in results]))
    else:
        click.echo(result_files.render(results))


@command.command()
@click.argument("kind", type=Choice(["scaling", "demonstrations", "methods", "tasks"]))
@click.argument("files", nargs=-1, type=FILE)
@click.option("--output", type=FILE, required=True, metavar="FILE", help="Where the figure goes: .png or .svg.")
@click.option("--published", is_flag=True, help="Add the paper's own rows, marked as published.")
def plot(kind: str, files: tuple[Path, ...], output: Path, published: bool) -> None:
    """A figure of results.

    scaling is the average over model size, demonstrations the spread of development scores (files of demonstration
    search), methods the best of each method, tasks a bar a task.
    """
    from semsearch.evaluation import plot, result_files

    if not files and not published:
        raise UsageError("a figure needs results: files that `semsearch eval … --output FILE` wrote, or --published")
    if kind == "demonstrations":
        plot.demonstrations(*plot.read_demonstrations(files), output)
    else:
        results = [result_files.read(path) for path in files] + (result_files.published() if published else [])
        {"scaling": plot.scaling, "methods": plot.methods, "tasks": plot.tasks}[kind](results, output)
    click.echo(str(output))
