"""Results as files, tables, figures and studies."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.errors import ConfigError, DataError, UsageError
from semsearch.evaluation import plot, result_files, runner, study
from semsearch.evaluation.sentences.tasks import STS


@pytest.fixture(scope="module")
def result(shared_data: Path) -> dict:
    return runner.run(runner.load([*STS, "CR"], shared_data, quick=True), HashEncoder, batch_tokens=77)[0]


def test_a_result_says_all_that_its_figures_depend_on(result: dict, tmp_path: Path) -> None:
    result_files.write(tmp_path / "r.json", result)
    read = result_files.read(tmp_path / "r.json")
    assert read == json.loads(json.dumps(result))
    assert read["average"] == pytest.approx(sum(read["scores"].values()) / 8, abs=1e-3)
    assert read["averages"]["sts"] == pytest.approx(sum(read["scores"][t] for t in STS) / 7, abs=1e-3)
    assert read["encoder"]["fingerprint"] == HashEncoder().spec.fingerprint
    assert read["encoder"]["spec"]["template"].count("{text}") == 1
    assert read["data"]["STS12"]["sha256"].keys() == read["tasks"]["STS12"]["subsets"].keys()
    assert {"torch", "transformers", "scikit-learn", "python"} <= set(read["versions"])
    assert (read["dtype"], read["batch_tokens"], read["seed"], read["quick"]) == ("fp32", 77, 1111, True)
    assert {"device", "processor", "cores", "threads", "system"} <= set(read["hardware"])
    assert read["seconds"] >= 0
    assert len(read["items"]["CR"]) == 800
    assert set(read["items"]["CR"]) == {0, 1}
    assert "items" not in result_files.public(read)


def test_merging_parts_gives_the_whole(result: dict, shared_data: Path) -> None:
    parts = [runner.run(runner.load([t], shared_data, quick=True), HashEncoder)[0] for t in (*STS, "CR")]
    merged = result_files.merge(parts)
    for key in ("scores", "average", "averages", "tasks", "data", "items", "encoder"):
        assert merged[key] == result[key], key


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"scores": {}, "encoder": {}, "format": 99}'])
def test_what_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"r\.json"):
        result_files.read(tmp_path / "r.json")
    with pytest.raises(DataError, match="does not exist"):
        result_files.read(tmp_path / "none.json")


def test_tables(result: dict) -> None:
    heads, rows = result_files.table([result, *result_files.published()])
    assert heads[:3] == ["encoder", "STS12", "STS13"]
    assert heads[-2:] == ["CR", "avg transfer"]
    assert rows[0][0] == "hash:64 (quick)"
    by_name = {row[0]: row for row in rows}
    assert by_name["PromptEOL+ICL OPT 6.7B (published)"][1:9] == [
        "70.65", "84.51", "75.01", "83.51", "82.00", "81.12", "76.77", "79.08",
    ]  # fmt: skip
    assert all("(published)" in row[0] for row in rows[1:])
    markdown = result_files.render([result], "markdown").splitlines()
    assert markdown[1].startswith("| --- | ---: |")
    assert len({line.count("|") for line in markdown}) == 1
    assert next(csv.reader(io.StringIO(result_files.render([result], "csv")))) == result_files.table([result])[0]
    assert result_files.render([result]).splitlines()[1].startswith("hash:64 (quick)")


def test_published_averages_are_those_of_their_rows() -> None:
    for row in result_files.published():
        if row["scores"]:
            mean = sum(row["scores"].values()) / 7
            assert row["averages"]["sts"] == pytest.approx(mean, abs=0.011), row["name"]


STUDY = """
tasks = ["STS12", "STSBenchmark-dev"]
quick = true
[[encoder]]
name = "Small one"
model = "hash:16"
method = "hashing"
parameters = 16
[[encoder]]
name = "Large one"
model = "hash:512"
method = "hashing"
parameters = 512
"""


def test_a_study_runs_resumes_and_writes_tables_and_plots(tmp_path: Path, shared_data: Path) -> None:
    (tmp_path / "scaling.toml").write_text(STUDY, encoding="utf-8")
    plan = study.read(tmp_path / "scaling.toml")
    results = study.run(plan, shared_data)
    assert [r["name"] for r in results] == ["Small one", "Large one"]
    folder = tmp_path / "scaling"
    made = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {"table.md", "table.csv", "small-one.json", "large-one/STS12.json", "scaling.svg", "tasks.svg"} <= made
    times = {name: (folder / "large-one" / name).stat().st_mtime_ns for name in ("STS12.json", "STSBenchmark-dev.json")}
    (folder / "large-one" / "STS12.json").write_text("{", encoding="utf-8")  # as if it had not been finished
    assert study.run(plan, shared_data)[1]["scores"] == results[1]["scores"]
    assert (folder / "large-one" / "STSBenchmark-dev.json").stat().st_mtime_ns == times["STSBenchmark-dev.json"]
    assert (folder / "large-one" / "STS12.json").stat().st_mtime_ns != times["STS12.json"]


def test_an_encoder_whose_weights_cannot_be_had_is_a_row_that_says_so(tmp_path: Path, shared_data: Path) -> None:
    text = STUDY.replace('model = "hash:16"', f'model = "{tmp_path.as_posix()}/nothing"')
    (tmp_path / "scaling.toml").write_text(text, encoding="utf-8")
    results = study.run(study.read(tmp_path / "scaling.toml"), shared_data)
    assert [r["name"] for r in results] == ["Small one (not run: no weights)", "Large one"]
    rows = (tmp_path / "scaling" / "table.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1].startswith("Small one (not run: no weights),,")
    assert rows[2].startswith("Large one (quick),")
    assert not (tmp_path / "scaling" / "small-one.json").exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("tasks = [", "cannot be read"),
        ('task = ["STS12"]', "unknown key task; keys are encoder, examples, output, quick, tasks"),
        ('tasks = ["STS99"]', "no task is named 'STS99'"),
        ('tasks = ["sts"]', "one \\[\\[encoder\\]\\] or more"),
        ('[[encoder]]\nmodel = "hash:4"', "every encoder needs a name"),
        ('examples = 90\n[[encoder]]\nname = "a"', "examples is 90; it .* belongs to quick = true"),
        ('quick = true\nexamples = "90"\n[[encoder]]\nname = "a"', "examples is '90'; it is 20 or more"),
        ('[[encoder]]\nname = "a"\nmodle = "x"', "unknown key modle"),
        ('[[encoder]]\nname = "a"\npooling = "lst"', "pooling is 'lst'"),
    ],
)
def test_a_study_that_does_not_fit(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "s.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=what):
        study.read(tmp_path / "s.toml")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_figures(result: dict, tmp_path: Path, ending: str) -> None:
    results = [result | {"parameters": 10**6, "method": "hashing"}, *result_files.published()]
    for name in ("scaling", "methods", "tasks"):
        getattr(plot, name)(results, tmp_path / f"{name}.{ending}")
    record = tmp_path / "tiny.jsonl"
    tried = [(None, 60.0), ({"sentence": "A man is smoking.", "word": "Smoking"}, 61.5), ({"sentence": "b"}, 70)]
    record.write_text("".join(json.dumps({"candidate": c, "score": s}) + "\n" for c, s in tried), encoding="utf-8")
    assert plot.read_demonstrations([record]) == ({"tiny": [61.5, 70.0]}, {"tiny": 60.0})
    plot.demonstrations(*plot.read_demonstrations([record]), tmp_path / f"demonstrations.{ending}")
    for file in tmp_path.glob(f"*.{ending}"):
        assert file.read_bytes().startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    if ending == "svg":
        text = (tmp_path / "methods.svg").read_text(encoding="utf-8")
        assert "(published)" in text
        again = tmp_path / "again.svg"
        plot.methods(results, again)
        assert again.read_text(encoding="utf-8") == text


def test_figures_that_cannot_be_drawn(result: dict, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        plot.tasks([result], tmp_path / "x.gif")
    with pytest.raises(DataError, match="how many parameters"):
        plot.scaling([result], tmp_path / "x.svg")
    (tmp_path / "d.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="no log of a demonstration search"):
        plot.read_demonstrations([tmp_path / "d.json"])
