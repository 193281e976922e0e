"""Stores and splitters for the tests of indexing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from indexer.corpus.splitter import Splitter
from tests.storage.contract.factories import KINDS, Factory, making
from tests.storage.contract.values import TERMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from indexer.storage.store import Store


def count_words(text: str) -> int:
    """Count tokens, in whatever process."""
    return len(re.findall(r"\w+", text))


@pytest.fixture
def splitter() -> Splitter:
    return Splitter(count_words, 20)


@pytest.fixture(params=KINDS, ids=str)
def factory(request: pytest.FixtureRequest) -> Factory:
    return request.param


@pytest.fixture
def make(factory: Factory, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Make stores, by the changes of their manifest."""
    with making(factory, tmp_path, splitter={"passage_tokens": 20}) as new:
        yield new


@pytest.fixture
def store(make: Callable[..., Store]) -> Store:
    return make(sparse=TERMS)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three files, one of records, and one that cannot be read."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "boats.txt").write_text("A sailing boat crosses the bay.")
    (folder / "stars.md").write_text("# Stars\n\nThe telescope shows a distant galaxy.")
    (folder / "people.csv").write_text("id,text\n1,Ada wrote the first program\n2,Alan broke the code\n")
    (folder / "torn.pdf").write_bytes(b"%PDF-1.7 and no more")
    return folder
