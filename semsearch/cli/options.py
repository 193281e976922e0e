"""Options that several commands share, as decorators that gather them into the values commands take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from semsearch.nearest import hint
from semsearch.search.asking import filter_expressions
from semsearch.search.asking.request import FUSIONS, MODES
from semsearch.settings import Settings, load_settings

if TYPE_CHECKING:
    from indexer.corpus.formats import ReadOptions
    from semsearch.encoders import EncoderOverrides

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]
Option = Callable[[Any], Any]


class Choice(click.Choice[str]):
    """One of some words; a mistyped one gets the nearest suggested."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word that was chosen."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = hint(str(value), [str(each) for each in self.choices])
            raise click.BadParameter(error.message + near, error.ctx, error.param) from error


def gather(name: str, build: Callable[..., Any], options: Sequence[Option]) -> Decorator[Any]:
    """Return a decorator: the command gets one argument ``name`` made of the options, in place of them.

    Args:
        name: The argument's name.
        build: Called with the options that were given, by their names; those that are None or empty are left out.
        options: As ``click.option`` makes them.
    """
    names = _names_of(options)

    def decorate(function: F) -> F:
        @wraps(function)
        def command(*args: Any, **values: Any) -> Any:
            own = {each: values.pop(each) for each in names}
            given = {each: value for each, value in own.items() if value is not None and value != ()}
            return function(*args, **{name: build(**given)}, **values)

        return with_options(command, options)  # type: ignore[return-value]

    return decorate


def _names_of(options: Sequence[Option]) -> list[str]:
    """Return the argument names of options."""

    def none() -> None: ...

    return [str(each.name) for each in with_options(none, options).__click_params__]  # type: ignore[attr-defined]


def with_options(function: Callable[..., Any], options: Sequence[Option]) -> Callable[..., Any]:
    """Return a command with these options added, in their order."""
    for option in reversed(options):
        function = option(function)
    return function


# Which collection


def complete_collection(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's signature
    incomplete: str,
) -> list[CompletionItem]:
    """Return the collections whose names begin so, for a shell."""
    from semsearch import stores

    settings = load_settings().override({name: context.params.get(name) for name in ("home", "store")})
    return [CompletionItem(name) for name in stores.names(settings) if name.startswith(incomplete)]


home_option = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Folder of the collections [SEMSEARCH_HOME]."
)
store_option = click.option(
    "--store", metavar="URL", help="Database that keeps the collections: postgresql://USER@HOST/NAME [SEMSEARCH_STORE]."
)
collection_option = click.option(
    "--collection", "-c", metavar="NAME", shell_complete=complete_collection, help="Collection [default: default]."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
shards_option = click.option(
    "--shards",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the shards, the same for all parts [default: in the home].",
)
index_plan_option = click.option(
    "--index-plan",
    metavar="FACTORY",
    help="Index of the vectors, by FAISS's name, as HNSW32,SQ8; auto [default]: chosen by size and memory.",
)
index_recall_option = click.option(
    "--index-recall",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Share of the ten nearest that a search is to find [default: 0.95].",
)
index_device_option = click.option(
    "--index-device",
    type=Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where FAISS builds and searches; auto: on a GPU where it works. The file is the same.",
)


def _settings(**said: Any) -> Settings:
    return load_settings().override(said)


def place_options(index_device: bool) -> list[Option]:
    """Return the options that say which collection is meant and, where that matters, where its index is searched."""
    return [home_option, store_option, collection_option, *([index_device_option] if index_device else [])]


settings_options = gather("settings", _settings, [home_option, store_option, collection_option])
"""The command gets ``settings``, with --home, --store and --collection put over those of files and environment."""
home_settings = gather("settings", _settings, [home_option, store_option])
"""The command gets ``settings``, with --home and --store put over those of files and environment."""


def collection_options(*, create: bool = False, encoder: bool = False, index_device: bool = False) -> Decorator[Any]:
    """Return a decorator: the command gets ``docs``, the Collection that its options name, and it is closed after it.

    Args:
        create: Whether there may be none yet.
        encoder: Whether the command takes the options of encoders.
        index_device: Whether it takes --index-device.
    """
    options = place_options(index_device)

    def decorate(function: F) -> F:
        @wraps(function)
        def command(*args: Any, **values: Any) -> Any:
            from semsearch.collection import Collection

            said = {name: values.pop(name) for name in ("home", "store", "collection")}
            how = {"index_device": values.pop("index_device")} if index_device else {}
            if encoder:
                how["encoder"] = values.pop("overrides")
            with Collection(settings=load_settings().override(said), create=create, **how) as docs:
                return function(*args, docs=docs, **values)

        made: Any = with_options(command, options)
        return encoder_options(made) if encoder else made  # type: ignore[no-any-return]

    return decorate


# Which encoder

ENCODER_OPTIONS = [
    click.option("--preset", metavar="NAME|FILE", help="A named encoder, or a TOML or JSON file that describes one."),
    click.option("--model", metavar="NAME|PATH", help="Hub name, folder or GGUF file [default: the embedded model]."),
    click.option("--adapter", metavar="NAME|PATH|none", help="PEFT adapter: shipped name, folder or hub name."),
    click.option("--template", metavar="TEXT", help="Prompt with {text} once [default: PromptEOL]."),
    click.option("--query-template", metavar="TEXT", help="Prompt of queries [default: the same as of passages]."),
    click.option("--query-adapter", metavar="NAME|PATH|none", help="Adapter of queries [default: the same]."),
    click.option("--pooling", type=Choice(["last", "mean", "cls", "mask", "first-last"])),
    click.option("--precision", type=Choice(["fp32", "bf16", "fp16", "int8", "nf4"])),
    click.option("--layers", type=click.IntRange(min=1), metavar="N", help="Use the first N blocks only."),
    click.option("--dimensions", type=click.IntRange(min=1), metavar="N", help="Keep N numbers of each vector."),
    click.option("--max-tokens", type=click.IntRange(min=1), help="Cut texts after so many tokens [default: 512]."),
    click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps [default: the best there is]."),
    click.option("--batch-tokens", type=click.IntRange(min=1), help="Tokens in one batch."),
]


def overrides_of(**given: Any) -> EncoderOverrides:
    """Return what was said of the encoder."""
    from semsearch.encoders import EncoderOverrides

    return EncoderOverrides(**given)


encoder_options: Callable[[Callable[..., Any]], Any] = gather("overrides", overrides_of, ENCODER_OPTIONS)
"""The command gets ``overrides``: an EncoderOverrides."""


def run_settings(overrides: EncoderOverrides) -> Settings:
    """Return the settings of files and environment, with what was said of how to run the encoder put over them."""
    return load_settings().override({"device": overrides.device, "batch_tokens": overrides.batch_tokens})


# What an answer is

HIT_OPTIONS = [
    click.option("-k", default=10, show_default=True, metavar="N", type=int, help="Most hits to show."),
    click.option("--filter", multiple=True, metavar="NAME=VALUE", help=f"Only {filter_expressions.HELP}"),
    click.option(
        "--per-document", type=int, metavar="N", help="Most hits from one document: a file, or a record of one."
    ),
    click.option(
        "--no-collapse",
        "collapse",
        flag_value=False,
        default=True,
        type=bool,
        help="Show near-duplicates of a better hit as hits of their own.",
    ),
    click.option("--explain", is_flag=True, help="Say why each hit was found: scores, words, and what it means."),
    click.option(
        "--min-confidence",
        type=float,
        metavar="P",
        help="Drop hits that are less similar than this share of random pairs of passages, 0 to 1 (try 0.99).",
    ),
]
SEARCH_OPTIONS = [
    click.option("--mode", type=Choice(MODES), default="hybrid", show_default=True),
    click.option("--fusion", type=Choice(FUSIONS), default="convex", show_default=True, help="Of mode hybrid."),
    click.option(
        "--rerank", metavar="NAME|PATH", help="A cross-encoder that reads the best 50 again (extra: semsearch[rerank])."
    ),
    *HIT_OPTIONS,
]


def request_options(kind: type[Any], options: Sequence[Option]) -> Decorator[Any]:
    """Return a decorator: the command gets ``request``, which makes a ``kind`` of a query or place with the options.

    Every option has the name of a field of ``kind``.
    """
    unknown = set(_names_of(options)) - set(inspect.signature(kind).parameters)
    assert not unknown, f"{kind.__name__} has no {unknown}"

    make: Callable[..., Any] = kind

    def maker(**given: Any) -> Callable[[str], Any]:
        return partial(make, **given)

    return gather("request", maker, options)


# How files are read

READ_OPTIONS = [
    click.option(
        "--text-field", "text_fields", multiple=True, metavar="NAME", help="Record field to search; repeat for several."
    ),
    click.option("--title-field", metavar="NAME", help="Record field that is the title."),
    click.option("--id-field", metavar="NAME", help="Record field that identifies the record."),
    click.option("--encoding", metavar="NAME", help="Encoding of every text file, whatever it says of itself."),
    click.option(
        "--max-bytes", type=click.IntRange(min=1), help="Largest file read as one document [default: 64 MiB]."
    ),
    click.option(
        "--max-record-bytes", type=click.IntRange(min=1), help="Longest line of a record file [default: 16 MiB]."
    ),
]


def _read_options(**given: Any) -> ReadOptions | None:
    """Return what was said of reading; None, which keeps what was said before, where nothing was."""
    if not given:
        return None
    from indexer.corpus.formats import ReadOptions

    return ReadOptions(**given)


read_options = gather("options", _read_options, READ_OPTIONS)
"""The command gets ``options``: a ReadOptions, or None where nothing was said."""


# What is shown of an answer


@dataclass(frozen=True)
class Shown:
    """The form in which an answer is printed."""

    full: bool = False
    as_json: bool = False
    jsonl: bool = False


show_options = gather(
    "shown",
    Shown,
    [
        click.option("--full", is_flag=True, help="Show whole passages."),
        json_option,
        click.option("--jsonl", is_flag=True, help="Print one JSON value a line: a hit, or with - a query and hits."),
    ],
)
"""The command gets ``shown``: a Shown."""
