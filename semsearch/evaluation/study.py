"""Run a study: the encoders × tasks that one file lists. Run again, it goes on where it stopped.

    tasks = ["sts", "MR", "CR"]     # names, or sts or transfer for all of a kind
    quick = false
    examples = 500                  # about so many of each task, quick mode's own number where left out; quick alone
    output = "results"              # folder, relative to this file; its own name without .toml where left out

    [[encoder]]
    name = "OPT 125M, one demonstration"
    model = "facebook/opt-125m"     # any field of an encoder spec, and preset, device, batch_tokens, device_map
    demonstrations = [["A man is smoking.", "Smoking"]]
    method = "PromptEOL+ICL"        # what the plots call the line it belongs to
    parameters = 125_000_000        # where it stands on the line

Each pair of encoder and task is a result file of its own, kept if the encoder's fingerprint, the precision and the
data are still the same. From them come one result for each encoder, a table (Markdown and CSV) and plots. An encoder
whose weights cannot be had is a row that says so.
"""

from __future__ import annotations

import logging
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer import embedding
from indexer.embedding.spec import EncoderSpec
from indexer.errors import ConfigError, DataError, ModelError
from semsearch import encoders
from semsearch.evaluation import result_files, runner
from semsearch.evaluation.progress import Progress, silent
from semsearch.evaluation.sentences.tasks import STS, TASKS, TRANSFER
from semsearch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from indexer.embedding.encoder import Encoder
    from semsearch.evaluation.sentences.task_data import Data

logger = logging.getLogger(__name__)

KINDS = {"sts": STS, "transfer": TRANSFER}
SPEC_FIELDS = set(EncoderSpec.keys()) - {"weights", "adapter_weights"}
OTHER_FIELDS = {"name", "preset", "method", "parameters", "device", "batch_tokens", "device_map"}
FEWEST = 20
"""Examples of a task under which a score says nothing."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One encoder of a study."""

    name: str
    spec: EncoderSpec
    method: str | None = None
    parameters: int | None = None
    device: str | None = None
    batch_tokens: int | None = None
    device_map: str | None = None
    """accelerate's, for models larger than one GPU."""

    @property
    def slug(self) -> str:
        """The name as that of a file."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.")


@dataclass(frozen=True)
class Study:
    """The tasks and the encoders, and where results go."""

    tasks: tuple[str, ...]
    quick: bool
    output: Path
    entries: tuple[Entry, ...]
    examples: int | None = None
    """About so many of each task in quick mode; None: its own number."""


def read(path: Path) -> Study:
    """Read a study's file.

    Raises:
        ConfigError: A key, a task or an encoder in it is not known, or it cannot be read.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a study: {error}") from error
    _known(values, {"tasks", "quick", "examples", "output", "encoder"}, str(path))
    tasks: list[str] = []
    for name in values.get("tasks", ["sts"]):
        if name not in TASKS and name not in KINDS:
            raise ConfigError(f"{path}: no task is named {name!r}; names are {', '.join((*KINDS, *TASKS))}")
        tasks += KINDS.get(name, (name,))
    entries = tuple(_entry(table, path) for table in values.get("encoder", []))
    slugs = [entry.slug for entry in entries]
    if not entries or len(set(slugs)) < len(slugs) or not all(slugs):
        raise ConfigError(f"{path}: a study has one [[encoder]] or more, each with a name of its own; names: {slugs}")
    output = path.parent / values.get("output", path.stem)
    quick, examples = bool(values.get("quick", False)), values.get("examples")
    if examples is not None and not (quick and type(examples) is int and examples >= FEWEST):
        raise ConfigError(f"{path}: examples is {examples!r}; it is {FEWEST} or more, and belongs to quick = true")
    return Study(tuple(dict.fromkeys(tasks)), quick, output, entries, examples)


def _entry(table: Mapping[str, Any], path: Path) -> Entry:
    where = f"{path}: encoder {table.get('name')!r}"
    _known(table, SPEC_FIELDS | OTHER_FIELDS, where)
    if not isinstance(table.get("name"), str):
        raise ConfigError(f"{where}: every encoder needs a name, in quotes")
    adapter = table.get("adapter", None if table.get("preset") else "none")
    chosen = encoders.EncoderOverrides(preset=table.get("preset"), adapter=adapter)
    spec = encoders.choose(Settings(), chosen)
    own = {name: table[name] for name in SPEC_FIELDS & set(table) if name != "adapter"}
    try:
        spec = EncoderSpec.from_dict(spec.to_dict() | own, where)
        rest = {name: table[name] for name in OTHER_FIELDS & set(table) if name != "preset"}
        return Entry(spec=spec, **rest)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def _known(table: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(table) - known):
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; keys are {', '.join(sorted(known))}")


def run(
    study: Study,
    data: Path | None,
    output: Path | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Run the pairs that have no result yet, write results, tables and plots; return a result for each encoder."""
    output = output or study.output
    output.mkdir(parents=True, exist_ok=True)
    loaded = runner.load(study.tasks, data, study.quick, study.examples)
    made: list[dict[str, Any]] = []
    for entry in study.entries:
        try:
            result = _run_entry(entry, loaded, output, cache or runner.cache_folder(), progress)
            result_files.write(output / f"{entry.slug}.json", result)
        except ModelError as error:  # the other rows are worth having; the next run tries again
            logger.warning("%s is left out: %s", entry.name, error)
            result = {"name": f"{entry.name} (not run: no weights)", "scores": {}, "quick": False}
        made.append(result)
        for style, ending in (("markdown", "md"), ("csv", "csv")):
            (output / f"table.{ending}").write_text(result_files.render(made, style) + "\n", encoding="utf-8")
    _plots([result for result in made if result["scores"]], output)
    return made


def _run_entry(entry: Entry, loaded: list[Data], output: Path, cache: Path, progress: Progress) -> dict[str, Any]:
    spec = embedding.resolve(entry.spec)
    opened: list[Encoder] = []

    def open_encoder() -> Encoder:
        if not opened:
            opened.append(
                embedding.open_encoder(
                    spec, device=entry.device, batch_tokens=entry.batch_tokens, device_map=entry.device_map
                )
            )
        return opened[0]

    parts = []
    for data in loaded:
        path = output / entry.slug / f"{data.task.name}.json"
        part = _kept(path, spec, data)
        if part is None:
            part, _ = runner.run(
                [data],
                open_encoder,
                cache=cache,
                batch_tokens=entry.batch_tokens,
                name=entry.name,
                progress=lambda what, share: progress(f"{entry.name}: {what}", share),
            )
            result_files.write(path, part)
        parts.append(part)
    extra = {"method": entry.method, "parameters": entry.parameters}
    return result_files.merge(parts) | {key: value for key, value in extra.items() if value is not None}


def _kept(path: Path, spec: EncoderSpec, data: Data) -> dict[str, Any] | None:
    """Return the result of an earlier run, if it is of this encoder and these examples."""
    if not path.is_file():
        return None
    try:
        result = result_files.read(path)
        same = (
            result["encoder"]["fingerprint"] == spec.fingerprint
            and spec.precision in (None, result["dtype"])
            and result["data"][data.task.name]["sha256"] == data.digests
        )
    except (DataError, KeyError):
        return None
    return result if same else None


def _plots(made: list[dict[str, Any]], output: Path) -> None:
    """Draw plots where matplotlib is installed; the figures are in the tables anyway."""
    from semsearch.evaluation import plot

    if not plot.available():
        return
    plot.tasks(made, output / "tasks.svg")
    if any("parameters" in result for result in made):
        plot.scaling(made, output / "scaling.svg")
    if len({result.get("method") for result in made}) > 1:
        plot.methods(made, output / "methods.svg")
