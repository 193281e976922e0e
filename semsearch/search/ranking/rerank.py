"""Rerank hits: a cross-encoder reads the query and each passage together. sentence-transformers lives here."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

import numpy as np

from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentence_transformers import CrossEncoder

DEPTH = 50
"""Hits that are read again, or k if that is more."""


class Reranker(Protocol):
    """Scores passages against a query."""

    def score(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return (n,) float32 scores of the texts, higher is better."""
        ...


class CrossEncoderReranker:
    """Any cross-encoder with one output, by hub name or folder. It is loaded at the first query.

    Safe to use from many threads: they take turns.
    """

    def __init__(self, name: str, device: str | None = None):
        """Name a cross-encoder of the hub, or a folder."""
        self.name = name
        self.device = device
        self._model: CrossEncoder | None = None
        self._lock = threading.Lock()

    def score(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return (n,) float32 scores of the texts, higher is better.

        Raises:
            ModelError: The model cannot be loaded, or gives more than one number a pair.
        """
        with self._lock:
            if self._model is None:
                self._model = self._load()
            scores = self._model.predict([(query, text) for text in texts], show_progress_bar=False)
        return np.asarray(scores, np.float32)

    def _load(self) -> CrossEncoder:
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise ModelError(
                "reranking needs sentence-transformers; install it with: pip install 'semsearch[rerank]'"
            ) from error
        from indexer.embedding import quiet

        try:
            with quiet.loading_weights():
                model: CrossEncoder = CrossEncoder(self.name, device=self.device)
        except Exception as error:  # whatever transformers, the hub and the device say
            raise ModelError(
                f"the cross-encoder {self.name!r} cannot be loaded: {error}; give the hub name or the folder of a "
                "sequence classification model"
            ) from error
        if model.num_labels != 1:
            raise ModelError(
                f"{self.name!r} gives {model.num_labels} numbers a pair; a cross-encoder for reranking gives one"
            )
        return model
