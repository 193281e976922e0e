"""List, show, fetch, compare and export models: ``semsearch model``."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from indexer import embedding
from indexer.embedding.spec import EncoderSpec
from indexer.errors import ConfigError, UsageError
from semsearch import render
from semsearch.cli import output
from semsearch.cli.lazy import NearestGroup
from semsearch.cli.options import encoder_options, json_option, run_settings
from semsearch.encoders import EncoderOverrides, choose, describe, in_bulk


@click.group(cls=NearestGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List, show, fetch, compare and export models.

    A model is the embedded one, a hub name, a local folder or a GGUF file; a preset is a whole encoder by name.
    """


@command.command("list")
@json_option
def list_models(as_json: bool) -> int:
    """Embedded models, shipped adapters and presets: all that goes by a name."""
    from indexer.embedding.about import listing

    found = listing()
    if as_json:
        value = {
            "models": {name: folder and str(folder) for name, folder in found.embedded.items()},
            "adapters": found.adapters,
            "presets": {name: _set(spec) for name, spec in found.presets.items()},
        }
        click.echo(output.json_text(value))
        return 0
    for name, folder in found.embedded.items():
        click.echo(f"model    {name:26} {folder or 'not fetched yet'}")
    for name in found.adapters:
        click.echo(f"adapter  {name}")
    for name, spec in found.presets.items():
        click.echo(f"preset   {name:26} {_summary(spec)}")
    return 0


@command.command()
@json_option
@encoder_options
def show(as_json: bool, overrides: EncoderOverrides) -> int:
    """An encoder in full: its fingerprint, where its files lie, its size and its prompt."""
    from indexer.embedding.about import about

    settings = run_settings(overrides)
    found = about(in_bulk(choose(settings, overrides), settings.device))
    value = {
        **describe(found.spec),
        "precision": found.spec.precision or embedding.default_precision(settings.device),
        "fingerprint": found.spec.fingerprint,
        "folder": found.folder and str(found.folder),
        "bytes": found.bytes,
        "family": found.family,
        "blocks": found.blocks,
        "dim": found.dim,
        "prompt": found.prompt,
    }
    if as_json:
        click.echo(output.json_text(value))
    else:
        for name, item in value.items():
            if item is not None and item != []:
                shown = render.size(item) if name == "bytes" and isinstance(item, int | float) else _plain(item)
                click.echo(f"{name:16} {shown}")
    return 0


@command.command()
@click.argument("name", required=False)
@json_option
@encoder_options
def pull(name: str | None, as_json: bool, overrides: EncoderOverrides) -> int:
    """Fetch a model now, so that nothing touches the network later: the embedded one, or NAME of the hub."""
    from indexer.embedding.weights import models

    if name is not None and overrides.model is not None:
        raise UsageError("give the model's name once, as NAME or with --model")
    overrides = replace(overrides, model=overrides.model or name)
    located = models.pull(choose(run_settings(overrides), overrides))
    value = {"model": str(located.model), "adapter": located.adapter and str(located.adapter)}
    output.value(value, "\n".join(str(each) for each in value.values() if each), as_json)
    return 0


@command.command()
@click.option("--to", "others", multiple=True, metavar="PRESET|FILE|FIELD=VALUE[,…]",
              help="What to compare with; fields are changed in the first encoder (precision=int8, layers=15, "
                   "merge_adapter=false; batch=1 encodes each text alone). May be repeated.")  # fmt: skip
@click.option("--file", "source", type=click.Path(path_type=Path, dir_okay=False),
              help="Sentences, one a line [default: standard input].")  # fmt: skip
@json_option
@encoder_options
def drift(others: tuple[str, ...], source: Path | None, as_json: bool, overrides: EncoderOverrides) -> int:
    """How far encoders lie apart on a set of sentences.

    Shown are the cosine of the two vectors of a text, and how many of its ten nearest neighbours stay.

    The first encoder is that of the options, in fp32 unless --precision is given. Without --to it is compared with
    every precision this machine has, with batches of one, and with its adapter not merged.
    """
    from indexer.embedding import drift as drifts

    settings = run_settings(overrides)
    spec = choose(settings, overrides)
    spec, device = replace(spec, precision=spec.precision or "fp32"), settings.device
    named = {text: _way(spec, text) for text in others} or _usual(spec, device)
    texts = _read(source)
    reports = drifts.drift(drifts.Way(spec), list(named.values()), texts, device)
    if as_json:
        click.echo(output.json_text([{"to": name, **asdict(r)} for name, r in zip(named, reports, strict=True)]))
        return 0
    click.echo(f"{reports[0].texts} texts, against {_summary(spec)}, {spec.precision}")
    click.echo(f"{'':28} {'mean cosine':>12} {'least cosine':>13} {'overlap@10':>11} {'score shift':>12}")
    for name, r in zip(named, reports, strict=True):
        mean, least = ("" if x is None else f"{x:.5f}" for x in (r.cosine_mean, r.cosine_min))
        click.echo(f"{name:28} {mean:>12} {least:>13} {r.overlap:>11.4f} {r.score_shift:>12.5f}")
    return 0


@command.command()
@click.argument("target", type=click.Path(path_type=Path))
@encoder_options
def export(target: Path, overrides: EncoderOverrides) -> int:
    """Write a folder that sentence-transformers loads and that gives the same vectors, the prompt included.

    An adapter is merged. The weights are fp32 unless --precision says bf16 or fp16.
    """
    from indexer.embedding.sentence_transformers_export import export as write

    write(choose(run_settings(overrides), overrides), target)
    output.LOG.info("%s is written; load it with SentenceTransformer(%r)", target, str(target))
    return 0


def _set(spec: EncoderSpec) -> dict[str, object]:
    plain = EncoderSpec().to_dict()
    return {name: value for name, value in spec.to_dict().items() if value != plain[name] or name == "model"}


def _summary(spec: EncoderSpec) -> str:
    values = _set(spec)
    model = str(values.pop("model"))
    return ", ".join([model, *(f"{name} {_plain(value)}" for name, value in values.items() if name != "precision")])


def _plain(value: object) -> str:
    return value if isinstance(value, str) else render.dump(value)


def _usual(spec: EncoderSpec, device: str | None) -> dict[str, Any]:
    """The ways that one encoder can be run on this machine."""
    from indexer.embedding import precision
    from indexer.embedding.drift import Way

    names = precision.available(precision.pick_device(device))
    ways = {f"precision={name}": Way(replace(spec, precision=name)) for name in names if name != spec.precision}
    ways["batch=1"] = Way(spec, alone=True)
    if spec.adapter is not None:
        other = not spec.merge_adapter
        ways[f"merge_adapter={str(other).lower()}"] = Way(replace(spec, merge_adapter=other))
    return ways


def _way(spec: EncoderSpec, text: str) -> Any:
    """``--to``'s value: fields to change in ``spec``, or another encoder, in the first one's precision."""
    from indexer.embedding.drift import Way

    if "=" not in text:
        other = embedding.preset(text)
        return Way(replace(other, precision=other.precision or spec.precision))
    values: dict[str, object] = {}
    alone = False
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        if name == "batch" and value in ("1", "64"):
            alone = value == "1"
        elif name in ("merge_adapter", "normalise") and value in ("true", "false"):
            values[name] = value == "true"
        elif name in ("layers", "max_tokens") and value.isdecimal():
            values[name] = int(value)
        elif name in ("model", "adapter", "template", "pooling", "precision"):
            values[name] = None if value == "none" else value
        else:
            raise UsageError(
                f"--to {text}: {pair!r} is not understood; give precision, layers, max_tokens, model, adapter, "
                "template, pooling, merge_adapter=true|false, normalise=true|false or batch=1|64"
            )
    try:
        return Way(EncoderSpec.from_dict({**spec.to_dict(), **values}, "--to"), alone)
    except ConfigError as error:
        raise UsageError(str(error)) from error


def _read(source: Path | None) -> list[str]:
    try:
        data = source.read_bytes() if source is not None else sys.stdin.buffer.read()
        return [line for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source or 'standard input'} is not UTF-8; convert it first") from error
