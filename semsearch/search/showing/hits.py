"""The values a search answers with: Answer, Hit and Duplicate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from indexer.types import StoredPassage
    from semsearch.search.ranking.selection import Folded
    from semsearch.search.showing.explain import Explanation
    from semsearch.search.showing.sentences import Span
    from semsearch.search.showing.snippets import Mark


@dataclass(frozen=True)
class Duplicate:
    """A place where the same text, or nearly the same, stands as well; the fields mean what those of a Hit mean."""

    path: str
    line_start: int
    line_end: int
    page: int | None
    document: str | None
    passage: int
    kind: str
    difference: str | None = None
    """Words in which its text differs from the hit's, as "1.0 → 2.0, + never"; None where they are equal."""

    @classmethod
    def of(cls, folded: Folded) -> Duplicate:
        """Return a folded passage as a duplicate."""
        row, at = folded.row, folded.row.passage
        return cls(
            row.path, at.line_start, at.line_end, at.page, row.record, row.id, row.kind, difference=folded.difference
        )


@dataclass(frozen=True)
class Hit:
    """One passage found, best first by ``rank``."""

    rank: int
    """From 1."""
    score: float
    """The order of the hits: cosine (dense), BM25 (lexical), inner product of terms (sparse), the fused score (hybrid),
    or the cross-encoder's. A weighted sum reads as 0 to 1; ``explanation.fused`` has it as it is."""
    path: str
    """Absolute path of the file."""
    line_start: int
    """1-based, inclusive, of the file; for PDF, DOCX and HTML of the text that was extracted from it."""
    line_end: int
    page: int | None
    text: str
    document: str | None
    """Identifier of the record in its file; None where the file is one document."""
    passage: int
    """The passage's identifier in the collection."""
    title: str | None
    kind: str
    fields: Mapping[str, str]
    highlight: Span | None
    """Offsets in ``text`` of the sentence nearest to the query; None where no sentence stands out."""
    matches: tuple[Span, ...] = ()
    """Offsets in ``text`` of the query's words, in any form of theirs; ascending."""
    duplicates: tuple[Duplicate, ...] = ()
    """Worse hits that were folded into this one, best first."""
    explanation: Explanation | None = None
    """Only where it was asked for."""
    heading: str | None = None
    """Headings that the passage stands under, outermost first, as in "A › B"; None where there are none."""

    @classmethod
    def of(
        cls,
        rank: int,
        row: StoredPassage,
        score: float,
        mark: Mark,
        duplicates: Sequence[Folded] = (),
        explanation: Explanation | None = None,
    ) -> Hit:
        """Return a stored passage as the hit of this rank."""
        return cls(
            rank=rank,
            score=score,
            path=row.path,
            line_start=row.passage.line_start,
            line_end=row.passage.line_end,
            page=row.passage.page,
            text=row.passage.text,
            document=row.record,
            passage=row.id,
            title=row.title,
            kind=row.kind,
            fields=dict(row.fields),
            highlight=mark.highlight,
            matches=mark.matches,
            duplicates=tuple(map(Duplicate.of, duplicates)),
            explanation=explanation,
            heading=row.passage.heading,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Hit:
        """Return the hit that ``dataclasses.asdict`` made a mapping of, which may have been JSON since.

        Raises:
            TypeError: A field is missing or unknown.
        """
        mark, why = values["highlight"], values["explanation"]
        if why is not None:
            from semsearch.search.showing.explain import Explanation

            why = Explanation.from_dict(why)
        changed = {
            "highlight": None if mark is None else tuple(mark),
            "matches": tuple(tuple(each) for each in values["matches"]),
            "duplicates": tuple(Duplicate(**each) for each in values["duplicates"]),
            "explanation": why,
        }
        return cls(**{**values, **changed})


@dataclass(frozen=True)
class Answer(Sequence[Hit]):
    """The hits of one query, best first, as a sequence; and what to know about them."""

    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    """Remarks for a person, such as that a part of the collection is without vectors yet."""
    generation: int = 0
    """Number of the collection's commit that was searched."""
    version: str = ""
    """Short text that tells this commit from all others, also from those of a collection that took this one's place."""
    fingerprint: str = ""
    """Of the encoder that made the vectors which were searched."""

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...

    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        """Return a hit, or some."""
        return self.hits[index]

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.hits)
