"""Judgements as lines of JSON, and which of several count: the last of each place.

A line is an object with the fields of a ``Judgement``. Stores that keep lines, exports and ``semsearch judge`` share
this form; fields that a later version adds are passed over.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from indexer.types import Judgement

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = "judgements.jsonl"
"""Name of the file of lines, in a folder of a collection and in an export."""
_FIELDS = frozenset(field.name for field in fields(Judgement))


def latest(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Return those that count, in the order in which they were made: the last of each place, unless it takes back."""
    last: dict[object, Judgement] = {}
    for each in judgements:
        last.pop(each.about, None)
        last[each.about] = each
    return [each for each in last.values() if each.grade is not None]


def line(judgement: Judgement) -> str:
    """Return a judgement as a line of JSON, its line feed included."""
    return json.dumps(asdict(judgement), ensure_ascii=False) + "\n"


def judgement_of(text: str) -> Judgement:
    """Return the judgement that a line holds.

    Raises:
        ValueError: It holds none.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"it is no object but {text[:40]!r}")
    try:
        return Judgement(**{name: value for name, value in values.items() if name in _FIELDS})
    except TypeError as error:
        raise ValueError(f"a field is missing ({error})") from error
