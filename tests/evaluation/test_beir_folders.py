"""BEIR folders as people have them: each figure is pytrec_eval's, or the folder is refused with a reason."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from indexer.errors import DataError
from semsearch.encoders import EncoderOverrides
from semsearch.evaluation.judged import beir, qrels, retrieval
from semsearch.evaluation.judged.queries import Judged
from semsearch.evaluation.runner import Evaluation
from semsearch.settings import Settings

THINGS = "anchor bellows crozier dulcimer escutcheon".split()
"""One document and one query each."""
HEADER = "query-id\tcorpus-id\tscore\n"
DOCUMENTS = [
    {"_id": f"d{i}", "title": thing, "text": f"The {thing} is made of iron."} for i, thing in enumerate(THINGS)
]
QUERIES = [{"_id": f"q{i}", "text": thing} for i, thing in enumerate(THINGS)]
ROWS = [(f"q{i}", f"d{i}", 1) for i in range(5)]


def lines(rows: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write(path: Path, **parts: bytes | str | None) -> Path:
    """Write a folder; ``corpus``, ``queries`` and ``judgements`` replace a file's content, ``name`` the last one's."""
    (path / "qrels").mkdir(parents=True)
    table = HEADER + "".join(f"{q}\t{d}\t{grade}\n" for q, d, grade in ROWS)
    for file, content in (
        (parts.get("corpus_name", "corpus.jsonl"), parts.get("corpus", lines(DOCUMENTS))),
        (parts.get("queries_name", "queries.jsonl"), parts.get("queries", lines(QUERIES))),
        (parts.get("name", "qrels/test.tsv"), parts.get("judgements", table)),
    ):
        (path / str(file)).write_bytes(content if isinstance(content, bytes) else str(content).encode())
    return path


def evaluated(tmp_path: Path, name: str = "wild") -> dict:
    """The task as ``eval retrieval`` gives it."""
    settings = Settings(data=tmp_path / name)
    result, _ = Evaluation(settings, EncoderOverrides(model="hash:64"), cache=tmp_path / "cache").retrieval()
    return result["tasks"][name]


def lexical(task: dict) -> tuple[float, int]:
    return round(task["scores"]["lexical"]["nDCG@10"], 4), task["counts"]["queries"]


def rows(separator: str = "\t", grade: str = "1", form: str = "{q}{s}{d}{s}{g}\n", head: str = "") -> str:
    return head + "".join(form.format(q=f"q{i}", d=f"d{i}", g=grade, s=separator) for i in range(5))


def numbered(value: Callable[[int], object], asked: Callable[[int], object]) -> dict[str, bytes]:
    """Documents and queries whose identifiers are these values of JSON."""
    return {
        "corpus": lines({**document, "_id": value(i)} for i, document in enumerate(DOCUMENTS)),
        "queries": lines({**query, "_id": asked(i)} for i, query in enumerate(QUERIES)),
    }


TREC = "{q}{s}0{s}{d}{s}{g}\n"
WILD: dict[str, dict[str, bytes | str]] = {
    "in the layout": {},
    "judgements without a header": {"judgements": rows()},
    "a header of other names": {"judgements": rows(head="qid\tpid\trelevance\n")},
    "a header of unknown names": {"judgements": rows(head="topic no\tpage\tusefulness\n")},
    "columns in another order": {"judgements": rows(form="{d}{s}{g}{s}{q}\n", head="corpus-id\tscore\tquery-id\n")},
    "TREC's four columns": {"judgements": rows(form=TREC)},
    "TREC's four columns with spaces": {"judgements": rows(" ", form=TREC), "name": "qrels/test.txt"},
    "TREC's file beside the folder": {"judgements": rows(" ", form=TREC), "name": "qrels.trec"},
    "commas": {"judgements": rows(",", head="query-id,corpus-id,score\n"), "name": "qrels/test.csv"},
    "grades with a point": {"judgements": rows(grade="1.0")},
    "JSON lines of judgements": {
        "judgements": lines({"query-id": q, "corpus-id": d, "score": grade} for q, d, grade in ROWS),
        "name": "qrels/test.jsonl",
    },
    "line ends of Windows": {
        "corpus": lines(DOCUMENTS).replace(b"\n", b"\r\n"),
        "queries": lines(QUERIES).replace(b"\n", b"\r\n"),
        "judgements": rows(head=HEADER).replace("\n", "\r\n"),
    },
    "byte order marks": {
        "corpus": codecs.BOM_UTF8 + lines(DOCUMENTS),
        "queries": codecs.BOM_UTF8 + lines(QUERIES),
        "judgements": codecs.BOM_UTF8 + rows(head=HEADER).encode(),
    },
    "byte order marks without a header": {"judgements": codecs.BOM_UTF8 + rows().encode()},
    "UTF-16, as PowerShell writes": {
        "corpus": lines(DOCUMENTS).decode().encode("utf-16"),
        "queries": lines(QUERIES).decode().encode("utf-16"),
        "judgements": rows(head=HEADER).encode("utf-16"),
    },
    "packed": {
        "corpus": gzip.compress(lines(DOCUMENTS)),
        "corpus_name": "corpus.jsonl.gz",
        "queries": gzip.compress(lines(QUERIES)),
        "queries_name": "queries.jsonl.gz",
        "judgements": gzip.compress(rows(head=HEADER).encode()),
        "name": "qrels/test.tsv.gz",
    },
    "no line feed at the end": {"corpus": lines(DOCUMENTS).rstrip(), "judgements": rows(head=HEADER).rstrip()},
    "identifiers that are numbers": {
        **numbered(lambda i: i + 100, lambda i: i),
        "judgements": HEADER + "".join(f"{i}\t{i + 100}\t1\n" for i in range(5)),
    },
    "space around identifiers": {
        **numbered(lambda i: f" d {i} ", lambda i: f"q {i}"),
        "judgements": HEADER + "".join(f"q {i}\t d {i} \t1\n" for i in range(5)),
    },
    "space around identifiers in one file only": {
        **numbered(lambda i: f"d{i}\u00a0", lambda i: f" q{i}"),
        "judgements": rows(head=HEADER),
    },
    "fields of other names": {
        "corpus": lines({"id": d["_id"], "contents": d["text"]} for d in DOCUMENTS),
        "queries": lines({"id": q["_id"], "text": q["text"]} for q in QUERIES),
    },
    "documents with metadata": {"corpus": lines({**d, "metadata": {"url": "x"}} for d in DOCUMENTS)},
    "titles alone": {"corpus": lines({**d, "text": ""} for d in DOCUMENTS)},
    "null for no title": {"corpus": lines({**d, "title": None} for d in DOCUMENTS)},
}


@pytest.mark.parametrize("what", WILD)
def test_every_query_finds_its_document(tmp_path: Path, what: str) -> None:
    write(tmp_path / "wild", **WILD[what])
    task = evaluated(tmp_path)
    assert lexical(task) == (1.0, 5)
    assert task["counts"]["documents"] == 5
    assert "notes" not in task


def test_the_query_itself_is_left_out_of_what_it_finds(tmp_path: Path) -> None:
    """Arguments and their counterarguments: each query is a document, and would be its own best hit."""
    claims = [{"_id": f"{t}-for", "title": "", "text": f"We ought to keep the {t} in town."} for t in THINGS]
    others = [{"_id": f"{t}-against", "title": "", "text": f"Nobody has a use for that {t} now."} for t in THINGS]
    table = HEADER + "".join(f"{t}-for\t{t}-against\t1\n" for t in THINGS)
    write(tmp_path / "wild", corpus=lines(claims + others), queries=lines(claims), judgements=table)
    task = evaluated(tmp_path)
    assert lexical(task) == (1.0, 5)
    assert task["scores"]["lexical"]["RR"] == 1.0
    assert task["notes"] == [
        "5 documents have a query's identifier; each is left out of what that query finds, as BEIR's tools do"
    ]


def test_leaving_out_equals_pytrec_eval_on_results_without_the_query() -> None:
    judged = Judged("made", {"a": "x", "b": "y"}, {"a": {"c": 2, "d": 1}, "b": {"a": 1}}, "folder", own=frozenset("ab"))
    run = {"a": {"a": 9.0, "c": 3.0, "e": 2.0, "d": 1.0}, "b": {"b": 5.0, "a": 4.0, "c": 3.0}}
    theirs = pytrec_eval.RelevanceEvaluator({q: dict(r) for q, r in judged.relevant.items()}, {"ndcg_cut.10", "map"})
    wanted = theirs.evaluate({q: {d: v for d, v in found.items() if d != q} for q, found in run.items()})
    ours = retrieval.measure(judged, run)
    np.testing.assert_allclose(ours["nDCG@10"], [wanted[q]["ndcg_cut_10"] for q in "ab"])
    np.testing.assert_allclose(ours["AP"], [wanted[q]["map"] for q in "ab"])


def test_documents_merely_numbered_like_queries_stay(tmp_path: Path) -> None:
    """Query 3 and document 3 have nothing in common where a query calls the document of its number relevant."""
    write(
        tmp_path / "wild",
        **numbered(lambda i: str(i), lambda i: str(i)),
        judgements=HEADER + "".join(f"{i}\t{i}\t1\n" for i in range(5)),
    )
    task = evaluated(tmp_path)
    assert lexical(task) == (1.0, 5)
    assert "notes" not in task


def test_a_judged_document_that_is_missing_counts_as_not_found(tmp_path: Path) -> None:
    write(tmp_path / "wild", corpus=lines(DOCUMENTS[:4]))
    task = evaluated(tmp_path)
    assert lexical(task) == (0.8, 5)
    assert task["notes"] == ["1 judged documents are not in the collection and count as not found: 'd4'"]


def test_a_missing_document_lowers_the_best_that_can_be_had(tmp_path: Path) -> None:
    """One of two relevant documents is there: found at rank 1, nDCG is that of pytrec_eval, not 1."""
    write(tmp_path / "wild", judgements=rows(head=HEADER) + "q0\tgone\t1\n")
    task = evaluated(tmp_path)
    wanted = pytrec_eval.RelevanceEvaluator({"q0": {"d0": 1, "gone": 1}}, {"ndcg_cut.10"}).evaluate(
        {"q0": {"d0": 1.0}}
    )["q0"]["ndcg_cut_10"]
    assert task["scores"]["lexical"]["nDCG@10"] == pytest.approx((4 + wanted) / 5, abs=1e-5)


def test_a_judged_document_without_text_counts_as_not_found(tmp_path: Path) -> None:
    write(tmp_path / "wild", corpus=lines([*DOCUMENTS[:4], {"_id": "d4", "title": "", "text": " "}]))
    task = evaluated(tmp_path)
    assert lexical(task) == (0.8, 5)
    assert task["notes"] == [
        "1 documents have neither title nor text and cannot be found",
        "1 judged documents are not in the collection and count as not found: 'd4'",
    ]


def test_of_equal_identifiers_the_last_counts(tmp_path: Path) -> None:
    """BEIR's loader keeps documents, queries and judgements in dictionaries."""
    old = [{"_id": "d0", "title": "", "text": "Nothing of the kind."}]
    write(
        tmp_path / "wild",
        corpus=lines(old + DOCUMENTS),
        queries=lines([{"_id": "q1", "text": "zither"}, *QUERIES]),
        judgements=HEADER + "q0\td1\t1\n" + rows() + "q0\td1\t0\n",
    )
    task = evaluated(tmp_path)
    assert lexical(task) == (1.0, 5)
    assert task["counts"]["documents"] == 5
    assert task["notes"] == [
        "1 identifiers of documents occur more than once in corpus.jsonl; the last counts: 'd0'",
        "1 identifiers of queries occur more than once in queries.jsonl; the last counts: 'q1'",
    ]


def test_queries_without_a_relevant_document_are_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "wild", judgements=HEADER + "q0\td0\t1\nq1\td0\t0\nq2\td0\t-1\n")
    task = evaluated(tmp_path)
    assert lexical(task) == (1.0, 1)
    assert task["notes"] == ["2 judged queries have no relevant document and are left out"]


def test_a_folder_is_named_whatever_path_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path / "wild"))
    assert list(beir.folders(Path())) == ["wild"]


def test_a_quick_run_keeps_the_notes_and_the_query_out_of_its_hits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beir, "QUICK_QUERIES", 2)
    corpus = [*DOCUMENTS, {"_id": "q0", "title": "", "text": THINGS[0]}]
    judged = beir.load("wild", write(tmp_path / "wild", corpus=lines(corpus)))
    some = beir.prepare(judged, tmp_path / "scratch", quick=True)
    assert some.quick
    assert some.own == {"q0"}
    assert some.notes == judged.notes != ()


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"judgements": HEADER + "q0\td0\thigh\n"}, "line 2: the grade is 'high'"),
        ({"judgements": "q0\td0\thigh\nq1\td1\t1\n"}, "line 1: the grade is 'high'"),
        ({"judgements": HEADER + "q0\td0\t0.5\n"}, "the grade is '0.5'"),
        ({"judgements": HEADER + "q9\td0\t1\n"}, "line 2: query 'q9' is not in queries.jsonl"),
        ({"judgements": "q9\td0\t1\nq1\td1\t1\n"}, "line 1: query 'q9' is not in queries.jsonl"),
        ({"judgements": rows(head=HEADER).replace("\td", "\tx")}, "none of the 5 documents that"),
        ({"judgements": '{"query-id": "q0"}\n', "name": "qrels/test.jsonl"}, "line 1 lacks query-id"),
        ({"judgements": rows(), "name": "qrels/judged.doc"}, "test.tsv is read, or the only file"),
        ({"queries": lines([{**QUERIES[0], "text": " "}, *QUERIES[1:]])}, "no text in the judged queries 'q0'"),
        ({"corpus": lines([{**DOCUMENTS[0], "_id": None}])}, "line 1: _id is None"),
        ({"corpus": lines([{**DOCUMENTS[0], "_id": True}])}, "line 1: _id is True"),
        ({"corpus": b"\xff\xff" + lines(DOCUMENTS)}, "corpus.jsonl cannot be read"),
        ({"corpus": gzip.compress(lines(DOCUMENTS))[:-9], "corpus_name": "corpus.jsonl.gz"}, "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, parts: dict[str, bytes | str], what: str) -> None:
    with pytest.raises(DataError) as caught:
        beir.load("wild", write(tmp_path / "wild", **parts))
    assert what in str(caught.value)


def test_the_last_of_several_judgements_of_a_pair_counts(tmp_path: Path) -> None:
    folder = write(tmp_path / "wild", judgements=rows() + "q0\td0\t2\n")
    _, grades = qrels.read(folder, dict.fromkeys(f"q{i}" for i in range(5)), {f"d{i}" for i in range(5)})
    assert grades["q0"] == {"d0": 2}
