"""Mail → a document for each message, and one for each attachment that can be read."""

from __future__ import annotations

import email
import re
from email import policy
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.utils import collapse_rfc2231_value
from typing import TYPE_CHECKING

from indexer.corpus import readers
from indexer.corpus.decoding import encodings
from indexer.corpus.decoding.text import clean
from indexer.corpus.formats import BINARY_KINDS, has_binary_name, human, kind_of, looks_binary, printable
from indexer.corpus.texts import plain_text
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from email.message import Message

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

MAX_DEPTH = 5
"""Mails within mails that are opened."""
MAX_PARTS = 1000
"""Parts of one message that are read."""

_SHOWN = ("From", "To", "Cc", "Bcc", "Reply-To", "Date", "Subject", "Keywords", "Newsgroups", "Organization")
_KNOWN = frozenset(
    "from to subject date message-id mime-version content-type received return-path delivered-to".split()
)
_KINDS = {
    "text/html": "html",
    "text/calendar": "calendar",
    "text/vcard": "calendar",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/markdown": "markdown",
    "application/json": "json",
    "application/pdf": "pdf",
    "application/xhtml+xml": "html",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "message/rfc822": "mail",
}
"""Content type → kind, for parts whose name does not say it."""
_SIGNATURES = frozenset(("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"))
_BEGIN = re.compile(rb"From \S+.*\d{4}|From - ")


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the messages of a mail file or mailbox with their readable attachments."""
    if source.name.lower().removesuffix(".gz").endswith((".mbox", ".mbx")):
        yield from read_mailbox(source, notes)
        return
    data = source.data()
    if source.name.lower().endswith(".emlx"):  # Apple's: a line with the number of bytes, the mail, a list of flags
        first, _, rest = data.partition(b"\n")
        data = rest[: int(first)] if first.strip().isdigit() else data
    if re.match(rb">?From ", data):
        if len(re.findall(rb"(?:\A|\r?\n\r?\n)From [^\n]*\d\d:\d\d[^\n]*\r?\n[A-Za-z-]+:", data)) > 1:
            yield from read_mailbox(source.part(data, source.name, "", "mail"), notes)
            return
        data = data.partition(b"\n")[2]
    message = _parsed(data)
    if not _KNOWN & {name.lower() for name in message}:
        yield from plain_text.read(source.part(data, source.name, source.record or "", "text"), notes)
        return
    yield from _message(message, source, source.record, notes)


def read_mailbox(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the messages of a mailbox in mbox format, one after another, each held in memory alone."""
    count = 0
    for number, data in enumerate(_split(source, notes), 1):
        try:
            for document in _message(
                _parsed(data), source, f"{source.record}/{number}" if source.record else str(number), notes
            ):
                count += 1
                yield document
        except NothingToRead:
            notes.warnings.append(f"message {number} left out: it is empty")
    if not count:
        raise NothingToRead("it holds no messages")


def _split(source: Source, notes: Notes) -> Iterator[bytes]:
    lines: list[bytes] = []
    size = number = 0
    blank = True
    for line in iter(lambda: source.stream.readline(1 << 20), b""):
        if blank and _BEGIN.match(line):
            if size > source.options.max_bytes:
                notes.problems.append(f"message {number}: larger than {human(source.options.max_bytes)}: --max-bytes")
            elif any(part.strip() for part in lines):
                yield b"".join(lines)
            lines, size, number = [], 0, number + 1
        elif size <= source.options.max_bytes:
            lines.append(line[1:] if re.match(rb">+From ", line) else line)
            size += len(line)
        blank = not line.strip()
    if any(part.strip() for part in lines) and size <= source.options.max_bytes:
        yield b"".join(lines)


def _parsed(data: bytes) -> Message:
    try:
        return email.message_from_bytes(data, policy=policy.compat32)
    except (MessageError, ValueError, RecursionError, IndexError, TypeError, AssertionError) as error:
        raise ReadError(f"not a readable mail: {error}") from error


def _message(message: Message, source: Source, record: str | None, notes: Notes) -> Iterator[Document]:
    headers = {name: value for name in _SHOWN if (value := _header(message, name))}
    parts = _Parts(message, source, record, notes)
    body = "\n\n".join(filter(None, (text.strip("\n") for text in parts.body)))
    head = "\n".join(f"{name}: {value}" for name, value in headers.items())
    text = clean("\n\n".join(filter(None, (head, body))))
    if text.strip():
        yield source.document(
            text,
            kind="mail",
            title=headers.get("Subject") or parts.title,
            record=record,
            fields={name.lower(): clean(value)[:1000] for name, value in headers.items() if name in _SHOWN[:7]},
        )
    yield from parts.attached()
    if not text.strip():
        raise NothingToRead("an empty message")


class _Parts:
    """The parts of one message: its text, and what is attached."""

    def __init__(self, message: Message, source: Source, record: str | None, notes: Notes) -> None:
        self.source = source
        self.record = record
        self.notes = notes
        self.body: list[str] = []
        self.title: str | None = None
        """Title of an HTML body, for a mail without subject, such as a saved page."""
        self.attachments: list[tuple[Message, str]] = []
        self.count = 0
        self._collect(message)

    def attached(self) -> Iterator[Document]:
        """Yield the documents of the attachments; what holds no text, or cannot be read, is named in a warning."""
        left: list[str] = []
        names: set[str] = set()
        for number, (part, kind) in enumerate(self.attachments, 1):
            name = _file_name(part) or f"attachment {number}"
            shown = name
            while shown in names:
                shown = f"{name}#{number}"
            names.add(shown)
            record = f"{self.record}/{shown}" if self.record else shown
            try:
                data = _payload(part)
                if not kind and (has_binary_name(name) or (kind_of(name) is None and looks_binary(data[:8192]))):
                    left.append(name)
                    continue
                known = kind or kind_of(name) or "text"
                if known not in BINARY_KINDS and looks_binary(data[:8192]):
                    left.append(name)
                    continue
                inner = self.source.part(data, name, record, known, part.get_content_charset())
                if inner.depth > MAX_DEPTH:
                    left.append(name)
                    continue
                documents = list(readers.read_source(inner, self.notes))
            except NothingToRead:
                left.append(name)
            except ReadError as error:
                self.notes.warnings.append(f"attachment {printable(name)} left out: {error}")
            else:
                yield from documents
        if left:
            more = f" and {len(left) - 10} more" if len(left) > 10 else ""
            count = f"{len(left)} attachment{'s' * (len(left) != 1)}"
            self.notes.warnings.append(f"{count} without text: {', '.join(map(printable, left[:10]))}{more}")

    def _collect(self, message: Message) -> None:
        stack = [message]
        while stack:
            part = stack.pop()
            self.count += 1
            if self.count > MAX_PARTS:
                self.notes.warnings.append(f"parts after the first {MAX_PARTS} left out")
                return
            kind = part.get_content_type()
            payload = part.get_payload()
            if kind == "multipart/alternative" and isinstance(payload, list):
                stack.extend(reversed(self._alternatives(payload)))
            elif isinstance(payload, list) and kind != "message/rfc822":
                stack.extend(reversed([item for item in payload if isinstance(item, email.message.Message)]))
            elif kind in _SIGNATURES:
                continue
            elif kind.startswith("text/") and not _file_name(part) and part.get_content_disposition() != "attachment":
                if kind in ("text/plain", "text/html", "text/enriched", "text/richtext") or kind not in _KINDS:
                    self.body.append(self._text(part))
                else:
                    self.attachments.append((part, _KINDS[kind]))
            else:
                named = _file_name(part)
                self.attachments.append((part, _KINDS.get(kind, "") if not named or kind_of(named) is None else ""))

    def _alternatives(self, parts: Sequence[object]) -> list[Message]:
        """Return the parts to read of those that say the same: the plain one, unless another says far more."""
        messages = [part for part in parts if isinstance(part, email.message.Message)]
        plains = [part for part in messages if part.get_content_type() == "text/plain"]
        rich = [
            part
            for part in messages
            if part.get_content_type() in ("text/html", "multipart/related", "multipart/mixed")
        ]
        others = [part for part in messages if part not in plains and part not in rich]
        if plains and rich:
            said = len(self._text(plains[0]).strip())
            pages = [p for p in rich[-1].walk() if p.get_content_type() == "text/html" and not p.is_multipart()]
            if pages and said * 4 < len(self._text(pages[0]).strip()):
                return [rich[-1], *others]
            files = [
                p for part in rich for p in part.walk() if not p.is_multipart() and p.get_content_maintype() != "text"
            ]
            return [*plains, *files, *others]
        return [*plains, *rich[-1:], *others] or messages[-1:]

    def _text(self, part: Message) -> str:
        data = _payload(part)
        charset = part.get_content_charset()
        if not data.strip():
            return ""
        if part.get_content_type() == "text/html":
            inner = self.source.part(data, "body.html", self.record or "", "html", charset)
            try:
                documents = list(readers.read_source(inner, self.notes))
                self.title = self.title or next((document.title for document in documents if document.title), None)
                return "\n\n".join(document.text for document in documents)
            except NothingToRead:
                return ""
            except ReadError as error:
                self.notes.warnings.append(f"an HTML body left out: {error}")
                return ""
        try:
            return encodings.decode(data, charset, self.source.options.encoding, self.notes)[0]
        except ReadError as error:
            self.notes.warnings.append(f"a body left out: {error}")
            return ""


def _payload(part: Message) -> bytes:
    """Return a part's bytes, decoded; those of an attached mail are the mail."""
    try:
        payload = part.get_payload()
        if isinstance(payload, list):
            return b"\n".join(item.as_bytes() for item in payload if isinstance(item, email.message.Message))
        data = part.get_payload(decode=True)
    except (MessageError, ValueError, LookupError, RecursionError, TypeError, AttributeError, AssertionError) as error:
        raise ReadError(f"a part that cannot be decoded: {error}") from error
    return data if isinstance(data, bytes) else b""


def _header(message: Message, name: str) -> str:
    """Return all values of a header as one line of text."""
    raw = [str(value) for key, value in message.raw_items() if key.lower() == name.lower()]
    return ", ".join(filter(None, (" ".join(_words(value).split()) for value in raw)))


def _words(value: str) -> str:
    """Return a header's value with its encoded words decoded; bytes beyond ASCII are decoded as any text is."""
    if not value.isascii():
        try:
            value = encodings.decode(value.encode("utf-8", "surrogateescape"))[0]
        except ReadError:
            value = value.encode("utf-8", "replace").decode()
    if "=?" not in value:
        return value
    try:
        parts = decode_header(value)
    except (HeaderParseError, ValueError):
        return value
    words = []
    for data, charset in parts:
        if isinstance(data, bytes):
            try:
                words.append(encodings.decode(data, charset)[0] if charset else data.decode("latin-1"))
            except ReadError:
                words.append(data.decode("latin-1"))
        else:
            words.append(data)
    return "".join(words)


def _file_name(part: Message) -> str:
    """Return the name that an attachment gives itself, without folders; empty for none."""
    try:
        value = part.get_param("filename", None, "content-disposition") or part.get_param("name", None, "content-type")
        name = _words(collapse_rfc2231_value(value)) if value else ""
    except (MessageError, ValueError, LookupError, TypeError, IndexError):
        name = ""
    return clean(" ".join(re.split(r"[/\\]", name)[-1].split()))
