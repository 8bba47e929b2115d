"""Blobs on every datastore."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ion.stores.opening import open_datastore
from ion.testing.contracts.stores.bench import NewDatastore
from ion.testing.contracts.stores.blobs import BlobsContract

_names = itertools.count(1)


class TestMemory(BlobsContract):
    @pytest.fixture
    def new_datastore(self) -> NewDatastore:
        url = f"memory://blobs-{next(_names)}"
        return lambda: open_datastore(url)


class TestSqlite(BlobsContract):
    @pytest.fixture
    def new_datastore(self, tmp_path: Path) -> NewDatastore:
        return lambda: open_datastore(f"sqlite://{tmp_path}/data.db")


class TestPostgres(BlobsContract):
    @pytest.fixture
    def new_datastore(self, postgres_url: str) -> NewDatastore:
        return lambda: open_datastore(postgres_url)


class TestRedis(BlobsContract):
    @pytest.fixture
    def new_datastore(self, redis_url: str) -> NewDatastore:
        return lambda: open_datastore(redis_url)
