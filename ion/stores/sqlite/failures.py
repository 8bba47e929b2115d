"""SQLite's errors, as ours: what is wrong, where, and what to do next."""

from __future__ import annotations

import sqlite3

from ion.base.errors import ContentTooLarge, Damaged, InvalidRequest, IonError, Unavailable
from ion.stores.sqlite.file import StoreFile

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_CLOSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_NO_TEXT = "Could not decode to UTF-8"  # it has no code
_DROPPED = ("no such table", "no such column", "no such index", "has no column")
_PRIMARY = 0xFF  # the low byte of an extended error code


def code_of(error: BaseException) -> int:
    """Return SQLite's primary code of an error; 0 where it has none."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & _PRIMARY


def is_busy(error: BaseException) -> bool:
    """Return whether another one has the file locked."""
    return code_of(error) in _BUSY


def is_full(error: BaseException) -> bool:
    """Return whether there is no room on the disk."""
    return code_of(error) == sqlite3.SQLITE_FULL


def is_interrupted(error: BaseException) -> bool:
    """Return whether it was given up since it took too long."""
    return code_of(error) == sqlite3.SQLITE_INTERRUPT


def is_large(error: BaseException) -> bool:
    """Return whether it was over the length that the connection takes at a time."""
    return code_of(error) == sqlite3.SQLITE_TOOBIG


def is_no_text(error: BaseException) -> bool:
    """Return whether what was read as text is none."""
    return isinstance(error, sqlite3.OperationalError) and _NO_TEXT in str(error)


def concerns_all(error: BaseException) -> bool:
    """Return whether any other write would fail the same way, having waited as long."""
    return code_of(error) in _BUSY | _CLOSED | {sqlite3.SQLITE_NOTADB} or (
        isinstance(error, Unavailable)
    )


def is_worn(error: BaseException) -> bool:
    """Return whether a new connection may do better than the one that had this error."""
    return code_of(error) in _CLOSED | {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB}


def mapped(error: sqlite3.Error, file: StoreFile) -> IonError:
    """Return our error for one of SQLite's; ``file`` takes note where its stores are others now."""
    code = code_of(error)
    where = f"the store file {file.path}"
    details = {"file": str(file.path)}
    if code in _DAMAGED or is_no_text(error) or "table: ion_stores" in str(error):
        what = "is no SQLite file" if code == sqlite3.SQLITE_NOTADB else "is corrupt"
        message = f"{where} {what} ({error}): restore it from a backup, or move it away"
        return Damaged(message, details=details)
    if is_large(error):
        return ContentTooLarge(f"{where} cannot take so much at a time: {error}", details=details)
    if any(what in str(error) for what in _DROPPED):
        file.is_altered = True
        message = f"{where}: {error}; the store was dropped meanwhile: open it again"
        return InvalidRequest(message, details=details)
    return Unavailable(f"{where} {_trouble(code, error)}", details=details)


def _trouble(code: int, error: sqlite3.Error) -> str:
    if code in _BUSY:
        return "is locked by another process: end what holds a transaction on it, then try again"
    if code == sqlite3.SQLITE_FULL:
        return "cannot grow: its disk is full; free some space, then try again"
    if code == sqlite3.SQLITE_READONLY:
        return "cannot be written: make it and its folder writable for this user"
    if code == sqlite3.SQLITE_CANTOPEN:
        return "cannot be opened: is its folder there, and allowed for this user?"
    if code == sqlite3.SQLITE_IOERR:
        return f"cannot be read or written ({error}): is its disk full, or faulty?"
    if code == sqlite3.SQLITE_INTERRUPT:
        return "was read for too long: ask for less at a time"
    return f"cannot be used: {error}"
