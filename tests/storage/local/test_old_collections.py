"""Collections that earlier versions made: they open, answer as they did, and go on."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.storage import open_store
from indexer.storage.local.migrations import upgrade
from indexer.storage.sql.schema import metadata
from tests.storage.contract.test_judgements import judged
from tests.storage.contract.values import dense, document, embed, ids, lexical, now, parsed, shown, texts
from tests.storage.local.helpers import check

HERE = Path(__file__).parent
ENCODER = HashEncoder(EncoderSpec(model="hash:16"))


def extracted(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(HERE / name) as archive:
        archive.extractall(folder)
    return folder


def test_of_the_first_migration(tmp_path):
    """collection-0001.zip was made by the first version of the storage: a changed file, a dead one, one pending."""
    store = open_store(extracted("collection-0001.zip", tmp_path / "c"))
    shown_then = ["the cat sat", "on the mat", "a dog walked", "the cat sat"]
    with store.snapshot() as snapshot:
        assert texts(snapshot, ids(snapshot)) == shown_then
        assert dense(snapshot, "dog", 1, ENCODER) == ["a dog walked"]
        assert lexical(snapshot, "felines") == ["the cat sat", "on the mat"]
        assert [f.reason for f in snapshot.files("failed")] == ["truncated"]
    with store.writer() as writer:
        assert embed(store, writer, encoder=ENCODER) == ["a bird sings"]
        writer.commit()
    store.compact()
    assert sorted(now(store)) == sorted([*shown_then, "a bird sings"])
    check(store, ENCODER)


@pytest.fixture
def old(tmp_path):
    """collection-0003.zip was made by the last version whose words FTS5 itself stemmed, collection-0003.json are the
    answers that its command line gave: `query --mode dense|lexical|sparse -k 5 --no-collapse`."""
    return open_store(extracted("collection-0003.zip", tmp_path) / "old")


def test_the_same_hits_with_the_same_scores(old):
    with old.snapshot() as snapshot:
        for question, expected in json.loads((HERE / "collection-0003.json").read_text()).items():
            mode, _, query = question.partition(": ")
            vectors, terms = ENCODER.encode_terms([query])
            found = {
                "dense": lambda vectors=vectors: snapshot.dense(vectors, 5),
                "sparse": lambda terms=terms: snapshot.sparse(terms, 5),
                "lexical": lambda query=query: snapshot.lexical([query], 5),
            }[mode]()
            numbers = found.ids[0][found.ids[0] >= 0]
            places = [(Path(row.path).name, row.passage.line_start) for row in snapshot.get(numbers)]
            assert places == [(name, line) for name, line, _ in expected], question
            np.testing.assert_allclose(
                found.scores[0][: len(numbers)], [score for *_, score in expected], rtol=1e-6, err_msg=question
            )


def test_it_is_updated(old):
    with old.snapshot() as snapshot:
        (note,) = [file for file in snapshot.files() if file.path.endswith("bread.txt")]
    with old.writer() as writer:
        writer.stage(parsed(note.path, ["Bread needs flour.", "Stars in the night."]))
        assert embed(old, writer, encoder=ENCODER) == ["Bread needs flour.", "Stars in the night."]
        writer.finish()
    with old.snapshot() as snapshot:
        assert lexical(snapshot, "star") == ["Stars in the night."]
        assert lexical(snapshot, "bakers") == []
    check(old, ENCODER)
    old.compact()
    check(old, ENCODER)


def test_documents_without_the_space_between_passages_get_some(old):
    """Lines are where they were, so that a line of a file can be shown."""
    with old.snapshot() as snapshot:
        (harbour,) = [d for d in snapshot.documents() if d.document.path.endswith("harbour.md")]
        lines = harbour.document.text.split("\n")
        for found in harbour.passages:
            at = found.passage
            assert harbour.document.text[at.start : at.end] == at.text
            assert at.text.split("\n")[0] in lines[at.line_start - 1]
        assert len(shown(snapshot)) == 9


@pytest.mark.parametrize("name", ["collection-0001.zip", "collection-0003.zip"])
def test_they_take_judgements(tmp_path, name):
    folder = extracted(name, tmp_path / "c")
    store = open_store(folder if (folder / "manifest.json").exists() else folder / "old")
    before = store.manifest.format
    assert store.judgements() == []
    store.judge([judged(1)])
    assert store.judgements() == [judged(1)]
    assert store.manifest.format == before  # earlier versions still read it
    store.compact()
    assert store.judgements() == [judged(1)]


def test_migrations_arrive_at_the_schema():
    """The tables that migrations make are those that the schema states, column by column and index by index."""
    from indexer.storage.local.vectors import tables as vector_tables  # noqa: F401 - they belong to the same metadata

    def shape(make) -> dict[str, object]:
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            make(connection)
            rows = connection.exec_driver_sql("SELECT type, name, tbl_name FROM sqlite_master").all()
            names = [row for row in rows if not row[2].startswith(("words", "alembic", "sqlite"))]
            columns = {
                name: {r[1]: (r[2], r[3] or r[5]) for r in connection.exec_driver_sql(f"PRAGMA table_info({name})")}
                for kind, name, _ in names
                if kind == "table"
            }
            indexes = {
                name: connection.exec_driver_sql(f"PRAGMA index_info({name})").all()
                for kind, name, _ in names
                if kind == "index" and "autoindex" not in name
            }
        return {"columns": columns, "indexes": indexes}

    assert shape(upgrade) == shape(metadata.create_all)


def test_a_document_is_given_back_whole(tmp_path):
    """Also a text whose passages leave out what stands between them, and pages."""
    from indexer.types import Document, ParsedDocument, Passage
    from tests.storage.contract.values import file
    from tests.storage.local.helpers import build

    text = "\n\n  first\tline\n\n\n\tsecond  \n"
    given = Document("/data/a", text, "pdf", title="T", fields={"f": "1"}, page_starts=(0, 16))
    parts = (Passage("first\tline", 4, 14, 3, 3, 2, 1), Passage("second", 18, 24, 6, 6, 1, 2))
    with build(tmp_path / "c").writer() as writer:
        from indexer.types import Parsed

        writer.stage(Parsed(file("/data/a"), (ParsedDocument(given, parts), document("/data/a", [], record="2"))))
        writer.commit()
    with open_store(tmp_path / "c").snapshot() as snapshot:
        whole, empty = snapshot.documents("/data/a")
        assert whole.document == given
        assert [p.passage for p in whole.passages] == list(parts)
        assert empty.document.text == ""
