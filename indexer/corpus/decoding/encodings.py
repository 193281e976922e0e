"""Bytes → text: by the encoding that a person names, a byte order mark, a declaration, UTF-8, or a detector."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from indexer.corpus.decoding import terminal
from indexer.corpus.decoding.text import newlines
from indexer.errors import ReadError

if TYPE_CHECKING:
    from indexer.types import Notes

SAMPLE_BYTES = 1 << 16
"""Bytes that the detector is shown."""
MIN_CONFIDENCE = 0.1
"""Confidence of chardet from which its answer is taken without a warning; it gives 0.1 to 0.6 to a few sentences."""
SURE = 0.4
"""Confidence from which charset-normalizer need not agree."""
MAX_DAMAGE = 0.1
"""Share of bytes that are in no encoding up to which the rest is read."""
MIN_LETTERS = 6
"""Bytes beyond ASCII from which chardet can tell languages."""
MAX_ACCENTS = 0.25
"""Share of letters beyond ASCII up to which a text may be in a western language."""
MAX_STRAY = 0.02
"""Share of bytes beyond ASCII that may be damaged in text that is otherwise UTF-8."""
TIE = 0.02
"""Difference in charset-normalizer's chaos that says nothing."""

_HIGH = bytes(range(128, 256))
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the mark of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
"""Encoding → the larger one that files which declare it often use."""
_ALIASES = {
    "ansinew": "cp1252",
    "ansi": "cp1252",
    "applemac": "mac_roman",
    "macce": "mac_latin2",
    "latin9": "iso8859-15",
    "latin10": "iso8859-16",
    "utf8x": "utf-8",
    "utf8mb4": "utf-8",
    "mule-utf-8": "utf-8",
    "utf-8-emacs": "utf-8",
    "prefer-utf-8": "utf-8",
    "iso-latin-1": "iso8859-1",
    "iso-latin-2": "iso8859-2",
    "iso-latin-9": "iso8859-15",
    "euc-japan": "euc_jp",
    "japanese-shift-jis": "shift_jis",
    "chinese-gbk": "gbk",
    "euc-cn": "gb2312",
    "euc-china": "gb2312",
    "x-sjis": "cp932",
    "x-euc-jp": "euc_jp",
    "x-gbk": "gbk",
    "windows-31j": "cp932",
    "windows-874": "cp874",
    "ks_c_5601-1987": "cp949",
    "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "unicode-1-1-utf-8": "utf-8",
    "iso-8859-8-i": "iso8859-8",
}
"""Names of encodings that Python does not know: of LaTeX, Emacs, vim and mail."""
_NOT_FOR_FILES = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"))

_LABEL = r"[\"']?([A-Za-z][\w.:-]*)"
_COMMENT = re.compile(
    r"^[ \t\f]*(?:#|%|;|//|/\*|\*|--|<!--|\"|'|\.\\\"|\.\.|rem\b|dnl\b).*?coding[:=][ \t]*" + _LABEL, re.I
)
_EMACS = re.compile(r"-\*-.*?coding:[ \t]*" + _LABEL)
_VIM = re.compile(r"(?:^|\s)(?:vi|vim|ex):.*?\b(?:fileencoding|fenc|encoding|enc)=" + _LABEL)
_LOCAL_VARIABLES = re.compile(r"Local Variables:.*?\bcoding:[ \t]*" + _LABEL, re.S)
_XML = re.compile(r"<\?xml[^>]*?\bencoding\s*=\s*" + _LABEL)
_CSS = re.compile(r'@charset "([^"]+)";')
_PO = re.compile(r'^"Content-Type:[^"]*charset=' + _LABEL, re.M | re.I)
_BY_ENDING: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = (
    (
        frozenset(("tex", "ltx", "sty", "cls", "dtx", "bib", "def", "ins")),
        re.compile(
            r"^[^%\n]*?\\(?:usepackage|RequirePackage)\s*\[(?:[^\]\n]*,)?\s*([\w-]+)\s*\]\s*\{(?:inputenc|inputenx)\}"
            r"|^[^%\n]*?\\(?:inputencoding|XeTeXinputencoding)\s*\{?\"?([\w-]+)|^\s*%+\s*!\s*TeX\s+encoding\s*=\s*([\w-]+)",
            re.M | re.I,
        ),
    ),
    (frozenset(("pl", "pm", "pod", "t")), re.compile(r"^(?:=encoding|use encoding)\s+" + _LABEL, re.M)),
    (frozenset(("texi", "texinfo", "txi")), re.compile(r"^@documentencoding\s+" + _LABEL, re.M)),
    (frozenset(("adoc", "asciidoc", "asc")), re.compile(r"^:encoding:\s*" + _LABEL, re.M)),
    (frozenset(("desktop",)), re.compile(r"^Encoding=" + _LABEL, re.M)),
)


def lookup(label: str) -> str | None:
    """Return Python's name of the text encoding that a label stands for; None for a label that stands for none."""
    name = label.strip().strip("\"'").lower()
    for ending in ("-unix", "-dos", "-mac"):  # how Emacs says line ends
        name = name.removesuffix(ending)
    try:
        info = codecs.lookup(_ALIASES.get(name, name))
    except (LookupError, ValueError):
        return None
    if info.name.replace("-", "_") in _NOT_FOR_FILES or not getattr(info, "_is_text_encoding", True):
        return None
    return info.name


def declared(data: bytes, name: str) -> str | None:
    """Return the encoding that a text file declares, as Python names it; None where it declares none that is known.

    Known are: comments as in PEP 263, mode lines and final variables of Emacs and vim, XML declarations, ``@charset``
    of CSS, the header of gettext's .po files, LaTeX's inputenc, and the like of Perl, Texinfo and AsciiDoc.

    Args:
        data: The file's bytes.
        name: Its name; some declarations count in files of one ending alone.
    """
    head = data[:4096].removeprefix(codecs.BOM_UTF8).decode("latin-1")
    tail = data[-3000:].decode("latin-1")
    lines = head.splitlines()[:2]
    candidates = [pattern.match(head) for pattern in (_XML, _CSS)]
    candidates += [pattern.search(line) for line in lines for pattern in (_EMACS, _COMMENT)]
    candidates += [_VIM.search(line) for line in [*head.splitlines()[:5], *tail.splitlines()[-5:]]]
    candidates += [_LOCAL_VARIABLES.search(tail), _PO.search(head)]
    ending = name.lower().removesuffix(".gz").rpartition(".")[2]
    start = data[:SAMPLE_BYTES].decode("latin-1") if len(data) > len(head) else head
    candidates += [pattern.search(start) for endings, pattern in _BY_ENDING if ending in endings]
    for match in candidates:
        if match and (found := lookup(next(filter(None, match.groups()), ""))):
            return found
    return None


def decode(
    data: bytes, declared: str | None = None, override: str | None = None, notes: Notes | None = None
) -> tuple[str, str]:
    r"""Return the text of bytes, with line ends as ``\n``, and the name of the encoding that was used.

    The first of these that fits decides: the override, a byte order mark, the declared encoding, UTF-8, the
    detector. UTF-8 with a few damaged bytes is read, with U+FFFD in their place. Codes that steer a terminal are
    taken out.

    Args:
        data: The bytes.
        declared: Encoding that the file declares about itself.
        override: Encoding that a person named; nothing else is then tried.
        notes: Takes a warning where characters were replaced or the encoding is a guess.

    Raises:
        ReadError: It is no text, or its encoding cannot be told.
    """
    text, encoding = _decoded(data, declared, override, notes)
    if "\0" in text:
        _warn(notes, f"{(count := text.count(chr(0)))} NUL character{'s' * (count != 1)} left out")
        text = text.replace("\0", "")
    return newlines(terminal.plain(text)), encoding


def _decoded(data: bytes, declared: str | None, override: str | None, notes: Notes | None) -> tuple[str, str]:
    if override is not None:
        return _as_named(data, override), override
    for mark, encoding in _MARKS:
        if data.startswith(mark) and (encoding != "utf-32" or len(data) % 4 == 0):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError as error:
                if encoding != "utf-8-sig":
                    raise ReadError(_invalid(data, error, encoding)) from error
    if declared is not None and (name := lookup(declared)) not in (None, "utf-8", "ascii"):
        for encoding in filter(None, (name if name != "iso8859-1" else None, _WIDER.get(name or ""), name)):
            text = _try(data, encoding)
            if text is not None and "\0" not in text:
                return text, encoding
    encoding = wide(data) or ("iso2022_jp" if b"\x1b$" in data and data.isascii() else "utf-8")
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as error:
        if (text := _mended(data, notes)) is not None:
            return text, "utf-8"
        if found := detect(data):
            guess, sure = found
            if (text := _try(data, guess)) is not None:
                if not sure:
                    _warn(notes, f"read as {guess}, which is a guess: if it is wrong, name another with --encoding")
                return text, guess
        high = len(data) - len(data.translate(None, _HIGH))
        if high <= MAX_DAMAGE * len(data):  # text with some bytes of something else in it
            _warn(notes, f"{high} bytes that are no text shown as \ufffd")
            return data.decode("utf-8", "replace"), "utf-8"
        raise ReadError(_invalid(data, error, "utf-8")) from error


def wide(data: bytes) -> str | None:
    """Return the encoding of UTF-16 or UTF-32 text that has no byte order mark, told by where its NUL bytes stand."""
    head = data[:SAMPLE_BYTES]
    head = head[: len(head) // 4 * 4]
    if len(head) < 4 or b"\0" not in head:
        return None
    nul = [head[place::4].count(0) / (len(head) // 4) for place in range(4)]
    if min(nul[2], nul[3]) > 0.9 and nul[0] < 0.1:
        found = "utf-32-le"
    elif min(nul[0], nul[1]) > 0.9 and nul[3] < 0.1:
        found = "utf-32-be"
    elif min(nul[1], nul[3]) > 0.1 and max(nul[0], nul[2]) < 0.02:
        found = "utf-16-le"
    elif min(nul[0], nul[2]) > 0.1 and max(nul[1], nul[3]) < 0.02:
        found = "utf-16-be"
    else:
        return None
    text = head.decode(found, "replace")
    odd = sum(not (char.isprintable() or char.isspace()) or char == "\ufffd" for char in text)
    return found if odd <= 0.02 * len(text) + 1 else None


def detect(data: bytes) -> tuple[str, bool] | None:
    """Return the encoding that bytes beyond UTF-8 most likely have, and whether that is sure; None where nothing fits.

    chardet names the encoding and charset-normalizer judges the text that it gives: on 36 short samples in 20
    languages chardet was right on 34, charset-normalizer alone on 28. Where chardet is not sure of a text with few
    letters beyond ASCII, the encoding of western Windows is taken if its text looks as good as any.
    """
    import chardet
    from charset_normalizer import from_bytes

    sample = _telling(data)
    answer = chardet.detect(sample)
    name = lookup(answer["encoding"] or "")
    chaos: dict[str, float] = {}
    for match in from_bytes(sample):
        for encoding in (match.encoding, *match.could_be_from_charset):
            chaos.setdefault(lookup(encoding) or encoding, match.chaos)
    high = sum(byte > 127 for byte in sample)
    if (answer["confidence"] or 0) < MIN_CONFIDENCE or high < MIN_LETTERS:
        plain = len(sample.translate(None, b" \t\r\n0123456789"))
        if (
            high <= MAX_ACCENTS * plain
            and chaos.get("cp1252", 1.0) <= min(chaos.values(), default=0.0) + TIE
            and _try(data, "cp1252") is not None
        ):
            return "cp1252", False
    if name and _try(data, _WIDER.get(name, name)) is not None:
        name = _WIDER.get(name, name)
    if name is None or _try(data, name) is None:
        return None
    confidence = answer["confidence"] or 0.0
    if confidence < MIN_CONFIDENCE and name not in chaos:
        return None
    return name, confidence >= (MIN_CONFIDENCE if name in chaos else SURE)


def _telling(data: bytes) -> bytes:
    """Return the lines that are not ASCII, up to SAMPLE_BYTES."""
    if len(data) <= 4096:
        return data
    lines, size = [], 0
    for match in re.finditer(rb"[^\n]*[\x80-\xff][^\n]*\n?", data):
        lines.append(match[0][:SAMPLE_BYTES])
        size += len(lines[-1])
        if size > SAMPLE_BYTES:
            break
    return b"".join(lines)


def _as_named(data: bytes, encoding: str) -> str:
    name = lookup(encoding)
    if name is None:
        raise ReadError(f"{encoding} is no text encoding that is known here")
    for mark, marked in _MARKS:
        if data.startswith(mark) and marked.startswith(name):
            name = marked
            break
    try:
        return data.decode(name)
    except UnicodeDecodeError as error:
        raise ReadError(
            f"it is not in the encoding named with --encoding, {encoding}: {_where(data, error)}; leave --encoding "
            "out, or name another"
        ) from error


def _try(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _mended(data: bytes, notes: Notes | None) -> str | None:
    """Return UTF-8 text with U+FFFD for its few damaged bytes; None where it rather is another encoding."""
    high = len(data) - len(data.translate(None, _HIGH))
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    lost = text.count("\ufffd")
    whole = sum(char > "\x7f" for char in text) - lost if lost < 10_000 else 0
    cut = lost == 1 and text.endswith("\ufffd") and data[-3:].translate(None, bytes(range(0x80))) != b""
    incomplete = cut and re.search(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z", data)
    begun = data.startswith(codecs.BOM_UTF8)
    if not (begun or (whole and lost <= MAX_STRAY * high + 1) or (incomplete and len(incomplete[0]) > 1)):
        return None
    if whole < lost and not begun and not incomplete:
        return None
    _warn(notes, f"{lost} damaged character{'s' * (lost != 1)} shown as \ufffd (not UTF-8)")
    return text


def _invalid(data: bytes, error: UnicodeDecodeError, encoding: str) -> str:
    """Return why bytes are no text, for a person."""
    name = {"utf-8": "UTF-8", "utf-16": "UTF-16", "utf-32": "UTF-32"}.get(encoding, encoding)
    if encoding != "utf-8":
        return f"invalid {name}: {_where(data, error)}: it is damaged or cut off"
    return (
        f"invalid UTF-8: {_where(data, error)}; it declares no other encoding, and too little of it tells which one it "
        "has: name it with --encoding"
    )


def _where(data: bytes, error: UnicodeDecodeError) -> str:
    # utf-8-sig counts from behind the byte order mark
    start = error.start + (len(data) - len(error.object))
    return f"byte 0x{data[start]:02x} at offset {start} (line {data.count(10, 0, start) + 1})"


def _warn(notes: Notes | None, warning: str) -> None:
    if notes is not None:
        notes.warnings.append(warning)
