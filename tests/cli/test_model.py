"""semsearch model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.embedding.prompts.presets import save_file
from indexer.embedding.spec import DEFAULT_MODEL, EncoderSpec
from indexer.embedding.weights import packaged

SENTENCES = "\n".join(f"sentence {i} is about {w}" for i, w in enumerate(["cats", "ships", "rain", "bread", "kings"]))


def test_list(run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path))
    result = run("model", "list")
    assert result.code == 0
    assert "not fetched yet" in result.out
    assert "prompteol-icl-opt-2.7b" in result.out
    value = run("model", "list", "--json").json
    assert value["models"] == {DEFAULT_MODEL: None}
    assert value["presets"]["bert-avg"]["pooling"] == "mean"
    assert list(tmp_path.iterdir()) == []


def test_show(run: Callable[..., Any], tiny_llama: Path, tmp_path: Path) -> None:
    value = run("model", "show", "--model", tiny_llama, "--layers", 2, "--json").json
    assert (value["family"], value["blocks"], value["dim"]) == ("llama", 2, 32)
    assert run("model", "show", "--model", tiny_llama, "--dimensions", 8, "--json").json["dim"] == 8
    assert len(value["fingerprint"]) == 16
    assert value["bytes"] > 10_000
    assert value["prompt"] == 'This sentence : "{text}" means in one word:"'
    spec = EncoderSpec(model=str(tiny_llama), demonstrations=(("a", "b"),), layers=2)
    save_file(spec, tmp_path / "mine.toml")
    other = run("model", "show", "--preset", tmp_path / "mine.toml", "--json").json
    assert other["fingerprint"] != value["fingerprint"]
    assert other["prompt"].startswith('This sentence : "a" means in one word:"b".This')
    assert f"fingerprint      {other['fingerprint']}" in run("model", "show", "--preset", tmp_path / "mine.toml").out


def test_show_of_the_default_fetches_nothing(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path))
    value = run("model", "show", "--adapter", "none", "--json").json
    assert value["folder"] is None
    assert value["weights"] == packaged.EMBEDDED[DEFAULT_MODEL].digest
    assert list(tmp_path.iterdir()) == []


def test_pull(run: Callable[..., Any], tiny_llama: Path) -> None:
    assert run("model", "pull", tiny_llama).out == f"{tiny_llama.resolve()}\n"
    assert run("model", "pull", "--model", tiny_llama, "--json").json["model"] == str(tiny_llama.resolve())
    assert run("model", "pull", "a", "--model", "b").code == 2


@pytest.mark.model
def test_pull_of_the_default(run: Callable[..., Any]) -> None:
    result = run("model", "pull", "--adapter", "none")
    assert result.code == 0
    assert (Path(result.out.strip()) / "model.safetensors").is_file()


def test_drift_against_all_that_the_machine_has(run: Callable[..., Any], tiny_llama: Path) -> None:
    result = run("model", "drift", "--model", tiny_llama, "--device", "cpu", "--json", input=SENTENCES)
    rows = {row["to"]: row for row in result.json}
    assert {"precision=bf16", "precision=int8", "batch=1"} <= set(rows)
    assert rows["batch=1"]["cosine_min"] > 1 - 1e-6
    assert rows["precision=bf16"]["cosine_min"] > rows["precision=int8"]["cosine_min"] > 0.9
    assert all(row["texts"] == 5 for row in rows.values())


def test_drift_between_any_two(run: Callable[..., Any], tiny_llama: Path, tiny_opt: Path, tmp_path: Path) -> None:
    (tmp_path / "sentences.txt").write_text(SENTENCES)
    save_file(EncoderSpec(model=str(tiny_opt)), tmp_path / "opt.json")
    result = run(
        "model", "drift", "--model", tiny_llama, "--file", tmp_path / "sentences.txt", "--device", "cpu",
        "--to", "layers=2,batch=1", "--to", tmp_path / "opt.json",
    )  # fmt: skip
    assert result.code == 0
    head, columns, first, second = result.out.splitlines()
    assert head.startswith("5 texts, against")
    assert "overlap@10" in columns
    assert first.startswith("layers=2,batch=1")
    assert "opt.json" in second


@pytest.mark.parametrize("to", ["layers=x", "speed=3", "precision=fp9", "nothing-of-that-name"])
def test_drift_to_nonsense(run: Callable[..., Any], tiny_llama: Path, to: str) -> None:
    result = run("model", "drift", "--model", tiny_llama, "--to", to, input=SENTENCES)
    assert result.code == 2
    assert result.out == ""


def test_export(run: Callable[..., Any], tiny_llama: Path, tmp_path: Path) -> None:
    result = run("model", "export", "--model", tiny_llama, tmp_path / "out")
    assert result.code == 0
    assert result.out == ""
    assert json.loads((tmp_path / "out" / "modules.json").read_text())[1]["path"] == "1_Pooling"
    assert run("model", "export", "--model", tiny_llama, tmp_path / "out").code == 2
