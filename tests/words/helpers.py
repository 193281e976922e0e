"""An inverted index over a few texts, as a collection has it: SQLite's FTS5 with the terms of ``indexer.words``."""

import sqlite3
from contextlib import closing

from indexer.storage.local import fts
from indexer.words import indexed, query


def matching(asked: str, *texts: str) -> list[int]:
    """Return the numbers of the texts that a query finds, best first."""
    with closing(sqlite3.connect(":memory:")) as database:
        columns = ", ".join(fts.COLUMNS)
        database.execute(f'CREATE VIRTUAL TABLE words USING fts5({columns}, tokenize="{fts.TOKENIZER}")')
        for number, text in enumerate(texts):
            terms, parts = indexed(text)
            database.execute(f"INSERT INTO words (rowid, {columns}) VALUES (?, '', ?, '', ?)", (number, terms, parts))
        weights = ", ".join(map(str, fts.WEIGHTS))
        expression = fts.any_of(query(asked).wanted)
        if not expression:
            return []
        rows = database.execute(
            f"SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, {weights}), rowid", (expression,)
        )
        return [row[0] for row in rows]
