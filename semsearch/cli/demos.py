"""Search for demonstrations: ``semsearch demos``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexer import embedding
from semsearch.cli import output
from semsearch.cli.lazy import NearestGroup
from semsearch.cli.options import encoder_options, gather, json_option, run_settings
from semsearch.encoders import EncoderOverrides, choose

if TYPE_CHECKING:
    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from semsearch.training.demos import Ranking

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=NearestGroup)
def command() -> None:
    """Find a demonstration: a sentence and the word for it, put before the text to show the model its task."""


@dataclass(frozen=True)
class _Search:
    """What is searched, and on what it is judged."""

    data: Path
    candidates: int
    seed: int
    log: Path
    dictionary: Path | None = None
    pairs: int | None = None
    target: Path | None = None


SEARCH_OPTIONS = [
    click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True,
                 help="Folder in SentEval's layout, with STS-B."),
    click.option("--candidates", type=click.IntRange(min=1), default=50, show_default=True,
                 help="Sentences of STS-B train to try, each with the model's own word for it."),
    click.option("--dictionary", type=FILE, help="Try definitions too: lines of a word, a tab and its definition."),
    click.option("--pairs", type=click.IntRange(min=2), help="Judge on so many STS-B dev pairs [default: all 1,500]."),
    click.option("--log", type=FILE, default=Path("demos.jsonl"), show_default=True,
                 help="Figures as they come; a search that was stopped goes on from there."),
    click.option("--output", "target", type=FILE, help="Save the winner as a preset (.toml or .json) for --preset."),
    click.option("--seed", type=int, default=0, help="Of the draw of candidates."),
]  # fmt: skip


@command.command()
@gather("wanted", _Search, SEARCH_OPTIONS)
@json_option
@encoder_options
def search(wanted: _Search, as_json: bool, overrides: EncoderOverrides) -> int:
    """Rank candidate demonstrations by STS-B dev, as the paper does.

    A candidate whose sentence stands in an STS or SICK set is marked contaminated and cannot win.
    """
    ranking = _ranking(wanted, overrides)
    if as_json:
        winner = None if ranking.winner is None else asdict(ranking.winner)
        value = {"baseline": ranking.baseline, "harmful": ranking.harmful, "winner": winner}
        click.echo(output.json_text({**value, "candidates": [asdict(entry) for entry in ranking.judged]}))
        return 0
    for entry in ranking.judged[:10]:
        note = f"  contaminated: {entry.contaminated}" if entry.contaminated else ""
        click.echo(f"{entry.score:6.2f}  {entry.candidate.sentence} → {entry.candidate.word}{note}")
    click.echo(f"\n{ranking.histogram()}\n")
    click.echo(f"without a demonstration {ranking.baseline:.2f}; {ranking.harmful:.0%} of the candidates hurt")
    if ranking.winner is None:
        click.echo("no candidate without contamination is better than none")
    return 0


def _ranking(wanted: _Search, overrides: EncoderOverrides) -> Ranking:
    """Return the candidates in the order of their scores, and save the best where that was asked for."""
    from semsearch.training import demos

    settings = run_settings(overrides)
    if overrides.adapter is None and overrides.preset is None:
        overrides = replace(overrides, adapter="none")
    spec = choose(settings, overrides)
    chosen = demos.sts_b(wanted.data, "dev")
    if wanted.pairs is not None:
        chosen = chosen.spread(wanted.pairs)

    model = embedding.open_encoder(embedding.resolve(spec), device=settings.device, batch_tokens=settings.batch_tokens)

    def open_encoder(spec: EncoderSpec) -> Encoder:
        return embedding.demonstrating(model, spec.demonstrations)  # one model for hundreds of candidates

    found = demos.own_words(model, demos.sts_b(wanted.data, "train").texts, wanted.candidates, wanted.seed)
    if wanted.dictionary is not None:
        found += demos.definitions(wanted.dictionary, wanted.candidates, wanted.seed)
    ranking = demos.search(
        spec,
        found,
        chosen,
        wanted.data,
        wanted.log,
        open_encoder=open_encoder,
        progress=lambda what, share: output.LOG.info("%s: %.0f%%", what, 100 * share),
    )
    if wanted.target is not None and ranking.winner is not None:
        demos.save(spec, ranking.winner, wanted.target)
    return ranking
