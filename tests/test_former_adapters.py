"""Collections of earlier versions: the adapters ``search`` and ``sts`` are gone, and ``default`` has other content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from indexer.embedding.weights import models
from indexer.errors import MismatchError, ModelError
from semsearch import Collection, encoders
from semsearch.cli import run
from semsearch.encoders import EncoderOverrides


@pytest.fixture
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_llama: Path) -> Path:
    """A folder in place of the one that comes along, and the tiny model in place of the default one."""
    folder = tmp_path / "adapters"
    monkeypatch.setattr(models, "ADAPTERS", folder)
    monkeypatch.setenv("SEMSEARCH_MODEL", str(tiny_llama))
    monkeypatch.setenv("SEMSEARCH_PRECISION", "fp32")
    return folder


def ship(folder: Path, model: Path, seed: int) -> None:
    """Make an adapter of one layer."""
    width = json.loads((model / "config.json").read_text())["hidden_size"]
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["o_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    name, random = "base_model.model.layers.0.self_attn.o_proj.lora_", torch.Generator().manual_seed(seed)
    parts = {
        f"{name}A.weight": torch.randn(2, width, generator=random),
        f"{name}B.weight": torch.randn(width, 2, generator=random),
    }
    save_file(parts, folder / "adapter_model.safetensors")


def indexed(tmp_path: Path, adapter: str) -> None:
    """Index two files as a version that had this adapter did."""
    for name, text in (("a", "A boat sails across the bay."), ("b", "Bread is baked of flour.")):
        (tmp_path / f"{name}.txt").write_text(text)
    with Collection("notes", create=True, encoder=EncoderOverrides(adapter=adapter)) as docs:
        docs.index([tmp_path / "a.txt", tmp_path / "b.txt"])
        assert docs.spec.adapter == adapter


def test_other_content_under_the_same_name_is_refused(adapters: Path, tmp_path: Path, tiny_llama: Path) -> None:
    ship(adapters / "default", tiny_llama, 1)
    indexed(tmp_path, "default")
    (adapters / "default").rename(tmp_path / "gone")
    ship(adapters / "default", tiny_llama, 2)
    with Collection("notes") as docs, pytest.raises(MismatchError, match="semsearch reindex --collection notes"):
        docs.search("boat")
    assert run(["reindex", "-c", "notes"]) == 0
    with Collection("notes") as docs:
        assert docs.search("A boat sails across the bay.", mode="dense").hits[0].path.endswith("a.txt")


@pytest.mark.parametrize("name", ["search", "sts"])
def test_a_collection_of_the_adapter_that_is_gone_says_what_mends_it(
    name: str,
    adapters: Path,
    tmp_path: Path,
    tiny_llama: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ship(adapters / name, tiny_llama, 1)
    with monkeypatch.context() as then:
        then.setattr(encoders, "RETIRED", ())
        indexed(tmp_path, name)
    (adapters / name).rename(tmp_path / "gone")
    ship(adapters / "default", tiny_llama, 2)
    for command in (["query", "-c", "notes", "boat"], ["index", "-c", "notes"]):
        assert run(command) == 3
        said = capsys.readouterr().err
        assert f"made with the adapter '{name}', which no longer comes along" in said
        assert "semsearch reindex --collection notes" in said
    assert run(["query", "-c", "notes", "--mode", "lexical", "boat"]) == 0
    assert run(["status", "notes"]) == 0
    assert run(["reindex", "-c", "notes", "--adapter", "default"]) == 0
    capsys.readouterr()
    assert run(["query", "-c", "notes", "--mode", "dense", "A boat sails across the bay."]) == 0
    assert "a.txt" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("name", ["search", "sts"])
def test_a_person_who_asks_for_one_is_told_of_the_default(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"'{name}' of earlier versions .* or say default"):
        models.adapter_description(name)
    asked = Collection("notes", create=True, encoder=EncoderOverrides(adapter=name))
    with asked as docs, pytest.raises(ModelError, match="or say default"):
        docs.index([tmp_path])
    assert encoders.named("default").adapter == "default"


def test_a_folder_here_of_the_same_name_is_not_taken_for_it(
    adapters: Path, tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(adapters / "default", tiny_llama, 1)
    (tmp_path / "default").mkdir()
    monkeypatch.chdir(tmp_path)
    indexed(tmp_path, "default")
