"""Between our values and what tables hold: text that any database takes, digests, words, rows."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence

from indexer.types import Document, FileRecord, Passage, StoredPassage

MOST_WORDS = 256
"""Words of one query that are looked up; a whole page pasted in does not need more."""

LEAST_PREFIX = 2
"""Letters that ``begin*`` has at least; fewer would be in nearly every passage."""
COMMON = frozenset(
    """a an and are as at be by can could did do does for from had has have how i if in into is it its me my no not of
    on or our so than that the their them then there these they this to was we were what when where which who why will
    with would you your""".split()
)
"""English words that say nothing of what a text is about: question words too. A query is not searched for them (on
development collections that is worth 1 point of nDCG@10 to a search by words, see scripts/LOG.md)."""
_WORD = re.compile(r"\w+")
_WANTED = re.compile(r'"([^"]*)"|(\w+)(\*(?!\S))?')


def printable(path: str) -> str:
    """The path as it is stored: bytes that are no UTF-8 (lone surrogates) written as ``\\xNN``."""
    return re.sub(r"[\ud800-\udfff]", lambda m: f"\\x{ord(m[0]) & 0xFF:02x}", path)


def storable(value: str) -> str:
    """Text without lone surrogates, which no UTF-8 holds; the length stays, so that offsets still hold."""
    return re.sub(r"[\ud800-\udfff]", "\ufffd", value)


def text_digest(value: str) -> int:
    """A signed 64-bit hash of a text."""
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little", signed=True)


def words_of(query: str, repeated: bool = False) -> list[str]:
    """What a query looks for, each once; with ``repeated`` as often as it stands there.

    That is a word, the words between double quotes as one phrase, or ``begin*`` for every word that begins so. Of the
    query's words the first MOST_WORDS count. COMMON words are left out, but not from a phrase, and not where there are
    no others. Anything else, operators among them, only separates words.
    """
    wanted, telling, room = [], [], MOST_WORDS
    for phrase, word, star in _WANTED.findall(storable(query).lower()):
        words = ([word] if word else _WORD.findall(phrase))[:room]
        if words:
            room -= len(words)
            wanted.append(" ".join(words) + (star if len(word) >= LEAST_PREFIX else ""))
            if wanted[-1] not in COMMON or phrase:
                telling.append(wanted[-1])
    wanted = telling or wanted
    return wanted if repeated else list(dict.fromkeys(wanted))


def match_of(wanted: str) -> str:
    """One of ``words_of`` as FTS5 writes it; nothing in it is syntax."""
    return f'"{wanted[:-1]}"*' if wanted.endswith("*") else f'"{wanted}"'


def rarity(passages: int, held: int) -> float:
    """A word's weight in BM25 where so many of the passages hold it, as FTS5 has it."""
    return max(1e-6, math.log(max(0.5, passages - held + 0.5) / (held + 0.5)))


def document_digest(document: Document, parts: Sequence[Passage]) -> bytes:
    """Of all that is stored of a document but its place in the catalog and its file's times."""
    content = [
        document.kind,
        document.record,
        document.title,
        sorted(document.fields.items()),
        [(p.text, p.start, p.end, p.line_start, p.line_end, p.tokens, p.page) for p in parts],
    ]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).digest()


def file_row(file: FileRecord) -> dict[str, object]:
    return {
        **{name: value for name, value in vars(file).items() if name != "warnings"},
        "path": printable(file.path),
        "root": printable(file.root),
        "reason": None if file.reason is None else storable(file.reason),
    }


def document_row(
    number: int, path: str, mtime_ns: int, document: Document, digest: bytes, missing: int
) -> dict[str, object]:
    return {
        "id": number,
        "path": path,
        "record": None if document.record is None else storable(document.record),
        "kind": document.kind,
        "title": None if document.title is None else storable(document.title),
        "fields": json.dumps({storable(k): storable(v) for k, v in document.fields.items()}, ensure_ascii=False),
        "mtime_ns": mtime_ns,
        "digest": digest,
        "missing": missing,
    }


def passage_row(number: int, document_id: int, part: Passage) -> dict[str, object]:
    value = storable(part.text)
    return {
        "id": number,
        "document_id": document_id,
        "text": value,
        "digest": text_digest(value),
        "start": part.start,
        "end": part.end,
        "line_start": part.line_start,
        "line_end": part.line_end,
        "tokens": part.tokens,
        "page": part.page,
    }


STORED = (
    'SELECT p.id, p.text, p.start, p."end", p.line_start, p.line_end, p.tokens, p.page, '
    "d.path, d.kind, d.record, d.title, d.fields, d.mtime_ns FROM passages p JOIN documents d ON d.id = p.document_id"
)
"""The query whose rows ``stored`` takes."""


def stored(row: Sequence) -> StoredPassage:
    number, value, start, end, line_start, line_end, tokens, page, path, kind, record, title, fields, mtime_ns = row
    passage = Passage(value, start, end, line_start, line_end, tokens, page)
    return StoredPassage(number, passage, path, kind, record, title, json.loads(fields), mtime_ns)
