"""The studies in scripts/research/studies can be read, and name every row of the paper's tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.embedding.prompts.presets import presets
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
