"""An inverted index over a few texts, as a collection has it: SQLite's FTS5 with the terms of ``indexer.words``."""

import sqlite3
from contextlib import closing

from indexer.storage.local.words.fts import TermWords
from indexer.words import indexed


def matching(asked: str, *texts: str) -> list[int]:
    """Return the numbers of the texts that a query finds, best first."""
    table = TermWords()
    columns = ", ".join(table.COLUMNS)
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f'CREATE VIRTUAL TABLE words USING fts5({columns}, tokenize="{table.TOKENIZER}")')
        for number, text in enumerate(texts):
            terms, parts = indexed(text)
            database.execute(f"INSERT INTO words (rowid, {columns}) VALUES (?, '', ?, '', ?)", (number, terms, parts))
        expression = " OR ".join(table.expressions(asked))
        if not expression:
            return []
        query = f"SELECT rowid FROM words WHERE words MATCH ? ORDER BY {table.SCORE}, rowid"
        return [row[0] for row in database.execute(query, (expression,))]
