"""Choose which of the ranked passages become hits: near-duplicates folded, few of one document or of one page."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer import words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from indexer.types import StoredPassage

COSINE = 0.9
"""Vectors of near-duplicates are at least this near. Of passages of 60 words those with one word changed are at 0.97 or
more, with or without a trained adapter, and those with a line added at 0.93 or more (scripts/research/LOG.md)."""
OVERLAP = 0.85
"""Near-duplicates share at least this part of the terms that either has (Jaccard)."""
SIZE = 3
"""Terms of a shingle."""
SHINGLES = 0.6
"""Two versions of a page share at least this part of their shingles, numbers aside."""
VERSIONS = 2
"""Hits of one page that comes in many versions, unless another number is asked for."""
MAX_DIFFERENCES = 3
"""Places that are shown where a folded passage differs."""

NEGATIONS = frozenset(
    """aint cannot hardly neither never no nobody none nor not nothing nowhere without t
    nicht kein keine keinen keiner nie niemals ohne weder jamais pas sans rien nunca jamas sin ni nao sem mai
    нет не ни без никогда nie bez nooit niet geen aldri ikke inte aldrig""".split()
)
"""Words that turn a sentence's meaning around ("t" stands in "don't")."""
_NEGATING = re.compile("[不沒没無无非未勿莫否]|ない|ません|안|않|없|못|ไม่")
_OPERATORS = re.compile(r"(?<=[^\s])[^\S\n]+([-+*/%=<>&|^~!:]{1,3})(?=\s)|([<>=!]=|<|>|:=|->|&&|\|\|)")
_VERSION = re.compile(r"(?<![^\W\d_])v?\d+(?:[._]\d+)+|(?<![^\W\d_])v\d+", re.IGNORECASE)


class Folded(NamedTuple):
    """A passage that is shown as a duplicate of a better one."""

    row: StoredPassage
    difference: str | None
    """Words in which it differs from the better one, for a person; None where the texts are equal."""


@dataclass
class Kept:
    """A passage that becomes a hit, and the worse ones that say the same."""

    row: StoredPassage
    said: _Said
    duplicates: list[Folded] = field(default_factory=list)


@dataclass(frozen=True)
class _Said:
    """A passage's text as it is compared."""

    id: int
    text: tuple[str, ...]
    """Its words with their punctuation, comparable: equal where the texts are."""
    terms: tuple[str, ...]
    """In their order."""
    operators: Counter[str]
    page: str
    """Name of the file, with a version in it left out; records of one file have none."""
    path: str

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(self.terms)

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.terms)

    @cached_property
    def shingles(self) -> frozenset[tuple[str, ...]]:
        """Each three terms in a row, numbers as one and the same."""
        plain = [re.sub(r"\d+", "0", term) for term in self.terms]
        if len(plain) < SIZE:
            return frozenset({tuple(plain)})
        return frozenset(tuple(plain[at : at + SIZE]) for at in range(len(plain) - SIZE + 1))

    @classmethod
    def of(cls, row: StoredPassage) -> _Said:
        value = row.passage.text
        name = row.path.rpartition("/")[2]
        return cls(
            row.id,
            tuple(words.comparable(value).split()),
            tuple(token.term for token in words.analyse(value) if not token.part),
            Counter(one or other for one, other in _OPERATORS.findall(value)),
            _VERSION.sub("", name.casefold()) if row.record is None else "",
            row.path,
        )


def select(
    rows: Sequence[StoredPassage],
    vectors: Callable[[Sequence[int]], np.ndarray],
    k: int,
    collapse: bool = True,
    per_document: int | None = None,
    query: str = "",
    versions: int = VERSIONS,
) -> list[Kept]:
    """Return the k best of the rows, best first; fewer where the rows do not suffice.

    Args:
        rows: Passages in the order of their ranking.
        vectors: Takes ids (n,), gives stored unit vectors (n, d), NaN where there is none. It is asked only where texts
            share their words.
        k: Hits wanted.
        collapse: Fold passages that say the same as a better one into it, and versions of a page beyond the first.
        per_document: Hits of one document at most.
        query: Passages that differ in a word which it names are no duplicates.
        versions: Hits of one page that comes in many versions, at most.
    """
    named = {term for each in words.query(query).wanted for phrase in each.alternatives for term in phrase}
    kept: list[Kept] = []
    of_document: Counter[tuple[str, str | None]] = Counter()
    for row in rows:
        said = _Said.of(row)
        same = _twin(kept, said, named, vectors, versions) if collapse else None
        if same is not None:
            same.duplicates.append(Folded(row, difference(same.row.passage.text, row.passage.text)))
        elif len(kept) < k and (per_document is None or of_document[row.path, row.record] < per_document):
            of_document[row.path, row.record] += 1
            kept.append(Kept(row, said))
    return kept


def difference(text: str, other: str) -> str | None:
    """Return the words in which ``other`` differs, as "1.0 → 2.0, + never"; None where they say the same."""
    ours, theirs = text.split(), other.split()
    matcher = SequenceMatcher(None, [words.comparable(w) for w in ours], [words.comparable(w) for w in theirs], False)
    found = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            one, two = _short(ours[a:b]), _short(theirs[c:d])
            found.append(f"{one} → {two}" if one and two else f"+ {two}" if two else f"- {one}")
    if not found:
        return None
    more = ", …" if len(found) > MAX_DIFFERENCES else ""
    return ", ".join(found[:MAX_DIFFERENCES]) + more


def _short(found: Sequence[str]) -> str:
    return " ".join(found) if len(found) < 8 else " ".join([*found[:6], "…"])


def _twin(
    kept: Sequence[Kept],
    said: _Said,
    named: set[str],
    vectors: Callable[[Sequence[int]], np.ndarray],
    versions: int,
) -> Kept | None:
    """Return the kept passage that the new one is folded into; None where it says something of its own."""
    pages = []
    for each in kept:
        if each.said.text == said.text:
            return each
        versions_of_a_page, alike = _are_versions(each.said, said), _share_words(each.said, said)
        if not versions_of_a_page and not alike:  # nearly all pairs: no look at how they differ
            continue
        differing = _differing(each.said, said)
        if differing & named or _tells(each.said, said, differing):
            continue
        if versions_of_a_page:
            pages.append(each)
        elif not _numbers(differing) and _mean_the_same(each.said, said, vectors):
            return each
    return pages[0] if len(pages) >= versions else None


def _differing(a: _Said, b: _Said) -> set[str]:
    """Return the terms that one of the texts has more often."""
    return {*(a.counts - b.counts), *(b.counts - a.counts)}


def _tells(a: _Said, b: _Said, differing: set[str]) -> bool:
    """Return whether the few words in which texts differ turn their meaning: not, C and C++, plan A and B, < and >."""
    if a.operators != b.operators:
        return True
    return any(
        term in NEGATIONS or _NEGATING.search(term) or (len(term) == 1 and term.isalpha()) or set(term) & set("+#")
        for term in differing
    )


def _numbers(differing: set[str]) -> bool:
    """Return whether texts differ in a number: two rows of a price list are no duplicates."""
    return any(re.search(r"\d", term) for term in differing)


def _share_words(a: _Said, b: _Said) -> bool:
    """Return whether texts share nearly all words."""
    return _overlap(a.vocabulary, b.vocabulary, OVERLAP)


def _mean_the_same(a: _Said, b: _Said, vectors: Callable[[Sequence[int]], np.ndarray]) -> bool:
    first, second = vectors([a.id, b.id])
    return bool(first @ second >= COSINE)


def _are_versions(a: _Said, b: _Said) -> bool:
    """Return whether two files of one name hold the same passage but for numbers and a few words."""
    return bool(a.page) and a.page == b.page and a.path != b.path and _overlap(a.shingles, b.shingles, SHINGLES)


def _overlap(one: frozenset[Any], two: frozenset[Any], least: float) -> bool:
    """Return whether sets share at least this part of what either has (Jaccard)."""
    if min(len(one), len(two)) < least * max(len(one), len(two)):  # already by their sizes
        return False
    common = len(one & two)
    return common >= least * (len(one) + len(two) - common)
