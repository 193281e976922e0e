"""What is written upon a page of a PDF: values of form fields, notes, comments, text of stamps."""

from __future__ import annotations

import ctypes
import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pypdfium2 import PdfDocument, PdfPage, PdfTextPage

MAX_LABEL = 80
"""Characters of the words beside a field that name it."""
LABEL_WIDTH = 220.0
"""Points to the left of a field in which its name may stand."""
LABEL_HEIGHT = 14.0
"""Points above a field in which its name may stand."""
MAX_RECTS = 5_000
"""Pieces of text among which a field's name is looked for."""

_HIDDEN_FLAGS = 2 | 32  # FPDF_ANNOT_FLAG_HIDDEN, FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD_FLAG = 1 << 13
_TAG = re.compile(r"<[^>]*>")
_OFF = frozenset(("", "Off"))


def read_annotations(document: PdfDocument, number: int, page: PdfPage, textpage: PdfTextPage) -> Iterator[str]:
    """Yield what each annotation says that a viewer shows, in the order in which they stand in the file.

    A field's value follows its label: "Name of vessel: Petrel". Passwords, hidden annotations and buttons are left
    out.
    """
    import pypdfium2.raw as pdfium

    seen: set[tuple[str, ...]] = set()
    drawn = False
    for at in range(pdfium.FPDFPage_GetAnnotCount(page)):
        with _annotation(page, at) as annotation:
            if annotation is None or pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN_FLAGS:
                continue
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            if kind in (pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_LINK):
                continue
            if kind == pdfium.FPDF_ANNOT_WIDGET:
                label, value = _field(document, annotation, textpage)
                key: tuple[str, ...] = (label, value)
                line = f"{label.rstrip(' :')}: {value}" if label and value else value
            else:
                line = _string(annotation, "Contents") or _TAG.sub(" ", _string(annotation, "RC")).strip()
                key = (str(at), line)
                drawn |= not line and bool(pdfium.FPDFAnnot_HasKey(annotation, b"AP"))
            if line.strip() and key not in seen:  # buttons of one group share their value
                seen.add(key)
                yield line.strip()
    if drawn:  # a stamp or a note without contents, but with an appearance
        yield from _drawn_words(document, number, page, seen)


@contextmanager
def _annotation(page: PdfPage, number: int) -> Iterator[Any]:
    import pypdfium2.raw as pdfium

    annotation = pdfium.FPDFPage_GetAnnot(page, number)
    try:
        yield annotation or None
    finally:
        if annotation:
            pdfium.FPDFPage_CloseAnnot(annotation)


def _field(document: PdfDocument, annotation: Any, textpage: PdfTextPage) -> tuple[str, str]:
    """Return the label and the value of a form field."""
    import pypdfium2.raw as pdfium

    form = document.formenv
    if form is None:
        return "", _string(annotation, "V")
    kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
    flags = pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation)
    if kind in (pdfium.FPDF_FORMFIELD_PUSHBUTTON, pdfium.FPDF_FORMFIELD_SIGNATURE):
        return "", ""
    if kind == pdfium.FPDF_FORMFIELD_TEXTFIELD and flags & _PASSWORD_FLAG:
        return "", ""
    label = _wide(partial(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, annotation))
    label = label or _beside(annotation, textpage)
    if kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
        if not pdfium.FPDFAnnot_IsChecked(form, annotation) or not label:
            return "", ""
        export = _wide(partial(pdfium.FPDFAnnot_GetFormFieldExportValue, form, annotation))
        return label, "" if export in _OFF else export
    chosen = [
        _wide(partial(pdfium.FPDFAnnot_GetOptionLabel, form, annotation, at))
        for at in range(max(pdfium.FPDFAnnot_GetOptionCount(form, annotation), 0))
        if pdfium.FPDFAnnot_IsOptionSelected(form, annotation, at)
    ]
    value = _wide(partial(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation))
    return label, ", ".join(filter(None, chosen)) or value or _string(annotation, "V")


def _beside(annotation: Any, textpage: PdfTextPage) -> str:
    """Return the words to the left of a field, or else those above it, which name it."""
    import pypdfium2.raw as pdfium

    place = pdfium.FS_RECTF()
    if not pdfium.FPDFAnnot_GetRect(annotation, place):
        return ""
    best: tuple[float, tuple[float, float, float, float]] | None = None
    for number in range(min(textpage.count_rects(), MAX_RECTS)):
        left, bottom, right, top = box = textpage.get_rect(number)
        beside = place.left - right
        above = bottom - place.top
        if -2 <= beside <= LABEL_WIDTH and bottom < place.top and top > place.bottom:
            distance = max(beside, 0.0)
        elif -4 <= above <= LABEL_HEIGHT and left < place.right and right > place.left:
            distance = LABEL_WIDTH + above
        else:
            continue
        if best is None or distance < best[0]:
            best = distance, box
    if best is None:
        return ""
    left, bottom, right, top = best[1]
    label = " ".join(textpage.get_text_bounded(left - 1, bottom - 1, right + 1, top + 1).split())
    return label if len(label) <= MAX_LABEL else ""


def _drawn_words(document: PdfDocument, number: int, page: PdfPage, seen: set[tuple[str, ...]]) -> Iterator[str]:
    """Yield lines that only appear once the annotations are drawn into the page."""
    import pypdfium2.raw as pdfium

    known = {*_lines(page), *(" ".join(key[-1].split()) for key in seen)}
    if pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) != pdfium.FLATTEN_SUCCESS:
        return
    flat = document[number]  # only a page that is loaded anew shows the change
    try:
        for line in _lines(flat):
            if not any(line in text for text in known):
                yield line
    finally:
        flat.close()


def _lines(page: PdfPage) -> list[str]:
    textpage = page.get_textpage()
    try:
        return [line for line in (" ".join(part.split()) for part in textpage.get_text_bounded().splitlines()) if line]
    finally:
        textpage.close()


def _string(annotation: Any, key: str) -> str:
    """Return a text entry of an annotation."""
    import pypdfium2.raw as pdfium

    return _wide(partial(pdfium.FPDFAnnot_GetStringValue, annotation, key.encode()))


def _wide(call: Callable[[Any, int], int]) -> str:
    """Return the text that a function of pdfium writes as UTF-16, once its size is known."""
    size = call(None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    call(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return buffer.raw[:size].decode("utf-16-le", "replace").rstrip("\0")
