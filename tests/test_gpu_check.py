"""scripts/gpu/check.py: every part on a CPU with tiny models, and what it does with parts that fail or hang."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from indexer.embedding import open_encoder, resolve
from indexer.embedding.spec import EncoderSpec

SCRIPT = Path(__file__).parent.parent / "scripts" / "gpu" / "check.py"
PARTS = ("equality", "speed", "neighbours", "recipe", "training")


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script as a module, with a folder for parts of the test's own."""
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_check", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SCRIPTS", tmp_path / "parts")
    (tmp_path / "parts").mkdir()
    return module


def test_every_part_runs_small_on_a_cpu(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("SEMSEARCH_SHARED", "SEMSEARCH_CACHE")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--small", "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert {name: part["status"] for name, part in report["parts"].items()} == dict.fromkeys(PARTS, "complete")
    assert done.returncode == 0, done.stderr
    values = {row["what"]: row["value"] for part in report["parts"].values() for row in part["rows"]}
    assert values["tests/embedding/test_device passed"] >= 18
    assert values["tests/training/test_device passed"] == 3
    for what in (
        "matrix product, bf16", "default model, sentences, bf16", "default model, passages of 100 words, bf16",
        "default model, sentences, bf16, forward alone, attention not packed", "sentence-transformers, sentences, bf16",
        "LLaMA 7B, bf16", "LLaMA 7B, nf4", "LLaMA 13B, bf16", "OPT 1.3B, bf16", "flat, CPU",
        "LLaMA 7B, the paper's recipe, nf4", "LLaMA 7B, the paper's recipe, bf16", "training", "adapter",
    ):  # fmt: skip
        assert values[what] > 0, what
    for line in ("| **training** | complete", "| LLaMA 7B, MFU |"):
        assert line in done.stdout
    tiny, adapter = tmp_path / "out/tiny/llama", tmp_path / "out/adapter"
    base, trained = (
        open_encoder(resolve(EncoderSpec(model=str(tiny), adapter=chosen, precision="fp32"))).encode(
            ["the market fell"]
        )
        for chosen in (None, str(adapter))
    )
    assert np.abs(base - trained).max() > 1e-3  # it is one, and changes vectors


def run(check: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, parts: dict[str, str], seconds: float) -> dict:
    """The report of parts that are programs; each may take ``seconds``."""
    for name, program in parts.items():
        (check.SCRIPTS / f"{name}.py").write_text(
            "import json, sys, time\nrows = open(sys.argv[sys.argv.index('--rows') + 1], 'a')\n"
            "def row(what, **more):\n    print(json.dumps({'what': what, **more}), file=rows, flush=True)\n"
            f"until = float(sys.stdin.readline())\n{program}\n"
        )
    monkeypatch.setattr(check, "PARTS", dict.fromkeys(parts, seconds))
    monkeypatch.setattr(check, "SMALL", dict.fromkeys(parts, seconds))
    monkeypatch.setattr(check, "GRACE", 1)
    monkeypatch.setattr(sys, "argv", ["check.py", "--small", "--out", str(out), "--parts", ",".join(parts)])
    code = check.main()
    return {**json.loads((out / "report.json").read_text()), "code": code}


def test_a_part_that_fails_or_hangs_stops_no_other_and_keeps_its_rows(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {
        "speed": "row('first', value=1.0)\nraise RuntimeError('the card is gone')",
        "equality": "row('second', value=2.0)\ntime.sleep(60)",
        "recipe": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nrow('third')\ntime.sleep(60)",
        "training": "row('fourth', value=4.0, note='a | b')\nrow('fifth', error='ValueError: no')",
        "neighbours": "row('sixth', value=until - time.time())",
    }
    report = run(check, monkeypatch, tmp_path / "out", parts, 3)
    status = {name: part["status"] for name, part in report["parts"].items()}
    assert status == {
        "speed": "failed: RuntimeError: the card is gone",
        "equality": "ended after 3 s",
        "recipe": "ended after 3 s",
        "training": "1 of 2 rows failed: fifth",
        "neighbours": "complete",
    }
    assert [row["what"] for part in report["parts"].values() for row in part["rows"]] == [
        "first", "second", "third", "fourth", "fifth", "sixth",
    ]  # fmt: skip
    assert 1 < report["parts"]["neighbours"]["rows"][0]["value"] <= 3
    assert report["code"] == 1
    shown = capsys.readouterr().out
    assert "| training | fifth |  |  | ValueError: no |" in shown
    assert "| training | fourth | 4 |  | a / b |" in shown


def test_wheels_in_pieces_are_used_and_missing_ones_named(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(tmp_path / "whole.whl", "w") as archive:
        archive.writestr("vllm.py", "answer = 42\n")
    content = (tmp_path / "whole.whl").read_bytes()
    (wheels / "vllm-1-py3-none-any.whl.part0").write_bytes(content[:60])
    (wheels / "vllm-1-py3-none-any.whl.part1").write_bytes(content[60:])
    environment = check.environ(tmp_path, wheels)
    asked = subprocess.run(
        [sys.executable, "-c", "import vllm; print(vllm.answer)"], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert asked.stdout == "42\n"
    monkeypatch.setattr(check, "WHEELS", {"vllm": "vllm", "not_there": "not-there-cuda"})
    options = type("Options", (), {"model": None, "small": True})
    assert check.prepare(options, tmp_path, environment) == [
        "no module not_there: rows that need it are missing (wheel: not-there-cuda)"
    ]


def test_a_model_that_is_not_the_default_one_is_said_so(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model.gguf.part0").write_bytes(b"GG")
    (tmp_path / "model.gguf.part1").write_bytes(b"UF")
    monkeypatch.setattr(check, "SCRIPTS", SCRIPT.parent / "parts")
    (tmp_path / "out").mkdir()
    options = type("Options", (), {"model": tmp_path / "model.gguf", "small": True})
    (note, *_) = check.prepare(options, tmp_path / "out", check.environ(tmp_path / "out", None))
    assert "the model cannot be used" in note
    assert "model.gguf has SHA-256" in note
    assert (tmp_path / "out/model.gguf").read_bytes() == b"GGUF"
    with pytest.raises(SystemExit, match=r"neither .*other.gguf nor other.gguf.part0"):
        check.joined(tmp_path / "other.gguf", tmp_path)
