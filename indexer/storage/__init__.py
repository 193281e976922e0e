"""Collections: open, make and list them by their place: the path of a folder, or a database's URL with ``#NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from indexer.errors import StoreError
from indexer.storage.places import is_url, name_in

if TYPE_CHECKING:
    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Maintenance, Store

    class Kept(Store, Maintenance, Protocol):
        """A store that lies somewhere."""


def open_store(place: str | Path, *, index_device: str = "auto") -> Kept:
    """Open the collection at a place.

    Args:
        place: Path of its folder, or URL of its database with ``#NAME``.
        index_device: Where the index of a folder is searched: "auto", "cpu" or "cuda".

    Raises:
        CollectionNotFound: There is none.
        CorruptError: It is damaged.
        FormatError: A newer version of semsearch wrote it.
        StoreError: The database cannot be reached or used.
    """
    if is_url(place):
        from indexer.storage.postgres.store import PostgresStore

        return cast("Kept", PostgresStore(place, name_in(place)))  # it is replaced by its own kind alone
    from indexer.storage.local.store import LocalStore

    return cast("Kept", LocalStore(place, index_device))


def create_store(place: str | Path, manifest: Manifest, *, index_device: str = "auto") -> Kept:
    """Make a new, empty collection at a place.

    Raises:
        StoreError: There is one already, or the place cannot be written.
    """
    if is_url(place):
        from indexer.storage.postgres.store import PostgresStore

        return cast("Kept", PostgresStore.create(place, name_in(place), manifest))
    from indexer.storage.local.store import LocalStore

    return cast("Kept", LocalStore.create(place, manifest, index_device))


def exists(place: str | Path) -> bool:
    """Tell whether there is a collection at a place, sound or not.

    Raises:
        StoreError: The place may not be looked into, or the database cannot be reached.
    """
    if is_url(place):
        from indexer.storage.postgres import store

        return store.exists(place, name_in(place))
    from indexer.storage.local.on_disk.manifest_file import NAME

    try:
        return (Path(place) / NAME).is_file()
    except OSError as error:
        raise StoreError(f"cannot look into {place}: {error.strerror or error}; look at its permissions") from error


def list_stores(home: str | Path) -> list[str]:
    """Return the names of the collections in a folder or database, sorted; also of those that cannot be opened.

    Raises:
        StoreError: The folder may not be listed, or the database cannot be reached.
    """
    if is_url(home):
        from indexer.storage.postgres import store

        return store.names(home)
    try:
        folders = sorted(entry for entry in Path(home).iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"cannot list {home}: {error.strerror or error}; look at its permissions") from error
    return [folder.name for folder in folders if _may_be_one(folder)]


def _may_be_one(folder: Path) -> bool:
    try:
        return exists(folder)
    except StoreError:
        return True
