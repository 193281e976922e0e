"""A step of training on a GPU gives the gradients of the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from semsearch.training import trainer
from semsearch.training.recipe import Lora, Recipe
from semsearch.training.run.ranks import Ranks
from semsearch.training.step.learner import Learner
from semsearch.training.step.student import Student
from tests.device import DEVICE, on_device

pytestmark = on_device


def gradients(recipe: Recipe, data: Path, device: str) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of the first batch, and every parameter's gradient."""
    prepared = trainer.prepare(recipe, data)
    student = Student(recipe.encoder, recipe.lora, device=device, seed=3)
    random = torch.Generator().manual_seed(5)  # of the CPU: a GPU draws other numbers
    student.restore({name: 0.05 * torch.randn(value.shape, generator=random).to(value)
                     for name, value in sorted(student.state().items())})  # fmt: skip
    number, rows = prepared.batches[0]
    source = prepared.sources[number]
    student.train()
    learner = Learner(student, recipe, None)
    loss, _ = learner.step(learner.ready(source.source, [source.rows[i] for i in rows]), Ranks(device), 0)
    found = {n: p.grad.float().cpu() for n, p in student.peft.named_parameters() if p.grad is not None}
    return loss, found


def test_the_gradients_of_a_batch(recipe: Recipe, world: Path) -> None:
    """In micro-batches and with a part of them computed twice, as on a CPU."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        (here, ours), (there, theirs) = (gradients(recipe, world, device) for device in (DEVICE, "cpu"))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert abs(here - there) < 1e-4
    assert ours.keys() == theirs.keys()
    assert ours
    for name, value in theirs.items():
        assert float((ours[name] - value).abs().max()) < 1e-3 * float(value.abs().max()) + 1e-7, name


def test_a_run_of_few_steps_learns(recipe: Recipe, world: Path, tmp_path: Path) -> None:
    recipe = replace(recipe, lora=replace(recipe.lora, base="auto"))
    result = trainer.train(trainer.prepare(recipe, world), tmp_path / "run", device=DEVICE)
    assert result.best is not None
    assert result.first is not None
    assert result.best > result.first
    assert (tmp_path / "run/adapter_model.safetensors").is_file()


def test_weights_in_four_bits_pass_gradients_on(recipe: Recipe, world: Path) -> None:
    pytest.importorskip("bitsandbytes")
    recipe = replace(recipe, lora=Lora(rank=4, alpha=8, base="nf4"))
    _, found = gradients(recipe, world, DEVICE)
    assert found
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert any(float(value.abs().max()) > 0 for value in found.values())
