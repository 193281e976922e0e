"""Reading in other processes gives what reading here gives, and survives what a file does to them."""

import os
import pickle
import sys
import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from indexer import parsing
from indexer.corpus.folders.changes import digest
from indexer.corpus.formats import ReadOptions
from indexer.corpus.splitter import Splitter
from indexer.embedding.prompts.prompt import PromptTemplate
from indexer.embedding.spec import EncoderSpec
from indexer.parsing import Job, read_files
from indexer.types import FileRecord
from tests.pipeline.conftest import count_words


def hostile(text: str) -> int:
    """Count words, and do what some of them say to the process that counts."""
    if "kill-me" in text:
        os.kill(os.getpid(), 9)
    if "exit-now" in text:
        os._exit(3)
    if "hang-on" in text:
        time.sleep(3600)
    if "raise-this" in text:
        raise MemoryError("too much")
    if "print-this" in text:
        os.write(1, b"noise between the answers")
        print("and more", file=sys.stdout)
    return count_words(text)


def jobs(folder: Path, **texts: str) -> list[Job]:
    made = []
    for name, text in texts.items():
        path = folder / f"{name}.txt"
        path.write_text(text)
        made.append(Job(FileRecord(str(path), str(folder), path.stat().st_size, 1, None), ReadOptions()))
    return made


@pytest.fixture
def splitter():
    return Splitter(hostile, 20)


class TestProcesses:
    def test_the_same_as_in_this_process_and_in_order(self, tmp_path, splitter):
        long = {f"f{n:02}": " ".join(f"word{n} {m}." for m in range(40 * (30 - n))) for n in range(30)}
        some = jobs(tmp_path, **long)
        some.insert(3, Job(FileRecord(str(tmp_path / "none.txt"), "/", 1, 1, None), ReadOptions()))
        some.insert(5, Job(some[0].file, ReadOptions(), digest(some[0].file.path)))
        here = list(read_files(some, splitter, workers=1))
        assert list(read_files(some, splitter, workers=3)) == here
        assert here[5] is None
        assert (here[3].file.status, here[3].documents) == ("failed", ())
        assert all(each.file.digest for n, each in enumerate(here) if n not in (3, 5))

    def test_many_documents_of_one_file(self, tmp_path, splitter):
        path = tmp_path / "many.jsonl"
        path.write_text("".join(f'{{"id": "{n}", "text": "record {n}"}}\n' for n in range(2_500)))
        job = Job(FileRecord(str(path), "/", path.stat().st_size, 1, None), ReadOptions())
        found = list(read_files([job], splitter, workers=2))
        assert [each.document.record for each in found[0].documents] == [str(n) for n in range(2_500)]

    @pytest.mark.parametrize(("workers", "apart"), [(2, False), (1, True)], ids=["two", "one apart"])
    def test_a_file_that_kills_its_worker_is_a_failed_one(self, tmp_path, splitter, workers, apart):
        some = jobs(tmp_path, a="fine", b="kill-me", c="fine too", d="exit-now", e="raise-this", f="print-this")
        found = list(read_files(some, splitter, workers=workers, apart=apart))
        assert [each.file.status for each in found] == ["indexed", "failed", "indexed", "failed", "failed", "indexed"]
        assert "signal 9" in found[1].file.reason
        assert "exit code 3" in found[3].file.reason
        assert "MemoryError: too much" in found[4].file.reason
        assert [each.file.digest is None for each in found] == [False, True, False, True, True, False]

    def test_a_file_that_takes_too_long_is_a_failed_one(self, tmp_path, splitter, monkeypatch):
        monkeypatch.setattr(parsing, "SECONDS", 2.0)
        some = jobs(tmp_path, a="hang-on", b="fine", c="fine too")
        found = list(read_files(some, splitter, workers=2))
        assert [each.file.status for each in found] == ["failed", "indexed", "indexed"]
        assert "2 seconds" in found[0].file.reason

    def test_leaving_early_ends_the_processes(self, tmp_path, splitter):
        started = []

        class Watched(parsing._Worker):
            def __init__(self):
                super().__init__()
                started.append(self._process)

        parsing._Worker, before = Watched, parsing._Worker
        try:
            results = read_files(jobs(tmp_path, a="fine", b="hang-on", c="hang-on", d="x"), splitter, workers=2)
            next(results)
            results.close()
        finally:
            parsing._Worker = before
        assert len(started) == 2
        assert all(process.poll() is not None for process in started)

    def test_where_no_process_starts_files_are_read_here(self, tmp_path, splitter, monkeypatch):
        monkeypatch.setattr(parsing.sys, "executable", "/none/python")
        found = list(read_files(jobs(tmp_path, a="one", b="two", c="three"), splitter, workers=2))
        assert [each.documents[0].document.text for each in found] == ["one", "two", "three"]

    def test_few_are_sent_ahead(self, tmp_path, splitter, monkeypatch):
        monkeypatch.setattr(parsing, "WAITING_FILES", 4)
        taken = []

        class Counted(list):
            def __iter__(self):
                for each in super().__iter__():
                    taken.append(each)
                    yield each

        some = Counted(jobs(tmp_path, **{f"f{n:02}": "text" for n in range(30)}))
        results = read_files(some, splitter, workers=2)
        next(results)
        assert len(taken) <= 6
        assert len(list(results)) == 29


class TestChoosing:
    def test_few_small_files_start_no_process(self, tmp_path, splitter, monkeypatch):
        monkeypatch.setattr(parsing.subprocess, "Popen", None)
        assert len(list(read_files(jobs(tmp_path, a="one", b="two"), splitter))) == 2

    def test_a_splitter_that_cannot_be_sent_stays_here(self, tmp_path, monkeypatch):
        monkeypatch.setattr(parsing, "_workers", lambda _: 4)
        monkeypatch.setattr(parsing.subprocess, "Popen", None)
        own = Splitter(lambda text: len(text.split()), 20)
        assert len(list(read_files(jobs(tmp_path, a="one"), own))) == 1

    def test_a_splitter_comes_back_the_same(self, splitter):
        again = pickle.loads(pickle.dumps(splitter))
        assert (again.passage_tokens, again.count(["a b"])) == (20, [2])

    def test_a_model_s_tokenizer_can_be_sent(self, tmp_path):
        words = {"[UNK]": 0, "one": 1, "two": 2}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        template = PromptTemplate.of(EncoderSpec(model="hash:8", capitals="lower"))
        own = Splitter(tokenizer, 20, template.read)
        some = jobs(tmp_path, a="one two ONE", b="two " * 50)
        assert list(read_files(some, own, workers=2)) == list(read_files(some, own, workers=1))
