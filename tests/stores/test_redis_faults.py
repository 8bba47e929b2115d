"""What goes wrong with a real Redis: it dies, hangs, is full, is a replica, or holds what is not
ours."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from ion.base.errors import Damaged, InvalidRequest, IonError, NewerSchema, Unavailable
from ion.stores.opening import open_datastore
from ion.stores.query import A, Query
from ion.stores.redis import pipeline
from ion.stores.store import Datastore, Put, Remove, Store
from ion.testing.contracts.stores.bench import listed, scanned, values
from ion.testing.servers import RedisServer

pytestmark = pytest.mark.redis
PATIENCE = 60.0  # seconds until a test gives up waiting


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    """Give a server that tests may break."""
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
async def server(own_server: RedisServer) -> AsyncIterator[RedisServer]:
    """Give that server, whole; what a test has set is set back after it."""
    own_server.resume()
    own_server.start()
    yield own_server
    own_server.resume()
    own_server.start()
    async with admin(own_server) as client:
        await client.config_set("maxmemory", "0")
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("appendonly", "yes")
        await client.flushall()


@asynccontextmanager
async def admin(server: RedisServer, database: int = 0) -> AsyncIterator[Redis]:
    """Give a plain client."""
    client = Redis.from_url(server.url(database))
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def opened(
    server: RedisServer, timeout: float = PATIENCE, sysname: str = ""
) -> AsyncIterator[Datastore]:
    """Give an open datastore."""
    datastore = open_datastore(server.url(), timeout=timeout, sysname=sysname)
    await datastore.open()
    try:
        yield datastore
    finally:
        await datastore.close()


async def works(store: Store) -> None:
    """Wait until a put is done."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            await store.put("again", b"1")
        except Unavailable:
            assert time.monotonic() < end, "it does not come back"
            await asyncio.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("way", ["kill", "stop"])
async def test_it_dies_in_mid_batch(server: RedisServer, way: str) -> None:
    """What is under way is Unavailable, what was acknowledged is there, and it goes on then."""
    async with opened(server) as datastore:
        store = await datastore.store("things")
        acknowledged: list[str] = []
        errors: list[BaseException] = []

        async def write(number: int) -> None:
            for turn in range(100_000):
                keys = [f"{number}-{turn}-{part}" for part in range(3)]
                try:
                    if number % 2:
                        await store.write([Put(key, b"x" * 500) for key in keys])
                    else:
                        keys = keys[:1]
                        await store.put(keys[0], b"x" * 500)
                except IonError as error:
                    errors.append(error)
                    return
                acknowledged.extend(keys)

        tasks = [asyncio.create_task(write(number)) for number in range(16)]
        while len(acknowledged) < 500:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(getattr(server, way))
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        assert len(errors) == 16
        assert {type(error) for error in errors} == {Unavailable}
        assert all("is it running" in str(error) for error in errors), errors[0]
        with pytest.raises(Unavailable, match="is away"):
            await store.get("a")
        await asyncio.to_thread(server.start)
        await works(store)
        there = set(await listed(store))
        assert set(acknowledged) <= there
        for number, turn in {tuple(key.split("-")[:2]) for key in there if "-" in key}:
            parts = [f"{number}-{turn}-{part}" in there for part in range(3)]
            assert all(parts) or not int(number) % 2, "half a batch"


async def test_it_forgets_its_scripts(server: RedisServer) -> None:
    """They are sent again, in the midst of other calls."""
    async with opened(server) as datastore, admin(server) as client:
        store = await datastore.index_store("found", {"i": "int"})
        plain = await datastore.store("plain")
        for turn in range(5):
            await client.script_flush()
            await asyncio.gather(
                *(store.put(f"{turn}-{n}", b"1", index={"i": n}) for n in range(20)),
                *(plain.put(f"{turn}-{n}", b"1") for n in range(20)),
                *(plain.get("none") for _ in range(20)),
            )
        assert await store.count(Query(A("i") == 7)) == 5
        assert len(await values(plain)) == 100


async def test_it_hangs(server: RedisServer) -> None:
    """Calls end at their time limit, and it goes on by itself where Redis does."""
    async with opened(server, timeout=1.0) as datastore:
        store = await datastore.store("things")
        await store.put("a", b"1")
        server.suspend()
        begun = time.monotonic()
        calls = [store.get("a"), store.put("b", b"2"), store.scan(), store.put("c", bytes(10**6))]
        done = await asyncio.gather(*calls, return_exceptions=True)
        took = time.monotonic() - begun
        assert [type(result) for result in done] == [Unavailable] * 4
        assert "is it overloaded, or held up" in str(done[0])
        assert 0.9 < took < 30
        with pytest.raises(Unavailable):
            await store.get("a")  # on a new connection, which nobody answers either
        server.resume()
        await works(store)
        assert await store.get("a") == b"1"


async def test_it_hangs_while_it_is_opened_and_closed(server: RedisServer) -> None:
    """Both end."""
    async with opened(server, timeout=1.0) as datastore:
        store = await datastore.store("things")
        server.suspend()
        waiting = asyncio.create_task(store.put("a", b"1"))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="held up"):
            async with opened(server, timeout=0.5):
                pass
        await asyncio.wait_for(datastore.close(), PATIENCE)
        with pytest.raises(Unavailable):
            await waiting


async def test_calls_that_wait_are_bounded(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is refused at once."""
    monkeypatch.setattr(pipeline, "MAX_WAITING", 10)
    async with opened(server) as datastore:
        store = await datastore.store("things")
        server.suspend()
        waiting = [asyncio.create_task(store.get(f"{number}")) for number in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="10 calls wait"):
            await store.put("a", b"")
        server.resume()
        assert await asyncio.gather(*waiting) == [None] * 10
        await store.put("a", b"")


async def test_who_gives_up_harms_nobody(server: RedisServer) -> None:
    """The others get their own answers, and so do those that come after them."""
    async with opened(server) as datastore:
        store = await datastore.store("things")
        await store.write([Put(f"{number}", b"%d" % number) for number in range(100)])
        for turn in range(20):
            tasks = [asyncio.create_task(store.get(f"{number}")) for number in range(100)]
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            for task in tasks[turn::3]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for number, result in enumerate(done):
                assert result == b"%d" % number or isinstance(result, asyncio.CancelledError)
            assert await store.get("7") == b"7"


@pytest.mark.parametrize("how", ["put", "write"])
async def test_what_was_given_up_is_not_done_after_what_came_later(
    server: RedisServer, how: str
) -> None:
    """A large value is on its way for longer than a small one, by a way of its own."""
    async with opened(server) as datastore:
        store = await datastore.store("things")
        large = Put("k", bytes(30_000_000))
        put = store.put("k", large.value) if how == "put" else store.write([large])
        given_up = asyncio.ensure_future(put)
        for _ in range(5):
            await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await store.put("k", b"later")
        pipelines = datastore._pipelines._side  # type: ignore[attr-defined]
        end = time.monotonic() + PATIENCE
        while any(pipeline.count for pipeline in pipelines):
            assert time.monotonic() < end
            await asyncio.sleep(0.005)
        assert await store.get("k") == b"later"


async def connected(client: Redis) -> set[str]:
    """Return the numbers of the connections that there are."""
    return {found["id"] for found in await client.client_list()}


@pytest.mark.parametrize("size", [1_000_000, 20_000_000])
async def test_what_it_was_too_slow_for_is_not_done_after_what_came_later(
    server: RedisServer, size: int
) -> None:
    """In part it is in the server's buffers, in part in ours, while nobody waits for it."""
    limit = 1.0 + size / 10_000_000
    async with opened(server, timeout=limit) as datastore, admin(server) as client:
        store = await datastore.store("things")
        await store.put("k", bytes(size))
        await store.put("other", b"")
        before = await connected(client)
        server.suspend()
        with pytest.raises(Unavailable, match="in time"):
            await store.put("k", bytes(size))
        later = asyncio.ensure_future(store.put("k", b"later"))
        await asyncio.sleep(0.01)  # it is on its way by then
        server.resume()
        await later
        end = time.monotonic() + PATIENCE
        while len(before - await connected(client)) < 1:
            assert time.monotonic() < end, "the connection that was given up is there"
            await asyncio.sleep(0.005)
        assert await store.get("k") == b"later"


async def kills(client: Redis) -> int:
    """Return how many connections the server was told to forget."""
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_client|kill", {"calls": 0})["calls"])


async def test_what_the_end_cuts_off_is_forgotten_though_nobody_awaits_it(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close that is cancelled goes on; whoever closes it again awaits its end."""
    monkeypatch.setattr(pipeline, "LAST_MOMENT", 0.1)
    monkeypatch.setattr("ion.stores.redis.link._END", PATIENCE)
    async with opened(server) as datastore, admin(server) as client:
        store = await datastore.store("things")
        await store.put("k", b"")
        before = await kills(client)
        server.suspend()
        put = asyncio.ensure_future(store.put("k", b"cut off"))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(datastore.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(Unavailable, match="not open"):
            await put
        server.resume()
        await datastore.close()
        assert (closing.cancelled(), await kills(client)) == (True, before + 1)


async def test_a_connection_that_was_made_while_it_was_busy_is_forgotten_like_others(
    server: RedisServer,
) -> None:
    """It did not say then what it calls it."""
    async with opened(server, timeout=0.5) as datastore, admin(server) as client:
        store = await datastore.store("things")
        await client.config_set("lua-time-limit", 1)
        await client.client_kill_filter(_type="normal", skipme=True)
        script = asyncio.ensure_future(client.eval("while true do end", 0))
        end = time.monotonic() + PATIENCE
        error = None
        while "busy" not in str(error):
            assert time.monotonic() < end
            (error,) = await asyncio.gather(store.put("k", b""), return_exceptions=True)
        await client.script_kill()
        await asyncio.gather(script, return_exceptions=True)
        await store.put("k", b"")
        before = await kills(client)
        server.suspend()
        with pytest.raises(Unavailable, match="in time"):
            await store.put("k", b"given up")
        server.resume()
        await store.put("k", b"later")
        assert await kills(client) == before + 1


@pytest.mark.parametrize("how", ["put", "write"])
async def test_what_is_small_and_given_up_is_not_done_after_what_is_large(
    server: RedisServer, how: str
) -> None:
    """A small value is behind many others, and a large one overtakes them."""
    async with opened(server) as datastore:
        store = await datastore.store("things")
        others = [asyncio.ensure_future(store.put(f"o{n}", bytes(60_000))) for n in range(400)]
        given_up = asyncio.ensure_future(store.put("k", b"before"))
        others.append(asyncio.ensure_future(store.put("other", b"one")))  # travels with it
        for _ in range(3):
            await asyncio.sleep(0)
        given_up.cancel()
        large = Put("k", bytes(100_000))
        await (store.put("k", large.value) if how == "put" else store.write([large]))
        await asyncio.gather(*others)
        assert await store.get("k") == large.value


@pytest.fixture
def locked(redis_password: str) -> Iterator[RedisServer]:
    """Give a server with a password."""

    class Locked(RedisServer):
        def url(self, database: int = 0) -> str:
            return f"redis://:{redis_password}@{self.host}:{self.port}/{database}"

        def _launch(self):  # type: ignore[no-untyped-def]
            (self.folder / "own.conf").write_text(f"requirepass {redis_password}\n")
            return self._popen(
                ["redis-server", "own.conf", "--bind", self.host, "--port", str(self.port)]
            )

    with Locked() as server:
        assert isinstance(server, Locked)
        yield server


@pytest.fixture
def redis_password() -> str:
    """Give a password."""
    return "s3cr3t-words"


async def test_a_password(
    locked: RedisServer, redis_password: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is used; a wrong one is refused; neither is shown."""
    caplog.set_level(logging.DEBUG)
    async with opened(locked) as datastore:
        await (await datastore.store("a")).put("a", b"1")
        assert datastore.url == f"redis://:***@{locked.host}:{locked.port}/0"
    for login in (":wrong-words@", "somebody:wrong-words@", ""):
        url = f"redis://{login}{locked.host}:{locked.port}"
        with pytest.raises(Unavailable, match="password") as raised:
            await open_datastore(url).open()
        assert "words" not in f"{raised.value!r} {raised.value.details}"
    assert "words" not in caplog.text


async def test_a_replica(server: RedisServer) -> None:
    """It is read; who writes is told that it is one."""
    replica = RedisServer()
    try:
        await asyncio.to_thread(replica.start)
        async with admin(replica) as client:
            await client.replicaof("127.0.0.1", "1")  # of nobody that is there
        with pytest.raises(Unavailable, match="read-only replica"):
            async with opened(replica):
                pass
        async with opened(server) as datastore:
            await (await datastore.store("things")).put("a", b"1")
            async with admin(replica) as client:
                await client.replicaof(server.host, str(server.port))
                end = time.monotonic() + PATIENCE
                while not await client.exists("{ion.things}:v:a"):
                    assert time.monotonic() < end
                    await asyncio.sleep(0.02)
        async with opened(replica) as datastore:
            with pytest.raises(Unavailable, match="read-only replica"):
                await datastore.store("things")
    finally:
        replica.close()


async def test_its_memory_is_full(server: RedisServer) -> None:
    """Puts say so, and do nothing; what is there is read, and removed."""
    async with opened(server) as datastore, admin(server) as client:
        store = await datastore.store("things")
        indexed = await datastore.index_store("found", {"i": "int"})
        await store.put("a", b"1")
        await indexed.put("a", b"1", index={"i": 1})
        await client.config_set("maxmemory", "1")
        calls = [
            lambda: store.put("b", b"2"),
            lambda: store.put("c", bytes(10**6)),
            lambda: store.write([Remove("a"), Put("b", b"2")]),
            lambda: indexed.write([Remove("a"), Put("b", b"2", index={"i": 2})]),
            lambda: indexed.update_index("a", {"i": 2}),
        ]
        for call in calls:
            with pytest.raises(Unavailable, match="no memory left"):
                await call()
        assert await values(store) == await values(indexed) == {"a": b"1"}
        assert await indexed.count(Query(A("i") == 1)) == 1
        assert await indexed.remove("a") is True
        assert await store.remove("a") is True
        await client.config_set("maxmemory", "0")
        await store.put("b", b"2")


async def test_it_would_drop_keys(server: RedisServer) -> None:
    """It is refused, and what to do is said."""
    async with admin(server) as client:
        await client.config_set("maxmemory", "100mb")
        await client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(Unavailable, match=r"allkeys-lru.*noeviction"):
            async with opened(server):
                pass
        await client.config_set("maxmemory-policy", "volatile-lru")  # a store's keys never expire
        async with opened(server) as datastore:
            await (await datastore.store("a")).put("a", b"1")


@pytest.mark.parametrize("is_kept", [True, False])
async def test_it_keeps_nothing_on_disk(
    server: RedisServer, caplog: pytest.LogCaptureFixture, is_kept: bool
) -> None:
    """A warning says so."""
    async with admin(server) as client:
        await client.config_set("appendonly", "yes" if is_kept else "no")
    async with opened(server):
        assert ("appendonly no" in caplog.text) is not is_kept


async def test_a_newer_schema(server: RedisServer) -> None:
    """It is refused, and left as it is; another system's is nobody's business."""
    async with opened(server) as datastore, admin(server) as client:
        await (await datastore.store("a")).put("a", b"1")
        await client.set("{ion}:schema", "2")
        with pytest.raises(NewerSchema, match=r"of schema 2.*install a newer ION"):
            async with opened(server):
                pass
        await client.set("{ion}:schema", "pineapple")
        with pytest.raises(Damaged, match="pineapple"):
            async with opened(server):
                pass
        async with opened(server, sysname="other") as other:
            assert await other.names() == []


async def test_two_systems(server: RedisServer) -> None:
    """They see nothing of each other."""
    async with opened(server, sysname="north") as north, opened(server, sysname="south") as south:
        stores = [await datastore.store("a") for datastore in (north, south)]
        for number, store in enumerate(stores):
            await store.put("k", b"%d" % number)
        await stores[0].clear()
        assert await values(stores[1]) == {"k": b"1"}
        await south.drop("a")
        assert await north.names() == ["a"]


async def test_something_else_is_there(server: RedisServer) -> None:
    """Under a key of ours: it is not read as if it were ours, and the rest is."""
    async with opened(server) as datastore, admin(server) as client:
        store = await datastore.store("things")
        await store.put("a", b"1")
        await client.rpush("{ion.things}:v:list", "x")
        await client.set("{ion.things}:v:short", "x")
        for key in ("list", "short"):
            reads = (lambda key=key: store.get(key), lambda key=key: store.entry(key))
            for read in reads:
                with pytest.raises(Damaged, match="another program"):
                    await read()
        with pytest.raises(Damaged, match="in braces"):
            await store.has("list")
        with pytest.raises(Damaged):
            await store.get_many(["a", "list"])
        with pytest.raises(Damaged, match="in braces"):
            await store.put("list", b"1", revision=0)
        assert await asyncio.gather(*(store.get("a") for _ in range(5))) == [b"1"] * 5
        await store.put("list", b"mine")
        assert await values(store) == {"a": b"1", "list": b"mine"}


async def test_a_value_that_was_taken_away(server: RedisServer) -> None:
    """It is not passed over in silence; a put, or a removal, mends it."""
    async with opened(server) as datastore, admin(server) as client:
        store = await datastore.store("things")
        await store.write([Put("a", b"1"), Put("b", b"2"), Put("c", b"3")])
        await client.delete("{ion.things}:v:a", "{ion.things}:v:b")
        with pytest.raises(Damaged, match=r"'a'.*evicted.*put it again, or remove it"):
            await scanned(store)
        await store.put("a", b"4")
        with pytest.raises(Damaged, match="'b'"):
            await scanned(store)
        assert await store.remove("b") is False
        assert await values(store) == {"a": b"4", "c": b"3"}


@pytest.mark.parametrize("key", ["k", "a", "i:i"])
async def test_a_key_of_another_type_stops_all_of_a_write(server: RedisServer, key: str) -> None:
    """Redis undoes nothing: so nothing is begun."""
    async with opened(server) as datastore, admin(server) as client:
        store = await datastore.index_store("found", {"i": "int"})
        await store.put("a", b"1", index={"i": 1})
        plain = await datastore.store("plain")
        await client.rename(f"{{ion.found}}:{key}", "{ion.found}:saved")
        await client.set(f"{{ion.found}}:{key}", "mine")
        await client.set("{ion.plain}:k", "mine")
        for batch in ([Put("b", b"2", index={"i": 2})], [Put("b", b"2"), Remove("a")]):
            with pytest.raises(Damaged, match="in braces"):
                await store.write(batch)
        with pytest.raises(Damaged, match="in braces"):
            await plain.put("b", b"2")
        assert not await client.exists("{ion.plain}:v:b", "{ion.found}:v:b")
        await client.rename("{ion.found}:saved", f"{{ion.found}}:{key}")
        assert await values(store) == {"a": b"1"}
        assert await store.count(Query(A("i") == 1)) == 1


@pytest.mark.parametrize("key", ["m", "a"])
async def test_what_cannot_be_read(server: RedisServer, key: str) -> None:
    """A description, or attributes, of another program."""
    async with opened(server) as datastore, admin(server) as client:
        store = await datastore.index_store("found", {"i": "int"})
        await store.put("a", b"1", index={"i": 1})
        if key == "m":
            await client.set("{ion.found}:m", b"\xc1 this is none")
            async with opened(server) as other:
                with pytest.raises(Damaged, match="description of store 'found'"):
                    await other.index_store("found", {"i": "int"})
        else:
            for data in (b"\x01i\x00\x03abc", b"\x01i\x00", b"\x05i", b"\x01\xff\x00\x01a"):
                await client.hset("{ion.found}:a", "a", data)
                with pytest.raises(Damaged, match="cannot be read"):
                    await store.entry("a")
                with pytest.raises(Damaged, match="cannot be read"):
                    await store.query(Query(order=("-i",)))


async def test_a_store_that_others_drop(server: RedisServer) -> None:
    """Who has it open cannot put in it, nor in the next one of that name, until it is opened."""
    async with opened(server) as datastore, opened(server) as other:
        store = await datastore.store("a")
        await store.put("k", b"1")
        await other.drop("a")
        calls = [
            lambda: store.put("k", b"2"),
            lambda: store.put("k", bytes(10**6)),
            lambda: store.write([Put("k", b"2"), Put("l", b"2")]),
            lambda: store.remove("k"),
            store.clear,
        ]
        for number in range(2):
            for call in calls:
                with pytest.raises(InvalidRequest, match="dropped meanwhile"):
                    await call()
            if not number:
                assert await other.names() == []
                indexed = await other.index_store("a", {"i": "int"})
        assert await values(indexed) == {}
        with pytest.raises(InvalidRequest, match="is an index store"):
            await datastore.store("a")
        again = await datastore.index_store("a", {})
        await again.put("k", b"3", index={"i": 1})
        assert await indexed.count(Query(A("i") == 1)) == 1


async def test_a_store_that_was_dropped_half(server: RedisServer) -> None:
    """Nothing of it is in the next one of its name."""
    async with opened(server) as datastore, admin(server) as client:
        store = await datastore.index_store("a", {"i": "int"})
        await store.write([Put(f"{n}", b"", index={"i": n}) for n in range(1200)])
        await client.delete("{ion.a}:m")  # the first step of dropping, and the last of its client
        assert await datastore.names() == []
        async with opened(server) as other:
            again = await other.index_store("a", {"i": "int"})
            assert await values(again) == {}
            assert await again.count(Query(A("i") >= 0)) == 0
            assert set(await client.keys("{ion.a}:*")) == {b"{ion.a}:m"}
