"""Which family of formats a file belongs to, and what a reader may be told."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, fields

from indexer.corpus.decoding.encodings import lookup, wide
from indexer.corpus.decoding.terminal import without_codes
from indexer.errors import ConfigError

KINDS: dict[str, tuple[str, ...]] = {
    "text": ("txt", "text", "log"),
    "markdown": ("md", "markdown", "mdown", "mkd", "mdx", "qmd"),
    "rst": ("rst", "rest"),
    "html": ("html", "htm", "xhtml", "xht", "shtml"),
    "pdf": ("pdf",),
    "docx": ("docx", "docm", "dotx", "dotm"),
    "pptx": ("pptx", "pptm", "ppsx", "ppsm", "potx"),
    "xlsx": ("xlsx", "xlsm", "xltx"),
    "rtf": ("rtf",),
    "odt": ("odt", "ott", "fodt", "odm"),
    "ods": ("ods", "ots", "fods"),
    "odp": ("odp", "otp", "fodp", "odg", "fodg"),
    "epub": ("epub",),
    "csv": ("csv",),
    "tsv": ("tsv",),
    "jsonl": ("jsonl", "ndjson"),
    "json": ("json", "geojson", "jsonld"),
    "mail": ("eml", "emlx", "mbox", "mbx", "mht", "mhtml"),
    "calendar": ("ics", "ical", "ifb", "vcs", "vcf", "vcard"),
    "subtitles": ("srt", "vtt", "sbv", "ass", "ssa", "lrc"),
    "notebook": ("ipynb",),
    "latex": ("tex", "ltx", "latex"),
    "svg": ("svg",),
    "code": tuple(
        "py pyi pyx typed rb pl pm php lua tcl r jl js mjs cjs jsx ts mts cts tsx vue svelte java kt kts scala groovy "
        "clj cljs c h cc cpp cxx hh hpp hxx m mm cs fs vb go rs zig nim d swift dart ex exs erl hrl hs ml mli elm "
        "lisp el scm rkt f f90 f95 pas ada v sv vhd vhdl sql sh bash zsh fish ps1 bat cmd awk sed asm s "
        "css scss sass less json5 jsonc yaml yml toml ini cfg conf properties xml xsl xsd proto graphql gql "
        "cmake mk gradle tf nix dockerfile sty cls bib diff patch".split()
    ),
}
"""Kind → file name endings, without the dot and in lower case. Any other name is ``text`` unless it is binary."""

BINARY = frozenset(
    "7z a avi bin bmp bz2 class db deb dll dmg doc dylib egg exe flac gguf gif gz ico iso jar jpeg jpg lz4 mkv mov "
    "mp3 mp4 npy npz o ogg onnx otf parquet pickle pkl png ppt psd pt pth pyc pyo rar rpm safetensors so "
    "sqlite sqlite3 tar tgz tif tiff ttf wasm wav webm webp whl woff woff2 xls xz zip zst".split()
)
"""Endings of files that hold no text to search; they are skipped unopened."""

BINARY_KINDS = frozenset({"pdf", "docx", "pptx", "xlsx", "rtf", "odt", "ods", "odp", "epub", "mail"})
"""Kinds whose files hold other bytes than text; a file of any other kind that looks binary is skipped."""

RECORD_KINDS = frozenset({"csv", "tsv", "jsonl", "json"})

MAX_CONTROLS = 0.01
"""Share of control characters up to which a file is damaged text rather than something else."""

_CONTROL_BYTES = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
_MAIL = re.compile(
    rb"(?:From [^\n]*\r?\n)?(?:Return-Path|Received|Delivered-To|X-[\w-]+|From|To|Date|Message-ID|MIME-Version"
    rb"|Subject):",
    re.I,
)
_KIND_OF = {ending: kind for kind, endings in KINDS.items() for ending in endings}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What the person who indexes may choose. Kept with each root of a collection."""

    text_fields: tuple[str, ...] = ()
    """Fields of a record whose values, joined by newlines, are its text; none: ``text``, where a record has it,
    else every string."""
    title_field: str | None = None
    """Field that holds a record's title, which is put before its text; None: ``title``, put before the text
    unless ``text_fields`` says what the text is."""
    id_field: str | None = None
    """Field that holds a record's identifier; None: ``id`` or ``_id``, else the record's number in its file."""
    encoding: str | None = None
    """Encoding of every text file, over what the files declare; None: as each declares, or as it is recognised."""
    max_bytes: int = 64 << 20
    """Largest file that is read whole (every format but the record formats, which are streamed)."""
    max_record_bytes: int = 16 << 20
    """Longest line of a record file."""

    def __post_init__(self) -> None:
        if isinstance(self.text_fields, str):
            raise ConfigError(f"text_fields is {self.text_fields!r}; it is a list of field names")
        object.__setattr__(self, "text_fields", tuple(self.text_fields))
        if self.encoding is not None and lookup(self.encoding) is None:
            raise ConfigError(
                f"encoding is {self.encoding!r}; it is the name of a text encoding, such as utf-8, cp1252, "
                "shift_jis or koi8-r"
            )
        for name in ("max_bytes", "max_record_bytes"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} is {value!r}; it is a whole number of bytes from 1 up")

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {**asdict(self), "text_fields": list(self.text_fields)}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ReadOptions:
        """Raises ConfigError for a field that does not exist."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"read options: unknown field {', '.join(unknown)}; fields are {', '.join(known)}")
        return cls(**values)  # type: ignore[arg-type]


def read_differently(kind: str | None, before: ReadOptions, now: ReadOptions) -> bool:
    """Return whether a file of a kind gives other documents under other options, so that it must be read anew."""
    if kind in RECORD_KINDS and (before.text_fields, before.title_field, before.id_field) != (
        now.text_fields,
        now.title_field,
        now.id_field,
    ):
        return True
    return before.encoding != now.encoding and (kind == "mail" or kind not in BINARY_KINDS)


def kind_of(path: str) -> str | None:
    """The kind that a file's name promises; None where the name says nothing."""
    parts = os.path.basename(path).lower().split(".")
    if len(parts) > 2 and parts[-1] == "gz":  # any known kind may be packed
        parts.pop()
    return _KIND_OF.get(parts[-1]) if len(parts) > 1 else None


def kind_by_content(head: bytes) -> str | None:
    """Return the kind of a file whose name says nothing, told by its first bytes; None where they say nothing."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if _MAIL.match(head) and b"\nSubject:" in head.replace(b"\r", b""):
        return "mail"
    for kind, mark in (("calendar", b"BEGIN:VC"), ("subtitles", b"WEBVTT"), ("notebook", b'{"cells":')):
        if start.startswith(mark):
            return kind
    return "html" if re.match(rb"<!doctype html|<html", start, re.IGNORECASE) else None


def has_binary_name(path: str) -> bool:
    """Return whether a file's name says that it holds no text; a packed file is judged by what is packed."""
    name = os.path.basename(path).lower()
    return kind_of(path) is None and os.path.splitext(name.removesuffix(".gz"))[1][1:] in BINARY


def looks_binary(head: bytes) -> bool:
    """Return whether the first bytes of a file are something else than text, with or without codes for a terminal."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or wide(head):  # UTF-16 is full of NUL bytes
        return False
    controls = _CONTROL_BYTES.findall(without_codes(head))
    if not controls:
        return False
    if head.startswith((b"\x7fELF", b"\x1f\x8b", b"PK\x03\x04", b"\x89PNG", b"%PDF")):
        return True
    return len(controls) > MAX_CONTROLS * len(head) + 2 or _text_share(head) < 0.7


def _text_share(head: bytes) -> float:
    """Return the share of bytes that are ASCII or, in pairs and more, UTF-8."""
    text = head.decode("utf-8", "ignore")
    return len(text.encode()) / len(head)


def printable(path: str) -> str:
    r"""The path as it can be shown and stored: control characters and undecodable bytes as ``\n``, ``\xff``.

    Every other path comes back as it is.
    """

    def escape(match: re.Match[str]) -> str:
        char = match[0]
        if "\udc80" <= char <= "\udcff":  # a byte that os.fsdecode could not decode
            return f"\\x{ord(char) - 0xDC00:02x}"
        return char.encode("unicode_escape", "surrogatepass").decode("ascii")

    return _CONTROL.sub(escape, path)


def human(size: int) -> str:
    """A number of bytes for a message: ``64 MiB``."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.4g} {unit}"
