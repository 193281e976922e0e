"""Semantic search over your own files with PromptEOL embeddings.

    import semsearch

    semsearch.index(["docs/"])
    with semsearch.open() as searcher:
        for hit in searcher.search("how are vectors stored?", k=5):
            print(hit.score, hit.path, hit.line_start, hit.text)

Nothing heavy is imported before it is used, and there is no state beyond the objects returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.embedding.encoder import Encoder as Backend
    from indexer.embedding.spec import EncoderSpec
    from indexer.pipeline import Report
    from semsearch.encoder import Encoder
    from semsearch.search.searcher import Searcher

__version__ = "0.1.0"
__all__ = ["Encoder", "index", "open", "open_encoder"]


def __getattr__(name: str) -> object:
    """Import what is named, when it is named first."""
    if name == "Encoder":
        from semsearch.encoder import Encoder

        return Encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open(
    collection: str | None = None,
    *,
    home: str | Path | None = None,
    precision: str | None = None,
    device: str | None = None,
) -> Searcher:
    """A searcher over a collection; the settings' collection and home unless given.

    Raises CollectionNotFound, and at the first query MismatchError where the model is not the one that made the
    index.
    """
    from semsearch.collections import Runtime, searcher
    from semsearch.encoders import EncoderOverrides
    from semsearch.settings import load_settings

    settings = load_settings().override({"collection": collection, "home": home})
    return searcher(settings, flags=EncoderOverrides.from_dict({"precision": precision}), runtime=Runtime(device))


def index(
    paths: Sequence[str | Path],
    collection: str | None = None,
    *,
    home: str | Path | None = None,
    model: str | None = None,
    adapter: str | None = None,
    template: str | None = None,
    precision: str | None = None,
    preset: str | None = None,
    device: str | None = None,
    passage_tokens: int | None = None,
) -> Report:
    """Index files and folders, or bring the collection up to date with them; no paths: all it has been given before.

    The keywords mean what the options of ``semsearch index`` mean. Raises UsageError for a path that does not exist,
    MismatchError where the collection was made by another encoder.
    """
    from semsearch.collections import Runtime, update
    from semsearch.encoders import EncoderOverrides
    from semsearch.settings import load_settings

    settings = load_settings().override({"collection": collection, "home": home})
    flags = EncoderOverrides.from_dict(
        {"model": model, "adapter": adapter, "template": template, "precision": precision, "preset": preset}
    )
    return update(
        settings, [str(path) for path in paths], flags=flags, runtime=Runtime(device), passage_tokens=passage_tokens
    )


def open_encoder(spec: EncoderSpec | str | None = None, *, device: str | None = None) -> Backend:
    """An encoder by spec, or by the name or file of a preset; None: the one for sentence similarity.

    ``encode(texts)`` gives (n, d) float32 rows of unit length.
    """
    from indexer import embedding
    from semsearch.encoders import EncoderOverrides, choose
    from semsearch.settings import load_settings

    if spec is None or isinstance(spec, str):
        spec = choose(load_settings(), EncoderOverrides(preset=spec), "sts")
    return embedding.open_encoder(embedding.resolve(spec), device=device)
