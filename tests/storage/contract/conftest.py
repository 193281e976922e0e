"""Every test of the contract runs over every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storage.contract.factories import FACTORIES, Factory, making
from tests.storage.contract.values import TERMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from indexer.storage.store import Store


@pytest.fixture(params=FACTORIES, ids=str)
def factory(request: pytest.FixtureRequest) -> Factory:
    return request.param


@pytest.fixture
def make(factory: Factory, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Make stores, by the changes of their manifest; each is closed in the end."""
    with factory.small(), making(factory, tmp_path) as new:
        yield new


@pytest.fixture
def store(make: Callable[..., Store]) -> Store:
    return make()


@pytest.fixture
def sparse_store(make: Callable[..., Store]) -> Store:
    return make(sparse=TERMS)
