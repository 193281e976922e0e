"""A small SentEval folder made in place, encoders that are broken in known ways, and a cache of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec, Role


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, monkeypatch) -> None:
    """Evaluation keeps vectors: no test may find another's. Tests of the real model keep the fetched one."""
    if request.node.get_closest_marker("model") is None:
        monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))


class Changed(HashEncoder):
    """A HashEncoder whose vectors, or the texts before them, are tampered with; counts what it is asked for."""

    def __init__(
        self,
        dim: int = 64,
        vectors: Callable[[np.ndarray], np.ndarray] = lambda v: v,
        text: Callable[[str], str] = lambda t: t,
    ):
        super().__init__(EncoderSpec(model=f"hash:{dim}"), dim)
        self.change_vectors, self.change_text = vectors, text
        self.asked: list[str] = []

    def encode_batches(
        self, texts: Sequence[str], role: Role = "passage", normalize: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.asked += texts
        for rows, vectors in super().encode_batches([self.change_text(text) for text in texts], role, normalize):
            yield rows, self.change_vectors(vectors)
