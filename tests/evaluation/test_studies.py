"""The studies in scripts/research/studies can be read, and name every row of the paper's tables."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.embedding import open_encoder, resolve
from indexer.embedding.prompts.presets import presets
from indexer.embedding.spec import EncoderSpec
from semsearch.cli import run
from semsearch.evaluation import study
from semsearch.evaluation.result_files import published
from semsearch.evaluation.sentences.tasks import STS, TRANSFER
from semsearch.training.recipe import Recipe

STUDIES = Path(__file__).parents[2] / "scripts" / "research" / "studies"
REPRESENTATIONS = ("PromptEOL", "PromptEOL+ICL", "prompt", "last token", "mean")


@pytest.mark.parametrize(("name", "tasks"), [("sts", STS), ("transfer", TRANSFER)])
def test_every_representation_on_models_of_three_sizes(name: str, tasks: tuple[str, ...]) -> None:
    read = study.read(STUDIES / f"{name}.toml")
    assert read.tasks == tuple(tasks)
    assert read.quick
    seen = {(entry.method, entry.parameters) for entry in read.entries}
    sizes = {entry.parameters for entry in read.entries}
    assert len(sizes) == 3
    assert seen == {(method, size) for method in REPRESENTATIONS for size in sizes}
    assert [entry.spec.pooling for entry in read.entries if entry.method == "mean"] == ["mean"] * 3


def test_the_papers_rows_are_all_there() -> None:
    read = study.read(STUDIES / "paper.toml")
    ours = {(entry.method, entry.parameters) for entry in read.entries if entry.parameters}
    rows = [row for row in published() if row.get("method", "").startswith("PromptEOL")]
    theirs = {(row["method"], row["parameters"]) for row in rows}
    assert len(theirs) > 20
    assert theirs <= ours
    for entry in read.entries:
        assert entry.spec == presets()[entry.name]
    shown = {entry.spec.demonstrations for entry in read.entries if entry.method == "PromptEOL+ICL OPT"}
    assert len(shown) == 8  # each size has its own


def test_demonstrations_on_the_development_set_and_one_recipe_for_all_sizes() -> None:
    read = study.read(STUDIES / "dev.toml")
    assert read.tasks == ("STSBenchmark-dev",)
    assert sum(bool(entry.spec.demonstrations) for entry in read.entries) == len(read.entries) / 2 == 3
    recipe = Recipe.load(STUDIES / "qlora.toml")
    assert (recipe.lora.base, recipe.lora.rank, recipe.lora.alpha) == ("nf4", 64, 16)


def shortened(name: str, target: Path, models: dict[str, Path], examples: int, rows: slice = slice(None)) -> int:
    """Write a study of tiny models and few examples; return how many encoders it has."""
    head, *encoders = re.split(r"(?=\[\[encoder\]\])", (STUDIES / f"{name}.toml").read_text("utf-8"))
    kept = []
    for encoder in encoders[rows]:
        family = next(family for family in models if family in encoder)
        kept.append(re.sub(r"model = .*\n", "", encoder) + f'model = "{models[family].as_posix()}"\n')
    head = re.sub(r"quick = .*\n", "", head) + f"quick = true\nexamples = {examples}\n"
    target.write_text("\n".join([head, *kept]), "utf-8")
    return len(kept)


@pytest.mark.parametrize(
    ("name", "examples", "rows"),
    [("sts", 20, slice(None)), ("dev", 20, slice(None)), ("transfer", 480, slice(3, 4))],  # TREC's rarest kind has 5
)
def test_one_command_makes_the_table_of_a_study(
    name: str, examples: int, rows: slice, tiny_llama: Path, shared_data: Path, tmp_path: Path
) -> None:
    count = shortened(name, tmp_path / "s.toml", {"": tiny_llama}, examples, rows)
    command = ["eval", "study", str(tmp_path / "s.toml"), "--data", str(shared_data), "--output", str(tmp_path / "out")]
    assert run(command) == 0
    table = (tmp_path / "out/table.md").read_text("utf-8").splitlines()
    assert len(table) == 2 + count
    tasks = study.read(STUDIES / f"{name}.toml").tasks
    for row in table[2:]:
        scores = [cell.strip() for cell in row.strip("|").split("|")[1:]]
        assert len(scores) >= len(tasks)
        assert all(-100 <= float(score) <= 100 for score in scores)
    assert (tmp_path / "out/tasks.svg").is_file()
    assert (tmp_path / "out/scaling.svg").is_file()
    of_methods = {row.split("|")[1].split(",", 1)[1]: row.split("|")[2:] for row in table[2:]}
    assert len({tuple(scores) for scores in of_methods.values()}) == len(of_methods)  # each way has vectors of its own


def test_rows_of_the_papers_table_run_as_they_stand_on_other_weights(
    tiny_llama: Path, tiny_opt: Path, shared_data: Path, tmp_path: Path
) -> None:
    models = {"opt-": tiny_opt, "llama-": tiny_llama}
    some = slice(15, 31, 5)  # with and without demonstrations and device_map
    count = shortened("paper", tmp_path / "s.toml", models, 20, some)
    plan = study.read(tmp_path / "s.toml")
    assert {(bool(e.spec.demonstrations), e.device_map, "llama" in e.name) for e in plan.entries} >= {
        (False, "auto", False), (True, "auto", False), (True, "auto", True),
    }  # fmt: skip
    results = study.run(replace(plan, tasks=("STSBenchmark",)), shared_data, tmp_path / "out")
    assert [sorted(result["scores"]) for result in results] == [["STSBenchmark"]] * count


def test_one_command_trains_a_model_of_any_size_by_the_recipe(
    tiny_llama: Path, shared_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    given = ["--model", str(tiny_llama), "--steps", "2", "--batch", "4", "--data", str(shared_data)]
    assert run(["train", str(STUDIES / "qlora.toml"), *given, "--out", str(tmp_path / "run")]) == 0
    spec = EncoderSpec(model=str(tiny_llama), precision="fp32")
    plain, trained = (
        open_encoder(resolve(replace(spec, adapter=adapter))).encode(["the market fell"])
        for adapter in (None, str(tmp_path / "run"))
    )
    assert abs(plain - trained).max() > 1e-4
