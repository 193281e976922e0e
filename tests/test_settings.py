from pathlib import Path

import pytest

from indexer.errors import ConfigError, UsageError
from semsearch.settings import Settings, load_settings


@pytest.fixture
def user_file(tmp_path, monkeypatch):
    monkeypatch.setattr("semsearch.settings.user_config_path", lambda *a, **k: tmp_path / "user")
    (tmp_path / "user").mkdir()
    return tmp_path / "user" / "semsearch.toml"


def test_flag_over_environment_over_project_over_user(tmp_path, user_file):
    user_file.write_text('model = "user"\nadapter = "user"\ntemplate = "user {text}"\nlayers = 4\n')
    (tmp_path / "semsearch.toml").write_text('model = "project"\nadapter = "project"\ntemplate = "project {text}"\n')
    (tmp_path / "below").mkdir()
    settings = load_settings({"SEMSEARCH_MODEL": "variable", "SEMSEARCH_ADAPTER": "variable"}, tmp_path / "below")
    settings = settings.override({"model": "flag", "adapter": None})
    assert settings.model == "flag"
    assert settings.adapter == "variable"
    assert settings.template == "project {text}"
    assert settings.layers == 4


def test_folders_in_a_file_are_relative_to_the_file(tmp_path, user_file):
    (tmp_path / "semsearch.toml").write_text('home = "index"\n')
    (tmp_path / "below").mkdir()
    assert load_settings({}, tmp_path / "below").root == tmp_path / "index"


def test_numbers_from_the_environment(user_file, tmp_path):
    assert load_settings({"SEMSEARCH_MAX_TOKENS": "64"}, tmp_path).max_tokens == 64
    with pytest.raises(ConfigError, match=r"SEMSEARCH.*max_tokens is 'many'"):
        load_settings({"SEMSEARCH_MAX_TOKENS": "many"}, tmp_path)


@pytest.mark.parametrize("text", ["colour = 1", "model = 3", "model = "])
def test_a_file_that_does_not_fit_is_named(text, tmp_path, user_file):
    (tmp_path / "semsearch.toml").write_text(text)
    with pytest.raises(ConfigError, match=str(tmp_path / "semsearch.toml")):
        load_settings({}, tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "x\ny", "a\\b", "n" * 300])
def test_names_that_are_no_folder_name(name):
    with pytest.raises(UsageError, match="cannot name a collection"):
        Settings(home=Path("/x")).collection_path(name)


class TestStore:
    URL = "postgresql://ada:hush@host/data"

    def test_a_place_is_the_url_with_the_collection_s_name(self):
        settings = Settings(store=self.URL, collection="my docs")
        assert settings.place() == self.URL + "#my%20docs"
        assert settings.shown_place("b") == "postgresql://ada@host/data#b"
        assert settings.shown_home == settings.shown_store == "postgresql://ada@host/data"
        assert "hush" not in repr(settings)
        with pytest.raises(UsageError, match="cannot name"):
            settings.place("a/b")

    def test_from_the_environment(self, user_file, tmp_path):
        assert load_settings({"SEMSEARCH_STORE": self.URL}, tmp_path).kept_in == self.URL

    def test_a_home_that_is_named_later_takes_its_place(self):
        settings = Settings(store=self.URL)
        assert settings.override({"home": "/x", "store": None}).store is None
        assert settings.override({"home": "/x", "store": self.URL}).store == self.URL
        assert settings.override({"home": None, "model": "m"}).store == self.URL

    def test_what_is_none(self):
        with pytest.raises(ConfigError, match="postgresql://USER@HOST/DATABASE") as caught:
            Settings(store="mysql://ada:hush@host/data")
        assert "hush" not in str(caught.value)
