"""List, rename and delete collections: ``semsearch collection``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from indexer.errors import UsageError
from semsearch import stores
from semsearch.cli import output
from semsearch.cli.lazy import NearestGroup
from semsearch.cli.options import complete_collection, home_settings, json_option

if TYPE_CHECKING:
    from semsearch.collection import Collection
    from semsearch.settings import Settings


@click.group(cls=NearestGroup)
def command() -> None:
    """List, rename and delete collections; `semsearch status` says more of each."""


def _open(settings: Settings, name: str) -> Collection:
    from semsearch.collection import Collection

    return Collection(name, settings=settings)


@command.command("list")
@home_settings
@json_option
def list_collections(settings: Settings, as_json: bool) -> int:
    """The names of all collections, one a line."""
    names = stores.names(settings)
    if as_json or names:
        output.value(names, "\n".join(names), as_json)
    return 0


@command.command()
@click.argument("name", shell_complete=complete_collection)
@click.argument("new_name")
@home_settings
@json_option
def rename(name: str, new_name: str, settings: Settings, as_json: bool) -> int:
    """Give collection NAME the name NEW_NAME."""
    with _open(settings, name) as docs:
        docs.rename(new_name)
    output.value({"collection": new_name, "before": name}, f"collection {name!r} is now {new_name!r}", as_json)
    return 0


@command.command("remove")
@click.argument("name", shell_complete=complete_collection)
@click.option("--yes", is_flag=True, help="Delete without asking.")
@home_settings
@json_option
def remove_collection(name: str, yes: bool, settings: Settings, as_json: bool) -> int:
    """Delete collection NAME with everything in it. The files that were indexed stay."""
    with _open(settings, name) as docs:
        if not yes and not sys.stdin.isatty():
            raise UsageError(f"this deletes collection {name!r}; say so with --yes")
        if not yes:
            click.confirm(f"delete collection {name!r} with all its passages and vectors?", abort=True, err=True)
        docs.delete()
    output.value({"deleted": name}, f"collection {name!r} is deleted", as_json)
    return 0
