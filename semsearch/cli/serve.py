"""Serve collections to programs and people: ``semsearch serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexer.errors import UsageError
from semsearch.cli.options import complete_collection, home_settings

if TYPE_CHECKING:
    from semsearch.settings import Settings

SHORTEST_TOKEN = 16
PORT = 7330


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free.")
@click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="File with the token that callers must show; needed where other machines can reach it.")  # fmt: skip
@click.option("--collection", "-c", "allowed", multiple=True, metavar="NAME", shell_complete=complete_collection,
              help="Collection that may be asked; repeat for several [default: all].")  # fmt: skip
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Another name by which it may be called.")
@click.option("--rerank", metavar="NAME|PATH", help="The cross-encoder that requests may ask for.")
@click.option("--preload", is_flag=True, help="Open every collection and load its model before the first request.")
@home_settings
def command(
    host: str,
    port: int,
    token_file: Path | None,
    allowed: tuple[str, ...],
    hosts: tuple[str, ...],
    rerank: str | None,
    preload: bool,
    settings: Settings,
) -> int:
    """Answer searches over HTTP, with the models loaded once; POST /v1/search, see GET /openapi.json.

    Collections are opened when they are first asked, and followed while they change. SIGTERM and Ctrl-C end it once
    what is under way has been answered.
    """
    try:
        from semsearch.service.server import address_of, bind, serve
    except ModuleNotFoundError as error:
        raise UsageError(f"the server needs {error.name}; install it with: pip install 'semsearch[server]'") from error
    from semsearch.service import running
    from semsearch.service.service import Service

    listening = bind(host, port, token := None if token_file is None else read_token(token_file))
    with Service(settings, allowed, token=token, reranker=rerank) as service:
        if preload:
            service.preload()
        where = address_of(listening)
        about = running.Running(
            host=listening.getsockname()[0],
            port=listening.getsockname()[1],
            token=token or "",
            pid=os.getpid(),
            collections=allowed or None,
            reranker=rerank,
            store=settings.shown_store,
            device=settings.device,
            batch_tokens=settings.batch_tokens,
        )

        def started(server: object) -> None:
            del server
            running.announce(settings.root, about)
            click.echo(f"semsearch serves {where}")

        try:
            serve(service, listening, started, hosts)
        finally:
            running.withdraw(settings.root, about)
    return 0


def read_token(file: Path) -> str:
    """Return the token in a file.

    Raises:
        UsageError: It cannot be read, or is too short to be hard to guess.
    """
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the token in {file}: {said}") from error
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"the token in {file} is not one line of at least {SHORTEST_TOKEN} letters, digits and signs; make one: "
            'python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return token
