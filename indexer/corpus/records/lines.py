"""The lines of a record file, streamed and decoded; one that cannot be read is reported and stands as an empty one."""

from __future__ import annotations

import codecs
import io
import re
from typing import TYPE_CHECKING, BinaryIO, cast

from indexer.corpus.decoding.encodings import declared, detect, lookup, wide
from indexer.corpus.formats import human
from indexer.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.formats import ReadOptions
    from indexer.types import Notes

MAX_REMARKS = 100
"""Remarks kept of one file and kind; the rest is counted."""
BUFFER = 1 << 16

_ESCAPED = re.compile("[\udc80-\udcff]")  # how errors="surrogateescape" passes on an invalid byte


class Spoiled(str):
    """A line that stands for one that could not be read; it is empty."""

    __slots__ = ()


class Remarks:
    """Collects remarks about records up to a limit: what could not be read, and what was left out on purpose."""

    def __init__(self, notes: Notes) -> None:
        """Write to ``notes`` when closed."""
        self._notes = notes
        self._failed: list[tuple[int, str]] = []
        self._warned: list[tuple[int, str]] = []
        self.failed = 0
        self.warned = 0

    def fail(self, line: int, reason: str) -> None:
        """Remark a record that could not be read."""
        self.failed += 1
        if self.failed <= MAX_REMARKS:
            self._failed.append((line, f"line {line}: {reason}"))

    def warn(self, line: int, reason: str) -> None:
        """Remark something that was left out or changed on purpose."""
        self.warned += 1
        if self.warned <= MAX_REMARKS:
            self._warned.append((line, f"line {line}{reason}"))

    def close(self) -> None:
        """Write the remarks in the order of their lines, and how many are not listed."""
        self._notes.problems.extend(text for _, text in sorted(self._failed))
        self._notes.warnings.extend(text for _, text in sorted(self._warned))
        if self.failed > MAX_REMARKS:
            self._notes.problems.append(f"and {self.failed - MAX_REMARKS} more records that could not be read")
        if self.warned > MAX_REMARKS:
            self._notes.warnings.append(f"and {self.warned - MAX_REMARKS} more lines")


def lines(
    stream: BinaryIO, name: str, newline: str, options: ReadOptions, remarks: Remarks, charset: str | None = None
) -> Iterator[str]:
    """Yield the file's lines with their ends.

    The encoding is the one that the options name, or a byte order mark, or what the bytes say. In a file that is
    taken for UTF-8 the first line that is not decides: as long as nothing else was UTF-8 beyond ASCII, the detector
    says what the rest is; else that line alone is damaged.

    Args:
        stream: The bytes.
        name: The file's name.
        newline: As for ``open``: "" where quoted cells keep their line ends.
        options: Encoding and longest line.
        remarks: Takes the lines that cannot be read.
        charset: Encoding that whatever brought the bytes declares.

    Raises:
        ReadError: Bytes that are not in the encoding which must be theirs.
    """
    buffered = (
        stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream), BUFFER)
    )
    head = buffered.peek(BUFFER)
    encoding = options.encoding or _marked(head) or charset or declared(head, name) or wide(head)
    encoding = lookup(encoding) if encoding else None
    errors = "strict"
    if encoding is None or encoding.startswith("utf-8"):
        encoding, errors = "utf-8-sig", "surrogateescape"
    text = io.TextIOWrapper(buffered, encoding, errors, newline)
    decoder = _Decoder(buffered, remarks)
    limit = options.max_record_bytes
    number = 0
    try:
        while line := text.readline(limit + 1):
            number += 1
            reason = None
            whole = len(line) <= limit
            while not whole and not line.endswith(("\n", "\r")):  # pass over the rest without keeping it
                line = text.readline(1 << 20)
                if not line:
                    break
            if not whole:
                reason = f"longer than {human(limit)}: raise the limit with --max-record-bytes"
            elif errors == "surrogateescape" and not line.isascii():
                line, reason = decoder.line(line, number)
            if reason is None and "\0" in line:
                reason = "NUL byte: it is not text, or damaged"
            if reason:
                remarks.fail(number, reason)
                line = Spoiled()
            yield line
    except UnicodeDecodeError as error:
        name = "UTF-16" if encoding.startswith("utf-16") else encoding
        what = "name another with --encoding" if options.encoding else "it is damaged or cut off"
        raise ReadError(f"invalid {name} after line {number}: {error.reason}: {what}") from error
    finally:
        text.detach()
        if buffered is not stream:
            buffered.detach()


def _marked(head: bytes) -> str | None:
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) and len(head) % 4 == 0:
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else None


class _Decoder:
    """Decides about lines that are not UTF-8."""

    def __init__(self, buffered: io.BufferedReader, remarks: Remarks) -> None:
        self._buffered = buffered
        self._remarks = remarks
        self._is_utf_8 = False
        self._encoding: str | None = None

    def line(self, line: str, number: int) -> tuple[str, str | None]:
        """Return the line as it should be read, and a reason if it cannot be."""
        match = _ESCAPED.search(line)
        if match is None and self._encoding is None:
            self._is_utf_8 = True
            return line, None
        data = line.encode("utf-8", "surrogateescape")
        if self._encoding is None and not self._is_utf_8:
            ahead = self._buffered.peek(BUFFER)
            sample = data + ahead[ahead.find(b"\n") + 1 : ahead.rfind(b"\n") + 1]
            found = detect(sample)
            self._encoding = found[0] if found else None
            self._is_utf_8 = found is None
            if found and not found[1]:
                self._remarks.warn(
                    number, f" and on: read as {found[0]}, which is a guess: name another with --encoding"
                )
        if self._encoding is not None:
            try:
                return data.decode(self._encoding), None
            except UnicodeDecodeError as error:
                return (
                    "",
                    f"invalid {self._encoding}: byte 0x{data[error.start]:02x} at offset {error.start} of the line",
                )
        if match is None:
            return line, None
        offset = len(line[: match.start()].encode())
        return "", f"invalid UTF-8: byte 0x{ord(match[0]) - 0xDC00:02x} at offset {offset} of the line"
