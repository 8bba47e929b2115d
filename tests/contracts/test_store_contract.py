"""Every datastore keeps the contract."""

from __future__ import annotations

import itertools

import pytest

from ion.stores.opening import open_datastore
from ion.testing.contracts.stores.bench import NewDatastore
from ion.testing.contracts.stores.contract import StoreContract, TransactionsContract

_names = itertools.count(1)


class TestMemory(StoreContract, TransactionsContract):
    @pytest.fixture
    def new_datastore(self) -> NewDatastore:
        url = f"memory://contract-{next(_names)}"
        return lambda: open_datastore(url)
