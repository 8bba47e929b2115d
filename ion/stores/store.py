"""The datastore: named stores of keys and values, as every engine keeps them.

Four engines pass one contract suite (``ion.testing.contracts.stores``): memory, SQLite, PostgreSQL
and Redis. Everything above speaks only of this module. A datastore is one database; it holds
*stores*, each of a name (its namespace) of its own, which see nothing of each other.

Invariants, for all engines:

* A value that was put is there, whole, or not at all; what :meth:`Store.put` has returned for is
  kept as safely as the engine keeps anything (SQLite: synced to disk).
* A *revision* is a number that each write gets, and no other write to that key ever has. It says
  nothing about order. Giving the revision that one has read makes a write compare-and-set.
* Keys are text of at most 1,024 bytes in UTF-8; any bytes can be a key, by ``os.fsdecode``'s
  escapes (``surrogateescape``). They are ordered by these bytes.
* Absent is None. A value may be empty, and hold any bytes.
* Every call ends: within its ``timeout`` setting, or with ``Unavailable``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from ion.stores.limits import Kind
from ion.stores.query import Query

Scalar = str | int | float | bool
Attributes = Mapping[str, Scalar | None]
Indices = Mapping[str, Kind]

ABSENT = 0  # the revision of what is not there: a put that gives it makes a key, or conflicts

T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A value as it is kept.

    :ivar index: its index attributes; those that are absent are left out.
    """

    key: str
    value: bytes
    revision: int
    index: Mapping[str, Scalar] = {}


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of many.

    :ivar cursor: gives the next page; None: this is the last one.
    """

    items: list[T]
    cursor: str | None = None


class Put(msgspec.Struct, frozen=True):
    """One put of a batch; see :meth:`Store.put`, and :meth:`IndexStore.put` for ``index``.

    :ivar becomes: the revision that it gets, of :func:`~ion.stores.limits.new_revision`; None: one
        is made.
    """

    key: str
    value: bytes
    revision: int | None = None
    index: Attributes | None = None
    becomes: int | None = None


class Remove(msgspec.Struct, frozen=True):
    """One removal of a batch; see :meth:`Store.remove`."""

    key: str
    revision: int | None = None


class Reindex(msgspec.Struct, frozen=True):
    """One change of attributes in a batch; see :meth:`IndexStore.update_index`.

    :ivar becomes: as for :class:`Put`.
    """

    key: str
    index: Attributes
    revision: int | None = None
    becomes: int | None = None


Write = Put | Remove | Reindex


class Change(msgspec.Struct, frozen=True):
    """A write to one of the stores of a datastore."""

    store: str
    write: Write


class Read(msgspec.Struct, frozen=True):
    """What was read: the key was, and is to be still, of that revision (``ABSENT``: not there)."""

    store: str
    key: str
    revision: int


class Store(Protocol):
    """Keys and values.

    All calls raise :class:`~ion.base.errors.InvalidRequest` for a key that is none,
    :class:`~ion.base.errors.Unavailable` where the engine is away, locked by another or out of
    space, and :class:`~ion.base.errors.Damaged` where what it holds cannot be read.
    """

    @property
    def name(self) -> str:
        """Its namespace."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None."""

    async def entry(self, key: str) -> Entry | None:
        """Return the value with its revision (and its index attributes), or None."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values of those of the keys that are there.

        :param keys: at most :data:`~ion.stores.limits.MAX_BATCH`.
        """

    async def has(self, key: str) -> bool:
        """Return whether there is a value."""

    async def put(self, key: str, value: bytes, *, revision: int | None = None) -> int:
        """Keep a value; return its revision.

        :param revision: of what it is to replace (``ABSENT``: nothing); None: of anything.
        :raises Conflict: something of another revision is there, or nothing; nothing was done.
        :raises ContentTooLarge: the value is over :data:`~ion.stores.limits.MAX_VALUE` bytes.
        """

    async def remove(self, key: str, *, revision: int | None = None) -> bool:
        """Remove a value; return whether there was one.

        :raises Conflict: ``revision`` was given, and what is there is of another one, or absent
            (``ABSENT``: something is there).
        """

    async def write(self, batch: Sequence[Write]) -> list[int]:
        """Do all writes of a batch, or, where one fails, none.

        :param batch: at most ``MAX_BATCH`` writes, of ``MAX_BATCH_BYTES`` together; a key once.
        :return: the revision of each put and reindex, and ``ABSENT`` for each removal.
        :raises NotFound: a reindex of a key that is not there.
        :raises Conflict: as :meth:`put`; ``details["key"]`` says which.
        """

    async def scan(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[Entry]:
        """Return entries whose keys begin with ``prefix``, in the order of their keys.

        A page may be shorter than ``limit`` and still not the last one: it ends, too, where its
        values are over :data:`~ion.stores.limits.PAGE_BYTES`. What is written meanwhile may be
        seen or not; what is there all the while is seen once.

        :param after: a key: those that are greater. A page's ``cursor`` is its last key.
        """

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """Return keys as :meth:`scan` does entries; no value is read for it."""

    async def clear(self) -> None:
        """Remove all that is in this store, and nothing else."""


class IndexStore(Store, Protocol):
    """A store whose values have attributes by which they are found."""

    @property
    def indices(self) -> Indices:
        """The declared attributes and their types."""

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        revision: int | None = None,
        index: Attributes | None = None,
    ) -> int:
        """Keep a value with its attributes, which replace those that it had.

        :param index: attribute -> value; None, or left out: absent.
        :raises InvalidRequest: an attribute is not declared, or of another type.
        """

    async def update_index(
        self, key: str, index: Attributes, *, revision: int | None = None
    ) -> int:
        """Change attributes of a value, which stays; return its new revision.

        :param index: those that change; None takes one away.
        :raises NotFound: there is no such key.
        :raises Conflict: as :meth:`put`.
        """

    async def query(self, query: Query) -> Page[Entry]:
        """Return entries that a query is true of, in its order; see :mod:`ion.stores.query`.

        :raises InvalidRequest: it names an attribute that is not declared, or compares one with
            a value of another type; or its cursor is of another query.
        """

    async def count(self, query: Query) -> int:
        """Return how many entries a query is true of; its limit and cursor mean nothing."""


class UnitOfWork(Protocol):
    """Reads and writes to the stores of one datastore that are done all, or none.

    What is read in it by key was not changed by others before it is done, or its end raises
    Conflict (so does a call that sees it already). What it has written it reads itself; others see
    nothing of it before its end. The revisions that its writes return are those that they get.

    All calls raise :class:`~ion.base.errors.LifecycleError` after its end, or while another call
    in it has not returned, and :class:`~ion.base.errors.ContentTooLarge` where it would be larger
    than a batch may be. A failed call has done nothing; the unit goes on.
    """

    def store(self, name: str) -> Store:
        """Return a store as this unit sees it; it was opened before by the datastore.

        :raises InvalidRequest: it was not.
        """

    def index_store(self, name: str) -> IndexStore:
        """Return an index store as this unit sees it; errors as :meth:`store`."""


class Datastore(Protocol):
    """One database: where stores are.

    :ivar scheme: of its URLs.
    :ivar url: the password is masked.
    :ivar has_transactions: whether there are units of work.
    """

    scheme: str
    url: str
    has_transactions: bool

    async def open(self) -> None:
        """Connect, and bring what is kept there up to this release's schema.

        :raises Unavailable: it is away, locked by another, or refuses us; the message says which.
        :raises Damaged: it is no datastore of ION, or corrupt; it is left as it is.
        :raises NewerSchema: a newer release has written it; it is left as it is.
        """

    async def close(self) -> None:
        """Finish what was begun, for some seconds, and disconnect. Never raises.

        It goes on to its end where whoever awaits it is cancelled. May be called twice: each call
        awaits that end.
        """

    async def store(self, name: str) -> Store:
        """Return the store of a name; made where there is none yet.

        What was opened before is returned without asking the engine.

        :raises InvalidRequest: the name is none, or that of an index store.
        """

    async def index_store(self, name: str, indices: Indices) -> IndexStore:
        """Return the index store of a name; made, or given further attributes, where need be.

        What was put before an attribute was declared has none, until it is put again. What was
        opened before, with all these attributes, is returned without asking the engine.

        :raises InvalidRequest: a name is none; or an attribute is there and of another type.
        """

    async def names(self) -> list[str]:
        """Return the names of the stores that are there, in order."""

    async def drop(self, name: str) -> None:
        """Remove a store with all that is in it; no error where there is none."""

    async def commit(self, changes: Sequence[Change], reads: Sequence[Read] = ()) -> list[int]:
        """Do changes to several opened stores, or, where one fails or a read is stale, none.

        Bounds are those of a batch (a key of a store once), and
        :data:`~ion.stores.limits.MAX_READS` reads.

        :return: the revision of each put and reindex, and ``ABSENT`` for each removal.
        :raises Conflict: a read is stale, or a write expects another revision.
        :raises Unavailable: the engine went away meanwhile: whether it is done is not known.
        :raises InvalidRequest: the engine has no transactions over several stores.
        """

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Begin a unit of work: done where the block ends, dropped where it raises.

        Nothing is locked meanwhile: it keeps what it is to write, and the revisions of what it has
        read, and commits at its end.

        :raises Conflict: (at its end) others have written what it has read by key.
        :raises Unavailable: (at its end) the engine went away: whether it is done is not known.
        :raises InvalidRequest: the engine has no transactions.
        """


@runtime_checkable
class Claimable(Protocol):
    """A datastore that can be had by the containers of one bus alone."""

    async def claim(self, bus: str) -> None:
        """Keep those of other buses out of it, until it is closed; where nobody can tell, do not.

        :param bus: what it is known by: the same to all that are on it.
        :raises StartError: those of another bus have it; the message says which process.
        """
