"""The command line. A command NAME lives in the module NAME as ``command``, and is imported only when it is called."""

from __future__ import annotations

import json
import os
import sys
import traceback

import click

from indexer.errors import SemsearchError
from semsearch.cli import logs
from semsearch.cli.interrupts import INTERRUPTED, Interrupts
from semsearch.cli.lazy import LazyGroup

COMMANDS = {
    "index": "Read files and folders into a collection, or bring it up to date.",
    "merge": "Take the shards that several processes made into a collection.",
    "query": "Search a collection.",
    "similar": "Find more like an indexed file or passage.",
    "get": "Print an indexed document, or some lines of it.",
    "serve": "Answer searches over HTTP, with the models loaded once.",
    "mcp": "Answer agents over the Model Context Protocol.",
    "status": "Show collections, their encoder, sizes, and files that were skipped or failed.",
    "remove": "Take files or folders out of a collection.",
    "collection": "List, rename and delete collections.",
    "embed": "Turn lines of text into vectors.",
    "model": "List, show, fetch, compare and export models.",
    "judge": "Say which hits are right or wrong; evaluation and training go by it.",
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

COMPLETION = "_SEMSEARCH_COMPLETE"
"""Variable by which a shell asks for completions."""
DEFECT = 70
"""Exit code of an error that is ours."""


@click.group(
    cls=LazyGroup,
    helps=COMMANDS,
    params=logs.verbosity_options(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="semsearch")
def cli() -> None:
    r"""Semantic search over your own files, with PromptEOL embeddings of a language model.

    \b
    semsearch index FOLDER         read, embed and index what is new or changed
    semsearch query a question     the passages that answer it
    semsearch get PATH:LINE        what stands there

    Exit codes: 0 fine, 1 no match, 2 wrong use or any other error, 3 index and model disagree,
    4 some files failed, 5 quality gate failed, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments, Interrupts()))


def run(arguments: list[str], interrupts: Interrupts | None = None) -> int:
    """Return the exit code of one command; results go to stdout, everything else to stderr."""
    machine = "--json" in arguments or "--jsonl" in arguments
    logs.set_up()
    if COMPLETION in os.environ:
        cli.main(args=arguments, prog_name="semsearch", complete_var=COMPLETION)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows another
    try:
        code = _invoke(arguments)
        sys.stdout.flush()  # now, while a full disk can still be said
        return code
    except click.ClickException as error:
        return _usage(error, machine)
    except SemsearchError as error:
        return _fail(error.kind, str(error), error.exit_code, machine)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except BrokenPipeError:  # `semsearch query … | head`: the reader has enough
        _silence()
        return 0
    except OSError as error:  # of the machine: a full disk, a folder that may not be made
        _silence()
        where = f": {error.filename}" if error.filename is not None else ""
        return _fail("OSError", f"{error.strerror or error}{where}; look at free space and permissions", 2, machine)
    except Exception as error:  # a defect of ours: say so, and keep the codes above for what they mean
        if interrupts is not None and interrupts.seen:  # some libraries turn an interrupt into an error of theirs
            return _interrupted()
        if machine:
            _report("InternalError", f"{type(error).__name__}: {error}", DEFECT)
        traceback.print_exc()
        return DEFECT


def _invoke(arguments: list[str]) -> int:
    """Return the code that the command gives; click's own ``main`` would turn a closed pipe into 1."""
    try:
        with cli.make_context("semsearch", list(arguments)) as context:
            code = cli.invoke(context)
            return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code


def _usage(error: click.ClickException, machine: bool) -> int:
    """Say what was wrong with the arguments."""
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption) and context is not None and context.info_name == "query":
        hint = f"A query that begins with a dash goes behind --: semsearch query -- {error.option_name}…"
        error = click.UsageError(f"{error.format_message()} {hint}", context)
    if machine:
        _report("UsageError", error.format_message(), error.exit_code)
    else:
        error.show(sys.stderr)
    return error.exit_code


def _fail(kind: str, message: str, code: int, machine: bool) -> int:
    if machine:
        _report(kind, message, code)
    else:
        click.echo(f"semsearch: {message}", err=True)
    return code


def _interrupted() -> int:
    click.echo("semsearch: interrupted", err=True)
    return INTERRUPTED


def _silence() -> None:
    """Send what is left in the buffer of standard output nowhere, where it cannot be written."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # no file behind it, as in a test
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - to the end of the process


def _report(kind: str, message: str, code: int) -> None:
    click.echo(json.dumps({"error": {"kind": kind, "message": message, "exit_code": code}}), err=True)
