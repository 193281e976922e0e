"""Decide what a collection is made with: its encoder, the size of its passages, a sparse index or none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from indexer import embedding
from indexer.corpus.splitter import Splitter
from indexer.embedding.encoder import MAX_TERMS, Encoder
from indexer.embedding.prompts.prompt import PromptTemplate
from indexer.errors import StoreError, UsageError
from indexer.storage import planner
from indexer.storage.manifest import Manifest
from semsearch import encoders, stores

if TYPE_CHECKING:
    from indexer.embedding.spec import EncoderSpec, Precision
    from indexer.storage.store import Store
    from semsearch.encoders import EncoderOverrides
    from semsearch.settings import Settings

PASSAGE_TOKENS = 128


@dataclass(frozen=True)
class Runtime:
    """How to run an encoder; it changes no vector by more than rounding. None: chosen for the machine."""

    device: str | None = None
    batch_tokens: int | None = None
    index_device: str = "auto"

    def open(self, spec: EncoderSpec) -> Encoder:
        """Return the encoder of a spec, loaded."""
        return embedding.open_encoder(spec, device=self.device, batch_tokens=self.batch_tokens)

    def near(self, spec: EncoderSpec, asked: Precision | None) -> EncoderSpec:
        """Return the spec in the precision asked for, else in its own, else in the device's if both may be compared."""
        return replace(spec, precision=asked) if asked else embedding.nearest_precision(spec, self.device)

    def open_near(self, spec: EncoderSpec, asked: Precision | None) -> Encoder:
        """Return the encoder of a spec as ``near`` has it, loaded."""
        return self.open(self.near(spec, asked))


def splitter_for(spec: EncoderSpec, passage_tokens: int) -> Splitter:
    """Return what cuts texts into passages as this encoder reads and counts them."""
    return Splitter(embedding.tokenizer(spec), passage_tokens, PromptTemplate.of(spec).read)


def passage_tokens_of(manifest: Manifest) -> int:
    """Return the most tokens that a passage of a collection has."""
    return int(str(manifest.splitter["passage_tokens"]))


def open_new(
    settings: Settings,
    overrides: EncoderOverrides,
    runtime: Runtime,
    passage_tokens: int | None,
    *,
    alone: bool = True,
) -> Encoder:
    """Return the encoder for a new collection, loaded; where this machine is not ``alone``, one that others can run.

    Raises:
        UsageError: Passages would be longer than it reads.
        ModelError: It cannot be loaded.
    """
    spec = encoders.choose(settings, overrides)
    if alone:
        spec = encoders.in_bulk(spec, runtime.device)
    _check_fits(spec, passage_tokens)
    return runtime.open(embedding.resolve(spec))


def manifest_of(encoder: Encoder, passage_tokens: int | None, sparse: bool) -> Manifest:
    """Return the manifest of a new collection.

    Raises:
        UsageError: Passages would be longer than the encoder reads.
        ModelError: A sparse index is asked for, and the encoder has no terms.
    """
    _check_fits(encoder.spec, passage_tokens)
    if sparse:
        encoder.encode_terms(["a"])  # refuse before there is a collection
    splitter: dict[str, object] = {"passage_tokens": passage_tokens or min(PASSAGE_TOKENS, encoder.spec.max_tokens)}
    return Manifest(spec=encoder.spec, dim=encoder.dim, splitter=splitter, sparse=MAX_TERMS if sparse else None)


def _check_fits(spec: EncoderSpec, passage_tokens: int | None) -> None:
    if passage_tokens is not None and passage_tokens > spec.max_tokens:
        raise UsageError(
            f"passages of {passage_tokens} tokens would be cut at --max-tokens {spec.max_tokens}; raise it or split "
            "smaller"
        )


def check_made_so(settings: Settings, manifest: Manifest, passage_tokens: int | None, sparse: bool) -> None:
    """Raise UsageError where a collection was made with another passage size, or without the sparse index."""
    split_at = passage_tokens_of(manifest)
    if passage_tokens not in (None, split_at):
        raise UsageError(
            f"collection {settings.collection!r} has passages of {split_at} tokens, {passage_tokens} were "
            f"asked for; {mend(settings)}"
        )
    if sparse and manifest.sparse is None:
        raise UsageError(
            f"collection {settings.collection!r} was made without a sparse index, and one was asked for; "
            f"{mend(settings)}"
        )


def splitter_of(manifest: Manifest) -> Splitter:
    """Return what cuts the documents of a collection."""
    return splitter_for(manifest.spec, passage_tokens_of(manifest))


def check_index(plan: str | None, dim: int | None = None) -> None:
    """Raise UsageError where no index can be built by this plan, of vectors of ``dim`` numbers if that is known."""
    if plan is not None and plan != planner.AUTO:
        planner.Shape.of(plan, dim)


def ask_for_index(store: Store, plan: str | None, recall: float | None) -> None:
    """Let a store have the index that a person asks for; None changes nothing.

    Raises:
        UsageError: The plan does not fit its vectors.
        StoreError: It has no index that could be chosen.
    """
    if plan is None and recall is None:
        return
    ask = getattr(store, "ask_for_index", None)  # of stores that lie somewhere: see Maintenance
    if ask is None:
        raise StoreError(
            f"collection {store.name!r} compares all its vectors; leave --index-plan and --index-recall out"
        )
    ask(plan, recall)


def mend(settings: Settings) -> str:
    """Return what to do where a collection was made with something else than what is asked for."""
    return (
        f"to embed it anew: semsearch reindex{stores.option(settings)} (with the encoder's options, without any for "
        "the default encoder); for another passage size or sparse index: semsearch index --collection NEW_NAME FOLDER "
        f"(with the options wanted); to keep {settings.collection!r} as it is, leave those options out"
    )


def unfinished(settings: Settings) -> str:
    """Return the command that makes a collection, or brings it up to date."""
    return f"semsearch index{stores.option(settings)} FOLDER"
