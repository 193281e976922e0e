"""Run the command line in this process, with the model-less hash encoder unless a test says otherwise."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from semsearch.cli import run as run_cli


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def call(*arguments: object, input: str | bytes = b"") -> Result:
        data = input.encode() if isinstance(input, str) else input
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        capsys.readouterr()
        code = run_cli([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def index(run: Callable[..., Result]) -> Callable[..., Result]:
    """``semsearch index --json`` with the hash encoder."""

    def call(*arguments: object, **keywords: Any) -> Result:
        return run("index", "--model", "hash:64", "--json", *arguments, **keywords)

    return call


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four short files, one passage each."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, text in {
        "boats.txt": "A sailing boat crosses the bay.",
        "bread.md": "# Bread\n\nKnead the dough, then let it rise.",
        "stars.txt": "The telescope shows a distant galaxy.",
        "chess.txt": "The knight forks king and rook.",
    }.items():
        (folder / name).write_text(text)
    return folder
