"""What counts as a task's data: formats, encodings, official sizes, and folders that do not hold it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import DataError, UsageError
from semsearch.evaluation.sentences import senteval_files, task_data
from semsearch.evaluation.sentences.tasks import STS, TASKS, TRANSFER, select


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_official_size(shared_data: Path) -> None:
    sizes = {name: sum(map(len, task_data.load(task, shared_data).parts.values())) for name, task in TASKS.items()}
    assert sizes["STS12"] == 3108
    assert sizes == {name: task.count for name, task in TASKS.items()}
    assert sum(sizes[name] for name in STS) == 18850


def test_unscored_lines_are_left_out_and_words_joined(tmp_path: Path) -> None:
    write(tmp_path / "in", 'a  "quoted"\tb\xa0c\nnot scored\tnot scored\nd\te\n')
    write(tmp_path / "gs", "2.5\n\n0\n")
    items = senteval_files.semeval(tmp_path, ("in", "gs"))
    assert items.first == ('a "quoted"', "d")
    assert items.second == ("b c", "e")
    assert items.gold.tolist() == [2.5, 0.0]


def test_a_quotation_mark_does_not_swallow_lines(tmp_path: Path) -> None:
    rows = ['g\tf\ty\t1\t4.0\t"open\tb', "g\tf\ty\t2\t1.0\tc\td\textra\tcolumns"]
    write(tmp_path / "sts-dev.csv", "\n".join(rows) + "\n")
    items = senteval_files.sts_benchmark(tmp_path, ("sts-dev.csv",))
    assert items.first == ('"open', "c")
    assert items.gold.tolist() == [4.0, 1.0]


def test_mrpc_has_a_byte_order_mark_and_a_header(tmp_path: Path) -> None:
    write(tmp_path / "m", b"\xef\xbb\xbfQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t1\t2\tA b\tC d\r\n")
    items = senteval_files.mrpc(tmp_path, ("m",))
    assert (items.first, items.second, items.gold.tolist()) == (("A b",), ("C d",), [1])


def test_trec_is_latin_1_and_one_sentence_files_keep_empty_lines(tmp_path: Path) -> None:
    write(tmp_path / "t", "LOC:city Where is Malmö ?\n".encode("latin-1"))
    assert senteval_files.trec(tmp_path, ("t",)).first == ("Where is Malmö ?",)
    write(tmp_path / "pos", "good\n\n")
    write(tmp_path / "neg", "bad\n")
    items = senteval_files.two_files(tmp_path, ("pos", "neg"))
    assert items.first == ("good", "", "bad")
    assert items.gold.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("reader", "content", "what"),
    [
        (senteval_files.sts_benchmark, "g\tf\ty\t1\t4.0\tonly one", "line 1 has 6 tab-separated columns where 7"),
        (senteval_files.sts_benchmark, "g\tf\ty\t1\tnan\ta\tb", "line 1: the score is 'nan'"),
        (senteval_files.sick, "h\n1\ta\tb\tthree\tNEUTRAL", "line 2: the score is 'three'"),
        (senteval_files.sst, "text\t2", "line 1: the class is '2'"),
        (senteval_files.trec, "WHO:x Who ?", "line 1: 'WHO:x Who ?'"),
        (senteval_files.sst, b"caf\xe9\t1\n", "cannot be read as utf-8"),
    ],
)
def test_what_does_not_fit_names_file_and_line(tmp_path: Path, reader, content, what: str) -> None:
    write(tmp_path / "file", content)
    with pytest.raises(DataError) as caught:
        reader(tmp_path, ("file",))
    assert what in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


def test_sentences_and_scores_must_pair_up(tmp_path: Path) -> None:
    write(tmp_path / "in", "a\tb\nc\td\n")
    write(tmp_path / "gs", "1\n")
    with pytest.raises(DataError, match="2 lines and gs 1"):
        senteval_files.semeval(tmp_path, ("in", "gs"))


@pytest.mark.parametrize("below", ["", "downstream", "senteval/downstream"])
def test_the_folder_is_found_where_it_may_be(tmp_path: Path, shared_data: Path, below: str) -> None:
    target = tmp_path / below / "STS" / "STSBenchmark"
    shutil.copytree(shared_data / "senteval/downstream/STS/STSBenchmark", target)
    assert len(task_data.load(TASKS["STSBenchmark-dev"], tmp_path).parts["dev"]) == 1500


def test_a_cut_off_file_is_an_error(tmp_path: Path, shared_data: Path) -> None:
    source = (shared_data / "senteval/downstream/STS/STSBenchmark/sts-test.csv").read_bytes()
    path = write(tmp_path / "STS/STSBenchmark/sts-test.csv", source[: source.rindex(b"\n", 0, len(source) - 500) + 1])
    with pytest.raises(DataError, match=r"examples and the official set has 1379"):
        task_data.load(TASKS["STSBenchmark"], tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"sts-test.csv is missing; .*--data or SEMSEARCH_DATA"):
        task_data.load(TASKS["STSBenchmark"], tmp_path)


def test_a_folder_without_data_says_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"SentEval's layout .*get_transfer_data.bash"):
        task_data.load(TASKS["STS12"], tmp_path)
    with pytest.raises(DataError, match=r"MR is not on the hub"):
        task_data.load(TASKS["MR"], None)


def test_the_hub_is_asked_where_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, split: str, revision: str):
        asked.append((name, split))
        rows = [("A  man", "A dog", 1.5)] * TASKS["STS13"].count
        return datasets.Dataset.from_dict(
            dict(zip(("sentence1", "sentence2", "score"), zip(*rows, strict=True), strict=True))
        )

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    loaded = task_data.load(TASKS["STS13"], None)
    assert asked == [("mteb/sts13-sts", "test")]
    assert loaded.parts["all"].first[0] == "A man"
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: (_ for _ in ()).throw(ConnectionError("no network")))
    with pytest.raises(DataError, match=r"no network.*SentEval"):
        task_data.load(TASKS["STS13"], None)


def test_quick_is_a_fixed_subset(shared_data: Path) -> None:
    whole = task_data.load(TASKS["STS14"], shared_data)
    some = task_data.quick(whole)
    assert 145 <= sum(map(len, some.parts.values())) <= 155
    assert set(some.parts["OnWN"].first) <= set(whole.parts["OnWN"].first)
    assert task_data.quick(task_data.load(TASKS["STS14"], shared_data)).digests == some.digests != whole.digests
    transfer = task_data.quick(task_data.load(TASKS["MR"], shared_data))
    assert np.bincount(transfer.parts["all"].gold).tolist() == [400, 400]


def test_a_smaller_subset_is_shared_among_the_parts_as_the_usual_one_is(shared_data: Path) -> None:
    whole = task_data.load(TASKS["STS14"], shared_data)
    some = task_data.quick(whole, 60)
    assert some.quick
    assert {name: len(items) for name, items in some.parts.items()} == {
        "deft-forum": 7, "deft-news": 5, "headlines": 12, "images": 12, "OnWN": 12, "tweet-news": 12,
    }  # fmt: skip
    assert task_data.quick(whole, 10**6).digests == whole.digests  # no more than there are
    trec = task_data.quick(task_data.load(TASKS["TREC"], shared_data), 400)
    assert {name: len(items) for name, items in trec.parts.items()} == {"train": 300, "test": 100}


def test_tasks_are_selected_by_name() -> None:
    assert select([], STS) == STS
    assert "STSBenchmark-dev" not in STS
    assert select(["STSBenchmark-dev", "STS12", "STS12"], STS) == ("STSBenchmark-dev", "STS12")
    with pytest.raises(UsageError, match="no task is named MR; tasks here are STS12"):
        select(["MR"], STS)
    assert select([], TRANSFER) == ("MR", "CR", "SUBJ", "MPQA", "SST2", "TREC", "MRPC")
