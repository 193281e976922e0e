"""One page of a PDF → its text, with form values and notes, and whether it is a scan."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from indexer.corpus.decoding.text import clean
from indexer.corpus.pdf.annotations import read_annotations
from indexer.corpus.pdf.columns import reading_order

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage, PdfTextPage

_LINE_END = re.compile(r"[ \t]+$", re.MULTILINE)

MAX_STAMP = 300
"""Characters of a page that may be no more than a header or stamp upon a scan."""
MIN_SCAN = 0.5
"""Share of the page that a picture covers which is the page itself."""
MARGIN = 0.12
"""Share of the page's height and width in which headers, footers and stamps stand."""


@dataclass(frozen=True)
class PageText:
    """What was read of one page."""

    number: int
    """From 1."""
    text: str
    drawn: bool
    """Something stands on the page: pictures, lines, text."""
    scan: bool = False
    """A picture covers it and there is little text."""
    inner: str = ""
    """Text of a scan that stands away from its margins."""


def read_page(document: PdfDocument, number: int) -> PageText:
    """Return the text of one page, counted from 0."""
    page = document[number]
    try:
        textpage = page.get_textpage()
        try:
            text = _LINE_END.sub("", clean(reading_order(textpage, page.get_size()))).strip()
            notes = "\n".join(read_annotations(document, number, page, textpage))
            scan, inner = False, ""
            if len(text) <= MAX_STAMP and _covered(page):
                scan, inner = True, _inner(textpage, page)
        finally:
            textpage.close()
        drawn = bool(text) or scan or next(iter(page.get_objects(max_depth=2)), None) is not None
    finally:
        page.close()
    return PageText(number + 1, "\n\n".join(filter(None, (text, clean(notes).strip()))), drawn, scan, inner)


def stamped(pages: list[PageText]) -> list[PageText]:
    """Return the scans whose text stands in the margins, or is the same on several of them."""
    scans = [page for page in pages if page.scan and page.text]
    alike = Counter(_wording(page.text) for page in scans)
    return [page for page in scans if not page.inner or alike[_wording(page.text)] > 1]


def ranges(numbers: list[int]) -> str:
    """Return "page 3" or "pages 2-10, 14"."""
    parts = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return f"page{'' if len(numbers) == 1 else 's'} {', '.join(parts)}"


def _wording(text: str) -> str:
    """Return a text without its numbers, which count pages."""
    return " ".join(re.sub(r"\d+|\b[ivxlc]+\b", "", text).split())


def _covered(page: PdfPage) -> bool:
    """Return whether pictures cover the page."""
    import pypdfium2.raw as pdfium

    width, height = page.get_size()
    area = 0.0
    for image in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=4):
        left, bottom, right, top = image.get_bounds()
        area += max(min(right, width) - max(left, 0), 0) * max(min(top, height) - max(bottom, 0), 0)
    return bool(area >= MIN_SCAN * width * height)


def _inner(textpage: PdfTextPage, page: PdfPage) -> str:
    """Return the text that stands away from the page's margins."""
    left, bottom, right, top = page.get_bbox()
    x, y = MARGIN * (right - left), MARGIN * (top - bottom)
    text: str = textpage.get_text_bounded(left + x, bottom + y, right - x, top - y)
    return text.strip()
