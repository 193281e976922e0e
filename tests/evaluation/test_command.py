"""The commands: JSON shapes, exit codes, where output goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semsearch.cli import run
from semsearch.evaluation.sentences.tasks import STS

HASH = ["--model", "hash:64"]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run(["eval", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_sts_prints_exactly_the_seven(shared_data: Path, capsys) -> None:
    code, out, err = call(capsys, "sts", "--data", shared_data, *HASH, "--json")
    result = json.loads(out)
    assert code == 0
    assert tuple(result["scores"]) == STS
    assert result["average"] == pytest.approx(sum(result["scores"].values()) / 7, abs=1e-3)
    assert 20 < result["average"] < 90  # times 100
    assert "encoding 26,083 texts" in err


def test_tasks_quick_and_output(shared_data: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SEMSEARCH_DATA", str(shared_data / "senteval"))
    file = tmp_path / "result.json"
    code, out, _ = call(capsys, "transfer", "--quick", "--tasks", "TREC, MRPC", *HASH, "--output", file)
    assert code == 0
    assert "F1" in out
    code, out, _ = call(capsys, "show", file, "--published", "--format", "markdown")
    assert code == 0
    assert out.startswith("| encoder | STS12")
    assert "| hash:64 (quick) |" in out
    assert list(json.loads(file.read_text(encoding="utf-8"))["scores"]) == ["TREC", "MRPC"]


def test_all_holds_every_kind(shared_data: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "all.json"
    names = ["--tasks", "STS12,CR,med", "--output", file]
    code, out, _ = call(capsys, "all", "--quick", *names, "--data", shared_data, *HASH, "--json")
    result = json.loads(out)
    assert code == 0
    assert list(result["scores"]) == ["STS12", "CR"]
    assert set(result["retrieval"]["scores"]) == {"dense", "lexical", "hybrid", "hybrid rrf"}
    _, out, _ = call(capsys, "show", file, "--format", "csv")
    tasks, search = out.split("\n\n")
    assert tasks.splitlines()[0] == "encoder,STS12,avg sts,CR,avg transfer"
    assert search.splitlines()[0] == "encoder,collection,mode,nDCG@10,AP,RR,R@10,R@100"
    assert search.splitlines()[1].startswith("hash:64 (quick),med,dense,")


def test_retrieval_json_shape(shared_data: Path, capsys) -> None:
    code, out, _ = call(capsys, "retrieval", "--quick", "--data", shared_data / "retrieval" / "med", *HASH, "--json")
    result = json.loads(out)
    assert code == 0
    assert set(result["scores"]["hybrid"]) == {"nDCG@10", "AP", "RR", "R@10", "R@100"}
    assert result["quick"] is True


def test_the_gate_records_passes_and_fails(shared_data: Path, tmp_path: Path, capsys) -> None:
    file, data = tmp_path / "baseline.json", ["--data", shared_data]
    assert call(capsys, "gate", "--quick", "--record", file, *data, "--model", "hash:256")[0] == 0
    assert file.stat().st_size < 500_000
    code, out, err = call(capsys, "gate", "--baseline", file, *data, "--model", "hash:256")
    assert (code, out.splitlines()[-1][:6]) == (0, "PASS: ")
    code, out, err = call(capsys, "gate", "--baseline", file, *data, "--model", "hash:4")
    assert code == 5
    assert out.splitlines()[-1].startswith("FAIL: quality dropped: ")
    assert "what moved most" in out
    code, out, err = call(capsys, "gate", "--baseline", file, *data, "--model", "hash:4", "--json")
    assert code == 5
    assert json.loads(out)["gate"]["verdict"] == "fail"
    assert json.loads(err.splitlines()[-1])["error"]["kind"] == "GateFailed"
    code, *_ = call(capsys, "gate", "--against", "hash:256", "--quick", *data, "--model", "hash:4")
    assert code == 5
    code, *_ = call(capsys, "gate", "--against", "hash:4", "--quick", "--tasks", "STS12", *data, "--model", "hash:256")
    assert code == 0


def test_the_gate_of_a_collection(tmp_path: Path, capsys) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    lines = []
    for i in range(12):
        (notes / f"n{i}.md").write_text(f"The subject of note {i} is subject{i} and nothing else.\n", encoding="utf-8")
        lines.append(f"subject{i}\tn{i}.md\n")
    judged = tmp_path / "judged.tsv"
    judged.write_text("".join(lines), encoding="utf-8")
    assert run(["index", str(notes), *HASH]) == 0
    capsys.readouterr()
    base, own = tmp_path / "base.json", ["--collection", "default", "--judgements", judged]
    assert call(capsys, "gate", *own, "--record", base)[0] == 0
    assert call(capsys, "gate", *own, "--baseline", base)[0] == 0
    code, out, _ = call(capsys, "retrieval", "--collection", "--judgements", judged, "--json")
    assert (code, json.loads(out)["scores"]["lexical"]["nDCG@10"]) == (0, 1.0)
    for i in range(12):  # the texts swap places: every judgement is wrong now
        (notes / f"n{i}.md").write_text(f"The subject of note {i} is subject{(i + 1) % 12} now.\n", encoding="utf-8")
    assert run(["index", str(notes)]) == 0
    capsys.readouterr()
    code, out, _ = call(capsys, "gate", *own, "--baseline", base)
    assert code == 5
    assert "judged lexical" in out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["sts", "--tasks", "STS99"], "no task is named STS99"),
        (["sts", "--tasks", ","], "names no task"),
        (["gate"], "one of --baseline FILE, --against ENCODER and --record FILE"),
        (["gate", "--collection", "x", "--record", "f.json"], "there is no collection 'x'"),
        (["retrieval", "--tasks", "nowhere"], "no task or collection is named nowhere"),
        (["gate", "--record", "f.json", "--tasks", "STS12,med"], "mixes tasks with retrieval"),
        (["plot", "tasks", "--output", "x.svg"], "a figure needs results"),
    ],
)
def test_wrong_use_exits_2(arguments: list[str], what: str, shared_data: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SEMSEARCH_DATA", str(shared_data))
    code, out, err = call(capsys, *arguments, *([] if arguments[0] == "plot" else HASH))
    assert (code, out) == (2, "")
    assert what in err
