"""A collection in the vectors of another encoder: made beside the live one, from the texts in its catalog."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from indexer.embedding.encoder import Encoder
from indexer.errors import CollectionNotFound, StoreError, UsageError
from indexer.pipeline import COMMIT_SECONDS, WINDOW, Observer, Report, batches
from indexer.storage.manifest import Manifest
from indexer.storage.local.store import Store
from indexer.storage.local.swap import free_name, swap
from indexer.types import Document, FileRecord, Passage, StoredPassage


def with_encoder(path: Path, open_encoder: Callable[[], Encoder], observer: Observer | None = None) -> Path:
    """Embed the collection at ``path`` anew, beside it, and swap; the folder where the old one lies now.

    Raises StoreError where passages are yet to be embedded, LockedError where another process writes to it, or has
    it open when all is done; running it again then goes on from there."""
    with Store.open(path, writable=True) as live:
        new, generation = beside(live, open_encoder(), observer), live.generation
    return swap(path, new, generation)


def beside(live: Store, encoder: Encoder, observer: Observer | None = None) -> Path:
    """Embed every passage of ``live`` with ``encoder`` into a collection ``NAME-new`` beside it; its folder.

    ``live`` is open for writing, so that nobody changes it meanwhile; its readers go on. No file is read: what has
    vanished, and standard input, come along. A run that was stopped is gone on with. Raises StoreError where
    ``live`` holds passages that are not embedded yet: they would be forgotten.
    """
    observer = observer or Observer()
    if pending := live.counts().pending:
        raise StoreError(
            f"{live.path} is partial: {pending} passages are not embedded yet; finish it with `semsearch index`, "
            "or remove their files, and try again"
        )
    tokens = int(str(live.manifest.splitter.get("passage_tokens", 0)))
    if tokens > encoder.spec.max_tokens:
        raise UsageError(
            f"the passages of {live.path} have up to {tokens} tokens and would be cut at {encoder.spec.max_tokens} "
            "(--max-tokens); raise it, or index into another collection with --passage-tokens"
        )
    if live.manifest.sparse is not None:
        encoder.encode_terms(["a"])  # refuse an encoder that predicts no words before anything is copied
    path = _place(live.path, encoder)
    if (path / "manifest.json").is_file():
        new = Store.open(path, writable=True)
    else:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = Store.create(path, replace(live.manifest, spec=encoder.spec, dim=encoder.dim, index=None, created=now))
    with new:
        _copy(live, new)
        _embed(new, encoder, observer)
        new.finish()
        seen, wanted = new.counts(), live.counts()
        if (seen.files, seen.passages, seen.pending) != (wanted.files, wanted.passages, 0):
            raise StoreError(f"{path} has {seen} and {live.path} has {wanted}; remove {path} and try again")
    return path


def _place(live: Path, encoder: Encoder) -> Path:
    """Where the new collection goes: a name that is free, or that of an earlier run for the same encoder."""
    for place in sorted(live.parent.glob(f"{live.name}-new*")):
        try:
            if Manifest.load(place).fingerprint == encoder.spec.fingerprint:
                return place
        except (CollectionNotFound, StoreError):
            continue
    return free_name(live, "new")


def _copy(live: Store, new: Store) -> None:
    """Roots, files and passages; what is there already stays as it is."""
    roots, files = live.roots(), {file.path: file for file in live.files()}
    for root in new.roots().keys() - roots:
        new.drop_root(root)
    for root, options in roots.items():
        new.set_root(root, options)
    new.remove([file.path for file in new.files() if file.path not in files])
    last = time.monotonic()
    for file in files.values():
        new.record(file)
        if contents := list(_documents(live, file)):
            new.stage(file, contents)
        if time.monotonic() - last > COMMIT_SECONDS:
            new.commit()
            last = time.monotonic()
    new.commit()


def _documents(live: Store, file: FileRecord) -> Iterator[tuple[Document, list[Passage]]]:
    """A file's documents as the catalog has them: without their text, which only the passages keep."""
    group: list[StoredPassage] = []
    for row in live.passages(file.path):
        last = group[-1] if group else row
        same = (row.kind, row.record, row.title, row.fields) == (last.kind, last.record, last.title, last.fields)
        if group and not (same and row.passage.start >= last.passage.end):
            yield _document(group)
            group = []
        group.append(row)
    if group:
        yield _document(group)


def _document(rows: list[StoredPassage]) -> tuple[Document, list[Passage]]:
    row = rows[0]
    document = Document(row.path, "", row.kind, row.record, row.title, row.fields)
    return document, [each.passage for each in rows]


def _embed(new: Store, encoder: Encoder, observer: Observer) -> None:
    report = Report()
    report.to_embed, report.tokens = new.unembedded_count()
    observer.planned(report)
    window = WINDOW["cuda" if encoder.device.startswith("cuda") else "cpu"]
    last = time.monotonic()
    while waiting := new.unembedded(window):
        ids, texts = [number for number, _ in waiting], [text for _, text in waiting]
        lengths = encoder.count_tokens(texts)
        for positions, vectors, terms in batches(new, encoder, texts):
            new.add_vectors([ids[i] for i in positions], vectors, terms)
            observer.embedded(len(positions), int(lengths[positions].sum()))
            if time.monotonic() - last > COMMIT_SECONDS:
                new.commit()
                last = time.monotonic()
    new.commit()
