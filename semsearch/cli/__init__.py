"""The command line. A command NAME lives in the module NAME as ``command``, and is imported only when it is called."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback

import click

from indexer.errors import SemsearchError

COMMANDS = {
    "index": "Read files and folders into a collection, or bring it up to date.",
    "query": "Search a collection.",
    "similar": "Find more like an indexed file or passage.",
    "status": "Show collections, their encoder, sizes, and files that were skipped or failed.",
    "remove": "Take files or folders out of a collection.",
    "embed": "Turn lines of text into vectors.",
    "model": "List, show, fetch, compare and export models.",
    "eval": "Measure embedding and search quality, and gate on it.",
    "train": "Fine-tune a model's vectors with a recipe; the result is an adapter.",
    "reindex": "Embed a collection anew with another encoder, beside it, and swap.",
    "demos": "Search for the demonstration that makes a model's vectors best.",
    "doctor": "Check a collection and mend what can be mended.",
    "compact": "Drop deleted passages from a collection's files.",
    "export": "Write a collection's passages and vectors for other programs.",
    "import": "Make a collection from an export.",
}
"""Name → the help's one line, so that ``--help`` imports none of them."""


class LazyGroup(click.Group):
    """Knows its commands by name and loads each from its own module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = "import_" if name == "import" else name
        return importlib.import_module(f"semsearch.cli.{module}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="semsearch")
def cli() -> None:
    """Semantic search over your own files, with PromptEOL embeddings of a language model.

    \b
    semsearch index FOLDER        read, embed and index what is new or changed
    semsearch query "a question"  the passages that answer it

    Exit codes: 0 fine, 1 no match, 2 wrong use or any other error, 3 index and model disagree,
    4 some files failed, 5 quality gate failed, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """The exit code of one command; results went to stdout, everything else to stderr."""
    machine = "--json" in arguments or "--jsonl" in arguments
    try:
        code = cli.main(args=arguments, prog_name="semsearch", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        if machine:
            _report("UsageError", error.format_message(), error.exit_code)
        else:
            error.show(sys.stderr)
        return error.exit_code
    except SemsearchError as error:
        if machine:
            _report(error.kind, str(error), error.exit_code)
        else:
            click.echo(f"semsearch: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("semsearch: interrupted", err=True)
        return 130
    except BrokenPipeError:  # `semsearch query … | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # a defect of ours: say so, and keep the codes above for what they mean
        if machine:
            _report("InternalError", f"{type(error).__name__}: {error}", 70)
        traceback.print_exc()
        return 70


def _report(kind: str, message: str, code: int) -> None:
    click.echo(json.dumps({"error": {"kind": kind, "message": message, "exit_code": code}}), err=True)
