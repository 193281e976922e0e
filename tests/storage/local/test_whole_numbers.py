"""Bytes that a graph compares as whole numbers: what they keep of vectors, and files of graphs that are older."""

import numpy as np
import pytest

from indexer.storage.local.index.faiss_index import FaissIndex
from indexer.storage.local.index.whole_numbers import WholeNumbers
from indexer.storage.planner import Shape

DIM = 64


def unit(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near(queries: np.ndarray, vectors: np.ndarray, numbers: WholeNumbers) -> np.ndarray:
    """Return the scores (q, n) that FAISS's distances between the numbers lead to."""
    asked, factors = numbers.queries(queries)
    apart = ((asked[:, None] - numbers.of(vectors)[None]) ** 2).sum(axis=2)
    return numbers.scores(-apart, factors)


def test_numbers_are_whole_and_hold_vectors_to_half_a_step():
    vectors = unit(200)
    numbers = WholeNumbers.fitted(vectors.min(axis=0), vectors.max(axis=0))
    found = numbers.of(vectors)
    assert np.array_equal(found, found.astype(np.uint8))
    assert np.abs(numbers.back(found) - vectors).max() <= 0.501 * numbers.greatest / 127


@pytest.mark.parametrize("stretched", [1, 40])
def test_rough_scores_are_inner_products(stretched):
    """Also of a query with a number far beyond those of the vectors, which has to be made shorter."""
    vectors, queries = unit(300), unit(20, 1)
    queries[:, 3] *= stretched
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    numbers = WholeNumbers.fitted(vectors.min(axis=0), vectors.max(axis=0))
    wrong = near(queries, vectors, numbers) - queries @ vectors.T
    assert np.abs(wrong).max() < (0.02 if stretched == 1 else 0.04)
    assert wrong.std() < (0.003 if stretched == 1 else 0.006) * numbers.greatest / 0.5


def test_a_vector_beyond_the_range_is_cut_off():
    numbers = WholeNumbers(0.25)
    assert numbers.of(np.array([[0.5, -0.5, 0.0, 0.25]])).tolist() == [[255, 0, 128, 255]]


def test_a_graph_of_an_older_version_is_searched_and_grows(tmp_path, monkeypatch):
    """Its codes have a range for each dimension, and are compared by inner products."""
    vectors, ids = unit(400), np.arange(400, dtype=np.int64)
    with monkeypatch.context() as older:
        older.setattr(Shape, "bytewise", False)
        index = FaissIndex(DIM, "HNSW32,SQ8")
        index.train(vectors)
        index.add(ids[:300], vectors[:300])
        index.save(tmp_path / "old")
    index = FaissIndex.load(tmp_path / "old", DIM, "HNSW32,SQ8", mapped=False)
    index.add(ids[300:], vectors[300:])
    scores, found = index.candidates(vectors, 10, {"efSearch": 128})
    assert (found[:, 0] == ids).all()
    np.testing.assert_allclose(scores[:, 0], 1, atol=0.01)
    np.testing.assert_allclose(index.reconstruct(ids), vectors, atol=0.01)


def test_range_is_kept_in_the_file(tmp_path):
    vectors, ids = unit(300), np.arange(300, dtype=np.int64)
    index = FaissIndex(DIM, "HNSW32,SQ8")
    index.train(vectors[:10], np.full(DIM, -0.9, np.float32), np.full(DIM, 0.1, np.float32))
    index.add(ids, vectors)
    index.save(tmp_path / "i")
    loaded = FaissIndex.load(tmp_path / "i", DIM, "HNSW32,SQ8")
    np.testing.assert_array_equal(loaded.reconstruct(ids), index.reconstruct(ids))
    np.testing.assert_allclose(loaded.reconstruct(ids), vectors, atol=0.51 * 0.9 / 127)
