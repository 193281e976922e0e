"""semsearch train --collection: pairs of a collection, the gate, and re-indexing beside the live one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.errors import DataError
from indexer.storage.store import Snapshot
from indexer.types import Document, ParsedDocument, Passage, StoredPassage
from semsearch import Collection
from semsearch.cli import run
from semsearch.evaluation.judged.queries import Judged, read_judgements
from semsearch.training.data import collection_pairs
from semsearch.training.data.clean import distinct, key, words
from semsearch.training.data.rows import Row
from semsearch.training.recipe import Recipe, Train
from tests.search.helpers import ENCODER, add, document, memory

NOUNS = (
    "boat",
    "bread",
    "star",
    "knight",
    "river",
    "piano",
    "glacier",
    "violin",
    "castle",
    "tiger",
    "lantern",
    "bridge",
)
BOATS = "/data/boats.md"
VERBS = ("crosses", "forgets", "carries", "follows", "paints", "measures", "repairs", "watches")


def sentence(n: int) -> str:
    a, b, c = NOUNS[n % 12], VERBS[(n // 12) % 8], NOUNS[(n * 7 + 5 + n // 12) % 12]
    return f"The {a} number{n} {b} the old {c} near place{n % 41} today."


def passages(first: int, count: int) -> list[str]:
    """Three sentences each."""
    return [" ".join(sentence(first + 3 * i + j) for j in range(3)) for i in range(count)]


@pytest.fixture(scope="module")
def snapshot() -> Iterator[Snapshot]:
    """60 files of three passages, a copy of one of them, and one with headings."""
    store = memory()
    for n in range(60):
        path = f"/data/{n}.txt"
        add(store, path, [document(path, passages(9 * n, 3), title=f"Chapter {NOUNS[n % 12]} {n}")])
    copy = passages(0, 3)
    copy[0] = copy[0].replace("today", "now", 1)
    add(store, "/data/copy.txt", [document("/data/copy.txt", copy)])
    text = "# Sailing\n\nA sailing boat crosses the bay. It has a white sail and two masts of dark wood."
    oars = "## Oars\n\nRowing is slower than sailing. It needs two strong arms and calm."
    add(store, BOATS, [document(BOATS, [text, oars], title="Sailing", kind="markdown")])
    with store.snapshot() as snapshot:
        yield snapshot


def encode(texts: Sequence[str], query: bool) -> np.ndarray:
    return ENCODER.encode(texts)


def every(snapshot: Snapshot, path: str | None = None) -> list[StoredPassage]:
    return [passage for each in snapshot.documents(path) for passage in each.passages]


def gathered(snapshot: Snapshot, judgements: Path | None = None, seed: int = 1) -> collection_pairs.Material:
    judged = None
    if judgements is not None:
        judged = read_judgements(judgements, [file.path for file in snapshot.files("indexed")], [])
    return collection_pairs.gather(snapshot, encode, judged, seed)


@pytest.fixture
def judgements(tmp_path: Path) -> Path:
    """40 queries; the last two are one query written in two ways."""
    lines = [f"number{9 * n} number{9 * n + 1}\t/data/{n}.txt" for n in range(39)]
    path = tmp_path / "judgements.tsv"
    path.write_text("\n".join([*lines, lines[0].replace("number0", "Number0,", 1)]) + "\n")
    return path


def texts_of(rows: list[Row]) -> set[str]:
    return {text for row in rows for text in (row.anchor, row.positive, *row.negatives)}


def test_pairs_are_made_of_the_texts_alone(snapshot):
    rows = gathered(snapshot).rows
    assert set(rows) == {
        collection_pairs.SENTENCES,
        collection_pairs.TITLES,
        collection_pairs.NEIGHBOURS,
        collection_pairs.HELD,
    }
    whole = {p.passage.text for p in every(snapshot)}
    for row in rows[collection_pairs.SENTENCES]:
        assert row.anchor not in row.positive
        assert any(row.anchor in text and words(row.positive) <= words(text) for text in whole)
    order = [p.passage.text for p in every(snapshot)]
    for row in rows[collection_pairs.NEIGHBOURS]:
        assert order.index(row.positive) == order.index(row.anchor) + 1
    titles = {row.anchor for row in rows[collection_pairs.TITLES]}
    assert len(titles & {f"Chapter {NOUNS[n % 12]} {n}" for n in range(60)}) > 30  # others are held out


def test_titles_and_headings_are_not_in_their_own_answers(snapshot):
    found = {row.anchor: row.positive for row in collection_pairs._titled(next(snapshot.documents(BOATS)), set())}
    assert found == {
        "Sailing": "A sailing boat crosses the bay. It has a white sail and two masts of dark wood.",
        "Oars": "Rowing is slower than sailing. It needs two strong arms and calm.",
    }


def titled(path: str, kind: str, parts: Sequence[tuple[str, str | None]]) -> list[tuple[str, str]]:
    """Return the pairs of a heading and a text that a document of these passages, each with its heading, gives."""
    store, start, cut = memory(), 0, []
    for text, heading in parts:
        cut.append(Passage(text, start, start + len(text), 1, 1, len(text.split()), heading=heading))
        start += len(text) + 1
    whole = Document(path, "\n".join(text for text, _ in parts), kind)
    add(store, path, [ParsedDocument(whole, tuple(cut))])
    with store.snapshot() as shown:
        rows = [row for each in shown.documents() for row in collection_pairs._titled(each, set())]
    return [(row.anchor, row.positive) for row in rows]


def test_headings_are_those_of_the_document():
    """No line of code is one, and none in the middle of a passage: what stands before it is not below it."""
    first = "Read all of this before you begin to set up the tools."
    code = "# not a heading but a remark\nrun it at once and wait for the end"
    two = f"{first}\n\n## Later\n\n{first}"
    parts = [
        (f"# Setup\n\n{first}\n\n```sh", "Setup"),
        (f"{code}\n```", "Setup"),
        (two, "Setup"),
        (f"## End\n{first}", None),
    ]
    assert [name for name, _ in titled("/data/a.md", "markdown", parts)] == ["Setup", "End"]


def test_headings_of_extracted_text_are_those_kept_with_its_passages():
    body = "A rope is made of three strands,\nthat are laid together with a twist and hold a ship."
    parts = [(f"Ropes\n{body}", "Ship › Ropes"), (body, "Ship › Ropes"), (f"Knots\n{body}", None)]
    assert titled("/data/b.html", "html", parts) == [("Ropes", body)]


def test_neighbours_have_nothing_between_them():
    """A passage that is left out as a near duplicate parts those around it, however short it is."""
    first, middle, last = passages(0, 3)
    store = memory([("/data/a.txt", [first, "short", last]), ("/data/b.txt", [middle, last])])
    with store.snapshot() as shown:
        documents = collection_pairs._documents(list(shown.documents()), np.random.default_rng(1))
        found = [row for each in documents for row in collection_pairs._neighbours(each, set())]
    assert (first, last) not in {(row.anchor, row.positive) for row in found}


def test_copies_are_not_each_others_negatives(snapshot):
    """Of near-duplicates one is trained on, so no batch holds the other."""
    documents = collection_pairs._documents(list(snapshot.documents()), np.random.default_rng(1))
    used = {p.path for each in documents for p in each.passages}
    assert "/data/0.txt" in used
    assert "/data/copy.txt" not in used
    first = [p.passage.text for p in every(snapshot, "/data/0.txt")]
    assert distinct([*first, first[0].replace("today", "now"), "other words here"], 0.8) == [0, 1, 2, 4]
    assert distinct(["a b c d e", "e d c b a", "a b c x y"], 0.8) == [0, 2]


def test_what_is_held_out_is_in_no_training_pair(snapshot):
    material = gathered(snapshot)
    used = " ".join(
        texts_of([r for path, rows in material.rows.items() if path != collection_pairs.HELD for r in rows])
    )
    held = list(material.held.judged.queries.values()) + [row.anchor for row in material.rows[collection_pairs.HELD]]
    assert len(held) > 40
    assert not [query for query in held if query in used]
    dev = {row.anchor for row in material.rows[collection_pairs.HELD]}
    assert not dev & set(material.held.judged.queries.values())


def test_held_out_sentences_are_answered_by_the_rest_of_their_passage(snapshot):
    held = gathered(snapshot).held
    queries = held.judged.queries
    for query, sentence in queries.items():
        (answer,) = held.judged.relevant[query]
        assert sentence not in held.texts[held.documents.index(answer)]
    assert len(held.texts) == len(set(held.documents))
    perfect = {held.texts[held.documents.index(query)]: query for query in queries}

    def oracle(texts, query):
        names = [next((q for q, s in queries.items() if s == t), t) if query else perfect.get(t, t) for t in texts]
        return HashEncoder(dim=4096).encode(names)

    assert held.score(oracle).value > 99
    assert held.score(encode).value < 90


def test_judged_queries_train_and_are_held_out_by_query(snapshot, judgements):
    material = gathered(snapshot, judgements)
    train = {row.anchor for row in material.rows[collection_pairs.JUDGEMENTS]}
    dev = {row.anchor for row in material.rows[collection_pairs.HELD]}
    gate = set(material.held.judged.queries.values())
    assert (len(dev), len(gate)) in {(5, 10), (5, 11), (6, 10)}  # the query written in two ways is in one part
    assert sum(len(keys(part)) for part in (train, dev, gate)) == len(keys(train | dev | gate)) == 39
    by_path = {}
    for p in every(snapshot):
        by_path.setdefault(p.path, []).append(p.passage.text)
    for row in material.rows[collection_pairs.JUDGEMENTS]:
        (path,) = {f"/data/{int(row.anchor.split()[0].lower().removeprefix('number').strip(',')) // 9}.txt"}
        assert row.positive in by_path[path]
        assert not set(row.negatives) & set(by_path[path])
    assert any(row.negatives for row in material.rows[collection_pairs.JUDGEMENTS])
    wanted = {path for documents in material.held.judged.relevant.values() for path in documents}
    assert wanted <= set(material.held.documents)
    large = HashEncoder(dim=4096)
    assert material.held.score(lambda texts, query: large.encode(texts)).value > 60  # two words say which
    assert gathered(snapshot, judgements).rows == material.rows
    assert gathered(snapshot, judgements, seed=2).rows != material.rows


def test_no_relevant_document_gives_a_hard_negative(snapshot):
    """The document of the negative becomes relevant too: then others give the negatives."""
    shown = every(snapshot)

    def found(*relevant: str) -> list[Row]:
        judged = Judged("j", {"q": "number9 number10"}, {"q": dict.fromkeys(relevant, 1)}, "")
        return collection_pairs._judged_rows(snapshot, shown, judged, ["q"], encode, 2)

    (negative,) = found("/data/1.txt")[0].negatives
    (path,) = {p.path for p in shown if p.passage.text == negative}
    rows = found("/data/1.txt", path)
    assert len(rows) == 4
    negatives = {text for row in rows for text in row.negatives}
    assert negatives
    assert not {p.path for p in shown if p.passage.text in negatives} & {path, "/data/1.txt"}


def keys(texts: set[str]) -> set[str]:
    return {key(text) for text in texts}


def test_what_was_called_wrong_is_a_hard_negative(snapshot, judgements):
    """However near it is: a person has looked at it."""
    shown = every(snapshot)
    [answer] = [p for p in shown if "number9 " in p.passage.text and p.path == "/data/1.txt"][:1]
    nearest = next(p for p in shown if p.path == "/data/2.txt")
    judged = Judged(
        "j", {"q": answer.passage.text}, {"q": {answer.path: 1}}, "", wrong={"q": frozenset([nearest.path])}
    )
    rows = collection_pairs._judged_rows(snapshot, shown, judged, ["q"], encode, 2)
    assert rows
    wrong = {p.passage.text for p in shown if p.path == nearest.path}
    assert all(set(row.negatives) <= wrong and row.negatives for row in rows)


def test_what_cannot_be_trained_on_is_said(snapshot, judgements, tmp_path):
    few = tmp_path / "few.tsv"
    few.write_text("".join(judgements.read_text().splitlines(keepends=True)[:29]))
    with pytest.raises(DataError, match="29 different queries; 30 are needed: 10 are held out for the gate"):
        gathered(snapshot, few)
    few.write_text("".join(f"q{n}\t/data/none{n}.txt\n" for n in range(5)) + "q\t/data/1.txt\n")
    with pytest.raises(DataError, match=r"line 1 '/data/none0.txt'.*line 3 '/data/none2.txt' and 2 more"):
        gathered(snapshot, few)
    with (
        memory([("/data/a.txt", passages(0, 3))]).snapshot() as small,
        pytest.raises(DataError, match=r"gives 3 pairs.*128 are needed"),
    ):
        gathered(small)


def test_sizes_follow_the_number_of_pairs(snapshot, judgements):
    small = collection_pairs.sized(Train(batch=64, epochs=1, warmup=10, check_every=50), 80)
    assert (small.batch, small.steps, small.warmup, small.check_every) == (10, 10, 2, 2)
    large = collection_pairs.sized(Train(batch=64, epochs=2, warmup=10, check_every=50), 6400)
    assert (large.batch, large.steps, large.warmup, large.check_every) == (64, 200, 10, 50)
    recipe = collection_pairs.recipe_for(Recipe.preset("collection"), gathered(snapshot))
    assert collection_pairs.JUDGEMENTS not in {s.path for s in recipe.sources}
    with_queries = collection_pairs.recipe_for(Recipe.preset("collection"), gathered(snapshot, judgements))
    weights = {s.path: s.weight for s in with_queries.sources}
    count = len(gathered(snapshot, judgements).rows[collection_pairs.JUDGEMENTS])
    assert weights[collection_pairs.JUDGEMENTS] == count * collection_pairs.EMPHASIS


# -- the command ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for n in range(50):
        (folder / f"{n}.txt").write_text("\n\n".join(passages(9 * n, 3)) + "\n")
    return folder


@pytest.fixture
def home(folder, tiny_llama, tmp_path, capsys) -> Path:
    arguments = ["--model", str(tiny_llama), "--precision", "fp32", "--passage-tokens", "110", "--max-tokens", "120"]
    assert run(["index", str(folder), "--home", str(tmp_path / "home"), *arguments]) == 0
    capsys.readouterr()
    return tmp_path / "home"


def train(home: Path, out: Path, *more: object) -> int:
    arguments = ["train", "--collection", "default", "--home", home, "--out", out, "--device", "cpu", *more]
    return run([str(argument) for argument in arguments])


def fingerprint(home: Path, name: str = "default") -> str:
    return json.loads((home / name / "manifest.json").read_text())["fingerprint"]


def test_train_gate_swap_and_go_on(home, folder, tmp_path, capsys):
    before = fingerprint(home)
    assert train(home, tmp_path / "run", "--steps", 12, "--batch", 16, "--lr", 0.01, "--max-drop", 100, "--json") == 0
    output = capsys.readouterr()
    done = json.loads(output.out.splitlines()[-1])
    (what,) = done["gate"]
    assert "held-out sentences" in what
    assert done["gate"][what]["verdict"] == "pass"
    assert "STSBenchmark-dev is not checked" in output.err
    assert "semsearch reindex" in output.err  # no terminal to ask on
    assert fingerprint(home) == before
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert evaluation["gate"] == done["gate"]
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["data"][0]["path"].startswith("collection:")

    assert run(["reindex", "--home", str(home), "--adapter", str(tmp_path / "run"), "--precision", "fp32"]) == 0
    assert "default-before" in capsys.readouterr().err
    adapted = fingerprint(home)
    assert adapted != before == fingerprint(home, "default-before")
    assert run(["query", "the old boat", "--home", str(home), "--json"]) == 0
    capsys.readouterr()

    # Once more: it goes on from the adapter, whose score is the one before the first step.
    assert train(home, tmp_path / "second", "--steps", 2, "--batch", 16, "--max-drop", 100, "--yes") == 0
    recipe = Recipe.load(tmp_path / "second" / "recipe.toml")
    assert recipe.lora.init == str(tmp_path / "run")
    assert recipe.encoder.adapter is None
    first = json.loads((tmp_path / "second" / "evaluation.json").read_text())["untrained"]
    assert first == pytest.approx(json.loads((tmp_path / "run" / "evaluation.json").read_text())["dev"], abs=2)
    assert fingerprint(home) not in (before, adapted)
    assert fingerprint(home, "default-before-2") == adapted


def test_a_drop_fails_the_gate_and_nothing_is_offered(home, tmp_path, capsys):
    # a random model finds next to nothing and cannot drop: it learns first
    assert train(home, tmp_path / "good", "--steps", 30, "--batch", 16, "--lr", 0.01, "--yes") == 0
    capsys.readouterr()
    before = fingerprint(home)
    spoil = ("--steps", 2, "--batch", 8, "--lr", 1.0, "--yes")
    assert train(home, tmp_path / "run", *spoil) == 5
    output = capsys.readouterr()
    assert "FAIL" in output.out
    assert "reindex" not in output.err
    assert sorted(path.name for path in home.iterdir() if path.is_dir()) == ["default", "default-before"]
    assert fingerprint(home) == before
    # killed after the last step, the run goes on with the gate
    assert train(home, tmp_path / "run", *spoil, "--resume") == 5
    assert "FAIL" in capsys.readouterr().out


def test_wrong_use_is_said_before_anything_is_trained(home, tmp_path, capsys):
    for arguments, message in (
        (["--model", "other"], "own encoder"),
        (["--judgements", str(tmp_path / "none.tsv")], "cannot be read"),
    ):
        assert train(home, tmp_path / "run", *arguments) == 2
        assert message in capsys.readouterr().err
    assert run(["train", "--preset", "sts", "--yes"]) == 2
    assert run(["train", "--collection", "none", "--home", str(home)]) == 2
    assert "there is no collection 'none'" in capsys.readouterr().err
    assert run(["train", "--preset", "collection"]) == 2
    assert "--collection NAME" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_with_judgements(home, folder, tmp_path, capsys):
    path = tmp_path / "judgements.tsv"
    path.write_text("".join(f"number{9 * n} {NOUNS[n % 12]}\t{n}.txt\n" for n in range(40)))
    assert train(home, tmp_path / "run", "--judgements", path, "--dry-run", "--json") == 0
    output = capsys.readouterr()
    assert "collection:judgements" in output.err
    assert "10 held-out queries" in output.err
    assert json.loads(output.out)["steps"] >= 10


def test_the_collections_own_judgements_train_where_they_are_enough(home, folder, tmp_path, capsys):
    with Collection(home=home) as docs:
        for n in range(40):
            docs.judge(f"number{9 * n} {NOUNS[n % 12]}", folder / f"{n}.txt")
    assert train(home, tmp_path / "run", "--dry-run") == 0
    said = capsys.readouterr().err
    assert "trained on: 40 judged queries" in said
    assert "10 held-out queries" in said
    assert train(home, tmp_path / "run", "--dry-run", "--no-judgements") == 0
    said = capsys.readouterr().err
    assert "trained on: the collection's texts alone\n" in said
    assert "held-out sentences" in said
    with Collection(home=home) as docs:
        docs.keep_judgements([replace(each, grade=None) for each in docs.judgements()[:11]])
    assert train(home, tmp_path / "run", "--dry-run") == 0
    assert "texts alone: 29 queries are judged, 30 are needed" in capsys.readouterr().err
    assert train(home, tmp_path / "run", "--no-judgements", "--judgements", "x.tsv") == 2
    assert "contradict" in capsys.readouterr().err


def test_judge_train_gate_swap(home, folder, tmp_path, capsys):
    """From judging to a better encoder, without a file; the judgements are there for the next round."""
    before = fingerprint(home)
    with Collection(home=home) as docs:
        for n in range(40):
            docs.judge(f"number{9 * n} {NOUNS[n % 12]}", folder / f"{n}.txt")
        said = docs.judgements()
    assert train(home, tmp_path / "run", "--steps", 2, "--batch", 16, "--max-drop", 100, "--yes", "--json") == 0
    lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    [gate] = [each["gate"] for each in lines if "gate" in each]
    assert any("held-out queries" in what for what in gate)
    with Collection(home=home) as docs:
        assert docs.spec.fingerprint == fingerprint(home) != before
        assert docs.judgements() == said
        assert {each.encoder for each in said} == {before}
        assert docs.evaluate()["counts"]["queries"] == 40
