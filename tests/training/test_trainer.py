"""Whole runs of a tiny model: the score rises, a killed run goes on as if nothing had happened, errors are clear."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from indexer.embedding import open_encoder
from indexer.embedding.spec import EncoderSpec
from indexer.embedding.weights import projection as shorter
from indexer.errors import ConfigError, DataError, TrainingError
from semsearch.training import trainer
from semsearch.training.data.rows import Row, Rows
from semsearch.training.recipe import Lora, Loss, Mine, Source
from semsearch.training.run import projection as run_projection
from tests.training.conftest import losses


def run(recipe, world, out, **options):
    return trainer.train(trainer.prepare(recipe, world), out, device="cpu", **options)


def adapter(out):
    return load_file(out / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def finished(tiny_llama, world, tmp_path_factory, request):
    """One whole run; its folder and result."""
    recipe = request.getfixturevalue("module_recipe")
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, run(recipe, world, out)


@pytest.fixture(scope="module")
def module_recipe(tiny_llama):
    from tests.training.conftest import recipe

    return recipe.__wrapped__(tiny_llama)


def test_training_raises_the_dev_score(finished):
    out, result = finished
    assert result.best > result.first + 10
    assert result.steps == 12
    curve = losses(out)
    assert len(curve) == 12
    assert curve[-1] < 0.7 * curve[0]


def test_run_folder_is_complete(finished, module_recipe):
    out, result = finished
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "adapter_config.json", "adapter_model.safetensors", "encoder.json", "recipe.toml", "provenance.json",
        "log.jsonl", "evaluation.json", "curves.svg", "README.md", "projection.safetensors",
    }  # fmt: skip
    from semsearch.training.recipe import Recipe

    assert Recipe.load(out / "recipe.toml") == module_recipe
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert evaluation["dev"] == result.best
    assert [check["step"] for check in evaluation["checks"]] == [0, 4, 8, 12]
    assert {tensor.dtype for tensor in adapter(out).values()} == {torch.bfloat16}
    assert not list(out.glob(".*"))


def test_a_trained_adapter_comes_with_what_makes_its_vectors_shorter(finished, world):
    """Cut along their principal axes, vectors keep the similarities better than their first numbers do."""
    out, _ = finished
    spec = EncoderSpec.from_dict(json.loads((out / "encoder.json").read_text()) | {"precision": "fp32"})
    spec = replace(spec, adapter=str(out))
    texts = [json.loads(line)["anchor"] for line in (world / "triplets.jsonl").open()]
    whole = open_encoder(spec).encode(texts)
    short = open_encoder(replace(spec, dimensions=6)).encode(texts)
    first = whole[:, :6] / np.linalg.norm(whole[:, :6], axis=1, keepdims=True)
    lost, by_numbers = (np.abs(cut @ cut.T - whole @ whole.T).mean() for cut in (short, first))
    assert lost < 0.7 * by_numbers


def test_one_seed_gives_one_adapter_and_another_seed_another(finished, module_recipe, world, tmp_path):
    out, _ = finished
    run(module_recipe, world, tmp_path / "again")
    for name, tensor in adapter(out).items():
        torch.testing.assert_close(adapter(tmp_path / "again")[name], tensor, rtol=1e-2, atol=1e-4)
    run(module_recipe.with_train(seed=4, steps=4), world, tmp_path / "other")
    assert any(not torch.equal(adapter(tmp_path / "other")[n], t) for n, t in adapter(out).items())


def test_two_runs_share_one_plan(module_recipe, world):
    whole, head, rest = (
        trainer.prepare(module_recipe.with_train(**options), world).batches
        for options in ({"steps": 12}, {"planned": 12, "steps": 5}, {"planned": 12, "first": 5, "steps": 7})
    )
    assert len(head) == 5
    assert len(rest) == 7
    for (source, rows), (expected, known) in zip([*head, *rest], whole, strict=True):
        assert source == expected
        assert np.array_equal(rows, known)


@pytest.mark.parametrize(("dropout", "save_every"), [(0.0, 10), (0.2, 5)])
def test_a_killed_run_resumes_to_the_same_losses(module_recipe, world, tmp_path, dropout, save_every):
    recipe = replace(module_recipe, lora=replace(module_recipe.lora, dropout=dropout))
    recipe = recipe.with_train(save_every=save_every)
    run(recipe, world, tmp_path / "whole")

    class Killed(Exception):  # noqa: N818
        pass

    def kill(entry):
        if entry["event"] == "step" and entry["step"] == 6:  # the last state is of step 4 or 5
            raise Killed

    with pytest.raises(Killed):
        run(recipe, world, tmp_path / "cut", progress=kill)
    with (tmp_path / "cut" / "log.jsonl").open("a") as log:
        log.write('{"event": "step", "st')  # the line that the kill cut off
    result = run(recipe, world, tmp_path / "cut", resume=True)
    assert result.steps == 12
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    for name, tensor in adapter(tmp_path / "whole").items():
        torch.testing.assert_close(adapter(tmp_path / "cut")[name], tensor, rtol=1e-2, atol=1e-4)


def test_folder_of_another_run_is_left_alone(finished, module_recipe, world, tmp_path):
    out, _ = finished
    with pytest.raises(ConfigError, match="--resume"):
        run(module_recipe, world, out)
    with pytest.raises(ConfigError, match="another recipe"):
        run(module_recipe.with_train(lr=0.5), world, out, resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        run(module_recipe, world, tmp_path)


def test_early_stopping(module_recipe, world, tmp_path):
    recipe = module_recipe.with_train(lr=1e-12, patience=1, check_every=2)  # nothing gets better
    result = run(recipe, world, tmp_path / "run")
    assert result.steps == 4


def test_a_loss_that_is_no_number_ends_the_run(module_recipe, world, tmp_path):
    recipe = replace(module_recipe.with_train(lr=10.0, warmup=0), lora=Lora(rank=4, alpha=1e20, base="fp32"))
    with pytest.raises(TrainingError, match=r"lower train\.lr"):
        run(recipe, world, tmp_path / "run")


def test_sentences_are_their_own_positives_under_dropout(module_recipe, world, tmp_path):
    recipe = replace(
        module_recipe, lora=replace(module_recipe.lora, dropout=0.3),
        sources=(Source(path="triplets.jsonl", kind="sentences"),),
        train=replace(module_recipe.train, steps=4),
    )  # fmt: skip
    result = run(recipe, world, tmp_path / "run")
    assert result.steps == 4
    with pytest.raises(ConfigError, match="needs dropout"):
        replace(recipe, lora=module_recipe.lora)


def test_distillation_learns_from_a_teacher(module_recipe, world, tmp_path):
    teacher = tmp_path / "teacher.json"
    teacher.write_text(json.dumps({"model": "hash:64"}))
    short = module_recipe.with_train(steps=2, check_every=2)
    run(replace(short, loss=Loss(teacher=str(teacher), margin=0.1, guide=True)), world, tmp_path / "scores")
    first = losses(tmp_path / "scores")
    run(short, world, tmp_path / "plain")
    assert first[0] != losses(tmp_path / "plain")[0]
    # the result of one run teaches the next, of fewer blocks; its vectors are of the same width
    cut = replace(short, encoder=replace(short.encoder, layers=2))
    run(replace(cut, loss=Loss(teacher=str(tmp_path / "plain"), distil="vectors")), world, tmp_path / "cut")
    assert json.loads((tmp_path / "cut" / "encoder.json").read_text())["layers"] == 2


def test_negatives_are_mined_where_the_recipe_says_so(module_recipe, world, tmp_path):
    finder = tmp_path / "finder.json"
    finder.write_text(json.dumps({"model": "hash:1024"}))
    pairs = [
        ("red boats sail far", "boats sail far"),
        ("blue boats sail home", "boats sail home"),
        ("dough rises", "dough"),
    ]
    lines = [json.dumps({"anchor": anchor, "positive": positive}) for anchor, positive in pairs]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    source = Source(path=str(tmp_path / "pairs.jsonl"), kind="pairs", mine=True)
    recipe = replace(
        module_recipe, mine=Mine(encoder=str(finder)), sources=(source, Source(path="triplets.jsonl", mine=True))
    )
    plain = trainer.prepare(module_recipe, world).sources[0]
    mined, had = trainer.prepare(recipe, world).sources
    assert [row.negatives for row in mined.rows[:2]] == [("boats sail home",), ("boats sail far",)]
    assert mined.counts["mined"] == 3
    assert had.rows == plain.rows
    (strict, _) = trainer.prepare(replace(recipe, mine=Mine(encoder=str(finder), ceiling=0.5)), world).sources
    assert strict.rows[0].negatives != ("boats sail home",)
    with pytest.raises(ConfigError, match=r"mine\.encoder"):
        replace(recipe, mine=Mine())


def test_dev_texts_are_removed_from_the_training_rows(module_recipe, world):
    from semsearch.training.recipe import Dev

    recipe = replace(module_recipe, dev=(Dev(path="triplets.jsonl", kind="triplets", limit=2),))
    prepared = trainer.prepare(recipe, world)
    held = set(prepared.dev[0].texts)
    (source,) = prepared.sources
    assert source.counts["dev sentence"] > 0
    assert not held & {text for row in source.rows for text in (row.anchor, row.positive, *row.negatives)}
    with pytest.raises(DataError, match="0 rows to train on"):
        trainer.prepare(replace(recipe, dev=(Dev(path="triplets.jsonl", kind="triplets"),)), world)


def test_two_processes_do_what_one_does(finished, module_recipe, world, tmp_path):
    """The gathering of vectors and the sum of gradients, over two CPU processes."""
    out, _ = finished
    script = tmp_path / "run.py"
    (tmp_path / "recipe.toml").write_text(module_recipe.to_toml())
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom semsearch.training import trainer\n"
        "from semsearch.training.recipe import Recipe\n"
        "recipe = Recipe.load(Path(sys.argv[1]))\n"
        "trainer.train(trainer.prepare(recipe, Path(sys.argv[2])), Path(sys.argv[3]), device='cpu')\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
        }  # fmt: skip
        command = [sys.executable, str(script), str(tmp_path / "recipe.toml"), str(world), str(tmp_path / "run")]
        root = Path(__file__).resolve().parents[2]
        processes.append(
            subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    outputs = [process.communicate(timeout=240)[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)[-3000:]
    assert losses(tmp_path / "run") == pytest.approx(losses(out), rel=1e-3)


@pytest.mark.parametrize(("count", "own"), [(20, True), (3, False)])
def test_the_axes_are_its_own_where_there_are_texts_enough_to_know_them(count, own, tmp_path):
    """Ten numbers a vector: 40 texts tell where they lie, 6 texts do not."""
    texts = [(f"first {i}", f"second {i}") for i in range(count)]
    vectors = {t: v for (a, b), pair in zip(texts, np.random.default_rng(1).normal(size=(count, 2, 10)), strict=True)
               for t, v in zip((a, b), pair, strict=True)}  # fmt: skip
    rows = tuple(Row(a, b) for a, b in texts)
    (tmp_path / "begun").mkdir()
    shorter.write(torch.zeros(10, 10), tmp_path / "begun")
    run_projection.write(
        tmp_path, tmp_path / "begun", lambda asked: np.array([vectors[t] for t in asked], np.float32), 10,
        [Rows(Source(path="t"), rows, "", {})], seed=1,
    )  # fmt: skip
    axes = load_file(tmp_path / "projection.safetensors")["weight"].float()
    torch.testing.assert_close(axes @ axes.T, torch.eye(10) if own else torch.zeros(10, 10), atol=1e-2, rtol=0)
