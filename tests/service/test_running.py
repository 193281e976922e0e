"""``semsearch serve`` as a process of its own, found and asked by commands of the same home."""

import json
import os
import signal
import subprocess
import sys

import pytest

from semsearch import Collection
from semsearch.service import running
from tests.service.conftest import write

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and owners of files")


def command(*arguments, home):
    return [sys.executable, "-m", "semsearch", *map(str, arguments), "--home", str(home)]


@pytest.fixture
def serving(home):
    """Start ``semsearch serve`` on a free port; gives the process once it has printed its address."""
    begun = []

    def start(*options, home=home):
        process = subprocess.Popen(
            command("serve", "--port", 0, *options, home=home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        assert process.stdout.readline().startswith("semsearch serves http://127.0.0.1:")
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def asked(home, *arguments, input=None):
    """Return (exit code, output, messages, whether a Collection was opened here) of a command."""
    code = (
        "import sys; from semsearch.cli import run; code = run(sys.argv[1:]); "
        "print('numpy' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "--home", str(home)],
        capture_output=True, input=input, text=True, cwd=home,
    )  # fmt: skip
    *said, here = done.stderr.splitlines()
    return done.returncode, done.stdout, said, here == "True"


def test_commands_find_a_server_and_say_what_they_say_without_it(home, serving):
    process = serving()
    assert running.find(home).pid == process.pid
    for arguments in (
        ["query", "--explain", "boat in the bay"],
        ["query", "--json", "--filter", "type=md", "-c", "other", "knight"],
        ["query", "--jsonl", "-"],
        ["similar", "--json", "../docs/boats.md:3"],
    ):
        code, out, said, here = asked(home, *arguments, input="boat\ndough\n")
        assert not here
        assert (code, out, said, True) == asked(home, *arguments, "--no-server", input="boat\ndough\n")
    assert asked(home, "query", "--filter", "type=nonsense", "boat")[0] == 2


@pytest.mark.model
def test_the_real_model_answers_to_the_last_digit_alike(tmp_path, serving):
    home = tmp_path / "home"
    with Collection("default", create=True, home=home) as docs:
        docs.index(write(tmp_path / "docs"))
    serving("--preload", home=home)
    for arguments in (
        ["query", "--json", "--explain", "do boats sail?"],
        ["similar", "--json", "../docs/boats.md"],
    ):
        code, out, said, here = asked(home, *arguments)
        assert not here
        assert (code, out, said, True) == asked(home, *arguments, "--no-server")


def test_the_file_goes_with_the_server(home, serving):
    process = serving()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not (home / running.FILE).exists()


def test_a_server_that_was_killed_is_not_asked(home, serving):
    process = serving()
    process.kill()
    process.wait()
    assert (home / running.FILE).exists()
    assert running.find(home) is None
    code, out, said, here = asked(home, "query", "--json", "boat")
    assert (code, said, here) == (0, [], True)
    assert json.loads(out)[0]["path"].endswith("boats.md")


def test_a_token_is_shown_and_a_collection_that_is_not_served_is_asked_here(home, serving, tmp_path):
    (tmp_path / "token").write_text("a-token-that-is-long-enough")
    serving("--token-file", tmp_path / "token", "--collection", "other")
    assert not asked(home, "query", "-c", "other", "knight")[3]
    assert asked(home, "query", "boat")[3]
    assert (home / running.FILE).stat().st_mode & 0o777 == 0o600


def test_a_server_that_dies_between_questions_is_replaced(home, serving):
    process = serving()
    code = "import sys; from semsearch.cli import run; sys.exit(run(sys.argv[1:]))"
    asking = subprocess.Popen(
        [sys.executable, "-c", code, "query", "--jsonl", "-", "--home", str(home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    asking.stdin.write("boat\n")
    asking.stdin.flush()
    first = asking.stdout.readline()
    process.kill()
    process.wait()
    out, said = asking.communicate("dough\n", timeout=60)
    assert asking.returncode == 0
    assert [json.loads(line)["query"] for line in (first + out).splitlines()] == ["boat", "dough"]
    assert "this process answers by itself" in said
