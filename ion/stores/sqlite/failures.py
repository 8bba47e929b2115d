"""SQLite's errors, as ours: what is wrong, where, and what to do next."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ion.base.errors import Damaged, IonError, Unavailable

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PRIMARY = 0xFF  # the low byte of an extended error code


def mapped(error: sqlite3.Error, path: Path) -> IonError:
    """Return our error for one of SQLite's."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    where = f"the store file {path}"
    details = {"file": str(path)}
    if code in _DAMAGED:
        what = "is no SQLite file" if code == sqlite3.SQLITE_NOTADB else "is corrupt"
        message = f"{where} {what} ({error}): restore it from a backup, or move it away"
        return Damaged(message, details=details)
    if code in _BUSY:
        message = f"{where} is locked by another process: end what holds a transaction on it"
    elif code == sqlite3.SQLITE_FULL:
        message = f"{where} cannot grow: its disk is full; free some space"
    elif code == sqlite3.SQLITE_READONLY:
        message = f"{where} cannot be written: make it and its folder writable for this user"
    elif code == sqlite3.SQLITE_CANTOPEN:
        message = f"{where} cannot be opened: is its folder there, and allowed for this user?"
    elif code == sqlite3.SQLITE_IOERR:
        message = f"{where} cannot be read or written ({error}): is its disk full, or faulty?"
    else:
        message = f"{where}: {error}"
    return Unavailable(message, details=details)
