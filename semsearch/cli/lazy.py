"""A group of commands that are imported only when they are called, and suggest the nearest to a mistyped one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from semsearch.cli.logs import verbosity_options
from semsearch.nearest import hint

if TYPE_CHECKING:
    from collections.abc import Mapping


class NearestGroup(click.Group):
    """Suggests the nearest command to a mistyped one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with."""
        name = args[0]
        if not name.startswith("-") and name not in (names := self.list_commands(ctx)):
            raise click.UsageError(
                f"There is no command {name!r}{hint(name, names)}. Commands: {', '.join(names)}", ctx
            )
        return super().resolve_command(ctx, args)


class LazyGroup(NearestGroup):
    """Knows its commands by name and loads each from its own module, which holds it as ``command``."""

    def __init__(self, *args: Any, helps: Mapping[str, str], **keywords: Any):
        """Take each command's name and the one line that help shows of it."""
        super().__init__(*args, **keywords)
        self.helps = helps

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands' names in the order of the help."""
        return list(self.helps)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, imported now."""
        if cmd_name not in self.helps:
            return None
        module = "import_" if cmd_name == "import" else cmd_name
        command: click.Command = importlib.import_module(f"semsearch.cli.{module}").command
        _add_verbosity(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.helps.items()))


def _add_verbosity(command: click.Command) -> None:
    """Let -v and -q stand behind the command's name too, where people write them."""
    known = {option for each in command.params for option in each.opts}
    command.params += [each for each in verbosity_options() if not known & set(each.opts)]
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _add_verbosity(each)
