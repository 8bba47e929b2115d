"""Commit jobs on one connection: what comes together in one transaction, synced to disk once."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from ion.base.errors import IonError
from ion.stores.sqlite import schema
from ion.stores.sqlite.failures import concerns_all, is_full, is_worn, mapped
from ion.stores.sqlite.file import StoreFile
from ion.stores.sqlite.job import Job, only_puts, run_puts

log = logging.getLogger(__name__)
Connect = Callable[[], sqlite3.Connection]
Work = Callable[[sqlite3.Connection], Any]
_FIRST_LOOK = 1_000  # writes to index stores, after which the indices are looked at
_NEXT_LOOK = 4  # times as many
Outcome = tuple[Job, BaseException | None]


class Committer:
    """The owner of a connection that writes; for one thread at a time.

    :param connect: makes the connection.
    :param refresh: looks again at what attributes the tables have, within a transaction.
    :ivar written: writes to index stores that were done.
    """

    def __init__(self, file: StoreFile, connect: Connect, refresh: Work) -> None:
        self._file = file
        self._connect = connect
        self._refresh = refresh
        self._connection: sqlite3.Connection | None = None
        self._schema = -1
        self.written = 0
        self._analyse_at = _FIRST_LOOK

    def do(self, group: Sequence[Job]) -> list[Outcome]:
        """Do jobs in one transaction; where that fails, each for itself. Never raises."""
        try:
            return self._transact(group)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            found = self._failed(error)
            if concerns_all(error) or (len(group) == 1 and not is_full(error)):
                return [(job, found) for job in group]
            if is_full(error):
                self._make_room()
        # One of them is too much for the engine, or all are: each for itself will show.
        return [self._alone(job) for job in group]

    def try_one(self, job: Job) -> BaseException | None:
        """Do a job; return its error. One of SQLite's is as it was: nothing is done, nor lost."""
        try:
            return self._transact((job,))[0][1]
        except BaseException as error:  # noqa: BLE001 - the thread finds out what it means
            self._failed(error)
            return error

    def rest(self, others: int = 0) -> None:
        """Do what is due between groups. Never raises.

        :param others: writes to index stores that were done on another connection.
        """
        if self.written + others < self._analyse_at:
            return
        self._analyse_at *= _NEXT_LOOK
        try:
            schema.analyse(self._opened())
        except BaseException as error:  # noqa: BLE001 - queries are slower, and nothing else
            log.debug("%s was not analysed: %s", self._file.path, self._failed(error))

    def special(self, work: Work) -> Any:
        """Return what ``work`` makes of the connection, outside of any transaction.

        :raises IonError: SQLite's errors are mapped; all was rolled back.
        """
        try:
            self._file.check()
            return work(self._opened())
        except BaseException as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the connection. Never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _alone(self, job: Job) -> Outcome:
        try:
            return self._transact((job,))[0]
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            return job, self._failed(error)

    def _transact(self, group: Sequence[Job]) -> list[Outcome]:
        connection = self._opened()
        self._file.check()
        if len(group) == 1 and group[0].is_plain:
            group[0].run(connection)  # a transaction of its own
            return [(group[0], None)]
        connection.execute("BEGIN IMMEDIATE")
        outcomes = self._run_all(connection, group)
        connection.execute("COMMIT")
        self.written += sum(len(job.steps) for job in group if job.needs_form)
        return outcomes

    def _run_all(self, connection: sqlite3.Connection, group: Sequence[Job]) -> list[Outcome]:
        table = only_puts(group)
        if table is not None:
            run_puts(connection, table, group)
            return [(job, None) for job in group]
        outcomes: list[Outcome] = []
        if any(job.needs_form for job in group):
            self._look_at_schema(connection)
        for job in group:
            try:
                job.run(connection)
            except IonError as error:  # found before anything was written
                outcomes.append((job, error))
            else:
                outcomes.append((job, None))
        return outcomes

    def _look_at_schema(self, connection: sqlite3.Connection) -> None:
        """Take note of the attributes that other containers have added: a put clears them, too."""
        schema: int = connection.execute("PRAGMA schema_version").fetchone()[0]
        if schema != self._schema:
            self._refresh(connection)
            self._schema = schema

    def _make_room(self) -> None:
        """Let what is in the log go into the file, where it may need no more room."""
        with contextlib.suppress(sqlite3.Error, IonError):
            self._opened().execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _failed(self, error: BaseException) -> BaseException:
        """Roll back; return the error as whoever waits is told it."""
        connection = self._connection
        if connection is not None and connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if is_worn(error):
            self.close()
        return mapped(error, self._file) if isinstance(error, sqlite3.Error) else error
