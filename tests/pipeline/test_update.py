"""A run over files: what is read, staged, embedded and forgotten, and what an interruption leaves."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from indexer import embedder, pipeline
from indexer.corpus.formats import ReadOptions
from indexer.errors import UsageError
from indexer.pipeline import update, update_from_stream
from indexer.progress import FileRead, Planned, TextsEmbedded
from tests.storage.contract.values import ENCODER, dense, lexical, now


class Counting:
    """HashEncoder that remembers what it was given."""

    def __init__(self):
        self.texts = []
        self.spec, self.dim, self.device, self.stats = ENCODER.spec, ENCODER.dim, ENCODER.device, ENCODER.stats

    def __getattr__(self, name):
        return getattr(ENCODER, name)

    def term_batches(self, texts, *rest):
        self.texts += texts
        return ENCODER.term_batches(texts, *rest)


@pytest.fixture
def run(store, splitter):
    """Update the store; return the report."""

    def call(*roots, encoder=ENCODER, **options):
        paths = [str(root) for root in roots]
        return update(store, paths, lambda: encoder, splitter=splitter, **options)

    return call


def touch(path, seconds=5):
    os.utime(path, ns=(time.time_ns(), time.time_ns() + seconds * 10**9))


class TestUpdate:
    def test_a_first_run(self, store, run, corpus):
        events = []
        report = run(corpus, progress=events.append)
        assert (report.new, report.changed, report.failed, report.embedded, report.total) == (3, 0, 1, 4, 4)
        assert report.to_embed == 4
        assert report.tokens == sum(event.tokens for event in events if isinstance(event, TextsEmbedded)) > 10
        reads = [event for event in events if isinstance(event, FileRead)]
        assert [(Path(event.path).name, event.files) for event in reads] == [
            ("boats.txt", 1), ("people.csv", 2), ("stars.md", 3),
        ]  # fmt: skip
        assert [event for event in events if isinstance(event, Planned)] == [Planned(4, report.tokens, None)]
        assert sum(event.texts for event in events if isinstance(event, TextsEmbedded)) == 4
        with store.snapshot() as snapshot:
            assert dense(snapshot, "telescope galaxy", 1) == lexical(snapshot, "galaxy")
            assert [f.path for f in snapshot.files("failed")] == [str(corpus / "torn.pdf")]
            assert snapshot.roots() == {str(corpus): ReadOptions().to_dict()}

    def test_nothing_has_changed(self, store, run, corpus):
        run(corpus)
        version = store.version()
        encoder = Counting()
        report = run(encoder=encoder)
        assert (report.unchanged, report.new, report.changed, report.embedded) == (3, 0, 0, 0)
        assert (report.failed, encoder.texts, store.version()) == (1, [], version)

    def test_changed_moved_touched_and_gone(self, store, run, corpus):
        run(corpus)
        (corpus / "boats.txt").rename(corpus / "ships.txt")
        (corpus / "people.csv").write_text("id,text\n1,Ada wrote the first program\n2,Alan broke the cipher\n")
        touch(corpus / "people.csv")
        touch(corpus / "stars.md")
        encoder = Counting()
        report = run(corpus, encoder=encoder)
        assert (report.moved, report.changed, report.unchanged, report.new, report.deleted) == (1, 1, 1, 0, 0)
        assert encoder.texts == ["Alan broke the cipher"]
        assert report.reused == 2
        (corpus / "ships.txt").unlink()
        report = run()
        assert (report.deleted, report.unchanged) == (1, 2)
        with store.snapshot() as snapshot:
            assert lexical(snapshot, "boat code") == []
            assert lexical(snapshot, "cipher") == ["Alan broke the cipher"]

    def test_a_file_that_became_unreadable_keeps_its_passages(self, store, run, corpus):
        (corpus / "torn.pdf").unlink()
        run(corpus)
        (corpus / "boats.txt").write_bytes(b"\x00\x01binary\x02" * 9)
        touch(corpus / "boats.txt")
        report = run()
        assert (report.failed + report.skipped, report.changed) == (1, 0)
        with store.snapshot() as snapshot:
            file = next(f for f in snapshot.files() if f.path.endswith("boats.txt"))
            assert file.status != "indexed"
            assert (lexical(snapshot, "boat") == []) == (file.status == "skipped")

    def test_a_root_that_vanished_loses_nothing(self, store, run, corpus):
        run(corpus)
        before = now(store)
        corpus.rename(corpus.with_name("elsewhere"))
        report = run()
        assert (report.vanished, report.deleted) == ([str(corpus)], 0)
        assert now(store) == before

    def test_other_options_read_record_files_again(self, store, run, corpus):
        run(corpus)
        report = run(corpus, options=ReadOptions(text_fields=("id",)))
        assert (report.changed, report.unchanged) == (1, 2)
        with store.snapshot() as snapshot:
            assert lexical(snapshot, "code") == []
        assert run().unchanged == 3

    def test_a_root_that_never_was(self, run, tmp_path):
        with pytest.raises(UsageError, match="does not exist"):
            run(tmp_path / "none")

    def test_a_dry_run_changes_nothing(self, store, run, corpus, monkeypatch):
        monkeypatch.setattr(embedder, "LONG_RUN_TOKENS", 5)
        report = run(corpus, dry_run=True)
        assert (report.to_embed, report.new, report.embedded, report.total) == (4, 3, 0, 0)
        assert report.estimate > 0
        with store.snapshot() as snapshot:
            assert (list(snapshot.files()), snapshot.roots(), now(store)) == ([], {}, [])

    def test_a_long_run_measures_with_texts_that_it_keeps(self, run, corpus, monkeypatch):
        monkeypatch.setattr(embedder, "LONG_RUN_TOKENS", 5)
        encoder = Counting()
        report = run(corpus, encoder=encoder)
        assert report.estimate > 0
        assert report.embedded == 4
        assert len(encoder.texts) == len(set(encoder.texts)) == 4

    def test_words_are_there_before_the_first_vector(self, store, run, corpus):
        class Looking(Counting):
            def term_batches(self, texts, *rest):
                with store.snapshot() as snapshot:
                    seen.append((lexical(snapshot, "galaxy"), snapshot.counts().embedded))
                return ENCODER.term_batches(texts, *rest)

        seen = []
        run(corpus, encoder=Looking())
        assert len(seen[0][0]) == 1
        assert seen[0][1] == 0

    def test_a_stream(self, store, splitter):
        def take(data):
            return update_from_stream(store, io.BytesIO(data), "stdin", lambda: ENCODER, splitter=splitter)

        assert (take(b"some words").new, take(b"other words").changed) == (1, 1)
        assert now(store) == ["other words"]


class TestInterruption:
    def test_what_is_done_is_kept(self, store, run, corpus, monkeypatch):
        monkeypatch.setattr(pipeline, "COMMIT_SECONDS", 1000.0)

        class Stopping(Counting):
            def term_batches(self, texts, *rest):
                yield from ((rows[:2], vectors[:2], terms[:2]) for rows, vectors, terms in super().term_batches(texts))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(corpus, encoder=Stopping())
        with store.snapshot() as snapshot:
            assert (snapshot.counts().passages, snapshot.counts().embedded) == (4, 2)
        encoder = Counting()
        report = run(encoder=encoder)
        assert (report.to_embed, len(encoder.texts), report.unchanged) == (2, 2, 3)

    def test_while_files_are_read(self, store, run, corpus):
        def stop(event):
            if isinstance(event, FileRead) and event.files == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(corpus, progress=stop)
        with store.snapshot() as snapshot:
            assert [Path(f.path).name for f in snapshot.files("indexed")] == ["boats.txt", "people.csv"]
        assert run(corpus).new == 1

    def test_an_error_leaves_the_last_commit(self, store, run, corpus):
        class Broken(Counting):
            def term_batches(self, texts, *rest):
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run(corpus, encoder=Broken())
        with store.writer() as writer:
            assert writer.waiting().texts == 4
        assert len(now(store)) == 4

    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
    def test_a_signal_ends_a_run_of_many_processes(self, tmp_path, name):
        """A process with workers gets a signal; it and all that it started are gone, and what it had is committed."""
        folder = tmp_path / "many"
        folder.mkdir()
        for number in range(400):
            (folder / f"{number}.txt").write_text(f"file {number} " + "word " * 400)
        script = textwrap.dedent(
            f"""
            import signal
            from indexer import pipeline
            from indexer.corpus.splitter import Splitter
            from indexer.storage import create_store
            from tests.pipeline.conftest import count_words
            from tests.storage.contract.values import ENCODER, manifest
            for each in (signal.SIGTERM, signal.SIGINT):  # a shell that starts tests behind it has them ignore SIGINT
                signal.signal(each, signal.default_int_handler)
            store = create_store({str(tmp_path / "c")!r}, manifest())
            pipeline.read_files.__globals__["_workers"] = lambda jobs: 3
            heard = lambda event: print("read", flush=True) if getattr(event, "files", 0) == 20 else None
            try:
                pipeline.update(store, [{str(folder)!r}], lambda: ENCODER, splitter=Splitter(count_words, 20),
                                progress=heard)
            except KeyboardInterrupt:
                print("stopped", store.snapshot().counts().passages, flush=True)
            """
        )
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "read\n"
        process.send_signal(getattr(signal, name))
        out, _ = process.communicate(timeout=60)
        word, passages = out.split()
        assert word == "stopped"
        assert int(passages) >= 20
