"""What the command line does for people: get, collections, suggestions, completion, remarks, and how it ends."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semsearch.cli import COMMANDS, cli, logs
from semsearch.cli.lazy import LazyGroup

ROOT = Path(__file__).resolve().parent.parent.parent


def test_get_prints_a_document_or_its_lines(index, run, corpus, monkeypatch):
    index(corpus)
    assert run("get", corpus / "bread.md").out == "# Bread\n\nKnead the dough, then let it rise.\n"
    monkeypatch.chdir(corpus)
    assert run("get", "bread.md:3").out == "Knead the dough, then let it rise.\n"
    assert run("get", "bread.md:1-2").out == "# Bread\n\n"
    assert run("get", "bread.md:3", "--context", 2).out == run("get", "bread.md").out
    [hit] = run("query", "--json", "-k", 1, "--mode", "lexical", "dough").json
    found = run("get", "--json", hit["passage"]).json
    assert (found["path"], found["line_start"], found["line_end"]) == (hit["path"], hit["line_start"], hit["line_end"])
    assert hit["text"] in found["text"]
    assert set(found) >= {"path", "line_start", "line_end", "page", "text", "title", "kind", "document", "passages"}


def test_get_of_what_is_not_there(index, run, corpus):
    index(corpus)
    result = run("get", "--json", corpus / "braed.md")
    assert result.code == 2
    assert "did you mean 'bread.md'" in json.loads(result.err)["error"]["message"]
    assert "lines 1 to 3" in run("get", f"{corpus}/bread.md:40").err


def test_collections_are_listed_renamed_and_deleted(index, run, corpus):
    index(corpus)
    index(corpus, "-c", "papers")
    assert run("collection", "list").out == "default\npapers\n"
    assert run("collection", "rename", "papers", "notes", "--json").json == {"collection": "notes", "before": "papers"}
    assert run("query", "-c", "notes", "--json", "boat").code == 0
    assert run("collection", "rename", "notes", "default").code == 2
    assert run("collection", "remove", "notes").code == 2  # nobody to ask
    assert run("collection", "list", "--json").json == ["default", "notes"]
    assert run("collection", "remove", "notes", "--yes").code == 0
    assert run("collection", "list", "--json").json == ["default"]
    assert (corpus / "boats.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["quer", "boat"], "query"),
        (["collection", "renam", "a", "b"], "rename"),
        (["eval", "retreival"], "retrieval"),
        (["query", "--mode", "lexcial", "boat"], "lexical"),
        (["query", "-c", "defualt", "boat"], "default"),
        (["query", "--filter", "typ=md", "boat"], "type"),
        (["query", "--filter", "type=markdwn", "boat"], "markdown"),
        (["query", "--explian", "boat"], "--explain"),
        (["export", "--format", "parkuet", "x"], "parquet"),
    ],
)
def test_the_nearest_is_suggested(arguments, nearest, index, run, corpus):
    index(corpus)
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert nearest in result.err


def test_words_without_quotes_are_one_query(index, run, corpus):
    index(corpus)
    assert run("query", "--json", "a", "distant", "galaxy").json == run("query", "--json", "a distant galaxy").json


def test_a_query_that_begins_with_a_dash(index, run, corpus):
    index(corpus)
    result = run("query", "--frobnicate", "boat")
    assert (result.code, "semsearch query -- --frobnicate" in result.err) == (2, True)
    assert run("query", "--json", "--", "--frobnicate boat").code == 0


def test_a_damaged_collection_is_not_left_out_of_the_status(index, run, corpus):
    index(corpus)
    index(corpus, "-c", "other")
    home = Path(os.environ["SEMSEARCH_HOME"])
    (home / "other" / "manifest.json").write_text("nonsense")
    result = run("status", "--json")
    assert result.code == 2
    sound, damaged = result.json
    assert (sound["collection"], damaged["collection"]) == ("default", "other")
    assert damaged["error"]["kind"] == "CorruptError"
    assert "other" in run("status").out
    assert "cannot be opened" in run("status").out


def test_skipped_files_are_grouped_by_reason(index, run, corpus):
    for number in range(5):
        (corpus / f"picture{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    assert index(corpus).code == 0
    text = run("status").out
    [line] = [line for line in text.splitlines() if line.startswith("  skipped")]
    assert line.startswith("  skipped   5: ")
    assert "picture0.png, picture1.png, picture2.png and 2 more" in line
    assert run("status", "--files").out.count("picture") == 5
    assert len(run("status", "--json").json[0]["skipped"]) == 5


def test_quiet_and_verbose(index, run, corpus):
    index(corpus)
    assert "nothing matches" in run("query", "--mode", "lexical", "zeppelin").err
    assert run("query", "-q", "--mode", "lexical", "zeppelin").err == ""
    assert run("-q", "query", "--mode", "lexical", "zeppelin").err == ""
    assert "semsearch.cli: nothing matches" in run("query", "-v", "--mode", "lexical", "zeppelin").err
    assert run("query", "-q", "-c", "none", "boat").err != ""  # errors are always said


def test_one_handler_however_often_it_is_set_up():
    for _ in range(3):
        logs.set_up()
    assert sum(isinstance(handler, logs.StderrHandler) for handler in logging.getLogger().handlers) == 1


def test_every_command_is_thin():
    """A command's body has at most 40 lines, and its function at most ten parameters."""
    import ast

    for path in (ROOT / "semsearch" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = [each for each in node.body if not isinstance(each, ast.Expr | ast.Constant)]
                lines = node.body[-1].end_lineno - (body or node.body)[0].lineno + 1
                many = [*node.args.args, *node.args.kwonlyargs]
                assert lines <= 40, f"{path.name}:{node.name} has {lines} lines"
                assert len(many) <= 10, f"{path.name}:{node.name} has {len(many)} parameters"


def shell(*words, home, position=None):
    position = len(words) - 1 if position is None else position
    environment = {**os.environ, "SEMSEARCH_HOME": str(home), "_SEMSEARCH_COMPLETE": "bash_complete"}
    environment |= {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(position)}
    done = subprocess.run(
        [sys.executable, "-m", "semsearch.cli"], env=environment, capture_output=True, text=True, check=True
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_a_shell_completes_commands_and_collections(index, run, corpus):
    index(corpus)
    index(corpus, "-c", "papers")
    home = os.environ["SEMSEARCH_HOME"]
    assert shell("semsearch", "que", home=home) == ["query"]
    assert shell("semsearch", "query", "-c", "pap", home=home) == ["papers"]
    assert shell("semsearch", "collection", "rename", "def", home=home) == ["default"]


@pytest.fixture
def process(index, corpus):
    """Runs ``semsearch`` in a process of its own, over a collection of the corpus."""
    index(corpus)

    def call(command, **environment):
        line = f"{sys.executable} -m semsearch.cli {command}"
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env={**os.environ, **environment})

    return call


def test_a_reader_that_goes_is_no_error(process):
    done = process("query --mode lexical --json boat | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said(process):
    done = process("query --mode lexical boat > /dev/full")
    assert done.returncode == 2
    assert "space" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_that_lacks_characters(index, run, corpus, process):
    (corpus / "ferry.txt").write_text("Die Fähre — 灯台.")
    index(corpus)
    assert "F?hre" in process("query --mode lexical --full Fähre", PYTHONIOENCODING="ascii").stdout
    found = process("query --mode lexical --json Fähre", PYTHONIOENCODING="cp1252")
    assert json.loads(found.stdout)[0]["text"] == "Die Fähre — 灯台."


def test_a_home_that_cannot_be_made_is_said(run, corpus):
    result = run("index", "--model", "hash:64", "--home", corpus / "boats.txt" / "below", corpus)
    assert result.code == 2
    assert "Traceback" not in result.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_command(number, tmp_path):
    """A command that reads standard input, and would wait for ever."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from semsearch.cli import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", code, "embed", "--model", "hash:8"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(3)
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said.decode().count("interrupted") == 1


def test_every_command_has_help_that_loads_no_model():
    assert isinstance(cli, LazyGroup)
    code = "import sys; from semsearch.cli import run; print(run([sys.argv[1], '--help'])); print(*sys.modules)"
    for name in COMMANDS:
        out = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True).stdout
        assert "\n0\n" in out, name
        assert "torch" not in out.split()
