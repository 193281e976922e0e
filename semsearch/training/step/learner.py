"""One step of a training: rows → the texts of a batch → their loss → gradients; and all that the step changes.

n texts of a batch, d the model's numbers.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semsearch.training.data import clean
from semsearch.training.step import distill, loss
from semsearch.training.step.batching import backward, micro_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from semsearch.training.data.rows import Row
    from semsearch.training.recipe import Recipe, Schedule, Source
    from semsearch.training.run.ranks import Ranks
    from semsearch.training.step.student import Student
    from semsearch.training.step.teacher import Teacher

RAMP = 9
"""After so many steps the average forgets half of what it was; without it the first values would stay for long."""


def learning_rate(step: int, steps: int, warmup: int, schedule: Schedule = "linear") -> float:
    """Return a step's share of the highest learning rate.

    Args:
        step: The step's number, from 0.
        steps: Steps in all.
        warmup: Steps of linear growth.
        schedule: What follows: a linear decay to zero after the last step, or none.
    """
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
    owners: list[int]
    """Equal numbers for texts of one row; of a text that several rows have, the first one's."""


@dataclass(frozen=True)
class Ready:
    """What a step reads of some rows of one source."""

    source: Source
    batch: Batch
    ids: list[list[int]]
    """Token ids of each text's prompt."""


def collate(rows: Sequence[Row], source: Source, distinct: bool) -> Batch:
    """Return the batch of some rows of one source; ``distinct``: equal texts go through the model once."""
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
    owners = {i: number for number, row in reversed(list(enumerate(numbered))) for i in (row[0], row[1], *row[2])}
    return Batch(
        texts, query, loss.group(numbered, keys), [numbers.setdefault(key, len(numbers)) for key in keys],
        [owners[i] for i in range(len(texts))],
    )  # fmt: skip


class Learner:
    """What a training changes: the model's adapter, the map to the teacher's space, and the adapter's average.

    Attributes:
        student: The model.
        optimizer: Of the adapter and the map.
    """

    def __init__(self, student: Student, recipe: Recipe, teacher: Teacher | None) -> None:
        """Begin at the student's present adapter, with a map drawn by the recipe's seed."""
        settings = recipe.train
        self.student = student
        self._recipe, self._teacher = recipe, teacher
        groups: list[dict[str, Any]] = [{"params": student.parameters(), "lr": settings.lr}]
        self._map: nn.Parameter | None = None
        if recipe.distill is not None and recipe.distill.vectors and teacher is not None:
            self._map = distill.make_map(student.dim, teacher.dim, settings.seed, student.device)
            groups.append({"params": [self._map], "lr": recipe.distill.map_lr, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        self._rates = [float(group["lr"]) for group in groups]
        self._decay = settings.average
        self._average = {k: v.clone() for k, v in student.state().items()} if self._decay else {}

    def ready(self, source: Source, rows: Sequence[Row]) -> Ready:
        """Return what ``step`` reads of some rows; a thread may make it while the model is at the step before."""
        settings = self._recipe.train
        batch = collate(rows, source, distinct=not self._recipe.lora.random)
        ids = self.student.prompts(batch.texts, settings.max_tokens, query=batch.query, normalise=settings.normalise)
        return Ready(source, batch, ids)

    def step(self, ready: Ready, ranks: Ranks, step: int) -> tuple[float, int]:
        """Leave the gradients of one batch in the parameters; return its loss and its number of tokens.

        Args:
            ready: The batch.
            ranks: The processes that share it.
            step: The step's number, from 0; dropout depends on it.
        """
        student, settings = self.student, self._recipe.train
        source, batch, ids = ready.source, ready.batch, ready.ids
        parts = micro_batches([len(row) for row in ids], settings.micro_tokens)[ranks.rank :: ranks.world]
        known = self._teacher.vectors(batch.texts) if self._teacher is not None else None
        groups = batch.groups.to(student.device)
        result = backward(
            lambda part: student.embed([ids[i] for i in part.rows]), parts, (len(ids), student.dim),
            lambda vectors: self._loss(vectors, known, batch, groups, source, step),
            keep_tokens=settings.keep_tokens, seed=settings.seed * 1_000_003 + step * ranks.world + ranks.rank,
            device=student.device, gather=ranks.sum if ranks.world > 1 else None,
        )  # fmt: skip
        student.collect()
        if ranks.world > 1:  # the map's gradient is whole in every process: its loss sees all vectors
            for parameter in student.parameters():
                if parameter.grad is None:  # this process had no micro-batch
                    parameter.grad = torch.zeros_like(parameter)
                ranks.sum(parameter.grad)
        return result, sum(map(len, ids))

    def _loss(
        self, vectors: Tensor, known: Tensor | None, batch: Batch, groups: loss.Groups, source: Source, step: int
    ) -> Tensor:
        """Return the weighted sum of the recipe's losses; ``known``: the teacher's vectors."""
        rules, texts = self._recipe.loss, self._recipe.distill
        total = vectors.new_zeros(())
        if rules.contrastive and source.contrast:
            total = rules.contrastive * loss.contrastive(
                vectors, groups, rules.temperature, margin=rules.margin, guide=known if rules.guide else None,
                symmetric=source.symmetric,
            )  # fmt: skip
        if known is None:
            return total
        if texts is not None:
            alone = step < texts.map_alone
            return total + distill.loss(vectors, known, batch.keys, batch.owners, self._map, texts, alone=alone)
        if rules.distil_weight and rules.distil == "vectors":
            return total + rules.distil_weight * loss.distil_vectors(vectors, known)
        if rules.distil_weight:
            return total + rules.distil_weight * loss.distil_scores(vectors, known, groups, rules.distil_temperature)
        return total

    def set_rates(self, share: float) -> float:
        """Set every learning rate to a share of its highest; return the adapter's."""
        for group, top in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = top * share
        return self._rates[0] * share

    def follow(self, step: int) -> None:
        """Take the adapter as it is after ``step`` steps into the average."""
        keep = min(self._decay, step / (step + RAMP))
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
        """Return what a checkpoint needs beside the adapter and the optimizer's state."""
        found = {f"average.{name}": value for name, value in self._average.items()}
        if self._map is not None:
            found["map"] = self._map.detach()
        return found

    def restore_extra(self, values: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint's ``extra``."""
        for name, value in self._average.items():
            value.copy_(values[f"average.{name}"])
        if self._map is not None:
            self._map.data.copy_(values["map"])
