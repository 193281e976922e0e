"""Files → rows, NLI → triplets, the plan of batches, cleaning, and what bad data says."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import DataError
from semsearch.training.data import clean
from semsearch.training.data import rows as training_rows
from semsearch.training.data.batch_plan import plan
from semsearch.training.data.rows import Row
from semsearch.training.recipe import Clean, Dev, Source


def jsonl(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path.name


def triplet(anchor, positive="yes it is", negative="no it is not", source="snli"):
    return {"anchor": anchor, "positive": positive, "negative": negative, "source": source}


def rows(tmp_path, name, **fields):
    return list(training_rows.load(Source(path=name, **fields), tmp_path).rows)


def test_triplets_from_json_lines_csv_and_gzip(tmp_path):
    expected = [Row("a dog", "an animal", ("a cat",)), Row("an owl", "a bird", ("a fish",))]
    records = [{"anchor": r.anchor, "positive": r.positive, "negative": r.negatives[0]} for r in expected]
    assert rows(tmp_path, jsonl(tmp_path / "a.jsonl", *records)) == expected
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    assert rows(tmp_path, "b.jsonl.gz") == expected
    (tmp_path / "c.csv").write_text('sent0,sent1,hard_neg\na dog,an animal,a cat\n"an owl","a bird",a fish\n')
    assert rows(tmp_path, "c.csv") == expected


def test_pairs_take_the_first_of_their_negatives(tmp_path):
    name = jsonl(
        tmp_path / "p.jsonl", {"query": "q", "positive": "p", "negatives": ["m", "n"]}, {"query": "r", "positive": "s"}
    )
    assert rows(tmp_path, name, kind="pairs") == [Row("q", "p", ("m",)), Row("r", "s")]


@pytest.mark.parametrize("layout", ["snli", "mnli", "scitail", "ours"])
def test_nli_layouts_give_the_same_triplets(tmp_path, layout):
    pairs = [("p1", "yes", 0), ("p1", "no", 2), ("p1", "maybe", 1), ("p2", "ja", 0), ("p1", "also yes", 0)]
    names = ("entailment", "neutral", "contradiction")
    if layout == "scitail":  # no contradictions: its neutral ones are the negatives
        lines = "".join(f"{p}\t{h}\t{'entails' if n == 0 else 'neutral'}\n" for p, h, n in pairs if n != 1)
        (tmp_path / "s.tsv").write_text(lines)
        found = rows(tmp_path, "s.tsv", kind="nli", negatives=("neutral",))
    elif layout == "mnli":
        lines = "gold_label\tsentence1\tsentence2\n" + "".join(f"{names[n]}\t{p}\t{h}\n" for p, h, n in pairs)
        (tmp_path / "m.txt").write_text(lines + "-\tp1\tdisputed\n")
        found = rows(tmp_path, "m.txt", kind="nli")
    else:
        keys = ("sentence1", "sentence2", "gold_label") if layout == "snli" else ("premise", "hypothesis", "label")
        records = [dict(zip(keys, (p, h, names[n]), strict=True)) for p, h, n in pairs]
        found = rows(tmp_path, jsonl(tmp_path / "n.jsonl", *records), kind="nli")
    assert found == [Row("p1", "yes", ("no",))]


def test_hub_data_sets(tmp_path, monkeypatch):
    """By their name and split; a folder of that name in the working folder is one to the library."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    jsonl(folder / "train.jsonl", {"query": "q", "positive": "p"}, {"query": "r", "positive": "s"})
    jsonl(folder / "validation.jsonl", {"query": "v", "positive": "w"})
    assert rows(tmp_path, "hub:owner/name", kind="pairs") == [Row("q", "p"), Row("r", "s")]
    assert rows(tmp_path, "hub:owner/name:validation", kind="pairs") == [Row("v", "w")]
    with pytest.raises(DataError, match="cannot be had from the hub"):
        rows(tmp_path, "hub:owner/name:nothing", kind="pairs")


def test_entailed_pairs_alone(tmp_path):
    name = jsonl(tmp_path / "n.jsonl", {"premise": "p", "hypothesis": "h", "label": 0})
    assert rows(tmp_path, name, kind="nli", positives_only=True) == [Row("p", "h")]


def test_source_column_decides_what_is_used(tmp_path):
    records = [triplet(str(i), source=s) for i, s in enumerate(("snli", "mnli", "snli+mnli", "cad_nli+snli"))]
    name = jsonl(tmp_path / "t.jsonl", *records)
    loaded = training_rows.load(Source(path=name, include=("snli", "cad_nli")), tmp_path)
    assert [r.anchor for r in loaded.rows] == ["0", "3"]
    assert loaded.counts["of other sources"] == 2
    assert [r.anchor for r in rows(tmp_path, name, exclude=("mnli",))] == ["0", "3"]


@pytest.mark.parametrize(
    ("record", "fields", "message"),
    [
        (triplet("  "), {}, "row 2: the anchor is '  '"),
        ({"anchor": "a", "positive": None, "negative": "n"}, {}, "row 2: the positive is None"),
        ({"text1": "a", "text2": "b"}, {}, "row 2 has no column for anchor: it has text1, text2"),
        ({"anchor": "a", "positive": "b"}, {}, "no column for negative"),
        ({"premise": "p", "hypothesis": "h", "label": "maybe"}, {"kind": "nli"}, "the label is 'maybe'"),
    ],
)
def test_bad_rows_are_named(tmp_path, record, fields, message):
    good = triplet("x") if "kind" not in fields else {"premise": "p", "hypothesis": "h", "label": "neutral"}
    name = jsonl(tmp_path / "t.jsonl", good, record)
    with pytest.raises(DataError) as error:
        rows(tmp_path, name, **fields)
    assert message in str(error.value)


def test_one_class_only(tmp_path):
    name = jsonl(tmp_path / "n.jsonl", *({"premise": "p", "hypothesis": str(i), "label": 0} for i in range(3)))
    with pytest.raises(DataError, match="has only entailment 3; triplets need entailment and contradiction"):
        rows(tmp_path, name, kind="nli")


def test_single_triplet(tmp_path):
    loaded = training_rows.load(Source(path=jsonl(tmp_path / "t.jsonl", triplet("a dog"))), tmp_path)
    with pytest.raises(DataError, match="1 row to train on"):
        clean.clean([loaded], Clean(), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"{not json\n", "line 1 is not JSON"),
        ("b.jsonl", b"[1]\n", "line 1 is list"),
        ("c.jsonl.gz", b"not gzip", "cannot be read"),
        ("d.jsonl", b"\xff\xfe", "cannot be read"),
        ("e.parquet", b"", "rows are read from .jsonl"),
        ("f.jsonl", b"", "no row is left"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        rows(tmp_path, name)
    assert message in str(error.value)


def test_missing_file_says_where_paths_start(tmp_path):
    with pytest.raises(DataError, match="--data"):
        rows(tmp_path, "nothing.jsonl")


# -- batches ----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(2, 40), st.none() | st.floats(0.1, 5)), min_size=1, max_size=4),
    st.integers(2, 16),
    st.integers(1, 30),
)
def test_a_batch_is_of_one_source_without_repetition(sources, batch, steps):
    sizes, weights = [s for s, _ in sources], [w for _, w in sources]
    batches = plan(sizes, weights, batch, steps, seed=5)
    assert len(batches) == steps
    for source, numbers in batches:
        assert len(numbers) == min(batch, sizes[source])
        assert 0 <= numbers.min() <= numbers.max() < sizes[source]
    again = plan(sizes, weights, batch, steps, seed=5)
    assert all(a == b and (x == y).all() for (a, x), (b, y) in zip(batches, again, strict=True))


def test_weights_share_out_the_batches():
    counts = np.bincount([s for s, _ in plan([100, 100, 300], [3.0, 1.0, 4.0], 10, 80, seed=1)])
    assert counts.tolist() == [30, 10, 40]
    counts = np.bincount([s for s, _ in plan([100, 300], [None, None], 10, 40, seed=1)])
    assert counts.tolist() == [10, 30]


def test_an_epoch_uses_every_row_once():
    numbers = np.concatenate([rows for _, rows in plan([60], [None], 10, 6, seed=2)])
    assert sorted(numbers.tolist()) == list(range(60))


# -- cleaning ---------------------------------------------------------------------------------------------------


def loaded(*texts):
    return training_rows.Rows(Source(path="t"), tuple(Row(*text) for text in texts), "", {"read": len(texts)})


def test_duplicates_and_evaluation_sentences_go_with_counts(tmp_path):
    (tmp_path / "sts").mkdir()
    (tmp_path / "sts" / "dev.csv").write_text("x\t5.0\tA man is riding a brown horse .\tTwo dogs play in the snow\n")
    source = loaded(
        ("a plane lands at night", "it lands"),
        ("A plane lands, at night!", "It lands."),
        ("someone is there", "a man is riding a brown horse"),
        ("in the snow two big dogs play", "dogs are outside"),
        ("two cats sleep on the sofa", "cats are inside"),
    )
    (kept,) = clean.clean([source], Clean(evaluation=("sts",), near=0.8), tmp_path)
    assert [row.anchor for row in kept.rows] == ["a plane lands at night", "two cats sleep on the sofa"]
    assert dict(kept.counts) == {
        "read": 5, "duplicate": 1, "evaluation sentence": 1, "near an evaluation sentence": 1, "kept": 2,
    }  # fmt: skip


@given(st.lists(st.text("abcd ", max_size=12), max_size=12), st.lists(st.text("abcd ", max_size=12), max_size=12))
def test_near_finds_what_comparing_all_pairs_finds(texts, references):
    def overlap(a, b):
        a, b = clean.words(a), clean.words(b)
        return bool(a | b) and len(a & b) >= 0.6 * len(a | b)

    expected = {text for text in texts if any(overlap(text, reference) for reference in references)}
    assert set(clean.near(texts, references, 0.6)) == expected


def test_missing_evaluation_file(tmp_path):
    with pytest.raises(DataError, match=r"clean\.evaluation"):
        clean.clean([loaded(("a", "b"), ("c", "d"))], Clean(evaluation=("sts",)), tmp_path)


def test_dev_scores_must_be_numbers(tmp_path):
    name = jsonl(tmp_path / "d.jsonl", {"sentence1": "a", "sentence2": "b", "score": "high"})
    with pytest.raises(DataError, match="score is 'high'"):
        training_rows.scored_pairs(Dev(path=name), tmp_path)
