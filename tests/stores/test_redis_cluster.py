"""A datastore in a real Redis Cluster of three nodes."""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from ion.base.errors import Unavailable
from ion.stores.opening import open_datastore
from ion.stores.query import A, Query
from ion.stores.store import Put
from ion.testing.contracts.stores.batches import BatchesContract
from ion.testing.contracts.stores.bench import NewDatastore, values
from ion.testing.contracts.stores.commits import NoUnitsContract
from ion.testing.contracts.stores.opening import KeepingContract, OpeningContract
from ion.testing.contracts.stores.revisions import RevisionsContract
from ion.testing.contracts.stores.scanning import ScanningContract
from ion.testing.servers import RedisServer
from ion.testing.servers.private import find_binary, free_port

pytestmark = pytest.mark.redis
NODES = 3
SLOTS = 16_384
PATIENCE = 60.0  # seconds
_names = itertools.count(1)


class Node(RedisServer):
    """A node of a cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = free_port()

    def _launch(self):  # type: ignore[no-untyped-def]
        command = [find_binary(self.binary, self.package), "--bind", self.host]
        command += ["--port", str(self.port), "--cluster-port", str(self.bus), "--save", ""]
        command += ["--cluster-enabled", "yes", "--appendonly", "yes"]
        return self._popen([*command, "--cluster-node-timeout", "2000"])


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    """Give the nodes of a cluster."""
    made = [Node() for _ in range(NODES)]
    try:
        for node in made:
            node.start()
        clients = [Redis(port=node.port) for node in made]
        for number, client in enumerate(clients):
            first, last = (SLOTS * n // NODES for n in (number, number + 1))
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            there = made[0]
            client.execute_command("CLUSTER", "MEET", there.host, there.port, there.bus)
        wait(clients)
        for client in clients:
            client.close()
        yield made
    finally:
        for node in made:
            node.close()


def wait(clients: list[Redis]) -> None:
    """Wait until all nodes say that the cluster is whole."""
    end = time.monotonic() + PATIENCE
    while True:
        infos = [client.execute_command("CLUSTER", "INFO") for client in clients]
        if all(b"cluster_state:ok" in i and b"_known_nodes:%d\r" % NODES in i for i in infos):
            return
        assert time.monotonic() < end, infos
        time.sleep(0.05)


@pytest.fixture
async def cluster(nodes: list[Node]) -> AsyncIterator[list[Node]]:
    """Give the nodes, all of which are well; also after the test."""
    yield nodes
    for node in nodes:
        node.resume()
        await asyncio.to_thread(node.start)


class TestCluster(
    OpeningContract,
    KeepingContract,
    RevisionsContract,
    BatchesContract,
    ScanningContract,
    NoUnitsContract,
):
    """The contract, as far as several keys are in play."""

    @pytest.fixture
    def new_datastore(self, nodes: list[Node]) -> NewDatastore:
        sysname = f"c{next(_names)}"
        return lambda: open_datastore(nodes[0].url(), sysname=sysname)


async def test_stores_are_on_all_nodes(cluster: list[Node]) -> None:
    """Each whole on one of them: every call finds it, by any node."""
    datastore = open_datastore(cluster[1].url(), sysname="spread")
    await datastore.open()
    try:
        names = [f"s{number}" for number in range(12)]
        stores = [await datastore.index_store(name, {"i": "int"}) for name in names]
        await asyncio.gather(
            *(store.put(f"{n}", b"", index={"i": n}) for store in stores for n in range(20))
        )
        for store in stores:
            assert await store.count(Query(A("i") < 5)) == 5
        for node in cluster:
            client = Redis(port=node.port)
            kept = {key.partition(b"}")[0] for key in client.keys("{spread.*")}
            assert 0 < len(kept) < len(names)
            client.close()
    finally:
        await datastore.close()


async def test_a_node_is_away(cluster: list[Node]) -> None:
    """Its stores are, and come back; the others were there all the while."""
    datastore = open_datastore(cluster[0].url(), sysname="away", timeout=5.0)
    await datastore.open()
    try:
        stores = [await datastore.store(f"s{number}") for number in range(12)]
        clients = [Redis(port=node.port) for node in cluster]
        slots = [
            clients[0].execute_command("CLUSTER", "KEYSLOT", f"{{away.{store.name}}}:k")
            for store in stores
        ]
        for client in clients:
            client.execute_command("CONFIG", "SET", "cluster-require-full-coverage", "no")
            client.close()
        await asyncio.to_thread(cluster[2].kill)
        gone = [slot >= SLOTS * 2 // NODES for slot in slots]
        assert len(set(gone)) == 2
        done = await asyncio.gather(
            *(store.put("a", b"1") for store in stores), return_exceptions=True
        )
        for result, is_gone in zip(done, gone, strict=True):
            assert isinstance(result, Unavailable) is is_gone, done
        await asyncio.to_thread(cluster[2].start)
        for store in stores:
            batch = [Put("b", b"2"), Put("c", b"3")]
            await again(functools.partial(store.write, batch))
            found = await values(store)
            assert found["b"] == b"2"
    finally:
        await datastore.close()


async def test_what_was_given_up_is_not_done_after_what_came_later(cluster: list[Node]) -> None:
    """It waits at a node that hangs for a while, which is told to forget it first."""
    datastore = open_datastore(cluster[0].url(), sysname="late", timeout=1.0)
    await datastore.open()
    client = Redis(port=cluster[0].port)
    try:
        store = await datastore.store("a")
        slot = client.execute_command("CLUSTER", "KEYSLOT", "{late.a}:k")
        node = cluster[slot * NODES // SLOTS]
        await again(lambda: store.put("k", b"before"))
        node.suspend()
        with pytest.raises(Unavailable, match="in time"):
            await store.put("k", b"given up")
        later = asyncio.ensure_future(again(lambda: store.put("k", b"later")))
        await asyncio.sleep(0.01)  # it is on its way by then
        node.resume()
        await later
        there = Redis(port=node.port)
        assert "cmdstat_client|kill" in there.info("commandstats")
        there.close()
        assert await again(lambda: store.get("k")) == b"later"
    finally:
        client.close()
        await datastore.close()


async def again(call: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a call returns, once it is done."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return await call()
        except Unavailable:
            assert time.monotonic() < end, "it does not come back"
            await asyncio.sleep(0.05)


async def test_a_slot_moves(cluster: list[Node]) -> None:
    """To another node, with what is in it: who has the store open follows."""
    datastore = open_datastore(cluster[0].url(), sysname="moved")
    await datastore.open()
    clients = [Redis(port=node.port) for node in cluster]
    try:
        store = await datastore.store("a")
        await store.write([Put(f"{n}", b"%d" % n) for n in range(50)])
        slot = clients[0].execute_command("CLUSTER", "KEYSLOT", "{moved.a}:k")
        old = next(n for n in range(NODES) if slot < SLOTS * (n + 1) // NODES)
        new = (old + 1) % NODES
        move(clients, old, new, slot, cluster[new])
        assert len(await values(store)) == 50
        await store.put("after", b"1")
        assert clients[new].exists("{moved.a}:v:after")
    finally:
        for client in clients:
            client.close()
        await datastore.close()


def move(clients: list[Redis], old: int, new: int, slot: int, target: Node) -> None:
    """Move a slot with its keys, as an operator's tool does."""
    ids = [client.execute_command("CLUSTER", "MYID").decode() for client in clients]
    clients[new].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[old])
    clients[old].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[new])
    keys = clients[old].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
    clients[old].execute_command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
    for number in (new, old):
        clients[number].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[new])
