"""Mined negatives are near, and never right."""

from indexer.embedding.hash_encoder import HashEncoder
from semsearch.training.data.mining import mine
from semsearch.training.data.rows import Row


def test_nearest_other_passage_is_the_negative():
    rows = [
        Row("red apple", "a red apple on a tree"),
        Row("red car", "a red car in the street"),
        Row("blue sea", "the blue sea at night"),
    ]
    mined = mine(rows, HashEncoder())
    assert mined[0] == Row("red apple", "a red apple on a tree", ("a red car in the street",))


def test_what_is_as_near_as_the_positive_counts_as_right():
    rows = [Row("red apple", "a red apple on a tree"), Row("apple", "a red apple on the tree"), Row("sea", "waves")]
    assert mine(rows, HashEncoder())[0].negatives != ("a red apple on the tree",)
    assert mine(rows, HashEncoder(), ceiling=2.0)[0].negatives == ("a red apple on the tree",)


def test_other_answers_of_an_equal_query_and_the_query_itself_are_no_negatives():
    rows = [Row("red apple", "an apple, red"), Row("Red apple?", "apples are red apples"), Row("x", "red apple!")]
    for row in mine(rows, HashEncoder(), negatives=3, ceiling=5.0)[:2]:
        assert row.negatives == ()
