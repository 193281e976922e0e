"""What README and help say is so."""

import importlib.util
import re

import click
import pytest

from semsearch.cli import COMMANDS, cli
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_is_that_of_today():
    spec = importlib.util.spec_from_file_location("tree", ROOT / "scripts" / "tree.py")
    tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tree)
    assert tree.replaced(README) == README, "run: python scripts/tree.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_is_in_the_readme(name):
    command = cli.get_command(click.Context(cli), name)
    assert command.help or command.callback.__doc__
    assert re.search(rf"`(semsearch )?{name}\b", README)


def test_every_exit_code_is_documented():
    assert re.search(r"0 fine.*1 no match.*2 wrong.*3 index.*4 some.*5 quality.*70.*130 interrupted", README, re.DOTALL)


def test_the_setup_commands_exist():
    for command in re.findall(r"^sh (scripts/\S+)", README, re.MULTILINE):
        assert (ROOT / command).is_file()
