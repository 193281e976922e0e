"""The training loop: a recipe and a data folder → a run's folder with the adapter that is best on the dev sets."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from indexer import embedding
from indexer.errors import TrainingError
from semsearch import encoders
from semsearch.training.data import alike, clean, devset, mining
from semsearch.training.data import rows as training_rows
from semsearch.training.data.batch_plan import plan
from semsearch.training.run import card, projection
from semsearch.training.run.ranks import Ranks
from semsearch.training.run.rundir import RunFolder, State
from semsearch.training.step.learner import Learner, Ready, learning_rate
from semsearch.training.step.student import Student, begun_from, check_gradients
from semsearch.training.step.teacher import Teacher, open_teacher

if TYPE_CHECKING:
    import numpy as np

    from semsearch.training.data.devset import DevSet
    from semsearch.training.data.rows import Row, Rows
    from semsearch.training.recipe import Recipe

Entry = dict[str, Any]
"""One line of the log: a step or a check."""
Progress = Callable[[Entry], None]
"""Called with every entry of the log."""


@dataclass(frozen=True)
class Prepared:
    """A recipe with its data read and cleaned, and the plan of its batches."""

    recipe: Recipe
    sources: list[Rows]
    dev: list[DevSet]
    batches: list[tuple[int, np.ndarray]]
    """(number of the source, (b,) int64 row numbers) of each step."""

    @property
    def fingerprint(self) -> str:
        """Digest of all rows, training and dev."""
        value = hashlib.sha256()
        for source in self.sources:
            value.update(source.digest.encode())
        for chosen in self.dev:
            value.update(json.dumps(chosen.texts).encode())
        return value.hexdigest()


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    steps: int
    best: float | None
    """The dev score of the adapter that was kept; None: there are no dev sets."""
    best_step: int
    first: float | None
    """The dev score before training."""


def prepare(
    recipe: Recipe, folder: Path, own: Mapping[str, Sequence[Row]] | None = None, device: str | None = None
) -> Prepared:
    """Read, clean, mine negatives and plan; texts of the dev sets are removed from the training rows.

    Args:
        recipe: What to train on.
        folder: The data folder, to which the recipe's paths are relative.
        own: Rows that are in no file, by the path under which the recipe names them.
        device: Where the encoder that mines runs.

    Raises:
        DataError: A file is missing or not what the recipe says, or too few rows are left.
    """
    dev = devset.load(recipe.dev, folder, own)
    held = [text for chosen in dev for text in chosen.texts]
    loaded = [training_rows.load(source, folder, recipe.train.seed, own) for source in recipe.sources]
    sources = clean.clean(loaded, recipe.clean, folder, held)
    if any(source.mine for source in recipe.sources):
        sources = _mined(sources, recipe, device)
    sizes = [len(source.rows) for source in sources]
    settings = recipe.train
    last = settings.first + (settings.steps or math.ceil(settings.epochs * sum(sizes) / settings.batch))
    weights = [source.weight for source in recipe.sources]
    near = {i: alike.signatures(source.rows) for i, source in enumerate(sources) if source.source.alike}
    batches = plan(sizes, weights, settings.batch, settings.planned or last, settings.seed, near)
    return Prepared(recipe, sources, dev, batches[settings.first : last])


def _mined(sources: Sequence[Rows], recipe: Recipe, device: str | None) -> list[Rows]:
    """Return the sources with the hard negatives that [mine] asks for."""
    assert recipe.mine.encoder is not None
    encoder = embedding.open_encoder(encoders.named(recipe.mine.encoder), device=device)
    result = []
    for source in sources:
        bare = [row for row in source.rows if not row.negatives]
        if source.source.mine and bare:
            found = iter(mining.mine(bare, encoder, ceiling=recipe.mine.ceiling, skip=recipe.mine.skip))
            rows = tuple(row if row.negatives else next(found) for row in source.rows)
            count = sum(bool(row.negatives) for row in rows) - len(rows) + len(bare)
            source = replace(
                source, rows=rows, digest=training_rows.digest(rows), counts={**source.counts, "mined": count}
            )
        result.append(source)
    return result


def train(
    prepared: Prepared,
    out: Path,
    *,
    device: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    vectors: Path | None = None,
) -> Result:
    """Run, or with ``resume`` go on with, a training into ``out``.

    Under ``accelerate launch`` every process computes its share of each batch.

    Args:
        prepared: The recipe and its data.
        out: The run's folder: new, or with ``resume`` that of a run of the same recipe and data.
        device: cpu, cuda, cuda:N or mps; None: the best there is.
        resume: Whether to go on from the newest checkpoint.
        progress: Called with every entry of the log.
        vectors: A folder that keeps the teacher's vectors between runs.

    Raises:
        ConfigError: The folder is another run's.
        TrainingError: The loss is no number, a gradient is missing, or a checkpoint is damaged.
        ModelError: The model, the adapter to go on from or the teacher cannot be found or read.
        PrecisionError: The device does not compute in the recipe's precision.
    """
    recipe, settings = prepared.recipe, prepared.recipe.train
    ranks = Ranks(device)
    folder = RunFolder(out)
    state = ranks.share(folder.begin(recipe, prepared.fingerprint, resume) if ranks.rank == 0 else None)
    student = Student(
        recipe.encoder, recipe.lora, device=ranks.device, checkpointing=settings.checkpointing, seed=settings.seed
    )
    teacher = None if recipe.loss.teacher is None else open_teacher(recipe.loss.teacher, ranks.device, vectors)
    learner = Learner(student, recipe, teacher)
    if state is not None:
        folder.restore(learner, state)
    started, fresh = datetime.now(UTC), state is None
    state = state or State()
    steps = len(prepared.batches)

    def note(entry: Entry) -> None:
        if ranks.rank == 0:
            folder.log(entry)
            if progress is not None:
                progress(entry)

    def check(state: State) -> State:
        """Judge the present adapter, keep it if it is the best, write the checkpoint."""
        with learner.averaged():
            score, scores = devset.evaluate(prepared.dev, student.encode) if prepared.dev else (math.nan, {})
            score = ranks.from_first(score)
            better = state.step > 0 and (not prepared.dev or state.best is None or score > state.best)
            if better and ranks.rank == 0:
                folder.adapter(student)
        if better:
            state = replace(state, best=score if prepared.dev else None, best_step=state.step, worse=0)
        elif state.step > 0:  # an untrained adapter is no result, its score only where the run began
            state = replace(state, worse=state.worse + 1)
        if ranks.rank == 0:
            folder.checkpoint(learner, state)
        if prepared.dev:
            note({"event": "check", "step": state.step, "dev": round(score, 3),
                  "scores": {k: round(v, 3) for k, v in scores.items()}, "best": better})  # fmt: skip
        return state

    if fresh:
        state = check(state)
    coming = _ahead(learner, prepared.sources, prepared.batches[state.step :])
    while state.step < steps and (settings.patience is None or state.worse < settings.patience):
        clock = time.perf_counter()
        rate = learner.set_rates(learning_rate(state.step, steps, settings.warmup, settings.schedule))
        ready = next(coming)
        student.train()
        value, tokens = learner.step(ready, ranks, state.step)
        if state.step == 0:
            check_gradients(student)
        norm = float(nn.utils.clip_grad_norm_(student.parameters(), settings.clip or math.inf))
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise TrainingError(
                f"step {state.step + 1}: loss {value}, gradient norm {norm}; lower train.lr or raise loss.temperature, "
                f"then start anew (the best adapter so far, of step {state.best_step}, is in {out})"
            )
        learner.optimizer.step()
        learner.optimizer.zero_grad(set_to_none=True)
        student.refresh()
        learner.follow(state.step + 1)
        seconds = time.perf_counter() - clock
        state = replace(state, step=state.step + 1, seconds=state.seconds + seconds, tokens=state.tokens + tokens)
        note({"event": "step", "step": state.step, "steps": steps, "loss": round(value, 5), "norm": round(norm, 4),
              "lr": rate, "source": ready.source.path, "tokens": tokens, "tokens_per_second": round(tokens / seconds),
              "seconds": round(seconds, 2),
              "left": round((steps - state.step) * state.seconds / state.step, 1)})  # fmt: skip
        if state.step % settings.check_every == 0 or state.step == steps:
            state = check(state)
        elif state.step % settings.save_every == 0 and ranks.rank == 0:
            folder.checkpoint(learner, state)
    coming.close()
    entries = folder.entries()
    first = next((e["dev"] for e in entries if e["event"] == "check" and e["step"] == 0), None)
    result = Result(out, state.step, state.best, state.best_step, first)
    ranks.leave()
    if ranks.rank == 0:
        _finish(folder, prepared, student, teacher, state, result, started, ranks)
        learned = recipe.distill is not None and recipe.distill.dimensions  # then the first numbers do by themselves
        if result.best_step and not learned:
            folder.restore_best(student)
            begun = begun_from(recipe.lora, recipe.encoder)
            projection.write(out, begun, student.encode, student.dim, prepared.sources, settings.seed)
    return result


def _ahead(
    learner: Learner, sources: Sequence[Rows], planned: Sequence[tuple[int, np.ndarray]]
) -> Generator[Ready, None, None]:
    """Yield planned batches as steps read them, each made by a thread while the model is at the one before."""
    with ThreadPoolExecutor(1) as thread:
        coming: Future[Ready] | None = None
        for number, rows in planned:
            source = sources[number]
            before, coming = coming, thread.submit(learner.ready, source.source, [source.rows[i] for i in rows])
            if before is not None:
                yield before.result()
        if coming is not None:
            yield coming.result()


def _finish(
    folder: RunFolder,
    prepared: Prepared,
    student: Student,
    teacher: Teacher | None,
    state: State,
    result: Result,
    started: datetime,
    ranks: Ranks,
) -> None:
    """Write evaluation.json, provenance.json, the curves and the card."""
    recipe, entries = prepared.recipe, folder.entries()
    checks = [e for e in entries if e["event"] == "check"]
    scores: dict[str, float] = next((e["scores"] for e in checks if e["step"] == result.best_step), {})
    folder.json("evaluation.json", {
        "best_step": result.best_step, "dev": result.best, "scores": scores, "untrained": result.first,
        "checks": checks,
    })  # fmt: skip
    folder.json("provenance.json", {
        "recipe": {"name": recipe.name, "sha256": recipe.digest},
        "model": {"name": recipe.encoder.model, "weights": student.spec.weights},
        "teacher": None if teacher is None else {"name": recipe.loss.teacher, "encoder": teacher.fingerprint},
        "data": [{"path": s.source.path, "sha256": s.digest, "rows": dict(s.counts)} for s in prepared.sources],
        "dev": [{"path": d.dev.path, "texts": len(d.texts)} for d in prepared.dev],
        "steps": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 1),
        "tokens_per_second": round(state.tokens / state.seconds) if state.seconds else None,
        "last_start": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"platform": platform.machine(), "processor": _processor(), "cores": os.cpu_count(),
                    "threads": torch.get_num_threads(), "processes": ranks.world, **student.notes},
        "versions": _versions("semsearch", "torch", "transformers", "peft", "tokenizers"),
    })  # fmt: skip
    folder.text("curves.svg", card.curves(entries))
    folder.text("README.md", card.card(recipe, prepared.sources, result.best_step, result.first, scores))


def _versions(*packages: str) -> dict[str, str | None]:
    """Return the versions of packages; None: it runs from a checkout and is not installed."""
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _processor() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
