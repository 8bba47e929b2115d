"""The attribute store: as an index store that is somewhere else, on every bus and engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from ion import Container, StartError
from ion.base.errors import Conflict, ContentTooLarge, InvalidRequest, NotFound, Unavailable
from ion.services.attributestore.client import AttributeStoreClient
from ion.services.attributestore.model import PutRow, ReindexRow, RemoveRow
from ion.services.attributestore.service import AttributeStoreService
from ion.stores.limits import new_revision
from ion.stores.query import A

INDICES = {"kind": "str", "depth": "float", "count": "int"}
APP = {"apps.attributestore": {"namespace": "shared", "indices": INDICES}}


@pytest.fixture
async def client(bus: tuple[str, dict[str, object]]) -> AsyncIterator[AttributeStoreClient]:
    url, config = bus
    config = {**config, **APP, "store.url": "memory://"}
    async with Container(url, sysname="test", config=config) as container:
        await container.start_app("attributestore")
        yield AttributeStoreClient(container)


async def test_values_come_back_as_they_were_put(client: AttributeStoreClient) -> None:
    assert await client.get("a") is None
    assert await client.entry("a") is None
    for value in (b"", b"\0\xff", "", "text ü"):
        revision = await client.put("a", value, index={"kind": "ctd", "depth": 3})
        assert await client.get("a") == value
        row = await client.entry("a")
        assert row is not None
        assert (row.key, row.value, row.revision) == ("a", value, revision)
        assert row.index == {"kind": "ctd", "depth": 3.0}
    assert await client.has("a")
    assert await client.remove("a")
    assert not await client.remove("a")
    assert not await client.has("a")


async def test_any_bytes_are_a_key(client: AttributeStoreClient) -> None:
    keys = [os.fsdecode(bytes([n])) for n in range(256)]
    await client.write([PutRow(key, key.encode("utf-8", "surrogateescape")) for key in keys])
    assert await client.get("\udcff") == b"\xff"
    found = await client.get_many([*keys, "absent"])
    assert list(found) == keys
    seen: list[str] = []
    rows = await client.scan(limit=100)
    while True:
        seen += [row.key for row in rows.items]
        if rows.cursor is None:
            break
        rows = await client.scan(after=rows.cursor, limit=100)
    assert seen == sorted(keys, key=os.fsencode)


async def test_compare_and_set(client: AttributeStoreClient) -> None:
    first = await client.compare_and_set("k", b"1", 0)
    with pytest.raises(Conflict) as raised:
        await client.compare_and_set("k", b"2", 0)
    assert raised.value.details["expected"] == 0
    assert raised.value.details["revision"] == first
    second = await client.compare_and_set("k", b"2", first)
    with pytest.raises(Conflict) as raised:
        await client.put("k", b"3", revision=first)
    assert (raised.value.details["expected"], raised.value.details["revision"]) == (first, second)
    with pytest.raises(Conflict):
        await client.remove("k", revision=first)
    assert await client.get("k") == b"2"
    assert await client.remove("k", revision=second)


async def test_what_is_delivered_twice_is_no_conflict(client: AttributeStoreClient) -> None:
    becomes = new_revision()
    for _ in range(2):
        assert await client.put("k", b"1", revision=0, becomes=becomes) == becomes
    batch = [PutRow("a", b"1", {}, 0, new_revision()), PutRow("b", b"2", {}, 0, new_revision())]
    assert await client.write(batch) == await client.write(batch)
    with pytest.raises(Conflict):
        await client.put("k", b"2", revision=0, becomes=new_revision())


async def test_a_hundred_at_once_and_one_is_the_first(client: AttributeStoreClient) -> None:
    racing = (client.compare_and_set("k", f"{n}", 0) for n in range(100))
    ends = await asyncio.gather(*racing, return_exceptions=True)
    won = [n for n, end in enumerate(ends) if isinstance(end, int)]
    assert len(won) == 1
    assert sum(isinstance(end, Conflict) for end in ends) == 99
    assert await client.get("k") == f"{won[0]}"


async def test_a_batch_is_done_whole_or_not_at_all(client: AttributeStoreClient) -> None:
    await client.put("old", "x", index={"kind": "a"})
    with pytest.raises(NotFound, match="nobody"):
        await client.write([PutRow("new", b"1"), ReindexRow("nobody", {"kind": "b"})])
    assert not await client.has("new")
    revisions = await client.write(
        [PutRow("new", b"1"), ReindexRow("old", {"kind": "b", "count": 3}), RemoveRow("none")]
    )
    assert revisions[2] == 0
    row = await client.entry("old")
    assert row is not None
    assert (row.value, row.index) == ("x", {"kind": "b", "count": 3})


async def test_queries(client: AttributeStoreClient) -> None:
    for n in range(10):
        await client.put(f"k{n}", f"{n}", index={"kind": "ab"[n % 2], "depth": n * 10})
    deep = (A("kind") == "a") & (A("depth") > 15)
    rows = await client.query(deep, order=["-depth"], limit=2)
    assert [row.key for row in rows.items] == ["k8", "k6"]
    rows = await client.query(deep, order=["-depth"], limit=2, cursor=rows.cursor)
    assert [row.key for row in rows.items] == ["k4", "k2"]
    assert [row.key async for row in client.find(~deep, order=["depth"])] == [
        "k0",
        "k1",
        "k3",
        "k5",
        "k7",
        "k9",
    ]
    assert await client.count(deep) == 4
    assert await client.count({"kind": "a", "depth": {"GT": 15}}) == 4
    assert await client.update_index("k8", {"kind": None}) > 0
    assert await client.count(deep) == 3
    assert await client.indices() == dict(sorted(INDICES.items()))


async def test_pages_fit_into_answers(client: AttributeStoreClient) -> None:
    value = os.urandom(200_000)
    for n in range(7):
        await client.put(f"k{n}", value, index={"count": n})
    rows = await client.scan()
    assert [row.key for row in rows.items] == ["k0", "k1"]
    assert rows.cursor == "k1"
    assert len((await client.scan(after="k1")).items) == 2
    found = [row.key async for row in client.find(A("count") >= 1, order="-count")]
    assert found == ["k6", "k5", "k4", "k3", "k2", "k1"]
    with pytest.raises(ContentTooLarge, match="ask for fewer"):
        await client.get_many([f"k{n}" for n in range(7)])


@pytest.mark.parametrize(
    ("op", "content", "what"),
    [
        ("put", {"key": "", "value": b""}, "a key has 1 to 1024 bytes"),
        ("put", {"key": 3, "value": b""}, "a key is text"),
        ("put", {"key": "k", "value": 3}, "bytes or text"),
        ("put", {"key": "k", "value": "", "index": {"speed": 1}}, "no declared index attribute"),
        ("put", {"key": "k", "value": "", "index": {"depth": "x"}}, "of type float"),
        ("put", {"key": "k", "value": "", "index": {"value_is_text": True}}, "own"),
        ("put", {"key": "k", "value": "", "becomes": -1}, "a revision is"),
        ("query", {"where": {"is": "absent", "name": "speed"}}, "no declared index attribute"),
        ("query", {"where": ["kind", "=", "a"]}, '{"kind": "ctd", "depth": {"GT": 100}}'),
        ("query", {"cursor": "nonsense"}, "cursor"),
        ("scan", {"limit": 0}, "1 to 10000"),
    ],
)
async def test_what_cannot_be(
    client: AttributeStoreClient, op: str, content: dict[str, object], what: str
) -> None:
    with pytest.raises(InvalidRequest, match=what):
        await client._ask(op, content, None)
    assert not (await client.scan()).items


async def test_a_key_that_is_no_text_is_told_at_once(client: AttributeStoreClient) -> None:
    for call in (client.get(5), client.put(b"k", b""), client.remove(None)):  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest, match="a key is text"):
            await call


async def test_a_value_over_what_a_message_holds(client: AttributeStoreClient) -> None:
    with pytest.raises(ContentTooLarge):
        await client.put("k", b"x" * 1_100_000)


@pytest.mark.parametrize("engine", ["sqlite", "postgres", "redis"])
async def test_on_any_engine(request: pytest.FixtureRequest, tmp_path: object, engine: str) -> None:
    urls = {"sqlite": f"sqlite:///{tmp_path}/store.db"}
    url = urls.get(engine) or request.getfixturevalue(f"{engine}_url")
    config = {**APP, "store.url": url}
    for _ in range(2):  # what was put is there after the container has gone
        async with Container("memory://", sysname="test", config=config) as container:
            await container.start_app("attributestore")
            client = AttributeStoreClient(container)
            entry = await client.entry("k")
            revision = entry.revision if entry is not None else 0
            await client.compare_and_set("k", "text", revision, index={"depth": 3})
            with pytest.raises(Conflict):
                await client.compare_and_set("k", b"", revision)
            assert [row.value async for row in client.find(A("depth") < 4)] == ["text"]
    assert revision


@pytest.mark.parametrize(
    ("args", "what"),
    [
        ({"indices": {"x": "date"}}, "of no type 'date'"),
        ({"namespace": "No.Name"}, "no name"),
        ({"indices": {"value_is_text": "bool"}}, "without 'value_is_text'"),
    ],
)
async def test_a_wrong_configuration_is_told(args: dict[str, object], what: str) -> None:
    config = {"store.url": "memory://"}
    async with Container("memory://", config=config) as container:
        with pytest.raises(StartError, match=what):
            await container.spawn(AttributeStoreService, args=args)


async def test_a_store_that_is_away_is_unavailable(client: AttributeStoreClient) -> None:
    container = client._caller
    assert isinstance(container, Container)
    service = next(p for p in container.processes.values() if isinstance(p, AttributeStoreService))

    async def away(key: str) -> bool:
        message = "the store is away: start it"
        raise Unavailable(message)

    service._rows.has = away  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="start it"):
        await client.has("k")
