"""Errors of PostgreSQL, psycopg and SQLAlchemy as ours, each with what to do; no message holds a password."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from indexer.errors import CorruptError, LockedError, StoreError
from indexer.storage.postgres.server.address import driver

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDBY = "{} is a read-only standby; give the address of its primary to write, and name the standby in ?read="

_ANSWERS: dict[str, tuple[type[StoreError], str]] = {
    "28": (StoreError, "{where} refuses {who}: {reason}; put the right user into the address and the password into "
                       "~/.pgpass or PGPASSWORD"),
    "3D": (StoreError, "there is no such database: {reason}; make it with createdb, or correct the address"),
    "3F": (CorruptError, "{where} has lost a part of the collection: {reason}; restore it from a copy, or index anew"),
    "42P01": (CorruptError, "{where} has lost a table: {reason}; restore it from a copy, or index anew"),
    "42501": (StoreError, "{where} does not allow it: {reason}; let the database's owner grant it"),
    "25006": (StoreError, STANDBY.replace("{}", "{where}")),
    "25P03": (StoreError, "{where} ended a view that was held too long ({reason}); ask again, or raise "
                          "idle_in_transaction_session_timeout"),
    "40P01": (LockedError, "another writer is changing the same files ({reason}); nothing of this step was kept: run "
                           "it again"),
    "40": (LockedError, "{where} gave precedence to another transaction ({reason}); run it again"),
    "55P03": (LockedError, "others use the collection ({reason}); try again when they have ended"),
    "57014": (StoreError, "{where} ended the statement: {reason}; raise statement_timeout, or try again"),
    "53": (StoreError, "{where} has run out of something: {reason}; look at its disk, memory and connections"),
    "54": (StoreError, "{where} cannot hold it: {reason}"),
    "57": (StoreError, "{where} went away: {reason}; nothing that was not committed is kept: run it again when it is "
                       "back"),
    "08": (StoreError, "cannot reach {where}: {reason}; check that it runs, the address, and the network between"),
    "58": (StoreError, "{where} has trouble with its files: {reason}; look into its log"),
    "XX": (CorruptError, "{where} reports damage: {reason}; look into its log, and run `semsearch doctor`"),
}  # fmt: skip
"""SQLSTATE, or the first two characters of it → what is raised."""


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise errors of the database as ours.

    Args:
        where: The server, as messages name it.
    """
    psycopg = driver()
    try:
        yield
    except DBAPIError as error:
        raise failure(error.orig if error.orig is not None else error, where) from error
    except psycopg.Error as error:
        raise failure(error, where) from error
    except SQLAlchemyError as error:
        raise StoreError(f"{where}: {_line(error)}") from error


def failure(error: Any, where: str) -> StoreError:
    """Return our error for one of psycopg's."""
    state, reason = getattr(error, "sqlstate", None), _line(error)
    if state is None:  # the connection was never made, or broke
        state = "08"
        for sign, known in (("password", "28"), ("pg_hba.conf", "28"), ("role", "28"), ("does not exist", "3D")):
            if sign in reason:
                state = known
                break
        if "read-only" in reason or "hot standby" in reason:
            state = "25006"
    kind, message = _ANSWERS.get(state) or _ANSWERS.get(state[:2]) or (StoreError, "{where}: {reason}")
    return kind(message.format(where=where, reason=reason, who="the connection"))


def _line(error: object) -> str:
    """Return the first sentence of a message as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("LINE ", "^", "CONTEXT", "Multiple connection"))]
    return " ".join(kept[:2]).rstrip(".") or type(error).__name__
