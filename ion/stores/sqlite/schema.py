"""What an SQLite file of ION is: its mark, version and stores; and how older ones get there."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ion.base.errors import Damaged, NewerSchema
from ion.stores.limits import Kind
from ion.stores.sqlite.failures import is_busy
from ion.stores.sqlite.table import Table

APPLICATION_ID = 0x494F4E31  # "ION1", in the file's header
_LOOKED_AT = 400  # rows of each index
_AGAIN = 0.01  # seconds until a lock is tried again
Migration = Callable[[sqlite3.Connection], None]


def _stores_table(connection: sqlite3.Connection) -> None:
    """Make the list of stores: name, and declared attributes as JSON, NULL for a plain store."""
    connection.execute(
        "CREATE TABLE ion_stores (name TEXT PRIMARY KEY NOT NULL, indices TEXT) WITHOUT ROWID"
    )


# The n-th one brings a file from version n to n + 1. They are never changed, only added to.
MIGRATIONS: tuple[Migration, ...] = (_stores_table,)
VERSION = len(MIGRATIONS)


def use_write_ahead_log(connection: sqlite3.Connection, timeout: float) -> None:
    """Have a file keep a write-ahead log.

    Of several who come to a new file at a time, one makes the log; SQLite tells the others at once
    that the file is locked, however long their connections wait for locks elsewhere.

    :param timeout: seconds to try.
    :raises sqlite3.Error: it cannot be done, or others hold the file for longer.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= end:
                raise
            time.sleep(_AGAIN)
        else:
            return


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Look at a file without changing it.

    :raises Damaged: it is an SQLite file of somebody else.
    :raises NewerSchema: a newer release of ION has written it.
    """
    _version(connection, path)


def bring_up(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file up to :data:`VERSION`, in one transaction; errors as :func:`check`."""
    if _version(connection, path) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    # Another container may have done it while this one waited for its turn.
    for migrate in MIGRATIONS[_version(connection, path) :]:
        migrate(connection)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file, read in one transaction: another may be bringing it up."""
    if connection.in_transaction:
        return _read_version(connection, path)
    connection.execute("BEGIN")
    try:
        return _read_version(connection, path)
    finally:
        connection.execute("ROLLBACK")


def _read_version(connection: sqlite3.Connection, path: Path) -> int:
    mark: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if mark != APPLICATION_ID:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if mark or version or tables:
            message = f"{path} is an SQLite file, but no datastore of ION: give another path"
            raise Damaged(message, details={"file": str(path)})
        return 0
    if version > VERSION:
        message = (
            f"{path} was written by a newer release of ION (schema {version}, this one knows "
            f"{VERSION}): use that release, or another file"
        )
        raise NewerSchema(message, details={"file": str(path), "version": version})
    return version


def load(connection: sqlite3.Connection) -> dict[str, Table]:
    """Return the tables of the stores that are there, by name of the store.

    :raises Damaged: the list of them cannot be read.
    """
    rows = connection.execute("SELECT name, indices FROM ion_stores ORDER BY name").fetchall()
    return {name: Table(name, _indices(name, text)) for name, text in rows}


def _indices(name: str, text: str | None) -> Mapping[str, Kind] | None:
    try:
        return None if text is None else msgspec.json.decode(text, type=dict[str, Kind])
    except (msgspec.MsgspecError, UnicodeError) as error:
        message = f"the attributes of store {name!r} cannot be read ({error}): restore a backup"
        raise Damaged(message, details={"store": name}) from None


def create(connection: sqlite3.Connection, name: str, *, is_indexed: bool) -> None:
    """Make a store, within a transaction; nothing where there is one."""
    connection.execute(Table(name, None).creation())
    text = "{}" if is_indexed else None
    connection.execute("INSERT OR IGNORE INTO ion_stores VALUES (?, ?)", (name, text))


def add_attributes(
    connection: sqlite3.Connection, table: Table, indices: Mapping[str, Kind]
) -> None:
    """Give a store's table the attributes that it has not yet, within a transaction."""
    for name, kind in indices.items():
        if name not in table.form.kinds:
            for statement in table.addition(name, kind):
                connection.execute(statement)
    text = msgspec.json.encode(indices).decode()
    connection.execute("UPDATE ion_stores SET indices = ? WHERE name = ?", (text, table.name))


def drop(connection: sqlite3.Connection, name: str) -> None:
    """Remove a store, within a transaction; nothing where there is none."""
    connection.execute(f"DROP TABLE IF EXISTS {Table(name, None).sql}")
    connection.execute("DELETE FROM ion_stores WHERE name = ?", (name,))


def analyse(connection: sqlite3.Connection) -> None:
    """Let the engine look at how many values each index has: it then chooses among them by that."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA analysis_limit = {_LOOKED_AT}").fetchone()
    connection.execute("ANALYZE")
    # A further version of the schema: else other connections would not look at what was found.
    version: int = connection.execute("PRAGMA schema_version").fetchone()[0]
    connection.execute(f"PRAGMA schema_version = {version + 1}")
    connection.execute("COMMIT")
