"""What SQLite's FTS5 needs of the words that ``indexer.words`` finds: a tokenizer, columns, MATCH expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer.words import Wanted

TOKENIZER = "ascii tokenchars '+#.'"
"""Parts terms at blanks: besides these signs they hold letters, digits and marks only, which are words to it."""
COLUMNS = ("title", "text", "title_parts", "text_parts")
"""In this order; the second pair holds the further terms (``Token.part``)."""
WEIGHTS = (2.0, 1.0, 2.0, 1.0)
"""Of the columns in BM25."""


def match_expression(wanted: Wanted) -> str:
    """Return an FTS5 expression for one thing that a query looks for.

    Nothing in it comes from the query but terms between quotes, which hold no quotes. Each alternative is a phrase to
    FTS5's ``bm25``, with a rarity of its own.
    """
    star = "*" if wanted.prefix else ""
    phrases = [f'"{" ".join(phrase)}"{star}' for phrase in wanted.alternatives]
    found = phrases[0] if len(phrases) == 1 else f"({' OR '.join(phrases)})"
    return found if wanted.anywhere else f"{{title text}} : {found}"


def any_of(wanted: Iterable[Wanted]) -> str:
    """Return an FTS5 expression for passages that hold any of these; what stands twice counts twice in ``bm25``."""
    return " OR ".join(f"({match_expression(each)})" for each in wanted)
