"""Show what collections there are, and the state of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.errors import SemsearchError
from semsearch import stores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indexer.embedding.spec import EncoderSpec
    from indexer.storage.store import Store
    from indexer.types import Counts, FileRecord, IndexReport
    from semsearch.settings import Settings


@dataclass(frozen=True)
class Status:
    """The state of one collection."""

    name: str
    place: str
    """Where it is kept: the path of its folder; empty for one in memory."""
    spec: EncoderSpec
    """The encoder that made its vectors."""
    counts: Counts
    sizes: Mapping[str, int]
    """Part of the collection → bytes on disk; "terms" where it has a sparse index."""
    roots: tuple[str, ...]
    problems: tuple[FileRecord, ...]
    """Files that failed, then files that were skipped."""
    engines: Mapping[str, str] = field(default_factory=dict)
    """Part → what searches it, in which version; "warning" where there is one."""
    index: IndexReport | None = None
    """The index of its vectors, with what was measured of it."""
    partial: tuple[FileRecord, ...] = ()
    """Indexed files of which a part was left out, with ``warnings``."""


@dataclass(frozen=True)
class Unreadable:
    """A collection that cannot be opened, with the reason."""

    name: str
    place: str
    error: SemsearchError


def status_of(store: Store, place: str) -> Status:
    """Return the state of a collection that is open."""
    with store.snapshot() as snapshot:
        files = list(snapshot.files())
        sizes, engines, index = (getattr(store, name, None) for name in ("sizes", "engines", "index_report"))
        return Status(
            name=store.name,
            place=place,
            spec=snapshot.manifest.spec,
            counts=snapshot.counts(),
            sizes=sizes() if sizes is not None else {},
            roots=tuple(sorted(snapshot.roots())),
            engines=engines() if engines is not None else {},
            index=index() if index is not None else None,
            problems=(
                *(each for each in files if each.status == "failed"),
                *(each for each in files if each.status == "skipped"),
            ),
            partial=tuple(each for each in files if each.status == "indexed" and each.warnings),
        )


def statuses(settings: Settings, names: Sequence[str] = ()) -> list[Status | Unreadable]:
    """Return the state of collections by name, of all there are when none is named. None is left out.

    Raises:
        CollectionNotFound: A name that was given is none.
        StoreError: The home cannot be read.
    """
    found: list[Status | Unreadable] = []
    for name in names or stores.names(settings):
        each = settings.override({"collection": name})
        try:
            store = stores.open_collection(each)
            try:
                found.append(status_of(store, each.shown_place()))
            finally:
                store.close()
        except SemsearchError as error:
            if names and not stores.exists(each):
                raise
            found.append(Unreadable(name, each.shown_place(), error))
    return found
