"""Turn lines of text into vectors: ``semsearch embed``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from indexer import embedding
from indexer.errors import DataError, UsageError
from semsearch.cli import output
from semsearch.cli.options import encoder_options, run_settings
from semsearch.encoders import EncoderOverrides, choose, in_bulk

if TYPE_CHECKING:
    from indexer.embedding.encoder import Encoder

WINDOW = 4096
"""Lines encoded together: the output starts before the input ends, and memory stays bounded."""


@click.command()
@click.option("--file", "source", type=click.Path(path_type=Path, dir_okay=False), help="Read lines of this file.")
@click.option(
    "--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write an (n, d) float32 .npy file."
)
@click.option("--raw", is_flag=True, help="Embed the bare text: no prompt, no demonstrations, no text normalisation.")
@click.option("--no-normalize", is_flag=True, help="Leave the vectors at their own length.")
@click.option("--json", "--jsonl", "as_json", is_flag=True, help="JSON lines, as without it; errors are JSON too.")
@encoder_options
def command(
    source: Path | None,
    target: Path | None,
    raw: bool,
    no_normalize: bool,
    as_json: bool,  # noqa: ARG001 - looked for where errors are shown
    overrides: EncoderOverrides,
) -> int:
    """Turn lines of text into vectors: one line of JSON each, {"text", "embedding"}, in order.

    An empty line gives the vector of the empty text.
    """
    if target is not None and target.suffix != ".npy":
        raise UsageError(f"--output {target} does not end in .npy; vectors are written as a NumPy file")
    if raw and overrides.template is not None:
        raise UsageError("--raw leaves out the prompt and --template gives one; use either")
    settings = run_settings(overrides)
    spec = choose(settings, overrides)
    if raw:
        spec = replace(spec, template="{text}", query_template=None, demonstrations=(), normalize_text=False)
    spec = in_bulk(spec, settings.device)
    lines = _lines(source)
    model = embedding.open_encoder(embedding.resolve(spec), device=settings.device, batch_tokens=settings.batch_tokens)
    _write(model, lines, target, not no_normalize)
    if model.stats.truncated:
        output.LOG.warning("%d texts were cut to %d tokens", model.stats.truncated, spec.max_tokens)
    return 0


def _write(model: Encoder, lines: list[str], target: Path | None, normalize: bool) -> None:
    """Print the vectors as they come, or write them as one file."""
    import numpy as np

    blocks = [np.empty((0, model.dim), np.float32)]
    for start in range(0, len(lines), WINDOW):
        texts = lines[start : start + WINDOW]
        vectors = model.encode(texts, normalize=normalize)
        if target is not None:
            blocks.append(vectors)
            continue
        for text, vector in zip(texts, vectors, strict=True):
            click.echo(output.json_text({"text": text, "embedding": vector.tolist()}))
    if target is not None:
        with target.open("wb") as file:
            np.save(file, np.concatenate(blocks))


def _lines(source: Path | None) -> list[str]:
    """Return lines without their ends, split at line feeds alone: a file's other separators belong to its text."""
    try:
        data = _read(source.open("rb")) if source is not None else _read(sys.stdin.buffer)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(
            f"{source or 'standard input'}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; "
            "convert the text first"
        ) from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _read(stream: BinaryIO) -> bytes:
    with stream:
        return stream.read()
