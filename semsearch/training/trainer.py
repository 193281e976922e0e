"""The training loop: a recipe and a data folder → a run's folder with the adapter that is best on the dev sets."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from indexer import embedding
from indexer.errors import TrainingError
from semsearch import encoders
from semsearch.training import clean, data, devset, distill, loss, mining, report
from semsearch.training.batching import backward, micro_batches
from semsearch.training.data import Row, Rows
from semsearch.training.devset import DevSet
from semsearch.training.model import Student, check_gradients
from semsearch.training.recipe import Recipe, Schedule, Source
from semsearch.training.rundir import RunFolder, State
from semsearch.training.teacher import Teacher, open_teacher

Progress = Callable[[dict[str, Any]], None]
"""Called with every entry of the log."""


@dataclass(frozen=True)
class Prepared:
    """A recipe with its data read and cleaned, and the plan of its batches."""

    recipe: Recipe
    sources: list[Rows]
    dev: list[DevSet]
    batches: list[tuple[int, np.ndarray]]

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
    folder: Path
    steps: int
    best: float | None
    best_step: int
    first: float | None
    """The dev score before training."""


def prepare(
    recipe: Recipe, folder: Path, own: Mapping[str, Sequence[Row]] | None = None, device: str | None = None
) -> Prepared:
    """Read, clean, mine negatives and plan; texts of the dev sets are removed from the training rows.

    ``own``: rows that are in no file, by the path under which the recipe names them. ``device``: where the encoder
    that mines runs. Raises DataError."""
    dev = devset.load(recipe.dev, folder, own)
    held = [text for chosen in dev for text in chosen.texts]
    loaded = [data.load(source, folder, recipe.train.seed, own) for source in recipe.sources]
    sources = clean.clean(loaded, recipe.clean, folder, held)
    if any(source.mine for source in recipe.sources):
        sources = _mined(sources, recipe, device)
    rows = [len(source.rows) for source in sources]
    steps = recipe.train.steps or math.ceil(recipe.train.epochs * sum(rows) / recipe.train.batch)
    weights = [source.weight for source in recipe.sources]
    batches = data.plan(rows, weights, recipe.train.batch, steps, recipe.train.seed)
    return Prepared(recipe, sources, dev, batches)


def _mined(sources: Sequence[Rows], recipe: Recipe, device: str | None) -> list[Rows]:
    assert recipe.mine.encoder is not None
    encoder = embedding.open_encoder(encoders.named(recipe.mine.encoder), device=device)
    result = []
    for source in sources:
        bare = [row for row in source.rows if not row.negatives]
        if source.source.mine and bare:
            found = iter(mining.mine(bare, encoder, ceiling=recipe.mine.ceiling, skip=recipe.mine.skip))
            rows = tuple(row if row.negatives else next(found) for row in source.rows)
            count = sum(bool(row.negatives) for row in rows) - len(rows) + len(bare)
            source = replace(source, rows=rows, digest=data.digest(rows), counts={**source.counts, "mined": count})
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

    ``vectors``: a folder that keeps the teacher's vectors between runs.

    Under ``accelerate launch`` every process computes its share of each batch. Raises ConfigError (the folder is
    another run's), TrainingError (the loss is no number, a gradient is missing), ModelError, PrecisionError.
    """
    recipe, settings = prepared.recipe, prepared.recipe.train
    ranks = Ranks(device)
    folder = RunFolder(out)
    state = ranks.share(folder.begin(recipe, prepared.fingerprint, resume) if ranks.rank == 0 else None)
    student = Student(
        recipe.encoder, recipe.lora, device=ranks.device, checkpointing=settings.checkpointing, seed=settings.seed
    )
    name = recipe.loss.teacher
    teacher = None if name is None else open_teacher(name, torch.device(str(ranks.device)), vectors)
    learner = Learner(student, recipe, teacher)
    optimizer = learner.optimizer
    if state is not None:
        folder.restore(learner, state)
    started, fresh = datetime.now(UTC), state is None
    state = state or State()
    steps = len(prepared.batches)

    def note(entry: dict[str, Any]) -> None:
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
        if state.step == 0:  # an untrained adapter is no result, its score only where the run began
            pass
        elif better:
            state = replace(state, best=score if prepared.dev else None, best_step=state.step, worse=0)
        else:
            state = replace(state, worse=state.worse + 1)
        if ranks.rank == 0:
            if better:
                with learner.averaged():
                    folder.adapter(student)
            folder.checkpoint(learner, state)
        if prepared.dev:
            note({"event": "check", "step": state.step, "dev": round(score, 3),
                  "scores": {k: round(v, 3) for k, v in scores.items()}, "best": better})  # fmt: skip
        return state

    if fresh:
        state = check(state)
    while state.step < steps and (settings.patience is None or state.worse < settings.patience):
        clock = time.perf_counter()
        share = learning_rate(state.step, steps, settings.warmup, settings.schedule)
        rate = learner.set_rates(share)
        number, rows = prepared.batches[state.step]
        source = prepared.sources[number]
        student.train()
        chosen = [source.rows[i] for i in rows]
        value, tokens = _step(learner, recipe, source.source, chosen, ranks, state.step)
        if state.step == 0:
            check_gradients(student)
        norm = float(nn.utils.clip_grad_norm_(student.parameters(), settings.clip or math.inf))
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise TrainingError(
                f"step {state.step + 1}: loss {value}, gradient norm {norm}; lower train.lr or raise loss.temperature, "
                f"then start anew (the best adapter so far, of step {state.best_step}, is in {out})"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        student.refresh()
        learner.follow()
        seconds = time.perf_counter() - clock
        state = replace(state, step=state.step + 1, seconds=state.seconds + seconds, tokens=state.tokens + tokens)
        note({"event": "step", "step": state.step, "steps": steps, "loss": round(value, 5), "norm": round(norm, 4),
              "lr": rate, "source": source.source.path, "tokens": tokens, "tokens_per_second": round(tokens / seconds),
              "seconds": round(seconds, 2),
              "left": round((steps - state.step) * state.seconds / state.step, 1)})  # fmt: skip
        if state.step % settings.check_every == 0 or state.step == steps:
            state = check(state)
        elif state.step % settings.save_every == 0 and ranks.rank == 0:
            folder.checkpoint(learner, state)
    entries = folder.entries()
    first = next((e["dev"] for e in entries if e["event"] == "check" and e["step"] == 0), None)
    result = Result(out, state.step, state.best, state.best_step, first)
    ranks.leave()
    if ranks.rank == 0:
        _finish(folder, prepared, student, teacher, state, result, started, ranks)
    return result


def learning_rate(step: int, steps: int, warmup: int, schedule: Schedule = "linear") -> float:
    """Of the step numbered from 0, its share of the highest rate: linear growth over ``warmup`` steps, then by the
    schedule a linear decay to zero after the last step, or none."""
    if step < warmup:
        return (step + 1) / warmup
    return 1.0 if schedule == "constant" else (steps - step) / max(1, steps - warmup)


@dataclass(frozen=True)
class Batch:
    """The texts of some rows: each once, or where dropout tells two views apart, as often as they occur."""

    texts: list[str]
    query: list[bool]
    groups: loss.Groups
    keys: list[int]
    """Equal numbers for texts that are equal to a reader."""


def collate(rows: Sequence[Row], source: Source, distinct: bool) -> Batch:
    texts: list[str] = []
    query: list[bool] = []
    places: dict[tuple[str, bool], int] = {}

    def place(text: str, asked: bool) -> int:
        if distinct and (text, asked) in places:
            return places[text, asked]
        texts.append(text)
        query.append(asked)
        return places.setdefault((text, asked), len(texts) - 1) if distinct else len(texts) - 1

    numbered = [
        (place(row.anchor, source.query), place(row.positive, False), tuple(place(n, False) for n in row.negatives))
        for row in rows
    ]
    keys = [clean.key(text) or text for text in texts]
    numbers: dict[str, int] = {}
    return Batch(texts, query, loss.group(numbered, keys), [numbers.setdefault(key, len(numbers)) for key in keys])


class Learner:
    """What a training changes: the model's adapter, the map to the teacher's space, and the adapter's average.

    Attributes:
        student: The model.
        teacher: What it learns from, or None.
        mapping: The linear map of [distill], or None.
        optimizer: Of the adapter and the map.
    """

    def __init__(self, student: Student, recipe: Recipe, teacher: Teacher | None) -> None:
        """Begin at the student's present adapter, with a map drawn by the recipe's seed."""
        settings, self.student, self.teacher = recipe.train, student, teacher
        groups: list[dict[str, Any]] = [{"params": student.parameters(), "lr": settings.lr}]
        self.mapping: nn.Parameter | None = None
        if recipe.distill is not None and recipe.distill.vectors and teacher is not None:
            self.mapping = distill.make_map(student.dim, teacher.dim, settings.seed, student.device)
            groups.append({"params": [self.mapping], "lr": recipe.distill.map_lr, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        self._rates = [group["lr"] for group in groups]
        self._decay = settings.average
        self._average = {k: v.clone() for k, v in student.state().items()} if self._decay else {}
        self._steps = 0

    def set_rates(self, share: float) -> float:
        """Set each group's learning rate to a share of its highest; return the adapter's."""
        for group, top in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = top * share
        return float(self.optimizer.param_groups[0]["lr"])

    def follow(self) -> None:
        """Take the present adapter into the average, whose first values count for less and less."""
        self._steps += 1
        keep = min(self._decay, self._steps / (self._steps + 9))
        for name, value in self.student.state().items() if self._decay else ():
            self._average[name].lerp_(value, 1 - keep)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the average in the adapter's place for a while; nothing changes where none is kept."""
        if not self._decay:
            yield
            return
        present = {name: value.clone() for name, value in self.student.state().items()}
        self.student.restore(self._average)
        try:
            yield
        finally:
            self.student.restore(present)

    def extra(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs beside the adapter and the optimizer."""
        found = {f"average.{name}": value for name, value in self._average.items()}
        if self.mapping is not None:
            found["map"] = self.mapping.detach()
        return found

    def restore_extra(self, values: Mapping[str, Tensor], step: int) -> None:
        """Go on from a checkpoint's ``extra``, after so many steps."""
        self._steps = step
        for name in self._average:
            self._average[name].copy_(values[f"average.{name}"])
        if self.mapping is not None:
            self.mapping.data.copy_(values["map"])


def _step(
    learner: Learner, recipe: Recipe, source: Source, rows: Sequence[Row], ranks: Ranks, step: int
) -> tuple[float, int]:
    """Gradients of one batch into the parameters; its loss and number of tokens."""
    settings, student, teacher = recipe.train, learner.student, learner.teacher
    dropout = recipe.lora.dropout > 0 or recipe.lora.base_dropout
    batch = collate(rows, source, distinct=not dropout)
    ids = student.prompts(batch.texts, settings.max_tokens, query=batch.query, normalise=settings.normalise)
    parts = micro_batches([len(row) for row in ids], settings.micro_tokens)[ranks.rank :: ranks.world]
    known = teacher.vectors(batch.texts) if teacher is not None else None
    groups = _to(batch.groups, student.device)

    def value(vectors: Tensor) -> Tensor:
        rules = recipe.loss
        total = vectors.new_zeros(())
        if rules.contrastive:
            total = rules.contrastive * loss.contrastive(
                vectors, groups, rules.temperature, margin=rules.margin, guide=known if rules.guide else None,
                symmetric=source.symmetric,
            )  # fmt: skip
        if known is not None and recipe.distill is not None and learner.mapping is not None:
            alone = step < recipe.distill.map_alone
            total = total + distill.loss(vectors, known, batch.keys, learner.mapping, recipe.distill, alone=alone)
        elif known is not None and rules.distil_weight:
            if rules.distil == "vectors":
                extra = loss.distil_vectors(vectors, known)
            else:
                extra = loss.distil_scores(vectors, known, groups, rules.distil_temperature)
            total = total + rules.distil_weight * extra
        return total

    result = backward(
        lambda part: student.embed([ids[i] for i in part.rows]), parts, (len(ids), student.dim), value,
        keep_tokens=settings.keep_tokens, seed=settings.seed * 1_000_003 + step * ranks.world + ranks.rank,
        device=student.device, gather=ranks.sum if ranks.world > 1 else None,
    )  # fmt: skip
    if ranks.world > 1:
        for parameter in student.parameters():
            if parameter.grad is None:  # this process had no micro-batch
                parameter.grad = torch.zeros_like(parameter)
            ranks.sum(parameter.grad)
        # every process has the whole gradient of the map: the loss sees the vectors of all
    return result, sum(map(len, ids))


def _to(groups: loss.Groups, device: torch.device) -> loss.Groups:
    return loss.Groups(*(getattr(groups, n).to(device) for n in ("anchors", "candidates", "masked", "hard")))


class Ranks:
    """The processes of one run: this one alone, or those that ``accelerate launch`` started."""

    def __init__(self, device: str | None):
        self.rank, self.world = 0, int(os.environ.get("WORLD_SIZE", "1"))
        self.device: Any = device
        if self.world > 1:
            from accelerate import PartialState

            state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
            self.rank, self.device = state.process_index, state.device
        if self.device is None:
            from indexer.embedding.precision import pick_device

            self.device = pick_device(None)

    def sum(self, tensor: Tensor) -> Tensor:
        torch.distributed.all_reduce(tensor)
        return tensor

    def from_first(self, value: float) -> float:
        """The first process's value, in all."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(tensor, 0)
        return float(tensor)

    def share(self, state: State | None) -> State | None:
        """The first process's state, in all."""
        if self.world == 1:
            return state
        box = [state]
        torch.distributed.broadcast_object_list(box, 0)
        return box[0]

    def leave(self) -> None:
        """Part, once all are here. A process that ended with its connections open was aborted now and then."""
        if self.world > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()


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
    entries = folder.entries()
    checks = [e for e in entries if e["event"] == "check"]
    best = next((e for e in checks if e["step"] == result.best_step), None)
    folder.json("evaluation.json", {
        "best_step": result.best_step, "dev": result.best, "scores": best["scores"] if best else {},
        "untrained": result.first, "checks": checks,
    })  # fmt: skip
    folder.json("provenance.json", {
        "recipe": {"name": prepared.recipe.name, "sha256": prepared.recipe.digest},
        "model": {"name": prepared.recipe.encoder.model, "weights": student.spec.weights},
        "teacher": None if teacher is None else {"name": prepared.recipe.loss.teacher, "encoder": teacher.fingerprint},
        "data": [{"path": s.source.path, "sha256": s.digest, "rows": dict(s.counts)} for s in prepared.sources],
        "dev": [{"path": d.dev.path, "texts": len(d.texts)} for d in prepared.dev],
        "steps": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 1),
        "tokens_per_second": round(state.tokens / state.seconds) if state.seconds else None,
        "last_start": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"platform": platform.machine(), "processor": report.processor(), "cores": os.cpu_count(),
                    "threads": torch.get_num_threads(), "processes": ranks.world, **student.notes},
        "versions": {name: version(name) for name in ("semsearch", "torch", "transformers", "peft", "tokenizers")},
    })  # fmt: skip
    folder.text("curves.svg", report.curves(entries))
    folder.text("README.md", report.card(prepared.recipe, prepared.sources, result, best["scores"] if best else {}))
