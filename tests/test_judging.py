"""Judgements of people, from a hit to evaluation, and through all that happens to a collection."""

import json

import pytest

from indexer.errors import CorruptError, DataError, UsageError
from indexer.types import Judgement
from semsearch import Collection, EncoderOverrides
from semsearch.cli import run

HASH = EncoderOverrides(model="hash:64")
TOPICS = ["wing flutter", "heat transfer", "jet noise", "shock wave", "boundary layer", "gas turbine"]


@pytest.fixture
def folder(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    for topic in TOPICS:
        (notes / f"{topic.replace(' ', '-')}.md").write_text(f"# {topic}\n\nAll about {topic} here.\n")
    (notes / "rows.csv").write_text("id,text\na,apples are red\nb,bananas are yellow\nc,cherries are dark\n")
    return notes


@pytest.fixture
def docs(folder, tmp_path):
    with Collection("notes", create=True, home=tmp_path / "home", encoder=HASH) as made:
        made.index(folder)
        yield made


def test_a_hit_is_judged(docs, folder):
    [hit] = docs.search("jet noise", k=1)
    said = docs.judge("jet noise", hit)
    assert docs.judgements() == [said]
    assert (said.path, said.line_start, said.line_end) == (hit.path, hit.line_start, hit.line_end)
    assert (said.grade, said.encoder) == (1, docs.spec.fingerprint)
    assert said.generation == docs.search("jet noise").generation
    assert said.at > "2026"
    docs.judge("jet  noise ", hit.passage, 0)  # the same place by its id
    assert [each.grade for each in docs.judgements()] == [0]
    docs.judge("jet noise", f"{hit.path}:{hit.line_start}", None)
    assert docs.judgements() == []


def test_records_and_whole_files(docs, folder):
    docs.judge("a yellow fruit", f"{folder}/rows.csv:3")
    [one] = docs.judgements()
    assert (one.record, one.line_start) == ("b", 3)
    with pytest.raises(UsageError, match="holds records; name the one"):
        docs.judge("a yellow fruit", f"{folder}/rows.csv")
    whole = docs.judge("noise", folder / "jet-noise.md", 2)
    assert (whole.line_start, whole.grade) == (None, 2)
    with pytest.raises(UsageError, match="is not in collection 'notes'"):
        docs.judge("noise", "/nowhere.md")
    with pytest.raises(UsageError, match="grade is -1"):
        docs.judge("noise", folder / "jet-noise.md", -1)


def test_evaluation_takes_them(docs, folder):
    with pytest.raises(DataError, match=r"nothing has been judged; judge hits on the page.*semsearch judge add"):
        docs.evaluate()
    for topic in TOPICS:
        docs.judge(f"what of {topic}", folder / f"{topic.replace(' ', '-')}.md")
    docs.judge("bananas", f"{folder}/rows.csv:3")
    docs.judge("bananas", f"{folder}/rows.csv:2", 0)
    docs.judge("only wrong", folder / "jet-noise.md", 0)
    found = docs.evaluate()
    assert found["counts"]["queries"] == 7
    assert found["counts"]["documents"] == 9  # records count one by one
    assert found["scores"]["lexical"]["nDCG@10"] == 1.0


def test_a_wrong_answer_costs(docs, folder):
    docs.judge("jet noise", folder / "gas-turbine.md")
    assert docs.evaluate()["scores"]["lexical"]["nDCG@10"] < 1.0


def test_only_wrong_is_nothing_to_go_by(docs, folder):
    docs.judge("jet noise", folder / "gas-turbine.md", 0)
    with pytest.raises(DataError, match="of 1 judgements none calls anything right"):
        docs.evaluate()


def test_they_outlive_everything(docs, folder, tmp_path):
    said = [docs.judge("jet noise", folder / "jet-noise.md"), docs.judge("bananas", f"{folder}/rows.csv:3", 0)]
    docs.reindex(EncoderOverrides(model="hash:48"))
    assert docs.judgements() == said
    docs.compact()
    docs.rename("other")
    said.append(docs.judge("heat", folder / "heat-transfer.md"))
    assert said[-1].encoder == docs.spec.fingerprint != said[0].encoder
    docs.export(tmp_path / "export")
    lines = [json.loads(each) for each in (tmp_path / "export/judgements.jsonl").read_text().splitlines()]
    assert [each["query"] for each in lines] == ["jet noise", "bananas", "heat"]
    with Collection.import_(tmp_path / "export", "copy", home=tmp_path / "home") as copy:
        assert copy.judgements() == said
        assert copy.evaluate()["counts"]["queries"] == 2


def test_an_export_without_any(docs, tmp_path):
    docs.export(tmp_path / "export")
    assert not (tmp_path / "export/judgements.jsonl").exists()
    (tmp_path / "export/judgements.jsonl").write_text("{}")
    with pytest.raises(CorruptError, match="holds no judgements"):
        Collection.import_(tmp_path / "export", "copy", home=tmp_path / "home")


class TestCommand:
    @pytest.fixture
    def call(self, docs, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("SEMSEARCH_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("SEMSEARCH_COLLECTION", "notes")

        def call(*arguments):
            capsys.readouterr()
            code = run([str(each) for each in arguments])
            captured = capsys.readouterr()
            return code, captured.out, captured.err

        return call

    def test_add_list_and_take_back(self, call, docs, folder):
        assert call("judge", "list")[:2] == (1, "")
        code, out, _ = call("judge", "add", "jet noise", folder / "jet-noise.md:1", folder / "gas-turbine.md")
        assert (code, out) == (
            0,
            f"right\tjet noise\t{folder}/jet-noise.md:1-3\nright\tjet noise\t{folder}/gas-turbine.md\n",
        )
        call("judge", "add", "jet noise", folder / "gas-turbine.md", "--grade", "0")
        call("judge", "add", "heat", folder / "heat-transfer.md", "--grade", "3")
        call("judge", "add", "jet noise", folder / "jet-noise.md:2", "--take-back")
        code, out, _ = call("judge", "list")
        assert out == (f"wrong\tjet noise\t{folder}/gas-turbine.md\nright (3)\theat\t{folder}/heat-transfer.md\n")
        code, out, _ = call("judge", "list", "--query", "heat", "--json")
        assert [each["grade"] for each in json.loads(out)] == [3]
        assert call("judge", "add", "x", "nowhere.md")[0] == 2

    def test_export_and_import(self, call, docs, folder, tmp_path):
        code, _, err = call("judge", "export", tmp_path / "none.tsv")
        assert (code, "no judgements yet" in err) == (2, True)
        docs.judge("jet noise", folder / "jet-noise.md", 2)
        docs.judge("jet noise", folder / "gas-turbine.md", 0)
        said = docs.judgements()
        assert call("judge", "export", tmp_path / "j.tsv")[0] == 0
        assert (tmp_path / "j.tsv").read_text() == (
            f"jet noise\t{folder}/jet-noise.md\t2\njet noise\t{folder}/gas-turbine.md\t0\n"
        )
        assert call("eval", "retrieval", "-c", "notes", "--judgements", tmp_path / "j.tsv", "--json")[0] == 0
        call("judge", "export", tmp_path / "j.jsonl", "--format", "jsonl")
        docs.keep_judgements([Judgement(each.query, each.path, None) for each in said])
        assert docs.judgements() == []
        assert call("judge", "import", tmp_path / "j.jsonl")[0] == 0
        assert docs.judgements() == said
        docs.keep_judgements([Judgement(each.query, each.path, None) for each in said])
        assert call("judge", "import", tmp_path / "j.tsv")[0] == 0
        assert [(each.query, each.path, each.grade) for each in docs.judgements()] == [
            (each.query, each.path, each.grade) for each in said
        ]
        (tmp_path / "j.jsonl").write_text('{"query": "a"}\n')
        assert "line 1 is no judgement" in call("judge", "import", tmp_path / "j.jsonl")[2]

    def test_evaluation_needs_no_file(self, call, docs, folder, tmp_path):
        code, _, err = call("eval", "retrieval", "-c", "notes")
        assert (code, "nothing has been judged" in err) == (2, True)
        for topic in TOPICS:
            docs.judge(f"all about {topic}", folder / f"{topic.replace(' ', '-')}.md")
        code, out, _ = call("eval", "retrieval", "--collection", "--json")
        assert (code, json.loads(out)["scores"]["lexical"]["nDCG@10"]) == (0, 1.0)
        code, out, _ = call("eval", "tune", "-c", "notes", "--json")
        assert (code, json.loads(out)["queries"]) == (0, 6)
        base = tmp_path / "base.json"
        assert call("eval", "gate", "-c", "notes", "--record", base)[0] == 0
        assert call("eval", "gate", "-c", "notes", "--baseline", base)[0] == 0
        assert call("eval", "gate", "-c", "notes", "--against", "hash:16")[0] in (0, 5)
