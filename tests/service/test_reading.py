"""Reading over HTTP: collections, their state and map, documents from the index and never from the disk."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np
import pytest

from semsearch.collection import Collection
from semsearch.search.showing import landscape
from tests.service.conftest import make, write


def test_collections(served, home):
    (home / "broken").mkdir()
    (home / "broken" / "manifest.json").write_text("{")
    found = served.get("/v1/collections").json
    assert found["default"] == "default"
    listed = {each["name"]: each for each in found["collections"]}
    assert sorted(listed) == ["broken", "default", "other"]
    assert (listed["default"]["files"], listed["default"]["pending"], listed["default"]["error"]) == (3, 0, None)
    assert listed["default"]["model"] == "hash:64"
    assert "is not JSON" in listed["broken"]["error"]


def test_only_what_may_be_asked(start):
    served = start(allowed=("other",))
    assert [each["name"] for each in served.get("/v1/collections").json["collections"]] == ["other"]
    for path in ("/v1/collections/default/status", "/v1/collections/default/map", "/v1/judgements?collection=default"):
        assert served.get(path).status == 404


def test_status(served, tmp_path, home):
    (tmp_path / "docs" / "torn.pdf").write_bytes(b"%PDF-1.4 torn")
    with Collection(home=home) as docs:
        docs.index(tmp_path / "docs")
    found = served.get("/v1/collections/default/status").json
    assert found["files"] == {"indexed": 3, "failed": 1, "skipped": 0}
    [failed] = found["failed"]
    assert failed["path"].endswith("torn.pdf")
    assert failed["reason"]
    assert found["passages"]["pending"] == 0
    assert found["kinds"] == {"markdown": 2, "text": 1}
    assert found["generation"] >= 1


def test_a_document_and_its_lines(served, tmp_path):
    path = quote(str(tmp_path / "docs" / "boats.md"))
    whole = served.get(f"/v1/documents?path={path}").json
    assert whole["text"].startswith("# Boats")
    part = served.get(f"/v1/documents?path={path}&lines=3").json
    assert (part["line_start"], part["text"]) == (3, "A sailing boat crosses the bay. It is late.")
    assert served.get(f"/v1/documents?path={path}&lines=3&context=2").json["line_start"] == 1
    hit = served.post("/v1/search", {"query": "boat", "k": 1}).json["hits"][0]
    again = served.get(f"/v1/passages/{hit['passage']}").json
    assert (again["path"], again["line_start"]) == (hit["path"], hit["line_start"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/documents?path=/etc/passwd", 404),
        ("/v1/documents?path=boats.md", 404),
        ("/v1/documents?path=../docs/boats.md", 404),
        ("/v1/documents", 400),
        ("/v1/documents?path=x&lines=a", 400),
        ("/v1/documents?path=x&context=-1", 400),
        ("/v1/passages/99999", 404),
        ("/v1/passages/x", 400),
        ("/v1/collections/nowhere/status", 404),
        ("/v1/collections/..%2f..%2fetc/status", 404),
        ("/v1/collections/default/map?passages=x", 400),
    ],
)
def test_what_is_refused(served, path, status):
    reply = served.get(path)
    assert reply.status == status
    assert "index it with" not in reply.json["error"]["message"]  # nothing is said of the disk


class TestMap:
    def test_points_lie_as_numpy_says(self, tmp_path):
        home = tmp_path / "big"
        words = ["boat", "bread", "star", "chess"]
        for word in words:
            write(tmp_path / "many" / word, {f"{n}.txt": f"{word} {word} number {n}" for n in range(8)})
        make(home, "default", tmp_path / "many", "hash:512")
        with Collection(home=home) as docs, docs.view() as view:
            found = landscape.draw(view.snapshot)
            ids = [row.id for row in found.passages]
            vectors = view.snapshot.vectors(ids)
            assert len(ids) == 32
            np.testing.assert_allclose(found.place(vectors), found.points, atol=1e-5)
            centred = vectors - vectors.mean(axis=0)
            power = np.linalg.eigvalsh(np.cov(centred.T))[::-1]
            assert found.share == pytest.approx(power[:2].sum() / power.sum(), rel=1e-4)
            ours = found.points.var(axis=0) / found.points.var(axis=0).sum()
            np.testing.assert_allclose(ours, power[:2] / power[:2].sum(), rtol=1e-3)
            assert sorted(found.folders) == sorted(words)
            assert [found.folders[group] for group in found.groups] == [
                row.path.split("/")[-2] for row in found.passages
            ]
            again = landscape.draw(view.snapshot)
            np.testing.assert_array_equal(again.points, found.points)

    def test_a_query_and_its_hits_lie_on_it(self, served):
        hit = served.post("/v1/search", {"query": "boat", "k": 1}).json["hits"][0]
        found = served.get(f"/v1/collections/default/map?query=boat&passages={hit['passage']},9999").json
        assert len(found["points"]) == found["total"] == 3
        [one] = found["hits"]
        [same] = [each for each in found["points"] if each["passage"] == hit["passage"]]
        assert one["at"] == pytest.approx(same["at"], abs=2e-4)
        assert len(found["query"]) == 2
        assert served.get("/v1/collections/default/map").json["query"] is None

    def test_it_is_drawn_anew_after_a_commit(self, served, tmp_path, home):
        before = served.get("/v1/collections/default/map").json
        (tmp_path / "docs" / "new.md").write_text("Something new about turtles.")
        with Collection(home=home) as docs:
            docs.index(tmp_path / "docs")
        after = served.get("/v1/collections/default/map").json
        assert (len(before["points"]), len(after["points"])) == (3, 4)

    def test_an_empty_collection(self, start, tmp_path, home):
        with Collection(home=home) as docs:
            docs.remove([tmp_path / "docs"])
        found = start().get("/v1/collections/default/map").json
        assert (found["points"], found["folders"], found["share"]) == ([], [], 0)
