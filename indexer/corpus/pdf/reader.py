"""PDF → text by page, with pdfium."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from indexer.corpus.text import clean
from indexer.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_PDFIUM = threading.Lock()  # pdfium must not be called by two threads at once, not even on different files
_HYPHEN = re.compile("[\x02\ufffe\u00ad]\n?")  # how pdfium marks a word parted at the line's end
_REASONS = {
    4: "encrypted: save a copy without password",
    5: "encrypted in a way that cannot be opened: save a copy without protection",
}
"""By FPDF_GetLastError."""


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document that knows where its pages begin."""
    text, title, pages = read_pdf(source.data())
    yield source.document(text, title=title, page_starts=pages)


def read_pdf(data: bytes) -> tuple[str, str, tuple[int, ...]]:
    """(text, title, offset of each page). Raises ReadError for a damaged, encrypted or scanned one."""
    import pypdfium2

    pages: list[str] = []
    with _PDFIUM:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if b"%PDF" not in data[:1024]:
                raise ReadError("not a PDF: it does not begin with %PDF") from error
            if reason := _REASONS.get(error.err_code or 0):
                raise ReadError(reason) from error
            damage = "it is damaged" if _complete(data) else "it is cut off: its end is missing"
            raise ReadError(f"not a readable PDF: {damage}") from error
        try:
            title = document.get_metadata_value("Title")
            for number in range(len(document)):
                try:
                    pages.append(_page(document, number))
                except pypdfium2.PdfiumError as error:
                    raise ReadError(f"page {number + 1} of {len(document)} cannot be read: {error}") from error
        finally:
            document.close()
    if not _complete(data):  # pdfium mends what it can and would silently leave out the lost pages
        raise ReadError("the PDF is cut off: its end is missing")
    if not any(page.strip() for page in pages):
        raise ReadError(f"no text on any of its pages ({len(pages)}): if it was scanned, run it through OCR first")
    starts, offset = [], 0
    for page in pages:
        starts.append(offset)
        offset += len(page) + 2
    return "\n\n".join(pages), title, tuple(starts)


def _page(document: object, number: int) -> str:
    page = document[number]  # type: ignore[index]
    try:
        text = page.get_textpage()
        try:
            return _HYPHEN.sub("", clean(text.get_text_bounded())).strip()
        finally:
            text.close()
    finally:
        page.close()


def _complete(data: bytes) -> bool:
    """Whether the end mark is there; some programs leave other bytes behind it."""
    return b"%%EOF" in data[-65536:] and data.rfind(b"%%EOF") > data.rfind(b"startxref")
