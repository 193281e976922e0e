"""Which index a collection gets: the plan, made of its size and of what there is to keep it in, before it is built."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

RECALL = 0.95
"""Recall@10 that is asked for where nobody says another."""
AUTO = "auto"
"""What a person says to have the index planned, in place of a factory."""
COPY_BYTES = 64_000_000
"""Vectors up to which the index holds them as they are: it is quick all the same, and lost files are mended from it."""
SCAN_BYTES = 250_000_000
"""Codes of one byte a dimension up to which every one of them is looked at for each query."""
CHURN = 0.1
"""Share of passages leaving between two builds from which on a graph, which cannot let go of any, is not worth it."""
MEMORY_SHARE = 0.25
"""Share of the machine's memory that an index may fill where nobody says how much."""
SAMPLES_PER_CELL = 39
"""Fewest vectors that a cell of an inverted file is fitted to; FAISS warns of fewer."""

_CODES = r"Flat|SQfp16|SQ8|SQ4|RaBitQfs[2-9]?|RaBitQ[2-9]?"
_FACTORY = re.compile(
    rf"(?:RR(?P<rotation>\d+),)?(?:HNSW(?P<links>\d+),(?P<graph>Flat|SQfp16|SQ8|SQ4)"
    rf"|IVF(?P<cells>\d+),(?P<listed>{_CODES})|(?P<flat>Flat|SQfp16|SQ8))"
)
_EXAMPLES = "Flat, SQfp16, SQ8, HNSW32,SQ8, IVF1024,SQ8, RR576,IVF1024,RaBitQfs4 (RR and the number of dimensions)"


@dataclass(frozen=True)
class Shape:
    """The parts of a factory, FAISS's name of an index."""

    factory: str
    rotation: int | None
    links: int | None
    """Of each vector of a graph; None: it is none."""
    cells: int | None
    """Of an inverted file; None: it is none."""
    codes: str

    @classmethod
    def of(cls, factory: str, dim: int | None = None) -> Shape:
        """Return the parts of a factory.

        Args:
            factory: As a person writes it.
            dim: Dimensions of the vectors; None: not known yet.

        Raises:
            UsageError: It is none that can be built here.
        """
        found = _FACTORY.fullmatch(factory)
        if found is None:
            raise UsageError(f"index plan {factory!r} is not known; it is {AUTO} or a factory of FAISS: {_EXAMPLES}")
        rotation, links, cells = (int(n) if (n := found[name]) else None for name in ("rotation", "links", "cells"))
        shape = cls(factory, rotation, links, cells, found["graph"] or found["listed"] or found["flat"])
        if rotation is not None and dim is not None and rotation != dim:
            raise UsageError(f"index plan {factory!r} turns {rotation} dimensions; the vectors have {dim}: RR{dim}")
        if links is not None and not 2 <= links <= 256:
            raise UsageError(f"index plan {factory!r} has {links} links; it is a number from 2 to 256, such as HNSW32")
        if cells is not None and not 1 <= cells <= 1 << 20:
            raise UsageError(f"index plan {factory!r} has {cells} cells; it is a number from 1 to {1 << 20}")
        if shape.short and rotation is None:
            raise UsageError(
                f"index plan {factory!r} has codes that are only good of turned vectors; say RR{dim or 'DIMENSIONS'},"
                f"{factory}"
            )
        return shape

    @property
    def scans(self) -> bool:
        """Whether every code is looked at for each query, so that nothing is missed."""
        return self.links is None and self.cells is None

    @property
    def whole(self) -> bool:
        """Whether the codes are the vectors themselves, as far as fp16 holds them."""
        return self.codes in ("Flat", "SQfp16")

    @property
    def bytewise(self) -> bool:
        """Whether it is a graph over bytes that are compared as whole numbers, see ``local/index/whole_numbers``."""
        return self.links is not None and self.codes == "SQ8" and self.rotation is None

    @property
    def short(self) -> bool:
        """Whether codes are of a few bits a dimension, made for vectors that are turned at random."""
        return self.codes.startswith("RaBitQ")

    @property
    def effort(self) -> str | None:
        """Name of the number that says how hard a search tries; None: it always looks at all."""
        return "efSearch" if self.links is not None else "nprobe" if self.cells is not None else None

    def least_rows(self) -> int:
        """Return the fewest vectors that it can be fitted to."""
        return 1 if self.cells is None else SAMPLES_PER_CELL * self.cells

    def bytes(self, rows: int, dim: int) -> int:
        """Return about how many bytes it takes, on disk and, once searched all over, in memory."""
        each = 8.0 + dim * _bits(self.codes) / 8  # the id, the code
        if self.short:
            each += 8 + 8 * (_bits(self.codes) > 1)  # factors of the first bit, and of the others
        if self.links is not None:
            each += 4 * (2 * self.links) + 4 * self.links / (self.links - 1) + 12  # lowest level, higher ones, offsets
        whole = 0
        if self.cells is not None:
            each += 8
            whole += 4 * dim * self.cells
        if self.rotation is not None:
            whole += 4 * dim * dim
        return int(rows * each) + whole

    def seconds(self, rows: int, dim: int, cores: int) -> float:
        """Return about how long it takes to build, by the rates below: those of one core of 2021 (Zen 3)."""
        work = rows * dim / 1e6
        took = work / _WRITTEN
        if self.links is not None:
            farther = 1 + max(0.0, math.log2(max(rows, 1) / (1 << 16))) / 2  # more is looked at, and less of it is near
            took += work * self.links / 32 * farther / _LINKED / cores
        if self.cells is not None:
            sample = min(rows, 64 * self.cells)
            took += (10 * sample + rows) * self.cells * dim / 1e9 / _MULTIPLIED / cores
            took += work * _bits(self.codes) / 8 / _CODED / cores if self.short else 0
        return took


_WRITTEN = 30.0
"""Millions of numbers a second that are read, coded and written."""
_LINKED = 0.76
"""Millions of numbers a second and core that are put into a graph of 32 links, among 65,536 vectors."""
_MULTIPLIED = 20.0
"""Billions of multiplications a second and core, of finding cells."""
_CODED = 2.0
"""Millions of numbers a second and core that are made into codes of a few bits."""


def _bits(codes: str) -> int:
    if codes.startswith("RaBitQ"):
        return int(codes[-1]) if codes[-1].isdigit() else 1
    return {"Flat": 32, "SQfp16": 16, "SQ8": 8, "SQ4": 4}[codes]


@dataclass(frozen=True)
class IndexPlan:
    """An index that is to be built."""

    factory: str
    """FAISS's name of it."""
    search: Mapping[str, int] = field(default_factory=dict)
    """How hard a search tries until that is measured: efSearch or nprobe; empty where it looks at all."""
    bytes: int = 0
    """Predicted, of the file."""
    seconds: float = 0.0
    """Predicted, of building it."""
    why: str = ""

    @property
    def shape(self) -> Shape:
        """The parts of the factory."""
        return Shape.of(self.factory)


def plan(
    rows: int,
    dim: int,
    memory: int | None = None,
    recall: float = RECALL,
    churn: float = 0.0,
    *,
    factory: str | None = None,
    dtype: str = "fp16",
    cores: int | None = None,
) -> IndexPlan:
    """Return the index for so many vectors.

    Args:
        rows: Vectors.
        dim: Numbers of each.
        memory: Bytes that it may fill; None: a quarter of the machine's.
        recall: Share of the ten nearest that is to be found; it decides where a search begins, the rest is measured.
        churn: Share of the vectors that leave between two builds.
        factory: What a person wants instead.
        dtype: fp16 or fp32, as the raw vectors are kept.
        cores: Of the machine; None: those there are.

    Raises:
        UsageError: ``factory`` is none that can be built here.
    """
    cores = cores or os.cpu_count() or 1
    memory = memory or int(MEMORY_SHARE * machine_memory())
    exact = _scanned(rows, dim, dtype)
    if factory is not None:
        shape, why = Shape.of(factory, dim), "asked for by name"
        if rows < shape.least_rows():
            shape, why = exact, f"{factory} is for {shape.least_rows():,} passages and more: until then all are scanned"
    elif rows * dim <= SCAN_BYTES:
        shape, why = exact, f"{_megabytes(exact.bytes(rows, dim))} are scanned whole for a query: nothing is missed"
    else:
        shape, why = _large(rows, dim, memory, churn)
    start = {} if shape.effort is None else {shape.effort: _first_effort(shape, recall)}
    return IndexPlan(shape.factory, start, shape.bytes(rows, dim), shape.seconds(rows, dim, cores), why)


def _scanned(rows: int, dim: int, dtype: str) -> Shape:
    width, codes = (4, "Flat") if dtype == "fp32" else (2, "SQfp16")
    return Shape.of(codes if rows * dim * width <= COPY_BYTES else "SQ8")


def _large(rows: int, dim: int, memory: int, churn: float) -> tuple[Shape, str]:
    graph, cells = Shape.of("HNSW32,SQ8"), _cells(rows)
    scanned = f"{rows:,} passages are too many to scan"
    fits = f"of the {_megabytes(memory)} that an index may fill"
    if graph.bytes(rows, dim) <= memory and churn <= CHURN:
        return graph, f"{scanned}; a graph is quickest, and takes {_megabytes(graph.bytes(rows, dim))} {fits}"
    reason = "a graph would not fit" if churn <= CHURN else f"{churn:.0%} of them change, which a graph cannot follow"
    bytewise = Shape.of(f"IVF{cells},SQ8")
    if bytewise.bytes(rows, dim) <= memory:
        return bytewise, f"{scanned}, {reason}; cells take {_megabytes(bytewise.bytes(rows, dim))} {fits}"
    for bits in ("4", "2", ""):
        short = Shape.of(f"RR{dim},IVF{cells},RaBitQfs{bits}")
        if short.bytes(rows, dim) <= memory:
            break
    return short, f"{scanned}, {reason}; short codes take {_megabytes(short.bytes(rows, dim))} {fits}"


def _cells(rows: int) -> int:
    """Return a power of two near four square roots: it stays the same while a collection grows a little."""
    wanted = 1 << max(0, round(math.log2(4 * rows**0.5)))
    while wanted > 1 and wanted * SAMPLES_PER_CELL > rows:
        wanted //= 2
    return wanted


def _first_effort(shape: Shape, recall: float) -> int:
    harder = 4 if recall > RECALL else 1
    if shape.links is not None:
        return 64 * harder
    return min(shape.cells or 1, max(8, (shape.cells or 1) // 32) * harder)


def machine_memory() -> int:
    """Return the bytes of memory that this process may have: the machine's, or what its container is held to."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        found = 8 << 30
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found = min(found, int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return found


def _megabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(1, round(number / 1e6))} MB"
