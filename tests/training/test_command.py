"""semsearch train: from a recipe file to an adapter that the other commands take."""

import json
from dataclasses import replace

import numpy as np

from semsearch.cli import run
from tests.training.conftest import FRAMES, TOPICS


def test_train_then_embed(recipe, world, tmp_path, capsys):
    (tmp_path / "recipe.toml").write_text(recipe.with_train(steps=4).to_toml())
    arguments = ["train", str(tmp_path / "recipe.toml"), "--data", str(world), "--device", "cpu"]
    assert run([*arguments, "--dry-run", "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)
    assert estimate["steps"] == 4
    assert estimate["parameters"] > 0
    assert estimate["memory_bytes"] > 0
    assert run([*arguments, "--out", str(tmp_path / "run"), "--json"]) == 0
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["event"] for entry in entries] == ["check", "step", "step", "step", "step", "check", "done"]
    (tmp_path / "lines.txt").write_text("the horse\n")
    assert run(["embed", "--file", str(tmp_path / "lines.txt"), "--adapter", str(tmp_path / "run"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["embedding"]) == 32


def test_presets_are_listed_and_a_choice_is_asked_for(capsys):
    assert run(["train", "--list"]) == 0
    assert {line.split("\t")[0] for line in capsys.readouterr().out.splitlines()} >= {"paper", "paper-unsup", "sts"}
    assert run(["train"]) == 2
    assert "--preset" in capsys.readouterr().err


def test_wrong_data_folder_is_named(tmp_path, capsys):
    assert run(["train", "--preset", "sts", "--data", str(tmp_path)]) == 2
    assert "--data" in capsys.readouterr().err


def test_gate_after_a_run(recipe, world, tmp_path, capsys):
    """The adapter against its base on part of STS-B dev: a run that learnt passes, one that spoilt the model fails."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "triplets.jsonl").write_text((world / "triplets.jsonl").read_text())
    arguments = ["train", str(tmp_path / "recipe.toml"), "--data", str(folder), "--device", "cpu", "--gate"]
    recipe = replace(recipe, dev=()).with_train(steps=12)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    assert run([*arguments, "--out", str(tmp_path / "early")]) == 2  # before anything is trained
    assert "--gate needs STSBenchmark-dev" in capsys.readouterr().err
    assert not (tmp_path / "early").exists()

    sts = folder / "senteval" / "downstream" / "STS" / "STSBenchmark"
    sts.mkdir(parents=True)
    random = np.random.default_rng(1)
    lines = []
    for number in range(1500):
        a, b = random.choice(len(TOPICS), 2)
        b = a if number % 2 else b
        first, second = FRAMES[number % 3].format(TOPICS[a]), FRAMES[number % 3 - 1].format(TOPICS[b])
        lines.append(f"main\tfile\t2026\t{number}\t{5.0 * (a == b)}\t{first}\t{second}\n")
    (sts / "sts-dev.csv").write_text("".join(lines))
    assert run([*arguments, "--out", str(tmp_path / "good")]) == 0
    assert "150 pairs of STSBenchmark-dev" in (output := capsys.readouterr().out)
    assert "PASS" in output
    verdict = json.loads((tmp_path / "good" / "evaluation.json").read_text())["gate"]["150 pairs of STSBenchmark-dev"]
    assert verdict["differences"][0]["change"] > 5
    arguments.append("--json")
    # from the good adapter on, so that there is something to lose
    good = replace(recipe, lora=replace(recipe.lora, init=str(tmp_path / "good")))
    (tmp_path / "recipe.toml").write_text(good.with_train(lr=1.0, steps=3, warmup=0).to_toml())
    assert run([*arguments, "--out", str(tmp_path / "bad")]) == 5
    output = capsys.readouterr()
    assert json.loads(output.err.splitlines()[-1])["error"]["kind"] == "GateFailed"
    done = json.loads(output.out.splitlines()[-1])
    assert done["gate"]["150 pairs of STSBenchmark-dev"]["verdict"] == "fail"
