"""What the pages say is so, and their examples run."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import click
import pytest

import semsearch.cli
from semsearch.cli import COMMANDS, cli
from tests.conftest import ROOT

PAGES = (
    "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "COMMANDS.md", "SCALING.md",
    "scripts/research/LOG.md",
)  # fmt: skip
README, ARCHITECTURE, COMMAND_PAGE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "ARCHITECTURE.md", "COMMANDS.md")
)


def script(name: str) -> ModuleType:
    """Load a script of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [
        textwrap.dedent(found) for found in re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ]


def test_the_tree_is_up_to_date() -> None:
    assert script("tree").replaced(ARCHITECTURE) == ARCHITECTURE, "run: python scripts/tree.py"


def test_every_module_of_the_tree_says_what_it_is_for() -> None:
    rows = script("tree").tree().splitlines()
    assert len(rows) > 60
    assert [row for row in rows if len(row.split(maxsplit=1)) < 2] == []


def test_the_command_reference_is_up_to_date() -> None:
    assert script("commands").replaced(COMMAND_PAGE) == COMMAND_PAGE, "run: python scripts/commands.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_is_in_the_readme(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    assert re.search(rf"`(semsearch )?{name}\b", README)


def test_every_exit_code_is_documented() -> None:
    codes = dict(re.findall(r"^\| (\d+) \| (.+) \|$", COMMAND_PAGE, re.MULTILINE))
    assert list(codes) == ["0", "1", "2", "3", "4", "5", "70", "130"]
    assert "interrupted" in codes["130"]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_files_that_pages_and_code_name_exist() -> None:
    """A script or page that was moved must not be looked for where it was."""
    sources = [ROOT / page for page in PAGES]
    sources += [path for folder in ("indexer", "semsearch", "scripts") for path in (ROOT / folder).rglob("*.py")]
    sources += (ROOT / "indexer").rglob("*.md")
    sources += (ROOT / "semsearch").rglob("*.toml")
    sources += (ROOT / "scripts").glob("*.sh")
    missing = {}
    for path in sources:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"(?<![\w/.])(?:scripts|tests)/[\w./-]*\w\.(?:py|sh|md|toml)\b", text)
        named += [target for target in re.findall(r"\]\(([\w./-]+\.md)(?:#[\w-]+)?\)", text)]
        gone = [name for name in named if not (ROOT / name).exists() and "NAME" not in name]
        if gone:
            missing[str(path.relative_to(ROOT))] = gone
    assert missing == {}


def test_links_into_a_page_have_a_heading_to_go_to() -> None:
    for page, anchor in re.findall(r"\]\(([\w.]+\.md)#([\w-]+)\)", README):
        heads = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "scripts").rglob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_can_be_asked_what_it_does(name: str) -> None:
    """Its imports are there, and --help says how to call it and does nothing else."""
    done = subprocess.run(
        [sys.executable, ROOT / name, "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


@pytest.fixture
def corner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the README's examples name, and an encoder that needs no download."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "storage.md").write_text("# Storage\n\nVectors are stored in safetensors shards.\n" * 10)
    (tmp_path / "notes.md").write_text("Buy milk and bread.\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMSEARCH_MODEL", "hash:64")
    monkeypatch.setenv("SEMSEARCH_ADAPTER", "none")
    return tmp_path


def test_the_shell_examples_of_the_readme_run(corner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [
        shlex.split(line, comments=True)[1:]
        for block in blocks(README, "sh")
        for line in block.splitlines()
        if line.startswith("semsearch ")
    ]
    assert [command[0] for command in commands] == ["index", "query", "get", "serve"]
    for command in commands[:3]:  # tests/service serves
        code = semsearch.cli.run(command)
        out, err = capsys.readouterr()
        assert code == 0, err
    assert "safetensors" in out


def test_the_python_example_of_the_readme_runs(corner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), names)  # a reader runs it as it stands
    assert "safetensors" in capsys.readouterr().out
    assert getattr(names["vectors"], "shape", None) == (2, 64)


def test_the_setup_commands_exist_and_are_shell() -> None:
    named = re.findall(r"\bsh (scripts/\S+\.sh)", README)
    assert set(named) == {"scripts/start.sh", "scripts/check.sh", "scripts/test.sh"}
    for name in named:
        assert subprocess.run(["sh", "-n", ROOT / name], check=False).returncode == 0


def test_continuous_integration_runs_both_commands() -> None:
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^sh (scripts/\S+)$", run, re.MULTILINE) == ["scripts/check.sh", "scripts/test.sh"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_what_the_page_says(shell: str) -> None:
    assert f"_SEMSEARCH_COMPLETE={shell}_source semsearch" in COMMAND_PAGE
    code = "import sys; sys.argv[0] = 'semsearch'; from semsearch.cli import cli; cli(prog_name='semsearch')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"_SEMSEARCH_COMPLETE": f"{shell}_source", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "_semsearch_completion" in done.stdout
