"""Retrieval data: folders in BEIR layout, judgements of a person's own, and copies on the hub.

BEIR's layout is ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``) and
``qrels/NAME.tsv`` (``query-id``, ``corpus-id``, ``score``, with a header); each may end in ``.gz``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import DataError

OFFICIAL = {
    "scifact": (5183, 300, 339),
    "cranfield": (1400, 225, 1837),
    "cisi": (1460, 76, 3114),
    "med": (1033, 30, 696),
    "lisa": (5999, 35, 379),
}
"""Name → documents, judged queries and relevant pairs; collections of other names are not checked."""
_OWN = (
    "a line is 'query<TAB>path[<TAB>grade]', the path of an indexed file, absolute or relative to an indexed folder "
    "(semsearch status shows them)"
)
QUICK_QUERIES, QUICK_DOCUMENTS = 50, 500
HOW_TO_FETCH = (
    "a folder in BEIR layout holds corpus.jsonl, queries.jsonl and qrels/test.tsv (.gz is read too): unpack one of the "
    "archives that github.com/beir-cellar/beir lists, and pass it with --data or SEMSEARCH_DATA"
)


@dataclass(frozen=True)
class Judged:
    """Queries with what is relevant to each."""

    name: str
    queries: Mapping[str, str]
    """Identifier → text; only queries with a relevant document."""
    relevant: Mapping[str, Mapping[str, int]]
    """Query → document → grade, from 1."""
    source: str
    corpus: Path | None = None
    """The file of documents; None where an existing collection is searched."""
    sha256: Mapping[str, str] | None = None
    """What was read → its digest."""
    quick: bool = False


def folders(data: Path | None) -> dict[str, Path]:
    """Name → folder of every collection in BEIR layout at or below ``data``: itself, its children, or those of its
    ``retrieval/``. Empty where there is none."""
    if data is None:
        return {}
    for candidates in ([data], *(sorted(f.iterdir()) if f.is_dir() else [] for f in (data, data / "retrieval"))):
        found = {folder.name: folder for folder in candidates if _present(folder / "corpus.jsonl")}
        if found:
            return found
    return {}


def load(name: str, folder: Path) -> Judged:
    """One collection. Raises DataError for a missing or damaged file and for a wrong official size."""
    corpus, query_file, judgement_file = _file(folder / "corpus.jsonl"), _file(folder / "queries.jsonl"), _qrels(folder)
    documents = {_text(corpus, n, row, "_id"): None for n, row in _json_lines(corpus)}
    texts = {_text(query_file, n, row, "_id"): _text(query_file, n, row, "text") for n, row in _json_lines(query_file)}
    relevant: dict[str, dict[str, int]] = {}
    for number, columns in _rows(judgement_file, 3, header=True):
        query, document, grade = columns[0], columns[1], _grade(judgement_file, number, columns[2])
        if query not in texts or document not in documents:
            what = (
                f"query {query!r} is not in {query_file.name}"
                if query not in texts
                else f"document {document!r} is not in {corpus.name}"
            )
            raise DataError(f"{judgement_file} line {number}: {what}; the files belong together: {HOW_TO_FETCH}")
        if grade > 0:
            relevant.setdefault(query, {})[document] = grade
    if not relevant:
        raise DataError(f"{judgement_file} calls no document relevant; {HOW_TO_FETCH}")
    sizes = (len(documents), len(relevant), sum(map(len, relevant.values())))
    if sizes != OFFICIAL.get(name, sizes):
        raise DataError(
            f"{folder} has {sizes[0]} documents, {sizes[1]} judged queries and {sizes[2]} relevant pairs; {name} has "
            f"{', '.join(map(str, OFFICIAL[name]))}: the data is cut off or another version"
        )
    digests = {path.name.removesuffix(".gz"): digest(path) for path in (corpus, query_file, judgement_file)}
    return Judged(name, {q: texts[q] for q in texts if q in relevant}, relevant, "folder", corpus, digests)


def quick(judged: Judged, scratch: Path) -> Judged:
    """50 queries at even distances, over their relevant documents and others at even distances up to 500 in all.

    The documents are written to ``scratch``. A small set of documents makes the task easier: the figures say whether
    something broke, not how good the encoder is.
    """
    assert judged.corpus is not None
    names = list(judged.queries)
    names = (
        [names[i * len(names) // QUICK_QUERIES] for i in range(min(QUICK_QUERIES, len(names)))]
        if len(names) > QUICK_QUERIES
        else names
    )
    relevant = {query: judged.relevant[query] for query in names}
    wanted = {document for documents in relevant.values() for document in documents}
    rows = [(str(row["_id"]), row) for _, row in _json_lines(judged.corpus)]
    others = [document for document, _ in rows if document not in wanted]
    more = max(0, min(len(others), QUICK_DOCUMENTS - len(wanted)))
    wanted |= {others[i * len(others) // more] for i in range(more)}
    lines = [json.dumps(row, ensure_ascii=False) for document, row in rows if document in wanted]
    content = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    path = scratch / f"{judged.name}-{hashlib.sha256(content).hexdigest()[:12]}.jsonl"
    write_once(path, content)
    return Judged(
        judged.name, {q: judged.queries[q] for q in names}, relevant, judged.source, path, judged.sha256, quick=True
    )


def own(path: Path, documents: Sequence[str], roots: Sequence[str]) -> Judged:
    """Judgements over an existing collection: ``query<TAB>relevant path[<TAB>grade]`` lines, without a header.

    ``documents`` are the collection's files. A path is absolute, or relative to a root of the collection or to the
    file of judgements. Raises DataError for a path that is not in the collection.
    """
    known = set(documents)
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    unknown: list[str] = []
    for number, columns in _rows(path, 2, header=False):
        query, named = columns[0].strip(), columns[1].strip()
        places = [os.path.normpath(os.path.join(base, named)) for base in (*roots, str(path.absolute().parent))]
        document = next((place for place in places if place in known), None)
        if not query:
            raise DataError(f"{path} line {number}: the query is empty; {_OWN}")
        if document is None:
            unknown.append(f"line {number} {named!r}")
            continue
        grade = _grade(path, number, columns[2]) if len(columns) > 2 else 1
        queries[query] = query
        if grade > 0:
            relevant.setdefault(query, {})[document] = grade
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise DataError(f"{path}: not in the collection: {', '.join(unknown[:3])}{more}; {_OWN}")
    queries = {q: q for q in queries if q in relevant}
    if not queries:
        raise DataError(f"{path} calls nothing relevant; {_OWN}")
    return Judged(path.stem, queries, relevant, "judgements", None, {path.name: digest(path)})


def from_hub(name: str, scratch: Path) -> Path:
    """A BEIR collection of the hub (``mteb/NAME``), written to ``scratch`` in BEIR layout."""
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
    for rows, file in ((corpus, "corpus.jsonl"), (queries, "queries.jsonl")):
        lines = (json.dumps({k: row.get(k) or "" for k in ("_id", "title", "text") if k in row}) for row in rows)
        write_once(folder / file, "".join(line + "\n" for line in lines).encode())
    table = "".join(f"{row['query-id']}\t{row['corpus-id']}\t{int(row['score'])}\n" for row in judgements)
    write_once(folder / "qrels" / "test.tsv", ("query-id\tcorpus-id\tscore\n" + table).encode())
    return folder


def write_once(path: Path, content: bytes) -> None:
    """Write a file aside and put it in place; one that is there keeps its time, so that it is not indexed again."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.write_bytes(content)
    os.replace(aside, path)


def _qrels(folder: Path) -> Path:
    """``qrels/test.tsv``, else the only file there."""
    found = sorted(f for ending in ("*.tsv", "*.tsv.gz") for f in (folder / "qrels").glob(ending))
    tests = [path for path in found if path.name.partition(".")[0] == "test"]
    if len(tests or found) != 1:
        raise DataError(
            f"{folder / 'qrels'} holds {[f.name for f in found]}; test.tsv is read, or the only file; {HOW_TO_FETCH}"
        )
    return (tests or found)[0]


def _present(path: Path) -> bool:
    return path.is_file() or path.with_name(path.name + ".gz").is_file()


def _file(path: Path) -> Path:
    if not _present(path):
        raise DataError(f"{path} is missing; {HOW_TO_FETCH}")
    return path if path.is_file() else path.with_name(path.name + ".gz")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; {HOW_TO_FETCH}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} line {number} is not JSON ({error}); the file is cut off") from error
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number} is {type(row).__name__}; each line is an object with _id and text")
        yield number, row


def _text(path: Path, number: int, row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str | int) or value == "":
        raise DataError(f"{path} line {number}: {name} is {value!r}; it is text, and not empty")
    return str(value)


def _rows(path: Path, least: int, header: bool) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(path):
        columns = line.rstrip("\r").split("\t")
        if len(columns) < least:
            raise DataError(
                f"{path} line {number} has {len(columns)} tab-separated columns where {least} are needed; "
                "the file is cut off or uses other separators"
            )
        if not (header and number == 1):
            yield number, columns


def _grade(path: Path, number: int, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise DataError(
            f"{path} line {number}: the grade is {text!r}; it is a whole number, 0 for not relevant"
        ) from error


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file's content, unpacked."""
    content = path.read_bytes()
    return hashlib.sha256(gzip.decompress(content) if path.suffix == ".gz" else content).hexdigest()
