"""Look for the demonstration (sentence, word) that makes an untrained model's vectors best.

Jiang et al. (2023), Section 3.3 and Figure 3: each candidate is judged alone, on STS-B dev.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from indexer import embedding
from indexer.embedding.prompts import presets
from indexer.errors import ConfigError, DataError, UsageError
from semsearch.evaluation.metrics import cosine, spearman
from semsearch.evaluation.sentences import senteval_files
from semsearch.evaluation.sentences.task_data import find_downstream
from semsearch.training.data.clean import evaluation_texts, key, near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from semsearch.evaluation.sentences.senteval_files import Items

TEST_FOLDERS = ("STS", "SICK")
"""Folders of evaluation sentences that a demonstration must not come from; STS-B train, the source of candidates, is
left out of them."""
NEAR = 0.8
"""Share of the words (Jaccard) from which on a demonstration repeats an evaluation sentence."""


@dataclass(frozen=True)
class Candidate:
    """A demonstration that may be taken."""

    sentence: str
    word: str
    origin: str
    """"model": the word is the model's own next token; "dictionary": the sentence defines the word."""


@dataclass(frozen=True)
class JudgedCandidate:
    """A demonstration and how good it is."""

    candidate: Candidate
    score: float
    """Spearman's correlation on STS-B dev, times 100."""
    contaminated: str | None
    """The evaluation sentence that the demonstration's equals, or nearly so; None: none."""


@dataclass(frozen=True)
class Ranking:
    """All candidates, best first, against no demonstration."""

    baseline: float
    judged: tuple[JudgedCandidate, ...]

    @property
    def harmful(self) -> float:
        """Share of candidates that score below the baseline."""
        return float(np.mean([entry.score < self.baseline for entry in self.judged]))

    @property
    def winner(self) -> JudgedCandidate | None:
        """The best candidate that is not contaminated and better than none."""
        clean = [entry for entry in self.judged if entry.contaminated is None and entry.score > self.baseline]
        return clean[0] if clean else None

    def histogram(self, bins: int = 12, width: int = 40) -> str:
        """Return the distribution of scores as text, one line a bin; ``|`` marks the bin of the baseline."""
        scores = np.array([entry.score for entry in self.judged])
        counts, edges = np.histogram(scores, bins=bins, range=(min(scores.min(), self.baseline),
                                                               max(scores.max(), self.baseline) + 1e-9))  # fmt: skip
        lines = []
        for count, low, high in zip(counts, edges, edges[1:], strict=False):
            mark = "|" if low <= self.baseline < high else " "
            lines.append(f"{low:6.2f} – {high:6.2f} {mark} {'█' * round(width * count / max(counts))} {count}")
        return "\n".join(lines)


def own_words(encoder: Encoder, sentences: Sequence[str], count: int, seed: int = 0) -> list[Candidate]:
    """Return candidates from sentences drawn at random, each with the model's most likely next token that is a word.

    A token may be the beginning of a word alone ("Breat"): one is a word where some sentence has it.
    """
    random = np.random.default_rng(seed)
    distinct = list(dict.fromkeys(sentences))
    words = set(re.findall(r"[^\W\d_]{3,}", " ".join(distinct).lower()))
    drawn = [distinct[i] for i in random.permutation(len(distinct))[: 2 * count]]  # some have no word
    found = []
    for sentence, terms in zip(drawn, encoder.terms(drawn, 10), strict=True):
        word = next((token.strip() for token, _ in terms if token.strip().lower() in words), None)
        if word is not None:
            found.append(Candidate(sentence, word[0].upper() + word[1:], "model"))
    return found[:count]


def definitions(path: Path, count: int, seed: int = 0) -> list[Candidate]:
    """Return candidates from a dictionary, drawn at random.

    Args:
        path: Lines of ``word<TAB>definition``.
        count: At most so many.
        seed: Of the draw.

    Raises:
        DataError: The file cannot be read or has another form.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the dictionary {path} cannot be read: {error}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        word, tab, definition = line.partition("\t")
        if not tab or not word.strip() or not definition.strip():
            raise DataError(f"{path}, line {number}: {line[:60]!r}; a line is a word, a tab and its definition")
        word = word.strip()
        entries.append(Candidate(definition.strip(), word[0].upper() + word[1:], "dictionary"))
    random = np.random.default_rng(seed)
    return [entries[i] for i in random.permutation(len(entries))[:count]]


def contaminated(candidates: Sequence[Candidate], data: Path) -> dict[str, str]:
    """Return, for each candidate's sentence that repeats one of the STS tasks or SICK, that evaluation sentence.

    STS-B train, the source of candidates, is left out.

    Raises:
        DataError: The folder holds no evaluation data.
    """
    folder = find_downstream(data)
    if folder is None:
        raise DataError(f"{data} holds no evaluation data in SentEval's layout; {senteval_files.HOW_TO_FETCH}")
    files = [path for name in TEST_FOLDERS for path in (folder / name).rglob("*")]
    texts = list(evaluation_texts(f for f in files if f.is_file() and "train" not in f.name))
    exact = {key(text): text for text in texts}
    found = near([candidate.sentence for candidate in candidates], texts, NEAR)
    for candidate in candidates:
        if key(candidate.sentence) in exact:
            found[candidate.sentence] = exact[key(candidate.sentence)]
    return found


def sts_b(data: Path, split: str) -> Items:
    """Return the pairs of one split of STS-B.

    Raises:
        DataError: The folder holds no evaluation data.
    """
    folder = find_downstream(data)
    if folder is None:
        raise DataError(f"{data} holds no evaluation data in SentEval's layout; {senteval_files.HOW_TO_FETCH}")
    return senteval_files.sts_benchmark(folder / "STS" / "STSBenchmark", (f"sts-{split}.csv",))


def search(
    spec: EncoderSpec,
    candidates: Sequence[Candidate],
    pairs: Items,
    data: Path,
    log: Path,
    *,
    open_encoder: Callable[[EncoderSpec], Encoder] = embedding.open_encoder,
    progress: Callable[[str, float], None] | None = None,
) -> Ranking:
    """Judge every candidate.

    Args:
        spec: The rest of the encoder.
        candidates: The demonstrations.
        pairs: What they are judged on.
        data: The folder of the evaluation data that a demonstration must not repeat.
        log: A file of JSON lines; figures that it has already are taken from it.
        open_encoder: Loads an encoder.
        progress: Called with the name of what is done and the share that is done.

    Raises:
        UsageError: The encoder has demonstrations already, or there are no candidates.
        ConfigError: ``log`` belongs to another encoder or other pairs.
    """
    if spec.demonstrations:
        raise UsageError("the encoder has demonstrations already; search from one that has none")
    if not candidates:
        raise UsageError("there are no candidates; raise --candidates or give a --dictionary with entries")
    spec = embedding.resolve(spec)
    mark = {"encoder": spec.fingerprint, "precision": spec.precision, "pairs": pairs.digest}
    known = dict(_known(log, mark))
    repeats = contaminated(candidates, data)
    tested: list[Candidate | None] = [None, *candidates]
    with log.open("a", encoding="utf-8") as file:
        for number, candidate in enumerate(tested):
            name = _name(candidate)
            if name not in known:
                shots = () if candidate is None else ((candidate.sentence, candidate.word),)
                vectors = open_encoder(replace(spec, demonstrations=shots)).encode(pairs.texts)
                value = spearman(cosine(vectors[: len(pairs)], vectors[len(pairs) :]), pairs.gold)
                known[name] = 100 * (value or 0.0)
                entry = {**mark, "candidate": None if candidate is None else asdict(candidate), "score": known[name]}
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                file.flush()
            if progress is not None:
                progress("candidates", (number + 1) / len(tested))
    judged = [JudgedCandidate(c, known[_name(c)], repeats.get(c.sentence)) for c in dict.fromkeys(candidates)]
    return Ranking(known[_name(None)], tuple(sorted(judged, key=lambda entry: -entry.score)))


def save(spec: EncoderSpec, judged: JudgedCandidate, path: Path) -> None:
    """Write the encoder with a demonstration as a preset file (.toml or .json)."""
    shot = (judged.candidate.sentence, judged.candidate.word)
    presets.save_file(replace(spec, demonstrations=(shot,)), path)


def _known(log: Path, mark: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    """Yield the figures that a log has: (name, score)."""
    for line in log.read_text("utf-8").splitlines() if log.is_file() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # cut off by a kill
            continue
        if {name: entry.get(name) for name in mark} != mark:
            raise ConfigError(f"{log} belongs to another encoder or other pairs; name another log")
        found = entry["candidate"]
        yield _name(None if found is None else Candidate(**found)), entry["score"]


def _name(candidate: Candidate | None) -> str:
    """Return what stands for a candidate in the log; None: no demonstration."""
    return "" if candidate is None else f"{candidate.sentence}\t{candidate.word}"
