"""semsearch embed"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import click

from indexer import embedding
from indexer.errors import DataError, UsageError
from semsearch import render
from semsearch.cli.options import encoder_options, take_encoder_flags
from semsearch.encoders import choose
from semsearch.settings import load_settings

WINDOW = 4096
"""Lines encoded together: the output starts before the input ends, and memory stays bounded."""


@click.command()
@click.option("--file", "source", type=click.Path(path_type=Path, dir_okay=False), help="Read lines of this file.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write an (n, d) float32 .npy file.")
@click.option("--raw", is_flag=True, help="Embed the bare text: no prompt, no demonstrations, no text normalisation.")
@click.option("--no-normalize", is_flag=True, help="Leave the vectors at their own length.")
@click.option("--json", "--jsonl", "as_json", is_flag=True, help="JSON lines, as without it; errors are JSON too.")
@encoder_options
def command(
    source: Path | None,
    output: Path | None,
    raw: bool,
    no_normalize: bool,
    as_json: bool,
    device: str | None,
    batch_tokens: int | None,
    **encoder: Any,
) -> int:
    """Turn lines of text into vectors: one line of JSON each, {"text", "embedding"}, in order.

    An empty line gives the vector of the empty text.
    """
    if output is not None and output.suffix != ".npy":
        raise UsageError(f"--output {output} does not end in .npy; vectors are written as a NumPy file")
    settings = load_settings()
    flags = take_encoder_flags(encoder)
    if raw and flags.template is not None:
        raise UsageError("--raw leaves out the prompt and --template gives one; use either")
    spec = choose(settings, flags, "sts")
    if raw:
        spec = replace(spec, template="{text}", query_template=None, demonstrations=(), normalize_text=False)
    lines = _lines(source)
    model = embedding.open_encoder(
        embedding.resolve(spec), device=device or settings.device, batch_tokens=batch_tokens or settings.batch_tokens
    )
    import numpy as np

    blocks = []
    for start in range(0, len(lines), WINDOW):
        texts = lines[start : start + WINDOW]
        vectors = model.encode(texts, normalize=not no_normalize)
        if output is not None:
            blocks.append(vectors)
            continue
        for text, vector in zip(texts, vectors, strict=True):
            click.echo(render.dump({"text": text, "embedding": vector.tolist()}))
    if output is not None:
        with output.open("wb") as file:
            np.save(file, np.concatenate(blocks) if blocks else np.empty((0, model.dim), np.float32))
    if model.stats.truncated:
        click.echo(f"semsearch: {model.stats.truncated} texts were cut to {spec.max_tokens} tokens", err=True)
    return 0


def _lines(source: Path | None) -> list[str]:
    """Lines without their ends, split at \\n alone (a file's other separators belong to its text)."""
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
