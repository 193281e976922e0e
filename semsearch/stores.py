"""Find, open and list collections by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer import storage
from indexer.errors import CollectionNotFound, SemsearchError, StoreError
from semsearch.nearest import choices

if TYPE_CHECKING:
    from indexer.storage.store import Store
    from semsearch.settings import Settings


def exists(settings: Settings) -> bool:
    """Return whether there is a collection of the settings' name.

    Raises:
        StoreError: The place may not be looked into.
    """
    return storage.exists(settings.place())


def open_collection(settings: Settings, index_device: str = "auto") -> Store:
    """Return the store of the settings' collection.

    Raises:
        CollectionNotFound: There is none of that name; the message says which there are.
        StoreError: It cannot be opened.
    """
    if not exists(settings):
        raise CollectionNotFound(not_found(settings))
    return storage.open_store(settings.place(), index_device=index_device)


def names(settings: Settings) -> list[str]:
    """Return the names of all collections in the settings' home or store, also of those that cannot be opened.

    Raises:
        StoreError: The home cannot be read.
    """
    return storage.list_stores(settings.kept_in)


def not_found(settings: Settings) -> str:
    """Return what to say where there is no collection of the settings' name."""
    try:
        there = names(settings)
    except StoreError:
        there = []
    known = f" Collections are {choices(settings.collection, there)}." if there else ""
    return (
        f"there is no collection {settings.collection!r} in {settings.shown_home}.{known} Make it with: "
        f"semsearch index{option(settings)} FOLDER"
    )


def option(settings: Settings) -> str:
    """Return the option that names the settings' collection in a command, with a blank before it."""
    return "" if settings.collection == "default" else f" --collection {settings.collection}"


def check_free(settings: Settings) -> None:
    """Raise StoreError where the settings' collection exists already."""
    if exists(settings):
        raise StoreError(f"there is a collection {settings.collection!r} already; give another name")


def reason(error: SemsearchError) -> str:
    """Return an error's message as one line."""
    return " ".join(str(error).split())
