"""A collection by name: make, refresh, search, list. What the command line and Python both call."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from indexer import embedding, pipeline
from indexer.corpus.changes import within
from indexer.corpus.readers import ReadOptions
from indexer.corpus.splitter import Splitter
from indexer.embedding.encoder import TERMS, Encoder, EncoderSpec
from indexer.embedding.prompt import PromptTemplate
from indexer.errors import CollectionNotFound, UsageError
from indexer.pipeline import Observer, Report
from indexer.storage.manifest import Manifest
from indexer.storage.local.store import Store
from indexer.types import Counts, FileRecord
from semsearch import encoders
from semsearch.search.searcher import Searcher
from semsearch.settings import Settings

PASSAGE_TOKENS = 128
Note = Callable[[str], None]
"""Where remarks to the person go."""


@dataclass(frozen=True)
class Runtime:
    """How to run an encoder; changes no vector by more than rounding. None: chosen for the machine."""

    device: str | None = None
    batch_tokens: int | None = None
    index_device: str = "cpu"

    def open(self, spec: EncoderSpec) -> Encoder:
        return embedding.open_encoder(spec, device=self.device, batch_tokens=self.batch_tokens)


def splitter_for(spec: EncoderSpec, passage_tokens: int) -> Splitter:
    """What cuts texts into passages as this encoder reads and counts them."""
    return Splitter(embedding.tokenizer(spec), passage_tokens, PromptTemplate.of(spec).read)


@dataclass(frozen=True)
class Status:
    """One collection, as ``semsearch status`` shows it."""

    name: str
    path: Path
    spec: EncoderSpec
    counts: Counts
    sizes: Mapping[str, int]
    """Part of the collection → bytes on disk; "terms" where it has a sparse index."""
    roots: tuple[str, ...]
    problems: tuple[FileRecord, ...]
    """Files that failed, then files that were skipped."""


def update(
    settings: Settings,
    paths: Sequence[str],
    *,
    flags: Mapping[str, Any],
    runtime: Runtime,
    passage_tokens: int | None = None,
    sparse: bool = False,
    options: ReadOptions | None = None,
    stream: BinaryIO | None = None,
    name: str = "stdin",
    force: bool = False,
    dry_run: bool = False,
    observer: Observer | None = None,
    note: Note = lambda text: None,
) -> Report:
    """Make or refresh the collection ``settings.collection`` from ``paths``, or from ``stream`` under ``name``.

    ``sparse``: make a new collection with a sparse index; one that exists keeps what it was made with. Raises
    UsageError for a path that does not exist, no path for a new collection, or ``sparse`` where the collection was
    made without; MismatchError where ``flags`` ask for another encoder than the collection's.
    """
    path = settings.collection_path()
    exists = (path / "manifest.json").is_file()
    if not exists:
        if not paths and stream is None:
            raise UsageError(
                f"collection {settings.collection!r} does not exist yet; name what to index: semsearch index FOLDER"
            )
        for each in paths:
            if not os.path.lexists(each):
                raise UsageError(f"{each} does not exist; name files or folders that do, or - for standard input")
    with _writable(settings, path, exists, flags, runtime, passage_tokens, sparse, dry_run, note) as (
        store,
        open_encoder,
    ):
        splitter = splitter_for(store.manifest.spec, int(store.manifest.splitter["passage_tokens"]))
        if stream is not None:
            return pipeline.update_from_stream(
                store, stream, name, open_encoder, splitter=splitter, options=options, observer=observer
            )
        return pipeline.update(
            store,
            paths,
            open_encoder,
            splitter=splitter,
            options=options,
            force=force,
            dry_run=dry_run,
            observer=observer,
        )


def searcher(
    settings: Settings,
    *,
    flags: Mapping[str, Any] | None = None,
    runtime: Runtime | None = None,
    note: Note = lambda text: None,
) -> Searcher:
    """Open a collection for queries, with the encoder that made it. The model is loaded at the first query.

    Raises CollectionNotFound; MismatchError where the model's files have changed, or ``flags`` ask for another.
    """
    flags, runtime = flags or {}, runtime or Runtime()
    store = _open(settings, runtime)
    made_by = store.manifest.spec

    def open_encoder() -> Encoder:
        encoder = runtime.open(encoders.confirm(made_by, flags, _mend(settings)))
        if remark := encoders.rounding_note(made_by, encoder.spec):
            note(remark)
        return encoder

    try:
        if any(value is not None for value in flags.values()):
            encoders.confirm(made_by, flags, _mend(settings))  # refuse before the model is loaded
        counts = store.counts()
        if counts.pending:
            note(
                f"the index is partial: {counts.pending} passages are not embedded yet; "
                f"to finish, run: semsearch index{_option(settings)}"
            )
        return Searcher(store, open_encoder, note)
    except BaseException:
        store.close()
        raise


def remove(settings: Settings, paths: Sequence[str]) -> int:
    """Take files, or all files under folders, out of the collection. Returns how many files left.

    Raises UsageError for a path under which nothing is indexed.
    """
    with _open(settings, Runtime(), writable=True) as store:
        known = [record.path for record in store.files()]
        chosen: set[str] = set()
        for path in paths:
            absolute = os.path.abspath(path)
            under = {p for p in known if p == path or within(p, absolute)}
            if not under:
                raise UsageError(
                    f"nothing under {absolute} is in collection {settings.collection!r}; see: semsearch status"
                )
            chosen |= under
            if absolute in store.roots():
                store.drop_root(absolute)
        store.remove(sorted(chosen))
        store.commit()
        store.finish()
        return len(chosen)


def statuses(settings: Settings, names: Sequence[str] = ()) -> list[Status]:
    """Collections by name, all there are when none is named. Raises CollectionNotFound for a name that is none."""
    if not names:
        names = sorted(p.parent.name for p in settings.root.glob("*/manifest.json"))
    result = []
    for name in names:
        with _open(settings.override({"collection": name}), Runtime()) as store:
            problems = (*store.files("failed"), *store.files("skipped"))
            result.append(
                Status(
                    name,
                    Path(store.path),
                    store.manifest.spec,
                    store.counts(),
                    store.sizes(),
                    tuple(sorted(store.roots())),
                    problems,
                )
            )
    return result


def _open(settings: Settings, runtime: Runtime, writable: bool = False) -> Store:
    path = settings.collection_path()
    if not (path / "manifest.json").is_file():
        raise CollectionNotFound(
            f"there is no collection {settings.collection!r} in {settings.root}; make it with: "
            f"semsearch index{_option(settings)} FOLDER"
        )
    return Store.open(path, writable=writable, index_device=runtime.index_device)


@contextmanager
def _writable(
    settings: Settings,
    path: Path,
    exists: bool,
    flags: Mapping[str, Any],
    runtime: Runtime,
    passage_tokens: int | None,
    sparse: bool,
    dry_run: bool,
    note: Note,
) -> Iterator[tuple[Store, Callable[[], Encoder]]]:
    """The collection's store, open for writing, and how to open its encoder; made anew where there is none."""
    if exists:
        with _open(settings, runtime, writable=True) as store:
            manifest = store.manifest
            split_at = manifest.splitter["passage_tokens"]
            if passage_tokens not in (None, split_at):
                raise UsageError(
                    f"collection {settings.collection!r} has passages of {split_at} tokens, {passage_tokens} were "
                    f"asked for; {_mend(settings)}"
                )
            if sparse and manifest.sparse is None:
                raise UsageError(
                    f"collection {settings.collection!r} was made without a sparse index, and one was asked for; "
                    f"{_mend(settings)}"
                )
            spec = encoders.confirm(manifest.spec, flags, _mend(settings))
            if remark := encoders.rounding_note(manifest.spec, spec):
                note(remark)
            yield store, lambda: runtime.open(spec)
        return
    spec = encoders.choose(settings, flags, "search")
    tokens = passage_tokens or min(PASSAGE_TOKENS, spec.max_tokens)
    if tokens > spec.max_tokens:
        raise UsageError(
            f"passages of {tokens} tokens would be cut at --max-tokens {spec.max_tokens}; raise it or split smaller"
        )
    encoder = runtime.open(embedding.resolve(spec))
    if sparse:
        encoder.encode_terms(["a"])  # refuse an encoder that has no terms before there is a collection
    manifest = Manifest(
        spec=encoder.spec,
        dim=encoder.dim,
        splitter={"passage_tokens": tokens},
        sparse=TERMS if sparse else None,
    )
    if dry_run:
        with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "dry-run", manifest) as store:
            yield store, lambda: encoder
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with Store.create(path, manifest, index_device=runtime.index_device) as store:
        yield store, lambda: encoder


def _mend(settings: Settings) -> str:
    return (
        "to use another encoder, passage size or sparse index, index into another collection: "
        "semsearch index --collection NEW_NAME FOLDER (with the options wanted); "
        f"to keep using {settings.collection!r}, leave those options out"
    )


def _option(settings: Settings) -> str:
    return "" if settings.collection == "default" else f" --collection {settings.collection}"
