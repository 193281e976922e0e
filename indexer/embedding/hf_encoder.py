"""The encoder for every transformers model: texts → prompts → batches → pooled vectors.

b batch, d hidden, n texts, v vocabulary.
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from indexer.embedding import precision as precisions
from indexer.embedding.encoder import MAX_TERMS, EncodeStats, Positions, Terms, TokenVectors, Vectors
from indexer.embedding.forward import workers as pool
from indexer.embedding.forward.both_ways import BothWaysForward, both_ways
from indexer.embedding.forward.last_token import SAMPLE, LastTokenForward, fast_forward
from indexer.embedding.forward.linear import Dense, steady
from indexer.embedding.forward.plain import Forward, PlainForward
from indexer.embedding.forward.vocabulary import Vocabulary
from indexer.embedding.prompts.prompt import PromptTemplate
from indexer.embedding.weights import loading, models, projection, quantise, tokens
from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from indexer.embedding.spec import EncoderSpec, Pooling, Role

WINDOW = 8192
"""Texts that are tokenised, and sorted by length, together."""
BATCH_TOKENS = {"cpu": 1024, "mps": 8192, "cuda": 65536}
WORKER_TOKENS = 256
"""Tokens that are worth a worker: fewer are read by all cores as one team (scripts/research/LOG.md)."""
FEW_BATCHES = 4
"""So many for each worker are shared out anew; of more, the last ones that are unequal matter little."""

SIF = 1e-3
"""The constant a of SIF weights; the paper's."""
ZIPF_SHIFT = 100
"""Tokens at the head of a vocabulary that are about equally frequent."""

Prefix = tuple[int, ...] | None
"""Tokens with which all prompts of a batch begin, and which are run apart; None: the forward decides."""
Rows = list[list[int]]
"""For each vector of a batch the positions of its texts: several where texts are equal."""


@dataclass
class _Window:
    """A stretch of distinct texts, tokenised."""

    ids: list[list[int]]
    positions: Rows
    truncated: int


class _Batch(NamedTuple):
    """Prompts that are run together."""

    rows: list[int]
    """Their places in the window."""
    ids: list[list[int]]
    prefix: Prefix


class HFEncoder:
    """An Encoder around a transformers model. Safe to call from several threads at once.

    Vectors are float32 whatever the model computes in. A text's vector does not depend on the texts beside it, but
    for rounding (in fp32 about 1e-6, in bf16 about 1e-2 relative to length 1); to the last digit where it is ``exact``.

    On a CPU the batches of a list are run by workers, a thread of one core each; a single small batch, as of a query,
    by all cores as one team. Callers that have one such batch take turns.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        *,
        device: str | None = None,
        batch_tokens: int | None = None,
        device_map: str | None = None,
        workers: int | None = None,
    ) -> None:
        """Load the model.

        Args:
            spec: Resolved.
            device: cpu, cuda, cuda:N or mps; None: the best there is.
            batch_tokens: Tokens of one batch, padding included; None: what suits the device.
            device_map: accelerate's, for models larger than one GPU.
            workers: Threads that run batches side by side on a CPU; None: as many as torch uses cores. Vectors do not
                depend on it.

        Raises:
            PrecisionError: The device does not exist or cannot do it; nothing has been read yet.
            ModelError: The model or its adapter cannot be loaded.
        """
        chosen = precisions.pick_device(device)
        self.device = str(chosen)
        precision = spec.precision or precisions.default(chosen)
        precisions.check(precision, chosen)
        self.spec = replace(spec, precision=precision)
        self.stats = EncodeStats()
        self.batch_tokens = batch_tokens or BATCH_TOKENS[chosen.type]
        self._running = Lock()
        """Held while a batch goes through the model, but in workers."""
        self.workers = workers or torch.get_num_threads()
        self._making = RLock()
        """Held while something is made that is kept: a forward, the LM head, the queries' model."""
        self._counting = Lock()
        """Held while ``stats`` change."""
        self._counted: dict[int, int] = {}
        """Identity of a forward → how many of its tokens ``stats`` has."""
        self._primed: set[Role] = set()
        self._prefixes: dict[PromptTemplate, tuple[int, ...]] = {}
        """Template → tokens with which all its prompts begin, where the forward is exact."""
        located = models.locate(spec)
        self._located = located
        self.tokens = tokens.load(located.model)
        if spec.pooling == "mask" and self.tokens.mask_id is None:
            raise ModelError(f"pooling is mask, and {spec.model} has no mask token: it is for BERT and its kind")
        self._model = loading.load(located, self.spec, precision, chosen, device_map)
        self._positions = loading.max_positions(self._model.config)
        self._forwards: dict[Pooling, Forward] = {}
        self._vocabulary: Vocabulary | None = None
        self._head: Tensor | None = None
        self._device_map = device_map
        self._asking: HFEncoder | None = None
        self.dim = loading.width(self._model.config)
        self._shorter: Dense | None = None
        """Makes a vector shorter."""
        if spec.dimensions is not None:
            kept = projection.load(located.adapter, self.dim, spec.dimensions)
            layer = steady(torch.float32) if chosen.type == "cpu" else Dense  # a row's bits are the same in any batch
            self._shorter = layer(kept.to(chosen), None, None)
            self.dim = spec.dimensions

    def demonstrating(self, demonstrations: Sequence[tuple[str, str]]) -> HFEncoder:
        """Return an encoder with these demonstrations before each text, around the same loaded model.

        In int8 the layers stay scaled for this encoder's own prompts.

        Args:
            demonstrations: Pairs of a sentence and its word; none: the bare prompt.
        """
        other = copy.copy(self)
        other.spec = replace(self.spec, demonstrations=tuple(demonstrations))
        other.stats, other._counting = EncodeStats(), Lock()
        other._counted = {id(forward): forward.tokens for forward in self._forwards.values()}
        other._primed, other._asking = set(), None
        return other

    def encode(self, texts: Sequence[str], role: Role = "passage", normalize: bool = True) -> Vectors:
        """Return (n, d) float32, row i for texts[i]."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        for rows, values in self.encode_batches(texts, role, normalize):
            vectors[rows] = values
        return vectors

    def encode_batches(
        self, texts: Sequence[str], role: Role = "passage", normalize: bool = True
    ) -> Iterator[tuple[Positions, Vectors]]:
        """Yield positions (b,) and vectors (b, d), longest texts first within a window of 8,192."""
        for rows, values in self._of(role)._encoded(texts, role):
            where, which = _copies(rows)
            yield where, self._vectors(values, normalize)[which]

    def encode_terms(
        self, texts: Sequence[str], role: Role = "passage", max_terms: int = MAX_TERMS, normalize: bool = True
    ) -> tuple[Vectors, list[Terms]]:
        """Return vectors (n, d) and each text's terms."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        terms: list[Terms] = [{} for _ in texts]
        for rows, values, weighted in self._term_batches(texts, role, max_terms, normalize):
            vectors[rows] = values
            for row, each in zip(rows, weighted, strict=True):
                terms[row] = each
        return vectors, terms

    def term_batches(
        self, texts: Sequence[str], role: Role = "passage", max_terms: int = MAX_TERMS
    ) -> Iterator[tuple[Positions, Vectors, list[Terms]]]:
        """Yield positions (b,), unit vectors (b, d) and b texts' terms."""
        yield from self._term_batches(texts, role, max_terms, normalize=True)

    def _term_batches(
        self, texts: Sequence[str], role: Role, max_terms: int, normalize: bool
    ) -> Iterator[tuple[Positions, Vectors, list[Terms]]]:
        if self.spec.pooling != "last":
            raise ModelError(
                f"pooling is {self.spec.pooling}; terms come from the state of the last token: use pooling last"
            )
        encoder = self._of(role)
        head, vocabulary = encoder._lm_head(), self._words()
        for rows, values in encoder._encoded(texts, role):
            where, which = _copies(rows)
            own = [texts[positions[0]] for positions in rows]
            weighted = vocabulary.weigh(values, head, own, max_terms, self.spec.max_tokens)
            yield where, self._vectors(values, normalize)[which], [weighted[i] for i in which]

    @property
    def exact(self) -> bool:
        """Whether a text's vector has the same bits alone, in any batch and after any other."""
        return _exact(self._forward(self.spec.pooling))

    def count_tokens(self, texts: Sequence[str]) -> Positions:
        """Return (n,) int64: the tokens of each text alone."""
        return self.tokens.count(texts)

    def texts_of(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each list of token ids."""
        return self.tokens.texts_of(ids)

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the rows of the input embedding for each text's tokens.

        A token's weight is a / (a + p), as in SIF. Vocabularies are numbered by frequency, so that p is taken from
        Zipf's law.

        Source: Arora, Liang and Ma, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", ICLR 2017.
        """
        if not texts:
            return []
        ids = self.tokens.ids(texts)
        model: Any = self._model
        matrix: Tensor = model.get_input_embeddings().weight  # (v, e)
        if matrix.is_meta:  # parts of the model that accelerate loads when they are used
            ids = [[] for _ in texts]
        flat = torch.tensor([i for row in ids for i in row], dtype=torch.long)
        with torch.inference_mode():
            rows = torch.nn.functional.normalize(matrix[flat.to(matrix.device)].float()).cpu().numpy()
        numbers = flat.numpy()
        chance = 1 / (numbers + ZIPF_SHIFT) / np.log(1 + len(matrix) / ZIPF_SHIFT)
        weights = (SIF / (SIF + chance)).astype(np.float32)
        ends = np.cumsum([len(row) for row in ids])[:-1]
        pairs = zip(np.split(rows, ends), np.split(weights, ends), strict=True)
        return [TokenVectors(vectors, weight) for vectors, weight in pairs]

    def terms(
        self, texts: Sequence[str], k: int, role: Role = "passage", states: Vectors | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return the k most likely next tokens after each prompt with their probabilities, best first."""
        encoder = self._of(role)
        head = encoder._lm_head()  # (v, d)
        result: list[list[tuple[str, float]]] = [[] for _ in texts]
        if states is not None and self.spec.pooling == "last" and self._shorter is None:
            given: Iterator[tuple[Rows, Tensor]] = iter([([[i] for i in range(len(texts))], torch.from_numpy(states))])
        else:
            given = encoder._run(texts, PromptTemplate.of(self.spec, role), encoder._forward("last"))
        with torch.inference_mode():
            for rows, hidden in given:
                chances = (hidden.to(head) @ head.T).float().softmax(1)  # (b, v)
                weights, best = chances.topk(min(k, len(head)))
                for positions, ids, values in zip(rows, best.tolist(), weights.tolist(), strict=True):
                    words = [self.tokens.backend.decode([i], skip_special_tokens=False) for i in ids]
                    for position in positions:
                        result[position] = list(zip(words, values, strict=True))
        return result

    def _of(self, role: Role) -> HFEncoder:
        """Return what encodes texts of this role: itself, or for queries a second model with their adapter."""
        if role == "passage" or self.spec.query_adapter is None:
            return self
        with self._making:
            if self._asking is None:
                spec = replace(
                    self.spec,
                    adapter=self.spec.query_adapter,
                    adapter_weights=self.spec.query_adapter_weights,
                    query_adapter=None,
                    query_adapter_weights=None,
                    dimensions=None,  # its vectors are made shorter here, in the way of passages
                )
                asking = HFEncoder(
                    spec, device=self.device, batch_tokens=self.batch_tokens, device_map=self._device_map,
                    workers=self.workers,
                )  # fmt: skip
                asking.stats, asking._counting = self.stats, self._counting
                self._asking = asking
            return self._asking

    def _vectors(self, values: Tensor, normalize: bool) -> Vectors:
        """Return (b, n) float32, n the numbers that are kept of d."""
        vectors = values.float()
        if self._shorter is not None:
            vectors = self._shorter(vectors.to(self.device))  # with a device_map they come from the last device
        found: Vectors = (torch.nn.functional.normalize(vectors, dim=1) if normalize else vectors).cpu().numpy()
        return found

    def _encoded(self, texts: Sequence[str], role: Role) -> Iterator[tuple[Rows, Tensor]]:
        """Yield as ``_run`` does, with the role's prompt and the spec's pooling."""
        template, forward = PromptTemplate.of(self.spec, role), self._forward(self.spec.pooling)
        if (
            self.stats.texts
            and role not in self._primed
            and isinstance(forward, LastTokenForward)
            and not _exact(forward)
        ):
            # Batches keep their shared prefix by themselves; single queries, one after another, have it kept here.
            self._primed.add(role)
            with self._running:
                forward.prime(self._shared(template))
        yield from self._run(texts, template, forward)

    def _forward(self, pooling: Pooling) -> Forward:
        """Return the fastest way there is for this model.

        The first call, for the spec's own pooling, decides on int8.
        """
        with self._making:
            if pooling not in self._forwards:
                self._forwards[pooling] = self._make_forward(pooling)
            return self._forwards[pooling]

    def _make_forward(self, pooling: Pooling) -> Forward:
        int8 = self.spec.precision == "int8" and self.device == "cpu"  # on a GPU the weights came quantised
        if pooling == "last":
            # Its own layout of the weights replaces the model's, unless other poolings need that too.
            template = PromptTemplate.of(self.spec)
            sample = self.tokens.prompts(template, SAMPLE, self.spec.max_tokens, self._positions).ids if int8 else ()
            made = fast_forward(self._model, int8=int8, sample=sample, release=self.spec.pooling == "last")
            if made is not None:
                return made
        else:
            packed = None if int8 else both_ways(self._model, pooling)
            if packed is not None:
                return packed
        return PlainForward(quantise.dynamic(self._model) if int8 else self._model, pooling, self.tokens)

    def _lm_head(self) -> Tensor:
        """Return (v, d), read once."""
        with self._making:
            if self._head is None:
                self._head = loading.lm_head(self._located, self._model)
            return self._head

    def _words(self) -> Vocabulary:
        with self._making:
            if self._vocabulary is None:
                self._vocabulary = Vocabulary(self.tokens.backend)
            return self._vocabulary

    def _shared(self, template: PromptTemplate) -> list[int]:
        """Return the tokens that the prompts of any two texts begin with."""
        ids = self.tokens.prompts(template, ["a", "Z", "0", "("], self.spec.max_tokens).ids
        return ids[0][: shared_prefix(ids)]

    def _compute(self, forward: Forward, ids: list[list[int]], prefix: Prefix = None) -> Tensor:
        """Run one batch, in halves where it does not fit into the GPU's memory."""
        try:
            with self._running:
                if isinstance(forward, LastTokenForward):
                    return forward.run(ids, forward.plan(ids, prefix=prefix))
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
        return torch.cat([self._compute(forward, each, prefix) for each in (ids[:half], ids[half:])])

    def _run(self, texts: Sequence[str], template: PromptTemplate, forward: Forward) -> Iterator[tuple[Rows, Tensor]]:
        """Run each distinct text once: yield rows and (b, d), longest texts first within a window."""
        for window in self._windows(texts, template):
            self._count(truncated=window.truncated)
            work = [
                _Batch(rows, [window.ids[i] for i in rows], prefix)
                for prefix, shared, alike in self._alike(window.ids, template, forward)
                for rows in _rows(
                    alike, batches([max(1, len(window.ids[i]) - shared) for i in alike], self.batch_tokens)
                )
            ]
            for rows, vectors in self._batches(forward, self._shared_out(forward, work)):
                self._count(forward, texts=sum(len(window.positions[i]) for i in rows))
                yield [window.positions[i] for i in rows], vectors

    def _alike(
        self, ids: Sequence[list[int]], template: PromptTemplate, forward: Forward
    ) -> list[tuple[Prefix, int, list[int]]]:
        """Return (the prefix to run apart, the length of what is run once and fills no batch, rows).

        An exact forward uses the template's prefix wherever it can, also for a single text.
        """
        every = list(range(len(ids)))
        if not isinstance(forward, LastTokenForward):
            return [(None, 0, every)]
        if not forward.exact:
            return [(None, shared_prefix(ids) if len(ids) > 1 else 0, every)]
        prefix = self._prefixes.get(template)
        if prefix is None:
            prefix = self._prefixes.setdefault(template, tuple(self._shared(template)))
        size = len(prefix)
        with_it = [i for i in every if len(ids[i]) > size and tuple(ids[i][:size]) == prefix]
        bare = sorted(set(every) - set(with_it))  # their first token swallowed the template's last
        return [each for each in ((prefix, size, with_it), ((), 0, bare)) if each[2]]

    def _shared_out(self, forward: Forward, work: list[_Batch]) -> list[_Batch]:
        """Return few batches as equal shares, so many for each worker: none waits for a larger one or after a product.

        Only where no vector depends on its batch.
        """
        few = self.workers * FEW_BATCHES
        if self.device != "cpu" or self.workers < 2 or not 0 < len(work) <= few or not _exact(forward):
            return work
        rows = [row for each in work for row in each.rows]
        ids = [prompt for each in work for prompt in each.ids]
        shares = self.workers * -(-len(work) // self.workers)
        shares = min(shares, len(rows), sum(map(len, ids)) // WORKER_TOKENS)
        if shares < max(2, len(work)) or len({each.prefix for each in work}) > 1:
            return work
        return [_Batch(rows[i::shares], ids[i::shares], work[0].prefix) for i in range(shares)]

    def _batches(self, forward: Forward, work: Sequence[_Batch]) -> Iterator[tuple[list[int], Tensor]]:
        """Run batches, side by side where there are several and the CPU runs them."""
        if self.device != "cpu" or len(work) < 2 or not runs_beside_itself(forward):
            for each in work:
                yield each.rows, self._compute(forward, each.ids, each.prefix)
            return
        team = pool.workers(self.workers)

        def tasks() -> Iterator[tuple[list[int], Callable[[], Tensor]]]:
            for rows, ids, prefix in work:
                if isinstance(forward, LastTokenForward):
                    yield rows, partial(forward.run, ids, forward.plan(ids, team.call, prefix))
                else:
                    yield rows, partial(forward, ids)

        yield from team.map(tasks())

    def _windows(self, texts: Sequence[str], template: PromptTemplate) -> Iterator[_Window]:
        """Yield the distinct texts, tokenised; one window is tokenised while the one before it is encoded."""
        where: dict[str, list[int]] = {}
        for position, text in enumerate(texts):
            where.setdefault(text, []).append(position)
        distinct = list(where)
        windows = [distinct[i : i + WINDOW] for i in range(0, len(distinct), WINDOW)]

        def tokenise(window: list[str]) -> _Window:
            prompts = self.tokens.prompts(template, window, self.spec.max_tokens, self._positions)
            return _Window(prompts.ids, [where[text] for text in window], prompts.truncated)

        if len(windows) < 2:
            yield from map(tokenise, windows)
            return
        with ThreadPoolExecutor(1) as ahead:  # the tokenizer lets other threads run
            coming = ahead.submit(tokenise, windows[0])
            for following in windows[1:]:
                window, coming = coming.result(), ahead.submit(tokenise, following)
                yield window
            yield coming.result()

    def _count(self, forward: Forward | None = None, *, texts: int = 0, truncated: int = 0) -> None:
        """Add to ``stats``, with the tokens that the forward has run since it was last asked."""
        with self._counting:
            self.stats.texts += texts
            self.stats.truncated += truncated
            if forward is not None:
                total = forward.tokens
                self.stats.tokens += total - self._counted.get(id(forward), 0)
                self._counted[id(forward)] = total


def _exact(forward: Forward) -> bool:
    return isinstance(forward, LastTokenForward | BothWaysForward) and forward.exact


def runs_beside_itself(forward: Forward) -> bool:
    """Return whether several threads may run a forward at once."""
    return isinstance(forward, LastTokenForward | BothWaysForward) or (
        isinstance(forward, PlainForward) and forward.concurrent
    )


def _rows(of: list[int], places: Iterator[list[int]]) -> Iterator[list[int]]:
    """Yield what stands in ``of`` at each list of places."""
    for each in places:
        yield [of[place] for place in each]


def _copies(rows: Rows) -> Positions:
    """Return (2, n): the position of each text, and its row in the batch."""
    return np.array([(position, i) for i, positions in enumerate(rows) for position in positions], np.int64).T


def shared_prefix(ids: Sequence[list[int]]) -> int:
    """Return how many tokens all sequences begin with."""
    low, high = min(ids), max(ids)  # what the extremes of an ordering share, all share
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield rows by falling length, as many at once as their padded size stays within ``budget``; at least one."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
