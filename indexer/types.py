"""The frozen values that travel between the layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import numpy as np

FileStatus = Literal["indexed", "failed", "skipped"]


class Heading(NamedTuple):
    """A heading within a document's text: ``document.text[start:end]`` holds it, with its markup if it has any.

    An empty ``text`` ends the section before: what follows belongs to no heading.
    """

    start: int
    end: int
    level: int
    """1 is the outermost."""
    text: str
    """Without markup."""


@dataclass(frozen=True)
class Document:
    """One text to search: a whole file, or one record of a CSV, TSV or JSON-lines file.

    ``text`` is what was extracted (for a PDF, DOCX or HTML file it differs from the bytes on disk); all offsets
    of its passages count characters of it.
    """

    path: str
    text: str
    kind: str
    """Family of formats: text, markdown, rst, html, pdf, docx, code, csv, tsv, jsonl."""
    record: str | None = None
    """The record's identifier within its file; None where the file is one document."""
    title: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    """Further record fields, kept for filters."""
    line_start: int = 1
    """Line of the file on which ``text`` begins (a record's line; 1 for a whole file)."""
    page_starts: tuple[int, ...] = ()
    """Offset in ``text`` at which each page begins (PDF; slides; sheets); empty for formats without pages."""
    headings: tuple[Heading, ...] = ()
    """Headings of extracted text, in order; empty where the text itself marks them (Markdown, reStructuredText)."""


@dataclass(frozen=True)
class Passage:
    """A span of a document that is embedded as one vector: ``document.text[start:end] == text``."""

    text: str
    start: int
    end: int
    line_start: int
    """1-based, inclusive."""
    line_end: int
    tokens: int
    """Tokens of the text alone, by the model's tokenizer, without template or special tokens."""
    page: int | None = None
    """1-based page (slide, sheet) on which the passage stands; None for formats without pages."""
    heading: str | None = None
    """Path of headings under which the passage stands, outermost first: ``A › B``; None where there is none."""


@dataclass(frozen=True)
class FileRecord:
    """What is known of one file of a collection.

    ``digest`` (SHA-256 of the bytes, hex) is None where the file could not be read. ``root`` is the argument of
    ``semsearch index`` under which it was found, absolute; both paths are absolute, without resolving links.
    """

    path: str
    root: str
    size: int
    mtime_ns: int
    digest: str | None
    status: FileStatus = "indexed"
    reason: str | None = None
    """Why it failed or was skipped; None when indexed."""
    warnings: tuple[str, ...] = ()
    """Content of an indexed file that was left out on purpose, such as pages without text; the file is not failed."""
    ctime_ns: int = 0
    """When the file's entry last changed, which nobody can set back; 0: not known."""
    inode: int = 0
    """The file's number within its file system; 0: not known."""


@dataclass
class Notes:
    """Remarks of a reader about one file, beside the documents that it yields."""

    problems: list[str] = field(default_factory=list)
    """Parts that could not be read ("line 17: …"): the rest is kept and the file is listed as failed."""
    warnings: list[str] = field(default_factory=list)
    """Parts that were left out on purpose ("pages 2-10 hold no text"): the file counts as read."""


@dataclass(frozen=True)
class ParsedDocument:
    """One document with the passages it was split into."""

    document: Document
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Parsed:
    """One file, read and split: everything that a store takes in of it. Plain values, so that it can be pickled."""

    file: FileRecord
    documents: tuple[ParsedDocument, ...]


@dataclass(frozen=True)
class StoredPassage:
    """A passage as the catalog returns it, with what a hit shows of its document."""

    id: int
    passage: Passage
    path: str
    kind: str
    record: str | None
    title: str | None
    fields: Mapping[str, str]
    mtime_ns: int


@dataclass(frozen=True)
class StoredDocument:
    """One document as a store gives it back: as it was staged, without having to read its file again."""

    document: Document
    """``text`` is whole: the passages and what stood between them. Collections made by version 0.1 did not keep the
    white space between passages; there it is made up of as many line ends and blanks as were left out."""
    passages: tuple[StoredPassage, ...]
    """In the order of the text."""
    mtime_ns: int


@dataclass(frozen=True)
class Neighbours:
    """The k best passages of each query, best first.

    A row with fewer than k results ends in id -1 and score -inf.
    """

    ids: np.ndarray
    """(q, k) int64."""
    scores: np.ndarray
    """(q, k) float32, higher is better."""
    full: np.ndarray | None = None
    """(q,) float32, of a search by words alone: the score of a passage of average length that holds each of the
    query's words once. Words that no passage holds count too, so that score / full says how much of the query a
    passage holds."""


@dataclass(frozen=True)
class Staged:
    """The outcome of taking in one file."""

    passages: int
    reused: int
    """Passages of these that need no embedding: unchanged, or of the same text as one that has a vector."""


@dataclass(frozen=True)
class Work:
    """A text that waits for its vector."""

    id: int
    text: str
    tokens: int
    """Tokens of the text alone, by the model's tokenizer."""


@dataclass(frozen=True)
class Waiting:
    """How much there is to embed: each distinct text counts once."""

    texts: int
    tokens: int


@dataclass(frozen=True)
class Embedded:
    """Vectors of claimed work, in any order."""

    ids: np.ndarray
    """(n,) int64: ``Work.id`` of each row."""
    vectors: np.ndarray
    """(n, d) float32, unit length."""
    terms: tuple[dict[int, int], ...] | None = None
    """Weighted terms of each, exactly where the collection has a sparse index."""


@dataclass(frozen=True)
class Filter:
    """Conditions that a passage's document must meet, all of them; applied before the top k is taken.

    Within ``paths``, ``kinds`` or the values of one field, any one may hold.
    """

    paths: tuple[str, ...] = ()
    """Globs over the absolute path; ``*`` stays within a folder, ``**`` does not; a relative glob matches at
    any depth."""
    kinds: tuple[str, ...] = ()
    """Kinds (``markdown``) or file name endings without the dot (``md``)."""
    since: datetime | None = None
    """File modified at or after this moment (timezone-aware)."""
    until: datetime | None = None
    """File modified before this moment (timezone-aware)."""
    fields: tuple[tuple[str, str], ...] = ()
    """(name, value) of record fields, compared as text."""


@dataclass(frozen=True)
class Counts:
    """The size of a collection, as its last commit left it."""

    files: int
    documents: int
    passages: int
    """Passages that a search can find, by words at least."""
    embedded: int
    """Of these, the ones that have a vector."""
    pending: int
    """Passages that wait for a vector, shown or not."""
    tombstones: int
    failed: int
    skipped: int


@dataclass(frozen=True)
class Judgement:
    """What a person said of one place: whether it answers a query.

    A place is a passage by its lines, as a hit shows them, or a whole document: passages of another splitting, another
    encoder or another day are no other places as long as the text stands there.
    """

    query: str
    """Without white space at its ends; runs of it count as one blank."""
    path: str
    """Of the file, absolute."""
    grade: int | None
    """0: wrong; from 1: right, and more so the higher; None takes back what was said before."""
    record: str | None = None
    """The record's identifier within its file; None where the file is one document."""
    line_start: int | None = None
    """1-based, inclusive, of the passage that was looked at; None: all of the document."""
    line_end: int | None = None
    at: str = ""
    """When: ISO 8601 in UTC. Empty where it is not known."""
    encoder: str | None = None
    """Fingerprint of the encoder whose answer was judged; None where none was looked at."""
    generation: int | None = None
    """Number of the commit that was searched."""

    def __post_init__(self) -> None:
        """Normalise the query and check the values.

        Raises:
            ValueError: One of them cannot be.
        """
        texts = {"query": self.query, "path": self.path, "at": self.at}
        if wrong := [name for name, value in texts.items() if not isinstance(value, str)]:
            raise ValueError(f"{wrong[0]} is {texts[wrong[0]]!r}; it is a text")
        if wrong := [n for n in ("record", "encoder") if not isinstance(getattr(self, n), str | None)]:
            raise ValueError(f"{wrong[0]} is {getattr(self, wrong[0])!r}; it is a text, or null")
        object.__setattr__(self, "query", " ".join(self.query.split()))
        if not self.query or not self.path:
            raise ValueError("a judgement needs a query and a path")
        numbers = {name: getattr(self, name) for name in ("grade", "line_start", "line_end", "generation")}
        for name, value in numbers.items():
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31):
                raise ValueError(f"{name} is {value!r}; it is a whole number from 0 up, or null")
        if (self.line_start is None) != (self.line_end is None):
            raise ValueError("line_start and line_end are given both or not at all")

    @property
    def about(self) -> tuple[str, str, str | None, int | None, int | None]:
        """What the judgement is of: a later one of the same takes its place."""
        return self.query, self.path, self.record, self.line_start, self.line_end


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a collection."""

    part: str
    """catalog, words, vectors, terms, index, encoder or leftovers."""
    found: str
    mended: bool = False
    remedy: str = ""
    """The mending that was done, or is left to do."""


@dataclass(frozen=True)
class Facets:
    """Values by which the shown documents of a collection can be filtered."""

    kinds: Mapping[str, int]
    """Kind → documents of that kind."""
    fields: Mapping[str, int]
    """Name of a record field → documents that have it."""


@dataclass(frozen=True)
class IndexReport:
    """The index that a collection has, with what was measured of it."""

    factory: str
    rows: int
    """Passages in it."""
    bytes: int
    """Of the file."""
    why: str
    search: Mapping[str, float]
    """How hard a search tries: efSearch or nprobe, and refine, how many times k are scored by the raw vectors."""
    asked: float
    """The recall@10 that was asked for."""
    recall: float | None
    """The recall@10 that was measured; None: it has not been."""
    sampled: int
    """Passages whose neighbours it was measured by."""
    seconds: float
    """How long it took to build."""
