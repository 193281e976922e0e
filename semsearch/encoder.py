"""The encoder that people hold: texts in, vectors out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args, overload

from indexer import embedding
from indexer.embedding.spec import EncoderSpec, Precision, Role
from indexer.errors import UsageError
from semsearch import encoders
from semsearch.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.embedding.encoder import Encoder as Backend
    from indexer.embedding.encoder import Positions, Vectors


class Encoder:
    """Texts to unit vectors, as a collection's index uses them. Safe to call from several threads at once.

        encoder = semsearch.Encoder.load()
        passages = encoder.encode_passages(["Vectors lie in shards.", "The cat sleeps."])
        scores = passages @ encoder.encode_query("where are vectors stored?")

    One text gives a vector (d,), a list of n texts gives (n, d), float32.
    """

    def __init__(self, backend: Backend) -> None:
        """Wrap an encoder that is loaded; ``Encoder.load`` is what people call."""
        self._backend = backend

    @classmethod
    def load(
        cls,
        name_or_spec: str | EncoderSpec | None = None,
        *,
        device: str | None = None,
        precision: Precision | None = None,
        batch_tokens: int | None = None,
    ) -> Encoder:
        """Load an encoder; fetch its model where it is missing.

        Args:
            name_or_spec: A preset, a shipped adapter, a model or a file that describes an encoder, by name or path; or
                a description. None: the encoder that ``semsearch index`` gives a new collection.
            device: cpu, cuda, cuda:N or mps; None: the settings', else the best there is.
            precision: fp32, bf16, fp16, int8 or nf4; None: the encoder's, else the machine's default.
            batch_tokens: Tokens of one batch; None: the settings', else what suits the device.

        Raises:
            UsageError: A value is not one of those allowed.
            ConfigError: A file describes no encoder.
            ModelError: The model or its adapter cannot be found or loaded.
        """
        settings = load_settings()
        how = encoders.EncoderOverrides(device=device, precision=precision, batch_tokens=batch_tokens)
        if name_or_spec is None:
            spec = encoders.choose(settings, how)
        else:
            spec = encoders.named(name_or_spec) if isinstance(name_or_spec, str) else name_or_spec
            spec = spec if precision is None else replace(spec, precision=precision)
        device = device or settings.device
        return cls(
            embedding.open_encoder(
                embedding.resolve(encoders.in_bulk(spec, device)),
                device=device,
                batch_tokens=batch_tokens or settings.batch_tokens,
            )
        )

    @property
    def backend(self) -> Backend:
        """The encoder behind it, with the verbs that indexing needs."""
        return self._backend

    @property
    def spec(self) -> EncoderSpec:
        """Description of the encoder, with the digests of its files and the precision in use."""
        return self._backend.spec

    @property
    def dim(self) -> int:
        """Numbers of a vector, d."""
        return self._backend.dim

    @property
    def device(self) -> str:
        """Where the model runs: cpu, cuda:0, mps."""
        return self._backend.device

    @property
    def fingerprint(self) -> str:
        """16 hex digits; vectors of one fingerprint may be compared."""
        return self.spec.fingerprint

    def encode_query(self, texts: str | Sequence[str]) -> Vectors:
        """Return the vectors of queries: (d,) for one text, (n, d) for a list."""
        return self.encode(texts, "query")

    def encode_passages(self, texts: str | Sequence[str]) -> Vectors:
        """Return the vectors of passages: (d,) for one text, (n, d) for a list."""
        return self.encode(texts, "passage")

    def encode(self, texts: str | Sequence[str], role: Role = "passage") -> Vectors:
        """Return unit vectors.

        Args:
            texts: One text, or a list of n.
            role: "passage" or "query": which prompt (and adapter) to use.

        Returns:
            (d,) float32 for one text, (n, d) for a list.

        Raises:
            UsageError: The role is neither, or a text is no text.
        """
        if role not in get_args(Role):
            raise UsageError(f"role is {role!r}; it is one of {', '.join(get_args(Role))}")
        given = _texts(texts)
        vectors = self._backend.encode(given, role)
        only: Vectors = vectors[0] if isinstance(texts, str) else vectors
        return only

    @overload
    def count_tokens(self, texts: str) -> int: ...  # type: ignore[overload-overlap]  # a str is a Sequence[str] too
    @overload
    def count_tokens(self, texts: Sequence[str]) -> Positions: ...
    def count_tokens(self, texts: str | Sequence[str]) -> int | Positions:
        """Return the tokens of each text alone, without the prompt: a number for one text, (n,) int64 for a list."""
        counts = self._backend.count_tokens(_texts(texts))
        return int(counts[0]) if isinstance(texts, str) else counts


def _texts(texts: str | Sequence[str]) -> list[str]:
    given = [texts] if isinstance(texts, str) else list(texts)
    for position, text in enumerate(given):
        if not isinstance(text, str):
            raise UsageError(f"text {position} is of type {type(text).__name__}; a text is str")
    return given
