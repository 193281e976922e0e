"""semsearch eval"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from indexer.errors import UsageError
from semsearch.cli.options import encoder_options, json_option, take_encoder_flags
from semsearch.settings import Settings, load_settings

LOG_SECONDS = 20.0
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def command() -> None:
    """Measure embedding and search quality, and gate on it.

    Data: --data or SEMSEARCH_DATA names a folder in SentEval's layout (with downstream/ in it) or BEIR's
    (corpus.jsonl, queries.jsonl, qrels/), or one that holds senteval/ and retrieval/; without it, the hub.
    """


def task_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that runs tasks takes."""
    options = [
        click.option("--data", type=click.Path(path_type=Path), help="Folder of evaluation data [SEMSEARCH_DATA]."),
        click.option("--tasks", metavar="A,B", help="Only these tasks."),
        click.option("--quick", is_flag=True, help="A fixed subset, in minutes on a CPU: 150 pairs of each STS task, "
                     "at most 1,000 examples of a transfer task with 5 folds, 50 queries over 500 documents."),
        click.option("--output", type=FILE, metavar="FILE", help="Write the result with every item as JSON."),
        json_option,
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return encoder_options(function)


class Progress:
    """What is being done and the time left, on stderr: one line rewritten on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._what, self._started, self._logged = "", 0.0, 0.0
        self._terminal = sys.stderr.isatty()
        self._dirty = False

    def __call__(self, what: str, share: float) -> None:
        now = time.monotonic()
        if what != self._what:
            self.close()
            self._what, self._started, self._logged = what, now, now if self._terminal else now - LOG_SECONDS
        if now - self._logged < (0.2 if self._terminal else LOG_SECONDS) and share < 1:
            return
        self._logged = now
        left = (now - self._started) * (1 - share) / share if share > 0 else None
        line = f"{what}: {share:.0%}" + (f", {_duration(left)} left" if left is not None and share < 1 else "")
        click.echo(f"\r\x1b[K{line}" if self._terminal else line, err=True, nl=not self._terminal)
        self._dirty = self._terminal

    def close(self) -> None:
        if self._dirty:
            click.echo(err=True)
        self._dirty = False


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


@command.command()
@task_options
@click.option("--pearson", is_flag=True, help="Pearson's correlation beside Spearman's.")
def sts(tasks: str | None, pearson: bool, **options: Any) -> None:
    """STS12 to STS16, STS-B and SICK-R: Spearman's correlation, as the papers report it.

    STSBenchmark is its test part; the dev part is STSBenchmark-dev and is scored only when named.
    """
    from semsearch.evaluation.tasks import STS, select

    _run(select(_names(tasks), STS), pearson=pearson, **options)


@command.command()
@task_options
def transfer(tasks: str | None, **options: Any) -> None:
    """MR, CR, SUBJ, MPQA, SST2, TREC and MRPC: accuracy of a logistic regression, as SentEval does it."""
    from semsearch.evaluation.tasks import TRANSFER, select

    _run(select(_names(tasks), TRANSFER), **options)


def _run(
    names: Sequence[str],
    *,
    data: Path | None,
    quick: bool,
    output: Path | None,
    as_json: bool,
    device: str | None,
    batch_tokens: int | None,
    pearson: bool = False,
    **encoder: Any,
) -> None:
    result, _ = _evaluate(
        names, load_settings(), take_encoder_flags(encoder), data, quick, device, batch_tokens, pearson
    )
    _show(result, output, as_json)


def _evaluate(
    names: Sequence[str],
    settings: Settings,
    flags: Mapping[str, Any],
    data: Path | None,
    quick: bool,
    device: str | None,
    batch_tokens: int | None,
    pearson: bool = False,
) -> tuple[dict[str, Any], Any]:
    from indexer import embedding
    from semsearch.encoders import choose
    from semsearch.evaluation import runner

    spec = embedding.resolve(choose(settings, flags, "sts"))
    loaded = runner.load(names, data or settings.data, quick)
    device, batch_tokens = device or settings.device, batch_tokens or settings.batch_tokens
    progress = Progress()
    try:
        return runner.run(
            loaded,
            lambda: embedding.open_encoder(spec, device=device, batch_tokens=batch_tokens),
            cache=runner.cache_folder(),
            pearson=pearson,
            batch_tokens=batch_tokens,
            progress=progress,
        )
    finally:
        progress.close()


def _show(result: Mapping[str, Any], output: Path | None, as_json: bool) -> None:
    from semsearch.evaluation import report

    if output is not None:
        report.write(output, result)
    if as_json:
        click.echo(json.dumps(report.public(result), ensure_ascii=False))
        return
    click.echo(report.render([result]) + "\n")
    for task, details in result["tasks"].items():
        click.echo(report.describe(task, details))
    encoder = result["encoder"]
    click.echo(
        f"\nencoder {encoder['fingerprint']} ({result['name']}, {result['dtype']}), {_duration(result['seconds'])}"
        + (", quick: a subset, not comparable with published figures" if result["quick"] else "")
    )


def _names(tasks: str | None) -> list[str]:
    if tasks is None:
        return []
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--tasks {tasks!r} names no task; give names with commas between them, such as STS12,STS13")
    return names


@command.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--format", "style", type=click.Choice(["text", "markdown", "csv"]), default="text")
@click.option("--published", is_flag=True, help="Add the paper's own rows, marked as published.")
@json_option
def show(files: tuple[Path, ...], style: str, published: bool, as_json: bool) -> None:
    """Results side by side, as the paper's table."""
    from semsearch.evaluation import report

    results = [report.read(path) for path in files] + (report.published() if published else [])
    if as_json:
        click.echo(json.dumps([report.public(result) for result in results], ensure_ascii=False))
    else:
        click.echo(report.render(results, style))


@command.command()
@click.argument("file", type=FILE)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of evaluation data [SEMSEARCH_DATA].")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the results [the file's].")
@json_option
def study(file: Path, data: Path | None, output: Path | None, as_json: bool) -> None:
    """Encoders × tasks as a TOML file lists them; run it again to go on where it stopped."""
    from semsearch.evaluation import report, study

    progress = Progress()
    try:
        results = study.run(study.read(file), data or load_settings().data, output, progress=progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps([report.public(result) for result in results], ensure_ascii=False))
    else:
        click.echo(report.render(results))


