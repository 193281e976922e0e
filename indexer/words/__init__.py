"""One analysis of text for the index of words, queries, highlights, filters and the search for duplicates."""

from indexer.words.analysis import VERSION, Token, analyse, indexed, stem
from indexer.words.characters import comparable
from indexer.words.finding import Span, find, occurrences
from indexer.words.query import COMMON, MAX_WORDS, Query, Wanted, query

__all__ = [
    "COMMON",
    "MAX_WORDS",
    "VERSION",
    "Query",
    "Span",
    "Token",
    "Wanted",
    "analyse",
    "comparable",
    "find",
    "indexed",
    "occurrences",
    "query",
    "stem",
]
