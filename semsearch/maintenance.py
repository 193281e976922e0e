"""Looking after collections by name: check, compact, export, import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from indexer import embedding
from indexer.embedding.encoder import Encoder, EncoderSpec
from indexer.errors import UsageError
from indexer.storage.local import doctor, transfer
from indexer.types import Problem
from indexer.storage.local.store import Store
from semsearch import encoders
from semsearch.search.ranking import Weights
from semsearch.settings import Settings


@dataclass(frozen=True)
class Compaction:
    """What ``compact`` did."""

    dropped: int
    """Passages."""
    before: int
    """Bytes on disk."""
    after: int


def examine(settings: Settings, *, mend: bool = True, model: bool = True) -> list[Problem]:
    """What is wrong with the collection ``settings.collection``, and with ``mend`` what was done about it.

    With ``model``, a few passages are embedded again. Raises CollectionNotFound, LockedError, FormatError."""

    def open_encoder(spec: EncoderSpec) -> Encoder:
        remedy = "its files have changed: put them back, or index into another collection"
        return embedding.open_encoder(
            encoders.confirm(spec, {}, remedy), device=settings.device, batch_tokens=settings.batch_tokens
        )

    return doctor.examine(settings.collection_path(), mend, open_encoder if model else None)


def compact(settings: Settings) -> Compaction:
    """Drop dead passages and give their space back."""
    with Store.open(settings.collection_path(), writable=True) as store:
        before, dropped = sum(store.sizes().values()), store.counts().tombstones
        store.compact()
        return Compaction(dropped, before, sum(store.sizes().values()))


def export(settings: Settings, folder: Path, form: transfer.Format) -> int:
    """Write the collection into a new folder, with the weights tuned for it. The number of passages."""
    with Store.open(settings.collection_path()) as store:
        passages = transfer.export(store, folder, form)
        if weights := Weights.kept(store.path):
            weights.save(folder)
        return passages


def take_in(settings: Settings, folder: Path) -> int:
    """Make the collection of an export. The number of passages. Raises UsageError where there is one of that name."""
    path = settings.collection_path()
    if (path / "manifest.json").exists():
        raise UsageError(f"there is a collection {settings.collection!r} already; name a new one with --collection")
    weights = Weights.kept(folder)
    passages = transfer.take_in(folder, path)
    if weights:
        weights.save(path)
    return passages
