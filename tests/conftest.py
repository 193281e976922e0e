"""Fixtures that every part of the suite shares."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Tests that kill a process fork one, and threads of torch do not survive that. It is read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONGEST = ("evaluation/test_default_model.py", "cli/test_models.py", "parts/test_ray.py", "storage/local/test_crash.py")
"""Files that take minutes. They are begun first, so that no process is left alone with one when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of evaluation data: SEMSEARCH_SHARED, else ../shared/data beside the checkout.

    A continuous-integration run (CI set) must have it; elsewhere the tests that need it are skipped.
    """
    path = Path(os.environ.get("SEMSEARCH_SHARED", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the evaluation data: {path} is not a folder (set SEMSEARCH_SHARED)")
        pytest.skip(f"no evaluation data at {path} (set SEMSEARCH_SHARED)")
    return path


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Llama and its tokenizer."""
    from tests.models import make

    return make("llama", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tiny_opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random OPT and its tokenizer."""
    from tests.models import make

    return make("opt", tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the collections and settings of the person who runs it.

    The cache that holds the default model stays shared: fetching it once is enough.
    """
    for name in [name for name in os.environ if name.startswith("SEMSEARCH_") and name != "SEMSEARCH_SHARED"]:
        if name != "SEMSEARCH_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SEMSEARCH_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
