"""One file as its reader gets it: an open stream with its name, its kind and the options of the person who indexes."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from indexer.corpus.decoding.text import clean
from indexer.corpus.formats import human, kind_of
from indexer.errors import NothingToRead, ReadError
from indexer.types import Document, Heading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from indexer.corpus.formats import ReadOptions

GZIP_SAFE = 256 << 20
GZIP_RATIO = 200
"""A gzip file that grows beyond GZIP_SAFE and to more than GZIP_RATIO times its size is taken for a bomb."""


@dataclass(frozen=True)
class Source:
    """The bytes of one file, or of one part of a file such as an attachment, not yet read.

    A reader is a function ``read(source, notes)`` that yields the documents of a source.
    """

    stream: BinaryIO
    """At its beginning; already unpacked where the name ends in ``.gz``."""
    path: str
    """The path that the documents carry."""
    kind: str
    options: ReadOptions
    record: str | None = None
    """Identifier of this part within its file; None for a whole file."""
    name: str = ""
    """File name, which says more of the kind; empty: the path's."""
    charset: str | None = None
    """Encoding that whatever brought the bytes declares for them, such as a mail's header."""
    depth: int = 0
    """Containers around this part: 1 for an attachment, 2 for an attachment of an attached mail."""

    def __post_init__(self) -> None:
        """Take the path for the name where none is given."""
        if not self.name:
            object.__setattr__(self, "name", self.path)

    def data(self) -> bytes:
        """Return all bytes.

        Raises:
            NothingToRead: There are none.
            ReadError: There are more than ``options.max_bytes``.
        """
        limit = self.options.max_bytes
        data = self.stream.read(limit + 1)
        if len(data) > limit:
            raise ReadError(f"it is larger than {human(limit)}: split it, or raise the limit with --max-bytes")
        if not data:
            raise NothingToRead("it is empty")
        return data

    def document(
        self,
        text: str,
        *,
        title: str | None = None,
        kind: str | None = None,
        record: str | None = None,
        fields: Mapping[str, str] | None = None,
        line_start: int = 1,
        page_starts: tuple[int, ...] = (),
        headings: tuple[Heading, ...] = (),
    ) -> Document:
        """Return a document of this source; its title gets plain spaces, and none counts as no title."""
        return Document(
            path=self.path,
            text=text,
            kind=kind or self.kind,
            record=record if record is not None else self.record,
            title=" ".join(clean(title or "").split()) or None,
            fields=fields or {},
            line_start=line_start,
            page_starts=page_starts,
            headings=headings,
        )

    def part(self, data: bytes, name: str, record: str, kind: str | None = None, charset: str | None = None) -> Self:
        """Return a part of this source, such as an attachment, as a source of its own; ``name`` tells its kind."""
        known = kind or kind_of(name) or "text"
        return type(self)(io.BytesIO(data), self.path, known, self.options, record, name, charset, self.depth + 1)


class Unpacked(io.RawIOBase):
    """The unpacked bytes of a gzip stream; a bomb or a damaged file raises ReadError while it is read."""

    def __init__(self, packed: BinaryIO) -> None:
        """Read from ``packed``, which stays the caller's to close."""
        super().__init__()
        self._packed = packed
        self._plain = gzip.GzipFile(fileobj=packed)
        self._size = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer and return the number of bytes.

        Raises:
            ReadError: The stream is damaged, cut off, or a bomb.
        """
        try:
            data = self._plain.read1(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ReadError(f"not a whole gzip file ({error}): it is damaged or cut off") from error
        self._size += len(data)
        if self._size > GZIP_SAFE and self._size > GZIP_RATIO * self._packed.tell():
            raise ReadError(
                f"gzip bomb: {human(self._packed.tell())} grew to over {human(self._size)}: "
                "unpack it yourself if it is what you want"
            )
        buffer[: len(data)] = data
        return len(data)
