"""Hold one collection open: its store, the latest view of it, and one encoder for all threads."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from indexer import storage
from indexer.closing import Closing
from indexer.errors import CollectionNotFound, MismatchError, SemsearchError, StoreError, UsageError
from semsearch import encoders, making, stores
from semsearch.encoders import EncoderOverrides
from semsearch.making import Runtime
from semsearch.search.answering import Models
from semsearch.search.ranking.rerank import CrossEncoderReranker
from semsearch.search.views import Views
from semsearch.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from indexer.embedding.encoder import Encoder as Backend
    from indexer.embedding.spec import EncoderSpec
    from indexer.storage import Kept
    from indexer.storage.store import Store
    from semsearch.encoder import Encoder as PeoplesEncoder
    from semsearch.search.ranking.rerank import Reranker
    from semsearch.search.view import View
    from semsearch.settings import Settings


_LOG = logging.getLogger(__name__)


def _backend(encoder: Backend | PeoplesEncoder | None) -> Backend | None:
    """Return what encodes: people hold it in an Encoder of their own."""
    from semsearch.encoder import Encoder

    return encoder.backend if isinstance(encoder, Encoder) else encoder


class Held(Closing):
    """A collection that is open, or is yet to be made. ``Collection`` adds what can be done with it."""

    def __init__(
        self,
        name: str | None = None,
        *,
        create: bool = False,
        home: str | os.PathLike[str] | None = None,
        store: Store | None = None,
        encoder: EncoderOverrides | Backend | PeoplesEncoder | None = None,
        device: str | None = None,
        batch_tokens: int | None = None,
        index_device: str = "auto",
        settings: Settings | None = None,
        open_encoder: Callable[[EncoderSpec], Backend] | None = None,
        note: Callable[[str], None] = _LOG.warning,
    ):
        """Open a collection, or with ``create`` name one that ``index`` will make where there is none.

        Args:
            name: Its name; None: that of the settings, else "default".
            create: Whether there may be none yet.
            home: Folder of the collections; None: that of the settings, else the user's data folder.
            store: Use this store instead of one of a name, such as a MemoryStore.
            encoder: What is said of the encoder, or one that is loaded, to be shared. Of a collection that exists it
                must be the one that made it.
            device: Where the model runs: cpu, cuda, cuda:1, mps; None: the best there is.
            batch_tokens: Most tokens of one batch, padding included; None: what suits the device.
            index_device: Where vectors are searched: auto, cpu or cuda.
            settings: Instead of those of the environment and the settings files.
            open_encoder: Loads the encoder of a resolved spec, in place of the collection; whoever holds several
                collections can give one encoder to all of them.
            note: Told remarks for a person.

        Raises:
            CollectionNotFound: There is none of that name, and ``create`` is not said.
            MismatchError: ``encoder`` asks for another encoder than the one that made the collection.
            StoreError: It cannot be opened.
        """
        given = load_settings() if settings is None else settings
        self._overrides = encoder if isinstance(encoder, EncoderOverrides) else EncoderOverrides()
        self._given = None if isinstance(encoder, EncoderOverrides) else _backend(encoder)
        self._encoder: Backend | None = self._given
        said = {"collection": name, "home": home, "device": device or self._overrides.device}
        self.settings = given.override({**said, "batch_tokens": batch_tokens or self._overrides.batch_tokens})
        self._runtime = Runtime(self.settings.device, self.settings.batch_tokens, index_device)
        self._load = open_encoder or self._runtime.open
        self._note = note
        self._lock = threading.RLock()
        self._rerankers: dict[str, Reranker] = {}
        self._ended = False
        self._store: Store | None = None
        self._views: Views | None = None
        if store is not None:
            self._hold(store)
        elif not create or stores.exists(self.settings):
            self._hold(stores.open_collection(self.settings, index_device))

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.settings.collection if self._store is None else self._store.name

    @property
    def store(self) -> Store:
        """The store that keeps the collection.

        Raises:
            CollectionNotFound: It is yet to be made.
            StoreError: It was closed.
        """
        if self._store is None:
            raise self._missing()
        return self._store

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that made the collection."""
        return self.store.manifest.spec

    def close(self) -> None:
        """Let go of the store's files; searches that are under way end as they began."""
        self._let_go()
        self._ended = True

    @property
    def encoder(self) -> Backend:
        """The encoder that made the collection, loaded when it is first asked for; it outlives the collection's end."""
        if self._store is None and self._encoder is not None:
            return self._encoder
        return self._open_encoder()

    def view(self) -> AbstractContextManager[View]:
        """Give what the collection shows now, pinned for as long as the context lasts: for evaluation and training."""
        return self._latest().latest()

    # For the verbs

    @property
    def _place(self) -> str:
        return "" if not hasattr(self.store, "sizes") else self.settings.shown_place()

    @property
    def _kept(self) -> Kept:
        """The store with its maintenance, which a store that outlives its process has."""
        if not hasattr(self.store, "examine"):
            raise StoreError(f"collection {self.name!r} is kept in memory; there is nothing to look after")
        return cast("Kept", self.store)

    def _hold(self, store: Store) -> None:
        made_by = store.manifest.spec
        if self._given is not None and self._given.spec.fingerprint != made_by.fingerprint:
            raise MismatchError(
                f"collection {store.name!r} was made by encoder {made_by.fingerprint}, and encoder "
                f"{self._given.spec.fingerprint} cannot search it; leave the encoder out"
            )
        if self._overrides.given:
            encoders.confirm(made_by, self._overrides, making.mend(self.settings))  # refuse at once
        self._store, self._views = store, Views(store)

    def _let_go(self) -> None:
        with self._lock:
            if self._views is not None:
                self._views.forget()
            if self._store is not None:
                self._store.close()
            self._store = self._views = None

    def _reopen(self, settings: Settings) -> None:
        """Hold the collection of these settings in place of the one that is held, whatever was said of the encoder."""
        self._let_go()
        self.settings, self._overrides, self._given = settings, EncoderOverrides(), None
        self._hold(stores.open_collection(settings, self._runtime.index_device))

    def _latest(self) -> Views:
        if self._views is None:
            raise self._missing()
        return self._views

    def _missing(self) -> StoreError:
        """Return why there is no store."""
        if self._ended:
            return StoreError(f"collection {self.settings.collection!r} was closed; open it anew")
        return CollectionNotFound(stores.not_found(self.settings))

    def _models(self, view: View) -> Models:
        """Return the models for a search of one view: its collection may have another encoder by now."""
        return Models(lambda: self._opened(view.snapshot.manifest.spec), self._reranker)

    def _open_encoder(self) -> Backend:
        return self._opened(self.spec)

    def _opened(self, made_by: EncoderSpec) -> Backend:
        """Return the encoder of a spec, loaded at the first call for it."""
        with self._lock:
            if self._encoder is None or self._encoder.spec.fingerprint != made_by.fingerprint:
                self._encoder = self._encoder_of(made_by)
            return self._encoder

    def _encoder_of(self, made_by: EncoderSpec) -> Backend:
        spec = encoders.confirm(made_by, self._overrides, making.mend(self.settings))
        encoder = self._load(self._runtime.near(spec, self._overrides.precision))
        if remark := encoders.rounding_note(made_by, encoder.spec):
            self._note(remark)
        return encoder

    def _discard_if_empty(self) -> None:
        """Leave no collection behind where the run that was to make it failed before it indexed anything."""
        with self.store.snapshot() as snapshot:
            empty = not any(True for _ in snapshot.files())
        if empty:
            self._kept.delete()
            self._let_go()

    def _reranker(self, name: str) -> Reranker:
        with self._lock:
            if name not in self._rerankers:
                self._rerankers[name] = CrossEncoderReranker(name, self._runtime.device)
            return self._rerankers[name]

    def _check_new(self, roots: Sequence[str]) -> None:
        if self._store is not None:
            return
        if not roots:
            raise UsageError(
                f"collection {self.name!r} does not exist yet; name what to index: {making.unfinished(self.settings)}"
            )
        for each in roots:
            if not os.path.lexists(each):
                raise UsageError(f"{each} does not exist; name files or folders that do, or - for standard input")

    @contextmanager
    def _to_write(self, passage_tokens: int | None, sparse: bool, dry_run: bool) -> Iterator[Store]:
        """Give the store that is to be written.

        It is the collection's, made where there is none, or one to throw away for a dry run of a new collection.
        """
        if self._store is not None:
            making.check_made_so(self.settings, self._store.manifest, passage_tokens, sparse)
            if self._given is None:  # also where nothing is to embed
                encoders.confirm(self.spec, self._overrides, making.mend(self.settings))
            yield self._store
            return
        encoder = self._given or making.open_new(self.settings, self._overrides, self._runtime, passage_tokens)
        manifest = making.manifest_of(encoder, passage_tokens, sparse)
        if not dry_run:
            self._hold(storage.create_store(self.settings.place(), manifest, index_device=self._runtime.index_device))
            self._encoder = encoder
            try:
                yield self.store
            except SemsearchError:
                self._discard_if_empty()
                raise
            return
        with tempfile.TemporaryDirectory() as folder:
            self._encoder = encoder
            trial = storage.create_store(str(Path(folder) / "dry-run"), manifest)
            self._hold(trial)
            try:
                yield trial
            finally:
                self._let_go()
