"""The part of the store contract about any sequence of operations, held to a model."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ion.base.errors import Conflict, IonError
from ion.stores.query import Not, Query
from ion.stores.store import (
    ABSENT,
    Datastore,
    Entry,
    IndexStore,
    Indices,
    Page,
    Put,
    Reindex,
    Remove,
    UnitOfWork,
    Write,
)
from ion.testing.contracts.stores.bench import (
    LONG,
    Bench,
    NewDatastore,
    any_key,
    listed,
    pages,
    scanned,
)
from ion.testing.contracts.stores.model import Errors, Model, Row, UnitModel
from ion.testing.contracts.stores.oracle import comparisons, expected

T = TypeVar("T")
PLAIN, INDEXED = "plain", "indexed"
DECLARED: Indices = {"i": "int", "s": "str"}
KEYS = ["a", "a%", "ab", "\u00e9", any_key(b"\xff")]
PREFIXES = ["", "", "a", "a%", any_key(b"\xc3"), "zz"]
QUERIES = [
    where
    for predicate in comparisons()
    if getattr(predicate, "name", "i") in DECLARED
    for where in (predicate, Not(predicate))
]
ORDERS = [(), ("i",), ("-i",), ("s", "-i"), ("-s",)]
WRONG = 12345

names = st.sampled_from([PLAIN, INDEXED])
keys = st.sampled_from(KEYS)
sides = st.sampled_from([True, True, False])  # inside of the unit, where there are units
ways = st.sampled_from(["get", "has", "entry", "get_many"])
limits = st.integers(1, 5)
queries = st.sampled_from(QUERIES)
orders = st.sampled_from(ORDERS)
values = st.sampled_from([b"", b"\0", b"1", b"\xff" * 50])
guesses = st.sampled_from(["any", "any", "right", "right", "absent", "wrong"])
indices = st.fixed_dictionaries(
    {},
    optional={
        "i": st.sampled_from([None, -1, 0, 2**53 + 1]),
        "s": st.sampled_from([None, "", "a", "ab", "\U0001f40b"]),
    },
)
writes = st.tuples(st.sampled_from(["put", "put", "remove", "reindex"]), values, indices, guesses)


class StoreMachine(RuleBasedStateMachine):
    """Does operations to a datastore and to the model, inside and outside of a unit of work."""

    runner: ClassVar[asyncio.Runner]
    datastore: ClassVar[Datastore]
    stores: ClassVar[dict[str, IndexStore]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model([PLAIN, INDEXED])
        self.unit: UnitOfWork | None = None
        self._block: AbstractAsyncContextManager[UnitOfWork] | None = None

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what a call returns."""
        return self.runner.run(call)

    @initialize(filled=st.dictionaries(keys, indices, min_size=3))
    def fill(self, filled: dict[str, dict[str, Any]]) -> None:
        """Begin with some entries."""
        for name, store in self.stores.items():
            self.run(store.clear())
            writes = [Put(k, b"0", None, i if name == INDEXED else None) for k, i in filled.items()]
            self.model.do(name, writes, self.run(store.write(writes)))
        self.begin()

    @rule(name=names, key=keys, write=writes, inside=sides)
    def write_one(self, name: str, key: str, write: tuple[Any, ...], inside: bool) -> None:
        """Put, remove or reindex by its own call."""
        store, model = self._side(name, inside)
        one = _write(model, name, key, write)
        if isinstance(one, Remove) and isinstance(model, UnitModel):
            model.read_for_remove(name, key)
        was_there = model.revision(name, key) != ABSENT
        errors = model.errors(name, [one])
        done = self._outcome(self._call(store, one), errors)
        if isinstance(one, Remove) and not errors:
            assert done is was_there
            done = ABSENT
        if not errors:
            model.do(name, [one], [done])

    @precondition(lambda self: self.model.unit is not None and self.model.unit.is_used)
    @rule(pick=st.integers(0, 9), write=writes)
    def meddle(self, pick: int, write: tuple[Any, ...]) -> None:
        """Write, outside of the unit, a key that it has read or written."""
        assert self.model.unit is not None
        used = sorted({*self.model.unit.reads, *self.model.unit.own})
        self.write_one(*used[pick % len(used)], write, False)

    @precondition(lambda self: self.model.unit is not None and self.model.unit.is_used)
    @rule(pick=st.integers(0, 9), write=writes)
    def go_on(self, pick: int, write: tuple[Any, ...]) -> None:
        """Write, inside of the unit, a key that it has read or written."""
        assert self.model.unit is not None
        used = sorted({*self.model.unit.reads, *self.model.unit.own})
        self.write_one(*used[pick % len(used)], write, True)

    @rule(name=names, batch=st.dictionaries(keys, writes, max_size=4), inside=sides)
    def write_many(self, name: str, batch: dict[str, Any], inside: bool) -> None:
        """Write a batch."""
        store, model = self._side(name, inside)
        writes = [_write(model, name, key, write) for key, write in batch.items()]
        errors = model.errors(name, writes)
        done = self._outcome(store.write(writes), errors)
        if not errors:
            model.do(name, writes, done)

    @rule(name=names, key=keys, way=ways, inside=sides)
    def look(self, name: str, key: str, way: str, inside: bool) -> None:
        """Read a key by one of the ways."""
        store, model = self._side(name, inside)
        is_fresh = not isinstance(model, UnitModel) or model.read(name, key)
        call = getattr(store, way)([key] if way == "get_many" else key)
        found = self._outcome(call, set() if is_fresh else {Conflict})
        if is_fresh:
            assert found == _seen(way, key, model.row(name, key))

    @rule(name=names, prefix=st.sampled_from(PREFIXES), limit=limits, inside=sides)
    def look_around(self, name: str, prefix: str, limit: int, inside: bool) -> None:
        """Scan, on small pages."""
        store, model = self._side(name, inside)
        there = [entry for entry in model.entries(name) if entry.key.startswith(prefix)]
        if prefix == any_key(b"\xc3"):  # half a character
            there = [entry for entry in model.entries(name) if entry.key == "\u00e9"]
        assert self.run(scanned(store, prefix, limit)) == there
        assert self.run(listed(store, prefix, limit)) == [entry.key for entry in there]

    @rule(where=queries, order=orders, limit=limits, inside=sides)
    def ask(self, where: Any, order: tuple[str, ...], limit: int, inside: bool) -> None:
        """Query and count, on small pages."""
        store, model = self._side(INDEXED, inside)
        query = Query(where, order, limit)
        there = expected(query, model.entries(INDEXED))
        found = self.run(pages(lambda cursor: _page(store, query, cursor)))
        assert [entry.key for page in found for entry in page] == there
        assert self.run(store.count(query)) == len(there)

    @rule(name=names, chance=st.integers(0, 3))
    def clear(self, name: str, chance: int) -> None:
        """Clear a store, now and then."""
        if not chance:
            self.run(self.stores[name].clear())
            self.model.rows[name].clear()

    def begin(self) -> None:
        """Begin a unit of work, where the engine has them."""
        if not self.datastore.has_transactions:
            return
        self._block = self.datastore.unit_of_work()
        self.unit = self.run(self._block.__aenter__())
        self.model.unit = UnitModel(self.model)

    @precondition(lambda self: self.model.unit is not None and self.model.unit.is_used)
    @rule(is_good=st.sampled_from([True, True, True, False]))
    def begin_anew(self, is_good: bool) -> None:
        """End the unit, and begin another one."""
        self.end(is_good)
        self.begin()

    def end(self, is_good: bool) -> None:
        """End the unit, by its end or by an error."""
        model, block = self.model.unit, self._block
        assert model is not None
        assert block is not None
        self.unit = self._block = self.model.unit = None
        if not is_good:
            error = ZeroDivisionError()
            assert not self.run(block.__aexit__(type(error), error, None))
            return
        self._outcome(block.__aexit__(None, None, None), {Conflict} if model.conflicts else set())
        if not model.conflicts:
            self.model.commit(model)

    def teardown(self) -> None:
        """Drop an open unit; all must be as the model says."""
        if self.unit is not None:
            self.end(is_good=True)
        for name, store in self.stores.items():
            assert self.run(scanned(store)) == self.model.entries(name)

    def _side(self, name: str, inside: bool) -> tuple[IndexStore, Model | UnitModel]:
        unit, model = self.unit, self.model.unit
        if not inside or unit is None or model is None or model.is_stale:
            return self.stores[name], self.model
        return unit.index_store(name) if name == INDEXED else unit.store(name), model  # type: ignore[return-value]

    def _call(self, store: IndexStore, write: Write) -> Coroutine[Any, Any, Any]:
        match write:
            case Put(key, value, revision, index):
                if store.name == PLAIN:
                    return store.put(key, value, revision=revision)
                return store.put(key, value, revision=revision, index=index)
            case Remove(key, revision):
                return store.remove(key, revision=revision)
            case Reindex(key, index, revision):
                return store.update_index(key, index, revision=revision)

    def _outcome(self, call: Coroutine[Any, Any, Any], errors: Errors) -> Any:
        """Return what a call returns; it must fail where, and as, it should."""
        try:
            done = self.run(call)
        except IonError as error:
            assert isinstance(error, tuple(errors)), f"{error!r} is none of {errors}"
            return None
        assert not errors, f"it returned {done!r}, and not one of {errors}"
        return done


class SequencesContract(Bench):
    """Any sequence of operations."""

    def test_any_sequence_of_operations(self, new_datastore: NewDatastore) -> None:
        """It leaves, and returns, what the model says."""
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            datastore = new_datastore()
            runner.run(datastore.open())
            try:
                stores = {
                    PLAIN: runner.run(datastore.store(PLAIN)),
                    INDEXED: runner.run(datastore.index_store(INDEXED, DECLARED)),
                }
                known = {"runner": runner, "datastore": datastore, "stores": stores}
                machine = type("Machine", (StoreMachine,), known)
                run_state_machine_as_test(machine, settings=_settings)
            finally:
                runner.run(datastore.close())


_settings = settings(
    max_examples=1000 if LONG else 50,
    stateful_step_count=60 if LONG else 40,
    deadline=None,
    database=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)


def _write(model: Model | UnitModel, name: str, key: str, write: tuple[Any, ...]) -> Write:
    kind, value, index, guess = write
    right = model.revision(name, key)
    revision = {"any": None, "right": right, "absent": ABSENT, "wrong": WRONG}[guess]
    if kind == "remove":
        return Remove(key, revision)
    if kind == "put" or name == PLAIN:
        return Put(key, value, revision, index if name == INDEXED else None)
    return Reindex(key, index, revision)


async def _page(store: IndexStore, query: Query, cursor: str | None) -> Page[Entry]:
    return await store.query(msgspec.structs.replace(query, cursor=cursor))


def _seen(way: str, key: str, row: Row | None) -> Any:
    if way == "has":
        return row is not None
    if way == "get_many":
        return {key: row.value} if row is not None else {}
    if row is None or way == "get":
        return row.value if row is not None else None
    return Entry(key, row.value, row.revision, row.index)
