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
    ├── DataError             exit 2   evaluation or training data that is missing or malformed
    ├── TrainingError         exit 2   a run that cannot go on (NaN loss, missing gradients)
    └── GateFailed            exit 5   quality dropped

Exit codes of the command line: 0 fine, 1 no match (or `doctor` found something), 2 any other error,
3 index and model disagree, 4 some files failed, 5 quality gate failed, 130 interrupted.

A message says what was seen, what is allowed and what to do next. Errors of other libraries are translated
where they are called, with ``raise … from error``.
"""


class SemsearchError(Exception):
    exit_code = 2

    @property
    def kind(self) -> str:
        """The class name: the stable identifier in machine-readable errors."""
        return type(self).__name__


class UsageError(SemsearchError):
    pass


class ConfigError(SemsearchError):
    pass


class ModelError(SemsearchError):
    pass


class PrecisionError(ModelError):
    pass


class MismatchError(SemsearchError):
    exit_code = 3


class ReadError(SemsearchError):
    exit_code = 4


class NothingToRead(ReadError):  # noqa: N818 - reads as what happened
    """A file that is well and holds nothing to search: it is skipped with this reason, not failed."""


class MissingExtra(NothingToRead):
    """A file whose kind needs a library that is not installed: the message has the command; the next run tries again."""


class StoreError(SemsearchError):
    pass


class CollectionNotFound(StoreError):  # noqa: N818 - reads as what happened
    pass


class LockedError(StoreError):
    pass


class CorruptError(StoreError):
    pass


class FormatError(StoreError):
    pass


class DataError(SemsearchError):
    pass


class TrainingError(SemsearchError):
    pass


class GateFailed(SemsearchError):  # noqa: N818
    exit_code = 5
