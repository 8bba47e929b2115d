"""Store files of other releases: older ones are brought up to date, newer ones left as they are."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from ion.base.errors import Damaged, NewerSchema
from ion.stores.query import A, Query
from ion.stores.sqlite import schema
from ion.stores.store import Entry
from ion.testing.contracts.stores.bench import values
from tests.stores.sqlite_files import datastore_of, opened

FILES = Path(__file__).parent.parent / "data" / "stores"
FIRST = 1 << 62


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.db"


def made_by(path: Path, version: int) -> None:
    """Make a file as the release of that schema left it."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript((FILES / f"sqlite-{version}.sql").read_text())
    db.close()


def version_of(path: Path) -> int:
    db = sqlite3.connect(path)
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    db.close()
    return version


def tables_of(path: Path) -> set[str]:
    db = sqlite3.connect(path)
    rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    db.close()
    return {row[0] for row in rows}


@pytest.mark.parametrize("version", range(1, schema.VERSION + 1))
async def test_a_file_of_each_former_release(path: Path, version: int) -> None:
    """All is there: stores, attributes, values, revisions; and it can be written."""
    made_by(path, version)
    async with opened(path) as datastore:
        assert await datastore.names() == ["found", "plain"]
        plain = await datastore.store("plain")
        assert await values(plain) == {"k": b"\0\xff", os.fsdecode(b"\xff\x80"): b""}
        found = await datastore.index_store("found", {"kind": "str"})
        assert dict(found.indices) == {"depth": "float", "good": "bool", "kind": "str"}
        first = Entry("a", b"1", FIRST + 3, {"depth": 1.0, "good": True, "kind": "ctd"})
        assert (await found.query(Query(A("kind") == "ctd"))).items == [first]
        assert (await found.query(Query(A("depth").is_absent()))).items == [
            Entry("b", b"2", FIRST + 4, {"good": False})
        ]
        await plain.put("k", b"new", revision=FIRST + 1)
        await found.put("c", b"3", index={"depth": 2.0, "kind": "ctd"})
        assert await found.count(Query(A("kind") == "ctd")) == 2
    assert version_of(path) == schema.VERSION


async def test_new_files_are_as_those_of_their_version(path: Path, tmp_path: Path) -> None:
    """So the file that is kept of each release is one that the release has made."""
    other = tmp_path / "other.db"
    made_by(other, schema.VERSION)
    async with opened(path) as datastore:
        await datastore.store("plain")
        kinds = {"depth": "float", "kind": "str", "good": "bool"}
        for name, kind in kinds.items():
            await datastore.index_store("found", {name: kind})  # type: ignore[dict-item]
    assert _layout(path) == _layout(other)


def _layout(path: Path) -> list[tuple[str, ...]]:
    db = sqlite3.connect(path)
    tables = sorted(name for name in tables_of(path) if not name.startswith("sqlite_"))
    columns = [db.execute(f'PRAGMA table_info("{name}")').fetchall() for name in tables]
    indices = db.execute(
        "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' ORDER BY name"
    ).fetchall()
    marks = [db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")]
    db.close()
    return [*tables, *columns, *indices, *marks]  # type: ignore[list-item]


async def test_a_migration_brings_it_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several clients at a time: it is done once."""
    made_by(path, schema.VERSION)
    done = []

    def migrate(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE ion_more (a)")
        done.append(1)

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, migrate))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    clients = [datastore_of(path) for _ in range(4)]
    await asyncio.gather(*(client.open() for client in clients))
    try:
        assert await (await clients[0].store("plain")).get("k") == b"\0\xff"
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    assert done == [1]
    assert version_of(path) == schema.VERSION
    assert "ion_more" in tables_of(path)


async def test_a_migration_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves all as it was."""
    made_by(path, schema.VERSION)

    def migrate(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE ion_more (a)")
        connection.execute("DELETE FROM s_plain")
        connection.execute("INSERT INTO ion_nothing VALUES (1)")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, migrate))
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        datastore = datastore_of(path)
        with pytest.raises(Exception, match="ion_nothing"):
            await datastore.open()
        await datastore.close()
    assert version_of(path) == schema.VERSION
    assert "ion_more" not in tables_of(path)
    async with opened(path) as datastore:
        assert len(await values(await datastore.store("plain"))) == 2


async def test_a_newer_schema(path: Path) -> None:
    """It is refused, and left as it is, byte by byte."""
    made_by(path, schema.VERSION)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.execute("PRAGMA journal_mode = DELETE")
    db.close()
    before = path.read_bytes()
    datastore = datastore_of(path)
    for _ in range(2):
        with pytest.raises(NewerSchema, match="newer release") as raised:
            await datastore.open()
        assert str(path) in raised.value.message
        assert raised.value.details["version"] == schema.VERSION + 1
    await datastore.close()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text", ["no json", '{"a": "complex"}', "[]"])
async def test_a_list_of_stores_that_is_damaged(path: Path, text: str) -> None:
    made_by(path, schema.VERSION)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("UPDATE ion_stores SET indices = ? WHERE name = 'found'", (text,))
    db.close()
    datastore = datastore_of(path)
    with pytest.raises(Damaged, match="found"):
        await datastore.open()
    await datastore.close()


async def test_attributes_that_another_container_adds(path: Path) -> None:
    """A put clears them, too: they were those of what it replaces."""
    async with opened(path) as one, opened(path) as other:
        store = await one.index_store("found", {"a": "int"})
        wider = await other.index_store("found", {"a": "int", "b": "str", "c": "bool"})
        await wider.put("k", b"1", index={"a": 1, "b": "x", "c": True})
        await store.put("k", b"2", index={"a": 2})
        entry = await wider.entry("k")
        assert entry is not None
        assert (entry.value, dict(entry.index)) == (b"2", {"a": 2})


async def test_names_that_look_alike(path: Path) -> None:
    """Tables and indices of theirs do not get in each other's way."""
    async with opened(path) as datastore:
        for store, attribute in (("a", "b__c"), ("a__b", "c"), ("a", "b"), ("a_b", "b_c")):
            found = await datastore.index_store(store, {attribute: "int"})
            await found.put(attribute, b"", index={attribute: 1})
            assert await found.count(Query(A(attribute) == 1)) == 1


def test_a_log_is_made_once_others_let_the_file_go(tmp_path):
    """SQLite itself does not wait here, where several come to a new file at a time."""
    path = tmp_path / "new.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    comer = sqlite3.connect(path, isolation_level=None, timeout=0.0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        schema.use_write_ahead_log(comer, 0.0)
    letting_go = threading.Timer(0.1, holder.execute, ["COMMIT"])
    letting_go.start()
    schema.use_write_ahead_log(comer, 30.0)
    assert comer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    letting_go.join()
    holder.close()
    comer.close()
