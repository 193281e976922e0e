"""Feed damaged files of every format to the readers: each must give documents or a reason, in bounded time and memory.

Run from the project's root:

    python scripts/research/fuzz_readers.py --files 1000          # of every format
    python scripts/research/fuzz_readers.py --files 200 --only csv,eml

Files are damaged with a fixed seed, so that a finding can be repeated: its number is printed, and ``--keep FOLDER``
writes the damaged files that failed. A run can be stopped and goes on where it was with ``--from N``.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import signal
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indexer.corpus.formats import ReadOptions
from indexer.corpus.readers import read_stream
from indexer.errors import NothingToRead, ReadError
from indexer.types import Notes
from tests.corpus.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SECONDS = 10
"""Longest time for one file."""
MAX_MEMORY = 4 << 30
"""Address space of the whole run."""
TOKENS = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[31m", b'"', b"'", b"\n\n", b"\r", b"]]>"),
    *(b"{" * 50, b"<" * 50, b"=" * 80),
)
"""Bytes that mean something to some reader."""


class Overdue(Exception):  # noqa: N818 - reads as what happened
    """A file took longer than MAX_SECONDS."""


def damaged(content: bytes, seed: str) -> bytes:
    """Return content with one to eight random changes: bytes flipped, cut, doubled, moved, or replaced by tokens."""
    chance = random.Random(seed)
    data = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        size = chance.choice((1, 2, 8, 64, 512))
        match chance.randrange(7):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = chance.randbytes(size)
            case 3:
                data[at:at] = data[at : at + size] * chance.choice((1, 2, 50))
            case 4:
                data[at:at] = chance.choice(TOKENS)
            case 5:
                other = chance.randrange(len(data) + 1)
                data[at : at + size] = data[other : other + size]
            case _:
                if chance.random() < 0.3:
                    del data[at:]
    return bytes(data)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise Overdue where the block takes longer."""

    def ring(_: int, __: object) -> None:
        raise Overdue(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(ending: str, data: bytes) -> str:
    """Return what became of a damaged file: read, in part, skipped or failed; raise for anything else."""
    notes = Notes()
    try:
        with within(MAX_SECONDS):
            found = 0
            for document in read_stream(io.BytesIO(data), f"/f.{ending}", ReadOptions(), notes):
                if not document.text.strip():
                    raise AssertionError("a document without text")
                document.text.encode()
                found += 1
    except NothingToRead:
        return "skipped"
    except ReadError as error:
        if not str(error).strip():
            raise AssertionError("a refusal without a reason") from error
        return "failed"
    if not found:
        raise AssertionError("silently empty")
    return "in part" if notes.problems or notes.warnings else "read"


def main() -> int:
    """Run the formats that were asked for and print their outcomes; return 1 where a file broke a reader."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=1000, help="damaged files of each format")
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first one")
    parser.add_argument("--only", help="endings, parted by commas")
    parser.add_argument("--keep", type=Path, help="folder for the files that broke a reader")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    broken = 0
    for ending in options.only.split(",") if options.only else SAMPLES:
        outcomes: Counter[str] = Counter()
        slowest, started = 0.0, time.perf_counter()
        for number in range(options.first, options.first + options.files):
            data = damaged(SAMPLES[ending], f"{ending} {number}")
            at = time.perf_counter()
            try:
                outcomes[outcome(ending, data)] += 1
            except Exception as error:  # anything but a reason is the finding
                broken += 1
                outcomes["BROKEN"] += 1
                print(f"{ending} {number}: {type(error).__name__}: {error}", file=sys.stderr)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{number}.{ending}").write_bytes(data)
            slowest = max(slowest, time.perf_counter() - at)
        seconds = {"slowest_s": round(slowest, 3), "s": round(time.perf_counter() - started, 1)}
        print(json.dumps({"format": ending, **outcomes, **seconds}), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"broken": broken, "peak_MiB": peak >> 10}))
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
