"""Shards that are damaged, or do not belong together, are refused with what to do; nothing of them is taken in."""

import itertools
import json
import multiprocessing
import os
import signal
from dataclasses import replace

import pytest

from indexer import pipeline
from indexer.corpus.formats import ReadOptions
from indexer.errors import DataError, FormatError, MismatchError, UsageError
from indexer.parts.folder import ShardFolder
from indexer.parts.merge import merge
from indexer.storage.local.writer import LocalWriter
from tests.parts.conftest import shown
from tests.storage.contract.factories import FACTORIES
from tests.storage.contract.values import OTHER, manifest


@pytest.fixture(params=[FACTORIES[1]], ids=str)
def factory(request):
    """The store on disk alone: what is refused is refused before there is a store."""
    return request.param


@pytest.fixture
def made(bench, small_shards):
    """Both parts of two."""
    bench.part("1/2")
    bench.part("2/2")
    return bench


def data(bench):
    return sorted(bench.folder.path.glob("*.safetensors"))[0]


def about(bench):
    return data(bench).with_suffix(".json")


def listing(bench):
    return bench.folder.path / "part-00002-of-00002.jsonl"


def edit(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | changes))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a truncated shard": (
        lambda b: truncate(data(b)),
        r"\.safetensors is damaged: it has [\d,]+ bytes, and [\d,]+",
    ),
    "a changed byte": (lambda b: flip(data(b)), r"\.safetensors is damaged: its SHA-256 is"),
    "a missing shard": (lambda b: data(b).unlink(), r"\.safetensors is damaged: No such file"),
    "no manifest": (lambda b: about(b).unlink(), r"\.json is damaged: it is missing"),
    "a torn manifest": (lambda b: truncate(about(b)), r"\.json is damaged: "),
    "a manifest of something else": (lambda b: about(b).write_text("[1]"), r"\.json is damaged: its format is None"),
    "an odd part": (lambda b: edit(about(b), part=[3, 2]), r"\.json is damaged: 3/2 is no part"),
    "a torn listing": (lambda b: truncate(listing(b)), r"part-00002-of-00002\.jsonl is damaged: it does not hold the"),
    "an empty listing": (lambda b: listing(b).write_bytes(b""), r"part-00002-of-00002\.jsonl is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_the_part_made_again_mends_it(made, make, name):
    harm, message = DAMAGES[name]
    harm(made)
    with pytest.raises(DataError, match=rf"{message}.*`semsearch index --shard [I12]/[N2]`"):
        made.folder.gather()
    again = [made.part("1/2"), made.part("2/2")]
    one, many = make(), make()
    made.index(one)
    made.merge(many)
    assert shown(many) == shown(one)
    assert sum(report.kept for report in again) > sum(report.read for report in again)  # only what was lost is read


@pytest.mark.parametrize("which", ["shard", "listing", "folder"])
def test_a_newer_format(made, which):
    path = {"shard": about, "listing": listing, "folder": lambda b: b.folder.path / "manifest.json"}[which](made)
    head, _, rest = path.read_text().partition("\n") if which == "listing" else (path.read_text(), "", "")
    path.write_text(json.dumps(json.loads(head) | {"shard": 9}) + "\n" + rest)
    with pytest.raises(FormatError, match=r"has shard format 9, this version of semsearch reads up to 1: install"):
        made.folder.gather()


OTHERWISE = {
    "encoder": (
        {"spec": OTHER.spec, "dim": 16},
        r"encoder \w{16}, and .* with \w{16} \(hash:\d+, hash:\d+\)",
    ),
    "splitter": ({"splitter": {"passage_tokens": 64}}, r"splitter \{'passage_tokens': \d+\}, and .* with \{"),
    "sparse": ({"sparse": None}, r"terms in a sparse index \w+, and"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_collection_that_was_made_otherwise(made, make, name):
    changes, message = OTHERWISE[name]
    changes = dict(changes)
    spec = changes.pop("spec", None)
    store = make(**changes) if spec is None else None
    gathered = made.folder.gather()
    if store is None:
        store, gathered = make(), replace(gathered, manifest=replace(gathered.manifest, spec=spec, dim=changes["dim"]))
    before = store.version()
    with pytest.raises(MismatchError, match=rf"{message}.*merge into another collection"):
        merge(store, made.folder, gathered)
    assert store.version() == before


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_folder_of_shards_that_were_made_otherwise(made, name):
    changes, message = OTHERWISE[name]
    before = sorted(path.name for path in made.folder.path.iterdir())
    values = {"splitter": made.manifest.splitter, "sparse": made.manifest.sparse} | changes
    values.pop("spec", None)
    made.manifest = (
        manifest(OTHER, **{k: v for k, v in values.items() if k != "dim"}) if name == "encoder" else manifest(**values)
    )
    with pytest.raises(MismatchError, match=rf"{message}.*another folder with --shards, or delete this one"):
        made.part("1/2")
    assert sorted(path.name for path in made.folder.path.iterdir()) == before


def test_a_shard_that_was_made_otherwise(made):
    edit(about(made), manifest=manifest(splitter={"passage_tokens": 64}, sparse=made.manifest.sparse).to_dict())
    with pytest.raises(MismatchError, match=rf"{data(made).name} was made with splitter .*64.* run part ./2 again"):
        made.folder.gather()


def test_shards_of_machines_that_compute_in_other_numbers(made):
    values = manifest(splitter=made.manifest.splitter, sparse=made.manifest.sparse).to_dict()

    def say(precision):
        spec = values["spec"] | {"precision": precision}
        edit(about(made), manifest=values | {"precision": precision, "spec": spec})

    for each in ("bf16", "fp16", "int8"):
        say(each)
        assert made.folder.gather().manifest.fingerprint == made.manifest.fingerprint
    say("nf4")
    with pytest.raises(MismatchError, match=rf"{data(made).name} was made with precision nf4, .* with fp32"):
        made.folder.gather()


def test_another_number_of_parts(made, tmp_path, bench):
    with pytest.raises(UsageError, match=r"has a run in 2 parts, and part 1/3 was asked for; give --shard I/2"):
        made.part("1/3")
    other = replace(bench, folder=ShardFolder(tmp_path / "other"))
    other.part("3/3")
    (other.folder.path / "part-00003-of-00003.jsonl").rename(made.folder.path / "part-00003-of-00003.jsonl")
    with pytest.raises(UsageError, match=r"has a run in 2 parts, and a listing of part 3/3; every part"):
        made.folder.gather()


def test_parts_of_other_paths(made, tmp_path):
    (tmp_path / "more").mkdir()
    made.roots = [*made.roots, str(tmp_path / "more")]
    made.part("2/2")
    with pytest.raises(UsageError, match=r"part 2/2 in .* is of .*corpus, .*more, and part 1/2 of .*corpus;"):
        made.folder.gather()


def test_parts_with_other_read_options(made):
    made.options = ReadOptions(text_fields=("year",))
    made.part("2/2")
    with pytest.raises(UsageError, match=r"corpus was read with .*'year'.* in part 2/2 .* in part 1/2; run the ones"):
        made.folder.gather()


def test_a_listing_under_another_name(made):
    listing(made).rename(made.folder.path / "part-00001-of-00002.jsonl")
    with pytest.raises(DataError, match=r"it is the listing of part 2/2, and its name says another"):
        made.folder.gather()


def test_no_shards(bench, tmp_path):
    with pytest.raises(UsageError, match=r"holds no shards; make them with: semsearch index --shard I/N --shards "):
        bench.folder.gather()
    bench.folder.path.mkdir()
    (bench.folder.path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files than shards; name a new folder with --shards"):
        bench.part("1/2")
    (bench.folder.path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"is no folder of shards: manifest\.json"):
        bench.part("1/2")
    assert sorted(path.name for path in bench.folder.path.iterdir()) == ["manifest.json", "thesis.txt"]


def test_a_collection_that_lacks_what_the_parts_passed_over(bench, make):
    """Shards that were made beside one collection do not bring another one up to date."""
    first, second = make(), make()
    bench.index(first)
    bench.part("1/1", first)
    with pytest.raises(DataError, match=r"is in no shard: when part 1/1 was made, a collection had it as it is, and '"):
        bench.merge(second)
    with second.snapshot() as snapshot:
        assert not list(snapshot.files())


# Kills


def in_a_process(work) -> bool:
    """Do something in a forked process. Return whether it came to its end, and was not killed before."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


def killing(n, real):
    """Return a function that kills its process at the n-th call; until then it does what it stands for."""
    left = itertools.count(n, -1)

    def call(*arguments):
        if next(left) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    return call


def test_a_part_that_is_killed_at_any_moment_goes_on(bench, make, small_shards):
    """At a flush of a file that is being written: it lies there unfinished then, and all before it is in place."""
    one = make()
    bench.index(one)
    kept = []
    for n in itertools.count(1, 3):  # by turns a shard's data and its manifest
        bench.folder = ShardFolder(bench.folder.path.with_name(f"shards{n}"))

        def killed(n=n):
            os.fsync = killing(n, os.fsync)
            bench.part("1/1")

        ended = in_a_process(killed)
        kept.append(bench.part("1/1").kept)
        many = make()
        bench.merge(many)
        assert shown(many) == shown(one)
        if ended:
            break
    assert len(kept) > 5
    assert kept == sorted(kept)  # a shard that is there is never made again
    assert kept[-1] == 22  # all but the one that failed, which is tried again


def test_a_merge_that_is_killed_at_any_commit_goes_on(made, make, monkeypatch):
    """No commit leaves a text without a vector that only the shards have."""
    monkeypatch.setattr(pipeline, "COMMIT_SECONDS", 0.0)
    one = make()
    made.index(one)
    for n in itertools.count(2, 5):
        many = make()

        def killed(n=n, many=many):
            LocalWriter.commit = killing(n, LocalWriter.commit)
            made.merge(many)

        ended = in_a_process(killed)
        made.merge(many)
        assert shown(many) == shown(one)
        if ended:
            break
    assert n > 12
