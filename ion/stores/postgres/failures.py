"""PostgreSQL's errors, as ours: what is wrong, where, and what to do next."""

from __future__ import annotations

from ion.base.errors import (
    ConfigurationError,
    Damaged,
    InvalidRequest,
    IonError,
    Unavailable,
)
from ion.stores.postgres.address import Address
from ion.stores.postgres.driver import asyncpg

_AGAIN = {"40001", "40P01", "55P03"}  # serialization, deadlock, a lock not had in time
_ALTERED = {"42P01", "42703", "42804", "42P10", "3F000", "22P04"}  # tables, columns, keys
_NO_SUCH_SETTING = {"42704", "55P02", "22023"}
_NOT_TOLD = ("42", "0A")  # no such function, table or right; not supported
_READ_ONLY = "25006"
_STARTING = "57P03"
_FULL = "53300"
_ENDS_THE_SESSION = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", _READ_ONLY}
_UNKNOWN_DATABASE = "3D000"

_HINTS: dict[str, str] = {
    "28P01": "refuses the login: set user and password in store.url (ION_STORE)",
    "28000": "refuses the login: see pg_hba.conf, and user and password in store.url (ION_STORE)",
    "42501": "does not allow it to this user: GRANT CREATE ON DATABASE, or CREATE SCHEMA for it, "
    "and name that in store.url as ?schema=",
    _READ_ONLY: "is read-only (a standby?): give the primary's address in store.url",
    "53100": "cannot grow: its disk is full; free some space",
    "53200": "is out of memory",
    _FULL: "has no free connection: raise its max_connections, or lower ?pool= in store.url",
    _STARTING: "is starting, or stopping",
    "57P01": "was stopped, or has ended the connection",
    "57P02": "has crashed, and restarts",
    "57014": "was too slow: it gave up after its statement_timeout",
    "55P03": "has what is needed locked by somebody else: see pg_locks for the transaction, end it",
    "40P01": "has too many writes that wait for each other",
    "40001": "has too many writes to the same",
}


def mapped(error: BaseException, address: Address) -> IonError:
    """Return our error for one of the driver's."""
    state = _state(error)
    where = address.where
    details = {"url": address.shown, **({"sqlstate": state} if state else {})}
    if isinstance(error, asyncpg.ClientConfigurationError):
        return unusable(error, address)
    if state in _NO_SUCH_SETTING:
        return unusable(error, address)
    if state.startswith(("22", "54")) or isinstance(error, asyncpg.DataError):
        return InvalidRequest(f"{where} cannot take it: {error}", details=details)
    if state in _ALTERED:
        return damaged(error, address)
    if state.startswith("XX"):
        message = f"{where} is corrupt ({error}): see its log, and restore it from a backup"
        return Damaged(message, details=details)
    return Unavailable(f"{where} {_why(error, state, address)}", details=details)


def _why(error: BaseException, state: str, address: Address) -> str:
    if state == _UNKNOWN_DATABASE:
        return f"has no such database: make it with createdb {address.database}"
    if state in _HINTS:
        return f"{_HINTS[state]} ({error})"
    if isinstance(error, TimeoutError):
        return "does not answer in time: is it overloaded, or frozen?"
    if isinstance(error, OSError) or state.startswith("08") or not state:
        return f"cannot be reached, or went away: does it run? ({_text(error)})"
    return f"could not do it: {error}"


def unusable(error: BaseException, address: Address) -> ConfigurationError:
    """Return the error of a URL that the driver or the server can make nothing of."""
    return ConfigurationError(f"{address.where}: the store URL cannot be used: {error}")


def damaged(error: BaseException, address: Address) -> Damaged:
    """Return the error of tables that are not as we have made them."""
    message = (
        f"{address.where}: tables of schema {address.schema!r} were altered by hand "
        f"({_text(error)}): restore them from a backup"
    )
    return Damaged(message, details={"url": address.shown})


def is_again(error: BaseException) -> bool:
    """Tell whether nothing was done, and another try may go better."""
    return _state(error) in _AGAIN or isinstance(error, asyncpg.InvalidCachedStatementError)


def is_altered(error: BaseException) -> bool:
    """Tell whether a table is not as we thought; nothing was done."""
    return _state(error) in _ALTERED


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is of no use any more."""
    if not isinstance(error, asyncpg.PostgresError):
        return True
    return _state(error).startswith("08") or _state(error) in _ENDS_THE_SESSION


def is_unknown(error: BaseException) -> bool:
    """Tell whether nobody knows what became of a write."""
    return is_lost(error) and _state(error) != _READ_ONLY


def is_untold(error: BaseException) -> bool:
    """Tell whether the server answers, and will never say what was asked."""
    return _state(error).startswith(_NOT_TOLD)


def is_starting(error: BaseException) -> bool:
    """Tell whether the server is there, and takes no connections yet."""
    return _state(error) == _STARTING


def is_full(error: BaseException) -> bool:
    """Tell whether the server has no connection left."""
    return _state(error) == _FULL


def _state(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""


def _text(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
