from datetime import datetime

import pytest

from indexer.errors import UsageError
from semsearch.search import filters


def test_nothing_said_is_no_filter():
    assert filters.parse([]) is None


def test_every_form():
    found = filters.parse(
        ["path=docs/**", "*.md", "type=.PDF", "since=2026-01-31", "until=2026-02-01T12:30", "author=Ada=L"]
    )
    assert found.paths == ("docs/**", "*.md")
    assert found.kinds == ("pdf",)
    assert found.since == datetime(2026, 1, 31).astimezone()
    assert found.until == datetime(2026, 2, 1, 12, 30).astimezone()
    assert found.fields == (("author", "Ada=L"),)


def test_a_field_named_like_a_condition():
    assert filters.parse(["field.type=memo"]).fields == (("type", "memo"),)


@pytest.mark.parametrize("expression", ["since=yesterday", "=x", "author=", "until=2026-13-01"])
def test_unreadable(expression):
    with pytest.raises(UsageError, match=expression.split("=")[-1] or "author"):
        filters.parse([expression])
