"""Recipes: TOML and back, presets as published, clear errors."""

import tomllib

import pytest

from indexer.errors import ConfigError
from semsearch.training.recipe import Recipe, presets

MINIMAL = {"name": "r", "sources": [{"path": "t.jsonl"}]}


@pytest.mark.parametrize("name", presets())
def test_presets_survive_toml(name):
    recipe = Recipe.preset(name)
    again = Recipe.from_dict(tomllib.loads(recipe.to_toml()), "again")
    assert again == recipe
    assert again.digest == recipe.digest
    assert recipe.description


def test_paper_is_as_published():
    recipe = Recipe.preset("paper")
    assert (recipe.lora.rank, recipe.lora.alpha, recipe.lora.dropout, recipe.lora.base) == (64, 16, 0.05, "nf4")
    assert (recipe.train.batch, recipe.train.lr, recipe.train.epochs, recipe.train.warmup) == (256, 5e-4, 1, 100)
    assert (recipe.train.max_tokens, recipe.train.check_every, recipe.train.normalise) == (32, 50, False)
    assert recipe.loss.temperature == 0.05
    assert recipe.encoder.template == 'This sentence : "{text}" means in one word:"'
    assert recipe.encoder.normalize_text
    assert recipe.sources[0].kind == "triplets"
    assert Recipe.preset("paper-unsup").sources[0].kind == "sentences"


def test_what_is_shipped_is_trained_on_rows_that_are_free_to_ship():
    free = {
        "nli": {"snli", "cad_nli", "semi_automatic_nli", "breaking_nli", "med_monotonicity", "conjnli", "gpt3_nli"},
        "pairs": {"wikisplit", "squad2_dev", "xquad_en", "nq_open_oracle", "medquad", "pubmedqa", "covid_qa", "clapnq",
                  "scitldr", "wiki_passages"},
    }  # fmt: skip
    for name in ("sts", "search", "mpnet", "default", "fast"):
        for source in Recipe.preset(name).sources:
            if source.path == "sentences.jsonl.gz":  # of the passages of free files (make_sentences.py)
                continue
            folder, file = source.path.split("/")
            if file == "triplets_gpt3.jsonl.gz":
                continue
            used = set(source.include) if folder == "nli" else {file.split(".")[0]}
            assert used, source
            assert used <= free[folder]


def test_name_and_description_do_not_decide_the_run():
    one = Recipe.from_dict(MINIMAL, "one")
    two = Recipe.from_dict({**MINIMAL, "name": "s", "description": "d"}, "two")
    assert one.digest == two.digest
    assert one.digest != one.with_train(lr=1e-3).digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": []}, "has no [[sources]]"),
        ({"train": {"bacth": 1}}, "train: unknown field bacth; fields are batch,"),
        ({"train": {"batch": 1}}, "train.batch is 1; it is from 2"),
        ({"train": {"batch": "many"}}, "train, batch is 'many'; it is of type int"),
        ({"train": {"batch": True}}, "train, batch is True; it is of type int"),
        ({"lora": {"base": "int4"}}, "base is 'int4'; it is one of auto, fp32, bf16, nf4"),
        ({"lora": 3}, "lora is 3; it is a table"),
        ({"sources": [{"kind": "pairs"}]}, "sources: path is missing"),
        ({"sources": [{"path": "t", "kind": "sentences"}]}, "needs dropout"),
        ({"encoder": {"adapter": "default"}}, "encoder.adapter is what the training makes"),
        ({"encoder": {"template": "no place"}}, "{text}"),
        ({"loss": {"guide": True}}, "loss.guide needs loss.teacher"),
        ({"train": {"planned": 5, "first": 3, "steps": 3}}, "train.planned is 5, and 6 batches of the plan"),
    ],
)
def test_errors_say_what_is_allowed(change, message):
    with pytest.raises(ConfigError) as error:
        Recipe.from_dict({**MINIMAL, **change}, "file.toml")
    assert message in str(error.value)


def test_files_that_are_no_recipes(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Recipe.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ConfigError, match="is not TOML"):
        Recipe.load(tmp_path / "bad.toml")
    with pytest.raises(ConfigError, match="presets are"):
        Recipe.preset("none")


def test_a_recipe_says_only_what_is_other_than_in_the_one_it_extends(tmp_path):
    (tmp_path / "below.toml").write_text(
        'name = "below"\ndescription = "d"\n[train]\nlr = 1e-3\nsteps = 7\n'
        '[[sources]]\npath = "a"\n[[sources]]\npath = "b"\n'
    )
    (tmp_path / "on").mkdir()
    (tmp_path / "on" / "top.toml").write_text('name = "top"\nextends = "../below.toml"\n[train]\nsteps = 9\n')
    top = Recipe.load(tmp_path / "on" / "top.toml")
    assert (top.name, top.description, top.train.lr, top.train.steps) == ("top", "d", 1e-3, 9)
    assert [source.path for source in top.sources] == ["a", "b"]
    (tmp_path / "last.toml").write_text('name = "last"\nextends = "on/top.toml"\n[[sources]]\npath = "c"\n')
    last = Recipe.load(tmp_path / "last.toml")
    assert [source.path for source in last.sources] == ["c"], "a list is taken whole"
    assert last.train == top.train
    (tmp_path / "own.toml").write_text('name = "own"\nextends = "sts"\n')
    assert Recipe.load(tmp_path / "own.toml").digest == Recipe.preset("sts").digest


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ('"none"', "no recipe 'none'; presets are"),
        ('"none.toml"', "none.toml cannot be read"),
        ("3", "extends is 3; it is a preset's name or the path of a TOML file"),
        ('"other.toml"', "other.toml: extends one.toml, which extends this one"),
        ('"one.toml"', "one.toml: extends one.toml, which extends this one"),
    ],
)
def test_what_cannot_be_extended(tmp_path, extends, message):
    (tmp_path / "one.toml").write_text(f'name = "one"\nextends = {extends}\n')
    (tmp_path / "other.toml").write_text('name = "other"\nextends = "one.toml"\n')
    with pytest.raises(ConfigError) as error:
        Recipe.load(tmp_path / "one.toml")
    assert message in str(error.value)
