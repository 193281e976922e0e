"""Judging: what a person says of a hit as a Judgement, and files of judgements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.errors import CorruptError, StoreError, UsageError
from indexer.judgements import FILE, judgement_of, line
from indexer.storage.manifest import moment
from indexer.types import Judgement
from semsearch.search.asking import places
from semsearch.search.showing.hits import Hit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from indexer.storage.store import Snapshot

__all__ = ["FILE", "check_known", "judgement", "now", "read", "write"]


def judgement(snapshot: Snapshot, name: str, query: str, place: str | Hit, grade: int | None) -> Judgement:
    """Return what a person says now of a place.

    Args:
        snapshot: The collection as it was shown.
        name: Its name, for messages.
        query: What was asked.
        place: A hit, or a place as ``places.find`` takes it.
        grade: See ``Judgement``.

    Raises:
        UsageError: The place is not in the collection, or a value cannot be meant.
    """
    path, record, first, last = _shown(place) if isinstance(place, Hit) else _found(snapshot, name, place)
    try:
        return Judgement(
            query, path, grade, record, first, last, moment(), snapshot.manifest.fingerprint, snapshot.generation
        )
    except ValueError as error:
        raise UsageError(f"this is no judgement: {error}") from error


def now(values: Mapping[str, Any]) -> Judgement:
    """Return a judgement that is made now, of the values of its other fields.

    Raises:
        TypeError: A field is missing.
        ValueError: A value cannot be.
    """
    return Judgement(**values, at=moment())


def check_known(snapshot: Snapshot, name: str, said: Judgement) -> None:
    """Raise UsageError where a judgement is of a file or record that the collection does not have."""
    documents = [each.document for each in snapshot.documents(said.path)]
    if not any(each.record == said.record for each in documents):
        what = said.path if said.record is None else f"{said.path} record {said.record}"
        raise UsageError(f"{what!r} is not in collection {name!r}; judge what a search of it shows")


def _shown(hit: Hit) -> tuple[str, str | None, int | None, int | None]:
    """Return path, record, and first and last line of a hit."""
    return hit.path, hit.document, hit.line_start, hit.line_end


def _found(snapshot: Snapshot, name: str, text: str) -> tuple[str, str | None, int | None, int | None]:
    """Return path, record, and first and last line of a place; a file of one document without lines is meant whole."""
    place = places.find(snapshot, text, name)
    if place.lines is None:
        if any(each.document.record is not None for each in place.documents):
            raise UsageError(f"{place.path} holds records; name the one that is judged by its line, as PATH:LINE")
        return place.path, None, None, None
    row = place.at_first_line().passages[0]
    return row.path, row.record, row.passage.line_start, row.passage.line_end


def write(path: Path, judgements: Iterable[Judgement]) -> None:
    """Write judgements as lines of JSON; no file where there are none.

    Raises:
        StoreError: The file cannot be written.
    """
    lines = [line(each) for each in judgements]
    if lines:
        try:
            path.write_text("".join(lines), encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def read(path: Path) -> list[Judgement]:
    """Read what ``write`` wrote; nothing where there is no file.

    Raises:
        CorruptError: It holds something else.
    """
    try:
        return [judgement_of(each) for each in path.read_text(encoding="utf-8").split("\n") if each]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path} holds no judgements ({error}); delete it, or export again") from error
