"""Adapt a collection's encoder to the collection: prepare, judge the new adapter, put it to use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from indexer import embedding
from indexer.embedding.weights import models
from indexer.errors import DataError, UsageError
from indexer.progress import Progress, silent
from semsearch.collection import Collection
from semsearch.evaluation import gate, runner
from semsearch.evaluation.judged.collection import judgements_for
from semsearch.evaluation.sentences.task_data import Data, find_downstream
from semsearch.making import Runtime
from semsearch.training import trainer
from semsearch.training.data import collection_pairs
from semsearch.training.run.rundir import RunFolder
from semsearch.training.step.student import plain_lora

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from semsearch.evaluation.gate import Verdict
    from semsearch.evaluation.judged.queries import Judged
    from semsearch.evaluation.metrics import Score
    from semsearch.results import Reindexed
    from semsearch.settings import Settings
    from semsearch.training.recipe import Lora, Recipe
    from semsearch.training.trainer import Prepared

STS = "STSBenchmark-dev"
"""What every gate looks at where the data is at hand: no test set, so that choosing by it spoils none."""
STS_DROP = 2.0
"""Points that adapting to a collection may cost of it."""


@dataclass(frozen=True)
class Adaptation:
    """A training on a collection that is ready to run, and what the present encoder scores."""

    prepared: Prepared
    present: EncoderSpec
    held: collection_pairs.HeldOut
    before: Score
    sts: Data | None
    sts_before: Score | None
    judged: str = ""
    """How many judged queries there are, in words."""


def prepare(
    settings: Settings,
    recipe: Recipe,
    judgements: Path | Literal["own", "none"],
    data: Path,
    override: Callable[[Recipe], Recipe] = lambda recipe: recipe,
) -> Adaptation:
    """Make pairs of ``settings.collection`` and a recipe that goes on from its encoder.

    Args:
        settings: Say which collection.
        recipe: What to make of it.
        judgements: A file of judged queries; "own": those kept with the collection, where they are enough; "none":
            texts alone.
        data: The folder of the recipe's other sources.
        override: Puts in what a person asked for, after the recipe was cut to the number of pairs.

    Raises:
        CollectionNotFound: There is no such collection.
        UsageError: It has no model, or is partial.
        DataError: It gives too few pairs, or a file of the recipe is missing.
        ConfigError: The recipe or the present adapter does not allow it.
        MismatchError: The model's files have changed since the collection was made.
    """
    with Collection(settings=settings) as docs, docs.view() as view:
        present = docs.spec
        if present.hashed:
            raise UsageError(f"collection {docs.name!r} has no model that could be trained")
        started = _goes_on_from(recipe, present)  # refuse before the model is loaded
        if pending := view.counts.pending:
            raise UsageError(
                f"collection {docs.name!r} is partial: {pending} passages are not embedded yet; finish it "
                "with `semsearch index` first"
            )
        encoder = docs.encoder
        judged, said = _judged(docs, judgements)
        material = collection_pairs.gather(view.snapshot, encoded(encoder), judged, recipe.train.seed)
    chosen = override(collection_pairs.recipe_for(started, material))
    prepared = trainer.prepare(chosen, data, material.rows, settings.device)
    sts = sts_data(settings.data, data)
    return Adaptation(
        prepared, present, material.held, material.held.score(encoded(encoder)), sts,
        None if sts is None else runner.score([sts], encoder)[0], said,
    )  # fmt: skip


def _judged(docs: Collection, judgements: Path | Literal["own", "none"]) -> tuple[Judged | None, str]:
    """Return the judged queries to train on, None for texts alone; and what they are, in words."""
    if judgements == "none":
        return None, "the collection's texts alone"
    if judgements != "own":
        judged = judgements_for(docs, judgements)
        return judged, f"{len(judged.queries)} judged queries of {judgements}"
    if not any(each.grade for each in docs.judgements()):
        return None, "the collection's texts alone: nothing has been judged (semsearch judge)"
    judged, needed = judgements_for(docs, None), collection_pairs.MIN_QUERIES
    if len(collection_pairs.different_queries(judged)) < needed:
        return None, f"the collection's texts alone: {len(judged.queries)} queries are judged, {needed} are needed"
    return judged, f"{len(judged.queries)} judged queries"


def judge(adaptation: Adaptation, settings: Settings, folder: Path, max_drop: float) -> dict[str, Verdict]:
    """Return the verdicts of the gate: the run's adapter against the present encoder, by what is looked at.

    They are noted in the run's folder too.
    """
    encoder = _runtime(settings).open(with_adapter(adaptation.present, folder))
    after = adaptation.held.score(encoded(encoder))
    verdicts = {str(adaptation.held): gate.compare([adaptation.before], [after], max_drop=max_drop)}
    if adaptation.sts is not None and adaptation.sts_before is not None:
        sts = runner.score([adaptation.sts], encoder)
        drop = max(max_drop, STS_DROP)
        verdicts[_title(adaptation.sts)] = gate.compare([adaptation.sts_before], sts, max_drop=drop)
    _note(folder, verdicts)
    return verdicts


def judge_run(recipe: Recipe, settings: Settings, sts: Data, folder: Path, max_drop: float) -> dict[str, Verdict]:
    """Return the verdicts of the gate after an ordinary run: its adapter against what it went on from."""
    scores = []
    for spec in (replace(recipe.encoder, adapter=recipe.lora.init), with_adapter(recipe.encoder, folder)):
        scores.append(runner.score([sts], _runtime(settings).open(embedding.resolve(spec))))
    verdicts = {_title(sts): gate.compare(*scores, max_drop=max_drop)}
    _note(folder, verdicts)
    return verdicts


def install(settings: Settings, folder: Path, progress: Progress = silent) -> Reindexed | None:
    """Embed the collection anew with the run's adapter, beside it, and put the result in its place.

    Returns:
        What was done; None where the collection has this adapter already.

    Raises:
        LockedError: Another process writes to it.
        StoreError: It has changed meanwhile.
    """
    with Collection(settings=settings) as docs:
        return docs.reindex(with_adapter(docs.spec, folder), progress=progress)


def with_adapter(spec: EncoderSpec, folder: Path) -> EncoderSpec:
    """Return the encoder with a run's adapter."""
    return embedding.resolve(replace(spec, adapter=str(folder.absolute()), adapter_weights=None))


def encoded(encoder: Encoder) -> collection_pairs.Encode:
    """Return the encoder as a function of texts and their role."""

    def encode(texts: Sequence[str], query: bool = False) -> np.ndarray:
        return encoder.encode(texts, role="query" if query else "passage")

    return encode


def sts_data(*folders: Path | None) -> Data | None:
    """Return a fixed part of STS-B dev from the first folder that has it."""
    for folder in folders:
        if find_downstream(folder) is not None:
            try:
                return runner.load([STS], folder, quick=True)[0]
            except DataError:
                continue
    return None


def _goes_on_from(recipe: Recipe, spec: EncoderSpec) -> Recipe:
    """Return the recipe for this encoder.

    Its adapter is where training begins: an adapter upon a merged adapter could not be loaded as one.
    """
    lora: Lora = recipe.lora
    if spec.adapter is not None:
        folder = models.locate(spec).adapter
        assert folder is not None
        rank, alpha = plain_lora(folder)
        lora = replace(lora, init=spec.adapter, rank=rank, alpha=alpha)
    base = replace(spec, adapter=None, adapter_weights=None, weights=None, precision=None)
    return replace(recipe, encoder=base, lora=lora)


def _note(folder: Path, verdicts: Mapping[str, Verdict]) -> None:
    """Write the verdicts into the run's evaluation.json."""
    run = RunFolder(folder)
    values = run.read("evaluation.json") | {"gate": {what: verdict.to_dict() for what, verdict in verdicts.items()}}
    run.json("evaluation.json", values)


def _title(sts: Data) -> str:
    """Return what is looked at, in words."""
    return f"{sum(map(len, sts.parts.values()))} pairs of {sts.task.name}"


def _runtime(settings: Settings) -> Runtime:
    """Return how encoders run here."""
    return Runtime(settings.device, settings.batch_tokens)
