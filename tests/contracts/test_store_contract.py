"""Every datastore keeps the contract."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ion.stores.opening import open_datastore
from ion.testing.contracts.stores.bench import NewDatastore
from ion.testing.contracts.stores.contract import (
    KeepingContract,
    NoUnitsContract,
    StoreContract,
    TransactionsContract,
)
from ion.testing.servers import PostgresServer

_names = itertools.count(1)


class TestMemory(StoreContract, TransactionsContract):
    @pytest.fixture
    def new_datastore(self) -> NewDatastore:
        url = f"memory://contract-{next(_names)}"
        return lambda: open_datastore(url)


class TestSqlite(StoreContract, TransactionsContract, KeepingContract):
    @pytest.fixture
    def new_datastore(self, tmp_path: Path) -> NewDatastore:
        return lambda: open_datastore(f"sqlite://{tmp_path}/data.db")


@pytest.mark.redis
class TestRedis(StoreContract, NoUnitsContract, KeepingContract):
    @pytest.fixture
    def new_datastore(self, redis_url: str) -> NewDatastore:
        return lambda: open_datastore(redis_url)


class TestPostgres(StoreContract, TransactionsContract, KeepingContract):
    @pytest.fixture
    def new_datastore(self, postgres_server: PostgresServer) -> NewDatastore:
        postgres_server.resume()
        postgres_server.start()
        # a database for each of these many tests takes seconds to make, and gigabytes to keep
        url = f"{postgres_server.url()}?schema=contract_{next(_names)}"
        return lambda: open_datastore(url)
