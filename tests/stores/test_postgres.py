"""PostgreSQL: URLs, refusals, schemas, indexes, and clients that know less than others."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from ion.base.errors import (
    ConfigurationError,
    Conflict,
    Damaged,
    InvalidRequest,
    IonError,
    NewerSchema,
    Unavailable,
)
from ion.stores.opening import open_datastore
from ion.stores.postgres import schema, selecting
from ion.stores.postgres.address import address_of
from ion.stores.postgres.connection import Connection
from ion.stores.postgres.datastore import PostgresDatastore
from ion.stores.query import A, Query, checked
from ion.stores.store import ABSENT, Change, Put, Read, Remove
from ion.testing.servers import PostgresServer
from tests.stores.conftest import Open

DEADLINE = 30.0


# URLs


def test_what_a_url_says() -> None:
    address = address_of("postgresql://me:s3c%2Fret@db:1234/data?schema=x&pool=3&sslmode=require")
    assert address.dsn == "postgresql://me:s3c%2Fret@db:1234/data?sslmode=require"
    assert (address.schema, address.pool, address.database) == ("x", 3, "data")
    assert address.shown == "postgresql://me:***@db:1234/data?schema=x"
    assert PostgresDatastore("POSTGRESQL://me:word@a,b:1/x").url == "postgresql://me:***@a,b:1/x"


@pytest.mark.parametrize(
    "query",
    ["pool=0", "pool=-1", "pool=many", "pool=100000", "schema=A", "schema=", "schema=a%22b",
     "statement_cache_size=x", "nonsense", "pool", "port=x", "port=0", "host=a:1,b:65536"],
)  # fmt: skip
def test_a_url_that_is_none(query: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store URL.*postgresql://user") as raised:
        open_datastore(f"postgresql://me:topsecret@host/db?{query}")
    assert "topsecret" not in str(raised.value)


@pytest.mark.parametrize(
    ("hosts", "is_one"),
    [("db:x", False), ("db:0", False), ("a:1,b:x", False), ("a,,b", False), ("[::1]:x", False),
     ("se:cret@db:5432", True), ("se@c:ret@db:5432", False), ("[::1]:5432,b", True), ("", True),
     ("%2Ftmp:5433", True)],
)  # fmt: skip
def test_ports_are_told_before_anything_is_opened(hosts: str, is_one: bool) -> None:
    url = f"postgresql://me{':' if 'se' in hosts else '@'}{hosts}/db"
    if is_one:
        assert open_datastore(url).url.startswith("postgresql://me")
        return
    with pytest.raises(ConfigurationError, match=r"store URL: a (port|host)") as raised:
        open_datastore(url)
    assert "ret@" not in str(raised.value)


@pytest.mark.parametrize("query", ["sslmode=nope", "no_such_setting=1", "work_mem=nope"])
async def test_an_option_that_nobody_knows(postgres_url: str, query: str) -> None:
    with pytest.raises(ConfigurationError, match="store URL cannot be used"):
        await PostgresDatastore(f"{postgres_url}?{query}").open()


def test_without_its_library() -> None:
    """It says what to install."""
    code = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from ion.stores.opening import open_datastore\n"
        "try: open_datastore('postgresql://h/d')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ConfigurationError")
    assert "pip install 'ioncore[postgres]'" in done.stdout


def test_others_do_not_need_its_library() -> None:
    code = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from ion.stores.opening import open_datastore\n"
        "open_datastore('memory://')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# refusals


async def refused(url: str, kind: type[IonError] = Unavailable) -> str:
    """Return the message of a datastore that cannot be opened."""
    datastore = open_datastore(url, timeout=10.0)
    with pytest.raises(kind) as raised:
        await asyncio.wait_for(datastore.open(), DEADLINE)
    await datastore.close()
    with pytest.raises(Unavailable, match="not open"):
        await datastore.names()
    return str(raised.value)


async def test_nobody_is_there() -> None:
    assert "does it run?" in await refused("postgresql://me:topsecret@127.0.0.1:1/x")


async def test_no_such_host() -> None:
    message = await refused("postgresql://me:topsecret@no-such-host.invalid/x")
    assert "cannot be reached" in message
    assert "topsecret" not in message


async def test_no_such_database(postgres_url: str) -> None:
    url = postgres_url.rpartition("/")[0] + "/nope"
    assert "createdb nope" in await refused(url)


@pytest.fixture
def by_password(postgres_server: PostgresServer, postgres_url: str) -> Iterator[str]:
    """Give the URL of a user who needs the password ``right`` (which is not in it)."""
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all careful 127.0.0.1/32 scram-sha-256\n{before}")
    postgres_server.sql("SELECT pg_reload_conf()")
    postgres_server.sql("CREATE ROLE careful LOGIN PASSWORD 'right'")
    yield postgres_url.replace("//ion@", "//careful:{}@")
    rules.write_text(before)
    database = postgres_url.rpartition("/")[2]
    postgres_server.sql("DROP OWNED BY careful", database)
    postgres_server.sql("DROP ROLE careful; SELECT pg_reload_conf()".partition(";")[0])
    postgres_server.sql("SELECT pg_reload_conf()")


async def test_a_wrong_password(
    by_password: str, postgres_server: PostgresServer, postgres_url: str
) -> None:
    message = await refused(by_password.format("topsecret"))
    assert "user and password in store.url" in message
    assert "topsecret" not in message
    # the right one is let in, and may not make a schema
    message = await refused(by_password.format("right"))
    assert "GRANT CREATE ON DATABASE" in message
    database = postgres_url.rpartition("/")[2]
    postgres_server.sql(f"GRANT CREATE ON DATABASE {database} TO careful")
    datastore = open_datastore(by_password.format("right"))
    await datastore.open()
    assert "right" not in datastore.url
    await (await datastore.store("a")).put("k", b"v")
    await datastore.close()


async def test_a_schema_that_is_there_needs_no_right_to_make_one(
    by_password: str, postgres_server: PostgresServer, postgres_url: str
) -> None:
    database = postgres_url.rpartition("/")[2]
    postgres_server.sql("CREATE SCHEMA mine AUTHORIZATION careful", database)
    datastore = open_datastore(by_password.format("right") + "?schema=mine")
    await datastore.open()
    await (await datastore.store("a")).put("k", b"v")
    await datastore.close()


async def test_a_read_only_database(postgres_url: str, admin: Any) -> None:
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "read-only" in await refused(postgres_url)


async def test_a_database_of_another_encoding(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    postgres_server.sql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    url = postgres_url.rpartition("/")[0] + "/latin"
    assert "-E UTF8" in await refused(url, ConfigurationError)


# schemas


async def test_a_newer_schema_is_left_as_it_is(opened: Open, postgres_url: str, admin: Any) -> None:
    await (await opened()).store("a")
    await admin.execute(f"UPDATE ion.ion_schema SET version = {schema.VERSION + 1}")
    message = await refused(postgres_url, NewerSchema)
    assert f"schema {schema.VERSION + 1}, this one knows {schema.VERSION}" in message
    assert await admin.fetchval("SELECT version FROM ion.ion_schema") == schema.VERSION + 1


async def test_an_older_schema_is_brought_up_once(
    opened: Open, postgres_url: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one of many who open it at a time; what is there stays."""
    await (await (await opened()).store("a")).put("k", b"v")
    further = (
        'CREATE TABLE "{schema}".ion_more (x INT)',
        'INSERT INTO "{schema}".ion_more VALUES (1)',
    )
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, further))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    clients = await asyncio.gather(*(opened() for _ in range(6)))
    assert await admin.fetchval("SELECT count(*) FROM ion.ion_more") == 1
    assert await admin.fetchval("SELECT version FROM ion.ion_schema") == schema.VERSION
    assert await (await clients[0].store("a")).get("k") == b"v"


async def test_a_migration_that_fails_changes_nothing(
    opened: Open, postgres_url: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = schema.VERSION
    await opened()
    broken = ('CREATE TABLE "{schema}".ion_more (x INT)', "SELECT 1 / 0")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    monkeypatch.setattr(schema, "VERSION", before + 1)
    await refused(postgres_url, InvalidRequest)
    assert await admin.fetchval("SELECT version FROM ion.ion_schema") == before
    assert await admin.fetchval("SELECT to_regclass('ion.ion_more')") is None


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE ion.ion_schema", "DELETE FROM ion.ion_schema", "DROP TABLE ion.ion_stores",
     "UPDATE ion.ion_stores SET indices = '['"],
)  # fmt: skip
async def test_a_schema_altered_by_hand(
    opened: Open, postgres_url: str, admin: Any, statement: str
) -> None:
    await (await opened()).index_store("a", {"i": "int"})
    await admin.execute(statement)
    assert "by hand" in await refused(postgres_url, Damaged)


async def test_schemas_see_nothing_of_each_other(opened: Open) -> None:
    one, two = await opened(), await opened("?schema=other")
    await (await one.store("a")).put("k", b"1")
    assert await two.names() == []
    assert await (await two.store("a")).get("k") is None
    await two.drop("a")
    assert await (await one.store("a")).get("k") == b"1"


async def test_tables_of_others_are_left_alone(opened: Open, admin: Any) -> None:
    """Where the schema is shared."""
    await admin.execute("CREATE TABLE public.s_a (x INT); INSERT INTO public.s_a VALUES (1)")
    datastore = await opened("?schema=public")
    await (await datastore.store("a")).put("k", b"1")
    assert await datastore.names() == ["a"]
    await datastore.drop("a")
    assert await admin.fetchval("SELECT x FROM public.s_a") == 1


# clients that know less than others


async def test_a_put_of_an_old_client_leaves_no_attribute(opened: Open) -> None:
    """Though it was declared by another one since."""
    one, two = await opened(), await opened()
    old = await one.index_store("f", {"a": "int"})
    new = await two.index_store("f", {"b": "str"})
    await new.put("k", b"1", index={"a": 1, "b": "x"})
    await old.put("k", b"2", index={"a": 2})
    entry = await new.entry("k")
    assert entry is not None
    assert dict(entry.index) == {"a": 2}
    assert dict(old.indices) == {"a": "int", "b": "str"}


@pytest.mark.parametrize("how", ["get", "entry", "scan", "put", "many", "commit", "query", "clear"])
async def test_an_old_client_goes_on(opened: Open, how: str) -> None:
    """Whatever it does first."""
    one, two = await opened(), await opened()
    old = await one.index_store("f", {"a": "int"})
    await old.put("k", b"1", index={"a": 1})
    await two.index_store("f", {"b": "str"})
    if how == "get":
        assert await old.get("k") == b"1"
    elif how == "entry":
        assert (await asyncio.gather(*(old.entry("k") for _ in range(5))))[4] is not None
    elif how == "scan":
        assert len((await old.scan()).items) == 1
    elif how == "put":
        await asyncio.gather(*(old.put(f"{n}", b"", index={"a": n}) for n in range(9)))
        assert await old.count(Query(A("a") >= 0)) == 10
    elif how == "many":
        await old.write([Put("x", b""), Remove("k")])
    elif how == "commit":
        await one.commit([Change("f", Put("x", b""))], [Read("f", "y", ABSENT)])
    elif how == "query":
        assert len((await old.query(Query(A("a") == 1))).items) == 1
    else:
        await old.clear()
        assert await old.get("k") is None


async def test_many_calls_at_once_where_another_has_added_an_attribute(opened: Open) -> None:
    """The first one finds out; the others were told that the table was altered by hand."""
    one, two = await opened(), await opened()
    store = await one.index_store("a", {"i": "int"})
    await store.put("k", b"1", index={"i": 1})
    for attribute in ("j", "l"):
        await two.index_store("a", {attribute: "int"})
        reads = [store.get_many(["k", "n"]) for _ in range(20)]
        writes = [store.put(f"w{n}", b"2", index={"i": n}) for n in range(20)]
        found, _ = await asyncio.gather(asyncio.gather(*reads), asyncio.gather(*writes))
        assert found == [{"k": b"1"}] * 20


async def test_a_table_that_was_taken_away_by_hand(opened: Open, admin: Any) -> None:
    store = await (await opened()).index_store("a", {"i": "int"})
    await admin.execute(f"DROP TABLE {store.table.shape.sql}")
    for call in (lambda: store.get_many(["k"]), lambda: store.put("k", b"2")):
        with pytest.raises(Damaged, match="by hand"):
            await call()  # type: ignore[no-untyped-call]


async def test_a_store_that_another_has_dropped(opened: Open) -> None:
    """Whoever has it open is told, and can open it anew."""
    one, two = await opened(), await opened()
    store = await one.store("a")
    await store.put("k", b"1")
    await two.drop("a")
    for call in (lambda: store.get("k"), lambda: store.put("k", b"2"), store.scan):
        with pytest.raises(InvalidRequest, match="dropped"):
            await call()  # type: ignore[no-untyped-call]
    again = await one.store("a")
    assert await again.get("k") is None
    await two.drop("a")
    await two.index_store("a", {"i": "int"})
    with pytest.raises(InvalidRequest, match="another kind"):
        await again.put("k", b"3")
    found = await one.index_store("a", {})
    await found.put("k", b"4", index={"i": 1})


# indexes


async def plan(store: Any, admin: Any, query: Query) -> str:
    """Return how a page of a query is found."""
    sql, _, parameters = selecting.query_of(store.table.shape, checked(query, store.indices))
    rows = await admin.fetch(f"EXPLAIN {sql}", *parameters)
    return "\n".join(row[0] for row in rows)


async def test_indexes_are_used(opened: Open, admin: Any) -> None:
    store = await (await opened()).index_store("f", {"s": "str", "i": "int", "f": "float"})
    for start in range(0, 20_000, 5_000):
        await store.write(
            [
                Put(f"{n}", b"x" * 50, index={"s": f"s{n:05}", "i": n, "f": n / 2})
                for n in range(start, start + 5_000)
            ]
        )
    await admin.execute(f"ANALYZE {store.table.shape.sql}")
    queries = {
        "equal": Query(A("s") == "s00100"),
        "one of": Query(A("i").is_in([1, 5, 9])),
        "range": Query((A("f") > 10.0) & (A("f") <= 20.0)),
        "prefix": Query(A("s").begins_with("s0010")),
        "either": Query((A("s") == "s00100") | (A("i") == 5)),
        "order": Query(order=("i",), limit=10),
        "order from the greatest": Query(order=("-i",), limit=10),
        "by key": Query(limit=10),
    }
    for name, query in queries.items():
        found = await plan(store, admin, query)
        assert "Seq Scan" not in found, f"{name}: {found}"
        if query.order:
            page = await store.query(query)
            further = msgspec.structs.replace(query, cursor=page.cursor)
            assert "Seq Scan" not in await plan(store, admin, further), name
    page = await store.query(Query(order=("i",), limit=10))
    deep = await plan(store, admin, Query(order=("i",), limit=10, cursor=page.cursor))
    assert "Index Cond: (a_i >=" in deep, deep
    sql, _, parameters = selecting.scan_of(store.table.shape, "12", "120", 10)
    rows = await admin.fetch(f"EXPLAIN {sql}", *parameters)
    assert any("Index Cond: ((key >=" in row[0] for row in rows)


async def test_large_values_in_a_page_come_whole(opened: Open) -> None:
    store = await (await opened()).index_store("f", {"i": "int"})
    large = b"x" * (1 << 20)  # over its share of a page of 20
    for n in range(5):
        await store.put(f"{n}", large if n == 3 else b"small", index={"i": n})
    query = Query(order=("i",), limit=20)
    assert [entry.value for entry in (await store.query(query)).items][2:] == [
        b"small",
        large,
        b"small",
    ]
    assert (await store.scan(limit=20)).items[3].value == large


# and besides


async def test_behind_a_pooler(opened: Open) -> None:
    """Without prepared statements."""
    datastore = await opened("?statement_cache_size=0")
    store = await datastore.index_store("f", {"i": "int"})
    await asyncio.gather(*(store.put(f"{n}", b"x", index={"i": n}) for n in range(50)))
    assert await store.get("7") == b"x"
    assert await asyncio.gather(*(store.get(f"{n}") for n in range(50))) == [b"x"] * 50
    assert await store.count(Query(A("i") >= 25)) == 25
    await store.write([Put("a", b"1", revision=ABSENT), Remove("7")])
    async with datastore.unit_of_work() as unit:
        assert await unit.index_store("f").get("7") is None


async def test_calls_that_wait_travel_together(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of puts are a few statements; and so are gets, of the same key too."""
    store = await (await opened()).store("a")
    seen: list[str] = []
    rows = Connection.rows

    async def counted(line: Connection, sql: str, *arguments: Any) -> list[Any]:
        seen.append(sql)
        return await rows(line, sql, *arguments)

    monkeypatch.setattr(Connection, "rows", counted)
    await asyncio.gather(*(store.put(f"{n}", b"%d" % n) for n in range(500)))
    assert 0 < len(seen) < 20
    seen.clear()
    found = await asyncio.gather(*(store.get(f"{n % 250}") for n in range(500)))
    assert found == [b"%d" % (n % 250) for n in range(500)]
    assert 0 < len(seen) < 20


async def test_writes_to_one_key_are_done_in_order(opened: Open) -> None:
    """As they were called, be they of whatever kind."""
    store = await (await opened()).store("a")
    calls: list[Any] = []
    for number in range(60):
        calls.append(store.put("k", b"%d" % number))
        if number % 3 == 0:
            calls.append(store.remove("k"))
        calls.append(store.put(f"other{number}", b"", revision=ABSENT))
    await asyncio.wait_for(asyncio.gather(*calls), DEADLINE)
    assert await store.get("k") == b"59"


async def test_each_of_many_that_expect_something_knows_its_own(opened: Open) -> None:
    store = await (await opened()).store("a")
    revisions = {n: await store.put(f"{n}", b"1") for n in range(40)}
    calls = [
        store.put(f"{n}", b"2", revision=revision if n % 2 else 12345)
        for n, revision in revisions.items()
    ]
    done = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), DEADLINE)
    assert [isinstance(result, int) for result in done] == [bool(n % 2) for n in range(40)]
    errors = [error for error in done if isinstance(error, Conflict)]
    assert [error.details["key"] for error in errors] == [f"{n}" for n in range(0, 40, 2)]


async def test_too_many_calls_wait(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is refused at once."""
    monkeypatch.setattr("ion.stores.postgres.batching.MAX_WAITING", 20)
    store = await (await opened()).store("a")
    calls = [store.put(f"{n}", b"") for n in range(60)]
    done = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), DEADLINE)
    refused_ones = [error for error in done if isinstance(error, Unavailable)]
    assert refused_ones
    assert "wait for" in str(refused_ones[0])
    assert len([result for result in done if isinstance(result, int)]) >= 20


async def test_a_value_is_taken_when_it_is_put(opened: Open) -> None:
    """What becomes of the caller's buffer later is of no matter."""
    store = await (await opened()).store("a")
    buffer = bytearray(b"before")
    tasks = [asyncio.ensure_future(store.put(f"{n}", buffer)) for n in range(5)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    buffer[:] = b"after!"
    await asyncio.gather(*tasks)
    assert await store.get("4") == b"before"


async def test_a_held_key_leaves_nothing(opened: Open, admin: Any) -> None:
    """One that was read, and is absent, is held by a row that nobody sees."""
    datastore = await opened()
    store = await datastore.store("a")
    await datastore.commit([Change("a", Put("k", b""))], [Read("a", "gone", ABSENT)])
    await datastore.commit([Change("a", Remove("none", revision=ABSENT))])
    assert await admin.fetchval(f"SELECT count(*) FROM {store.table.shape.sql}") == 1
    began = time.monotonic()
    await asyncio.gather(
        *(
            datastore.commit([Change("a", Put(f"{n}", b""))], [Read("a", "gone", ABSENT)])
            for n in range(20)
        )
    )
    assert time.monotonic() - began < DEADLINE
    assert (await store.keys()).items == sorted(["k", *(f"{n}" for n in range(20))])
