"""Retrieval: BEIR folders through the real pipeline, pytrec-eval's figures, a person's own judgements."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from indexer.embedding.hash_encoder import HashEncoder
from indexer.errors import DataError
from semsearch.collection import Collection
from semsearch.encoders import NOTHING, EncoderOverrides
from semsearch.evaluation.judged import beir, retrieval
from semsearch.evaluation.judged import collection as judged_collection
from semsearch.evaluation.judged.queries import read_judgements
from semsearch.evaluation.runner import Evaluation
from semsearch.search.answering import rank
from semsearch.search.asking.asked import Need, read
from semsearch.search.asking.request import SearchRequest
from semsearch.settings import Settings

FLAGS = EncoderOverrides(model="hash:64")
TOPICS = ["wing flutter", "heat transfer", "boundary layer", "shock wave", "jet noise", "tail buffet"]


def folder(path: Path, packed: bool = False) -> Path:
    """Thirty documents, some long enough for several passages, and six queries."""
    (path / "qrels").mkdir(parents=True)
    documents = []
    for i in range(30):
        topic = TOPICS[i % 6]
        text = f"{topic} measured at speed {i}. " + f"The model number {i} was built of wood and steel. " * (i * 2)
        documents.append({"_id": f"d{i}", "title": f"Report {i} on {topic}", "text": text + f"End of {topic}."})
    corpus = "".join(json.dumps(d) + "\n" for d in documents).encode()
    name = "corpus.jsonl.gz" if packed else "corpus.jsonl"
    (path / name).write_bytes(gzip.compress(corpus) if packed else corpus)
    queries = [{"_id": f"q{i}", "text": f"{topic} of a model"} for i, topic in enumerate([*TOPICS, "not judged"])]
    (path / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries), encoding="utf-8")
    rows = [f"q{i}\td{j}\t{1 + (j < 12)}" for i in range(6) for j in range(i, 30, 6)]
    (path / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n", encoding="utf-8")
    return path


def test_figures_are_those_of_pytrec_eval(tmp_path: Path) -> None:
    judged = beir.load("made", folder(tmp_path / "made", packed=True))
    encoder = HashEncoder()
    with judged_collection.indexed(judged, encoder, tmp_path / "cache") as collection:
        found, scores = retrieval.score(collection)
        owners = collection.owners
        assert len(owners) > 30  # some documents have several passages
        evaluator = pytrec_eval.RelevanceEvaluator(
            {q: dict(d) for q, d in judged.relevant.items()}, {"ndcg_cut.10", "map", "recip_rank", "recall.10,100"}
        )
        for mode in (*retrieval.MODES, "hybrid rrf"):
            run: dict[str, dict[str, float]] = {}
            fusion = "rrf" if mode == "hybrid rrf" else "convex"
            for query, text in judged.queries.items():
                request = SearchRequest(text, mode=mode.removesuffix(" rrf"), fusion=fusion)
                with collection.docs.view() as view:
                    asked = read([text], [Need(vector=True)], lambda: encoder, print)
                    [ranked] = rank(view, request, asked, retrieval.DEPTH)
                pairs = list(zip(ranked.ids.tolist(), ranked.scores.tolist(), strict=True))
                run[query] = {d: max(s for i, s in pairs if owners[i] == d) for d in {owners[i] for i, _ in pairs}}
            theirs = evaluator.evaluate(run)
            for ours, name in (("nDCG@10", "ndcg_cut_10"), ("AP", "map"), ("RR", "recip_rank"), ("R@10", "recall_10")):
                assert found["scores"][mode][ours] == pytest.approx(
                    np.mean([v[name] for v in theirs.values()]), abs=1e-6
                )
    assert [score.task for score in scores] == ["made dense", "made lexical", "made hybrid", "made hybrid rrf"]
    assert found["counts"] == {"queries": 6, "documents": 30, "passages": len(owners)}
    assert set(found["latency_ms"]["hybrid"]) == {"p50", "p90", "p99"}


def test_a_query_without_a_result_scores_zero(tmp_path: Path) -> None:
    judged = beir.load("made", folder(tmp_path / "made"))
    values = retrieval.measure(judged, {"q1": {"d1": 1.0}})
    assert values["RR"].tolist() == [0, 1, 0, 0, 0, 0]


def test_the_collection_is_made_once(tmp_path: Path) -> None:
    judged = beir.load("made", folder(tmp_path / "made"))
    told: list[str] = []
    for _ in range(2):
        told.clear()
        with judged_collection.indexed(judged, HashEncoder(), tmp_path / "cache", lambda what, _: told.append(what)):
            pass
    assert told == []


def test_json_shape_and_provenance(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "retrieval" / "made")
    result, _ = Evaluation(Settings(data=tmp_path / "data"), FLAGS, cache=tmp_path / "cache").retrieval()
    assert set(result["scores"]) == {"dense", "lexical", "hybrid", "hybrid rrf"}
    assert set(result["scores"]["dense"]) == {"nDCG@10", "AP", "RR", "R@10", "R@100"}
    assert 0 < result["scores"]["lexical"]["nDCG@10"] <= 1
    assert set(result["latency_ms"]["dense"]) == {"p50", "p90", "p99"}
    assert len(result["items"]["made hybrid"]) == 6
    assert result["encoder"]["spec"]["model"] == "hash:64"
    assert set(result["data"]["made"]["sha256"]) == {"corpus.jsonl", "queries.jsonl", "test.tsv"}


def test_quick_keeps_what_is_relevant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beir, "QUICK_QUERIES", 2)
    monkeypatch.setattr(beir, "QUICK_DOCUMENTS", 15)
    judged = beir.prepare(beir.load("made", folder(tmp_path / "made")), tmp_path / "scratch", quick=True)
    assert list(judged.queries) == ["q0", "q3"]
    kept = [json.loads(line)["_id"] for line in judged.corpus.read_text(encoding="utf-8").splitlines()]
    assert len(kept) == 15
    assert {d for documents in judged.relevant.values() for d in documents} <= set(kept)


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        (
            "qrels/test.tsv",
            "query-id\tcorpus-id\tscore\nq0\td999\t1\n",
            "none of the 1 documents that",
        ),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq99\td1\t1\n", "line 2: query 'q99' is not in queries.jsonl"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\td1\n", "line 2 has 2 columns where 3"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\td1\thigh\n", "line 2: the grade is 'high'"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\td1\t0\n", "calls no document relevant"),
        ("queries.jsonl", '{"_id": "q0", "te', "line 1 is not JSON"),
        ("corpus.jsonl", '{"title": "no id"}\n', "line 1: _id is None"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, content: str, what: str) -> None:
    (folder(tmp_path / "made") / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        beir.load("made", tmp_path / "made")
    assert what in str(caught.value)


def test_official_sizes(tmp_path: Path, shared_data: Path) -> None:
    for name, path in beir.folders(shared_data).items():
        judged = beir.load(name, path)
        assert len(judged.queries) == beir.OFFICIAL[name][1]
    with pytest.raises(
        DataError, match="30 documents, 6 judged queries and 30 relevant pairs; scifact has 5183, 300, 339"
    ):
        beir.load("scifact", folder(tmp_path / "scifact"))


def test_lexical_search_of_med_is_near_the_known_figure(tmp_path: Path, shared_data: Path) -> None:
    """bm25s gives nDCG@10 0.696; a far lower figure would be an error of reading or of judging."""
    result, _ = Evaluation(Settings(data=shared_data), FLAGS, cache=tmp_path / "cache").retrieval(["med"])
    assert result["scores"]["lexical"]["nDCG@10"] == pytest.approx(0.696, abs=0.05)
    assert result["scores"]["dense"]["nDCG@10"] < 0.5


def index(tmp_path: Path) -> Settings:
    notes = tmp_path / "notes"
    notes.mkdir()
    for topic in TOPICS:
        (notes / f"{topic.replace(' ', '-')}.md").write_text(
            f"# {topic}\n\nAll about {topic} here.\n", encoding="utf-8"
        )
    settings = Settings(home=tmp_path / "home", collection="mine")
    with Collection(settings=settings, create=True, encoder=FLAGS) as docs:
        docs.index([notes])
    return settings


def test_own_judgements(tmp_path: Path) -> None:
    settings = index(tmp_path)
    judgements = tmp_path / "judged.tsv"
    judgements.write_text(
        f"wing flutter\twing-flutter.md\nheat transfer\t{tmp_path}/notes/heat-transfer.md\t2\n"
        "jet noise\tnotes/jet-noise.md\t1\njet noise\tshock-wave.md\t0\n",
        encoding="utf-8",
    )
    result, scores = Evaluation(settings, NOTHING).own("mine", judgements)
    assert result["scores"]["lexical"] == {"nDCG@10": 1.0, "AP": 1.0, "RR": 1.0, "R@10": 1.0, "R@100": 1.0}
    assert scores[0].labels == ("wing flutter", "heat transfer", "jet noise")
    again, _ = Evaluation(settings, NOTHING).against("hash:16", [], "mine", judgements)
    assert again["encoder"]["spec"]["model"] == "hash:16"
    assert again["scores"]["lexical"] == result["scores"]["lexical"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("a query\tgone.md", "not in the collection: line 1 'gone.md'"),
        ("\tjet-noise.md", "line 1: the query is empty"),
        ("only a query", "line 1 has 1 tab-separated column where 2"),
        ("", "calls nothing relevant"),
    ],
)
def test_judgements_that_do_not_fit(tmp_path: Path, line: str, what: str) -> None:
    settings = index(tmp_path)
    (tmp_path / "judged.tsv").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=what):
        Evaluation(settings, NOTHING).own("mine", tmp_path / "judged.tsv")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa query\tnotes/jet noise .md\t1.0\r\n",
        b"a query\tjet noise .md\t1\n",
        "a query\tnotes/../notes/jet noise .md\n".encode("utf-16"),
        b"a query\tjet noise .md\t0\na query\tjet noise .md\t2\n",
        b"a query\talone.md\na query\tjet noise .md\n",
    ],
    ids=["marked, with line ends of Windows", "by name", "UTF-16", "judged twice", "a root that is a file"],
)
def test_judgements_as_people_write_them(tmp_path: Path, content: bytes) -> None:
    file, alone = tmp_path / "notes" / "jet noise .md", tmp_path / "elsewhere" / "alone.md"
    (tmp_path / "judged").mkdir()
    (tmp_path / "judged" / "j.tsv").write_bytes(content)
    roots = [str(tmp_path), str(file.parent), str(alone)]
    judged = read_judgements(tmp_path / "judged" / "j.tsv", [str(file), str(alone)], roots)
    assert str(file) in judged.relevant["a query"]
    assert set(judged.relevant["a query"]) <= {str(file), str(alone)}
    assert (str(alone) in judged.relevant["a query"]) == (b"alone" in content)
