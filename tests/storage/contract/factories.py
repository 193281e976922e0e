"""The stores that the contract holds for. A new store is added here, in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from indexer.storage import create_store, open_store
from indexer.storage.local import writer
from indexer.storage.memory import MemoryStore
from tests.postgres_servers import PLAIN, TEXTSEARCH, Kind, url_of
from tests.storage.contract.values import DIM, manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Maintenance, Store


@dataclass(frozen=True)
class Factory:
    """How one kind of store is made for a test."""

    name: str
    make: Callable[[Path, Manifest], Store]
    """An empty store of its own, in a folder that is there and empty."""
    reopen: Callable[[Path], Store] | None = None
    """The store that was made in the folder, as another process would open it; None: it ends with its process."""
    small: Callable[[], AbstractContextManager[None]] = nullcontext
    """Within this, limits are so small that a test's few passages reach them (sealing, merging, stale indexes)."""
    writers: int = 1
    """Writers at a time."""

    def __str__(self) -> str:
        """Return the name, for test ids."""
        return self.name


@contextmanager
def _small_files() -> Iterator[None]:
    """Let a folder seal shards of four vectors, merge two of them, and drop no dead passages before a compaction.

    Filters and words that three passages meet are as those of many, cells are fitted to one vector each, and effort is
    so great that no index misses any.
    """
    from indexer.storage import planner
    from indexer.storage.local import snapshot
    from indexer.storage.local.index import refined
    from indexer.storage.local.words import fts

    with ExitStack() as stack:
        for module, name, value in (
            (writer, "SEAL_AT", 4),
            (writer, "MERGE_AT", 2),
            (writer, "TOMBSTONES", 2.0),
            (writer, "STALE", 0.3),
            (snapshot, "FEW", 2),
            (snapshot, "FEW_SHARE", 0.0),
            (snapshot, "DEEPER", 2),
            (planner, "SAMPLES_PER_CELL", 1),
            (refined, "SPARE", 10_000),
            (refined, "FEW", 10_000),
            (fts, "COMMON", 1),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


def _local(name: str, plan: str | None = None) -> Factory:
    return Factory(
        name,
        lambda folder, manifest: create_store(folder / "collection", replace(manifest, index_plan=plan)),
        lambda folder: open_store(folder / "collection"),
        _small_files,
    )


@contextmanager
def _small_database() -> Iterator[None]:
    """Let a database index four vectors, compare one by one where a filter leaves two, and keep dead passages."""
    from indexer.storage.postgres import writer as postgres_writer
    from indexer.storage.postgres.search import nearest

    with ExitStack() as stack:
        for module, name, value in (
            (nearest, "INDEX_FROM", 4),
            (nearest, "FEW", 2),
            (postgres_writer, "TOMBSTONES", 2.0),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


def _postgres(kind: Kind) -> Factory:
    def make(folder: Path, manifest: Manifest) -> Store:
        from indexer.storage.postgres.store import PostgresStore

        return PostgresStore.create(url_of(kind), str(folder), manifest)

    def reopen(folder: Path) -> Store:
        from indexer.storage.postgres.store import PostgresStore

        return PostgresStore(url_of(kind), str(folder))

    return Factory(kind.name, make, reopen, _small_database, writers=4)


FACTORIES = [
    Factory("memory", lambda _, manifest: MemoryStore(manifest)),
    _local("local"),
    _local("bytes", "SQ8"),
    _local("graph", "HNSW8,SQ8"),
    _local("cells", "IVF2,SQ8"),
    _local("short codes", f"RR{DIM},IVF2,RaBitQfs4"),
    _postgres(PLAIN),
    _postgres(TEXTSEARCH),
]
KINDS = [factory for factory in FACTORIES if factory.name in ("memory", "local", PLAIN.name, TEXTSEARCH.name)]
"""One of each kind of store, for tests that no index of the vectors makes different."""


@contextmanager
def making(factory: Factory, folder: Path, **defaults: object) -> Iterator[Callable[..., Store]]:
    """Give a function that makes stores, by the changes of their manifest; each is closed in the end."""
    stores = []

    def new(**changes: object) -> Store:
        place = folder / f"store{len(stores)}"
        place.mkdir()
        stores.append(factory.make(place, manifest(**{**defaults, **changes})))
        return stores[-1]

    yield new
    for store in stores:
        store.close()


def maintenance(store: Store) -> Maintenance:
    """Return the store as what looks after it. MemoryStore has only the part that makes sense in memory."""
    return store  # type: ignore[return-value]
