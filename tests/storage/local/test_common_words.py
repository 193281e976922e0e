"""The best of many sums, of which a few are looked at first; and the index of words, made page by page."""

import numpy as np
import pytest

from indexer.storage.local.words import fts
from tests.storage.local.helpers import build


@pytest.mark.parametrize("number", [1, 15, 16, 17, 900, 20_000])
@pytest.mark.parametrize("depth", [1, 10, 150, 30_000])
def test_the_greatest_are_those_of_sorting_all(number, depth):
    """Sums that differ, sums with ties at the edge, and few sums above zero."""
    random = np.random.default_rng(number)
    drawn = random.random(number)
    for sums in (drawn, np.floor(drawn * 20), np.where(drawn < 0.01, drawn, 0)):
        above = np.flatnonzero(sums > 0)
        expected = above[np.lexsort((above, -sums[above]))][:depth]
        np.testing.assert_array_equal(fts._greatest(sums, depth), expected)


def test_pages_of_words_are_found_by_passage_and_not_by_going_through_all(tmp_path, monkeypatch):
    """A page for which all passages of a commit are sorted makes a million of them take hours."""
    monkeypatch.setattr(fts, "PAGE", 2)
    store = build(tmp_path / "c", [("/data/a", ["one tree", "two trees", "three", "four", "five"])])
    with store.writer() as writer, writer.catalog() as catalog:
        seen: list[str] = []
        driver = catalog.connection.connection.driver_connection
        driver.set_trace_callback(seen.append)
        pages = list(fts.TermWords()._rows(catalog.connection, fts._indexed()))
        driver.set_trace_callback(None)
        assert [len(page) for page in pages] == [2, 2, 1]
        asked = [statement for statement in seen if "passages.text" in statement]
        assert len(asked) == 3
        for statement in asked:
            steps = [row[3] for row in driver.execute("EXPLAIN QUERY PLAN " + statement)]
            assert any(step.startswith("SEARCH passages USING INTEGER PRIMARY KEY") for step in steps)
            assert not any("TEMP B-TREE" in step for step in steps)
    store.close()
