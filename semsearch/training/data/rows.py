"""Rows to train on: files and hub data sets → rows, several sources → a plan of batches.

A row is an anchor, its positive and any number of hard negatives. The plan of batches is a function of the recipe
and the data alone, so a run that was killed knows where it stood by its step number.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np

from indexer.errors import DataError
from semsearch.training.recipe import Dev, Source, SourceKind

LABELS = {
    "entailment": "entailment", "entails": "entailment", "0": "entailment",
    "neutral": "neutral", "1": "neutral",
    "contradiction": "contradiction", "contradicts": "contradiction", "2": "contradiction",
}  # fmt: skip
"""NLI labels as files write them; SciTail says entails and neutral, hub data sets number them."""

COLUMNS = {
    "anchor": ("anchor", "query", "sent0", "premise", "sentence1", "text", "sentence"),
    "positive": ("positive", "sent1", "hypothesis", "sentence2"),
    "negative": ("negative", "negatives", "hard_neg"),
    "premise": ("premise", "sentence1"),
    "hypothesis": ("hypothesis", "sentence2"),
    "label": ("label", "gold_label", "annotator_labels"),
    "source": ("source",),
    "score": ("score", "similarity_score"),
}
"""Our name of a column → the names under which files have it, best first."""

Record = Mapping[str, object]


@dataclass(frozen=True)
class Row:
    """Two texts that belong together, and texts that do not belong to the first."""

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts."""
        return (self.anchor, self.positive, *self.negatives)


@dataclass(frozen=True)
class Rows:
    """One source's rows, ready to train on, and what was left out on the way."""

    source: Source
    rows: tuple[Row, ...]
    digest: str
    """SHA-256 (hex) of the rows."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """read, kept, and each reason for leaving a row out → rows."""


def load(source: Source, data: Path, seed: int = 0, own: Mapping[str, Sequence[Row]] | None = None) -> Rows:
    """Read one source; exact duplicates stay (``clean.clean`` removes them).

    Args:
        source: What to read.
        data: The data folder.
        seed: Of the draw, where the source has a limit.
        own: Rows that are in no file, by the path under which the recipe names them.

    Raises:
        DataError: The file is missing, is not what the source says, or gives no row.
    """
    name = source.path
    counts = {"read": 0}
    if own is not None and name in own:
        rows = list(own[name])
        counts["read"] = len(rows)
    else:
        records = _filtered(_records(name, data), source.include, source.exclude, source.columns, name, counts)
        rows = (_from_nli if source.kind == "nli" else _from_columns)(records, source, counts)
    if source.max_words is not None:
        rows = [_cut(row, source.max_words) for row in rows]
    if source.limit is not None and len(rows) > source.limit:
        keep = np.sort(np.random.default_rng([seed, 71]).choice(len(rows), source.limit, replace=False))
        counts["over the limit"] = len(rows) - source.limit
        rows = [rows[i] for i in keep]
    if not rows:
        raise DataError(
            f"{name}: no row is left to train on of {counts['read']} read "
            f"({_listed(counts)}); see include, exclude and columns of this source"
        )
    return Rows(source, tuple(rows), digest(rows), {**counts, "kept": len(rows)})


def _cut(row: Row, words: int) -> Row:
    """Return the row with every text cut after so many words."""
    anchor, positive, *negatives = (_first(text, words) for text in row.texts)
    return Row(anchor, positive, tuple(negatives))


def _first(text: str, words: int) -> str:
    """Return the text up to the end of its word number ``words``; white space stays as it is."""
    ends = [match.end() for match in islice(re.finditer(r"\S+", text), words)]
    return text[: ends[-1]] if ends else text


def digest(rows: Sequence[Row]) -> str:
    """Return the SHA-256 (hex) of rows."""
    value = hashlib.sha256()
    for row in rows:
        value.update(json.dumps([row.anchor, row.positive, row.negatives]).encode())
    return value.hexdigest()


# -- dev sets ---------------------------------------------------------------------------------------------------


def dev_rows(dev: Dev, data: Path, own: Mapping[str, Sequence[Row]] | None = None) -> list[Row]:
    """Return the rows of a dev set of kind pairs or triplets: a fixed sample where it has a limit.

    Raises:
        DataError: The file is missing or not what the recipe says.
    """
    kind: SourceKind = "pairs" if dev.kind == "pairs" else "triplets"
    source = Source(path=dev.path, kind=kind, include=dev.include, exclude=dev.exclude, columns=dev.columns)
    rows = list(load(source, data, own=own).rows)
    if dev.kind == "pairs":  # one row a text: an equal query or positive elsewhere would be right, and counted wrong
        seen: set[str] = set()
        distinct = []
        for row in rows:
            if not {row.anchor, row.positive} & seen:
                seen |= {row.anchor, row.positive}
                distinct.append(row)
        rows = distinct
    if dev.limit is not None and len(rows) > dev.limit:
        rows = [rows[i] for i in np.sort(np.random.default_rng(72).choice(len(rows), dev.limit, replace=False))]
    return rows


def scored_pairs(dev: Dev, data: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Return a dev set's first sentences, second sentences, and people's scores: (n,) float64.

    The file is STS-B's own (sts-dev.csv), or has columns sentence1, sentence2 and score.

    Raises:
        DataError: The file is missing or not of this form, or has fewer than two pairs.
    """
    if Path(dev.path).name.startswith("sts-"):
        from semsearch.evaluation.sentences import senteval_files

        path = _find(dev.path, data)
        items = senteval_files.sts_benchmark(path.parent, [path.name])
        first, second, gold = list(items.first), list(items.second or ()), items.gold
    else:
        first, second, scores = [], [], []
        for number, record in enumerate(_records(dev.path, data), 1):
            columns = {"anchor": "sentence1", "positive": "sentence2", **dev.columns}
            a, b, score = (_get(record, c, columns, dev.path, number) for c in ("anchor", "positive", "score"))
            first.append(_text(a, dev.path, number, "sentence1"))
            second.append(_text(b, dev.path, number, "sentence2"))
            try:
                scores.append(float(str(score)))
            except ValueError as error:
                raise DataError(f"{dev.path}, row {number}: the score is {score!r}; it is a number") from error
        gold = np.array(scores, np.float64)
    if dev.limit is not None and len(first) > dev.limit:
        keep = np.arange(dev.limit) * len(first) // dev.limit
        first, second, gold = [first[i] for i in keep], [second[i] for i in keep], gold[keep]
    if len(first) < 2:
        raise DataError(f"{dev.path}: {len(first)} scored pairs; a rank correlation needs at least two")
    return first, second, gold


# -- records → rows ---------------------------------------------------------------------------------------------


def _from_columns(records: Iterable[tuple[int, Record]], source: Source, counts: dict[str, int]) -> list[Row]:
    """Return the rows of records that have a text, two or three in columns of their own."""
    rows = []
    for number, record in records:
        anchor = _text(_get(record, "anchor", source.columns, source.path, number), source.path, number, "anchor")
        if source.kind == "sentences":
            rows.append(Row(anchor, anchor))
            continue
        value = _get(record, "positive", source.columns, source.path, number)
        positive = _text(value, source.path, number, "positive")
        required = source.kind == "triplets"
        found = _get(record, "negative", source.columns, source.path, number, required=required)
        values = found if isinstance(found, list) else [] if found is None else [found]
        negatives = tuple(_text(v, source.path, number, "negative") for v in values)
        if anchor == positive:
            counts["both sides equal"] = counts.get("both sides equal", 0) + 1
            continue
        rows.append(Row(anchor, positive, negatives[:1]))
    return rows


def _from_nli(records: Iterable[tuple[int, Record]], source: Source, counts: dict[str, int]) -> list[Row]:
    """Return rows of a premise, one hypothesis that it entails and one hard negative; a hypothesis is used once."""
    groups: dict[str, tuple[list[str], list[str]]] = {}
    labels: dict[str, int] = {}
    for number, record in records:
        label = str(_get(record, "label", source.columns, source.path, number)).strip().lower()
        if label in ("-", "-1", ""):  # the annotators did not agree
            counts["no agreed label"] = counts.get("no agreed label", 0) + 1
            continue
        if label not in LABELS:
            raise DataError(f"{source.path}, row {number}: the label is {label!r}; it is one of {', '.join(LABELS)}, -")
        label = LABELS[label]
        labels[label] = labels.get(label, 0) + 1
        premise, hypothesis = (
            _text(_get(record, c, source.columns, source.path, number), source.path, number, c)
            for c in ("premise", "hypothesis")
        )
        group = groups.setdefault(premise, ([], []))
        if label == "entailment":
            group[0].append(hypothesis)
        elif label in source.negatives:
            group[1].append(hypothesis)
    positives, negatives = labels.get("entailment", 0), sum(labels.get(name, 0) for name in source.negatives)
    if labels and (not positives or (not negatives and not source.positives_only)):
        raise DataError(
            f"{source.path} has only {_listed(labels)}; triplets need entailment and {' or '.join(source.negatives)} "
            "(negatives names other labels, positives_only needs none)"
        )
    if source.positives_only:
        return [Row(premise, p) for premise, (good, _) in groups.items() for p in good if p != premise]
    rows = [Row(premise, p, (n,)) for premise, (good, bad) in groups.items() for p, n in zip(good, bad, strict=False)]
    if labels and not rows:
        raise DataError(f"{source.path}: no premise has both an entailed and a contradicted hypothesis")
    return rows


def _filtered(
    records: Iterable[Record],
    include: Sequence[str],
    exclude: Sequence[str],
    columns: Mapping[str, str],
    name: str,
    counts: dict[str, int],
) -> Iterator[tuple[int, Record]]:
    """Yield the records that ``include`` and ``exclude`` let through, numbered from 1."""
    for number, record in enumerate(records, 1):
        counts["read"] = number
        if include or exclude:
            parts = set(str(_get(record, "source", columns, name, number)).split("+"))
            if (include and not parts <= set(include)) or parts & set(exclude):
                counts["of other sources"] = counts.get("of other sources", 0) + 1
                continue
        yield number, record


def _get(
    record: Record, column: str, columns: Mapping[str, str], name: str, number: int, required: bool = True
) -> object:
    """Return what a record has in one of our columns; None where it may lack the column."""
    names = (columns[column],) if column in columns else COLUMNS[column]
    for candidate in names:
        if candidate in record:
            return record[candidate]
    if required:
        raise DataError(
            f"{name}, row {number} has no column for {column}: it has {', '.join(map(str, record))}; "
            f'expected {" or ".join(names)}, or name it under columns, for example columns = {{ {column} = "…" }}'
        )
    return None


def _text(value: object, name: str, number: int, column: str) -> str:
    """Return a value as a text without white space around it."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{name}, row {number}: the {column} is {value!r}; it is a text that is not empty")
    return value.strip()


# -- files → records --------------------------------------------------------------------------------------------


def _records(name: str, data: Path) -> Iterator[Record]:
    """Yield the records of a JSON-lines, CSV, TSV file (gzip too), or of a hub data set."""
    if name.startswith("hub:"):
        yield from _from_hub(name.removeprefix("hub:"))
        return
    path = _find(name, data)
    try:
        raw = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115 - closed by the next line
        with raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
            kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1].lower()
            if kind in ("jsonl", "json", "ndjson"):
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield _record(line, name, number)
            elif kind in ("csv", "tsv", "txt"):
                yield from _table(file, kind, name)
            else:
                raise DataError(f"{name} ends in .{kind}; rows are read from .jsonl, .csv and .tsv, also with .gz")
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _record(line: str, name: str, number: int) -> Record:
    """Return the record of one line of JSON."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{name}, line {number} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{name}, line {number} is {type(value).__name__}; a line is one JSON object")
    return value


def _table(file: Iterable[str], kind: str, name: str) -> Iterator[Record]:
    """Yield the records of a table with a header.

    A tab-separated one may be SciTail's: premise, hypothesis, label, and no header. A .txt file without a tab in its
    first line is one text a line.
    """
    if kind == "csv":
        yield from csv.DictReader(file)
        return
    if kind == "txt":
        lines = iter(file)
        first = next(lines, "")
        if "\t" not in first:
            yield from ({"text": line.strip()} for line in chain([first], lines) if line.strip())
            return
        file = chain([first], lines)
    reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(reader, [])
    if len(header) == 3 and header[2].strip().lower() in LABELS:
        yield dict(zip(("premise", "hypothesis", "label"), header, strict=True))
        header = ["premise", "hypothesis", "label"]
    for number, values in enumerate(reader, 2):
        if len(values) < len(header):
            raise DataError(f"{name}, line {number} has {len(values)} columns and the first line {len(header)}")
        yield dict(zip(header, values, strict=False))


def _from_hub(name: str) -> Iterator[Record]:
    """Yield the records of OWNER/NAME or OWNER/NAME/CONFIG, either with :SPLIT (else train)."""
    import datasets

    name, _, split = name.partition(":")
    parts = name.split("/")
    try:
        found = datasets.load_dataset("/".join(parts[:2]), *parts[2:3], split=split or "train")
    except Exception as error:  # the library raises errors of several others
        raise DataError(f"the data set {name} cannot be had from the hub: {type(error).__name__}: {error}") from error
    yield from found


def _find(name: str, data: Path) -> Path:
    """Return the file of a recipe's path."""
    if name.startswith("collection:"):
        raise DataError(f"{name} is made from a collection; name it with --collection NAME")
    path = Path(name).expanduser()
    path = path if path.is_absolute() else data / path
    if not path.is_file():
        raise DataError(f"there is no file {path}; paths in a recipe are relative to the data folder (--data)")
    return path


def _listed(counts: Mapping[str, int]) -> str:
    """Return counts in words."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())
