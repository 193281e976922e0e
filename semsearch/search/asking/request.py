"""What a person asks for, as one value: SearchRequest, and SimilarRequest for more like a known passage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from math import isnan
from typing import TYPE_CHECKING, Literal, Self, get_args

from indexer.errors import UsageError
from semsearch.nearest import check_names, hint

if TYPE_CHECKING:
    from indexer.types import Filter
    from semsearch.search.ranking.rerank import Reranker

Mode = Literal["hybrid", "dense", "lexical", "sparse"]
Fusion = Literal["convex", "rrf"]

MODES: tuple[str, ...] = get_args(Mode)
FUSIONS: tuple[str, ...] = get_args(Fusion)
MAX_COUNT = 2**31 - 1
"""Hits that may be asked for; all that a collection has are fewer."""

_SURROGATES = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class HitOptions:
    """Which hits there are and what is said of them. Checked when it is made.

    Raises:
        UsageError: A value cannot be meant.
    """

    k: int = 10
    """Most hits; more than there are passages is cut to their number."""
    filter: Filter | str | Sequence[str] | None = None
    """Conditions on the passages' documents. Expressions such as ``type=md`` become a Filter."""
    per_document: int | None = None
    """Most hits from one document: a file, or a record of one."""
    collapse: bool = True
    """Fold near-duplicates of a better hit into it."""
    explain: bool = False
    """Say why each hit was found."""
    min_confidence: float | None = None
    """Drop hits that are less similar to the query than this share of random pairs of passages is, from 0 to 1."""
    snippets: bool = True
    """Mark the query's words and the most telling sentence in each hit."""

    def __post_init__(self) -> None:
        """Check every value, and bring it into one form."""
        _check_count("k", self.k)
        if self.per_document is not None:
            _check_count("per_document", self.per_document)
        for name in ("collapse", "explain", "snippets"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is {getattr(self, name)!r}; it is true or false")
        share = self.min_confidence
        if share is not None and (not _is_number(share) or isnan(share) or not 0 <= share <= 1):
            raise UsageError(f"min_confidence is {share!r}; it is a share of random pairs, from 0 to 1")
        object.__setattr__(self, "filter", _filter(self.filter))

    @property
    def condition(self) -> Filter | None:
        """``filter`` as a Filter."""
        assert not isinstance(self.filter, str | Sequence)  # __post_init__ made it a Filter
        return self.filter

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Return the request that a JSON object describes.

        Raises:
            UsageError: A name is unknown (the nearest one is named), or a value cannot be meant.
        """
        names = [each.name for each in fields(cls)]
        check_names(values, names, "search option")
        try:
            return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks each
        except TypeError as error:
            missing = next((name for name in cls._needed() if name not in values), "a field")
            raise UsageError(f"a search needs {missing!r}; its options are {', '.join(names)}") from error

    def to_dict(self) -> dict[str, object]:
        """Return what ``from_dict`` takes, as JSON can hold it: every field that is not as it is by default.

        Raises:
            UsageError: The reranker is an object, which only this process has.
        """
        named = {each.name: (getattr(self, each.name), each.default) for each in fields(self)}
        values = {name: value for name, (value, default) in named.items() if value != default}
        if self.condition is not None:
            from semsearch.search.asking import filter_expressions

            values["filter"] = filter_expressions.write(self.condition)
        if not isinstance(values.get("rerank", ""), str):
            raise UsageError("rerank is a Reranker of this process; name a cross-encoder to have it elsewhere")
        return values

    @classmethod
    def _needed(cls) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class SearchRequest(HitOptions):
    """One query with its options. ``SearchRequest("how are vectors stored?", k=5)``."""

    query: str
    """Any text. Words between double quotes are a phrase to the search by words, ``begin*`` is any word so begun."""
    _: KW_ONLY
    mode: Mode = "hybrid"
    """hybrid: by meaning and by words; dense: by meaning alone; lexical: by words alone; sparse: by the model's terms,
    where the collection has them."""
    fusion: Fusion = "convex"
    """How mode hybrid brings its retrievers together."""
    rerank: str | Reranker | None = None
    """A cross-encoder, by name or as a Reranker; it reads the best 50 hits again."""

    def __post_init__(self) -> None:
        """Check every value, and bring it into one form."""
        super().__post_init__()
        if not isinstance(self.query, str):
            raise UsageError(f"the query is {self.query!r}; it is text")
        query = _SURROGATES.sub("\ufffd", self.query).replace("\0", " ")
        if not query.strip():
            raise UsageError("the query is empty; give a few words to look for")
        object.__setattr__(self, "query", query)
        _check_choice("mode", self.mode, MODES)
        _check_choice("fusion", self.fusion, FUSIONS)
        if self.rerank is not None and not isinstance(self.rerank, str) and not hasattr(self.rerank, "score"):
            raise UsageError(f"rerank is {self.rerank!r}; it is a cross-encoder's name or folder, or a Reranker")
        if self.mode == "lexical" and self.min_confidence is not None:
            raise UsageError("min_confidence compares vectors, and mode lexical has none; use mode hybrid or dense")

    @classmethod
    def _needed(cls) -> tuple[str, ...]:
        return ("query",)


@dataclass(frozen=True)
class SimilarRequest(HitOptions):
    """More like a known passage, with options. ``SimilarRequest("docs/a.md:12", k=5)``."""

    place: str
    """An indexed file as PATH or PATH:LINE, or the id of a hit's passage."""
    _: KW_ONLY
    itself: bool = False
    """Find passages of the same file or record too."""

    def __post_init__(self) -> None:
        """Check every value, and bring it into one form."""
        super().__post_init__()
        if not isinstance(self.place, str):
            raise UsageError(f"the place is {self.place!r}; it is an indexed file as PATH or PATH:LINE")
        if not isinstance(self.itself, bool):
            raise UsageError(f"itself is {self.itself!r}; it is true or false")

    @classmethod
    def _needed(cls) -> tuple[str, ...]:
        return ("place",)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_COUNT:
        raise UsageError(f"{name} is {value!r}; it is a whole number from 1 to {MAX_COUNT}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}; it is one of {', '.join(allowed)}{hint(str(value), allowed)}")


def _filter(value: object) -> Filter | None:
    if value is None:
        return None
    from indexer.types import Filter
    from semsearch.search.asking import filter_expressions

    if isinstance(value, Filter):
        return value
    expressions = [value] if isinstance(value, str) else value
    if not isinstance(expressions, Sequence) or not all(isinstance(each, str) for each in expressions):
        raise UsageError(f"filter is {value!r}; it is a Filter, an expression such as 'type=md', or a list of them")
    return filter_expressions.parse(expressions)
