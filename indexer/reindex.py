"""Embed a collection anew with another encoder, beside the live one, and put it in its place."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from indexer.embedder import COMMIT_SECONDS, EncoderEmbedder, embed_waiting
from indexer.errors import StoreError, UsageError
from indexer.progress import Progress, silent
from indexer.storage.manifest import FORMAT, WORDS, moment
from indexer.storage.store import Store
from indexer.types import Parsed, ParsedDocument

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.embedding.encoder import Encoder
    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Snapshot, Writer


class Replaceable(Store, Protocol):
    """A store that another one can be put in the place of."""

    def beside(self, manifest: Manifest) -> Store:
        """Return the store to be filled, see ``Maintenance``."""
        ...

    def replace(self, new: Store, version: str) -> str:
        """Put ``new`` in this one's place, see ``Maintenance``."""
        ...


def reindex(store: Replaceable, open_encoder: Callable[[], Encoder], progress: Progress = silent) -> str:
    """Embed every passage with another encoder, and put the result in the collection's place.

    No file is read: what has vanished, and standard input, come along. Searches go on meanwhile; a run that was stopped
    is gone on with by the next one.

    Args:
        store: The collection.
        open_encoder: Gives the new encoder.
        progress: Hears of every batch.

    Returns:
        The name under which the old collection stays.

    Raises:
        StoreError: Passages wait for vectors of the old encoder, or the collection has changed meanwhile.
        UsageError: The new encoder would cut its passages.
        LockedError: Another process writes to it.
    """
    encoder = open_encoder()
    with store.snapshot() as snapshot:
        _check(snapshot, encoder, store.name)
        new = store.beside(_manifest(snapshot.manifest, encoder))
        try:
            with new.writer() as writer:
                with new.snapshot() as begun:
                    _copy(snapshot, begun, writer)
                embed_waiting(writer, EncoderEmbedder(encoder, snapshot.manifest.sparse), progress)
                writer.finish(progress)
            _compare(snapshot, new)
            return store.replace(new, snapshot.version)
        finally:
            new.close()


def _manifest(old: Manifest, encoder: Encoder) -> Manifest:
    """Return the new collection's: a collection of the newest format that is split like the old one."""
    plan = old.index_plan if encoder.dim == old.dim else None  # turns and codes may be of a number of dimensions
    new = replace(old, spec=encoder.spec, dim=encoder.dim, index_plan=plan)
    return replace(new, words=WORDS, format=FORMAT, created=moment())


def _check(snapshot: Snapshot, encoder: Encoder, name: str) -> None:
    """Refuse what could not be finished, before anything is copied."""
    if pending := snapshot.counts().pending:
        raise StoreError(
            f"{name} is partial: {pending} passages are not embedded yet; finish it with `semsearch index`, or remove "
            "their files, and try again"
        )
    tokens = int(str(snapshot.manifest.splitter.get("passage_tokens", 0)))
    if tokens > encoder.spec.max_tokens:
        raise UsageError(
            f"the passages of {name} have up to {tokens} tokens and would be cut at {encoder.spec.max_tokens} "
            "(--max-tokens); raise it, or index into another collection with --passage-tokens"
        )
    if snapshot.manifest.sparse is not None:
        encoder.encode_terms(["a"])  # refuse an encoder that predicts no words


def _copy(live: Snapshot, begun: Snapshot, writer: Writer) -> None:
    """Stage roots, files and documents; what an earlier run has staged stays as it is."""
    roots, files = live.roots(), {file.path: file for file in live.files()}
    for root in begun.roots().keys() - roots.keys():
        writer.drop_root(root)
    for root, options in roots.items():
        writer.set_root(root, options)
    writer.remove([file.path for file in begun.files() if file.path not in files])
    last = time.monotonic()
    for path, group in groupby(live.documents(), key=lambda each: each.document.path):
        documents = tuple(ParsedDocument(each.document, tuple(p.passage for p in each.passages)) for each in group)
        writer.stage(Parsed(files.pop(path), documents))
        if time.monotonic() - last > COMMIT_SECONDS:
            writer.commit()
            last = time.monotonic()
    for file in files.values():  # without documents
        writer.stage(Parsed(file, ()))
    writer.commit()


def _compare(live: Snapshot, new: Store) -> None:
    """Refuse a collection that is not the old one's equal."""
    wanted = live.counts()
    with new.snapshot() as snapshot:
        found = snapshot.counts()
    if (found.files, found.passages, found.pending) != (wanted.files, wanted.passages, 0):
        raise StoreError(f"{new.name} has {found}, and it was made from {wanted}; remove {new.name} and try again")
