"""Titles that are none: a program's name, the name of a scratch file, a template's default."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PROGRAM = re.compile(
    r"^(?:microsoft (?:office )?(?:word|excel|powerpoint|publisher|visio|outlook|onenote)|wordperfect|wordpro|"
    r"adobe (?:photoshop|illustrator|indesign|pagemaker|framemaker)|quarkxpress|corel\w*|openoffice(?:\.org)?|"
    r"libreoffice|quicken|print(?:ing)? preview)\s*(?:\([^)]*\))?\s*[-–—:]\s+",
    re.IGNORECASE,
)
_FILE = re.compile(
    r"^\S(?:.*\S)?\.(?:docx?|do[ct]m?|dot[xm]?|wp[ds]|rtf|od[tsp]|pages|key|pptx?|pp[st]x?|xls[xmb]?|pdf|dvi|e?ps|tex|"
    r"ind[dtb]|qx[dpbt]|pm[d6]|p65|fm|book|mif|pub|cdr|ai|psd|xcf|svg|vsdx?|tiff?|jpe?g|png|gif|bmp|heic|webp|"
    r"te?mp|bak|prn|sdw|s[tx]w|txt|md|csv|html?|xhtml|mht(?:ml)?|aspx?|php|jsp|eml|msg|epub|lwp|hwp|wri|dwg)$",
    re.IGNORECASE,
)
_LOCATION = re.compile(r"^(?:file:|https?://\S+$|about:|[a-z]:[\\/]|\\\\|/(?:home|users|tmp|var)/)", re.IGNORECASE)
_NUMBER = r"[\s_(#-]*(?:\d[\d\s_.:-]*)?\)?"
_SCRATCH = re.compile(
    r"^(?:untitled|unnamed|no[ _]?name|no[ -]title|new|neu|nouveau|nuevo|"
    r"(?:sans|ohne) (?:titre|nom|titel)|sin (?:título|titulo|nombre)|senza (?:titolo|nome)|sem (?:título|titulo|nome)|"
    r"unbenannt|namnlös|uden titel|naamloos|bez nazwy|без имени|без названия|"
    r"無題(?:の?ドキュメント)?|无标题|未命名|제목 없음)?"
    r"[\s_-]*"
    r"(?:document|dokument|documento|documenti|doc|worddoc|word document|microsoft word document|"
    r"microsoft word(?: document)?|microsoft excel|microsoft powerpoint|microsoft office \w+|"
    r"presentation|präsentation|présentation|presentación|presentazione|powerpoint presentation|"
    r"powerpoint-präsentation|présentation powerpoint|slide|folie|book|workbook|mappe|classeur|libro|"
    r"sheet|spreadsheet|microsoft excel worksheet|"
    r"page|webpage|web page|seite|home ?page|site|file|datei|fichier|title|titel|titre|title goes here|"
    r"insert title here|your title here|title here|"
    r"scan|scanned? (?:document|image|page|from .*)|scanned|img|image|dsc[nf]?|pict?|foto|photo|fax|"
    r"full page fax print|"
    r"copy|kopie|temp|tmp|test|draft|output|print|printed|printout|job|layout|template|blank|default|index|"
    r"react app|vite app|vite \+ \w+|create next app|null|none|nil|undefined|unknown|anonymous|n/?a|"
    r"todo|lorem ipsum|pdf|word|acrobat|latex document|powerpoint|html|epub)?"
    + _NUMBER
    + r"(?:\.(?:pdf|docx?|pptx?|xlsx?))?$",
    re.IGNORECASE,
)
_HEX = re.compile(r"^[{(]?[0-9a-f]{8}[0-9a-f-]{8,}[)}]?$|^[0-9a-f]{16,}$", re.IGNORECASE)
_WRAPPED = re.compile(r"^[\[({<\"'](.*)[\])}>\"']$")
_YEAR = re.compile(r"^\d{1,4}$")


def usable(title: str | None) -> str | None:
    """Return a title as it can be shown and searched; None where it says nothing of the content."""
    name = " ".join((title or "").split())
    if program := _PROGRAM.match(name):  # the rest is what the person called the file
        name = name[program.end() :]
    bare = name
    while wrapped := _WRAPPED.match(bare):
        bare = wrapped[1].strip()
    if not any(char.isalnum() for char in bare):
        return None
    if _FILE.match(bare) or _LOCATION.match(bare) or _HEX.match(bare):
        return None
    if _SCRATCH.match(bare) and not _YEAR.match(bare):
        return None
    return name


def best(candidates: Iterable[str | None]) -> str | None:
    """Return the first candidate that is a title."""
    return next((title for candidate in candidates if (title := usable(candidate))), None)
