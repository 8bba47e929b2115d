"""Contexts on each store: they outlive the service, and instances see each other's."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ion import Container
from ion.base.errors import ConfigurationError, Unavailable
from ion.services.contexts import codes
from ion.services.contexts.client import ContextsClient
from ion.services.contexts.model import Item
from ion.services.contexts.roots import Roots
from ion.services.contexts.service import ContextsService
from ion.services.contexts.settings import settings_of

MIB = 1024 * 1024


@asynccontextmanager
async def running(url: str, folder: Path, **config: Any) -> AsyncIterator[ContextsClient]:
    """Run a service of a container of its own."""
    async with Container("memory://", sysname="test", config={"store.url": url}) as container:
        app_config = {"roots": [str(folder)], "linger": 0, **config}
        pid = await container.spawn(ContextsService, app_config=app_config)
        client = ContextsClient(container)
        client.near = container.processes[pid]  # type: ignore[attr-defined]
        yield client


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a datastore."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ion.db"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


async def test_on_each_store(store: str, tmp_path: Path) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    data, other = os.urandom(3 * MIB + 5), os.urandom(2 * MIB)
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "small").write_bytes(b"small")
    items = [Item(f"file::{tmp_path}/{n}", f"iowarp::{n}") for n in ("large", "small")]
    async with running(store, tmp_path, name=name) as one:
        assert (await one.bundle(items)).code == 0
        async with running(store, tmp_path, name=name) as two:
            assert (await two.retrieve("large", "chunk_.*")).data == data
            (tmp_path / "large").write_bytes(other)
            assert (await two.bundle(items)).code == 0
            assert (await one.retrieve("large", "chunk_.*")).data == other
            await one.put_blob("by-one", "a", b"1")
            assert await two.list_tags() == ["by-one", "large", "small"]
            await two.destroy(["small"])
            assert await one.query("small", ".*") == []
    if store.startswith("memory"):
        return
    async with running(store, tmp_path, name=name) as again:
        assert (await again.retrieve(".*", "chunk_.*|a")).data == b"1" + other
        assert (await again.destroy(["large", "by-one"])).code == 0
        async with asyncio.timeout(30):
            while await rows(again):
                await asyncio.sleep(0.02)


async def rows(contexts: ContextsClient) -> list[str]:
    """Return what is kept, but for the record of changes and the chunks of what is in a grace."""
    service = contexts.near  # type: ignore[attr-defined]
    page = await service._catalog.store.keys()
    return [key for key in page.items if key != "g"]


@pytest.mark.parametrize("known", [0, 200_000])
async def test_instances_that_change_the_same_tags_at_once(tmp_path: Path, known: int) -> None:
    url = f"sqlite:///{tmp_path}/ion.db"
    count, each = 8, 3
    for number in range(count):
        (tmp_path / f"f{number}").write_bytes(bytes([number]) * 100_000)
    async with (
        running(url, tmp_path, known=known) as one,
        running(url, tmp_path, known=known) as two,
    ):

        async def work(client: ContextsClient, number: int) -> None:
            item = Item(f"file::{tmp_path}/f{number}", "iowarp::shared")
            for turn in range(each):
                assert (await client.bundle([item])).code == 0
                await client.put_blob("shared", f"b{number}", bytes([number, turn]))
                await client.put_blob(f"own{number}", "b", b"x")

        clients = [one, two]
        await asyncio.gather(*(work(clients[n % 2], n) for n in range(count)))
        for client in clients:
            found = await client.retrieve("shared", "b.*")
            assert found.data == b"".join(bytes([n, each - 1]) for n in range(count))
            chunks = await client.retrieve("shared", "(.*/)?chunk_0")
            assert sorted({bytes(chunks[n][:1]) for n in range(len(chunks))}) == [
                bytes([n]) for n in range(count)
            ]
            assert len(chunks) == count
            assert len(await client.list_tags("own")) == count


async def test_clients_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    async with running(f"sqlite:///{tmp_path}/ion.db", tmp_path) as contexts:

        async def work(number: int) -> None:
            data = os.urandom(70_000 + number)
            path = tmp_path / f"f{number}"
            path.write_bytes(data)
            tag = f"t{number}"
            for _ in range(2):
                assert (await contexts.bundle([Item(f"file::{path}", f"iowarp::{tag}")])).code == 0
                assert (await contexts.retrieve(tag, "chunk_.*")).data == data
            if number % 2:
                assert (await contexts.destroy([tag])).code == 0

        await asyncio.gather(*(work(number) for number in range(32)))
        assert await contexts.list_tags() == sorted(f"t{n}" for n in range(0, 32, 2))
        shelf = tmp_path / "ion.db.contexts"

        def count(files: Callable[[str], Any]) -> int:
            return sum(path.is_file() for path in files("*"))

        async with asyncio.timeout(30):
            while count(shelf.rglob) != 16:
                contexts.near._soon.set()  # type: ignore[attr-defined]
                await asyncio.sleep(0.02)


async def test_a_blob_replaced_while_it_is_read(tmp_path: Path) -> None:
    async with running(f"sqlite:///{tmp_path}/ion.db", tmp_path) as contexts:
        over = asyncio.Event()

        async def write() -> None:
            for number in range(40):
                await contexts.put_blob("t", "b", bytes([number]) * 80_000)
            over.set()

        await contexts.put_blob("t", "b", b"\0" * 80_000)
        task = asyncio.create_task(write())
        while not over.is_set():
            found = (await contexts.retrieve("t", "b")).data or b""
            assert len(found) == 80_000
            assert len(set(found)) == 1
        await task


async def test_memory_is_bounded_by_what_is_returned(tmp_path: Path) -> None:
    size = 24 * MIB
    (tmp_path / "large").write_bytes(data := os.urandom(size))
    async with running(f"sqlite:///{tmp_path}/ion.db", tmp_path) as contexts:
        tracemalloc.start()
        try:
            item = Item(f"file::{tmp_path}/large", "iowarp::large")
            assert (await contexts.bundle([item])).code == 0
            assert tracemalloc.get_traced_memory()[1] < 6 * MIB  # a file is not read whole
            tracemalloc.reset_peak()
            packed = await contexts.near.pack("large", "chunk_.*")  # type: ignore[attr-defined]
            assert tracemalloc.get_traced_memory()[1] < size + 2 * MIB
            assert packed.data == data
            del packed
            tracemalloc.reset_peak()
            async for _ in contexts.blobs("large", "chunk_.*"):
                pass
            assert tracemalloc.get_traced_memory()[1] < size  # far fewer than all are on their way
        finally:
            tracemalloc.stop()


async def test_what_is_taken_for_abandoned_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(3 * MIB))
    item = Item(f"file::{tmp_path}/large", "iowarp::large")
    async with running(f"sqlite:///{tmp_path}/ion.db", tmp_path, linger=60) as contexts:
        service = contexts.near  # type: ignore[attr-defined]
        enter = service._assimilator.enter

        async def late(drafts: list[Any]) -> None:
            service._places._abandoned = -1.0
            await service._places.sweep()
            await enter(drafts)

        service._assimilator.enter = late
        done = await contexts.bundle([item])
        assert done.code == codes.NOT_STORED
        assert await contexts.list_tags() == []
        assert await rows(contexts) == []
        service._assimilator.enter = enter
        assert (await contexts.bundle([item])).code == 0


async def test_what_was_entered_stays_though_the_store_did_not_say_so(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(data := os.urandom(3 * MIB))
    item = Item(f"file::{tmp_path}/large", "iowarp::large")
    async with running(f"sqlite:///{tmp_path}/ion.db", tmp_path) as contexts:
        service = contexts.near  # type: ignore[attr-defined]
        enter = service._assimilator.enter

        async def silent(drafts: list[Any]) -> None:
            await enter(drafts)
            message = "the connection is lost"
            raise Unavailable(message)

        service._assimilator.enter = silent
        assert (await contexts.bundle([item])).code == codes.NOT_STORED
        assert (await contexts.retrieve("large", "chunk_.*")).data == data


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"rots": []}, "rots"),
        ({"workers": 0}, "workers"),
        ({"roots": "/data"}, "roots"),
        ({"roots": [""]}, "roots"),
    ],
)
async def test_a_config_that_is_wrong(config: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        Roots(settings_of(config).roots)


async def test_what_is_given_up_as_a_blob_is_given_up_quietly(tmp_path: Path) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(said))

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        raise KeyError("b")

    async with running("memory://", tmp_path) as contexts:
        with pytest.raises(KeyError):
            await contexts.put_blob("a", "b", broken())
        (tmp_path / "large").write_bytes(bytes(64 * MIB))
        begun = asyncio.Event()
        items = [Item(f"file::{tmp_path}/large", "iowarp::large")]
        task = asyncio.create_task(contexts.bundle(items, progress=lambda _: begun.set()))
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        assert await contexts.list_tags() == []
    gc.collect()
    assert not told
