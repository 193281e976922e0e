"""Between our values and what tables hold: text that any database takes, digests, and whole rows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from indexer.storage.storable import storable, storable_path
from indexer.types import Document, FileRecord, Passage, StoredDocument, StoredPassage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]

_STORED_APART = frozenset({"path", "text", "kind", "record", "title", "fields"})
_LAYOUT = tuple(field for field in fields(Document) if field.name not in _STORED_APART)
_PLAIN = Document(path="", text="", kind="")


def text_digest(value: str) -> int:
    """Return a signed 64-bit hash of a text."""
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little", signed=True)


def document_digest(document: Document, parts: Sequence[Passage]) -> bytes:
    """Return a hash of all that a search shows of a document but its place in the catalog and its file's times."""
    content = [
        document.kind,
        document.record,
        document.title,
        sorted(document.fields.items()),
        [
            (p.text, p.start, p.end, p.line_start, p.line_end, p.tokens, p.page, *([p.heading] if p.heading else []))
            for p in parts
        ],
    ]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).digest()


def file_row(file: FileRecord) -> Row:
    """Return the row of ``files``."""
    return {
        "path": storable_path(file.path),
        "root": storable_path(file.root),
        "size": file.size,
        "mtime_ns": file.mtime_ns,
        "digest": file.digest,
        "status": file.status,
        "reason": None if file.reason is None else storable(file.reason),
        "warnings": json.dumps([storable(each) for each in file.warnings]) if file.warnings else None,
        "ctime_ns": file.ctime_ns or None,
        "inode": signed(file.inode) or None,
    }


def signed(number: int) -> int:
    """Return an unsigned 64-bit number as the signed one of the same bits, which every database can hold."""
    return number - (1 << 64) if number >= 1 << 63 else number


def file_record(row: Mapping[str, Any]) -> FileRecord:
    """Return the value of a row of ``files``."""
    values = {name: row[name] for name in ("path", "root", "size", "mtime_ns", "digest", "status", "reason")}
    inode = row["inode"] or 0
    return FileRecord(
        **values,
        warnings=tuple(json.loads(row["warnings"] or "[]")),
        ctime_ns=row["ctime_ns"] or 0,
        inode=inode + (1 << 64) if inode < 0 else inode,
    )


def document_row(number: int, position: int, path: str, mtime_ns: int, document: Document, digest: bytes) -> Row:
    """Return the row of ``documents``, without ``missing`` and ``layout``."""
    return {
        "id": number,
        "path": path,
        "record": None if document.record is None else storable(document.record),
        "kind": document.kind,
        "title": None if document.title is None else storable(document.title),
        "fields": json.dumps({storable(k): storable(v) for k, v in document.fields.items()}, ensure_ascii=False),
        "mtime_ns": mtime_ns,
        "digest": digest,
        "position": position,
    }


def layout(document: Document, parts: Sequence[Passage]) -> str | None:
    """Return, as JSON, what it takes beside the passages to give the document back; None for nothing.

    That is the text behind the last passage and every field that has no column of its own.
    """
    values: Row = {
        field.name: getattr(document, field.name)
        for field in _LAYOUT
        if getattr(document, field.name) != getattr(_PLAIN, field.name)
    }
    if tail := document.text[parts[-1].end if parts else 0 :]:
        values["tail"] = storable(tail)
    return json.dumps(values, ensure_ascii=False) if values else None


def leads(document: Document, parts: Sequence[Passage]) -> list[str | None]:
    """Return the text before each passage, back to the one before; None where the document's text is not known."""
    found: list[str | None] = []
    end = 0
    for part in parts:
        lead = document.text[end : part.start]
        found.append(storable(lead) if len(lead) == part.start - end else None)
        end = part.end
    return found


def passage_row(number: int, document_id: int, part: Passage, lead: str | None) -> Row:
    """Return the row of ``passages``."""
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
        "lead": lead,
        "heading": part.heading,
        "embedded": 0,
    }


_PASSAGE = tuple(field.name for field in fields(Passage))


def stored_passage(row: Mapping[str, Any]) -> StoredPassage:
    """Return the value of a row of passages joined with documents."""
    return StoredPassage(
        id=row["id"],
        passage=Passage(**{name: row[name] for name in _PASSAGE}),
        path=row["path"],
        kind=row["kind"],
        record=row["record"],
        title=row["title"],
        fields=json.loads(row["fields"]),
        mtime_ns=row["mtime_ns"],
    )


def stored_document(document: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> StoredDocument:
    """Return a document whole, from its row and those of its passages in the order of the text."""
    kept = json.loads(document["layout"] or "{}")
    text, last_line = "", None
    for part in parts:
        lead = part["lead"]
        if lead is None:  # of a collection that did not keep it: as many line ends and blanks as were left out
            room = part["start"] - len(text)
            lines = part["line_start"] - (part["line_start"] if last_line is None else last_line)
            lead = "\n" * min(max(lines, 0), room) + " " * (room - min(max(lines, 0), room))
        text += lead + part["text"]
        last_line = part["line_end"]
    text += kept.pop("tail", "")
    for name, value in kept.items():
        if isinstance(value, list):
            kept[name] = tuple(tuple(each) if isinstance(each, list) else each for each in value)
    if document["layout"] is None and parts:
        pages: dict[int, int] = {}
        for part in parts:
            if part["page"] is not None:
                pages.setdefault(part["page"], part["start"])
        if pages:
            kept["page_starts"] = tuple(pages[min(p for p in pages if p >= n)] for n in range(1, max(pages) + 1))
    return StoredDocument(
        document=Document(
            path=document["path"],
            text=text,
            kind=document["kind"],
            record=document["record"],
            title=document["title"],
            fields=json.loads(document["fields"]),
            **kept,
        ),
        passages=tuple(stored_passage({**part, **_of_document(document)}) for part in parts),
        mtime_ns=document["mtime_ns"],
    )


def _of_document(document: Mapping[str, Any]) -> Row:
    return {name: document[name] for name in ("path", "kind", "record", "title", "fields", "mtime_ns")}
