"""Judging over HTTP: what is kept, what is refused, and what it says of the present settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from http.client import HTTPConnection, HTTPException
from json import dumps

import pytest

from semsearch.collection import Collection
from semsearch.encoders import EncoderOverrides


def hit_of(served, query="a boat"):
    answer = served.post("/v1/search", {"query": query, "k": 1}).json
    return answer, answer["hits"][0]


def said_of(answer, hit, query, grade):
    return {
        "query": query, "path": hit["path"], "record": hit["document"], "line_start": hit["line_start"],
        "line_end": hit["line_end"], "grade": grade, "encoder": answer["fingerprint"],
        "generation": answer["generation"],
    }  # fmt: skip


def test_judge_list_and_take_back(served, home):
    answer, hit = hit_of(served)
    reply = served.post("/v1/judgements", said_of(answer, hit, "a  boat ", 1))
    assert reply.status == 200
    assert reply.json["query"] == "a boat"
    with Collection(home=home) as docs:
        [kept] = docs.judgements()
        assert (kept.path, kept.grade, kept.encoder) == (hit["path"], 1, docs.spec.fingerprint)
        assert kept.generation == answer["generation"]
    served.post("/v1/judgements", said_of(answer, hit, "ship", 0))
    assert [each["grade"] for each in served.get("/v1/judgements").json["judgements"]] == [1, 0]
    assert [each["grade"] for each in served.get("/v1/judgements?query=ship").json["judgements"]] == [0]
    assert served.get("/v1/judgements?collection=other").json == {"collection": "other", "judgements": []}
    gone = {name: value for name, value in said_of(answer, hit, "ship", 0).items() if name != "grade"}
    assert served.ask("DELETE", "/v1/judgements", gone).json["grade"] is None
    assert [each["query"] for each in served.get("/v1/judgements").json["judgements"]] == ["a boat"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"path": "/etc/passwd"}, "is not in collection"),
        ({"path": "boats.md"}, "is not in collection"),
        ({"record": "7"}, "is not in collection"),
        ({"grade": "1"}, "grade is '1'"),
        ({"grade": None}, "grade is missing"),
        ({"grade": 1.5}, "grade is 1.5"),
        ({"query": ""}, "needs a query"),
        ({"query": ["x"]}, "query is"),
        ({"line_end": None}, "both or not at all"),
        ({"at": "now"}, "no field 'at'"),
        ({"rating": 5}, "no field 'rating'"),
        ({"collection": 7}, "collection is 7"),
    ],
)
def test_what_cannot_be_meant(served, change, what):
    answer, hit = hit_of(served)
    reply = served.post("/v1/judgements", {**said_of(answer, hit, "a boat", 1), **change})
    assert reply.status == 400
    assert what in reply.json["error"]["message"]
    assert served.get("/v1/judgements").json["judgements"] == []


def test_no_page_of_others_judges(served):
    answer, hit = hit_of(served)
    reply = served.post("/v1/judgements", said_of(answer, hit, "a boat", 1), origin="http://evil.example")
    assert reply.status == 403
    assert served.get("/v1/judgements").json["judgements"] == []


def test_quality_of_the_present_settings(served):
    nothing = served.get("/v1/quality").json
    assert (nothing["value"], nothing["judged"]) == (None, 0)
    answer, hit = hit_of(served, "boat")
    served.post("/v1/judgements", said_of(answer, hit, "boat", 1))
    found = served.get("/v1/quality?mode=lexical").json
    assert (found["value"], found["queries"], found["measure"]) == (1.0, 1, "nDCG@10")
    assert found["fingerprint"] == answer["fingerprint"]
    served.post("/v1/judgements", said_of(answer, hit, "kneads dough", 1))  # words do not find the boats for it
    assert served.get("/v1/quality?mode=lexical").json["value"] == 0.5
    assert served.get("/v1/quality?mode=odd").status == 400


def test_a_judgement_made_while_the_collection_is_embedded_anew(served, home):
    answer, hit = hit_of(served)
    with Collection(home=home) as docs:
        heard = []

        def during(event):
            if not heard:
                heard.append(event)
                assert served.post("/v1/judgements", said_of(answer, hit, "meanwhile", 1)).status == 200

        docs.reindex(EncoderOverrides(model="hash:32"), progress=during)
        assert heard
    assert [each["query"] for each in served.get("/v1/judgements").json["judgements"]] == ["meanwhile"]
    now, _ = hit_of(served)
    assert now["fingerprint"] != answer["fingerprint"]


def test_not_blocked_by_a_run_that_indexes(served, home):
    answer, hit = hit_of(served)
    with Collection(home=home) as docs, docs.store.writer():
        assert served.post("/v1/judgements", said_of(answer, hit, "busy", 1)).status == 200


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_server_that_is_killed_loses_nothing(home, tmp_path):
    """SIGKILL while judgements pour in: each that was answered is there."""
    code = "import sys; from semsearch.cli import main; main(sys.argv[1:])"
    arguments = [sys.executable, "-c", code, "serve", "--port", "0", "--home", str(home)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split("http://")[1].strip().rstrip("/")
        path = str(tmp_path / "docs" / "boats.md")
        client, told = HTTPConnection(address, timeout=30), []
        try:
            for number in range(1000):
                body = {"query": f"query {number}", "path": path, "grade": 1}
                client.request("POST", "/v1/judgements", dumps(body), {"content-type": "application/json"})
                reply = client.getresponse()
                reply.read()
                assert reply.status == 200
                told.append(f"query {number}")
                if number == 20:
                    server.send_signal(signal.SIGKILL)
        except (OSError, HTTPException):
            pass
        server.wait()
    assert len(told) >= 21
    with Collection(home=home) as docs:
        assert [each.query for each in docs.judgements()][: len(told)] == told
