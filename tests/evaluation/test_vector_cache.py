"""The cache of vectors: what it saves, what it must not hide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semsearch.evaluation.sentences import vector_cache
from tests.evaluation.conftest import Changed

TEXTS = [f"sentence number {i} of them" for i in range(300)]


class Interrupted(Changed):
    """Ctrl-C after two batches."""

    def encode_batches(self, texts, role="passage", normalize=True):
        for number, batch in enumerate(super().encode_batches(texts, role, normalize)):
            if number == 2:
                raise KeyboardInterrupt
            yield batch


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        vector_cache.encode(Interrupted(), TEXTS, tmp_path)
    # the class is part of the name, so that one encoder cannot answer for another: give the folder to the next one
    (folder,) = tmp_path.iterdir()
    folder.rename(tmp_path / vector_cache.key(Changed()))
    encoder = Changed()
    found = vector_cache.encode(encoder, TEXTS, tmp_path)
    assert len(encoder.asked) == 300 - 128
    assert np.array_equal(found[TEXTS], Changed().encode(TEXTS, normalize=False))


def test_a_second_run_encodes_nothing(tmp_path: Path) -> None:
    vector_cache.encode(Changed(), TEXTS, tmp_path)
    again = Changed()
    vector_cache.encode(again, reversed(TEXTS), tmp_path)
    assert again.asked == []


def test_a_damaged_shard_is_encoded_again(tmp_path: Path) -> None:
    vector_cache.encode(Changed(), TEXTS, tmp_path)
    (shard,) = tmp_path.rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:1000])
    again = Changed()
    assert np.array_equal(vector_cache.encode(again, TEXTS, tmp_path)[TEXTS], Changed().encode(TEXTS, normalize=False))
    assert len(again.asked) == 300


def test_other_code_libraries_or_encoders_have_other_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        vector_cache.key(Changed(64)),
        vector_cache.key(Changed(32)),
        vector_cache.key(Changed(64), "indexer/corpus"),
    }
    vector_cache._code.cache_clear()
    monkeypatch.setattr(vector_cache.importlib.metadata, "version", lambda name: "0")
    assert len(keys | {vector_cache.key(Changed(64))}) == 4
    vector_cache._code.cache_clear()


def test_old_vectors_are_deleted_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_cache, "MAX_CACHE_BYTES", 150_000)
    for dim in (64, 128, 32):
        vector_cache.encode(Changed(dim), TEXTS, tmp_path)
    assert not (tmp_path / vector_cache.key(Changed(64))).exists()
    assert (tmp_path / vector_cache.key(Changed(32))).exists()


def test_progress_ends_at_one(tmp_path: Path) -> None:
    shares: list[float] = []
    vector_cache.encode(Changed(), TEXTS, tmp_path, lambda what, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
