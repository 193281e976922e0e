"""Options that several commands share, as decorators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from semsearch.encoders import EncoderOverrides

F = TypeVar("F", bound=Callable[..., Any])

home_option = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Folder of the collections [SEMSEARCH_HOME]."
)
collection_option = click.option("--collection", "-c", metavar="NAME", help="Collection [default: default].")
index_device_option = click.option(
    "--index-device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where FAISS builds and searches; the file is the same.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


def encoder_options(function: F) -> F:
    """The one set of options that say which encoder to use and how to run it. Each is None unless given."""
    options = [
        click.option(
            "--preset", metavar="NAME|FILE", help="A named encoder, or a TOML or JSON file that describes one."
        ),
        click.option(
            "--model", metavar="NAME|PATH", help="Hub name, folder or GGUF file [default: the embedded model]."
        ),
        click.option("--adapter", metavar="NAME|PATH|none", help="PEFT adapter: shipped name, folder or hub name."),
        click.option("--template", metavar="TEXT", help="Prompt with {text} once [default: PromptEOL]."),
        click.option("--query-template", metavar="TEXT", help="Prompt of queries [default: the same as of passages]."),
        click.option("--query-adapter", metavar="NAME|PATH|none", help="Adapter of queries [default: the same]."),
        click.option("--pooling", type=click.Choice(["last", "mean", "cls", "mask", "first-last"])),
        click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16", "int8", "nf4"])),
        click.option("--layers", type=click.IntRange(min=1), metavar="N", help="Use the first N blocks only."),
        click.option("--max-tokens", type=click.IntRange(min=1), help="Cut texts after so many tokens [default: 512]."),
        click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps [default: the best there is]."),
        click.option("--batch-tokens", type=click.IntRange(min=1), help="Tokens in one batch."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def take_encoder_flags(parameters: dict[str, Any]) -> EncoderOverrides:
    """Remove from a command's parameters those of ``encoder_options`` that decide the vectors, and return them;
    ``device`` and ``batch_tokens`` do not."""
    from semsearch.encoders import FIELDS, EncoderOverrides

    return EncoderOverrides.from_dict({name: parameters.pop(name) for name in ("preset", *FIELDS)})
