"""What the parts share: their options, the rows they write, and the models they measure."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
WORDS = "the a man woman dog horse river market police music small green old runs plays falls sells near under".split()


class Part:
    """One part's run."""

    def __init__(self, description: str) -> None:
        """Read the options that check.py gives."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--rows", type=Path, required=True)
        parser.add_argument("--out", type=Path, required=True)
        parser.add_argument("--data", type=Path)
        parser.add_argument("--teacher", type=Path)
        parser.add_argument("--small", action="store_true")
        self.options = parser.parse_args()
        self.small: bool = self.options.small
        self.device = "cpu" if self.small else "cuda"
        self._until = float("inf")

    def wait(self) -> None:
        """Wait until the card is this part's own, and learn until when."""
        self._until = float(sys.stdin.readline() or "inf")

    @property
    def left(self) -> float:
        """Seconds of this part's time, but for a little to end in."""
        return self._until - 3 - time.time()

    def row(self, what: str, value: float | None = None, unit: str = "", **more: Any) -> None:
        """Write a row at once, so that it is there whatever comes after it."""
        with self.options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "value": value, "unit": unit, **more}, ensure_ascii=False) + "\n")

    def do(self, what: str, seconds: float, function: Callable[..., None], *arguments: Any) -> bool:
        """Do one thing of the part and return whether it was done; a failure is a row, and the part goes on.

        Args:
            what: Its name.
            seconds: What it takes at least: with less time left it is not begun.
            function: The thing.
            arguments: What it takes.
        """
        began = time.monotonic()
        if self.left < seconds:
            self.row(what, note="left out: no time")
            return False
        try:
            function(*arguments)
            return True
        except MissingError as reason:
            self.row(what, note=f"left out: {reason}")
        except Exception as error:
            traceback.print_exc()
            self.row(what, error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        finally:
            print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)
            free()
        return False

    def optional(self, what: str, module: str, wheel: str) -> None:
        """Leave a case out where a module is missing.

        Raises:
            MissingError: It is.
        """
        if importlib.util.find_spec(module) is None:
            raise MissingError(f"{what} needs the module {module} (wheel: {wheel})")


class MissingError(Exception):
    """Something is not on this machine, which is no failure."""


def free() -> None:
    """Give memory back before the next case."""
    torch = sys.modules.get("torch")
    if torch is not None:
        import gc

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def synchronise(device: str) -> None:
    """Wait for the card."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def peak_memory(device: str) -> float | None:
    """Return GiB that tensors took at most; None on a CPU."""
    if device != "cuda":
        return None
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**30, 2)


def default_model(part: Part) -> str:
    """Return the name of the default model, or in ``--small`` the folder of a tiny one.

    Raises:
        MissingError: It is not on this machine.
    """
    if part.small:
        folder = part.options.out / "tiny" / "llama"
        if not (folder / "model.safetensors").is_file():
            sys.path.insert(0, str(ROOT))
            from tests.models import make

            aside = part.options.out / f"tiny-{time.monotonic_ns()}"
            make("llama", aside)
            folder.parent.mkdir(exist_ok=True)
            with suppress(OSError):  # another part was quicker
                (aside / "llama").rename(folder)
        return str(folder)
    from indexer.embedding.spec import DEFAULT_MODEL
    from indexer.embedding.weights import packaged

    if packaged.embedded_folder() is None:
        raise MissingError("the default model is not here: give its file with --model")
    return DEFAULT_MODEL


def place_default(gguf: Path) -> None:
    """Convert the default model's file into the cache, where encoders look for it."""
    from indexer.embedding.spec import DEFAULT_MODEL
    from indexer.embedding.weights import packaged
    from indexer.embedding.weights.gguf import convert

    packaged._expect(gguf, packaged.EMBEDDED[DEFAULT_MODEL].gguf_sha256, gguf.name)
    if packaged.embedded_folder() is None:
        model = packaged.EMBEDDED[DEFAULT_MODEL]
        target = packaged.cache_folder() / "models" / f"{DEFAULT_MODEL}-{model.gguf_sha256[:12]}-{convert.VERSION}"
        aside = target.with_name(f"{target.name}.partial")
        convert.convert(gguf, aside)
        aside.rename(target)


if __name__ == "__main__":
    places = argparse.ArgumentParser(description="Put the default model's GGUF file where encoders look for it.")
    places.add_argument("gguf", type=Path)
    place_default(places.parse_args().gguf)
