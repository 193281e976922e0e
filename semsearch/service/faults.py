"""Errors as the server answers them: one JSON shape with the command line's message, and a status that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer import errors
from indexer.errors import SemsearchError

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUS: dict[type[SemsearchError], int] = {
    errors.UsageError: 400,
    errors.ConfigError: 400,
    errors.CollectionNotFound: 404,
    errors.LockedError: 409,
    errors.MismatchError: 409,
    errors.StoreError: 409,
    errors.CorruptError: 500,
    errors.FormatError: 500,
    errors.ModelError: 503,
    SemsearchError: 500,
}
"""Class of error → HTTP status; a class that is not named has that of the nearest one above it."""


class Refusal(SemsearchError):  # noqa: N818 - reads as what happened
    """A request that the server does not answer, whatever it asks.

    Its kinds are the server's own: they never come out of a collection.
    """

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None):
        """Refuse with an HTTP status, under a name that programs can rely on."""
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self._kind = kind

    @property
    def kind(self) -> str:
        """The stable identifier in machine-readable errors."""
        return self._kind


def status_of(error: SemsearchError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, Refusal):
        return error.status
    return next(STATUS[each] for each in type(error).__mro__ if each in STATUS)


def value_of(error: Exception) -> dict[str, object]:
    """Return an error as JSON, in the shape of the command line's ``--json``.

    A defect of ours is told apart from what people can mend, and says nothing of the code.
    """
    if not isinstance(error, SemsearchError):
        return {"error": {"kind": "InternalError", "message": "the server has a defect; see its log", "exit_code": 70}}
    return {"error": {"kind": error.kind, "message": str(error), "exit_code": error.exit_code}}
