"""The estimates of a dry run: steps, memory and time, from the data and one measured micro-batch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semsearch.training.step.batching import micro_batches
from semsearch.training.step.learner import collate
from semsearch.training.step.student import Student

if TYPE_CHECKING:
    from semsearch.training.trainer import Prepared


@dataclass(frozen=True)
class Estimate:
    """What a run would take, from its data and one measured micro-batch."""

    rows: int
    steps: int
    parameters: int
    """Trainable."""
    adapter_bytes: int
    tokens_per_step: float
    tokens_per_second: float
    memory_bytes: float
    seconds: float
    """All steps and dev checks."""


def estimate(prepared: Prepared, device: str | None = None) -> Estimate:
    """Return what a run would take, by running one micro-batch forth and back.

    Raises:
        ModelError: The model or the adapter to go on from cannot be found or read.
        PrecisionError: The device does not compute in the recipe's precision.
    """
    recipe, settings = prepared.recipe, prepared.recipe.train
    student = Student(recipe.encoder, recipe.lora, device=device, checkpointing=settings.checkpointing)
    number, rows = prepared.batches[0]
    source = prepared.sources[number]
    batch = collate([source.rows[i] for i in rows], source.source, distinct=not recipe.lora.random)
    ids = student.prompts(batch.texts, settings.max_tokens, query=batch.query, normalise=settings.normalise)
    parts = micro_batches([len(row) for row in ids], settings.micro_tokens)
    part = parts[len(parts) // 2]
    chosen = [ids[i] for i in part.rows]
    saved: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    student.train()
    torch.autograd.backward(student.embed(chosen[:2]).float().sum())  # first calls prepare kernels
    clock = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        value = student.embed(chosen)
    torch.autograd.backward(value.float().sum())
    speed = sum(map(len, chosen)) / (time.perf_counter() - clock)
    weights = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in student.peft.parameters()}
    activations = sum(size for place, size in saved.items() if place not in weights) / part.tokens
    tokens = sum(map(len, ids))
    trainable = sum(p.numel() for p in student.parameters())
    copies = 3 if student.notes["fast"] and student.dtype != torch.float32 else 2  # bf16, and fp32 to merge from
    fixed = sum(weights.values()) * copies + 16 * trainable  # the adapter's gradient and two moments
    live = max(min(tokens, settings.keep_tokens), part.tokens)
    again = max(0, tokens - settings.keep_tokens) / tokens  # this share goes forward twice, at about a third each
    seconds = len(prepared.batches) * tokens * (1 + again / 3) / speed
    checks = 1 + -(-len(prepared.batches) // settings.check_every)
    dev = student.prompts([text for chosen_set in prepared.dev for text in set(chosen_set.texts)], settings.max_tokens)
    seconds += checks * sum(map(len, dev)) / (2.3 * speed)
    return Estimate(
        rows=sum(len(s.rows) for s in prepared.sources), steps=len(prepared.batches), parameters=trainable,
        adapter_bytes=2 * trainable, tokens_per_step=tokens, tokens_per_second=speed,
        memory_bytes=fixed + live * activations, seconds=seconds,
    )  # fmt: skip
