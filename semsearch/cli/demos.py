"""semsearch demos search"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from indexer import embedding
from semsearch import render
from semsearch.cli.options import encoder_options, json_option, take_encoder_flags
from semsearch.encoders import choose
from semsearch.settings import load_settings

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def command() -> None:
    """Find a demonstration: a sentence and the word for it, put before the text to show the model its task."""


@command.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Folder in SentEval's layout, with STS-B.")  # fmt: skip
@click.option("--candidates", type=click.IntRange(min=1), default=50, show_default=True,
              help="Sentences of STS-B train to try, each with the model's own word for it.")  # fmt: skip
@click.option("--dictionary", type=FILE, help="Try definitions too: lines of a word, a tab and its definition.")
@click.option("--pairs", type=click.IntRange(min=2), help="Judge on so many STS-B dev pairs [default: all 1,500].")
@click.option("--log", type=FILE, default=Path("demos.jsonl"), show_default=True,
              help="Figures as they come; a search that was stopped goes on from there.")  # fmt: skip
@click.option("--output", type=FILE, help="Save the winner as a preset (.toml or .json) for --preset.")
@click.option("--seed", type=int, default=0, help="Of the draw of candidates.")
@json_option
@encoder_options
def search(
    data: Path,
    candidates: int,
    dictionary: Path | None,
    pairs: int | None,
    log: Path,
    output: Path | None,
    seed: int,
    as_json: bool,
    device: str | None,
    batch_tokens: int | None,
    **encoder: Any,
) -> int:
    """Rank candidate demonstrations by STS-B dev, as the paper does.

    A candidate whose sentence stands in an STS or SICK set is marked contaminated and cannot win.
    """
    from semsearch.training import demos

    settings = load_settings()
    flags = take_encoder_flags(encoder)
    if flags.adapter is None and flags.preset is None:
        flags = replace(flags, adapter="none")
    spec = choose(settings, flags, "sts")
    device, batch_tokens = device or settings.device, batch_tokens or settings.batch_tokens
    chosen = demos.sts_b(data, "dev")
    if pairs is not None:
        chosen = chosen.spread(pairs)
    model = embedding.open_encoder(embedding.resolve(spec), device=device, batch_tokens=batch_tokens)
    found = demos.own_words(model, demos.sts_b(data, "train").texts, candidates, seed)
    if dictionary is not None:
        found += demos.definitions(dictionary, candidates, seed)
    ranking = demos.search(
        spec,
        found,
        chosen,
        data,
        log,
        open_encoder=lambda s: embedding.open_encoder(s, device=device, batch_tokens=batch_tokens),
        progress=lambda what, share: click.echo(f"{what}: {share:.0%}", err=True),
    )
    if output is not None and ranking.winner is not None:
        demos.save(spec, ranking.winner, output)
    if as_json:
        winner = None if ranking.winner is None else asdict(ranking.winner)
        value = {"baseline": ranking.baseline, "harmful": ranking.harmful, "winner": winner}
        click.echo(render.dump({**value, "candidates": [asdict(entry) for entry in ranking.judged]}))
        return 0
    for entry in ranking.judged[:10]:
        note = f"  contaminated: {entry.contaminated}" if entry.contaminated else ""
        click.echo(f"{entry.score:6.2f}  {entry.candidate.sentence} → {entry.candidate.word}{note}")
    click.echo(f"\n{ranking.histogram()}\n")
    click.echo(f"without a demonstration {ranking.baseline:.2f}; {ranking.harmful:.0%} of the candidates hurt")
    if ranking.winner is None:
        click.echo("no candidate without contamination is better than none")
    return 0
