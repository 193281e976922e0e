"""XLSX → text by sheet, with openpyxl: the values as last calculated, row by row."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

from indexer.corpus.blocks import Block, assemble_pages
from indexer.corpus.office.container import descendants, local
from indexer.corpus.office.ooxml import Package, drawing_text, plural
from indexer.corpus.office.sheets import MAX_CELLS, blocks_of_sheet, shown
from indexer.corpus.titles import best
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openpyxl.worksheet.worksheet import Worksheet

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_FAR_CELL = re.compile(rb"<(?:\w+:)?c\b(?=[^<>]*\br=\"([A-Z]{3})\d)[^<>]*(?<!/)>")
MAX_COLUMNS = 2_000
"""Columns of a row that are read; a stray format may reach out to column 16,384."""


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document whose pages are its sheets."""
    try:
        import openpyxl
    except ImportError as error:
        raise NothingToRead("XLSX files need openpyxl: pip install 'semsearch[office]'") from error
    data = source.data()
    package = Package(data, "XLSX")
    sheets = _Sheets(package)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl tells of styles and extensions that it does not know
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
            try:
                pages = [list(sheets.blocks(sheet)) for sheet in book.worksheets]
            finally:
                book.close()
    except ReadError:
        raise
    except Exception as error:  # openpyxl lets errors of many kinds through, even AttributeError
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReadError(f"not a readable XLSX: {message}") from error
    assembled = assemble_pages([*pages, *sheets.unplaced()])
    left_out = sheets.left_out()
    notes.problems += package.container.problems()
    if left_out:
        notes.warnings.append(f"not read: {', '.join(left_out)}")
    if not assembled.text.strip():
        raise NothingToRead(f"no text in any cell: {'only ' + ', '.join(left_out) if left_out else 'it is empty'}")
    starts = assembled.page_starts
    yield source.document(
        assembled.text, title=best((package.title(),)), headings=assembled.headings, page_starts=starts
    )


class _Sheets:
    """One workbook."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.cells = 0
        names = list(package.container.names())
        self.pictures = sum("/media/" in name for name in names)
        self._beside = [name for name in names if _holds_words(name)]

    def blocks(self, sheet: Worksheet) -> Iterator[Block]:
        """Yield one sheet's rows."""
        yield from blocks_of_sheet(sheet.title, self._rows(sheet))

    def _rows(self, sheet: Worksheet) -> Iterator[list[str]]:
        for row in sheet.iter_rows(max_col=MAX_COLUMNS):
            self.cells += len(row)
            if self.cells > MAX_CELLS:
                raise ReadError(f"more than {MAX_CELLS:,} cells: save its sheets as CSV files")
            yield [shown(cell.value, cell.number_format if cell.value is not None else "") for cell in row]

    def unplaced(self) -> Iterator[list[Block]]:
        """Yield comments, text boxes and charts, each part as a page behind the sheets."""
        for name in self._beside:
            root = self.package.container.xml(name)
            if root is None:
                continue
            if "comment" in name:
                comments = (
                    "".join(part.text or "" for part in node.iter() if local(part) in ("t", "text"))
                    for node in descendants(root, "comment", "threadedComment")
                )
                yield [Block("paragraph", f"Comment: {text}") for text in comments if _is_own(text)]
            else:
                yield [Block("paragraph", drawing_text(root))]

    def left_out(self) -> list[str]:
        """Return what was not read, counted."""
        own = [plural(self.pictures, "picture")] if self.pictures else []
        if formulas := self._uncalculated():
            own.append(f"{plural(formulas, 'formula')} without a value (open and save it in a spreadsheet program)")
        if columns := self._beyond():
            own.append(f"{plural(columns, 'cell')} beyond column {MAX_COLUMNS:,}")
        return own + self.package.left_out()

    def _beyond(self) -> int:
        """Return the number of filled cells in columns that are not read."""
        count = 0
        for name in self.package.container.names():
            if "/worksheets/" in name and name.endswith(".xml"):
                found = _FAR_CELL.findall(self.package.container.read(name) or b"")
                count += sum(_column(letters) > MAX_COLUMNS for letters in found)
        return count

    def _uncalculated(self) -> int:
        """Return the number of formulas whose value was never stored."""
        count = 0
        for name in self.package.container.names():
            if "/worksheets/" in name and name.endswith(".xml"):
                data = self.package.container.read(name) or b""
                if b"<f>" in data or b"<f " in data or b":f>" in data:
                    root = self.package.container.xml(name)
                    for cell in () if root is None else descendants(root, "c"):
                        held = {local(part) for part in cell if local(part) == "f" or len(part) or part.text}
                        count += "f" in held and not held & {"v", "is"}
        return count


def _column(letters: bytes) -> int:
    """Return the number of a column from its letters."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _holds_words(name: str) -> bool:
    """Return whether a part beside the sheets holds words."""
    if not name.startswith("xl/") or not name.endswith(".xml"):
        return False
    return (
        "comment" in name.lower() or "/drawings/drawing" in name or "/charts/chart" in name or "/diagrams/data" in name
    )


def _is_own(text: str) -> bool:
    """Return whether a comment is more than the note that Excel leaves for programs without threads."""
    return bool(text.strip()) and not text.startswith("[Threaded comment]")
