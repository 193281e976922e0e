"""Files that others have been at: a clear error or a rebuild, never a wrong answer; and what doctor makes of them."""

import json
import os
import random
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from indexer import words
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.errors import CollectionNotFound, CorruptError, FormatError, LockedError, SemsearchError
from indexer.storage import open_store
from indexer.storage.manifest import FORMAT
from indexer.types import Embedded, Problem
from tests.storage.contract.values import DIM, add, dense, embed, ids, lexical, now, parsed
from tests.storage.local.helpers import ENCODER, build, check

QUERY = "text number 17"
FILES = [(f"/data/{n}", [f"text number {n}", f"part {n} of another"]) for n in range(40)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A finished collection, with a few changes since its index was saved."""
    folder = tmp_path_factory.mktemp("sound") / "c"
    with build(folder, FILES).writer() as writer:
        writer.remove(["/data/3"])
        writer.commit()
    return folder


@pytest.fixture
def damaged(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "c"))


def the(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def answers(folder: Path) -> list[object]:
    with open_store(folder).snapshot() as snapshot:
        found = snapshot.dense(ENCODER.encode([QUERY, "part"]), 7)
        return [
            found.ids.tolist(),
            found.scores.tolist(),
            lexical(snapshot, QUERY),
            snapshot.get(found.ids[0]),
            snapshot.counts(),
            list(snapshot.files()),
            snapshot.vectors(ids(snapshot)).tolist(),
        ]


def examine(folder: Path, mend: bool = True, encoder: HashEncoder | None = None) -> list[Problem]:
    return open_store(folder).examine(mend=mend, open_encoder=(lambda _: encoder) if encoder else None)


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
    assert examine(damaged, encoder=ENCODER) == []
    assert examine(damaged, mend=False) == []


def test_doctor_rebuilds_the_index(damaged):
    for spoiled in (lambda p: p.unlink(), lambda p: p.write_bytes(b"x"), lambda p: spoil(p, random.Random(1))):
        spoiled(the(damaged, "*.faiss"))
        (problem,) = examine(damaged)
        assert (problem.part, problem.mended) == ("index", True)
        assert examine(damaged) == []


def test_doctor_finds_an_index_of_other_vectors(damaged, tmp_path):
    """A checksum in the manifest that fits, and yet the index is not that of this collection."""
    build(tmp_path / "other", [(f"/data/{n}", [f"word {n}", f"yes {n}"]) for n in range(40)])
    (the(tmp_path / "other", "*.faiss")).rename(damaged / "index-1-00000000.faiss")
    theirs = json.loads((tmp_path / "other/manifest.json").read_text())["index"]
    ours = json.loads((damaged / "manifest.json").read_text())
    ours["index"] = theirs | {"name": "index-1-00000000.faiss"}
    (damaged / "manifest.json").write_text(json.dumps(ours))
    found = [p for p in examine(damaged) if p.part != "leftovers"]
    assert [(p.found, p.mended) for p in found] == [("its vectors are not those of the shards", True)]
    check(open_store(damaged))


def test_doctor_takes_lost_vectors_from_the_index(damaged):
    the(damaged, "vectors/*").write_bytes(b"x")
    with open_store(damaged).snapshot() as snapshot, pytest.raises(CorruptError, match="semsearch doctor"):
        snapshot.vectors(ids(snapshot))
    (problem,) = examine(damaged)
    assert problem.mended
    assert "80 vectors taken from the index" in problem.remedy
    assert examine(damaged, encoder=ENCODER) == []
    check(open_store(damaged))
    assert len(now(open_store(damaged))) == 78


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
    assert "39 documents are found by words alone until `semsearch index`" in found[0].remedy
    store = open_store(damaged)
    with store.snapshot() as snapshot:
        assert dense(snapshot, QUERY) == []
        assert lexical(snapshot, QUERY)[0] == QUERY
        assert (snapshot.counts().pending, snapshot.counts().embedded) == (78, 0)
    with store.writer() as writer:
        embed(store, writer)
        writer.finish()
    check(store)
    with store.snapshot() as snapshot:
        assert snapshot.counts().embedded == 78
        assert dense(snapshot, QUERY, 1) == [QUERY]


def _forget_words(store) -> None:
    with store.writer() as writer:
        with writer.catalog() as catalog:
            catalog.connection.exec_driver_sql("INSERT INTO words (words) VALUES ('delete-all')")
        writer.database.flush()


def _forget_one_place(store) -> None:
    with store.writer() as writer:
        with writer.catalog() as catalog:
            run = catalog.connection.exec_driver_sql
            number = run("SELECT id FROM passages WHERE text = ?", (QUERY,)).scalar_one()
            terms = words.indexed(QUERY)[0]
            columns = "rowid, title, text, title_parts, text_parts"
            run(f"INSERT INTO words (words, {columns}) VALUES ('delete', ?, '', ?, '', '')", (number, terms))
            run(f"INSERT INTO words ({columns}) VALUES (?, '', ?, '', '')", (number, terms.replace("17", "71")))
        writer.database.flush()


@pytest.mark.parametrize("spoil_words", [_forget_words, _forget_one_place])
def test_doctor_rebuilds_the_words(damaged, spoil_words):
    spoil_words(open_store(damaged))
    with open_store(damaged).snapshot() as snapshot:
        assert lexical(snapshot, QUERY)[:1] != [QUERY]
    (problem,) = examine(damaged)
    assert (problem.part, problem.mended) == ("words", True)
    with open_store(damaged).snapshot() as snapshot:
        assert lexical(snapshot, QUERY)[0] == QUERY
    assert examine(damaged) == []


def test_doctor_removes_what_killed_runs_left(damaged):
    (damaged / "vectors/000000000077-abcd.safetensors").write_bytes(b"never registered")
    (damaged / "manifest.json.part").write_bytes(b"half")
    assert [(p.part, p.mended) for p in examine(damaged)] == [("leftovers", True)] * 2
    assert examine(damaged) == []


def test_doctor_finds_vectors_of_another_model(damaged):
    store = open_store(damaged)
    with store.writer() as writer:
        writer.stage(parsed("/data/new", ["some new text"]))
        (work,) = writer.claim(1)
        writer.put(Embedded(np.array([work.id]), -ENCODER.encode([work.text])))
        writer.remove([f"/data/{number}" for number in range(40)])
        writer.commit()
    (problem,) = examine(damaged, encoder=ENCODER)
    assert (problem.part, problem.mended) == ("vectors", False)
    assert "another model" in problem.remedy


def test_doctor_refuses_another_encoder(damaged):
    other = HashEncoder(EncoderSpec(model=f"hash:{DIM}", template="{text}"))
    with pytest.raises(SemsearchError, match="made by"):
        examine(damaged, encoder=other)


def test_doctor_says_plainly_what_it_cannot_mend(damaged):
    store = open_store(damaged)
    (damaged / "catalog.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    (problem,) = store.examine(mend=True)
    assert not problem.mended
    assert "index anew" in problem.remedy
    (damaged / "manifest.json").write_text("{")
    (problem,) = store.examine(mend=True)
    assert not problem.mended


def test_doctor_says_when_it_cannot_look(damaged, tmp_path):
    with pytest.raises(CollectionNotFound):
        examine(tmp_path / "none")
    with open_store(damaged).writer(), pytest.raises(LockedError):
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
    with pytest.raises(CorruptError), open_store(damaged).snapshot() as snapshot:
        snapshot.vectors(ids(snapshot))


def test_an_index_note_that_makes_no_sense(damaged):
    path = damaged / "manifest.json"
    values = json.loads(path.read_text())
    values["index"]["generation"] = "1"
    path.write_text(json.dumps(values))
    with pytest.raises(CorruptError, match=r"index\.generation"):
        open_store(damaged)


def test_a_newer_format_is_refused(damaged):
    path = damaged / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    with pytest.raises(FormatError, match="newer semsearch"):
        open_store(damaged)


def test_a_newer_migration_is_refused(damaged):
    connection = sqlite3.connect(damaged / "catalog.sqlite")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(FormatError, match="9999"):
        open_store(damaged)


def test_ids_survive_a_vacuum(tmp_path):
    store = build(tmp_path / "c", FILES)
    with store.writer() as writer:
        writer.remove(["/data/0"])
        writer.commit()
    with store.snapshot() as snapshot:
        before = ids(snapshot)
    store.compact()
    with store.snapshot() as snapshot:
        np.testing.assert_array_equal(ids(snapshot), before)
    add(store, "/data/99", ["fresh"])
    check(store)
