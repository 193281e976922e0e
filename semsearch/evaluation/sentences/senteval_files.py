"""Read the files of SentEval's folder: bytes → sentence pairs or labelled sentences.

Every sentence is what SentEval hands to an encoder: its words (split at any white space) joined by single spaces.
Files are decoded strictly, split at line feeds only, and quotation marks mean nothing. A line that does not fit raises
DataError with the file and the line's number.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOW_TO_FETCH = (
    "SentEval's get_transfer_data.bash (github.com/facebookresearch/SentEval, folder data/downstream) or SimCSE's "
    "download_dataset.sh (github.com/princeton-nlp/SimCSE, folder SentEval/data/downstream) makes the folder; "
    "pass it with --data or SEMSEARCH_DATA"
)
TREC_CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


@dataclass(frozen=True)
class Items:
    """The examples of one part of a task, in file order: n texts or pairs with what people said of them."""

    first: tuple[str, ...]
    second: tuple[str, ...] | None
    """None for single sentences."""
    gold: np.ndarray
    """(n,) float64 similarities of an STS part, (n,) int64 classes of a transfer part."""

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.first)

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts: the first ones of pairs, then the second ones."""
        return self.first + (self.second or ())

    @property
    def pair_second(self) -> tuple[str, ...]:
        """The second texts of an STS part.

        Raises:
            ValueError: These are single sentences.
        """
        if self.second is None:
            raise ValueError("single sentences have no second text")
        return self.second

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the examples, whatever file they came from."""
        rows = [list(self.first), list(self.second or ()), self.gold.tolist()]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()

    def take(self, rows: Sequence[int] | np.ndarray) -> Items:
        """Return the examples of these rows, in this order."""
        second = None if self.second is None else tuple(self.second[i] for i in rows)
        return Items(tuple(self.first[i] for i in rows), second, self.gold[np.asarray(rows, np.int64)])

    def spread(self, count: int) -> Items:
        """Return ``count`` examples at even distances; all, where there are no more."""
        return self if count >= len(self) else self.take(np.arange(count) * len(self) // count)


def semeval(folder: Path, files: Sequence[str]) -> Items:
    """Read a subset of STS12 to STS16: a file of ``sentence<TAB>sentence`` lines beside a file of scores.

    Lines without a score are not part of the task.
    """
    texts, scores = (_lines(folder / name) for name in files)
    if len(texts) != len(scores):
        raise DataError(
            f"{folder / files[0]} has {len(texts)} lines and {files[1]} {len(scores)}; they belong line to line"
        )
    rows = [
        (number, text, score)
        for number, (text, score) in enumerate(zip(texts, scores, strict=True), 1)
        if score.strip()
    ]
    pairs = [_columns(folder / files[0], number, text, (0, 1)) for number, text, _ in rows]
    gold = [_number(folder / files[1], number, score) for number, _, score in rows]
    return _pairs(pairs, np.array(gold, np.float64))


def sts_benchmark(folder: Path, files: Sequence[str]) -> Items:
    """Read STS-B: score and sentences in columns 5, 6 and 7; further columns are sources."""
    return _scored_pairs(folder / files[0], (4, 5, 6), header=False)


def sick(folder: Path, files: Sequence[str]) -> Items:
    """Read SICK's relatedness: a header, then sentences in columns 2 and 3 and the score in column 4."""
    return _scored_pairs(folder / files[0], (3, 1, 2), header=True)


def mrpc(folder: Path, files: Sequence[str]) -> Items:
    """Read MRPC: a header, then the class in column 1 and the sentences in columns 4 and 5; byte order mark."""
    path = folder / files[0]
    rows = [(n, _columns(path, n, line, (0, 3, 4))) for n, line in enumerate(_lines(path, "utf-8-sig"), 1) if n > 1]
    return _pairs([(a, b) for _, (_, a, b) in rows], _classes([_class(path, n, row[0], 2) for n, row in rows]))


def two_files(folder: Path, files: Sequence[str]) -> Items:
    """Read MR, CR, SUBJ or MPQA: one sentence a line, the first file of class 1, the second of class 0.

    Empty lines count, as in SentEval (CR has four, MPQA three).
    """
    ones, zeros = (_lines(folder / name) for name in files)
    texts = tuple(_join(line) for line in ones + zeros)
    return Items(texts, None, _classes([1] * len(ones) + [0] * len(zeros)))


def sst(folder: Path, files: Sequence[str]) -> Items:
    """Read SST2: ``sentence<TAB>class`` lines."""
    path = folder / files[0]
    rows = [(n, _columns(path, n, line, (0, 1))) for n, line in enumerate(_lines(path), 1)]
    return Items(
        tuple(_join(text) for _, (text, _) in rows), None, _classes([_class(path, n, c, 2) for n, (_, c) in rows])
    )


def trec(folder: Path, files: Sequence[str]) -> Items:
    """Read TREC: ``CLASS:subclass question`` lines in Latin-1."""
    path = folder / files[0]
    texts, classes = [], []
    for number, line in enumerate(_lines(path, "latin-1"), 1):
        label, _, question = line.strip().partition(" ")
        name, colon, _ = label.partition(":")
        if name not in TREC_CLASSES or not colon or not question.strip():
            raise DataError(
                f"{path} line {number}: {line[:60]!r}; a line is 'CLASS:subclass question', "
                f"with one of the classes {', '.join(TREC_CLASSES)}"
            )
        texts.append(_join(question))
        classes.append(TREC_CLASSES.index(name))
    return Items(tuple(texts), None, _classes(classes))


def _scored_pairs(path: Path, columns: tuple[int, int, int], header: bool) -> Items:
    rows = [(n, _columns(path, n, line, columns)) for n, line in enumerate(_lines(path), 1) if n > 1 or not header]
    return _pairs(
        [(a, b) for _, (_, a, b) in rows], np.array([_number(path, n, row[0]) for n, row in rows], np.float64)
    )


def _lines(path: Path, encoding: str = "utf-8") -> list[str]:
    try:
        text = path.read_bytes().decode(encoding)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; {HOW_TO_FETCH}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as {encoding}: {error}; {HOW_TO_FETCH}") from error
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _columns(path: Path, number: int, line: str, columns: Sequence[int]) -> tuple[str, ...]:
    values = line.rstrip("\r").split("\t")
    if len(values) <= max(columns):
        raise DataError(
            f"{path} line {number} has {len(values)} tab-separated columns where {max(columns) + 1} are needed; "
            "the file is cut off or was rewritten by another program"
        )
    return tuple(values[i] for i in columns)


def _number(path: Path, number: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path} line {number}: the score is {text.strip()!r}; it is a number from 0 to 5")
    return value


def _class(path: Path, number: int, text: str, classes: int) -> int:
    if text.strip() not in {str(i) for i in range(classes)}:
        raise DataError(f"{path} line {number}: the class is {text.strip()!r}; it is a whole number below {classes}")
    return int(text)


def _classes(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def _pairs(pairs: Sequence[tuple[str, ...]], gold: np.ndarray) -> Items:
    return Items(tuple(_join(a) for a, _ in pairs), tuple(_join(b) for _, b in pairs), gold)


def _join(text: str) -> str:
    return " ".join(text.split())
