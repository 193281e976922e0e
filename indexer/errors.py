"""Every exception that semsearch raises on purpose.

    SemsearchError            exit 2   root: catch this one to catch them all
    ├── UsageError            exit 2   an argument that cannot be meant: empty query, k = 0, unknown mode
    ├── ConfigError           exit 2   a settings, spec, recipe or preset file that does not fit
    ├── ModelError            exit 2   a model, adapter or tokenizer that cannot be found or loaded
    │   └── PrecisionError    exit 2   a precision or device that this machine cannot do
    ├── MismatchError         exit 3   the index was made by another encoder than the one asked for
    ├── ReadError             exit 4   one file that cannot be read: recorded as its status, never ends a run
    │   └── NothingToRead              an empty file and the like: skipped with the reason, not failed
    │       └── MissingExtra           a library that this kind of file needs is not installed
    ├── StoreError            exit 2   the collection on disk
    │   ├── CollectionNotFound         nothing is indexed under that name
    │   ├── LockedError                another process is writing
    │   ├── CorruptError               disk, database and index disagree: `semsearch doctor`
    │   └── FormatError                written by a newer version
    ├── ClusterError          exit 2   machines that share a run: Ray that is not installed, not reached, or fails
    ├── DataError             exit 2   evaluation or training data that is missing or malformed
    ├── TrainingError         exit 2   a run that cannot go on (NaN loss, missing gradients)
    └── GateFailed            exit 5   quality dropped

Exit codes of the command line: 0 fine, 1 no match (or `doctor` found something), 2 any other error,
3 index and model disagree, 4 some files failed, 5 quality gate failed, 130 interrupted.

A message says what was seen, what is allowed and what to do next. Errors of other libraries are translated
where they are called, with ``raise … from error``.
"""


class SemsearchError(Exception):
    """Anything that semsearch raises on purpose."""

    exit_code = 2

    @property
    def kind(self) -> str:
        """The class name: the stable identifier in machine-readable errors."""
        return type(self).__name__


class UsageError(SemsearchError):
    """An argument that cannot be meant."""


class ConfigError(SemsearchError):
    """A settings, spec, recipe or preset file that does not fit."""


class ModelError(SemsearchError):
    """A model, adapter or tokenizer that cannot be found or loaded."""


class PrecisionError(ModelError):
    """A precision or device that this machine cannot do."""


class MismatchError(SemsearchError):
    """The index was made by another encoder than the one asked for."""

    exit_code = 3


class ReadError(SemsearchError):
    """A file that cannot be read."""

    exit_code = 4


class NothingToRead(ReadError):  # noqa: N818 - reads as what happened
    """A file that is well and holds nothing to search: it is skipped with this reason, not failed."""


class MissingExtra(NothingToRead):
    """A file whose kind needs a library that is not installed: the message names the command that installs it."""


class StoreError(SemsearchError):
    """A collection that cannot be used as asked."""


class CollectionNotFound(StoreError):  # noqa: N818 - reads as what happened
    """Nothing is indexed under that name."""


class LockedError(StoreError):
    """Another process is writing."""


class CorruptError(StoreError):
    """Parts of a collection disagree."""


class FormatError(StoreError):
    """A newer version wrote the collection."""


class ClusterError(SemsearchError):
    """Machines that share the work of a run and cannot be had, or fail."""


class DataError(SemsearchError):
    """Evaluation or training data that are missing or malformed."""


class TrainingError(SemsearchError):
    """A training run that cannot go on."""


class GateFailed(SemsearchError):  # noqa: N818
    """Quality dropped."""

    exit_code = 5
