"""The encoder for every transformers model: texts → prompts → batches → pooled vectors.

b batch, d hidden, n texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from indexer.embedding import loading, models, tokens
from indexer.embedding import precision as precisions
from indexer.embedding.encoder import TERMS, EncoderSpec, EncodeStats, Pooling, Role, Terms
from indexer.embedding.forward import SAMPLE, LastTokenForward, fast_forward
from indexer.embedding.plain import Forward, PlainForward
from indexer.embedding.prompt import PromptTemplate
from indexer.embedding.vocabulary import Vocabulary
from indexer.errors import ModelError

WINDOW = 8192
"""Texts that are tokenised, and sorted by length, together."""
BATCH_TOKENS = {"cpu": 1024, "mps": 8192, "cuda": 65536}


@dataclass
class _Window:
    """A stretch of distinct texts, tokenised."""

    ids: list[list[int]]
    positions: list[list[int]]
    """Where each text stands in what the caller gave; several for duplicates."""
    truncated: int


class HFEncoder:
    """An Encoder around a transformers model. Not safe for several threads at once.

    Vectors are float32 whatever the model computes in. A text's vector does not depend on the texts beside it, but
    for rounding (in fp32 about 1e-6, in bf16 about 1e-2 relative to length 1).
    """

    def __init__(
        self,
        spec: EncoderSpec,
        *,
        device: str | None = None,
        batch_tokens: int | None = None,
        device_map: str | None = None,
    ):
        """``spec`` is resolved. Raises PrecisionError before anything is read, ModelError."""
        chosen = precisions.pick_device(device)
        self.device = str(chosen)
        precision = spec.precision or precisions.default(chosen)
        precisions.check(precision, chosen)
        self.spec = replace(spec, precision=precision)
        self.stats = EncodeStats()
        self.batch_tokens = batch_tokens or BATCH_TOKENS[chosen.type]
        self._primed: set[Role] = set()
        located = models.locate(spec)
        self._located = located
        self.tokens = tokens.load(located.model)
        if spec.pooling == "mask" and self.tokens.mask_id is None:
            raise ModelError(f"pooling is mask, and {spec.model} has no mask token: it is for BERT and its kind")
        self._model = loading.load(located, self.spec, precision, chosen, device_map)
        self._positions = loading.max_positions(self._model.config)
        self._forwards: dict[Pooling, Forward] = {}
        self._vocabulary: Vocabulary | None = None
        self._head: torch.Tensor | None = None
        self._device_map = device_map
        self._asking: HFEncoder | None = None
        config = self._model.config
        self.dim: int = getattr(config, "word_embed_proj_dim", None) or config.hidden_size

    def encode(self, texts: Sequence[str], role: Role = "passage", normalize: bool = True) -> np.ndarray:
        vectors = np.empty((len(texts), self.dim), np.float32)
        for rows, values in self.encode_batches(texts, role, normalize):
            vectors[rows] = values
        return vectors

    def encode_batches(
        self, texts: Sequence[str], role: Role = "passage", normalize: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows, values in self._of(role)._encoded(texts, role):
            where, which = _copies(rows)
            yield where, _vectors(values, normalize)[which]

    def encode_terms(
        self, texts: Sequence[str], role: Role = "passage", most: int = TERMS
    ) -> tuple[np.ndarray, list[Terms]]:
        vectors = np.empty((len(texts), self.dim), np.float32)
        terms: list[Terms] = [{} for _ in texts]
        for rows, values, weighted in self.term_batches(texts, role, most):
            vectors[rows] = values
            for row, each in zip(rows, weighted, strict=True):
                terms[row] = each
        return vectors, terms

    def term_batches(
        self, texts: Sequence[str], role: Role = "passage", most: int = TERMS
    ) -> Iterator[tuple[np.ndarray, np.ndarray, list[Terms]]]:
        if self.spec.pooling != "last":
            raise ModelError(
                f"pooling is {self.spec.pooling}; terms come from the state of the last token: use pooling last"
            )
        encoder = self._of(role)
        head = encoder._lm_head()
        if self._vocabulary is None:
            self._vocabulary = Vocabulary(self.tokens.backend)
        for rows, values in encoder._encoded(texts, role):
            where, which = _copies(rows)
            own = [texts[positions[0]] for positions in rows]
            weighted = self._vocabulary.weigh(values, head, own, most, self.spec.max_tokens)
            yield where, _vectors(values, True)[which], [weighted[i] for i in which]

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        return self.tokens.count(texts)

    def terms(self, texts: Sequence[str], k: int, role: Role = "passage") -> list[list[tuple[str, float]]]:
        encoder = self._of(role)
        head = encoder._lm_head()  # (v, d)
        result: list[list[tuple[str, float]]] = [[] for _ in texts]
        with torch.inference_mode():
            for rows, hidden in encoder._run(texts, PromptTemplate.of(self.spec, role), encoder._forward("last")):
                chances = (hidden.to(head) @ head.T).float().softmax(1)  # (b, v)
                weights, best = chances.topk(min(k, len(head)))
                for positions, ids, values in zip(rows, best.tolist(), weights.tolist(), strict=True):
                    words = [self.tokens.backend.decode([i], skip_special_tokens=False) for i in ids]
                    for position in positions:
                        result[position] = list(zip(words, values, strict=True))
        return result

    def _of(self, role: Role) -> HFEncoder:
        """What encodes texts of this role: itself, or for queries a second copy of the model with their adapter."""
        if role == "passage" or self.spec.query_adapter is None:
            return self
        if self._asking is None:
            spec = replace(
                self.spec,
                adapter=self.spec.query_adapter,
                adapter_weights=self.spec.query_adapter_weights,
                query_adapter=None,
                query_adapter_weights=None,
            )
            self._asking = HFEncoder(
                spec, device=self.device, batch_tokens=self.batch_tokens, device_map=self._device_map
            )
            self._asking.stats = self.stats
        return self._asking

    def _encoded(self, texts: Sequence[str], role: Role) -> Iterator[tuple[list[list[int]], torch.Tensor]]:
        """As ``_run``, with the role's prompt and the spec's pooling."""
        template, forward = PromptTemplate.of(self.spec, role), self._forward(self.spec.pooling)
        if self.stats.texts and role not in self._primed and isinstance(forward, LastTokenForward):
            # Batches keep their shared prefix by themselves; single queries, one after another, have it kept here.
            self._primed.add(role)
            forward.prime(self._shared(template))
        yield from self._run(texts, template, forward)

    def _forward(self, pooling: Pooling) -> Forward:
        """The fastest way there is for this model; the first call, for the spec's own pooling, decides on int8."""
        if pooling not in self._forwards:
            int8 = self.spec.precision == "int8"
            made: Forward | None = None
            if pooling == "last":
                # Its own layout of the weights replaces the model's, unless other poolings need that too.
                template = PromptTemplate.of(self.spec)
                sample = (
                    self.tokens.prompts(template, SAMPLE, self.spec.max_tokens, self._positions).ids if int8 else ()
                )
                made = fast_forward(self._model, int8=int8, sample=sample, release=self.spec.pooling == "last")
            if made is None:
                made = PlainForward(loading.int8(self._model) if int8 else self._model, pooling, self.tokens)
            self._forwards[pooling] = made
        return self._forwards[pooling]

    def _lm_head(self) -> torch.Tensor:
        """(v, d), read once."""
        if self._head is None:
            self._head = loading.lm_head(self._located, self._model)
        return self._head

    def _shared(self, template: PromptTemplate) -> list[int]:
        """The tokens that the prompts of any two texts begin with."""
        ids = self.tokens.prompts(template, ["a", "Z", "0", "("], self.spec.max_tokens).ids
        return ids[0][: shared_prefix(ids)]

    def _compute(self, forward: Forward, ids: list[list[int]]) -> torch.Tensor:
        """One batch, in halves where it does not fit into the GPU's memory."""
        try:
            return forward(ids)
        except torch.OutOfMemoryError as error:
            if len(ids) == 1:
                raise ModelError(
                    f"a prompt of {len(ids[0])} tokens does not fit into the memory of {self.device}; use a smaller "
                    "--max-tokens, --precision nf4 or --device cpu"
                ) from error
        torch.cuda.empty_cache()  # outside the handler, which holds on to the tensors of the failed try
        self.batch_tokens = max(1, self.batch_tokens // 2)
        half = len(ids) // 2
        return torch.cat([self._compute(forward, ids[:half]), self._compute(forward, ids[half:])])

    def _run(
        self, texts: Sequence[str], template: PromptTemplate, forward: Forward
    ) -> Iterator[tuple[list[list[int]], torch.Tensor]]:
        """Each distinct text once: (positions of each vector's texts, (b, d)), longest first within a window."""
        where: dict[str, list[int]] = {}
        for position, text in enumerate(texts):
            where.setdefault(text, []).append(position)
        distinct = list(where)
        windows = [distinct[i : i + WINDOW] for i in range(0, len(distinct), WINDOW)]

        def tokenise(window: list[str]) -> _Window:
            prompts = self.tokens.prompts(template, window, self.spec.max_tokens, self._positions)
            return _Window(prompts.ids, [where[text] for text in window], prompts.truncated)

        with ThreadPoolExecutor(1) as ahead:  # the tokenizer lets other threads run
            coming = ahead.submit(tokenise, windows[0]) if windows else None
            for following in [*windows[1:], None] if windows else []:
                assert coming is not None
                window = coming.result()
                coming = ahead.submit(tokenise, following) if following is not None else None
                self.stats.truncated += window.truncated
                shared = 0
                if isinstance(forward, LastTokenForward) and len(window.ids) > 1:
                    shared = shared_prefix(window.ids)  # run once, so it fills no batch
                for rows in batches([max(1, len(ids) - shared) for ids in window.ids], self.batch_tokens):
                    before = forward.tokens
                    vectors = self._compute(forward, [window.ids[i] for i in rows])
                    self.stats.texts += sum(len(window.positions[i]) for i in rows)
                    self.stats.tokens += forward.tokens - before
                    yield [window.positions[i] for i in rows], vectors


def _copies(rows: list[list[int]]) -> np.ndarray:
    """(2, n) int64: the position of each text, and its row in the batch."""
    return np.array([(position, i) for i, positions in enumerate(rows) for position in positions], np.int64).T


def _vectors(values: torch.Tensor, normalize: bool) -> np.ndarray:
    """(b, d) float32."""
    vectors = values.float()
    return (torch.nn.functional.normalize(vectors, dim=1) if normalize else vectors).cpu().numpy()


def shared_prefix(ids: Sequence[list[int]]) -> int:
    """How many tokens all sequences begin with."""
    low, high = min(ids), max(ids)  # what the extremes of an ordering share, all share
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows by falling length, as many at once as their padded size stays within ``budget``; at least one."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
