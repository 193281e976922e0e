"""Recipe: everything that decides a training run, as a frozen value and as a TOML file."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping  # noqa: TC003 - the annotations are read when a recipe is
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from indexer.embedding.spec import EncoderSpec
from indexer.errors import ConfigError
from semsearch.training import toml_values

SourceKind = Literal["triplets", "pairs", "nli", "sentences"]
DevKind = Literal["sts", "pairs", "triplets"]
Base = Literal["auto", "fp32", "bf16", "nf4"]
Schedule = Literal["linear", "constant"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file, or hub data set, of training rows."""

    path: str
    """Relative to the data folder, or absolute, or ``hub:OWNER/NAME`` (``hub:OWNER/NAME/CONFIG:split``), or pairs of
    the collection that is trained for: ``collection:judgements``, ``:titles``, ``:sentences``, ``:neighbours``."""
    kind: SourceKind = "triplets"
    """triplets: anchor, positive, negative; pairs: two texts, with negatives where the file has them; nli: labelled
    pairs (SNLI, MNLI, SciTail), made into triplets; sentences: one text, its own positive under another dropout."""
    weight: float | None = None
    """Share of the batches, relative to the other sources; None: its number of rows."""
    include: tuple[str, ...] = ()
    """Only rows whose column ``source`` is made of these names (``a+b`` needs both)."""
    exclude: tuple[str, ...] = ()
    """No rows whose column ``source`` has one of these names."""
    limit: int | None = None
    """At most so many rows, drawn at random."""
    max_words: int | None = None
    """Texts are cut after so many words, for the model and its teacher alike; None: they stay whole."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column (anchor, positive, negative, premise, hypothesis, label, source) → the file's."""
    negatives: tuple[str, ...] = ("contradiction",)
    """nli: labels whose hypothesis is a hard negative."""
    positives_only: bool = False
    """nli: make pairs of the entailed hypotheses, without hard negatives."""
    symmetric: bool = False
    """Add the loss of finding the anchor from the positive."""
    query: bool = False
    """Anchors get the encoder's query template."""
    contrast: bool = True
    """Whether the contrastive loss learns from the rows; if not, they say with [distill] which texts share a batch."""
    mine: bool = False
    """Rows without a hard negative get one, as [mine] says."""
    alike: bool = False
    """Batches are of rows that share words: there is more to tell apart than among rows drawn at random."""


@dataclass(frozen=True, kw_only=True)
class Dev:
    """A set that chooses the checkpoint."""

    path: str
    kind: DevKind = "sts"
    """sts: Spearman's correlation with people's scores; pairs: mean reciprocal rank of each query's positive among
    all positives; triplets: how often the positive is nearer than the negative. Times 100."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    weight: float = 1.0
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Lora:
    """The adapter that is trained, and the model under it."""

    rank: int = 32
    alpha: float = 64
    dropout: float = 0.0
    base: Base = "auto"
    """Precision of the base weights; auto: bf16 where the machine has it, else fp32."""
    init: str | None = None
    """An adapter to go on from: a shipped one's name, or a folder; ``rank`` and ``alpha`` are its own, or the same
    multiple of both: what is more begins as in a fresh adapter."""
    base_dropout: bool = False
    """Train with the dropout that the base model's own configuration asks for (OPT: 0.1)."""

    @property
    def random(self) -> bool:
        """Whether a text that comes twice has two vectors, by dropout of any kind."""
        return self.dropout > 0 or self.base_dropout


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a batch's rows teach."""

    temperature: float = 0.05
    contrastive: float = 1.0
    """Weight of the contrastive loss; 0 with [distill]: rows only say which texts share a batch."""
    margin: float | None = None
    """An in-batch candidate nearer to the anchor than its positive by more than this is masked; None: none is."""
    teacher: str | None = None
    """An encoder to learn from, by any name that ``encoders.named`` knows: a preset, an adapter, a model …"""
    distil: Literal["scores", "vectors"] = "scores"
    distil_weight: float = 1.0
    distil_temperature: float = 0.05
    guide: bool = False
    """False negatives are found with the teacher's similarities instead of the model's own."""


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Learn every text of a batch from ``loss.teacher``, beside the losses of [loss] or in place of them."""

    scores: float = 1.0
    """Weight of the divergence between the teacher's and the model's similarities of all the batch's texts."""
    others: float = 0.0
    """Weight of the same divergence without the texts of the own row, which else take nearly all of the teacher's view:
    it says how near texts are that do not belong together."""
    temperature: float = 0.05
    """Of the similarities."""
    vectors: float = 1.0
    """Weight of 1 - cosine between the teacher's vector and the model's after a linear map, which is trained along
    and is no part of the result."""
    map_lr: float = 2e-3
    """Learning rate of the map."""
    map_alone: int = 20
    """In so many first steps the map learns from the vectors and the model does not: a random map says nothing."""
    dimensions: tuple[int, ...] = ()
    """Sizes to which vectors may later be cut: the similarities of cut vectors are learned too, and all sizes together
    count as much as the whole vector (Kusupati et al. 2022, "Matryoshka Representation Learning")."""


@dataclass(frozen=True, kw_only=True)
class Mine:
    """Hard negatives for sources with ``mine``: near positives of other rows that are not too near."""

    encoder: str | None = None
    """The encoder that finds them, by any name that ``encoders.named`` knows."""
    ceiling: float = 0.95
    """One nearer than this share of the own positive's cosine is taken for another answer and left out."""
    skip: int = 0
    """Leave out so many of the nearest that remain."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """How long, how fast and in what portions."""

    batch: int = 128
    """Rows (anchors) a step, over all processes."""
    epochs: float = 1.0
    steps: int | None = None
    """Steps in all; None: what ``epochs`` over the rows of all sources come to."""
    planned: int | None = None
    """Batches of the plan of which ``steps`` are read, for the plan of more batches begins with others; None: as many
    as are read."""
    first: int = 0
    """The batch of the plan that is read first: those before it were an earlier run's."""
    lr: float = 4e-4
    warmup: int = 10
    """Steps of linear growth of the learning rate, before ``schedule``."""
    schedule: Schedule = "linear"
    """linear: falls to zero at the last step; constant: stays, for runs whose end is open (use ``average``)."""
    average: float = 0.0
    """Decay a step of an exponential moving average of the adapter, which is then what is judged and kept;
    0: the adapter itself is."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient; 0: not clipped."""
    max_tokens: int = 64
    """Tokens of a text in training; more are cut. The encoder's own limit is another."""
    normalise: bool | None = None
    """Text normalisation in training; None: the encoder's."""
    micro_tokens: int = 2048
    """Tokens of one micro-batch."""
    keep_tokens: int = 12_000
    """Tokens a step whose activations stay in memory; the rest is computed twice (gradient caching)."""
    checkpointing: bool = False
    """Recompute each block's activations: for models whose single micro-batch does not fit."""
    check_every: int = 50
    """Steps between checkpoints, each judged on the dev sets."""
    save_every: int = 10
    """Steps between states to resume from."""
    patience: int | None = None
    """Stop after so many checkpoints without a better score; None: never."""
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Clean:
    """What is removed from the training rows."""

    evaluation: tuple[str, ...] = ()
    """Files or folders (of the data folder) whose lines, split at tabs, hold evaluation sentences."""
    near: float = 0.8
    """A row goes if a text's words overlap an evaluation sentence's by this share (Jaccard); 0: equal ones only."""
    duplicates: bool = True


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a training run."""

    name: str
    description: str = ""
    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    lora: Lora = field(default_factory=Lora)
    loss: Loss = field(default_factory=Loss)
    distill: Distill | None = None
    train: Train = field(default_factory=Train)
    clean: Clean = field(default_factory=Clean)
    mine: Mine = field(default_factory=Mine)
    sources: tuple[Source, ...] = ()
    dev: tuple[Dev, ...] = ()

    def __post_init__(self) -> None:
        """Check the values, those that depend on each other too."""
        if not self.sources:
            raise ConfigError(f"recipe {self.name} has no [[sources]]; name at least one file of training rows")
        for value, name, low, high in (
            (self.lora.rank, "lora.rank", 1, 4096),
            (self.lora.dropout, "lora.dropout", 0, 0.99),
            (self.loss.temperature, "loss.temperature", 1e-4, 10),
            (self.loss.distil_temperature, "loss.distil_temperature", 1e-4, 10),
            (self.loss.contrastive, "loss.contrastive", 0, 1e6),
            (self.train.average, "train.average", 0, 0.99999),
            (self.train.batch, "train.batch", 2, 2**20),
            (self.train.epochs, "train.epochs", 1e-6, 1e6),
            (self.train.lr, "train.lr", 0, 10),
            (self.train.first, "train.first", 0, 2**31),
            (self.train.warmup, "train.warmup", 0, 2**31),
            (self.train.max_tokens, "train.max_tokens", 1, 2**20),
            (self.train.micro_tokens, "train.micro_tokens", 1, 2**31),
            (self.train.keep_tokens, "train.keep_tokens", 0, 2**40),
            (self.train.clip, "train.clip", 0, 1e9),
            (self.clean.near, "clean.near", 0, 1),
            (self.mine.ceiling, "mine.ceiling", 0, 1),
            (self.mine.skip, "mine.skip", 0, 2**20),
            (self.train.save_every, "train.save_every", 1, 2**31),
            (self.train.check_every, "train.check_every", 1, 2**31),
        ):
            if not low <= value <= high:
                raise ConfigError(f"recipe {self.name}: {name} is {value!r}; it is from {low} to {high}")
        if self.train.steps is not None and self.train.steps < 1:
            raise ConfigError(f"recipe {self.name}: train.steps is {self.train.steps}; it is 1 or more, or left out")
        last = self.train.first + (self.train.steps or 1)
        if self.train.planned is not None and self.train.planned < last:
            raise ConfigError(
                f"recipe {self.name}: train.planned is {self.train.planned}, and {last} batches of the plan are to be "
                "read or passed over; plan as many or more"
            )
        if self.encoder.adapter is not None:
            raise ConfigError(f"recipe {self.name}: encoder.adapter is what the training makes; leave it out")
        if self.encoder.pooling not in ("last", "mean", "cls"):
            raise ConfigError(
                f"recipe {self.name}: pooling {self.encoder.pooling} cannot be trained; last, mean and cls can"
            )
        if not self.lora.random and any(source.kind == "sentences" for source in self.sources):
            raise ConfigError(
                f"recipe {self.name}: a source of sentences needs dropout to tell a sentence's two views apart; "
                "set lora.dropout"
            )
        if self.mine.encoder is None and any(source.mine for source in self.sources):
            raise ConfigError(f"recipe {self.name}: a source has mine = true; name what finds negatives, mine.encoder")
        if self.loss.guide and self.loss.teacher is None:
            raise ConfigError(f"recipe {self.name}: loss.guide needs loss.teacher")
        self._check_distill()

    def _check_distill(self) -> None:
        """Check [distill] and what depends on it."""
        rules = self.distill
        if rules is None:
            if self.loss.contrastive == 0 and not (self.loss.teacher and self.loss.distil_weight):
                raise ConfigError(
                    f"recipe {self.name}: loss.contrastive is 0 and nothing else is learned; add [distill]"
                )
            return
        if self.loss.teacher is None:
            raise ConfigError(f"recipe {self.name}: [distill] needs loss.teacher, the encoder to learn from")
        for value, name, low, high in (
            (rules.scores, "scores", 0, 1e6),
            (rules.others, "others", 0, 1e6),
            (rules.temperature, "temperature", 1e-4, 10),
            (rules.vectors, "vectors", 0, 1e6),
            (rules.map_lr, "map_lr", 0, 10),
            (rules.map_alone, "map_alone", 0, 2**31),
        ):
            if not low <= value <= high:
                raise ConfigError(f"recipe {self.name}: distill.{name} is {value!r}; it is from {low} to {high}")
        if rules.scores == 0 and rules.others == 0 and rules.vectors == 0:
            raise ConfigError(
                f"recipe {self.name}: [distill] with scores, others and vectors 0 learns nothing; leave it out"
            )
        if any(size < 1 for size in rules.dimensions):
            raise ConfigError(f"recipe {self.name}: distill.dimensions is {rules.dimensions}; sizes are 1 or more")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what decides the run: everything but the name and the description."""
        values = self.to_dict()
        del values["name"]
        values.pop("description", None)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form, without the fields that stand at their defaults."""
        return _json(toml_values.plain(self))

    def to_toml(self) -> str:
        """Return the TOML of every field that has a value; defaults too, with which a run's record must not change."""
        values = _json(toml_values.plain(self, whole=True))
        lines = [f"{key} = {toml_values.toml(value)}" for key, value in values.items() if isinstance(value, str)]
        for key, value in values.items():
            found = value if isinstance(value, list) else [value] if isinstance(value, dict) else []
            mark = f"[[{key}]]" if isinstance(value, list) else f"[{key}]"
            for table in found:
                lines += ["", mark, *(f"{name} = {toml_values.toml(content)}" for name, content in table.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str) -> Recipe:
        """Return the recipe of a table.

        Raises:
            ConfigError: The table, which is from ``origin``, has what a recipe does not have.
        """
        values = dict(values)
        encoder = values.pop("encoder", {})
        if not isinstance(encoder, dict):
            raise ConfigError(f"{origin}: encoder is a table of an encoder's fields")
        if "encoder" not in values:
            values["encoder"] = EncoderSpec.from_dict(encoder, f"{origin}, [encoder]")
        return toml_values.build(cls, values, origin)

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe's TOML file, and the one that it extends.

        Raises:
            ConfigError: One of them cannot be read, or has what a recipe does not have.
        """
        return cls.from_dict(_extended(path), str(path))

    @classmethod
    def preset(cls, name: str) -> Recipe:
        """Return a recipe that comes with the package.

        Raises:
            ConfigError: There is none of this name.
        """
        return cls.from_dict(_extended(_preset(name)), f"preset {name}")

    def with_train(self, **changes: Any) -> Recipe:
        """Return the same recipe with other values in [train]; None leaves one as it is."""
        return replace(self, train=replace(self.train, **{k: v for k, v in changes.items() if v is not None}))


def presets() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.name.removesuffix(".toml") for path in _presets().iterdir() if path.name.endswith(".toml"))


def _presets() -> Path:
    """Return the folder of the recipes that come with the package."""
    return Path(__file__).parent / "presets"


def _preset(name: str) -> Path:
    """Return the file of a recipe that comes with the package.

    Raises:
        ConfigError: There is none of this name.
    """
    file = _presets() / f"{name}.toml"
    if not file.is_file():
        raise ConfigError(f"no recipe {name!r}; presets are {', '.join(presets())}, or give a TOML file")
    return file


def _extended(path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a recipe's table, with what it does not say taken from the recipe that it extends.

    Args:
        path: The TOML file.
        extending: The files that extend this one, to find a circle.

    Raises:
        ConfigError: The file or one that it extends cannot be read, or they extend each other.
    """
    values = _table(path)
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends is {base!r}; it is a preset's name or the path of a TOML file")
    below = path.parent / base if base.endswith(".toml") else _preset(base)
    extending = (*extending, path.resolve())
    if below.resolve() in extending:
        raise ConfigError(f"{path}: extends {base}, which extends this one; leave one of the two out")
    return _over(_extended(below, extending), values)


def _table(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"the recipe {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the recipe {path} is not TOML: {error}") from error


def _over(below: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return ``below`` with ``values`` in their places: tables field by field, all else whole."""
    merged = below | values
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            merged[name] = _over(below[name], value)
    return merged


def _json(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values as JSON has them: lists for tuples."""
    found: dict[str, Any] = json.loads(json.dumps(values))
    return found
