"""Datastores on the database of one test, and somebody else who looks into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from ion.stores.postgres.datastore import PostgresDatastore

Open = Callable[..., Awaitable[PostgresDatastore]]


@pytest.fixture
async def opened(postgres_url: str) -> AsyncIterator[Open]:
    """Open datastores on this test's database; they are closed behind it."""
    async with AsyncExitStack() as stack:

        async def open_it(
            options: str = "", *, sysname: str = "", timeout: float = 20.0
        ) -> PostgresDatastore:
            datastore = PostgresDatastore(postgres_url + options, timeout=timeout, sysname=sysname)
            await datastore.open()
            stack.push_async_callback(datastore.close)
            return datastore

        yield open_it


@pytest.fixture
async def admin(postgres_url: str) -> AsyncIterator[Any]:
    """Give a connection of somebody else."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    connection.terminate()
