import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.types import Passage, StoredPassage
from semsearch.search.selection import select

LONG = "the sailing boat crosses the bay in the morning while its crew looks after ropes and the helm and sings"


def row(id, text, path="/a.txt", record=None):
    return StoredPassage(id, Passage(text, 0, len(text), 1, 1, 1), path, "text", record, None, {}, 0)


def vectors_of(rows):
    encoded = dict(zip((r.id for r in rows), HashEncoder().encode([r.passage.text for r in rows]), strict=True))
    return lambda ids: np.stack([encoded[id] for id in ids])


def kept(rows, k=10, vectors=None, **options):
    found = select(rows, vectors or vectors_of(rows), k, **options)
    return [(each.row.id, [twin.id for twin in each.duplicates]) for each in found]


def test_near_duplicates_are_folded_into_the_better_one():
    rows = [row(1, LONG), row(2, "a galaxy"), row(3, LONG.replace(" in ", "\n in\n")), row(4, LONG + ", Today!")]
    assert kept(rows) == [(1, [3, 4]), (2, [])]
    shouted, apart = row(5, LONG.upper()), lambda ids: pytest.fail("equal but for case")
    assert kept([rows[0], shouted], vectors=apart) == [(1, [5])]
    assert kept(rows, collapse=False) == [(1, []), (2, []), (3, []), (4, [])]


def test_the_same_words_are_not_enough_and_vectors_alone_neither():
    rows = [row(1, LONG), row(2, LONG + " today")]
    apart = lambda ids: np.eye(2, dtype=np.float32)[: len(ids)]  # noqa: E731
    assert kept(rows, vectors=apart) == [(1, []), (2, [])]
    rows = [row(1, LONG), row(2, "telescopes show distant galaxies")]
    together = lambda ids: np.ones((len(ids), 1), np.float32)  # noqa: E731
    assert kept(rows, vectors=together) == [(1, []), (2, [])]


def test_texts_that_differ_in_a_number_are_no_duplicates():
    rows = [row(1, LONG + " at 12"), row(2, LONG + " at 13")]
    assert kept(rows, vectors=lambda ids: np.ones((len(ids), 1), np.float32)) == [(1, []), (2, [])]


def test_vectors_are_read_only_where_words_agree():
    def none(ids):
        pytest.fail("no vectors are needed")

    assert len(kept([row(i, text) for i, text in enumerate(["a b c", "d e f", "a  b c"])], vectors=none)) == 2


def test_few_hits_of_one_document_and_a_record_is_one():
    rows = [row(1, "a"), row(2, "b"), row(3, "c", "/b.csv", "1"), row(4, "d", "/b.csv", "2"), row(5, "e")]
    rows.append(row(6, "f", "/b.csv", "1"))
    assert [id for id, _ in kept(rows, per_document=1)] == [1, 3, 4]
    assert [id for id, _ in kept(rows, per_document=2)] == [1, 2, 3, 4, 6]
    assert [id for id, _ in kept(rows, k=2, per_document=1)] == [1, 3]


def test_a_duplicate_takes_no_place_of_its_document():
    rows = [row(1, "a b"), row(2, "a  b"), row(3, "c")]
    assert kept(rows, per_document=2) == [(1, [2]), (3, [])]
