"""Where weights come from: the embedded default model, local folders, GGUF files, the hub, shipped adapters.

``resolve`` finds the files behind a spec and puts digests of their content into it. No torch here: a warm start must
not wait for it before it knows whether index and model agree. The default model's digest is the recorded one of the
GGUF file it comes from, with the version of the conversion.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import DEFAULT_ADAPTER, RETIRED
from indexer.embedding.weights import projection
from indexer.embedding.weights.digests import Kind, content_digest, gguf_digest
from indexer.embedding.weights.hub import commit_of, from_hub
from indexer.embedding.weights.packaged import EMBEDDED, Notify, converted, embedded, say
from indexer.errors import MismatchError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.embedding.spec import EncoderSpec

ADAPTERS = Path(__file__).parent.parent / "adapters"
"""Adapters that come with the package, a folder each."""


@dataclass(frozen=True)
class Located:
    """The folders behind a spec, both in transformers' and PEFT's layout."""

    model: Path
    adapter: Path | None


def resolve(spec: EncoderSpec, notify: Notify = say) -> EncoderSpec:
    """Return the spec with its digests filled in, paths absolute and a hub branch replaced by its commit.

    Files that are not on this machine are fetched, except those of the default model.

    Args:
        spec: What to look for. Digests that it has already (an index's) are checked against the files.
        notify: Takes a line for the person who waits.

    Raises:
        ModelError: Something cannot be found.
        MismatchError: The files have changed since the spec was resolved.
    """
    if spec.hashed:
        return HashEncoder(spec).spec
    model, revision = spec.model, spec.revision
    if spec.model in EMBEDDED:
        weights = EMBEDDED[spec.model].digest
    else:
        source = _source(spec.model, spec.revision, notify)
        weights = gguf_digest(source) if source.is_file() else content_digest(source, "model")
        if _is_path(spec.model):
            model = str(source)
        else:
            revision = commit_of(source) or revision
    more = () if spec.dimensions is None else (projection.FILE,)
    adapter, adapter_weights = _digested(spec.adapter, notify, more)
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


def _digested(adapter: str | None, notify: Notify, more: Sequence[str] = ()) -> tuple[str | None, str | None]:
    """Return an adapter's name, or absolute path, and the digest of its content, ``more`` files of it included.

    None twice for none.
    """
    if adapter is None:
        return None, None
    folder = _adapter(adapter, notify)
    named = folder.parent == ADAPTERS or not _is_path(adapter)  # a folder here may be called as a shipped one is
    return adapter if named else str(folder), content_digest(folder, "adapter", more)


def locate(spec: EncoderSpec, notify: Notify = say) -> Located:
    """Return the folders to load from; fetch and convert what is missing.

    Raises:
        ModelError: Something cannot be found, fetched or converted.
    """
    if spec.model in EMBEDDED:
        model = embedded(spec.model, notify)
    else:
        model = _source(spec.model, spec.revision, notify)
        if model.is_file():
            model = converted(model, notify)
    return Located(model, None if spec.adapter is None else _adapter(spec.adapter, notify))


def pull(spec: EncoderSpec, notify: Notify = say) -> Located:
    """Fetch and convert all that a spec needs, so that later runs need no network.

    A hub branch that has moved is followed.

    Raises:
        ModelError: As ``locate``.
    """
    wanted: list[tuple[str | None, str | None, Kind]] = [
        (spec.model, spec.revision, "model"),
        (spec.adapter, None, "adapter"),
        (spec.query_adapter, None, "adapter"),
    ]
    for name, revision, kind in wanted:
        hub = name is not None and name not in EMBEDDED and not _is_path(name) and name not in shipped_adapters()
        if name is not None and hub and "/" in name:
            from_hub(name, revision, kind, notify, refresh=True)
    return locate(spec, notify)


def _is_path(name: str) -> bool:
    return Path(name).expanduser().exists()


def _source(name: str, revision: str | None, notify: Notify) -> Path:
    """Return the folder, or GGUF file, that a model's name stands for."""
    path = Path(name).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path.resolve()
    if path.is_file():
        raise ModelError(f"{name} is a file; a model is a folder, a .gguf file, a hub name, or {', '.join(EMBEDDED)}")
    if re.fullmatch(r"llama-\d+b", name):  # as the presets call it
        raise ModelError(f"{name}: the weights of LLaMA are yours to bring: give their folder with --model")
    return from_hub(name, revision, "model", notify)


def _adapter(name: str, notify: Notify) -> Path:
    shipped = ADAPTERS / name
    if "/" not in name and (shipped / "adapter_config.json").is_file():
        return shipped
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if name in RETIRED:
        raise ModelError(
            f"the adapter {name!r} of earlier versions is not there any more: one adapter, {DEFAULT_ADAPTER!r}, serves "
            f"search and similarity now, and is taken where none is named; leave {name!r} out, or say {DEFAULT_ADAPTER}"
        )
    if "/" not in name:
        raise ModelError(
            f"no adapter {name!r}; shipped are: {', '.join(shipped_adapters()) or 'none'}; or give a folder"
        )
    return from_hub(name, None, "adapter", notify)


def shipped_adapters() -> list[str]:
    """Return the names of the adapters that come with the package."""
    return sorted(path.parent.name for path in ADAPTERS.glob("*/adapter_config.json"))


def adapter_description(name: str, notify: Notify = say) -> dict[str, object]:
    """Read from an adapter's ``encoder.json`` how the encoder was trained; {} without that file.

    Returns:
        Fields of EncoderSpec under their keys in files (template, normalise, layers …), for ``EncoderSpec.override``.

    Raises:
        ModelError: There is no such adapter, or its file cannot be read.
    """
    path = _adapter(name, notify) / "encoder.json"
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds {type(values).__name__}; it is an object with the fields of an encoder")
    return values
