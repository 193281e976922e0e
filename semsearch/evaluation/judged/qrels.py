"""Files of relevance judgements (qrels): BEIR's tables, TREC's four columns, and JSON lines.

BEIR writes ``query-id<TAB>corpus-id<TAB>score`` with a header; TREC writes ``query 0 document grade`` without one. A
first line is taken for a header only where it cannot be a judgement. Columns are parted by tabs, else by commas, else
by white space.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.errors import DataError
from semsearch.evaluation.judged.queries import grade, text_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

HOW_TO_FETCH = (
    "a folder in BEIR layout holds corpus.jsonl, queries.jsonl and qrels/test.tsv (.gz is read too): unpack one of the "
    "archives that github.com/beir-cellar/beir lists, and pass it with --data or SEMSEARCH_DATA"
)
ENDINGS = tuple(e + z for e in (".tsv", ".txt", ".csv", ".qrels", ".qrel", ".trec", ".jsonl") for z in ("", ".gz"))
QUERY_NAMES = ("query-id", "query_id", "queryid", "query", "qid", "topic", "topic_id")
DOCUMENT_NAMES = ("corpus-id", "corpus_id", "corpusid", "doc_id", "doc-id", "docid", "docno", "document", "pid", "did")
GRADE_NAMES = ("score", "relevance", "rel", "grade", "label")
"""Heads of columns, in lower case, as data sets in use have them."""


@dataclass(frozen=True)
class _Columns:
    """Where a line holds what."""

    query: int
    document: int
    grade: int

    @property
    def needed(self) -> int:
        return 1 + max(self.query, self.document, self.grade)


BEIR, TREC = _Columns(0, 1, 2), _Columns(0, 2, 3)
Grades = dict[str, dict[str, int]]
"""Query → document → grade; 0 or less: not relevant."""


def read(folder: Path, queries: Mapping[str, str], documents: Collection[str]) -> tuple[Path, Grades]:
    """Read the judgements of a folder in BEIR's layout; the last of several of one pair counts.

    Args:
        folder: Holds ``qrels/test.tsv``, or one other file of judgements there, or one called ``qrels.*`` itself.
        queries: Identifier → text of every query that can be asked.
        documents: Identifiers of the corpus; they tell the columns apart. A judged document need not be among them.

    Returns:
        The file that was read, and its grades.

    Raises:
        DataError: There is no such file or more than one, a line does not fit, or a query is unknown.
    """
    path = _found(folder)
    rows = _json_rows(path) if ".jsonl" in path.name else _table_rows(path, queries, documents)
    grades: Grades = {}
    for number, query, document, value in rows:
        if query not in queries:
            raise DataError(
                f"{path} line {number}: query {query!r} is not in queries.jsonl; the files belong together: "
                f"{HOW_TO_FETCH}"
            )
        grades.setdefault(query, {})[document] = grade(path, number, value)
    return path, grades


def _found(folder: Path) -> Path:
    """Return the test judgements, else the only file of judgements."""
    where = folder / "qrels"
    names = sorted(where.iterdir() if where.is_dir() else []) or sorted(folder.glob("qrels.*"))
    found = [path for path in names if path.name.endswith(ENDINGS) and not path.name.startswith(".")]
    tests = [path for path in found if path.name.partition(".")[0] == "test"]
    if len(tests or found) != 1:
        raise DataError(f"{where} holds {[f.name for f in found]}; test.tsv is read, or the only file; {HOW_TO_FETCH}")
    return (tests or found)[0]


def _json_rows(path: Path) -> Iterator[tuple[int, str, str, str]]:
    for number, line in text_lines(path, HOW_TO_FETCH):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} line {number} is not JSON ({error}); the file is cut off") from error
        names = {str(name).lower(): name for name in row} if isinstance(row, Mapping) else {}
        values = [
            next((str(row[names[name]]).strip() for name in known if name in names), "")
            for known in (QUERY_NAMES, DOCUMENT_NAMES, GRADE_NAMES)
        ]
        if not all(values):
            raise DataError(f"{path} line {number} lacks query-id, corpus-id or score; it has {list(names)}")
        query, document, value = values
        yield number, query, document, value


def _table_rows(
    path: Path, queries: Collection[str], documents: Collection[str]
) -> Iterator[tuple[int, str, str, str]]:
    rows = [(number, line.rstrip("\r")) for number, line in text_lines(path, HOW_TO_FETCH)]
    split = [(number, _split(line, rows[0][1])) for number, line in rows]
    columns, headed = _layout([row for _, row in split], queries, documents)
    for number, row in split[1 if headed else 0 :]:
        if len(row) < columns.needed:
            raise DataError(
                f"{path} line {number} has {len(row)} columns where {columns.needed} are needed; "
                "the file is cut off or uses other separators"
            )
        yield number, row[columns.query], row[columns.document], row[columns.grade]


def _split(line: str, first: str) -> list[str]:
    """Return the cells of a line, parted as in the file's first line."""
    if "\t" in first:
        return [cell.strip() for cell in line.split("\t")]
    if "," in first:
        return [cell.strip() for cell in next(csv.reader([line]), [])]
    return line.split()


def _layout(
    rows: Sequence[Sequence[str]], queries: Collection[str], documents: Collection[str]
) -> tuple[_Columns, bool]:
    """Return where a file's lines hold what, and whether the first line is a header."""
    if not rows:
        return BEIR, False
    names = [cell.lower().lstrip("#").strip() for cell in rows[0]]
    places = [
        next((names.index(name) for name in known if name in names), None)
        for known in (QUERY_NAMES, DOCUMENT_NAMES, GRADE_NAMES)
    ]
    if None not in places and rows[0][0] not in queries:
        return _Columns(*(place for place in places if place is not None)), True
    four = all(len(row) == 4 for row in rows)
    third, second = (sum(row[i] in documents for row in rows if len(row) > i) for i in (2, 1))
    columns = TREC if four and third >= second and all(_is_grade(row[3]) for row in rows[1:]) else BEIR
    first = rows[0]
    known = first[0] in queries or (len(first) > columns.document and first[columns.document] in documents)
    headed = len(first) >= columns.needed and not _is_grade(first[columns.grade]) and not known
    return columns, headed


def _is_grade(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
