"""Files that others have been at: a clear error or a rebuild, never a wrong answer; and what doctor makes of them."""

import json
import os
import random
import shutil
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.encoder import EncoderSpec, HashEncoder
from indexer.errors import CollectionNotFound, CorruptError, FormatError, LockedError, SemsearchError
from indexer.storage.local import schema
from indexer.storage.local.doctor import examine
from indexer.storage.manifest import Manifest
from indexer.storage.local.migrations import upgrade
from indexer.storage.local.store import Store
from tests.storage.helpers import DIM, ENCODER, add, build, check, lexical, nearest, stage, texts

QUERY = "text number 17"
FILES = [(f"/data/{n}", [f"text number {n}", f"part {n} of another"]) for n in range(40)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A finished collection, with a few changes since its index was saved."""
    folder = tmp_path_factory.mktemp("sound") / "c"
    with build(folder, FILES) as store:
        store.finish()
        store.remove(["/data/3"])
        store.commit()
    return folder


@pytest.fixture
def damaged(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "c"))


def the(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def answers(folder: Path) -> list[object]:
    with Store.open(folder) as store:
        found = store.search(ENCODER.encode([QUERY, "part"]), 7)
        return [
            found.ids.tolist(),
            found.scores.tolist(),
            lexical(store, QUERY),
            store.get(found.ids[0]),
            store.counts(),
            list(store.files()),
            store.vectors(store.allowed(None)).tolist(),
        ]


def spoil(path: Path, draw: random.Random) -> None:
    """Flip, overwrite, cut, empty, lengthen or shuffle."""
    content = bytearray(path.read_bytes())
    at = draw.randrange(len(content))
    match draw.randrange(6):
        case 0:
            content[at] ^= 1 << draw.randrange(8)
        case 1:
            content[at : at + 50] = draw.randbytes(min(50, len(content) - at))
        case 2:
            del content[at:]
        case 3:
            content.clear()
        case 4:
            content += draw.randbytes(100)
        case 5:
            content[at:], content[:at] = content[:at], content[at:]
    path.write_bytes(content)


@pytest.mark.parametrize("pattern", ["*.faiss", "vectors/*.safetensors", "manifest.json", "lock.json"])
def test_fuzzed_files_give_an_error_or_the_right_answer(sound, tmp_path, pattern):
    expected = answers(sound)
    draw = random.Random(pattern)
    errors = []
    for number in range(40):
        folder = Path(shutil.copytree(sound, tmp_path / str(number)))
        spoil(draw.choice(list(folder.glob(pattern))), draw)
        try:
            assert answers(folder) == expected
        except SemsearchError as error:
            errors.append(str(folder) in str(error))
        shutil.rmtree(folder)
    assert all(errors), "an error does not name the folder"
    assert bool(errors) == (pattern not in ("*.faiss", "lock.json"))


def test_a_fuzzed_database_is_an_error_or_found_by_doctor(sound, tmp_path):
    """SQLite has no checksums: where it notices nothing while answering, doctor's whole check does, or nothing that
    it holds has changed."""
    expected = answers(sound)
    draw = random.Random(5)
    errors = []
    for number in range(40):
        folder = Path(shutil.copytree(sound, tmp_path / str(number)))
        spoil(folder / "catalog.sqlite", draw)
        try:
            same = answers(folder) == expected
        except SemsearchError as error:
            errors.append(str(folder) in str(error))
        else:
            assert same or examine(folder)
        shutil.rmtree(folder)
    assert all(errors), "an error does not name the folder"
    assert len(errors) > 10


def test_healthy(sound, damaged):
    assert examine(damaged, open_encoder=lambda spec: ENCODER) == []
    assert examine(damaged, mend=False) == []


def test_doctor_rebuilds_the_index(damaged):
    for spoiled in (lambda p: p.unlink(), lambda p: p.write_bytes(b"x"), lambda p: spoil(p, random.Random(1))):
        spoiled(the(damaged, "*.faiss"))
        (problem,) = examine(damaged)
        assert (problem.part, problem.mended) == ("index", True)
        assert examine(damaged) == []


def test_doctor_finds_an_index_of_other_vectors(damaged, tmp_path):
    """A checksum in the manifest that fits, and yet the index is not that of this collection."""
    with build(tmp_path / "other", [(f"/data/{n}", [f"word {n}", f"yes {n}"]) for n in range(40)]) as other:
        other.finish()
    (the(tmp_path / "other", "*.faiss")).rename(damaged / "index-1-00000000.faiss")
    theirs = json.loads((tmp_path / "other/manifest.json").read_text())["index"]
    ours = json.loads((damaged / "manifest.json").read_text())
    ours["index"] = theirs | {"name": "index-1-00000000.faiss"}
    (damaged / "manifest.json").write_text(json.dumps(ours))
    found = [p for p in examine(damaged) if p.part != "leftovers"]
    assert [(p.found, p.mended) for p in found] == [("its vectors are not those of the shards", True)]
    with Store.open(damaged) as store:
        check(store)


def test_doctor_takes_lost_vectors_from_the_index(damaged):
    the(damaged, "vectors/*").write_bytes(b"x")
    with pytest.raises(CorruptError, match="semsearch doctor"), Store.open(damaged) as store:
        store.vectors(store.allowed(None))
    (problem,) = examine(damaged)
    assert problem.mended
    assert "80 vectors taken from the index" in problem.remedy
    assert examine(damaged, open_encoder=lambda spec: ENCODER) == []
    with Store.open(damaged) as store:
        check(store)
        assert store.counts().passages == 78


def test_doctor_finds_a_bit_that_flipped_by_itself(damaged):
    """Neither size nor time of the file say so."""
    path = the(damaged, "vectors/*")
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-DIM] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (problem,) = examine(damaged)
    assert "SHA-256" in problem.found
    assert problem.mended
    assert examine(damaged) == []


def test_doctor_lets_vectors_that_are_gone_be_embedded_again(damaged):
    the(damaged, "vectors/*").unlink()
    the(damaged, "*.faiss").unlink()
    found = examine(damaged)
    assert all(problem.mended for problem in found)
    assert "39 documents are hidden until `semsearch index`" in found[0].remedy
    with Store.open(damaged, writable=True) as store:
        assert texts(store) == lexical(store, QUERY) == []
        assert store.counts().pending == 78
        rows = store.unembedded(1000)
        store.add_vectors([n for n, _ in rows], ENCODER.encode([t for _, t in rows]))
        store.finish()
        check(store)
        assert len(texts(store)) == 78
        assert nearest(store, QUERY, 1) == [QUERY]


def test_doctor_rebuilds_the_words(damaged):
    with Store.open(damaged, writable=True) as store:
        with store.catalog.writing() as connection:
            connection.exec_driver_sql("INSERT INTO words (words) VALUES ('delete-all')")
        store.catalog.flush()
        assert lexical(store, QUERY) == []
    (problem,) = examine(damaged)
    assert (problem.part, problem.mended) == ("words", True)
    with Store.open(damaged) as store:
        assert lexical(store, QUERY)[0] == QUERY


def test_doctor_removes_what_killed_runs_left(damaged):
    (damaged / "vectors/000000000077-abcd.safetensors").write_bytes(b"never registered")
    (damaged / "manifest.json.part").write_bytes(b"half")
    assert [(p.part, p.mended) for p in examine(damaged)] == [("leftovers", True)] * 2
    assert examine(damaged) == []


def test_doctor_finds_vectors_of_another_model(damaged):
    with Store.open(damaged, writable=True) as store:
        stage(store, "/data/new", ["some new text"])
        rows = store.unembedded(1)
        store.add_vectors([rows[0][0]], -ENCODER.encode([rows[0][1]]))
        store.commit()
        problems = store.verify(ENCODER)
        for number in range(40):
            store.remove([f"/data/{number}"])
        store.commit()
        problems = store.verify(ENCODER)
    assert [(p.part, p.mended) for p in problems] == [("vectors", False)]
    assert "another model" in problems[0].remedy


def test_doctor_refuses_another_encoder(damaged):
    with Store.open(damaged) as store, pytest.raises(SemsearchError, match="made by"):
        store.verify(HashEncoder(EncoderSpec(model=f"hash:{DIM}", normalise=False)))


def test_doctor_says_plainly_what_it_cannot_mend(damaged):
    (damaged / "catalog.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    (problem,) = examine(damaged)
    assert not problem.mended
    assert "index anew" in problem.remedy
    (damaged / "manifest.json").write_text("{")
    (problem,) = examine(damaged)
    assert not problem.mended


def test_doctor_says_when_it_cannot_look(damaged, tmp_path):
    with pytest.raises(CollectionNotFound):
        examine(tmp_path / "none")
    with Store.open(damaged, writable=True), pytest.raises(LockedError):
        examine(damaged)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "1"),
        ("format", 0),
        ("dim", -1),
        ("dim", 33),
        ("spec", {}),
        ("spec", {"pooling": "none"}),
        ("vector_dtype", "int8"),
        ("vector_dtype", "fp32"),
        ("splitter", 3),
        ("index", {"kind": "flat"}),
        ("fingerprint", "0"),
    ],
)
def test_a_manifest_that_makes_no_sense(damaged, name, value):
    path = damaged / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(CorruptError), Store.open(damaged) as store:
        store.vectors(store.allowed(None))


def test_an_index_note_that_makes_no_sense(damaged):
    path = damaged / "manifest.json"
    values = json.loads(path.read_text())
    values["index"]["generation"] = "1"
    path.write_text(json.dumps(values))
    with pytest.raises(CorruptError, match=r"index\.generation"):
        Store.open(damaged)


def test_a_newer_format_is_refused(damaged):
    path = damaged / "manifest.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(FormatError, match="newer semsearch"):
        Store.open(damaged)


def test_a_newer_migration_is_refused(damaged):
    connection = sqlite3.connect(damaged / "catalog.sqlite")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    for writable in (False, True):
        with pytest.raises(FormatError, match="9999"):
            Store.open(damaged, writable=writable)
    Manifest.load(damaged)


@pytest.mark.parametrize("writable", [False, True])
def test_a_collection_of_an_older_version_is_migrated(tmp_path, writable):
    """collection-0001.zip was made by the first version of the storage: a changed file, a dead one, one pending."""
    encoder = HashEncoder(EncoderSpec(model="hash:16"))
    with zipfile.ZipFile(Path(__file__).with_name("collection-0001.zip")) as archive:
        archive.extractall(tmp_path)
    with Store.open(tmp_path, writable=writable) as store:
        assert texts(store) == ["the cat sat", "on the mat", "a dog walked", "the cat sat"]
        found = store.search(encoder.encode(["dog"]), 1)
        assert store.get(found.ids[0])[0].passage.text == "a dog walked"
        assert lexical(store, "felines") == ["the cat sat", "on the mat"]
        assert [f.reason for f in store.files("failed")] == ["truncated"]
    with Store.open(tmp_path, writable=True) as store:
        assert [text for _, text in store.unembedded(9)] == ["a bird sings"]
        assert store.verify(encoder) == []
        rows = store.unembedded(9)
        store.add_vectors([n for n, _ in rows], encoder.encode([t for _, t in rows]))
        store.compact()
        assert store.verify(encoder) == []
        assert len(texts(store)) == 5
    assert examine(tmp_path) == []


def test_migrations_arrive_at_the_schema(tmp_path):
    """The tables that migrations make are those that schema.py states, column by column and index by index."""
    from sqlalchemy import create_engine

    def shape(make) -> dict[str, object]:
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            make(connection)
            names = connection.exec_driver_sql("SELECT type, name, tbl_name FROM sqlite_master").all()
            views = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'view'").scalars().all()
            columns = {
                name: [(r[1], r[2], r[3] or r[5]) for r in connection.exec_driver_sql(f"PRAGMA table_info({name})")]
                for kind, name, _ in names
                if kind == "table" and name != "alembic_version"
            }
            indexes = {
                name: connection.exec_driver_sql(f"PRAGMA index_info({name})").all()
                for kind, name, table in names
                if kind == "index" and "autoindex" not in name
            }
        return {"columns": columns, "indexes": indexes, "views": [" ".join(v.split()) for v in views]}

    def create(connection) -> None:
        schema.metadata.create_all(connection)
        for statement in schema.LEXICAL:
            connection.exec_driver_sql(statement)

    migrated, stated = shape(upgrade), shape(create)
    assert migrated == stated


def test_ids_survive_a_vacuum(tmp_path):
    with build(tmp_path / "c", FILES) as store:
        store.finish()
        store.remove(["/data/0"])
        store.commit()
        before = store.allowed(None)
        store.compact()
        np.testing.assert_array_equal(store.allowed(None), before)
        add(store, "/data/99", ["fresh"])
        check(store)
