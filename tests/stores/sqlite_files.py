"""What the tests of the SQLite engine share: open a file, and other programs that use it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

from ion.stores.opening import open_datastore
from ion.stores.sqlite.datastore import SqliteDatastore

PATIENCE = 60.0  # seconds until a test gives up waiting


def datastore_of(path: Path, timeout: float = 30.0) -> SqliteDatastore:
    """Return the datastore of a file; it is not open."""
    return cast("SqliteDatastore", open_datastore(f"sqlite://{path}", timeout=timeout))


@asynccontextmanager
async def opened(path: Path, timeout: float = 30.0) -> AsyncIterator[SqliteDatastore]:
    """Give an open datastore of a file."""
    datastore = datastore_of(path, timeout)
    await datastore.open()
    try:
        yield datastore
    finally:
        await datastore.close()


@contextmanager
def locked(path: Path, statement: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Let another OS process hold a lock on a file."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "[c.execute(s).fetchall() for s in sys.argv[2].split(';')]; print('held', flush=True); "
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path), statement]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.stdin.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so.

    :raises AssertionError: it does not come to be.
    """
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, "it does not come to be"
        await asyncio.sleep(0.01)
