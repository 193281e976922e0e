"""What the tools give back: hits, texts and the state of collections, as short as an agent can use them."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - schemas are made of the fields' types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Self

from semsearch import render
from semsearch.status import Status, Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from semsearch.search.showing.explain import Explanation
    from semsearch.search.showing.extract import Extract
    from semsearch.search.showing.hits import Answer, Hit

MOST_CHARACTERS = 32_000
"""Of a text given at once; what is left can be asked for."""
MOST_PROBLEMS = 20
"""Files with a problem that are named."""


@dataclass(frozen=True)
class Why:
    """Why a hit was found."""

    scores: Annotated[Mapping[str, float], "Each retriever's own score; one that did not find the passage is left out"]
    parts: Annotated[Mapping[str, float], "What each retriever adds to the hit's score"]
    words: Annotated[tuple[str, ...], "Words of the query that the passage holds in some form"]
    query_means: Annotated[tuple[str, ...], "The model's words for the query"]
    passage_means: Annotated[tuple[str, ...], "The model's words for the passage"]

    @classmethod
    def of(cls, explanation: Explanation) -> Self:
        """Return an explanation in the words of agents."""
        found = {name: score for name, score in explanation.scores.items() if score is not None}
        return cls(
            scores=found,
            parts=explanation.parts,
            words=explanation.terms,
            query_means=tuple(word for word, _ in explanation.query_means),
            passage_means=tuple(word for word, _ in explanation.passage_means),
        )


@dataclass(frozen=True)
class Found:
    """One passage."""

    rank: Annotated[int, "From 1, the best"]
    score: Annotated[float, "Orders the hits of one answer; says nothing across answers"]
    place: Annotated[str, "Where it stands, to cite: PATH:LINES, or PATH and page"]
    path: Annotated[str, "Absolute path of the file"]
    line_start: Annotated[int, "First line, from 1; of the extracted text for PDF, DOCX and HTML"]
    line_end: Annotated[int, "Last line, which belongs to it"]
    passage: Annotated[str, "Names the passage as a place for get and similar, until its file changes"]
    text: str
    kind: Annotated[str, "Family of formats, such as markdown, pdf, code"]
    page: Annotated[int | None, "Page, slide or sheet, from 1"] = None
    title: Annotated[str | None, "Title of the document"] = None
    heading: Annotated[str | None, "Headings that it stands under, outermost first"] = None
    document: Annotated[str | None, "Which record of its file it is"] = None
    fields: Annotated[Mapping[str, str] | None, "Fields of the record"] = None
    sentence: Annotated[str | None, "The sentence nearest to the query"] = None
    also: Annotated[tuple[str, ...] | None, "Other places of the same, or nearly the same text"] = None
    confidence: Annotated[
        float | None,
        "Share of random pairs of passages that are less alike than query and passage, 0 to 1; with explain alone",
    ] = None
    why: Annotated[Why | None, "Why it was found; with explain alone"] = None

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """Return a hit."""
        why = hit.explanation
        return cls(
            rank=hit.rank,
            score=hit.score,
            place=render.place(hit),
            path=hit.path,
            line_start=hit.line_start,
            line_end=hit.line_end,
            passage=str(hit.passage),
            text=hit.text,
            kind=hit.kind,
            page=hit.page,
            title=hit.title,
            heading=hit.heading,
            document=hit.document,
            fields=hit.fields or None,
            sentence=None if hit.highlight is None else hit.text[slice(*hit.highlight)],
            also=tuple(render.place(each) for each in hit.duplicates) or None,
            confidence=None if why is None else why.percentile,
            why=None if why is None else Why.of(why),
        )


@dataclass(frozen=True)
class Hits:
    """An answer."""

    collection: Annotated[str, "The one that was asked"]
    hits: Annotated[tuple[Found, ...], "Best first; empty where nothing matches"]
    notes: Annotated[tuple[str, ...], "What to know of the answer, such as that the index is not complete"]

    @classmethod
    def of(cls, collection: str, answer: Answer) -> Self:
        """Return an answer of a collection."""
        return cls(collection, tuple(map(Found.of, answer)), answer.notes)


@dataclass(frozen=True)
class Text:
    """An indexed document, or some lines of it."""

    collection: str
    path: Annotated[str, "Absolute path of the file"]
    line_start: Annotated[int, "First line, from 1; of the extracted text for PDF, DOCX and HTML"]
    line_end: Annotated[int, "Last line that is given"]
    text: str
    kind: Annotated[str, "Family of formats, such as markdown, pdf, code"]
    page: Annotated[int | None, "Page on which it begins"] = None
    title: Annotated[str | None, "Title of the document"] = None
    document: Annotated[str | None, "Which record of its file it is"] = None
    fields: Annotated[Mapping[str, str] | None, "Fields of the record"] = None
    next: Annotated[str | None, "The place of what follows, where the text was too long to be given whole"] = None

    @classmethod
    def of(cls, collection: str, extract: Extract) -> Self:
        """Return an extract, cut at the end of a line where it is too long."""
        text, last, following = extract.text, extract.line_end, None
        if len(text) > MOST_CHARACTERS:
            text = text[:MOST_CHARACTERS]
            whole = text.rpartition("\n")[0]
            if whole and extract.document is None:
                text, last = whole, min(extract.line_start + whole.count("\n"), extract.line_end)
                following = f"{extract.path}:{last + 1}-{extract.line_end}"
        return cls(
            collection=collection,
            path=extract.path,
            line_start=extract.line_start,
            line_end=last,
            text=text,
            kind=extract.kind,
            page=extract.page,
            title=extract.title,
            document=extract.document,
            fields=extract.fields or None,
            next=following,
        )


@dataclass(frozen=True)
class State:
    """One collection."""

    name: str
    default: Annotated[bool, "Whether it is asked where none is named"]
    folders: Annotated[tuple[str, ...], "Files and folders that were indexed"]
    files: Annotated[int, "Files in it"]
    passages: Annotated[int, "Passages that can be found"]
    waiting: Annotated[int, "Passages that are found by their words alone, until they are embedded"]
    failed: Annotated[int, "Files that could not be read"]
    skipped: Annotated[int, "Files that were left out"]
    problems: Annotated[tuple[str, ...], "Some of the files that failed, each with the reason"]
    encoder: Annotated[str | None, "Model and adapter that made the vectors"] = None
    error: Annotated[str | None, "Why the collection cannot be opened"] = None

    @classmethod
    def of(cls, status: Status | Unreadable, default: bool) -> Self:
        """Return the state of a collection, whether or not it can be opened."""
        if isinstance(status, Unreadable):
            return cls(status.name, default, (), 0, 0, 0, 0, 0, (), error=str(status.error))
        counts, spec = status.counts, status.spec
        failed = [f"{each.path}: {each.reason}" for each in status.problems if each.status == "failed"]
        return cls(
            name=status.name,
            default=default,
            folders=status.roots,
            files=counts.files,
            passages=counts.passages,
            waiting=counts.pending,
            failed=counts.failed,
            skipped=counts.skipped,
            problems=tuple(failed[:MOST_PROBLEMS]),
            encoder=spec.model + (f" + {spec.adapter}" if spec.adapter else ""),
        )


@dataclass(frozen=True)
class States:
    """The collections that may be asked."""

    collections: tuple[State, ...]

    @classmethod
    def of(cls, found: Sequence[Status | Unreadable], default: str) -> Self:
        """Return the states of collections, of which one is asked where none is named."""
        return cls(tuple(State.of(each, each.name == default) for each in found))
