"""What goes wrong with a store file: damaged, locked, foreign, read-only, gone, its disk full."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ion.base.errors import ConfigurationError, Damaged, IonError, Unavailable
from ion.stores.opening import open_datastore
from ion.stores.sqlite.file import StoreFile
from ion.stores.store import Put, Store
from tests.stores.sqlite_files import PATIENCE, datastore_of, locked, opened, until

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a file that no other test has."""
    return tmp_path / f"{tmp_path.name}.db"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of two megabytes of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def filled(path: Path, count: int = 200) -> None:
    async with opened(path) as datastore:
        store = await datastore.store("things")
        await store.write([Put(f"{n:04}", b"%04d" % n * 250) for n in range(count)])


async def refused(path: Path, error: type[IonError], timeout: float = 30.0) -> str:
    """Return what the error says that a file is not opened for; it names the file."""
    datastore = datastore_of(path, timeout)
    with pytest.raises(error) as raised:
        await datastore.open()
    await datastore.close()
    assert str(path) in raised.value.message
    return raised.value.message


async def test_a_file_that_another_process_makes_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers that start at once, and both see no file: one is faster, and both have it."""
    path.touch(mode=0o600)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda self: self != path)
        StoreFile(f"sqlite://{path}").make()
    await filled(path, 1)


# what is no store file


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlite://", "absolute"),
        ("sqlite://data.db", "absolute"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///some/folder/", "folder"),
        ("sqlite:///some%00thing", "folder"),
        ("sqlite:////x.db?mode=ro", "parameters"),
    ],
)
def test_urls_that_name_no_file(url: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        open_datastore(url)


async def test_folder_and_file_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "one" / "data.db"
    async with opened(path) as datastore:
        await (await datastore.store("a")).put("k", b"v")
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_folder(tmp_path: Path) -> None:
    assert "no file" in await refused(tmp_path, Unavailable)


async def test_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "store.url" in await refused(tmp_path / "file" / "data.db", Unavailable)


@pytest.mark.parametrize("content", [b"no database " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_file_of_something_else(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "backup" in await refused(path, Damaged)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


async def test_the_database_of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    before = path.read_bytes()
    assert "no datastore of ION" in await refused(path, Damaged)
    assert path.read_bytes() == before


async def test_an_empty_file(path: Path) -> None:
    path.touch()
    await filled(path)


# damaged


async def test_a_header_that_was_overwritten(path: Path) -> None:
    await filled(path)
    with path.open("r+b") as file:
        file.write(os.urandom(100))
    before = path.read_bytes()
    await refused(path, Damaged)
    assert path.read_bytes() == before


async def test_pages_in_the_middle(path: Path) -> None:
    """What is on them is damaged, and says so; all else is still there."""
    await filled(path)
    with path.open("r+b") as file:
        file.seek(20 * PAGE)
        file.write(b"\xff" * 5 * PAGE)
    found: dict[str, int] = {"fine": 0, "damaged": 0}
    async with opened(path) as datastore:
        store = await datastore.store("things")
        for n in range(200):
            try:
                value = await store.get(f"{n:04}")
            except Damaged:
                found["damaged"] += 1
            else:
                assert value == b"%04d" % n * 250
                found["fine"] += 1
        assert min(found.values()) > 0, found
        with pytest.raises(Damaged, match="backup") as raised:
            await store.scan()
        assert str(path) in raised.value.message


async def test_a_file_cut_short(path: Path) -> None:
    await filled(path)
    os.truncate(path, path.stat().st_size // 2)
    await refused(path, Damaged)


# locked


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_another_holds_a_transaction(path: Path, statement: str) -> None:
    """Reads go on; a write waits, then says what is the matter; afterwards, all is well."""
    await filled(path)
    async with opened(path, timeout=1) as datastore:
        store = await datastore.store("things")
        with locked(path, statement):
            begun = time.monotonic()
            puts = (store.put(f"{n}", b"") for n in range(50))
            done = await asyncio.gather(*puts, return_exceptions=True)
            assert 0.5 < time.monotonic() - begun < PATIENCE
            for error in done:
                assert isinstance(error, Unavailable)
                assert str(path) in error.message
                assert "locked" in error.message
            assert await store.get("0001") == b"0001" * 250
        await store.put("now", b"1")
        assert await store.get("now") == b"1"


async def test_it_waits_for_a_lock_that_is_let_go(path: Path) -> None:
    await filled(path)
    async with opened(path) as datastore:
        store = await datastore.store("things")
        with locked(path):
            put = asyncio.ensure_future(store.put("k", b"1"))
            for _ in range(20):
                await store.get("0001")
                await asyncio.sleep(0.005)
            assert not put.done()
        await put
        assert await store.get("k") == b"1"


async def test_another_has_it_to_itself(path: Path) -> None:
    """Then it cannot be opened; and not be read, where it is open."""
    await filled(path)
    alone = "PRAGMA locking_mode = EXCLUSIVE;BEGIN EXCLUSIVE;COMMIT"
    with locked(path, alone):
        assert "locked" in await refused(path, Unavailable, timeout=1)
    async with opened(path) as datastore:
        assert await datastore.names() == ["things"]


async def test_a_lone_writer_is_not_held_up_on_the_loop(path: Path) -> None:
    """Also where it commits on the loop by then: the wait is in the thread."""
    async with opened(path, timeout=5) as datastore:
        store = await datastore.store("things")
        for n in range(300):
            await store.put(f"{n}", b"")
        with locked(path):
            put = asyncio.ensure_future(store.put("k", b"1"))
            longest = 0.0
            for _ in range(50):
                before = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - before)
            assert not put.done()
            assert longest < 3  # the lock is waited for longer than that
        await put


# read-only


@pytest.mark.parametrize("what", ["file", "folder"])
async def test_what_may_not_be_written(small_disk: Path, what: str) -> None:
    path = small_disk / "data.db"
    if what == "file":
        await filled(path, 10)
    _protect(small_disk)
    assert "store.url" in await refused(path, Unavailable)


def _protect(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


# gone


def _remove(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    other = path.with_name("other.db")
    sqlite3.connect(other).close()
    other.touch()
    other.replace(path)


@pytest.mark.parametrize(("lose", "word"), [(_remove, "removed"), (_replace, "replaced")])
async def test_the_file_is_lost_while_it_is_open(
    path: Path, lose: Callable[[Path], None], word: str
) -> None:
    """What would go to nowhere is not acknowledged; where it comes back, all goes on."""
    await filled(path)
    kept = path.with_name("kept.db")
    async with opened(path) as datastore:
        store = await datastore.store("things")
        await store.put("k", b"1")
        os.link(path, kept)
        lose(path)
        await until_refused(store, word)
        for call in (store.get("k"), store.scan(), store.entry("k"), datastore.names()):
            with pytest.raises(Unavailable, match=word):
                await call
        kept.replace(path)
        await store.put("k", b"2")
        assert await store.get("k") == b"2"


async def until_refused(store: Store, word: str) -> None:
    async def go_on() -> None:
        while True:
            await store.put("more", b"")
            await asyncio.sleep(0.01)

    with pytest.raises(Unavailable, match=word):
        await asyncio.wait_for(go_on(), PATIENCE)


# a full disk


async def test_a_full_disk(small_disk: Path) -> None:
    """What was acknowledged is there; what was not says why; room is made, and all goes on."""
    path = small_disk / "data.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(512 * 1024))
    async with opened(path) as datastore:
        store = await datastore.store("things")
        acknowledged = await _fill_up(store)
        assert len(acknowledged) > 10
        for key in acknowledged:
            assert await store.get(key) == key.encode() * 2000
        ballast.unlink()
        await store.put("after", b"1")
        assert await store.get("after") == b"1"
    async with opened(path) as datastore:
        store = await datastore.store("things")
        there = {*(await store.keys(limit=10_000)).items}
        assert {*acknowledged, "after"} <= there


async def _fill_up(store: Store) -> list[str]:
    acknowledged: list[str] = []
    for turn in range(200):
        keys = [f"{turn:03}{n}" for n in range(5)]
        puts = (store.put(key, key.encode() * 2000) for key in keys)
        done = await asyncio.gather(*puts, return_exceptions=True)
        failed = [result for result in done if isinstance(result, BaseException)]
        acknowledged += [k for k, result in zip(keys, done, strict=True) if isinstance(result, int)]
        for error in failed:
            assert isinstance(error, Unavailable), error
            assert "full" in error.message
            assert "free" in error.message
        if failed:
            return acknowledged
    raise AssertionError("the disk does not get full")


async def test_no_room_to_make_it(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(2 * 1024 * 1024))
    path = small_disk / "data.db"
    message = await refused(path, Unavailable)
    assert "full" in message or "No space" in message
    (small_disk / "ballast").unlink()
    await filled(path, 10)


async def test_a_batch_that_does_not_fit(small_disk: Path) -> None:
    """It fails whole, and spoils no other that waits with it."""
    async with opened(small_disk / "data.db") as datastore:
        store = await datastore.store("things")
        await store.put("before", b"1")
        large = [Put(f"large-{n}", bytes(100_000)) for n in range(40)]
        done = await asyncio.gather(
            store.put("a", b"1"), store.write(large), store.put("b", b"1"), return_exceptions=True
        )
        assert isinstance(done[1], Unavailable)
        assert isinstance(done[0], int), done
        assert isinstance(done[2], int), done
        assert (await store.keys()).items == ["a", "b", "before"]


# others in this OS process


async def test_a_second_datastore_takes_no_locks_away(path: Path) -> None:
    """To open a file and close it would, for all of this OS process."""
    await filled(path)
    async with opened(path) as datastore:
        store = await datastore.store("things")
        await store.put("k", b"1")
        for _ in range(3):
            async with opened(path):
                pass
        # A last one to close, in another process, would take the log away.
        with locked(path, "SELECT 1 FROM s_things"):
            pass
        log = path.with_name(path.name + "-wal")
        assert log.exists()
        await store.put("k", b"2")
        with sqlite3.connect(path) as db:
            row = db.execute("SELECT value FROM s_things WHERE key = ?", (b"k",)).fetchone()
        db.close()
        assert row == (b"2",)


async def test_threads_end(path: Path) -> None:
    async with opened(path) as datastore:
        store = await datastore.store("a")
        await store.put("k", b"")
        await store.scan(limit=5000)
        assert _threads_of(path)
    await until(lambda: not _threads_of(path))


def _threads_of(path: Path) -> list[str]:
    return [thread.name for thread in threading.enumerate() if path.name in thread.name]
