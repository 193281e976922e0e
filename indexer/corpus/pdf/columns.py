"""The reading order of a page: two or more columns of prose that its program wrote line by line across them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pypdfium2 import PdfTextPage

MIN_LINES = 4
"""Lines that a column has."""
MIN_FILL = 0.6
"""Share of a column's width that its lines fill in the middle: less is a table's."""
MIN_GUTTER = 6.0
"""Points between two columns."""
MAX_CROSSING = 0.4
"""Share of the lines that may reach over the gutter, as titles and captions do."""
MIN_RUNNING = 0.25
"""Share of a column's lines that begin in lower case, as running text does and a table's cells do not."""
MAX_COLUMNS = 4

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff]")


class Box(NamedTuple):
    """A rectangle of text or of the page, in points from the lower left corner."""

    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True)
class _Gutter:
    left: float
    right: float

    def side(self, box: Box) -> int:
        """Return -1 for a box left of it, 1 for one right of it, 0 for one that reaches over."""
        if box.right <= self.right and box.left < self.left:
            return -1
        return 1 if box.left >= self.left and box.right > self.right else 0


def reading_order(textpage: PdfTextPage, size: tuple[float, float]) -> str:
    """Return the page's text as a person reads it.

    The order in the file is kept where it follows the columns, or where nothing tells columns from a table.
    """
    text: str = textpage.get_text_bounded()
    count = textpage.count_rects()
    if count < 2 * MIN_LINES:
        return text
    boxes = [Box(*textpage.get_rect(number)) for number in range(count)]
    boxes = [box for box in boxes if box.right > box.left and box.top > box.bottom]
    regions = _regions(textpage, boxes, Box(0, 0, *size), MAX_COLUMNS)
    if len(regions) < 2:
        return text
    parts = [textpage.get_text_bounded(*region).strip() for region in regions]
    ordered = "\n".join(part for part in parts if part)
    # characters on a border could be lost or read twice: then the file's order is the safer one
    return ordered if sorted("".join(ordered.split())) == sorted("".join(text.split())) else text


def _regions(textpage: PdfTextPage, boxes: list[Box], region: Box, columns: int) -> list[Box]:
    """Return the parts of a region in reading order; itself where there are no columns out of order."""
    gutter = _gutter(boxes) if columns > 1 and len(boxes) >= 2 * MIN_LINES else None
    if gutter is None:
        return [region]
    sides = [gutter.side(box) for box in boxes]
    middle = (gutter.left + gutter.right) / 2
    bands = _bands(boxes, sides, region)
    left_text = textpage.get_text_bounded(region.left, region.bottom, middle, region.top)
    right_text = textpage.get_text_bounded(middle, region.bottom, region.right, region.top)
    backwards = bool(_RIGHT_TO_LEFT.search(left_text + right_text))
    if not _out_of_order(sides, len(bands), backwards) or not (_is_running(left_text) and _is_running(right_text)):
        return [region]
    found: list[Box] = []
    for crossing, top, bottom in bands:
        if crossing:
            found.append(Box(region.left, bottom, region.right, top))
            continue
        halves = [Box(region.left, bottom, middle, top), Box(middle, bottom, region.right, top)]
        for half in reversed(halves) if backwards else halves:
            inside = [box for box in boxes if _within(box, half)]
            found += _regions(textpage, inside, half, columns - 1)
    return found


def _gutter(boxes: list[Box]) -> _Gutter | None:
    """Return the widest upright gap near the middle that few boxes reach over, with filled columns on both sides."""
    left, right = min(box.left for box in boxes), max(box.right for box in boxes)
    width = right - left
    bins = 240
    step = width / bins or 1.0
    crossing = [0] * (bins + 1)
    for box in boxes:
        for at in range(int((box.left - left) / step), min(int((box.right - left) / step), bins) + 1):
            crossing[at] += 1
    inner = range(bins // 5, bins - bins // 5)
    fewest = min(crossing[at] for at in inner)
    if fewest > MAX_CROSSING * len(boxes):
        return None
    best = run = 0
    best_end = 0
    for at in inner:
        run = run + 1 if crossing[at] <= fewest else 0
        if run > best:
            best, best_end = run, at
    gutter = _Gutter(left + (best_end - best + 1) * step, left + (best_end + 1) * step)
    if gutter.right - gutter.left < MIN_GUTTER - step:
        return None
    for side, edge in ((-1, gutter.left - left), (1, right - gutter.right)):
        lines = _line_widths([box for box in boxes if gutter.side(box) == side])
        if len(lines) < MIN_LINES or edge <= 0 or median(lines) < MIN_FILL * edge:
            return None
    return gutter


def _line_widths(boxes: list[Box]) -> list[float]:
    """Return the width of each line of a column."""
    lines: dict[int, tuple[float, float]] = {}
    for box in boxes:
        key = round((box.bottom + box.top) / 2 / 4)
        left, right = lines.get(key, (box.left, box.right))
        lines[key] = min(left, box.left), max(right, box.right)
    return [right - left for left, right in lines.values()]


def _bands(boxes: list[Box], sides: list[int], region: Box) -> list[tuple[bool, float, float]]:
    """Return (reaches over the gutter, top, bottom) of each band, from the top down."""
    marks = sorted(((box.top + box.bottom) / 2, side == 0) for box, side in zip(boxes, sides, strict=True))[::-1]
    bands: list[tuple[bool, float, float]] = []
    top = region.top
    ends: list[tuple[float, bool | None]] = [*marks, (region.bottom, None)]
    for (height, crossing), (below, crosses_below) in pairwise(ends):
        if crosses_below != crossing:
            bottom = region.bottom if crosses_below is None else (height + below) / 2
            bands.append((bool(crossing), top, bottom))
            top = bottom
    return bands


def _out_of_order(sides: list[int], bands: int, backwards: bool) -> bool:
    """Return whether the file jumps between the columns, or has the later column first."""
    order = [side for side in sides if side]
    jumps = sum(a != b for a, b in pairwise(order))
    return jumps > 2 * bands + 1 or (bool(order) and order[0] == (-1 if backwards else 1) and jumps <= 2 * bands)


def _is_running(text: str) -> bool:
    """Return whether a column's lines run on as prose does, or say nothing because their script has no case."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    cased = [line for line in lines if line[0].lower() != line[0].upper()]
    if len(cased) < len(lines) / 4:
        return all(not char.isdigit() for line in lines for char in line[:1])
    return sum(line[0].islower() for line in cased) >= MIN_RUNNING * len(cased)


def _within(box: Box, region: Box) -> bool:
    x, y = (box.left + box.right) / 2, (box.bottom + box.top) / 2
    return region.left <= x <= region.right and region.bottom <= y <= region.top
