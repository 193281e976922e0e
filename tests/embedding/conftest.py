"""Tiny models of every family, each made once a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models import make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family → folder of its tiny model."""
    folder = tmp_path_factory.mktemp("families")
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = make(family, folder)
        return made[family]

    return get
