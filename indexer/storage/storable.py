"""Files, documents, judgements and texts in the form that every store can hold."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.errors import StoreError
from indexer.types import ParsedDocument

if TYPE_CHECKING:
    from indexer.types import FileRecord, Judgement

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text without lone surrogates, which UTF-8 cannot hold; its length, and so its offsets, stay."""
    return _SURROGATE.sub("\ufffd", text)


def storable_path(path: str) -> str:
    r"""Return the path with bytes that are no UTF-8 (lone surrogates) written as ``\xNN``."""
    return _SURROGATE.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", path)


def check_annotation_name(name: str) -> None:
    """Raise StoreError where a store cannot keep an annotation under this name."""
    if not re.fullmatch(r"[a-z][a-z-]*", name):
        raise StoreError(f"{name!r} cannot name an annotation; it is a word in small letters")


def storable_file(file: FileRecord) -> FileRecord:
    """Return the record with text that can be stored."""
    return replace(
        file,
        path=storable_path(file.path),
        root=storable_path(file.root),
        reason=None if file.reason is None else storable(file.reason),
        warnings=tuple(map(storable, file.warnings)),
    )


def storable_judgement(judgement: Judgement) -> Judgement:
    """Return the judgement with text that can be stored."""
    return replace(
        judgement,
        query=storable(judgement.query),
        path=storable_path(judgement.path),
        record=None if judgement.record is None else storable(judgement.record),
    )


def storable_document(parsed: ParsedDocument, path: str) -> ParsedDocument:
    """Return the document with text that can be stored, as one of the file at the (storable) path."""
    old = parsed.document
    document = replace(
        old,
        path=path,
        text=storable(old.text),
        record=None if old.record is None else storable(old.record),
        title=None if old.title is None else storable(old.title),
        fields={storable(name): storable(value) for name, value in old.fields.items()},
    )
    return ParsedDocument(document, tuple(replace(p, text=storable(p.text)) for p in parsed.passages))
