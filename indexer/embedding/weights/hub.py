"""Models and adapters of the Hugging Face hub: found in its cache, else fetched."""

from __future__ import annotations

import json
from pathlib import Path

from indexer.embedding.weights import projection
from indexer.embedding.weights.digests import TOKENIZER_FILES, Kind, weight_files
from indexer.embedding.weights.packaged import EMBEDDED, Notify
from indexer.errors import ModelError


def from_hub(name: str, revision: str | None, kind: Kind, notify: Notify, refresh: bool = False) -> Path:
    """Return the snapshot folder of a hub repository, fetched where the local cache (HF_HOME) lacks it.

    Args:
        name: OWNER/NAME.
        revision: Branch, tag or commit; None: the main branch.
        kind: Decides which files are needed.
        notify: Takes a line for the person who waits.
        refresh: Ask the hub whether the branch has moved, also where the cache is complete.

    Raises:
        ModelError: There is no such repository, or it cannot be had.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except errors.HFValidationError as error:
        raise ModelError(
            f"no {kind} at {name!r}: it is neither a folder here nor a hub name (OWNER/NAME); "
            f"embedded models are {', '.join(EMBEDDED)}"
        ) from error
    if not refresh:
        try:
            folder = Path(huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True))
            if _complete(folder, kind):
                return folder
        except errors.LocalEntryNotFoundError:
            pass
    where = f"{name} (revision {revision})" if revision else name
    if constants.is_offline_mode():
        raise ModelError(
            f"the {kind} {where} is not in the hub's cache ({constants.HF_HUB_CACHE}) and HF_HUB_OFFLINE is set; "
            f"unset it, or give a local folder"
        )
    try:
        info = huggingface_hub.HfApi().model_info(name, revision=revision, files_metadata=True)
        sizes = {f.rfilename: f.size or 0 for f in info.siblings or [] if "/" not in f.rfilename}
        wanted = _wanted(list(sizes), kind)
        notify(f"fetching the {kind} {where}, {sum(sizes[n] for n in wanted) / 1e6:.0f} MB, from the hub …")
        folder = Path(huggingface_hub.snapshot_download(name, revision=info.sha, allow_patterns=wanted))
    except errors.GatedRepoError as error:
        raise ModelError(f"the {kind} {where} is gated: ask its owners for access and run `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"the hub has {name} but not its revision {revision}: see the repository's branches"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"no {kind} {where}: it is neither a folder here nor on the hub (a private one needs `hf auth login`)"
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelError(f"the hub could not be reached for the {kind} {where}: {error}") from error
    except Exception as error:  # the hub's HTTP client has its own family of errors
        raise ModelError(
            f"the {kind} {where} could not be fetched from the hub: {type(error).__name__}: {error}; check the "
            "connection, or give a local folder"
        ) from error
    return folder


def _wanted(names: list[str], kind: Kind) -> list[str]:
    """Return the files of a hub repository to fetch: configuration, tokenizer, and one set of weights."""
    others = ("consolidated", projection.FILE)
    weights = [n for n in names if n.endswith(".safetensors") and not n.startswith(others)]
    if not weights:
        stem = "adapter_model" if kind == "adapter" else "pytorch_model"
        weights = [n for n in names if n.startswith(stem) and n.endswith(".bin")]
    config = ("adapter_config.json", projection.FILE) if kind == "adapter" else ("config.json", *TOKENIZER_FILES)
    indices = [n for n in names if n.endswith(".index.json")]
    return [n for n in names if n in config] + indices + weights


def _complete(folder: Path, kind: Kind) -> bool:
    """Return whether a cached snapshot holds everything: an interrupted download leaves a part."""
    if not (folder / ("adapter_config.json" if kind == "adapter" else "config.json")).is_file():
        return False
    names = set(weight_files(folder, "adapter_model" if kind == "adapter" else None))
    for index in folder.glob("*.index.json"):
        shards = set(json.loads(index.read_text("utf-8")).get("weight_map", {}).values())
        if shards & names and not shards <= names:
            return False
    return bool(names)


def commit_of(folder: Path) -> str | None:
    """Return the commit of a hub snapshot, which is its folder's name; None for another folder."""
    return folder.name if folder.parent.name == "snapshots" else None
