"""PDF → text by page, with pdfium: the pages' text in reading order, form values, notes, attached files."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.corpus import readers
from indexer.corpus.formats import kind_of
from indexer.corpus.office.ooxml import plural
from indexer.corpus.pdf.hyphens import mend
from indexer.corpus.pdf.pages import PageText, ranges, read_page, stamped
from indexer.corpus.titles import usable
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pypdfium2 import PdfDocument

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

MAX_DEPTH = 3
"""Files attached to attached files that are read."""
MAX_ATTACHED = 100
MAX_PROLOGUE = 1 << 20
"""Bytes before a PDF's header, such as the head of a mail or of a web server's answer."""
_PDFIUM = threading.Lock()  # pdfium must not be called by two threads at once, not even on different files
_REASONS = {
    4: "encrypted: save a copy without password",
    5: "encrypted in a way that cannot be opened: save a copy without protection",
}
"""By FPDF_GetLastError."""
_END = b"%%EOF"


@dataclass
class _Content:
    """All that is taken out of one PDF."""

    title: str = ""
    pages: list[PageText] = field(default_factory=list)
    attached: list[tuple[str, bytes]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document that knows where its pages begin, then what is attached to it."""
    content = _read(source.data())
    notes.warnings += content.left_out
    texts = mend([page.text for page in content.pages])
    if any(text.strip() for text in texts):
        _warn_of_pages(content.pages, notes)
        starts, offset = [], 0
        for text in texts:
            starts.append(offset)
            offset += len(text) + 2
        yield source.document("\n\n".join(texts), title=usable(content.title), page_starts=tuple(starts))
    elif not content.attached:
        count = len(texts)
        raise NothingToRead(f"no text on any of its pages ({count}): if it was scanned, run it through OCR first")
    else:
        _warn_of_pages(content.pages, notes)
    yield from _attachments(content.attached, source, notes)


def _warn_of_pages(pages: list[PageText], notes: Notes) -> None:
    """Say which pages hold no text though something stands on them."""
    empty = [page.number for page in pages if not page.text and page.drawn]
    scans = [page.number for page in stamped(pages)]
    advice = "run it through OCR to search them"
    if empty:
        verb = "holds" if len(empty) == 1 else "hold"
        notes.warnings.append(f"{ranges(empty)} {verb} no text: {advice}")
    if scans:
        verb = "is a picture" if len(scans) == 1 else "are pictures"
        notes.warnings.append(f"{ranges(scans)} {verb} with no text but a header or stamp: {advice}")


def _attachments(attached: list[tuple[str, bytes]], source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the documents of attached files that can be read, and say which cannot."""
    unread = []
    for name, data in attached:
        if kind_of(name) is None or source.depth >= MAX_DEPTH or not data:
            unread.append(name)
            continue
        record = f"{source.record}/{name}" if source.record else name
        try:
            yield from readers.read_source(source.part(data, name, record), notes)
        except NothingToRead:
            unread.append(name)
        except ReadError as error:
            notes.problems.append(f"attached {name}: {error}")
    if unread:
        notes.warnings.append(f"not read: {plural(len(unread), 'attached file')} ({', '.join(unread[:3])})")


def _read(data: bytes) -> _Content:
    """Return what is in a PDF.

    Raises:
        ReadError: It is none, or damaged, encrypted or cut off.
    """
    import pypdfium2

    start = data.find(b"%PDF-", 0, MAX_PROLOGUE)
    if start < 0 and b"%PDF" not in data[:1024]:
        raise ReadError("not a PDF: it does not begin with %PDF")
    whole = _complete(data)
    if whole:  # what other programs wrote behind the end would hide the table of its parts
        data = data[: data.rfind(_END) + len(_END)] + b"\n"
    if start > 0:
        data = data[start:]
    content = _Content()
    with _PDFIUM:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if reason := _REASONS.get(error.err_code or 0):
                raise ReadError(reason) from error
            damage = "it is damaged" if whole else "it is cut off: its end is missing"
            raise ReadError(f"not a readable PDF: {damage}") from error
        try:
            _take(document, content)
        finally:
            document.close()
    if not whole:  # pdfium mends what it can and would silently leave out the lost pages
        raise ReadError("the PDF is cut off: its end is missing")
    return content


def _take(document: PdfDocument, content: _Content) -> None:
    """Take everything out of an open document."""
    import pypdfium2

    try:
        document.init_forms()
        form_kind = document.get_formtype()
    except pypdfium2.PdfiumError:
        form_kind = 0
    if form_kind in (2, 3):  # FORMTYPE_XFA_FULL, FORMTYPE_XFA_FOREGROUND
        content.left_out.append("not read: parts of its form (XFA): print it to a PDF to search them")
    content.title = document.get_metadata_value("Title")
    for number in range(len(document)):
        try:
            content.pages.append(read_page(document, number))
        except pypdfium2.PdfiumError as error:
            raise ReadError(f"page {number + 1} of {len(document)} cannot be read: {error}") from error
    count = document.count_attachments()
    if count > MAX_ATTACHED:
        content.left_out.append(
            f"not read: {plural(count - MAX_ATTACHED, 'attached file')} after the first {MAX_ATTACHED}"
        )
    for number in range(min(count, MAX_ATTACHED)):
        attachment = document.get_attachment(number)
        try:
            content.attached.append((attachment.get_name(), bytes(attachment.get_data())))
        except pypdfium2.PdfiumError:
            content.attached.append((attachment.get_name(), b""))


def _complete(data: bytes) -> bool:
    """Return whether the end mark is there, with nothing of the PDF's own behind it."""
    end = data.rfind(_END)
    if end < 0 or end < data.rfind(b"startxref"):
        return False
    rest = data[end + len(_END) :]
    return not (b" obj" in rest and b"endobj" in rest)  # a later version of the file that was cut off
