"""The datastore service, and processes as peers: on every bus, with real stores and liars."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from ion import Container, Process, ReceivedApplicationError, ServiceClient, StartError
from ion.base.errors import Conflict, ContentTooLarge, Damaged, InvalidRequest, NotFound
from ion.objects.element import Kind, Link, element, hash_of
from ion.process.peering import FarPeer, Peering
from ion.process.storeerrors import heard
from ion.services.datastore.client import DatastoreClient, new_workbench
from ion.services.datastore.committing import Committing
from ion.services.datastore.committing import made as made_once
from ion.services.datastore.service import DatastoreService
from ion.services.echo.service import EchoService

STORE = {"store.url": "memory://"}


class Archive(Peering, Process):
    """A process that is a peer."""


def process(container: Container, cls: type[Any]) -> Any:
    return next(p for p in container.processes.values() if type(p) is cls)


@pytest.fixture
async def far(bus: tuple[str, dict[str, object]]) -> AsyncIterator[Container]:
    """Give a container that runs the datastore."""
    url, config = bus
    async with Container(url, sysname="test", config={**config, **STORE}) as running:
        await running.start_app("datastore")
        yield running


@pytest.fixture
async def client(far: Container, container: Container) -> DatastoreClient:
    return DatastoreClient(container)


@pytest.fixture
async def archive(container: Container) -> Archive:
    found = container.processes[await container.spawn(Archive)]
    assert isinstance(found, Archive)
    return found


async def made(archive: Archive, name: str, count: int = 300) -> None:
    """Make a repository of a map of maps, many elements of its own each."""
    own = await archive.repository(name)
    tree = own.begin()
    for n in range(count):
        tree.set(f"casts/{n:04}", {"n": n, "raw": os.urandom(1500)})
    tree.set("name", name)
    await own.commit(tree, author="ada", comment="first")


async def test_a_process_clones_works_and_pushes(client: DatastoreClient, archive: Archive) -> None:
    await made(archive, "ctd")
    bench = await archive.workbench()
    moved = await bench.push("ctd", client.peer)
    assert moved.elements > 300

    other = await new_workbench()
    copy = await other.clone("ctd", client.peer)
    tree = await copy.checkout()
    assert await tree.get("name") == "ctd"
    assert len(await tree.keys("casts")) == 300
    tree.set("name", "changed")
    version = await copy.commit(tree, author="bob", comment="second")
    again = await other.push("ctd", client.peer)
    assert again.elements <= 5  # the commit, and what is on the way to the name

    pulled = await bench.pull("ctd", archive.peer("datastore"))
    assert pulled.moved.elements == again.elements
    assert await (await (await archive.repository("ctd")).checkout()).get("name") == "changed"
    assert await client.branches("ctd") == {"main": version.hash}
    assert await client.repositories() == ["ctd"]


async def test_an_unchanged_object_costs_one_round_trip(
    far: Container, client: DatastoreClient, archive: Archive
) -> None:
    await made(archive, "ctd")
    bench = await archive.workbench()
    await bench.push("ctd", client.peer)
    other = await new_workbench()
    await other.clone("ctd", client.peer)
    service = process(far, DatastoreService)
    before = service._handled
    pulled = await other.pull("ctd", client.peer)
    assert (pulled.moved.elements, pulled.moved.questions) == (0, 1)
    await bench.push("ctd", client.peer)
    async with asyncio.timeout(10):
        while service._handled < before + 2:  # it counts after it has answered
            await asyncio.sleep(0.01)
    await client.ping()
    assert service._handled in (before + 2, before + 3)


async def test_any_two_processes_are_peers(far: Container, archive: Archive) -> None:
    await made(archive, "ctd")
    pid = await far.spawn(Archive)
    answer = await archive.rpc_send(pid, "pull", {"repository": "ctd", "origin": archive.id}, 60)
    assert answer["elements"] > 300
    assert answer["forward"] is True
    await archive.rpc_send(pid, "push", {"repository": "ctd", "target": "datastore"}, 60)
    heads = await archive.peer("datastore").heads("ctd")
    assert heads["main"].hex() == answer["head"]
    own = ServiceClient(pid, archive)
    with pytest.raises(NotFound, match="no peer 'nobody'"), heard():
        await own.pull(repository="ctd", origin="nobody")
    await far.spawn(EchoService)
    with pytest.raises(ReceivedApplicationError, match="'echo' is no peer") as raised:
        await own.push(repository="ctd", target="echo")
    assert raised.value.code == 400


async def test_a_stale_push_tells_both_sides_and_is_merged(
    client: DatastoreClient, archive: Archive
) -> None:
    await made(archive, "ctd", 20)
    bench = await archive.workbench()
    await bench.push("ctd", client.peer)
    theirs = await client.commit("ctd", {"casts/0001": 1}, author="bob")
    own = bench.repository("ctd")
    tree = await own.checkout()
    tree.set("casts/0002", 2)
    ours = await own.commit(tree)
    with pytest.raises(Conflict, match="pull, merge, and push again") as raised:
        await bench.push("ctd", client.peer)
    details = raised.value.details
    assert (details["theirs"], details["ours"]) == (theirs.hash, ours.hash)
    assert (await client.branches("ctd"))["main"] == theirs.hash

    assert not (await bench.pull("ctd", client.peer)).is_forward
    merging = await own.merge("origin.main")
    assert merging.conflicts == []
    await own.commit(merging.tree)
    await bench.push("ctd", client.peer)
    found = await client.checkout("ctd", path=["casts"])
    assert (found.value["0001"], found.value["0002"]) == (1, 2)


async def test_a_hundred_pushers_at_once(client: DatastoreClient) -> None:
    first = await client.commit("ctd", {"n": -1}, expected="")
    benches = [await new_workbench() for _ in range(100)]

    async def work(n: int) -> None:
        own = await benches[n].clone("ctd", client.peer)
        tree = await own.checkout()
        tree.set("n", n)
        await own.commit(tree, author=f"{n}")

    await asyncio.gather(*(work(n) for n in range(100)))
    pushes = (bench.push("ctd", client.peer) for bench in benches)
    ends = await asyncio.gather(*pushes, return_exceptions=True)
    won = [n for n, end in enumerate(ends) if not isinstance(end, BaseException)]
    lost = [end for end in ends if isinstance(end, BaseException)]
    assert [type(end) for end in lost] == [Conflict] * 99
    version = await client.version("ctd")
    assert [version.author] == [f"{n}" for n in won]
    assert version.parents == (first.hash,)
    for end in lost:
        assert isinstance(end, Conflict)
        assert end.details["theirs"] == version.hash
        assert end.details["ours"] != version.hash


async def test_a_head_that_is_set_twice_is_set_once(client: DatastoreClient) -> None:
    version = await client.commit("ctd", {"n": 1})
    await client.commit("ctd", {"n": 2}, expected=version.hash)
    head = (await client.peer.heads("ctd"))["main"]
    expected = bytes.fromhex(version.hash)
    await client.peer.set_head("ctd", "main", expected, head)  # delivered once more
    with pytest.raises(Conflict):
        await client.peer.set_head("ctd", "main", expected, expected)
    with pytest.raises(NotFound):
        await client.peer.set_head("ctd", "main", head, b"\1" * 32)


async def test_looking_and_small_changes(client: DatastoreClient) -> None:
    one = await client.commit("ctd", {"a/b": b"\0\xff", "c": [1, "x"]}, author="ada", comment="1")
    two = await client.commit("ctd", {"a/d": None}, removed=["c"], expected=one.hash)
    found = await client.checkout("ctd")
    assert found.value == {"a": {"b": b"\0\xff", "d": None}}
    assert found.version == two
    assert (await client.checkout("ctd", commit=one.hash, path=["c"])).value == [1, "x"]
    assert (await client.checkout("ctd", at=one.time)).version == one
    assert await client.version("ctd", at=one.time) == one
    assert [v async for v in client.history("ctd")] == [two, one]
    assert [v async for v in client.history("ctd", commit=one.hash)] == [one]
    listed = await client._call("history", {"repository": "ctd", "limit": 1})
    assert [each["hash"] for each in listed] == [two.hash]

    await client.branch("ctd", "old", commit=one.hash)
    assert await client.branches("ctd") == {"main": two.hash, "old": one.hash}
    with pytest.raises(Conflict):
        await client.branch("ctd", "old")
    assert await client.remove_branch("ctd", "old")
    assert not await client.remove_branch("ctd", "old")

    for name in ("b", "a", "ctd.x"):
        await client.commit(name, {"n": 1})
    assert await client.repositories() == ["a", "b", "ctd", "ctd.x"]
    assert await client.repositories("ctd") == ["ctd", "ctd.x"]
    some = await client._call("repositories", {"limit": 2})
    assert some == {"items": ["a", "b"], "after": "b"}
    rest = await client._call("repositories", {"limit": 2, "after": "b"})
    assert rest == {"items": ["ctd.x", "ctd"], "after": None}


async def test_what_is_not_there(client: DatastoreClient) -> None:
    one = await client.commit("ctd", {"n": 1})
    for wrong in (
        client.checkout("nobody"),
        client.checkout("ctd", branch="other"),
        client.checkout("ctd", commit="00" * 32),
        client.checkout("ctd", commit="xyz"),
        client.checkout("ctd", at=one.time - 1),
        client.checkout("ctd", path=["n", "m"]),
        client.commit("ctd", removed=["m"]),
    ):
        with pytest.raises(NotFound):
            await wrong
    with pytest.raises(NotFound):
        _ = [v async for v in client.history("nobody")]
    assert await client.branches("nobody") == {}
    for bad in (client.checkout("a/b"), client.commit("ctd", {"": 1}), client.peer.missing([b""])):
        with pytest.raises(InvalidRequest):
            await bad
    for stale in ("", "00" * 32):
        with pytest.raises(Conflict) as raised:
            await client.commit("ctd", {"n": 2}, expected=stale)
        assert raised.value.details["theirs"] == one.hash
    for no_hash in ("main", one.hash[:12], "xyz"):
        with pytest.raises(InvalidRequest, match="64 hexadecimal digits"):
            await client.commit("ctd", {"n": 2}, expected=no_hash)
    assert (await client.commit("ctd", {"n": 2}, expected=one.hash.upper())).parents == (one.hash,)
    with pytest.raises(NotFound):
        await (await new_workbench()).clone("nobody", client.peer)


async def test_an_object_over_one_answer_is_read_in_part(
    client: DatastoreClient, archive: Archive
) -> None:
    await made(archive, "ctd", 600)
    await (await archive.workbench()).push("ctd", client.peer)
    with pytest.raises(ContentTooLarge, match="clone"):
        await client.checkout("ctd")
    assert (await client.checkout("ctd", path=["casts", "0007", "n"])).value == 7


async def test_what_nobody_looks_at_does_not_travel(
    far: Container, client: DatastoreClient, archive: Archive
) -> None:
    await made(archive, "ctd", 600)
    await (await archive.workbench()).push("ctd", client.peer)
    service = process(far, DatastoreService)
    before = service._handled
    lazy = client.repository("ctd")
    tree = await lazy.checkout()
    assert await tree.get("casts/0007/n") == 7
    tree.set("casts/0007/n", 8)
    version = await lazy.commit(tree)
    await client.ping()
    assert service._handled - before < 30
    assert (await client.checkout("ctd", path=["casts", "0007", "n"])).value == 8
    assert (await client.branches("ctd"))["main"] == version.hash


async def test_elements_come_as_a_stream_in_bounded_batches(
    bus: tuple[str, dict[str, object]],
) -> None:
    url, config = bus
    config = {**config, **STORE, "messaging.max_content": 300_000}
    async with Container(url, sysname="small", config=config) as container:
        await container.start_app("datastore")
        client = DatastoreClient(container)
        elements = [element(Kind.VALUE, os.urandom(100_000)) for _ in range(12)]
        await FarPeer(container, "datastore", batch=150_000).offer(elements)
        hashes = [hash_of(data) for data in elements]
        async with aclosing(client.peer.stream(hashes)) as found:  # type: ignore[type-var]
            assert [data async for data in found] == elements
        assert await client.peer.fetch(hashes) == elements[:1]
        absent = b"\0" * 32
        assert await client.peer.missing([hashes[0], absent]) == [absent]
        with pytest.raises(NotFound, match=absent.hex()):
            await client.peer.fetch([absent])
        with pytest.raises(NotFound, match=absent.hex()):
            _ = [data async for data in client.peer.stream([*hashes, absent])]


async def test_what_is_put_is_whole_and_what_it_says(client: DatastoreClient) -> None:
    leaf = element(Kind.VALUE, b"leaf")
    node = element(Kind.VALUE, {"below": Link(hash_of(leaf))})
    with pytest.raises(Conflict, match="leaves first"):
        await client.peer.offer([node])
    for content in (
        {"elements": [leaf], "hashes": [hash_of(node)]},
        {"elements": [leaf], "hashes": [hash_of(leaf), hash_of(node)]},
        {"elements": [b"nonsense"]},
    ):
        with pytest.raises(Damaged):
            await client._ask("put_blobs", content, None)
    assert await client.peer.missing([hash_of(leaf)]) == [hash_of(leaf)]
    await client.peer.offer([leaf, node])
    assert await client.peer.missing([hash_of(leaf), hash_of(node)]) == []


class Liar(Archive):
    """Alters the elements that it gives, or gives others than were asked for."""

    how = "alters"

    async def op_fetch_blobs(
        self, hashes: list[bytes], most: int | None = None
    ) -> AsyncIterator[list[bytes]]:
        found = await (await self.home()).fetch(hashes)
        if self.how == "alters":
            found[-1] = found[-1][:-1] + bytes([found[-1][-1] ^ 1])
        if self.how == "adds":
            found = [*found, *([found[0]] * len(hashes))]
        if self.how == "cuts" and len(hashes) > 1:
            found = []
        yield found


@pytest.mark.parametrize("how", ["alters", "adds", "cuts"])
async def test_what_was_altered_on_its_way_is_not_taken(
    container: Container, archive: Archive, how: str
) -> None:
    liar = container.processes[await container.spawn(Liar)]
    assert isinstance(liar, Liar)
    liar.how = how
    await made(liar, "ctd", 50)
    bench = await archive.workbench()
    with pytest.raises(Damaged):
        await bench.pull("ctd", archive.peer(liar.id))
    assert await archive.op_heads("ctd") == {}
    liar.how = "honest"
    await bench.pull("ctd", archive.peer(liar.id))
    assert await archive.op_heads("ctd") != {}


@pytest.mark.parametrize("engine", ["sqlite", "postgres", "redis"])
async def test_on_any_engine(request: pytest.FixtureRequest, tmp_path: object, engine: str) -> None:
    urls = {"sqlite": f"sqlite:///{tmp_path}/store.db"}
    url = urls.get(engine) or request.getfixturevalue(f"{engine}_url")
    bench = await new_workbench()
    for turn in range(2):
        config = {"store.url": url, "apps.datastore": {"name": "mine"}}
        async with Container("memory://", sysname="test", config=config) as container:
            await container.start_app("datastore")
            client = DatastoreClient(container)
            if turn:
                await bench.pull("ctd", client.peer)
                assert await client.repositories() == ["ctd"]
            own = bench.repository("ctd")
            tree = await own.checkout() if turn else own.begin()
            tree.set(f"n{turn}", {str(n): os.urandom(1200) for n in range(100)})
            await own.commit(tree)
            assert (await bench.push("ctd", client.peer)).elements > 100
            found = await client.checkout("ctd", path=[f"n{turn}"])
            assert len(found.value) == 100


async def test_a_wrong_configuration_is_told() -> None:
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        with pytest.raises(StartError, match="no name"):
            await container.spawn(DatastoreService, args={"store": "No.Name"})


async def test_a_commit_that_is_delivered_twice_is_one(client: DatastoreClient) -> None:
    content = {"repository": "ctd", "changes": {"n": 1}, "removed": [], "at": 1000.5}
    first = await client._ask("commit", content, None)
    assert await client._ask("commit", content, None) == first
    content = {"repository": "ctd", "removed": ["n"], "at": 1001.5}
    second = await client._ask("commit", content, None)
    assert await client._ask("commit", content, None) == second
    expected = {**content, "expected": first["hash"]}
    assert await client._ask("commit", expected, None) == second
    with pytest.raises(Conflict):
        await client._ask("commit", {**expected, "comment": "another"}, None)
    assert [v.hash async for v in client.history("ctd")] == [second["hash"], first["hash"]]
    # Of that very time, and another.
    third = await client._ask("commit", {**content, "changes": {"m": 2}, "removed": []}, None)
    assert third["parents"] == [second["hash"]]


async def test_commits_to_whatever_is_there_are_all_made(client: DatastoreClient) -> None:
    await asyncio.gather(*(client.commit("ctd", {f"k{n}": n}) for n in range(30)))
    assert (await client.checkout("ctd")).value == {f"k{n}": n for n in range(30)}


@pytest.mark.parametrize("expects", [True, False])
async def test_a_commit_that_comes_again_undoes_nothing(expects: bool) -> None:
    """Though others have gone on from it before it came again."""
    bench = await new_workbench()
    own = bench.repository("ctd")

    def making(value: int, at: float, expected: str | None, is_repeat: bool = False) -> Committing:
        return Committing(
            lambda tree: tree.set("n", value), "main", expected, "ada", "", at, is_repeat
        )

    before = (await made_once(own, bench.home, making(0, 1.0, ""))).hash if expects else None
    first = await made_once(own, bench.home, making(1, 5.0, before))
    for n in range(2, 6):  # by clocks that differ
        last = await made_once(own, bench.home, making(n, 10.0 - n, None))
    again = making(1, 5.0, before, is_repeat=True)
    assert await made_once(own, bench.home, again) == first
    assert await own.branches() == {"main": last.hash}
    assert await (await own.checkout()).get("n") == 5


# blobs

MIB = 1024 * 1024


async def read(client: DatastoreClient, *part: Any) -> bytes:
    return b"".join([bytes(piece) async for piece in client.blobs.get(*part)])


async def test_blobs_go_in_and_come_out(client: DatastoreClient) -> None:
    for data in (b"", b"\0\xff", os.urandom(3 * MIB + 7)):
        name = hashlib.sha256(data).hexdigest()
        assert await client.blobs.stat(name) is None
        ref = await client.blobs.put(data, owner="ada")
        assert (ref.hash, ref.size) == (name, len(data))
        assert await client.blobs.put(io.BytesIO(data)) == ref
        assert await read(client, name) == data
        assert await read(client, name, 1, 5) == data[1:6]
        stat = await client.blobs.stat(name)
        assert stat is not None
        assert stat.size == len(data)
        assert await client.blobs.unlink(name, "ada")
        assert not await client.blobs.unlink(name, "ada")
    absent = "0" * 64
    with pytest.raises(NotFound):
        await read(client, absent)
    with pytest.raises(NotFound):
        await client.blobs.link(absent, "ada")
    with pytest.raises(InvalidRequest):
        await client.blobs.stat("nonsense")
    for none in (5, "text", io.StringIO("text")):
        with pytest.raises(TypeError, match="a blob is put from bytes"):
            await client.blobs.put(none, owner="ada")  # type: ignore[arg-type]


async def test_an_upload_that_breaks_off_is_gone_on_with(
    far: Container, client: DatastoreClient
) -> None:
    data = os.urandom(5 * MIB)
    service = process(far, DatastoreService)

    async def breaks_off() -> AsyncIterator[bytes]:
        yield data[: 3 * MIB]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await client.blobs.put(breaks_off(), id="mine")
    async with asyncio.timeout(10):
        while service._active:  # it waits for what was on its way
            await asyncio.sleep(0.01)
    async with await client._caller.converse(  # type: ignore[attr-defined]
        "datastore", "put_blob", {"id": "mine"}
    ) as talk:
        there = await talk.hear()
    assert 0 < there <= 3 * MIB
    async with asyncio.timeout(10):
        while service._active:
            await asyncio.sleep(0.01)
    ref = await client.blobs.put(data, id="mine")
    assert ref.hash == hashlib.sha256(data).hexdigest()
    assert await read(client, ref.hash) == data
    assert await client.blobs.put(data, id="mine") == ref  # its answer may have been lost
    with pytest.raises(Conflict, match="another content"):
        await client.blobs.put(data + b"more", id="mine")


@pytest.mark.parametrize(
    ("said", "error"),
    [([b"data", {"finish": "0" * 64}], Conflict), (["text"], InvalidRequest)],
)
async def test_an_upload_of_something_else(
    client: DatastoreClient, said: list[Any], error: type[Exception]
) -> None:
    async def upload() -> None:
        caller: Any = client._caller
        async with await caller.converse("datastore", "put_blob", {}) as talk:
            for each in said:
                await talk.say(each)
            async for _ in talk:
                pass

    with pytest.raises(error), heard():
        await upload()
    assert await client.blobs.stat(hashlib.sha256(b"data").hexdigest()) is None


async def test_what_nobody_needs_is_removed_now_and_then() -> None:
    config = {**STORE, "apps.datastore": {"collect": 1.0, "collect_grace": 0.0}}
    async with Container("memory://", config=config) as container:
        await container.start_app("datastore")
        client = DatastoreClient(container)
        loose = await client.blobs.put(b"loose" * 1000)
        owned = await client.blobs.put(b"owned" * 1000, owner="ann")
        await client.commit("one", {"a": 1})
        await client.branch("one", "side")
        gone = await client.commit("one", {"b": os.urandom(2000)}, branch="side")
        assert await client.remove_branch("one", "side")
        elements = (await process(container, DatastoreService).home()).elements
        assert await elements.has(gone.hash)
        async with asyncio.timeout(30):
            while await client.blobs.stat(loose.hash) is not None:
                await asyncio.sleep(0.02)
            while await elements.has(gone.hash):
                await asyncio.sleep(0.02)
        assert await client.blobs.stat(owned.hash) is not None
        assert (await client.checkout("one")).value == {"a": 1}
        assert (await container.rpc_send("datastore", "collect"))["blobs"] == 0


@pytest.mark.parametrize("wrong", [{"collect": -1}, {"collect": "daily"}, {"collect_grace": -1.0}])
async def test_a_collection_that_cannot_be_is_told(wrong: dict[str, object]) -> None:
    async with Container("memory://", config={**STORE, "apps.datastore": wrong}) as container:
        with pytest.raises(StartError, match="seconds"):
            await container.start_app("datastore")
