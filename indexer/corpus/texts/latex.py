"""LaTeX → text: commands out of the way, accents and symbols as letters, every line where it was."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from indexer.corpus.texts import plain_text
from indexer.errors import NothingToRead
from indexer.types import Heading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307",
    "u": "\u0306",
    "v": "\u030c", "H": "\u030b", "c": "\u0327", "d": "\u0323", "b": "\u0331", "k": "\u0328", "r": "\u030a",
    "t": "\u0361",
}  # fmt: skip
"""Accent command → combining character."""
_LETTERS = {
    "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "o": "ø", "O": "Ø", "aa": "å", "AA": "Å", "l": "ł", "L": "Ł",
    "i": "ı", "j": "ȷ", "dh": "ð", "th": "þ", "ng": "ŋ", "dj": "đ", "S": "§", "P": "¶", "dag": "†", "ddag": "‡",
    "copyright": "©", "pounds": "£", "euro": "€", "ldots": "…", "dots": "…", "cdots": "⋯", "textendash": "–",
    "textemdash": "—", "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "LaTeX": "LaTeX",
    "TeX": "TeX", "times": "×", "cdot": "·", "pm": "±", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠",
    "ne": "≠",
    "approx": "≈", "infty": "∞", "sum": "∑", "prod": "∏", "int": "∫", "partial": "∂", "nabla": "∇", "in": "∈",
    "subset": "⊂", "cup": "∪", "cap": "∩", "to": "→", "rightarrow": "→", "leftarrow": "←", "Rightarrow": "⇒",
    "degree": "°",
    "sqrt": "√", "forall": "∀", "exists": "∃", "quad": " ", "qquad": " ", "newline": " ", "par": " ",
    "guillemotleft": "«", "guillemotright": "»", "glqq": "„", "grqq": "“",
}  # fmt: skip
_WITHIN_WORDS = frozenset("ss ae AE oe OE o O aa AA l L i j dh th ng dj".split())
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lamda mu nu xi pi rho sigma tau upsilon phi chi psi omega"
)
_LETTERS |= {name: unicodedata.lookup(f"GREEK SMALL LETTER {name.upper()}") for name in _GREEK.split()}
_LETTERS |= {name.title(): unicodedata.lookup(f"GREEK CAPITAL LETTER {name.upper()}") for name in _GREEK.split()}
_LETTERS |= {"lambda": "λ", "Lambda": "Λ", "varepsilon": "ε", "varphi": "φ"}

_ARGUMENT = r"\s*\{[^{}\n]*\}"
_SETTINGS = re.compile(
    r"\\(?:(?:label|ref|eqref|pageref|autoref|[cC]ref|vspace|hspace|pagestyle|thispagestyle|bibliographystyle|"
    r"documentclass|usepackage|RequirePackage|PassOptionsToPackage|setcounter|addtocounter|newcounter|setlength|"
    r"addtolength|newlength|pagenumbering|fontsize|selectlanguage|color|inputencoding|graphicspath|hypersetup|geometry|"
    r"usetikzlibrary|theoremstyle|phantomsection|allowdisplaybreaks|rule|cmidrule|cline)\*?"
    rf"(?:\[[^\]\n]*\])?(?:\([^)\n]*\))?(?:{_ARGUMENT}){{0,2}}|"
    rf"textcolor{_ARGUMENT}|(?:begin|end)\s*\{{(?:tabular[xy]?|array|longtable|minipage|multicols|thebibliography|"
    rf"wrapfigure|adjustbox)\*?\}}(?:\[[^\]\n]*\])?(?:{_ARGUMENT}){{0,2}}|"
    rf"(?:begin|end){_ARGUMENT}(?:\[[^\]\n]*\])?|"
    r"(?:multicolumn|multirow)\s*\{[^{}\n]*\}\s*\{[^{}\n]*\}|item(?![a-zA-Z]))"
)
_VERBATIM = re.compile(
    r"\\begin\{(verbatim\*?|lstlisting|minted|Verbatim|alltt)\}(?:\[[^\]\n]*\])?(?:\{\w*\})?(.*?)(?:\\end\{\1\}|\Z)"
    r"|\\(?:verb|lstinline)\*?([^\sa-zA-Z{*])([^\n]*?)\3",
    re.DOTALL,
)
_ACCENT = re.compile(
    r"\\(?:([`'^\"~=.])\s*|([uvHcdbkrt])(?:\s+|(?=\{)))(?:\{\s*(\\[ij]|[^\W\d_])?\s*\}|(\\[ij](?![a-zA-Z])|[^\W\d_]))"
)
_COMMAND = re.compile(r"\\([a-zA-Z@]+)\*?[ \t]*((?:\[[^\]\n]{0,200}\])?)")
_OPEN, _CLOSE = "\ue100", "\ue101"
"""Marks around a heading while commands are taken out."""
_TITLE = re.compile(r"\\title\s*(?:\[[^\]]*\])?\{((?:[^{}]|\{[^{}]*\})*)\}")
_LEVELS = ("part", "chapter", "section", "subsection", "subsubsection", "paragraph", "subparagraph")
_SECTION = re.compile(
    r"\\(part|chapter|(?:sub){0,2}section|(?:sub)?paragraph)\*?\s*(?:\[[^\]]*\])?"
    r"\{((?:[^{}]|\{[^{}]*\})*)\}"
)


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the text of the source as one document."""
    text = plain_text.text_of(source, notes)
    marked = _SECTION.sub(lambda match: f"{_OPEN}{_LEVELS.index(match[1])}{match[2]}{_CLOSE}", text)
    words, headings = _without_marks(to_text(marked))
    if not words.strip():
        raise NothingToRead("it holds only commands")
    named = _TITLE.search(text)
    title = to_text(re.sub(r"\\thanks\s*\{[^{}]*\}", "", named[1])) if named else ""
    yield source.document(words, title=title or next((head.text for head in headings), ""), headings=headings)


def _without_marks(text: str) -> tuple[str, tuple[Heading, ...]]:
    """Return text without the marks around its headings, and where these stand."""
    parts: list[str] = []
    headings: list[Heading] = []
    at = size = 0
    for match in re.finditer(f"{_OPEN}(\\d)([^{_OPEN}{_CLOSE}]*){_CLOSE}", text):
        heading = match[2].strip()
        parts += [text[at : match.start()], heading]
        start = size + match.start() - at
        size, at = start + len(heading), match.end()
        if heading:
            lines = "\n" * (match[2].count("\n") - heading.count("\n"))
            parts.append(lines)
            headings.append(Heading(start, size, int(match[1]) + 1, " ".join(heading.split())))
            size += len(lines)
    text = "".join([*parts, text[at:]])
    return re.sub(f"[{_OPEN}{_CLOSE}]", " ", text), tuple(headings)


def to_text(text: str) -> str:
    """Return LaTeX without its commands; what their braces hold stays, and so does every comment and every line."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[2] if match[1] else match[4])
        return f"\x00{len(kept) - 1}\x00"

    text = _VERBATIM.sub(keep, text.replace("\x00", ""))
    text = re.sub(r"(\\\\)(?:\*?\[[^\]\n]*\])?", " ", text)  # a line break
    text = _ACCENT.sub(_accented, text)
    text = _SETTINGS.sub(" ", text)
    text = _COMMAND.sub(_command, text)
    text = re.sub(r"\\([%&#_$])", lambda match: chr(0xE000 + ord(match[1])), text)  # what is meant as it stands
    text = re.sub(r"\\[{}]|\\[,;:!>/ ()\[\]-]?", " ", text)
    text = re.sub(r"(?m)^([ \t]*)%+[ \t]?|%+", r"\1", text)
    text = re.sub(r"[ \t]*&[ \t]*", " | ", text)
    text = re.sub(r"[{}$]", "", text.replace("}{", " "))
    text = text.replace("~", " ").replace("---", "—").replace("--", "–").replace("``", "“").replace("''", "”")
    text = re.sub("[\ue023-\ue05f]", lambda match: chr(ord(match[0]) - 0xE000), text)
    text = re.sub(r"[ \t]{2,}", " ", re.sub(r"(?m)[ \t]+$", "", text))
    return re.sub(r"\x00(\d+)\x00", lambda match: kept[int(match[1])], text)


def _accented(match: re.Match[str]) -> str:
    letter = (match[3] or match[4] or "").lstrip("\\")
    return unicodedata.normalize("NFC", letter + _ACCENTS[match[1] or match[2]]) if letter else ""


def _command(match: re.Match[str]) -> str:
    name = match[1]
    if name in _LETTERS:
        # after a letter, TeX takes the space for the command's end
        joined = name in _WITHIN_WORDS or not match[0].endswith((" ", "\t"))
        return _LETTERS[name] + ("" if joined else " ") + match[2]
    if name == "item" or name.startswith(("cite", "Cite", "parencite", "textcite")):
        return " " + match[2].strip("[]") + " "
    return " " if match[0].endswith((" ", "\t")) else ""
