"""Collections that may be asked: each opened at first use, all of one encoder sharing one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from indexer import embedding
from indexer.closing import Closing
from indexer.errors import CollectionNotFound, CorruptError, StoreError
from semsearch import stores
from semsearch.collection import Collection
from semsearch.nearest import choices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from semsearch.settings import Settings

T = TypeVar("T")


def _as_it_is(encoder: Encoder) -> Encoder:
    return encoder


class Encoders:
    """Encoders by what they are: each is loaded once, and lasts as long as somebody holds it."""

    def __init__(self, settings: Settings, wrap: Callable[[Encoder], Encoder] = _as_it_is):
        """Load encoders to run as the settings say, and give them out as ``wrap`` returns them."""
        self._settings = settings
        self._wrap = wrap
        self._loaded: WeakValueDictionary[tuple[str, str | None], Encoder] = WeakValueDictionary()
        self._lock = threading.Lock()

    def open(self, spec: EncoderSpec) -> Encoder:
        """Return the encoder of a resolved spec, loaded at the first call for it; those who come meanwhile wait.

        Raises:
            ModelError: It cannot be loaded.
        """
        key = (spec.fingerprint, spec.precision)
        with self._lock:
            found = self._loaded.get(key)
            if found is None:
                settings = self._settings
                loaded = embedding.open_encoder(spec, device=settings.device, batch_tokens=settings.batch_tokens)
                self._loaded[key] = found = self._wrap(loaded)
            return found


class Collections(Closing):
    """The collections of one home that may be asked. Safe to use from many threads.

    A collection follows commits and swaps by itself. One that is gone or damaged is let go when that is seen, and
    opened anew when it is asked again.
    """

    def __init__(self, settings: Settings, allowed: Sequence[str] = (), wrap: Callable[[Encoder], Encoder] = _as_it_is):
        """Offer the collections in the settings' home.

        Args:
            settings: Where the collections are, which is the default, and how encoders run.
            allowed: Names of those that may be asked; none: all that there are, also those made later.
            wrap: Given each encoder once it is loaded; the collections use what it returns.
        """
        self.settings = settings
        self.allowed = tuple(dict.fromkeys(allowed))
        self.encoders = Encoders(settings, wrap)
        self._open: dict[str, Collection] = {}
        self._lock = threading.Lock()

    @property
    def default(self) -> str:
        """Name of the collection that is asked where none is named."""
        usual = self.settings.collection
        return usual if not self.allowed or usual in self.allowed else self.allowed[0]

    def names(self) -> list[str]:
        """Return the names of those that there are, also of those that cannot be opened.

        Raises:
            StoreError: The home cannot be read.
        """
        return [name for name in stores.names(self.settings) if not self.allowed or name in self.allowed]

    def open(self, name: str | None = None) -> Collection:
        """Return a collection, opened at the first call for it; it stays open for all.

        Args:
            name: None: the default.

        Raises:
            CollectionNotFound: There is none of that name, or it may not be asked.
            UsageError: The name is no collection's.
            StoreError: It cannot be opened.
        """
        name = self.default if name is None else name
        if self.allowed and name not in self.allowed:
            raise CollectionNotFound(f"there is no collection {name!r} here; there are {choices(name, self.names())}")
        with self._lock:
            if name not in self._open:
                settings = self.settings.override({"collection": name})
                self._open[name] = Collection(settings=settings, open_encoder=self.encoders.open)
            return self._open[name]

    def ask(self, name: str | None, question: Callable[[Collection], T]) -> T:
        """Return what a collection answers; open it anew where it turns out to be gone or damaged.

        Raises:
            SemsearchError: As ``open``, and as the question does.
        """
        docs = self.open(name)
        try:
            return question(docs)
        except (CollectionNotFound, CorruptError):
            self._let_go(docs)
            raise
        except StoreError:
            if self._holds(docs):
                raise
        return question(self.open(name))  # another thread had let it go

    def close(self) -> None:
        """Let go of all; searches that are under way end as they began."""
        with self._lock:
            held, self._open = list(self._open.values()), {}
        for docs in held:
            docs.close()

    def _holds(self, docs: Collection) -> bool:
        with self._lock:
            return docs in self._open.values()

    def _let_go(self, docs: Collection) -> None:
        with self._lock:
            self._open = {name: each for name, each in self._open.items() if each is not docs}
        docs.close()
