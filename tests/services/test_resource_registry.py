"""The resource registry, on each store that has transactions, and over each bus."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ion import Container, Process, StartError
from ion.base import clock
from ion.base.errors import Conflict, ContentTooLarge, InvalidRequest, IonError, NotFound
from ion.process.events.types import (
    AssociationCreated,
    AssociationRemoved,
    ResourceCreated,
    ResourceEvent,
    ResourceLifecycleChanged,
    ResourceModified,
    ResourceRetired,
)
from ion.services.resource_registry.client import ResourceRegistryClient
from ion.services.resource_registry.lifecycle import IllegalStep
from ion.services.resource_registry.model import Attribute, NewResource, Resource
from ion.stores.query import A
from tests.process.keeping import eventually

SERIAL = {"serial": Attribute(required=True, index=True, pattern="^[A-Z]+-[0-9]+$")}
DEPTH = {"depth": Attribute("float", default=0.0, least=0, most=11_000, index=True, unit="m")}
_names = itertools.count(1)


@pytest.fixture(params=["amqp", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Give a bus and a store: RabbitMQ and memory, or memory and one that containers share."""
    if request.param == "amqp":
        return request.getfixturevalue("amqp_url"), {"store.url": "memory://"}
    bus = f"memory://registry-{next(_names)}"
    if request.param == "postgres":
        return bus, {"store.url": request.getfixturevalue("postgres_url")}
    return bus, {"store.url": f"sqlite:///{tmp_path}/store.db"}


ON_SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)  # elsewhere it is the same
SHARED = pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
async def container(place: tuple[str, dict[str, Any]]) -> AsyncIterator[Container]:
    url, config = place
    async with Container(url, sysname="test", config=config) as container:
        await container.start_app("resource_registry")
        yield container


@pytest.fixture
async def registry(container: Container) -> ResourceRegistryClient:
    """Give a registry that knows of devices, and of sites that have some."""
    client = ResourceRegistryClient(container)
    await client.register_type("Device", SERIAL)
    await client.register_type("CTD", DEPTH, parent="Device")
    await client.register_type("Site")
    await client.register_predicate("hasDevice", domain=["Site"], range=["Device"])
    return client


class As:
    """Calls on behalf of somebody."""

    def __init__(self, container: Container, user: str) -> None:
        self._endpoint = container.endpoint
        self._extra = {"user-id": user}

    async def rpc_send(
        self, to: str, op: str, content: Any = None, timeout: float | None = None
    ) -> Any:
        return await self._endpoint.rpc("", to, op, content, timeout, extra=self._extra)


class Hearing(Process):
    """Hears of resources."""

    def __init__(self) -> None:
        self.heard: list[ResourceEvent] = []

    async def on_activate(self) -> None:
        await self.subscribe_events(ResourceEvent, self.on_event)

    async def on_event(self, event: ResourceEvent) -> None:
        self.heard.append(event)


def one(container: Container, name: str) -> Any:
    return next(p for p in container.processes.values() if p.name == name)


# types


async def test_attributes_are_checked_against_the_type(registry: ResourceRegistryClient) -> None:
    made = await registry.create("CTD", "deep one", {"serial": "CTD-1"}, description="a CTD")
    assert made.attributes == {"serial": "CTD-1", "depth": 0.0}
    assert await registry.read(made.id) == made
    wrong: list[tuple[str, Mapping[str, Any], str]] = [
        ("CTD", {}, "serial"),
        ("CTD", {"serial": "x"}, "serial"),
        ("CTD", {"serial": "A-1", "depth": 12_000}, "depth"),
        ("CTD", {"serial": "A-1", "depth": "deep"}, "depth"),
        ("CTD", {"serial": "A-1", "colour": "red"}, "colour"),
        ("Device", {"serial": "A-1", "depth": 3}, "depth"),
    ]
    for name, attributes, told in wrong:
        with pytest.raises(InvalidRequest, match=told):
            await registry.create(name, "wrong", attributes)
    with pytest.raises(InvalidRequest, match="depth"):
        await registry.update(made.id, attributes={"depth": -1})
    with pytest.raises(InvalidRequest, match="serial"):
        await registry.update(made.id, attributes={"serial": None})
    with pytest.raises(NotFound, match="Boat"):
        await registry.create("Boat", "x")
    with pytest.raises(InvalidRequest, match="name"):
        await registry.create("Site", " ")
    with pytest.raises(InvalidRequest, match="id"):
        await registry.create("Site", "x", id="a/b")
    with pytest.raises(InvalidRequest, match="too long for the events of a Site"):
        await registry.create("Site", "x", id="a" + ":" * 60)
    assert await registry.count() == 1


async def test_a_type_grows_and_what_is_there_is_found_by_it(
    registry: ResourceRegistryClient,
) -> None:
    old = await registry.create("CTD", "old", {"serial": "A-1"})
    rate = Attribute("int", default=1, index=True)
    device = await registry.register_type("Device", {**SERIAL, "rate": rate})
    assert device.version == 2
    ctd = await registry.type("CTD")
    assert (ctd.version, list(ctd.every)) == (2, ["serial", "rate", "depth"])
    assert (await registry.register_type("Device", {**SERIAL, "rate": rate})).version == 2
    await registry.create("CTD", "new", {"serial": "A-2", "rate": 7})
    assert [r.name for r in (await registry.find("Device", A("rate") == 7)).items] == ["new"]
    after = await registry.update(old.id, description="checked against what it is now")
    assert (after.attributes["rate"], after.type_version) == (1, 2)

    await registry.register_type("Site", {"area": Attribute("float")})
    site = await registry.create("Site", "s", {"area": 2.5})
    await registry.register_type("Site", {"area": Attribute("float", index=True)})
    assert [r.id for r in (await registry.find("Site", A("area") > 2)).items] == [site.id]
    assert (await registry.read(site.id)).revision == 1  # nobody has changed it
    for changed in (
        {},
        {"area": Attribute("int", index=True)},
        {"area": Attribute("float")},
        {"area": Attribute("float", index=True), "more": Attribute(required=True)},
    ):
        with pytest.raises(InvalidRequest, match="Site cannot change"):
            await registry.register_type("Site", changed)
    assert [t.name for t in await registry.types("Device")] == ["Device", "CTD"]


@ON_SQLITE
async def test_types_that_cannot_be(registry: ResourceRegistryClient) -> None:
    for name, attributes, more, told in (
        ("1x", {}, {}, "1x"),
        ("X", {"Upper": Attribute()}, {}, "Upper"),
        ("X", {"owner": Attribute()}, {}, "owner"),
        ("X", {"a": Attribute(pattern="(")}, {}, "X.a"),
        ("X", {"a": Attribute(pattern="(?=a)")}, {}, "X.a.*lookaround"),
        ("X", {"a": Attribute("int", pattern="1")}, {}, "X.a.*for text"),
        ("X", {"a": Attribute(pattern="a+", default="ab")}, {}, "X.a, its default"),
        ("X", {"a": Attribute("bytes", least=float("inf"))}, {}, "X.a"),
        ("X", {"a": Attribute("int", least=5, most=1)}, {}, "X.a.*over its most"),
        ("X", {"a": Attribute("bool", least=1)}, {}, "X.a.*nothing for a bool"),
        ("X", {"a": Attribute(choices=["x", 1])}, {}, "X.a.*of kind str"),
        ("X", {"a": Attribute(choices=["x"], pattern="y")}, {}, "X.a.*choices say all"),
        ("X", {"a": Attribute("float", default=float("nan"), index=True)}, {}, "no number"),
        ("X", {"a": Attribute("int", default="x")}, {}, "X.a"),
        ("X", {"a": Attribute("list", index=True)}, {}, "X.a"),
        ("X", {"a": Attribute("float", choices=["x"])}, {}, "X.a"),
        ("X", {"depth": Attribute("str", index=True)}, {}, "depth"),
        ("X", {"serial": Attribute()}, {"parent": "Device"}, "serial"),
        ("X", {}, {"life_cycle": "mine"}, "mine"),
    ):
        with pytest.raises(InvalidRequest, match=told):
            await registry.register_type(name, attributes, **more)
    with pytest.raises(NotFound, match="Boat"):
        await registry.register_type("X", parent="Boat")
    with pytest.raises(NotFound, match="Boat"):
        await registry.register_predicate("hasBoat", range=["Boat"])
    assert "X" not in [t.name for t in await registry.types()]


@ON_SQLITE
async def test_types_over_what_an_answer_holds_are_told_all_the_same(
    registry: ResourceRegistryClient,
) -> None:
    large = {"a": Attribute(description="x" * 110_000)}
    for refused in (
        registry.register_type("Larger", {"b": Attribute(default="x" * 300_000)}),
        registry.register_type("Site", {"b": Attribute(description="x" * 300_000)}),
        registry.register_predicate("larger", description="x" * 300_000),
    ):
        with pytest.raises(ContentTooLarge, match="over the 262144"):
            await refused
    names = [f"Large{n:02}" for n in range(7)]
    for name in names:
        await registry.register_type(name, large)
        await registry.register_predicate(name, description="x" * 110_000)
    told = [t.name for t in await registry.types()]
    assert told == ["Actor", "Device", "CTD", *names, "Site"]
    assert [p.name for p in await registry.predicates()] == [*names, "hasDevice", "hasOwner"]
    with pytest.raises(ContentTooLarge):  # nor by what a type has of its parent
        await registry.register_type(
            "Small", {"b": Attribute(description="x" * 80_000)}, parent="Large01"
        )


async def test_a_pattern_is_for_all_of_a_text_and_holds_nobody_up() -> None:
    config = {"store.url": "memory://"}
    async with Container("memory://", sysname="test", config=config) as container:
        await container.start_app("resource_registry")
        registry = ResourceRegistryClient(container)
        await registry.register_type("Code", {"code": Attribute(pattern="(é+)+|b")})
        for wrong in ("x", "ab", "é" * 999 + "!", "b\n", "é" * 1001):
            with pytest.raises(InvalidRequest, match="code"):
                await registry.create("Code", "c", {"code": wrong})
        made = await registry.create("Code", "c", {"code": "é" * 1000})
        # one that was registered as Python's, before
        home = one(container, "resource_registry")._stores
        old = msgspec.structs.replace(
            await registry.type("Code"),
            name="Old",
            path="Old/",
            every={"code": Attribute(pattern="(?=b)b")},
        )
        await home.types.put("type/Old", msgspec.msgpack.encode(old))
        assert (await registry.find("Old")).items == []
        with pytest.raises(InvalidRequest, match=r"Old.code cannot be checked.*lookaround"):
            await registry.create("Old", "o", {"code": "b"})
        await registry.register_type("Old", {"code": Attribute(pattern="b")})
        await registry.create("Old", "o", {"code": "b"})
        assert (await registry.read(made.id)) == made


# changes


async def test_a_stale_write_is_a_conflict_with_both_sides(
    registry: ResourceRegistryClient,
) -> None:
    made = await registry.create("CTD", "c", {"serial": "A-1", "depth": 5})
    after = await registry.update(made.id, 1, attributes={"depth": 6}, name="d")
    assert (after.revision, after.name, after.change) == (2, "d", "update")
    with pytest.raises(Conflict) as raised:
        await registry.update(made.id, 1, attributes={"depth": 7})
    details = raised.value.details
    assert (details["expected"], details["revision"]) == (1, 2)
    assert details["ours"] == {"attributes": {"depth": 7}}
    assert details["theirs"]["attributes"]["depth"] == 6
    for late in (registry.step(made.id, "plan", revision=1), registry.delete(made.id, revision=1)):
        with pytest.raises(Conflict):
            await late
    assert await registry.read(made.id) == after
    with pytest.raises(Conflict) as raised:
        await registry.create("Site", "s", id=made.id)
    assert raised.value.details["theirs"]["name"] == "d"


async def test_twenty_at_once(registry: ResourceRegistryClient) -> None:
    made = await registry.create("CTD", "c", {"serial": "A-1"})
    racing = (registry.update(made.id, 1, attributes={"depth": n}) for n in range(20))
    ends = await asyncio.gather(*racing, return_exceptions=True)
    assert sum(isinstance(end, Resource) for end in ends) == 1
    assert sum(isinstance(end, Conflict) for end in ends) == 19
    await asyncio.gather(*(registry.update(made.id, name=f"n{n}") for n in range(10)))
    found = await registry.history(made.id)
    assert [r.revision for r in found.items] == list(range(12, 0, -1))
    assert len({r.name for r in found.items}) == 11


class Meanwhile:
    """A store in which something is changed just before it is first looked through."""

    def __init__(self, store: Any, change: Callable[[], Awaitable[Any]]) -> None:
        self._store = store
        self._change: Callable[[], Awaitable[Any]] | None = change

    async def scan(self, *args: Any, **more: Any) -> Any:
        change, self._change = self._change, None
        if change is not None:
            await change()
        return await self._store.scan(*args, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_history_and_as_of(container: Container, registry: ResourceRegistryClient) -> None:
    versions = [await registry.create("CTD", "c", {"serial": "A-1"})]
    key = versions[0].id
    versions += [await registry.update(key, n, attributes={"depth": n}) for n in range(1, 6)]
    versions.append(await registry.step(key, "plan"))
    assert (await registry.history(key)).items == versions[::-1]
    seen: list[Resource] = []
    page = await registry.history(key, limit=2)
    while True:
        assert len(page.items) <= 2
        seen += page.items
        if page.cursor is None:
            break
        page = await registry.history(key, limit=2, cursor=page.cursor)
    assert seen == versions[::-1]
    for version, later in itertools.pairwise(versions):
        assert await registry.as_of(key, version.modified) == version
        assert await registry.as_of(key, (version.modified + later.modified) / 2) == version
    assert await registry.as_of(key, versions[-1].modified + 9) == versions[-1]
    with pytest.raises(NotFound, match="no version is so old"):
        await registry.as_of(key, versions[0].created - 1)
    await registry.delete(key)
    with pytest.raises(NotFound, match="deleted") as raised:
        await registry.read(key)
    assert await registry.as_of(key, raised.value.details["deleted"] - 1e-6) == versions[-1]
    with pytest.raises(NotFound, match="deleted"):
        await registry.as_of(key, raised.value.details["deleted"])
    for call in (registry.update(key, name="x"), registry.step(key, "plan"), registry.retire(key)):
        with pytest.raises(NotFound, match="deleted"):
            await call
    assert (await registry.history(key)).items[0].change == "delete"
    transaction = await registry.create("Site", "s")
    for n in range(4):
        await registry.update(transaction.id, name=f"s{n}")
    home = one(container, "resource_registry")._stores
    home.history = Meanwhile(home.history, lambda: registry.update(transaction.id, name="later"))
    found = await registry.history(transaction.id, limit=2)
    rest = await registry.history(transaction.id, cursor=found.cursor)
    assert [r.revision for r in (*found.items, *rest.items)] == [
        5,
        4,
        3,
        2,
        1,
    ]  # none twice, though it has 6 now
    assert (await registry.read(transaction.id)).revision == 6
    beyond = await registry.history(key, cursor="z")  # of what was thinned out, or made up
    assert (beyond.items, beyond.cursor) == ([], None)


class Back(clock.SystemClock):
    """A clock that goes backwards."""

    def __init__(self) -> None:
        self.time = 2e9

    def now(self) -> float:
        self.time -= 100
        return self.time


async def test_a_clock_set_back_mixes_nothing_up() -> None:
    config = {"store.url": "memory://", "apps.resource_registry": {"history": 3}}
    async with Container("memory://", sysname="test", config=config) as container:
        await container.start_app("resource_registry")
        registry = ResourceRegistryClient(container)
        await registry.register_type("Site")
        with clock.using(Back()):
            versions = [await registry.create("Site", "s")]
            key = versions[0].id
            versions += [await registry.update(key, name=f"s{n}") for n in range(8)]
        times = [version.modified for version in versions]
        assert times == sorted(set(times))
        # and of former versions as many are kept as is said
        assert (await registry.history(key)).items == versions[:-5:-1]
        assert await registry.as_of(key, versions[-4].modified) == versions[-4]
        with pytest.raises(NotFound):
            await registry.as_of(key, versions[-5].modified)


@ON_SQLITE
async def test_steps(registry: ResourceRegistryClient) -> None:
    made = await registry.create("Site", "s")
    with pytest.raises(IllegalStep) as raised:
        await registry.step(made.id, "deploy")
    assert raised.value.details["state"] == "DRAFT_PRIVATE"
    assert "plan" in raised.value.details["allowed"]
    for event in ("develop", "integrate", "enable", "deploy"):
        after = await registry.step(made.id, event)
        assert after.change == event
    assert after.state == "DEPLOYED_AVAILABLE"
    retired = await registry.retire(made.id)
    assert retired.state == "RETIRED_PRIVATE"
    for call in (registry.retire(made.id), registry.update(made.id, name="x")):
        with pytest.raises(IllegalStep):
            await call
    assert (await registry.read(made.id)) == retired


# finding


async def test_find(registry: ResourceRegistryClient) -> None:
    ids = await registry.create_many(
        [NewResource("CTD", f"c{n}", {"serial": f"C-{n}", "depth": n % 5}) for n in range(20)]
        + [NewResource("Device", f"d{n}", {"serial": f"D-{n}"}) for n in range(5)]
        + [NewResource("Site", "s")]
    )
    assert len(set(ids)) == 26
    await registry.retire(ids[0])
    await registry.delete(ids[1])
    await registry.step(ids[2], "announce")

    async def names(*args: Any, **more: Any) -> list[str]:
        found = await registry.find(*args, **more)
        assert found.cursor is None
        assert await registry.count(*args, **more) == len(found.items)
        return sorted(r.name for r in found.items)

    assert await names("CTD", A("depth") == 0) == ["c10", "c15", "c5"]
    assert await names("CTD", {"depth": 0, "serial": {"PREFIX": "C-1"}}) == ["c10", "c15"]
    assert await names("CTD", A("depth") == 0, retired=True) == ["c0", "c10", "c15", "c5"]
    assert len(await names("Device")) == 23
    assert await names("Device", below=False) == [f"d{n}" for n in range(5)]
    assert await names(None, A("serial").begins_with("D-") & (A("name") != "d3")) == [
        *("d0", "d1", "d2", "d4")
    ]
    assert await names(name="s") == ["s"]
    assert await names("CTD", state="DISCOVERABLE") == ["c2"]
    assert await names(state=["RETIRED", "DELETED", "DRAFT_DISCOVERABLE"]) == ["c0", "c1", "c2"]
    assert await names("CTD", A("created") > 1e10) == []
    by_depth = await registry.find("CTD", order="-depth")  # a text is one attribute
    assert by_depth == await registry.find("CTD", order=["-depth"])
    page = await registry.find("Device", order=["-depth", "name"], limit=7)
    seen = list(page.items)
    while page.cursor is not None:
        more = page.cursor
        page = await registry.find("Device", order=["-depth", "name"], limit=7, cursor=more)
        seen += page.items
    depths = [r.attributes.get("depth", -1.0) for r in seen]
    assert (len(seen), depths) == (23, sorted(depths, reverse=True))
    assert len([r async for r in registry.each("Device", state="DRAFT")]) == 23
    assert [r.id for r in await registry.read_many([*ids[:4], "none", "a/b"])] == [
        *(ids[0], ids[2], ids[3])
    ]
    for wrong, told in (
        ({"where": A("colour") == "red"}, "colour"),
        ({"where": A("depth") == "deep"}, "depth"),
        ({"where": "serial='S1'"}, '"GT": 100'),
        ({"order": ["colour"]}, "colour"),
        ({"state": "BROKEN"}, "BROKEN"),
        ({"limit": 0}, "not 0"),
        ({"cursor": "AAAA"}, "cursor"),
    ):
        with pytest.raises(InvalidRequest, match=told):
            await registry.find(**wrong)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="Boat"):
        await registry.find("Boat")


async def test_what_is_found_again_is_what_was_found_first(
    container: Container, registry: ResourceRegistryClient
) -> None:
    every = [
        NewResource("CTD", f"c{n}", {"serial": f"C-{n}", "depth": float(n % 4)}) for n in range(12)
    ]
    ids = await registry.create_many([*every, NewResource("Device", "d", {"serial": "C-99"})])

    async def all_of(where: Any, **more: Any) -> list[str]:
        return [r.name async for r in registry.each("Device", where, **more)]

    for _ in range(3):  # the first call makes the next ones ready
        for n in range(12):
            assert await all_of(A("serial") == f"C-{n}") == [f"c{n}"]
            alike = {f"c{m}" for m in range(n % 4, 12, 4)}
            for limit in (2, 3, 100):
                assert set(await all_of(A("depth") == float(n % 4), limit=limit)) == alike
            assert set(await all_of(A("depth") == n % 4)) == alike  # a whole number
        deep = await all_of(A("depth") >= 2.0, order=["-depth"], limit=2)
        assert (len(deep), {int(name[1:]) % 4 for name in deep[:3]}) == (6, {3})
        assert await all_of(A("serial") == "C-99") == ["d"]
        assert await all_of(A("serial") == "Ç-1") == []
        for wrong in ("x" * 5000, "a\0b", 7, True):
            with pytest.raises(InvalidRequest, match="serial"):
                await all_of(A("serial") == wrong)
        with pytest.raises(InvalidRequest, match="depth"):
            await all_of(A("depth") >= math.nan)  # noqa: PLW0177
    await registry.retire(ids[0])
    assert await all_of(A("serial") == "C-0") == []
    assert await all_of(A("serial") == "C-0", retired=True) == ["c0"]
    await registry.register_type("Float", {"cycles": Attribute("int", index=True)}, parent="Device")
    await registry.create("Float", "f", {"serial": "F-1", "cycles": 3})
    for _ in range(2):
        assert await all_of(A("serial") == "F-1") == ["f"]
        assert await all_of(A("cycles") == 3) == ["f"]


@ON_SQLITE
async def test_what_is_over_one_answer_is_cut(container: Container) -> None:
    registry = ResourceRegistryClient(container)
    await registry.register_type("Note", {"text": Attribute()})
    text = "x" * 200_000
    for n in range(5):
        made = await registry.create("Note", f"n{n}", {"text": text}, id=f"n{n}")
    pages = [await registry.find("Note")]
    while (cursor := pages[-1].cursor) is not None:
        pages.append(await registry.find("Note", cursor=cursor))
    assert [r.id for page in pages for r in page.items] == [f"n{n}" for n in range(5)]
    assert max(len(page.items) for page in pages) < 5
    await registry.register_predicate("cites")
    for n in range(4):
        await registry.associate(made.id, "cites", f"n{n}")
    for find in (
        lambda c: registry.find_objects(made.id, cursor=c),
        lambda c: registry.find_subjects("n0", cursor=c),
    ):
        seen: list[str] = []
        cursor = None
        while True:
            found = await find(cursor)
            seen += [r.id for r in found.items]
            cursor = found.cursor
            if cursor is None:
                break
        assert seen in (["n0", "n1", "n2", "n3"], ["n4"])
    with pytest.raises(IonError) as raised:
        await registry.read_many([f"n{n}" for n in range(5)])
    assert raised.value.code == 413
    for wrong, code in ({"text": "x" * 300_000}, 413), ({"text": "x", "more": 1}, 400):
        with pytest.raises(IonError) as raised:
            await registry.update("n0", 1, attributes=wrong)
        assert raised.value.code == code
    await registry.update("n0", 1, name="m0")
    with pytest.raises(Conflict) as conflict:
        await registry.update("n0", 1, attributes={"text": "y" * 900_000})
    assert conflict.value.details["theirs"]["name"] == "m0"


@ON_SQLITE
async def test_what_only_json_can_say(container: Container) -> None:
    registry = ResourceRegistryClient(container)
    await registry.register_type("Note", {"any": Attribute("any"), "number": Attribute("int")})
    for attributes in ({"any": [2**70]}, {"number": -(2**70)}):
        content = {"type": "Note", "name": "n", "attributes": attributes}
        with pytest.raises(IonError) as raised:
            await container.endpoint.rpc(
                "", "resource_registry", "create", content, content_type="application/json"
            )
        assert raised.value.code == 400
    content = {"type": "Note", "name": "n", "attributes": {"any": {"a": [1, None, "b"]}}}
    made = await container.endpoint.rpc(
        "", "resource_registry", "create", content, content_type="application/json"
    )
    found = await container.endpoint.rpc(
        "", "resource_registry", "find", {"name": "n"}, content_type="application/json"
    )
    assert found == {"items": [made], "cursor": None}


# associations


async def test_associations(registry: ResourceRegistryClient) -> None:
    sites = await registry.create_many([NewResource("Site", f"s{n}") for n in range(2)])
    devices = await registry.create_many(
        [NewResource(("CTD", "Device")[n % 2], f"d{n}", {"serial": f"D-{n}"}) for n in range(6)]
    )
    await registry.register_predicate("isNextTo")
    for device in devices:
        said = await registry.associate(sites[0], "hasDevice", device)
        assert (said.subject_type, said.object_type[0] in "CD") == ("Site", True)
    await registry.associate(sites[1], "hasDevice", devices[0])
    await registry.associate(sites[0], "isNextTo", sites[1])

    async def pairs(*args: str, **more: Any) -> list[tuple[str, str, str]]:
        found = (await registry.associations(*args, **more)).items
        return sorted((a.subject, a.predicate, a.object) for a in found)

    every = sorted((sites[0], "hasDevice", device) for device in devices)
    other, near = (sites[1], "hasDevice", devices[0]), (sites[0], "isNextTo", sites[1])
    assert await pairs(sites[0], "hasDevice") == every
    assert await pairs(sites[0]) == sorted([*every, near])
    assert await pairs("", "hasDevice") == sorted([*every, other])
    assert await pairs("", "", devices[0]) == sorted([(sites[0], *other[1:]), other])
    assert await pairs("", "hasDevice", sites[1]) == []
    assert await pairs(sites[0], "", sites[1]) == [near]
    assert await pairs(*near) == [near]
    assert await pairs(sites[0], "isNext") == []

    found = await registry.find_objects(sites[0], "hasDevice", type="CTD")
    assert sorted(r.name for r in found.items) == ["d0", "d2", "d4"]
    subjects = await registry.find_subjects(devices[0], "hasDevice")
    assert sorted(r.id for r in subjects.items) == sorted(sites)
    for search in (("", "hasDevice", ""), (sites[0], "hasDevice", ""), ("", "", devices[0])):
        seen: list[str] = []
        page = await registry.associations(*search, limit=1)
        while True:
            seen += [a.subject + a.object for a in page.items]
            if page.cursor is None:
                break
            page = await registry.associations(*search, limit=1, cursor=page.cursor)
        assert sorted(seen) == sorted(s + o for s, _, o in await pairs(*search))

    await registry.retire(devices[2])
    await registry.delete(devices[4])
    assert len(await pairs(sites[0], "hasDevice")) == 4
    assert len(await pairs(sites[0], "hasDevice", retired=True)) == 5
    assert len((await registry.find_objects(sites[0], "hasDevice")).items) == 4
    assert await registry.dissociate(*other)
    assert not await registry.dissociate(*other)
    assert await pairs(*other) == []
    with pytest.raises(InvalidRequest, match="which"):
        await registry.associations()
    with pytest.raises(InvalidRequest, match="cursor"):
        await registry.associations(sites[0], cursor="elsewhere")


@ON_SQLITE
async def test_an_association_that_cannot_be(registry: ResourceRegistryClient) -> None:
    site = (await registry.create("Site", "s")).id
    device = (await registry.create("CTD", "d", {"serial": "A-1"})).id
    await registry.associate(site, "hasDevice", device)
    for args, error, told in (
        (("nobody", "hasDevice", device), NotFound, {"end": "subject", "id": "nobody"}),
        ((site, "hasDevice", "nobody"), NotFound, {"end": "object", "id": "nobody"}),
        ((site, "hasDevice", ""), NotFound, {"end": "object"}),
        ((device, "hasDevice", device), InvalidRequest, {"end": "subject", "allowed": ["Site"]}),
        ((site, "hasDevice", site), InvalidRequest, {"end": "object", "allowed": ["Device"]}),
        ((site, "isOn", device), NotFound, {"predicate": "isOn"}),
        ((site, "hasOwner", device), InvalidRequest, {}),
        ((site, "hasDevice", device), Conflict, {}),
    ):
        with pytest.raises(error) as raised:
            await registry.associate(*args)
        assert told.items() <= raised.value.details.items()
    await registry.retire(device)
    with pytest.raises(IllegalStep) as raised:
        await registry.associate(site, "hasDevice", device)
    assert raised.value.details["end"] == "object"
    assert len((await registry.associations(site, retired=True)).items) == 1


# owners, events, and what comes twice


async def test_a_resource_is_its_makers(
    container: Container, registry: ResourceRegistryClient
) -> None:
    ada = ResourceRegistryClient(As(container, "ada"))  # type: ignore[arg-type]
    odd = ResourceRegistryClient(As(container, "CN=Bob/OU=a b"))  # type: ignore[arg-type]
    made = await ada.create("Site", "s")
    assert (made.owner, made.actor) == ("ada", "ada")
    more = await asyncio.gather(*(odd.create("Site", f"o{n}") for n in range(5)))
    assert {r.owner for r in more} == {"CN=Bob/OU=a b"}
    assert len((await registry.find(owner="CN=Bob/OU=a b")).items) == 5
    assert sorted(r.name for r in (await registry.find("Actor")).items) == ["CN=Bob/OU=a b", "ada"]
    owner = (await registry.find_objects(made.id, "hasOwner")).items[0]
    assert (owner.type, owner.name) == ("Actor", "ada")
    after = await odd.update(made.id, owner="eve")
    assert (after.owner, after.actor) == ("eve", "CN=Bob/OU=a b")
    found = (await registry.find_objects(made.id, "hasOwner")).items
    assert [r.name for r in found] == ["eve"]
    assert (await registry.find_subjects(owner.id, "hasOwner")).items == []
    after = await ada.update(made.id, owner="")
    assert (await registry.associations(made.id)).items == []
    assert (await registry.create("Site", "nobody's")).owner == ""
    dotted = ResourceRegistryClient(As(container, "." * 120))  # type: ignore[arg-type]
    assert (await dotted.create("Site", "s")).owner == "." * 120


async def test_each_change_is_told_once(
    container: Container, registry: ResourceRegistryClient
) -> None:
    pid = await container.spawn(Hearing)
    heard: list[ResourceEvent] = container.processes[pid].heard  # type: ignore[attr-defined]
    site = await registry.create("Site", "s")
    ctd = await registry.create("CTD", "c", {"serial": "A-1"})
    await registry.update(ctd.id, attributes={"depth": 4}, name="d")
    await registry.associate(site.id, "hasDevice", ctd.id)
    for wrong in (
        registry.update(ctd.id, 1, name="late"),
        registry.step(ctd.id, "deploy"),
        registry.associate(site.id, "hasDevice", ctd.id),
        registry.create_many([NewResource("Site", "fine"), NewResource("CTD", "wrong")]),
    ):
        with pytest.raises(IonError):
            await wrong
    await registry.dissociate(site.id, "hasDevice", ctd.id)
    await registry.step(ctd.id, "plan")
    await registry.retire(ctd.id)

    async def all_told() -> bool:
        return len(heard) >= 7

    await eventually(all_told, f"not all was told: {heard}")
    await registry.delete(site.id)
    await eventually(lambda: _is(len(heard) > 7), "the end was not told")
    kinds = Counter(type(event) for event in heard)
    assert kinds == {
        ResourceCreated: 2,
        ResourceModified: 1,
        ResourceLifecycleChanged: 2,
        ResourceRetired: 1,
        AssociationCreated: 1,
        AssociationRemoved: 1,
    }
    by_kind = {type(event): event for event in heard}
    modified = by_kind[ResourceModified]
    assert isinstance(modified, ResourceModified)
    assert (modified.origin, modified.origin_type) == (ctd.id, "CTD")
    assert (modified.changed, modified.revision) == (["name", "depth"], 2)
    retired = by_kind[ResourceRetired]
    assert isinstance(retired, ResourceRetired)
    told = (retired.before, retired.state, retired.step)
    assert told == ("PLANNED_PRIVATE", "RETIRED_PRIVATE", "retire")
    assert by_kind[AssociationCreated].origin == site.id


async def _is(truth: bool) -> bool:
    return truth


async def test_a_message_that_comes_twice_makes_one(
    container: Container, registry: ResourceRegistryClient
) -> None:
    content = {"type": "Site", "name": "s"}
    answers = [
        await container.rpc_send("resource_registry", "create", content, message_id="m-1")
        for _ in range(3)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert await registry.count("Site") == 1


@ON_SQLITE
async def test_how_many_calls_of_the_store_it_takes(
    container: Container, registry: ResourceRegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finding costs as many calls for a hundred as for one: there is no N+1."""
    site = (await registry.create("Site", "s")).id
    await registry.create("CTD", "first", {"serial": "A-1"}, id="first")
    await registry.associate(site, "hasDevice", "first")
    home = one(container, "resource_registry")._stores
    calls: Counter[str] = Counter()

    def counted(store: Any, name: str) -> None:
        method = getattr(store, name)

        async def call(*args: Any, **more: Any) -> Any:
            calls[name] += 1
            return await method(*args, **more)

        monkeypatch.setattr(store, name, call)

    async def look() -> Counter[str]:
        calls.clear()
        await registry.find("Device", A("serial").begins_with("A"))
        await registry.find_objects(site, "hasDevice", type="Device")
        await registry.find_subjects("first")
        await registry.associations("", "hasDevice")
        return Counter(calls)

    for n in range(99):
        await registry.create("CTD", f"c{n}", {"serial": f"A-{n}"}, id=f"c{n}")
        await registry.associate(site, "hasDevice", f"c{n}")
    await look()  # so that all types are known
    stores = (home.resources, home.associations, home.types, home.history)
    for store, name in itertools.product(stores, ("get", "entry", "get_many", "scan", "query")):
        if hasattr(store, name):
            counted(store, name)
    assert len((await registry.find_objects(site, "hasDevice", limit=100)).items) == 100
    many = await look()
    assert sum(many.values()) <= 7, many
    assert many["get_many"] == 3


@SHARED
async def test_two_registries_on_one_store(place: tuple[str, dict[str, Any]]) -> None:
    """What one has registered, the other finds by, and one of two at once is too late."""
    url, config = place
    async with (
        Container(url, sysname="test", config=config) as first,
        Container(url, sysname="test", config=config) as second,
    ):
        for container in (first, second):
            await container.start_app("resource_registry")
        here, there = (
            ResourceRegistryClient(one(c, "resource_registry").id, c) for c in (first, second)
        )
        await here.register_type("Device", SERIAL)
        made = await there.create("Device", "d", {"serial": "A-1"})
        await here.register_type("Device", {**SERIAL, **DEPTH})
        await here.register_type("CTD", {"salt": Attribute("float", index=True)}, parent="Device")
        await there.create("CTD", "c", {"serial": "A-2", "depth": 3, "salt": 35})
        assert [r.name for r in (await there.find("Device", A("salt") > 30)).items] == ["c"]
        assert [r.name for r in (await here.find("Device", A("depth") == 3)).items] == ["c"]
        racing = [c.update(made.id, 1, name=f"n{n}") for n, c in enumerate((here, there) * 5)]
        ends = await asyncio.gather(*racing, return_exceptions=True)
        assert sum(isinstance(end, Resource) for end in ends) == 1
        assert sum(isinstance(end, Conflict) for end in ends) == 9


async def test_what_is_brought_takes_nothing_away_that_has_grown_since(tmp_path: Path) -> None:
    """Else whoever may register a type could keep the registry from ever starting again."""
    brought = {"types": [{"name": "Site", "description": "somewhere"}]}
    config = {"store.url": f"sqlite:///{tmp_path}/s.db", "apps.resource_registry": brought}
    async with Container("memory://", sysname="test", config=config) as container:
        await container.start_app("resource_registry")
        registry = ResourceRegistryClient(container)
        email = {"email": Attribute(index=True)}
        await registry.register_type("Actor", email, life_cycle="resource")
        await registry.register_type("Site", DEPTH, description="anywhere")
        with pytest.raises(InvalidRequest, match="hasOwner"):
            await registry.register_predicate("hasOwner", range=["Site"])
        await container.stop_app("resource_registry")
        await container.start_app("resource_registry")
        actor, site = await registry.type("Actor"), await registry.type("Site")
        assert (actor.every, actor.life_cycle) == (email, "simple")
        assert (site.every, site.description) == (DEPTH, "somewhere")


async def test_what_is_brought_and_what_cannot_be(redis_url: str) -> None:
    brought = {
        "types": [{"name": "Site"}, {"name": "Lake", "parent": "Site", "life_cycle": "mine"}],
        "predicates": [{"name": "flowsInto", "domain": ["Lake"], "range": ["Lake"]}],
        "life_cycles": {"mine": {"maturity": [["fill", "DRAFT", "DEPLOYED"]]}},
    }
    config = {"store.url": "memory://", "apps.resource_registry": brought}
    async with Container("memory://", sysname="test", config=config) as container:
        await container.start_app("resource_registry")
        registry = ResourceRegistryClient(container)
        assert [t.path for t in await registry.types("Site")] == ["Site/", "Site/Lake/"]
        assert [p.name for p in await registry.predicates()] == ["flowsInto", "hasOwner"]
        lake = await registry.create("Lake", "l")
        assert (await registry.step(lake.id, "fill")).maturity == "DEPLOYED"
    for url, wrong, told in (
        (redis_url, {}, "no transactions"),
        ("memory://", {"history": -1}, "history"),
        ("memory://", {"histroy": 1}, "histroy"),
        ("memory://", {"types": [{"name": "X", "parent": "Y"}]}, "'Y'"),
        ("memory://", {"life_cycles": {"x": {"maturity": [["a", "DRAFT", "B"]]}}}, "'a' names B"),
    ):
        config = {"store.url": url, "apps.resource_registry": wrong}
        async with Container("memory://", sysname="test", config=config) as container:
            with pytest.raises(StartError, match=told):
                await container.start_app("resource_registry")
