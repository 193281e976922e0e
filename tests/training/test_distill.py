"""Distillation of single texts: the losses written out, and runs of a tiny model."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from indexer.embedding.hash_encoder import HashEncoder
from indexer.errors import ConfigError, TrainingError
from semsearch.training import trainer
from semsearch.training.data.rows import Row
from semsearch.training.recipe import Distill, Loss, Recipe, Source
from semsearch.training.step import distill
from semsearch.training.step.learner import collate, learning_rate
from semsearch.training.step.teacher import Teacher
from tests.training.conftest import losses

CPU = torch.device("cpu")


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0).detach())


def hidden(numbers):
    return torch.tensor([[a == b for b in numbers] for a in numbers])


def written_out(vectors, teacher, keys, temperature):
    """The divergence with loops, each text's own key left out."""
    total = 0.0
    for i, key in enumerate(keys):
        others = [j for j in range(len(keys)) if keys[j] != key]
        views = []
        for side in (teacher, vectors):
            raw = [math.exp(cosine(side[i], side[j]) / temperature) for j in others]
            views.append([value / sum(raw) for value in raw])
        total += sum(p * math.log(p / q) for p, q in zip(*views, strict=True))
    return total / len(keys)


def test_similarities_are_the_divergence_over_all_other_texts():
    torch.manual_seed(0)
    vectors, teacher = torch.randn(7, 5), torch.randn(7, 9)
    keys = [0, 1, 2, 1, 3, 4, 4]
    value = distill.similarities(vectors, teacher, hidden(keys), 0.2)
    assert float(value) == pytest.approx(written_out(vectors, teacher, keys, 0.2), rel=1e-4)
    assert float(value) > 0.1
    assert float(distill.similarities(teacher, 3 * teacher, hidden(keys), 0.05)) == pytest.approx(0, abs=1e-6)


def test_similarities_pass_finite_gradients_where_texts_are_equal():
    vectors = torch.randn(4, 5, requires_grad=True)
    distill.similarities(vectors, torch.randn(4, 3), hidden([0, 0, 0, 0]), 0.05).backward()
    assert torch.isfinite(vectors.grad).all()


def test_cut_vectors_count_together_as_much_as_whole_ones():
    torch.manual_seed(0)
    vectors, teacher, keys = torch.randn(6, 8), torch.randn(6, 9), list(range(6))
    rules = Distill(scores=3.0, vectors=0.0, temperature=0.1, dimensions=(4, 2))
    value = distill.loss(vectors, teacher, keys, keys, None, rules, alone=False)
    whole, four, two = (written_out(vectors[:, :size], teacher, keys, 0.1) for size in (8, 4, 2))
    assert float(value) == pytest.approx(3 * (whole / 2 + (four + two) / 4), rel=1e-4)


def test_others_leave_out_the_texts_of_the_own_row():
    torch.manual_seed(0)
    vectors, teacher = torch.randn(6, 8), torch.randn(6, 9)
    keys, owners = [0, 1, 2, 3, 4, 1], [0, 0, 1, 1, 2, 2]  # texts 1 and 5 are equal, of different rows
    value = distill.loss(
        vectors, teacher, keys, owners, None, Distill(scores=0.0, others=2.0, vectors=0.0, temperature=0.3), alone=False
    )
    total = 0.0
    for i in range(6):
        seen = [j for j in range(6) if keys[j] != keys[i] and owners[j] != owners[i]]
        views = []
        for side in (teacher, vectors):
            raw = [math.exp(cosine(side[i], side[j]) / 0.3) for j in seen]
            views.append([part / sum(raw) for part in raw])
        total += sum(p * math.log(p / q) for p, q in zip(*views, strict=True))
    assert float(value) == pytest.approx(2 * total / 6, rel=1e-4)


def test_a_batch_knows_which_texts_are_of_one_row():
    rows = [Row("a", "b", ("c",)), Row("d", "a"), Row("e", "f", ("c",))]
    batch = collate(rows, Source(path="t"), distinct=True)
    assert batch.texts == ["a", "b", "c", "d", "e", "f"]
    assert batch.owners == [0, 0, 0, 1, 2, 2]


def test_the_map_alone_learns_at_first():
    torch.manual_seed(0)
    vectors, teacher = torch.randn(6, 8, requires_grad=True), torch.randn(6, 9)
    mapping = distill.make_map(8, 9, 1, CPU)
    torch.testing.assert_close(mapping.T @ mapping, torch.eye(8), rtol=0, atol=1e-5)
    rules = Distill(scores=0.0)
    distill.loss(vectors, teacher, list(range(6)), list(range(6)), mapping, rules, alone=True).backward()
    assert vectors.grad is None
    assert mapping.grad.abs().sum() > 0
    value = distill.loss(vectors, teacher, list(range(6)), list(range(6)), mapping, rules, alone=False)
    wanted = 1 - np.mean([cosine(mapping @ v, t) for v, t in zip(vectors, teacher, strict=True)])
    assert float(value.detach()) == pytest.approx(float(wanted), rel=1e-4)
    value.backward()
    assert vectors.grad.abs().sum() > 0


def test_schedules():
    assert [learning_rate(step, 6, 2) for step in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert [learning_rate(step, 6, 2, "constant") for step in range(6)] == [0.5, 1, 1, 1, 1, 1]


# -- the teacher's vectors ----------------------------------------------------------------------------------------


class Counting(HashEncoder):
    """A hash encoder that notes which texts it was asked for."""

    def __init__(self):
        super().__init__(dim=32)
        self.asked = []

    def encode(self, texts, **options):
        self.asked += texts
        return super().encode(texts, **options)


def test_vectors_are_computed_once_and_kept_in_a_folder(tmp_path):
    first, second = Counting(), Counting()
    teacher = Teacher(first, CPU, tmp_path)
    vectors = teacher.vectors(["a dog", "two cats", "a dog"])
    torch.testing.assert_close(vectors[0], vectors[2])
    np.testing.assert_allclose(vectors[:2], HashEncoder(dim=32).encode(["a dog", "two cats"]), atol=1e-3)
    teacher.vectors(["two cats"])
    assert first.asked == ["a dog", "two cats"]
    later = Teacher(second, CPU, tmp_path)
    first_again = later.vectors(["two cats", "a dog"])
    torch.testing.assert_close(first_again, vectors[[1, 0]], rtol=0, atol=0)
    assert second.asked == []
    teacher.vectors(["three birds"])  # by another process, while this one runs
    later.vectors(["three birds"])
    assert second.asked == []


def test_another_encoders_vectors_are_not_taken(tmp_path):
    Teacher(HashEncoder(dim=64), CPU, tmp_path).vectors(["a dog"])
    assert Teacher(HashEncoder(dim=32), CPU, tmp_path).vectors(["a dog"]).shape == (1, 32)


def test_a_damaged_file_of_vectors_is_named(tmp_path):
    Teacher(HashEncoder(dim=32), CPU, tmp_path).vectors(["a dog"])
    (file,) = tmp_path.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(TrainingError, match=file.name):
        Teacher(HashEncoder(dim=32), CPU, tmp_path)


# -- recipes and runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def taught(recipe, tmp_path):
    """The tiny recipe, with a hash encoder as the teacher and nothing but its texts to learn."""
    file = tmp_path / "teacher.json"
    file.write_text(json.dumps({"model": "hash:48"}))
    rules = Distill(others=0.5, map_alone=2, dimensions=(16,))
    return replace(recipe, loss=Loss(teacher=str(file), contrastive=0.0), distill=rules).with_train(
        average=0.5, schedule="constant"
    )


def run(recipe, world, out, **options):
    return trainer.train(trainer.prepare(recipe, world), out, device="cpu", **options)


def test_the_teachers_similarities_are_learned(taught, world, tmp_path):
    run(taught, world, tmp_path / "run", vectors=tmp_path / "vectors")
    curve = losses(tmp_path / "run")
    assert np.mean(curve[-3:]) < 0.8 * np.mean(curve[:3])
    assert list((tmp_path / "vectors").rglob("*.npz"))
    assert not (tmp_path / "run" / "projection.safetensors").exists()  # its first numbers were trained to do


def test_a_killed_run_goes_on_with_map_and_average(taught, world, tmp_path):
    run(taught, world, tmp_path / "whole")

    class Killed(Exception):  # noqa: N818
        pass

    def kill(entry):
        if entry["event"] == "step" and entry["step"] == 6:
            raise Killed

    with pytest.raises(Killed):
        run(taught, world, tmp_path / "cut", progress=kill)
    run(taught, world, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    for kind in ("adapter", "extra"):
        name = f"checkpoints/000012/{kind}.safetensors"
        whole, cut = load_file(tmp_path / "whole" / name), load_file(tmp_path / "cut" / name)
        assert whole
        for tensor in whole:
            torch.testing.assert_close(cut[tensor], whole[tensor], rtol=1e-3, atol=1e-5)


def test_the_average_is_judged_and_kept(taught, world, tmp_path):
    short = taught.with_train(steps=4, check_every=4, average=0.9)
    run(short, world, tmp_path / "run")
    extra = load_file(tmp_path / "run" / "checkpoints" / "000004" / "extra.safetensors")
    last = load_file(tmp_path / "run" / "checkpoints" / "000004" / "adapter.safetensors")
    kept = load_file(tmp_path / "run" / "adapter_model.safetensors")
    moved = 0.0
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor.float(), extra[f"average.{name}"], rtol=1e-2, atol=1e-4)
        moved = max(moved, float((extra[f"average.{name}"] - last[name]).abs().max()))
    assert moved > 1e-3


def test_rows_without_contrast_are_learned_from_the_teacher_alone(taught, world, tmp_path):
    """Their first losses are those of a recipe without the contrastive loss, and others' are not."""
    short = taught.with_train(steps=3, check_every=3)
    first = {}
    for weight, contrast in ((0.0, True), (0.5, False), (0.5, True)):
        sources = tuple(replace(source, contrast=contrast) for source in short.sources)
        chosen = replace(short, loss=replace(short.loss, contrastive=weight), sources=sources)
        run(chosen, world, tmp_path / f"{weight}-{contrast}")
        first[weight, contrast] = losses(tmp_path / f"{weight}-{contrast}")
    assert first[0.5, False] == first[0.0, True]
    assert first[0.5, True][0] > first[0.0, True][0]


def test_recipes_say_what_is_wrong_with_distill(recipe):
    with pytest.raises(ConfigError, match=r"needs loss\.teacher"):
        replace(recipe, distill=Distill())
    with pytest.raises(ConfigError, match="nothing else is learned"):
        replace(recipe, loss=Loss(contrastive=0.0))
    teacher = replace(recipe, loss=Loss(teacher="minilm"))
    with pytest.raises(ConfigError, match="learns nothing"):
        replace(teacher, distill=Distill(scores=0.0, vectors=0.0))
    with pytest.raises(ConfigError, match=r"distill\.temperature"):
        replace(teacher, distill=Distill(temperature=0.0))
    with pytest.raises(ConfigError, match=r"distill\.dimensions"):
        replace(teacher, distill=Distill(dimensions=(0,)))


def test_distill_survives_the_recipes_toml(taught, tmp_path):
    (tmp_path / "recipe.toml").write_text(taught.to_toml())
    assert Recipe.load(tmp_path / "recipe.toml") == taught
