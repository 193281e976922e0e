"""What must not be trained on: duplicates, and sentences of the evaluation sets, equal or nearly so."""

from __future__ import annotations

import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from indexer.errors import DataError
from semsearch.training.recipe import Clean
from semsearch.training.rows import Row, Rows, digest

LEAST = 12
"""Letters and digits from which on a field of an evaluation file is taken for a sentence."""


def key(text: str) -> str:
    """What two texts have in common that are equal to a reader: letters and digits, case ignored."""
    return "".join(filter(str.isalnum, text.casefold()))


def clean(sources: Sequence[Rows], rules: Clean, data: Path, held: Iterable[str] = ()) -> list[Rows]:
    """The sources without duplicates (the first source keeps a row), evaluation sentences, and the texts of the dev
    sets (``held``); counts say how many rows went.

    Raises DataError where nothing, or a single row, is left: a contrastive loss needs two rows.
    """
    texts = list(evaluation_texts([data / path for path in rules.evaluation]))
    exact = {key(text) for text in texts}
    dev = {key(text) for text in held}
    banned = {} if not rules.near or not texts else near(_all_texts(sources), texts, rules.near)
    seen: set[tuple[str, str]] = set()
    result = []
    for source in sources:
        counts, kept = dict(source.counts), []
        for row in source.rows:
            parts = (row.anchor, row.positive, *row.negatives)
            pair = (key(row.anchor), key(row.positive))
            if exact and any(key(text) in exact for text in parts):
                why = "evaluation sentence"
            elif dev and any(key(text) in dev for text in parts):
                why = "dev sentence"
            elif any(text in banned for text in parts):
                why = "near an evaluation sentence"
            elif rules.duplicates and pair in seen:
                why = "duplicate"
            else:
                seen.add(pair)
                kept.append(row)
                continue
            counts[why] = counts.get(why, 0) + 1
        counts["kept"] = len(kept)
        result.append(replace(source, rows=tuple(kept), digest=digest(kept), counts=counts))
    total = sum(len(source.rows) for source in result)
    if total < 2:
        raise DataError(f"{total} row{'' if total == 1 else 's'} to train on; the contrastive loss needs two or more")
    for source in result:
        if len(source.rows) < 2:
            count = len(source.rows)
            raise DataError(f"{source.source.path}: rows left: {count}; a batch needs two or more of one source")
    return result


def evaluation_texts(paths: Iterable[Path]) -> Iterator[str]:
    """Sentences of evaluation files (a folder: all files below it): every field of every line, split at tabs."""
    for path in paths:
        if not path.exists():
            raise DataError(f"there is no evaluation file or folder {path}; see clean.evaluation of the recipe")
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            for line in content.decode("utf-8", "replace").split("\n"):
                for text in line.split("\t"):
                    if sum(map(str.isalnum, text)) >= LEAST:
                        yield text


def near(texts: Iterable[str], references: Iterable[str], share: float) -> dict[str, str]:
    """Text → a reference whose set of words overlaps its own by at least ``share`` (Jaccard).

    Exact, by prefix filtering (Chaudhuri et al. 2006): with each set's words in order of rarity, two sets that
    overlap enough share one of their first few words.
    """
    sets = {text: words(text) for text in dict.fromkeys(texts)}
    others = {text: words(text) for text in dict.fromkeys(references)}
    frequency = Counter(word for group in (sets, others) for found in group.values() for word in found)
    index: defaultdict[str, list[str]] = defaultdict(list)
    for reference, found in others.items():
        for word in _rarest(found, frequency, share):
            index[word].append(reference)
    result = {}
    for text, found in sets.items():
        candidates = dict.fromkeys(c for word in _rarest(found, frequency, share) for c in index.get(word, ()))
        for candidate in candidates:
            other = others[candidate]
            if len(found & other) >= share * len(found | other):
                result[text] = candidate
                break
    return result


def distinct(texts: Sequence[str], share: float = 0.8) -> list[int]:
    """Positions of the texts that no earlier kept one equals or overlaps by ``share`` (as in ``near``), in order."""
    sets = [words(text) for text in texts]
    frequency = Counter(word for found in sets for word in found)
    index: defaultdict[str, list[int]] = defaultdict(list)
    kept: list[int] = []
    for i, found in enumerate(sets):
        rarest = _rarest(found, frequency, share)
        candidates = {j for word in rarest for j in index[word]}
        if any(len(found & sets[j]) >= share * len(found | sets[j]) for j in candidates):
            continue
        kept.append(i)
        for word in rarest:
            index[word].append(i)
    return kept


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def _rarest(found: frozenset[str], frequency: Counter[str], share: float) -> list[str]:
    order = sorted(found, key=lambda word: (frequency[word], word))
    return order[: len(order) - -int(-share * len(order) // 1) + 1]


def _all_texts(sources: Sequence[Rows]) -> Iterator[str]:
    for source in sources:
        for row in source.rows:
            yield from _texts(row)


def _texts(row: Row) -> tuple[str, ...]:
    return (row.anchor, row.positive, *row.negatives)
