"""A run in parts gives the collection of one process, hit for hit, whatever is lost on the way."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.corpus.formats import ReadOptions
from indexer.errors import UsageError
from indexer.parts import pieces as cutting
from indexer.parts import produce
from indexer.parts.folder import ShardFolder
from indexer.parts.part import Part
from indexer.parts.pieces import Piece, bundles, cut, read_entries, read_piece, write_pieces
from indexer.progress import ShardWritten
from indexer.types import Document, FileRecord, Heading, Parsed, ParsedDocument, Passage
from tests.parts.conftest import COUNTED, SHARED, change, shown

# Parts


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 50))
def test_a_path_is_in_exactly_one_part(path, of):
    assert sum(Part(number, of).holds(path) for number in range(1, of + 1)) == 1


def test_the_part_of_a_path_never_changes():
    """The numbers of coreutils' ``b2sum -l 64``, modulo 7, plus 1."""
    assert [next(n for n in range(1, 8) if Part(n, 7).holds(path)) for path in ("/a", "/b", "/ä\udcff")] == [5, 6, 3]


def test_parts_are_of_like_size():
    paths = [f"/data/{n}.txt" for n in range(4_000)]
    assert all(800 < sum(map(Part(n, 4).holds, paths)) < 1_200 for n in range(1, 5))


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1 / 4", "²/3"])
def test_no_part(text):
    with pytest.raises(UsageError, match=r"I/N with I from 1 to N"):
        Part.parse(text)


# Pieces


def piece(texts, **changes):
    text = "\n".join(texts)
    starts = [sum(len(each) + 1 for each in texts[:n]) for n in range(len(texts))]
    parts = tuple(
        Passage(each, start, start + len(each), n, n, 3, page=n, heading="A › B")
        for n, (each, start) in enumerate(zip(texts, starts, strict=True))
    )
    document = Document("/d", text, "csv", "r\u2028", "T", {"f": "\udcff"}, 4, (0, 2), (Heading(0, 1, 1, "h"),))
    file = FileRecord("/d\udcff", "/", 1, 2, "aa", "failed", "torn", ("w", "x"), 3, 4)
    return replace(Piece(Parsed(file, (ParsedDocument(document, parts),)), ReadOptions(text_fields=("a",))), **changes)


@given(st.lists(st.lists(st.text(min_size=1), max_size=4), max_size=4))
def test_pieces_come_back_as_they_were(groups):
    before = [piece(texts, number=n + 1, of=9) for n, texts in enumerate(groups)]
    heads, documents = write_pieces(before)
    entries = read_entries(heads)
    assert [read_piece(entry, documents[entry.start : entry.end]) for entry in entries] == before
    assert [entry.first for entry in entries] == [sum(map(len, groups[:n])) for n in range(len(groups))]


def test_a_file_is_cut_between_documents():
    one = piece(["a", "b", "c"]).parsed.documents[0]
    parsed = Parsed(piece([]).parsed.file, (one,) * 5)
    found = cut(parsed, ReadOptions(), 7)
    assert [(each.number, each.of, each.passages) for each in found] == [(1, 3, 6), (2, 3, 6), (3, 3, 3)]
    assert [each.passages for each in cut(parsed, ReadOptions(), 1)] == [3] * 5
    assert [each.of for each in cut(replace(parsed, documents=()), ReadOptions(), 1)] == [1]


def test_bundles_are_bounded_also_for_files_without_passages():
    assert [len(each) for each in bundles([piece([])] * 25, 10)] == [10, 10, 5]
    assert [len(each) for each in bundles([piece(["a"] * 4)] * 5, 10)] == [2, 2, 1]
    assert [len(each) for each in bundles([piece(["a"] * 40)] * 2, 10)] == [1, 1]
    assert cutting.cut is cut


# Runs in parts


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("of", [1, 2, 5])
def test_the_same_hits_as_of_one_process(bench, make, of):
    one, many = make(), make()
    alone = bench.index(one)
    reports = [bench.part(f"{number}/{of}") for number in reversed(range(1, of + 1))]
    merged = bench.merge(many)
    assert shown(many) == shown(one)
    assert sum(report.read for report in reports) == alone.new + alone.failed + 1 == 23  # one is blank
    assert {name: getattr(merged, name) for name in COUNTED} == {name: getattr(alone, name) for name in COUNTED}
    assert merged.embedded == alone.embedded
    assert max(report.shards for report in reports) > 2


def test_ids_are_those_of_one_process(bench, make):
    """So that also equal scores come in the same order."""
    one, many = make(), make()
    bench.index(one)
    for part in ("3/3", "1/3", "2/3"):
        bench.part(part)
    bench.merge(many)
    ids = [
        [(part.id, part.path) for each in store.snapshot().documents() for part in each.passages]
        for store in (one, many)
    ]
    assert ids[0] == ids[1]


@pytest.mark.usefixtures("small_shards")
def test_any_number_of_times(bench, make):
    store = make()
    for _ in range(2):
        assert [bench.part(part).embedded > 0 for part in ("1/2", "2/2")] == [not _] * 2
        before = sorted(path.name for path in bench.folder.path.iterdir())
        report = bench.merge(store)
        assert (report.new, report.unchanged) == ((21, 0) if not _ else (0, 22))
    assert sorted(path.name for path in bench.folder.path.iterdir()) == before
    report = bench.part("1/2", store)
    assert (report.read, report.kept, report.embedded) == (1, 0, 0) or report.read == 0  # what failed is tried again


@pytest.mark.usefixtures("small_shards")
def test_parts_one_after_the_other(bench, make, corpus):
    """A part that is finished is searchable at once; the others follow, and nothing is taken to be gone meanwhile."""
    one, store = make(), make()
    bench.index(one)
    bench.index(store)
    gone = next(
        path for path in sorted(corpus.rglob("*.txt")) if not Part(1, 3).holds(str(path)) and path.read_text().strip()
    )
    (corpus / "new.txt").write_text("Something else.")
    gone.unlink()
    for number in (1, 2, 3):
        bench.part(f"{number}/3", store)
        gathered = bench.folder.gather()
        assert [part.number for part in gathered.unfinished] == list(range(number + 1, 4))
        report = bench.merge(store)
        assert report.deleted == (number == 3)
    bench.index(one)
    assert shown(store) == shown(one)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("beside", [True, False], ids=["beside the collection", "alone"])
def test_changes_are_handled_as_by_one_process(bench, make, corpus, beside):
    """Also where the parts are made on machines that do not have the collection."""
    one, many = make(), make()
    bench.index(one)
    parts = ("1/2", "2/2")
    for part in parts:
        bench.part(part)
    bench.merge(many)
    change(corpus)
    alone = bench.index(one)
    reports = [bench.part(part, many if beside else None) for part in parts]
    merged = bench.merge(many)
    assert shown(many) == shown(one)
    assert {name: getattr(merged, name) for name in COUNTED} == {name: getattr(alone, name) for name in COUNTED}
    assert (merged.moved, merged.deleted, merged.changed) == (1, 2, 2)
    assert sum(report.unchanged for report in reports) == (17 if beside else 0)


@pytest.mark.usefixtures("small_shards")
def test_other_read_options_are_kept_with_the_root(bench, make):
    one, many = make(), make()
    for options in (ReadOptions(text_fields=("year",)), ReadOptions(id_field="year")):
        bench.options = options
        bench.index(one)
        for part in ("1/2", "2/2"):
            bench.part(part)
        bench.merge(many)
        assert shown(many) == shown(one)


@pytest.mark.usefixtures("small_shards")
def test_a_text_of_many_files_is_embedded_once(bench, make):
    """By each worker, as far as it remembers; where nobody remembers anything, once for each shard."""
    alone = bench.index(make())
    assert bench.part("1/1").embedded == alone.embedded
    bench.folder = ShardFolder(bench.folder.path.with_name("forgetful"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(produce, "RECENT", 0)
        assert bench.part("1/1").embedded > alone.embedded
    one, many = make(), make()
    bench.index(one)
    bench.merge(many)
    assert shown(many) == shown(one)


def test_progress_tells_of_every_shard(bench, small_shards):
    heard = []
    report = bench.part("1/1", progress=heard.append)
    assert all(isinstance(event, ShardWritten) for event in heard)
    assert len(heard) == report.shards
    assert sum(event.texts for event in heard) == report.embedded
    assert (heard[-1].files, heard[-1].of) == (23, 23)


def test_what_waited_before_is_left_for_index(bench, make, corpus):
    """A merge has no model: texts of a run that was broken off stay, unless a shard has their vectors."""
    store = make()
    path = "/elsewhere.txt"
    document = Document(path, f"Waiting, of another root.\n\n\n{SHARED}", "text")
    start = document.text.index(SHARED)
    passages = (
        Passage(document.text[: start - 3], 0, start - 3, 1, 1, 4),
        Passage(SHARED, start, len(document.text), 4, 4, 5),
    )
    with store.writer() as writer:
        writer.stage(Parsed(FileRecord(path, path, 9, 9, "aa"), (ParsedDocument(document, passages),)))
        writer.commit()
    bench.part("1/1")
    bench.merge(store)
    with store.writer() as writer:
        assert [work.text for work in writer.claim(9)] == ["Waiting, of another root."]


def test_the_folder_is_no_document(bench, make, corpus):
    """Shards that lie in the folder that is indexed are never read."""
    bench.folder.path = corpus / "shards"
    bench.part("1/1")
    store = make()
    bench.index(store)
    with store.snapshot() as snapshot:
        assert not any("/shards/" in record.path for record in snapshot.files())
        assert any(record.path.endswith("/shards") and record.status == "skipped" for record in snapshot.files())


def test_vectors_are_kept_as_they_were_computed(bench, small_shards):
    """In full: the collection rounds them as it rounds those of its own process."""
    bench.part("1/1")
    seen = 0
    for path in bench.folder.path.glob("*.safetensors"):
        with bench.folder.open(path.stem) as shard:
            for entry in shard.entries:
                texts = [passage.text for passage in shard.piece(entry).texts()]
                wanted = bench.vectors(texts)
                found = shard.embedded(entry)
                assert np.array_equal(found.vectors, wanted[0])
                assert list(found.terms) == wanted[1]
                seen += len(texts)
    assert seen == 79  # 18 boats of two passages, 39 people, two sections each of a.md and page.html
    assert json.loads((bench.folder.path / "manifest.json").read_text())["parts"] == 1
