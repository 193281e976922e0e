"""Collections in the server that all tests of a process share."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from tests.postgres_servers import PLAIN, url_of
from tests.storage.contract.values import ENCODER, manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.embedding.encoder import Encoder
    from indexer.storage.postgres.store import PostgresStore

_NUMBERS = itertools.count()


@pytest.fixture
def url() -> str:
    return url_of(PLAIN)


@pytest.fixture
def make(url: str) -> Iterator[Callable[..., PostgresStore]]:
    """Make stores, by their encoder and the changes of their manifest."""
    from indexer.storage.postgres.store import PostgresStore

    made = []

    def new(encoder: Encoder = ENCODER, **changes: object) -> PostgresStore:
        made.append(PostgresStore.create(url, f"{os.getpid()}-{next(_NUMBERS)}", manifest(encoder, **changes)))
        return made[-1]

    yield new
    for store in made:
        store.close()


@pytest.fixture
def store(make: Callable[..., PostgresStore]) -> PostgresStore:
    return make()


@pytest.fixture
def again(store: PostgresStore) -> Iterator[PostgresStore]:
    """The same collection as another machine would open it."""
    from indexer.storage.postgres.store import PostgresStore

    other = PostgresStore(store.server.address, store.name)
    yield other
    other.close()
