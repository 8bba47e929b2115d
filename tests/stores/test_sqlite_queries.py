"""Queries in SQLite: indices are used, pages begin in them, and the loop is not held up."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ion.stores.query import A, Query, checked
from ion.stores.sqlite import schema
from ion.stores.sqlite.datastore import SqliteDatastore
from ion.stores.sqlite.reader import INLINE, LATER
from ion.stores.sqlite.selecting import Selection, of_query, of_scan
from ion.stores.sqlite.table import Table
from ion.stores.store import IndexStore, Put
from ion.testing.contracts.stores.bench import pages
from tests.stores.sqlite_files import opened

INDICES = {"kind": "str", "depth": "float", "number": "int", "good": "bool"}
COUNT = 5_000


@pytest.fixture
async def datastore(tmp_path: Path) -> AsyncIterator[SqliteDatastore]:
    async with opened(tmp_path / "data.db") as datastore:
        yield datastore


@pytest.fixture
async def store(datastore: SqliteDatastore) -> IndexStore:
    """Give a store of some thousand entries, a tenth of them without ``depth``."""
    store = await datastore.index_store("found", INDICES)  # type: ignore[arg-type]
    await store.write([_put(n) for n in range(COUNT)])
    return store


def _put(n: int) -> Put:
    index = {
        "kind": f"kind-{n % 50:02}",
        "depth": n / 10 if n % 10 else None,
        "number": n,
        "good": n % 2 == 0,
    }
    return Put(f"{n:05}", b"%d" % n, index=index)


def plan_of(datastore: SqliteDatastore, query: Query) -> str:
    """Return what the engine says that it does for a query, statement by statement."""
    table = datastore._tables["found"]
    return _explained(datastore, of_query(table, checked(query, table.form.kinds)), table)


def _explained(datastore: SqliteDatastore, selection: Selection, table: Table) -> str:
    db = sqlite3.connect(datastore._file.path)
    steps = []
    for tail, parameters in selection.statements(db):
        sql = f"EXPLAIN QUERY PLAN {table.form.select}{tail}"
        steps += [row[3] for row in db.execute(sql, (*parameters, 100))]
    db.close()
    return "; ".join(steps)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(A("kind") == "kind-01"), "kind (a_kind=?)"),
        (Query(A("kind").begins_with("kind-0")), "kind (a_kind>? AND a_kind<?)"),
        (Query(A("kind").is_in(["kind-01", "kind-07"])), "kind (a_kind=?)"),
        (Query((A("number") >= 10) & (A("number") < 20)), "number (a_number>? AND a_number<?)"),
        (Query(A("depth") > 499.0), "depth (a_depth>?)"),
        (Query(A("depth").is_absent()), "depth (a_depth=?)"),
        (Query((A("kind") == "kind-01") & (A("good") == True)), "kind (a_kind=?)"),  # noqa: E712
        (Query((A("number") == 7) | (A("number") == 9)), "number (a_number=?)"),
    ],
)
async def test_an_index_is_used(
    datastore: SqliteDatastore, store: IndexStore, query: Query, index: str
) -> None:
    plan = plan_of(datastore, query)
    assert f"USING INDEX i_found.{index}" in plan, plan
    assert "SCAN" not in plan


@pytest.mark.parametrize("order", ["number", "-number", "depth", "-depth"])
async def test_an_order_is_that_of_an_index(
    datastore: SqliteDatastore, store: IndexStore, order: str
) -> None:
    """From the first page to the last, no page looks at what came before it."""
    where = A("number") >= 0 if order.endswith("number") else None
    query = Query(where, order=(order,), limit=100)
    cursor = None
    seen: list[str] = []
    for _ in range(COUNT // 100):
        plan = plan_of(datastore, Query(where, order=(order,), limit=100, cursor=cursor))
        name = order.removeprefix("-")
        assert f"INDEX i_found.{name}" in plan, plan
        if cursor is not None:
            assert "SCAN" not in plan, plan
        page = await store.query(Query(query.where, query.order, query.limit, cursor))
        seen += [entry.key for entry in page.items]
        cursor = page.cursor
    assert cursor is None
    assert len(seen) == len(set(seen)) == COUNT


async def test_a_range_that_is_wide_goes_by_key(
    datastore: SqliteDatastore, store: IndexStore
) -> None:
    """A page is full soon; what a narrow one finds is put in order, instead."""
    wide = plan_of(datastore, Query(A("number") > 100))
    assert "SCAN s_found USING INDEX sqlite_autoindex_s_found_1" in wide
    narrow = plan_of(datastore, Query((A("number") > 100) & (A("depth") > 490.0)))
    assert "i_found.depth" in narrow
    for least in (100, 4_900):
        query = Query(A("number") >= least, limit=7)
        found = await pages(lambda cursor, q=query: store.query(Query(q.where, (), 7, cursor)))
        keys = [entry.key for page in found for entry in page]
        assert keys == [f"{n:05}" for n in range(least, COUNT)]


async def test_a_scan_goes_by_key(datastore: SqliteDatastore, store: IndexStore) -> None:
    table = datastore._tables["found"]
    plan = _explained(datastore, of_scan(table, "01", "01500", 10), table)
    assert "SEARCH" in plan
    assert "key>? AND key<?" in plan
    assert "TEMP B-TREE" not in plan


async def test_the_engine_learns_what_an_index_is_worth(
    datastore: SqliteDatastore, store: IndexStore
) -> None:
    """Of two, it takes the one that finds less; else it could not know."""
    await datastore._special(schema.analyse)
    query = Query((A("good") == True) & (A("kind") == "kind-02"))  # noqa: E712
    assert "i_found.kind" in plan_of(datastore, query)
    assert await store.count(query) == 100


async def test_it_learns_by_itself(datastore: SqliteDatastore, store: IndexStore) -> None:
    """In the course of some thousand writes; and other connections get to know it."""
    db = sqlite3.connect(datastore._file.path)
    for n in range(3):
        await store.put(f"{n}", b"", index={"kind": "more"})
    rows = db.execute("SELECT idx FROM sqlite_stat1 WHERE tbl = 's_found'").fetchall()
    db.close()
    assert {f"i_found.{name}" for name in INDICES} <= {row[0] for row in rows}
    assert await store.count(Query(A("kind") == "more")) == 3


@pytest.mark.parametrize("order", [(), ("depth",), ("-depth",), ("good", "-depth"), ("-good",)])
async def test_pages_are_the_whole(store: IndexStore, order: tuple[str, ...]) -> None:
    """Also where they end in the middle of what is equal, or has none."""
    query = Query(A("number") < 400, order=order, limit=37)
    found = await pages(lambda cursor: store.query(Query(query.where, order, 37, cursor)))
    whole = (await store.query(Query(query.where, order, 1000))).items
    assert [entry for page in found for entry in page] == whole
    assert len(whole) == 400


async def test_a_long_query_does_not_hold_up_the_loop(store: IndexStore) -> None:
    """It is tried on the loop, given up there, and done in a thread."""
    big = [Put(f"big-{n}", bytes(60_000), index={"number": -n}) for n in range(300)]
    await store.write(big)
    query = Query(~(A("kind") == "nothing"), order=("good", "-depth", "kind"), limit=200)
    longest = 0.0
    done = False

    async def watch() -> None:
        nonlocal longest
        while not done:
            before = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - before)

    watching = asyncio.ensure_future(watch())
    for _ in range(20):
        assert len((await store.query(query)).items) > 100
    done = True
    await watching
    assert longest < 2  # generous: the machine may be busy


async def test_large_values_in_a_page(datastore: SqliteDatastore, store: IndexStore) -> None:
    """They are not read on the loop, and are whole all the same."""
    await store.put("inline", bytes(INLINE), index={"number": -1})
    await store.put("large", bytes(1_000_000), index={"number": -2})
    table, reader = datastore._tables["found"], datastore._reader
    assert reader is not None
    for least, is_small in ((-1, True), (-2, False), (-1, True), (-2, False)):
        query = Query((A("number") >= least) & (A("number") <= 0), order=("number",))
        selection = of_query(table, query)  # as it is checked, then as it is known
        assert (reader.brief(selection.shape, selection.small) is not None) is is_small
    assert reader.at_once(table.value, (b"large",)) is LATER
    page = await store.query(Query(A("number") <= 0, order=("number",)))
    assert [(entry.key, len(entry.value)) for entry in page.items] == [
        ("large", 1_000_000),
        ("inline", INLINE),
        ("00000", 1),
    ]
    entry = await store.entry("large")
    assert entry is not None
    assert entry.value == await store.get("large") == bytes(1_000_000)


async def test_keys_that_are_no_text(store: IndexStore) -> None:
    odd = b"\xff\xfe\0".decode("utf-8", "surrogateescape")
    await store.put(odd, b"1", index={"number": -1})
    page = await store.query(Query(A("number") == -1))
    assert [entry.key for entry in page.items] == [odd]
    assert [entry.key for entry in (await store.scan(odd, limit=5)).items] == [odd]


async def test_types_are_kept(store: IndexStore) -> None:
    """A float stays a float, also where it is whole; a bool is none of the ints."""
    given = {"depth": 1.0, "number": 1, "good": True, "kind": "1"}
    await store.put("k", b"", index=given)
    entry = await store.entry("k")
    assert entry is not None
    assert {name: type(value) for name, value in entry.index.items()} == {
        name: type(value) for name, value in given.items()
    }
    assert dict(entry.index) == given
    for depth in (float("inf"), -float("inf"), -0.0, 5e-324, 2.0**53 + 2):
        await store.put("k", b"", index={"depth": depth})
        found = (await store.query(Query(A("depth") == depth))).items
        assert "k" in [entry.key for entry in found]
