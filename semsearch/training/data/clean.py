"""Leave out of training what must not be in it: duplicates, and sentences equal or near to those of evaluations."""

from __future__ import annotations

import gzip
import re
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.errors import DataError
from semsearch.training.data.rows import Rows, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from semsearch.training.recipe import Clean

MIN_LETTERS = 12
"""Letters and digits from which on a field of an evaluation file is taken for a sentence."""


def key(text: str) -> str:
    """Return a text's letters and digits, case ignored: the same for texts that are equal to a reader."""
    return "".join(filter(str.isalnum, text.casefold()))


def clean(sources: Sequence[Rows], rules: Clean, data: Path, held: Iterable[str] = ()) -> list[Rows]:
    """Return the sources without duplicates, evaluation sentences and texts of the dev sets.

    Args:
        sources: What was read; of equal rows the first source keeps one. Their counts then say how many rows went.
        rules: The recipe's [clean].
        data: The data folder, to which the evaluation files' paths are relative.
        held: The texts of the dev sets.

    Raises:
        DataError: An evaluation file is missing, or a source has fewer than two rows left.
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
            parts = row.texts
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
    """Yield the sentences of evaluation files: every field of every line, split at tabs.

    Args:
        paths: Files, also with .gz, and folders, which stand for all files below them.

    Raises:
        DataError: One does not exist.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"there is no evaluation file or folder {path}; see clean.evaluation of the recipe")
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            for line in content.decode("utf-8", "replace").split("\n"):
                for text in line.split("\t"):
                    if sum(map(str.isalnum, text)) >= MIN_LETTERS:
                        yield text


def near(texts: Iterable[str], references: Iterable[str], share: float) -> dict[str, str]:
    """Return, for each text that has one, a reference whose set of words overlaps its own by ``share`` (Jaccard).

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
    """Return the positions, in order, of the texts that no earlier kept one overlaps by ``share`` (as in ``near``)."""
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
    """Return a text's words, case ignored."""
    return frozenset(re.findall(r"\w+", text.casefold()))


def _rarest(found: frozenset[str], frequency: Counter[str], share: float) -> list[str]:
    """Return the rarest words, so many that two sets which overlap by ``share`` have one of them in common."""
    order = sorted(found, key=lambda word: (frequency[word], word))
    return order[: len(order) - -int(-share * len(order) // 1) + 1]


def _all_texts(sources: Sequence[Rows]) -> Iterator[str]:
    """Yield every text of every row."""
    for source in sources:
        for row in source.rows:
            yield from row.texts
