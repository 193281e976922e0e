"""semsearch train: from a recipe file to an adapter that the other commands take."""

import json

from semsearch.cli import run


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
