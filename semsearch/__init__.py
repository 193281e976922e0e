"""Semantic search over your own files with PromptEOL embeddings.

::

    import semsearch

    docs = semsearch.Collection("docs", create=True)
    docs.index(["docs/"])
    for hit in docs.search("how are vectors stored?", k=5):
        print(hit.score, hit.path, hit.line_start, hit.text)

A name is imported when it is first used: ``import semsearch`` loads no model, no index and no database.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.corpus.formats import ReadOptions
    from indexer.embedding.spec import EncoderSpec
    from indexer.errors import (
        ClusterError,
        CollectionNotFound,
        ConfigError,
        CorruptError,
        DataError,
        FormatError,
        GateFailed,
        LockedError,
        MismatchError,
        MissingExtra,
        ModelError,
        NothingToRead,
        PrecisionError,
        ReadError,
        SemsearchError,
        StoreError,
        TrainingError,
        UsageError,
    )
    from indexer.pipeline import Report
    from indexer.storage.memory import MemoryStore
    from indexer.types import Filter, Judgement, Problem
    from semsearch.collection import Collection
    from semsearch.encoder import Encoder
    from semsearch.encoders import EncoderOverrides
    from semsearch.search.asking.request import SearchRequest, SimilarRequest
    from semsearch.search.asking.weights import Weights
    from semsearch.search.showing.explain import Explanation
    from semsearch.search.showing.extract import Extract
    from semsearch.search.showing.hits import Answer, Duplicate, Hit
    from semsearch.settings import Settings
    from semsearch.status import Status

__version__ = "0.1.0"

_ERRORS = (
    "ClusterError CollectionNotFound ConfigError CorruptError DataError FormatError GateFailed LockedError "
    "MismatchError MissingExtra ModelError NothingToRead PrecisionError ReadError SemsearchError StoreError "
    "TrainingError UsageError"
).split()
_MODULES = {
    "Answer": "semsearch.search.showing.hits",
    "Collection": "semsearch.collection",
    "Duplicate": "semsearch.search.showing.hits",
    "Encoder": "semsearch.encoder",
    "EncoderOverrides": "semsearch.encoders",
    "EncoderSpec": "indexer.embedding.spec",
    "Explanation": "semsearch.search.showing.explain",
    "Extract": "semsearch.search.showing.extract",
    "Filter": "indexer.types",
    "Hit": "semsearch.search.showing.hits",
    "Judgement": "indexer.types",
    "MemoryStore": "indexer.storage.memory",
    "Problem": "indexer.types",
    "ReadOptions": "indexer.corpus.formats",
    "Report": "indexer.pipeline",
    "SearchRequest": "semsearch.search.asking.request",
    "Settings": "semsearch.settings",
    "SimilarRequest": "semsearch.search.asking.request",
    "Status": "semsearch.status",
    "Weights": "semsearch.search.asking.weights",
    **dict.fromkeys(_ERRORS, "indexer.errors"),
}
"""Name → the module that it is imported from when it is first used."""

__all__ = [
    "Answer",
    "ClusterError",
    "Collection",
    "CollectionNotFound",
    "ConfigError",
    "CorruptError",
    "DataError",
    "Duplicate",
    "Encoder",
    "EncoderOverrides",
    "EncoderSpec",
    "Explanation",
    "Extract",
    "Filter",
    "FormatError",
    "GateFailed",
    "Hit",
    "Judgement",
    "LockedError",
    "MemoryStore",
    "MismatchError",
    "MissingExtra",
    "ModelError",
    "NothingToRead",
    "PrecisionError",
    "Problem",
    "ReadError",
    "ReadOptions",
    "Report",
    "SearchRequest",
    "SemsearchError",
    "Settings",
    "SimilarRequest",
    "Status",
    "StoreError",
    "TrainingError",
    "UsageError",
    "Weights",
]


def __getattr__(name: str) -> object:
    """Return a public name, imported now."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return sorted({*globals(), *__all__})
