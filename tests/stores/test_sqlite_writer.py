"""Who writes to a store file, and when: alone on the loop, together in the thread, not too many."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ion.base.errors import Conflict, NotFound, Unavailable
from ion.stores.opening import open_datastore
from ion.stores.sqlite import inline_commit, reader, writer
from ion.stores.sqlite.committing import Committer
from ion.stores.sqlite.datastore import SqliteDatastore
from ion.stores.sqlite.job import Job
from ion.stores.store import Put, Reindex, Store
from ion.testing.contracts.stores.batches import BatchesContract
from ion.testing.contracts.stores.bench import NewDatastore, values
from ion.testing.contracts.stores.commits import CommitContract
from ion.testing.contracts.stores.revisions import RevisionsContract
from tests.stores.sqlite_files import locked, opened

MANY = 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.db"


@pytest.fixture
async def datastore(path: Path) -> AsyncIterator[SqliteDatastore]:
    async with opened(path) as datastore:
        yield datastore


@pytest.fixture
async def store(datastore: SqliteDatastore) -> Store:
    return await datastore.store("things")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every disk be quick, and every loop idle."""
    monkeypatch.setattr(inline_commit, "QUICK", 1e6)
    monkeypatch.setattr(inline_commit, "IDLE", 1e6)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Give the jobs that are done on the loop."""
    done: list[Job] = []
    try_one = Committer.try_one

    def noted(self: Committer, job: Job) -> BaseException | None:
        done.append(job)
        return try_one(self, job)

    monkeypatch.setattr(Committer, "try_one", noted)
    return done


@pytest.fixture
def at_once(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop do all that it may, from the first write on."""
    monkeypatch.setattr(inline_commit, "DOUBT", 0)


@pytest.mark.usefixtures("at_once")
class TestOnTheLoop(RevisionsContract, BatchesContract, CommitContract):
    """The contract of writes, where they are done on the loop."""

    @pytest.fixture
    def new_datastore(self, tmp_path: Path) -> NewDatastore:
        return lambda: open_datastore(f"sqlite://{tmp_path}/data.db")


@pytest.mark.usefixtures("quick")
async def test_one_who_writes_alone(store: Store, here: list[Job]) -> None:
    """After a while, it does so on the loop; the thread has a turn now and then."""
    for n in range(400):
        await store.put(f"{n}", b"%d" % n)
        assert await store.get(f"{n}") == b"%d" % n
    assert 300 < len(here) < 400 - inline_commit.DOUBT + inline_commit.TOO_MUCH + 1


@pytest.mark.usefixtures("quick")
async def test_many_who_write(store: Store, here: list[Job]) -> None:
    """They do so together, in the thread."""
    for n in range(200):
        await store.put(f"{n}", b"")
    here.clear()

    async def one(number: int) -> None:
        for n in range(20):
            await store.put(f"{number}-{n}", b"")

    await asyncio.gather(*(one(number) for number in range(MANY)))
    assert len(here) <= 2 * writer.IN_A_ROW
    assert len(await values(store)) == 200 + MANY * 20


async def test_a_slow_disk(
    store: Store, here: list[Job], quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commits that take long are enough for the loop to leave them to the thread."""
    for n in range(100):
        await store.put(f"{n}", b"")
    assert here
    here.clear()
    monkeypatch.setattr(inline_commit, "QUICK", 0.0)
    for n in range(100):
        await store.put(f"{n}", b"")
    assert len(here) <= 3


async def test_a_busy_loop(
    store: Store, here: list[Job], quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has other things to do than to wait for the disk."""
    for n in range(100):
        await store.put(f"{n}", b"")
    here.clear()
    monkeypatch.setattr(inline_commit, "IDLE", 0.0)
    for n in range(100):
        await store.put(f"{n}", b"")
    assert len(here) <= 3 * writer.IN_A_ROW  # of 100: it is tried again now and then


@pytest.mark.usefixtures("at_once")
async def test_what_is_large_is_not_done_on_the_loop(store: Store, here: list[Job]) -> None:
    await store.put("large", bytes(inline_commit.SMALL + 1))
    await store.write([Put(f"{n}", b"") for n in range(inline_commit.FEW + 1)])
    assert not here


@pytest.mark.usefixtures("at_once")
async def test_the_log_does_not_grow(path: Path, store: Store) -> None:
    """The thread lets it go into the file, also where the loop does all the writing."""
    log = path.with_name(path.name + "-wal")
    for n in range(600):
        await store.put(f"{n % 10}", b"%04d" % n * 4_000)
    assert log.stat().st_size < 2 * inline_commit.FRAMES * 4_096  # of 600 * 5 pages


@pytest.mark.usefixtures("at_once")
async def test_others_have_turns(store: Store) -> None:
    """Of one who reads or writes in a row, too."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.ensure_future(other())
    for _ in range(200):
        await store.put("k", b"")
    assert turns >= 200 // writer.IN_A_ROW // 2
    turns = 0
    for _ in range(1_000):
        await store.get("k")
    assert turns >= 1_000 // reader.IN_A_ROW // 2
    task.cancel()


async def test_one_that_fails_spoils_no_other(datastore: SqliteDatastore) -> None:
    """Of those that are committed together."""
    store = await datastore.index_store("found", {"a": "int"})
    await store.put("there", b"1")
    calls = []
    for n in range(MANY):
        calls += [
            store.put(f"{n}", b""),
            store.put("there", b"2", revision=12345),
            store.write([Put(f"none-{n}", b""), Reindex("nothing", {"a": 1})]),
        ]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, int) for result in done[::3])
    assert all(isinstance(result, Conflict) for result in done[1::3])
    assert all(isinstance(result, NotFound) for result in done[2::3])
    assert set(await values(store)) == {"there", *(f"{n}" for n in range(MANY))}


async def test_those_that_give_up(store: Store) -> None:
    """They may be done or not; all others are."""
    tasks = [asyncio.ensure_future(store.put(f"{n}", b"")) for n in range(500)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, int) for result in done[1::2])
    assert {f"{n}" for n in range(1, 500, 2)} <= set(await values(store))


async def test_more_than_may_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for their turn to wait."""
    monkeypatch.setattr(writer, "MAX_WAITING", 10)
    most = 0
    owner = store._writer  # type: ignore[attr-defined]

    async def put(n: int) -> None:
        nonlocal most
        await store.put(f"{n}", b"")
        most = max(most, owner._count)

    await asyncio.gather(*(put(n) for n in range(500)))
    assert most <= 10
    assert owner._count == owner._size == 0
    assert len(await values(store)) == 500


async def test_more_bytes_than_may_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING_BYTES", 10_000)
    await asyncio.gather(*(store.put(f"{n}", bytes(4_000)) for n in range(100)))
    assert len(await values(store)) == 100


async def test_nothing_goes_on_and_more_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them end in time: those that wait, and those that wait to wait."""
    monkeypatch.setattr(writer, "MAX_WAITING", 10)
    async with opened(path, timeout=0.5) as datastore:
        store = await datastore.store("things")
        with locked(path):
            puts = (store.put(f"{n}", b"") for n in range(50))
            done = await asyncio.gather(*puts, return_exceptions=True)
            assert all(isinstance(result, Unavailable) for result in done), done
        await store.put("after", b"")
        owner = store._writer
        assert owner._count == owner._size == 0


async def test_closed_while_more_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 10)
    async with opened(path) as datastore:
        store = await datastore.store("things")
        tasks = [asyncio.ensure_future(store.put(f"{n}", b"")) for n in range(50)]
        await asyncio.sleep(0)
    done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    assert all(isinstance(result, int | Unavailable) for result in done)
    assert any(isinstance(result, int) for result in done)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_a_value_that_changes_meanwhile(store: Store, kind: type) -> None:
    """What was put is what it was at the call."""
    value = bytearray(b"before")
    task = asyncio.ensure_future(store.put("k", kind(value)))
    await asyncio.sleep(0)
    value[:] = b"after!"
    await task
    assert await store.get("k") == b"before"


async def test_what_is_done_on_the_loop_is_no_blocking_call(
    store: Store, no_blocking: None
) -> None:
    """For the fixture that finds them; all else is done in threads."""
    for n in itertools.chain(range(100), range(100)):
        await store.put(f"{n}", b"")
        await store.get(f"{n}")
    await store.scan(limit=10)
    await store.scan(limit=1_000)
    await store.keys()
    await store.clear()
