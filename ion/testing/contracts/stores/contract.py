"""The contract of :class:`~ion.stores.store.Datastore`, for authors of stores.

Derive a class of tests, and say how a datastore on a fresh, empty database is made; all that the
factory makes in one test must reach the same database::

    class TestMyStore(StoreContract, TransactionsContract, KeepingContract):
        @pytest.fixture
        def new_datastore(self):
            return lambda: MyDatastore(...)      # not opened

``ION_LONG=1`` asks more of it: more random queries and operations, the largest values.
"""

from __future__ import annotations

from ion.testing.contracts.stores.batches import BatchesContract
from ion.testing.contracts.stores.commits import CommitContract, NoUnitsContract
from ion.testing.contracts.stores.conflicts import UnitConflictsContract
from ion.testing.contracts.stores.indices import IndicesContract
from ion.testing.contracts.stores.limits import LimitsContract
from ion.testing.contracts.stores.opening import KeepingContract, OpeningContract
from ion.testing.contracts.stores.queries import QueriesContract
from ion.testing.contracts.stores.revisions import RevisionsContract
from ion.testing.contracts.stores.scanning import ScanningContract
from ion.testing.contracts.stores.sequences import SequencesContract
from ion.testing.contracts.stores.units import UnitRulesContract, UnitViewsContract
from ion.testing.contracts.stores.values import ValuesContract

__all__ = ["KeepingContract", "NoUnitsContract", "StoreContract", "TransactionsContract"]


class StoreContract(
    OpeningContract,
    ValuesContract,
    RevisionsContract,
    BatchesContract,
    ScanningContract,
    IndicesContract,
    QueriesContract,
    LimitsContract,
    SequencesContract,
):
    """What every engine does; derive from single parts to go step by step."""


class TransactionsContract(
    CommitContract, UnitViewsContract, UnitConflictsContract, UnitRulesContract
):
    """What an engine with transactions over several stores does besides."""
