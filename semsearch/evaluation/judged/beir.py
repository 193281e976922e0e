"""Retrieval data in BEIR's layout, as folders in the wild have it, and copies from the hub.

BEIR's layout is ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``) and
``qrels/NAME.tsv`` (``query-id``, ``corpus-id``, ``score``, with a header); each may end in ``.gz``. Judgements are read
by ``qrels``. Identifiers are compared as text, without white space around them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from indexer.corpus.decoding.text import clean
from indexer.errors import DataError
from semsearch.evaluation.judged import qrels
from semsearch.evaluation.judged.qrels import HOW_TO_FETCH
from semsearch.evaluation.judged.queries import Judged, digest, first_bytes, positive, shortened, text_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

OFFICIAL = {
    "scifact": (5183, 300, 339),
    "cranfield": (1400, 225, 1837),
    "cisi": (1460, 76, 3114),
    "med": (1033, 30, 696),
    "lisa": (5999, 35, 379),
}
"""Name → documents, judged queries and relevant pairs; collections of other names are not checked."""
ID_FIELDS = ("_id", "id", "doc_id", "docid")
TEXT_FIELDS = ("text", "contents")
"""Names of a record's identifier and text; the first that a record has counts. BEIR's own come first."""
LAYOUT = {"_id", "title", "text"}
QUICK_QUERIES, QUICK_DOCUMENTS = 50, 500


def folders(data: Path | None) -> dict[str, Path]:
    """Return name → folder of every collection in BEIR's layout: ``data`` itself, its children, or its ``retrieval/``.

    Empty where there is none.
    """
    if data is None:
        return {}
    for candidates in ([data], *(sorted(f.iterdir()) if f.is_dir() else [] for f in (data, data / "retrieval"))):
        found = {f.absolute().name or f.resolve().name: f for f in candidates if _present(f / "corpus.jsonl")}
        if found:
            return found
    return {}


def load(name: str, folder: Path) -> Judged:
    """Read one collection's queries and judgements, and check that its files belong together.

    A judged document that is not in the corpus stays judged: it counts as not found, with a note. A document with
    a query's own identifier is that query (ArguAna, Quora), and ``own`` names it; but where a query calls the document
    of its own identifier relevant, both are merely numbered alike.

    Raises:
        DataError: A file is missing or damaged, a judged query has no text, no judged document is in the corpus, or
            an official collection has another size.
    """
    corpus, query_file = _file(folder / "corpus.jsonl"), _file(folder / "queries.jsonl")
    documents = Counter(row.identifier for row in records(corpus))
    asked = Counter[str]()
    texts: dict[str, str] = {}
    for query in records(query_file):
        asked[query.identifier] += 1
        texts[query.identifier] = query.text
    path, grades = qrels.read(folder, texts, documents)
    relevant = positive(grades)
    if not relevant:
        raise DataError(f"{path} calls no document relevant; {HOW_TO_FETCH}")
    if unasked := [query for query in texts if query in relevant and not texts[query].strip()]:
        raise DataError(f"{query_file}: no text in the judged queries {shortened([repr(q) for q in unasked])}")
    judged = dict.fromkeys(document for row in relevant.values() for document in row)
    missing = [document for document in judged if document not in documents]
    if len(missing) == len(judged):
        raise DataError(
            f"none of the {len(judged):,} documents that {path} calls relevant is in {corpus.name} "
            f"({shortened([repr(d) for d in missing])}); the files belong together: {HOW_TO_FETCH}"
        )
    sizes = (len(documents), len(relevant), sum(map(len, relevant.values())))
    if sizes != OFFICIAL.get(name, sizes):
        raise DataError(
            f"{folder} has {sizes[0]} documents, {sizes[1]} judged queries and {sizes[2]} relevant pairs; {name} has "
            f"{', '.join(map(str, OFFICIAL[name]))}: the data is cut off or another version"
        )
    own = frozenset(query for query in relevant if query in documents)
    alike = [query for query in own if query in relevant[query]]
    notes = [
        *_repeated(corpus, documents, "documents"),
        *_repeated(query_file, asked, "queries"),
        *_said(len(grades) - len(relevant), "judged queries have no relevant document and are left out"),
    ]
    if own and not alike:
        notes += _said(
            len(own),
            "documents have a query's identifier; each is left out of what that query finds, as BEIR's tools do",
        )
    digests = {each.name.removesuffix(".gz"): digest(each) for each in (corpus, query_file, path)}
    queries = {query: text for query, text in texts.items() if query in relevant}
    return Judged(
        name,
        queries,
        relevant,
        "folder",
        corpus,
        digests,
        own=frozenset() if alike else own,
        notes=tuple(notes),
    )


def prepare(judged: Judged, scratch: Path, *, quick: bool = False) -> Judged:
    """Return the collection with a file of documents that our own reader takes as BEIR's tools take theirs.

    Where the folder's file is not exactly in the layout (another encoding, identifiers with space around them or
    twice, other names of fields), or with ``quick``, the documents are written to ``scratch``. The last document of
    an identifier counts; one without title and text is left out.

    With ``quick`` these are 50 queries at even distances, over their relevant documents and others at even distances
    up to 500 in all. A small set of documents makes the task easier: the figures say whether something broke, not how
    good the encoder is.
    """
    corpus = judged.corpus
    if corpus is None:
        return judged
    last = {row.identifier: row.line for row in records(corpus)}
    wanted = set(last)
    if quick:
        judged = _some_queries(judged)
        found = {document for row in judged.relevant.values() for document in row} & wanted
        others = [document for document in last if document not in found]
        more = max(0, min(len(others), QUICK_DOCUMENTS - len(found)))
        wanted = found | {others[i * len(others) // more] for i in range(more)}
    elif all(row.tidy and last[row.identifier] == row.line for row in records(corpus)):
        return judged
    kept = (row for row in records(corpus) if row.identifier in wanted and last[row.identifier] == row.line)
    aside = scratch / f".{judged.name}.{os.getpid()}.tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    empty = _write_documents(aside, kept)
    path = scratch / f"{judged.name}-{digest(aside)[:12]}.jsonl"
    if path.is_file():  # it keeps its time, so that it is not indexed again
        aside.unlink()
    else:
        aside.replace(path)
    notes = (*judged.notes, *_said(empty, "documents have neither title nor text and cannot be found"))
    return replace(judged, corpus=path, quick=quick, notes=notes)


def _some_queries(judged: Judged) -> Judged:
    names = list(judged.queries)
    if len(names) > QUICK_QUERIES:
        names = [names[i * len(names) // QUICK_QUERIES] for i in range(QUICK_QUERIES)]
    return replace(
        judged,
        queries={query: judged.queries[query] for query in names},
        relevant={query: judged.relevant[query] for query in names},
        own=judged.own & set(names),
    )


def _write_documents(path: Path, rows: Iterable[Record]) -> int:
    """Write records in the layout; return how many were left out because they hold no text."""
    empty = 0
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
        for row in rows:
            if not row.title.strip() and not row.text.strip():
                empty += 1
                continue
            value = {"_id": row.identifier, "title": row.title, "text": row.text}
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
    return empty


def from_hub(name: str, scratch: Path) -> Path:
    """Fetch a BEIR collection of the hub (``mteb/NAME``) into ``scratch``, in BEIR's layout.

    Raises:
        DataError: It could not be fetched.
    """
    folder = scratch / name
    if (folder / "qrels" / "test.tsv").is_file():
        return folder
    from datasets import load_dataset

    try:
        corpus = load_dataset(f"mteb/{name}", "corpus", split="corpus")
        queries = load_dataset(f"mteb/{name}", "queries", split="queries")
        judgements = load_dataset(f"mteb/{name}", "default", split="test")
    except Exception as error:  # its errors for no network, no such data set and offline mode share no class
        raise DataError(
            f"mteb/{name} could not be fetched from the hub ({type(error).__name__}: {error}); {HOW_TO_FETCH}"
        ) from error
    aside = scratch / f".{name}.{os.getpid()}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "qrels").mkdir(parents=True)
    for rows, file in ((corpus, "corpus.jsonl"), (queries, "queries.jsonl")):
        lines = (json.dumps({k: row.get(k) or "" for k in ("_id", "title", "text") if k in row}) for row in rows)
        (aside / file).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    table = "".join(f"{row['query-id']}\t{row['corpus-id']}\t{int(row['score'])}\n" for row in judgements)
    (aside / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + table, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    aside.replace(folder)
    return folder


@dataclass(frozen=True)
class Record:
    """One line of a corpus or of queries."""

    line: int
    identifier: str
    title: str
    text: str
    tidy: bool
    """Whether our own reader, which is told that ``_id`` identifies, reads the same out of the line."""


def records(path: Path) -> Iterator[Record]:
    """Read the lines of a corpus or of queries.

    Raises:
        DataError: The file cannot be read, or a line is no object with an identifier.
    """
    marked = first_bytes(path) in (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb")  # of byte order marks
    for number, line in text_lines(path, HOW_TO_FETCH):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} line {number} is not JSON ({error}); the file is cut off") from error
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number} is {type(row).__name__}; each line is an object with _id and text")
        written = row.get(next((name for name in ID_FIELDS if name in row), "_id"))
        identifier = _identifier(written)
        if not identifier:
            raise DataError(f"{path} line {number}: _id is {written!r}; it is text or a number, and not empty")
        title = _string(row.get("title"))
        text = _string(row.get(next((name for name in TEXT_FIELDS if name in row), "text")))
        plain = isinstance(row.get("_id"), str | int) and isinstance(row.get("text"), str)
        tidy = plain and not marked and str(row["_id"]) == identifier and (bool(text.strip()) or set(row) <= LAYOUT)
        yield Record(number, identifier, title, text, tidy and bool(title.strip() or text.strip()))


def _identifier(value: object) -> str:
    """Return an identifier as text; empty for a value that identifies nothing."""
    if isinstance(value, str):
        return clean(value).strip()
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _string(value: object) -> str:
    if isinstance(value, list):
        return "\n".join(filter(None, map(_string, value)))
    return value if isinstance(value, str) else "" if value is None or isinstance(value, dict) else str(value)


def _repeated(path: Path, counts: Mapping[str, int], what: str) -> list[str]:
    names = [name for name, count in counts.items() if count > 1]
    return _said(len(names), f"identifiers of {what} occur more than once in {path.name}; the last counts", names)


def _said(count: int, what: str, names: Sequence[str] = ()) -> list[str]:
    """Return a note with the number at its head and the first names at its end; none for 0."""
    examples = f": {shortened([repr(name) for name in islice(names, 1000)])}" if names else ""
    return [f"{count:,} {what}{examples}"] if count else []


def _present(path: Path) -> bool:
    return path.is_file() or path.with_name(path.name + ".gz").is_file()


def _file(path: Path) -> Path:
    if not _present(path):
        raise DataError(f"{path} is missing; {HOW_TO_FETCH}")
    return path if path.is_file() else path.with_name(path.name + ".gz")
