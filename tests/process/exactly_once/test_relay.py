"""The relay: what units of work have sent arrives, whoever is there to send it, and when."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ion import Container, Process, Unavailable
from ion.base import clock
from ion.base.errors import Damaged, NewerSchema
from ion.base.settings import StoreSettings
from ion.messaging.envelope import Envelope
from ion.process.exactly_once import relay as relays
from ion.process.exactly_once.message_store import CLAIMS, INDICES, OUTBOX, MessageStore
from ion.process.exactly_once.outbox_message import answer_of, kept, outgoing, packed, unpacked
from ion.process.exactly_once.retention import Retention
from ion.stores.memory.datastore import MemoryDatastore
from ion.testing.servers import PostgresServer, RabbitServer
from tests.process.delivery import Bus, config, dead_letters, until
from tests.process.keeping import Receiver, add, eventually, number, store_url, unsent

__all__ = ["store_url"]
LEASE = 0.3


def made(bus: Bus, url: str, **more: Any) -> Container:
    settings = {"store.url": url, "store.lease": LEASE, **config(bus, **more)}
    return Container(bus[0], sysname="test", config=settings)


class Sends(Process):
    """Sends in units."""

    async def on_init(self) -> None:
        await self.store("accounts")

    async def tell(self, what: str, to: str = "receiver", count: int = 1) -> None:
        async with self.unit_of_work() as uow:
            await add(uow.store("accounts"), what)
            for n in range(count):
                await uow.send(to, "note", {"what": f"{what}-{n}" if n else what})


async def sender(container: Container) -> Sends:
    process = container.processes[await container.spawn(Sends)]
    assert isinstance(process, Sends)
    return process


async def noted(container: Container, what: str, count: int) -> None:
    async def is_noted() -> bool:
        return await number(container, "notes", what) == count and not await unsent(container)

    await eventually(is_noted, f"{what} was not noted {count} times, or the outbox is not empty")


async def all_noted(container: Container, what: str, count: int) -> None:
    for n in range(count):
        await noted(container, f"{what}-{n}" if n else what, 1)


async def test_a_receiver_that_comes_later_gets_it(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        process = await sender(container)
        await process.tell("early")
        room = await container.message_store()
        await until(lambda: room.relay._sweeps)
        assert room.relay.unsent == await unsent(container) == 1
        await container.spawn(Receiver)
        await noted(container, "early", 1)
        assert room.relay.unsent == 0


async def test_what_a_killed_container_has_left_another_one_sends(bus: Bus, store_url: str) -> None:
    killed = made(bus, store_url)
    await killed.start()
    process = await sender(killed)
    async with made(bus, store_url) as container:
        await container.datastore()
        for n in range(10):
            await process.tell(f"k-{n}")
        assert await unsent(container) == 10
        await killed.kill()
        receiver = container.processes[await container.spawn(Receiver)]
        assert isinstance(receiver, Receiver)
        for n in range(10):
            await noted(container, f"k-{n}", 1)
        assert len(set(receiver.ids)) == 10
        rows = await (await container.datastore()).store(CLAIMS)
        await eventually(lambda: _is_empty(rows), "claims are left")


async def _is_empty(store: Any) -> bool:
    return not (await store.keys()).items


async def test_what_a_living_container_has_is_its_own(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as first, made(bus, store_url) as second:
        process = await sender(first)
        await second.datastore()
        await process.tell("mine")
        one, two = (await first.message_store()).relay, (await second.message_store()).relay
        for _ in range(12):  # for some leases
            await asyncio.sleep(LEASE / 3)
            assert two._sweeps == {}
        assert one._claims.holds(one._claims.own)
        await second.spawn(Receiver)
        await noted(first, "mine", 1)


async def test_claims_are_given_up_at_rest_and_at_the_end(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container, made(bus, store_url) as other:
        await container.spawn(Receiver)
        process = await sender(container)
        rows = await (await other.datastore()).store(CLAIMS)
        for n in range(2):
            await process.tell("x")
            assert len((await rows.keys()).items) == 1
            await noted(container, "x", n + 1)
            await eventually(lambda: _is_empty(rows))
        await process.tell("x")
        await container.stop()
        assert await _is_empty(rows)


async def test_a_container_that_stops_sends_what_it_has(
    bus: Bus, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MessageStore.close, "__defaults__", (20.0,))  # the machine may be busy
    async with made(bus, store_url) as other:
        await other.spawn(Receiver)
        async with made(bus, store_url) as container:
            process = await sender(container)
            await process.tell("last", count=50)
        assert await unsent(other) == 0
        await all_noted(other, "last", 50)


async def test_more_than_fits_in_the_hand(
    bus: Bus, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "MAX_IN_HAND", 10)
    monkeypatch.setattr(relays, "AT_A_TIME", 7)
    async with made(bus, store_url) as container:
        receiver = container.processes[await container.spawn(Receiver)]
        assert isinstance(receiver, Receiver)
        process = await sender(container)
        await process.tell("many", count=200)
        await all_noted(container, "many", 200)
        assert len(set(receiver.ids)) == 200
        assert (await container.message_store()).relay.unsent == 0


async def test_the_outbox_is_bounded(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url, store__max_unsent=3) as container:
        process = await sender(container)
        for _ in range(3):
            await process.tell("x")
        with pytest.raises(Unavailable, match=r"store\.max_unsent"):
            await process.tell("x")
        assert await number(container, "accounts", "x") == 3
        await container.spawn(Receiver)
        await noted(container, "x", 3)
        await process.tell("x")
        await noted(container, "x", 4)


@pytest.mark.parametrize("doubt", [20.0, 0.0])
async def test_a_commit_that_ends_after_who_asked_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, doubt: float
) -> None:
    """What was sent in it is sent, though the outbox was looked through before."""
    path = tmp_path / "store.db"
    async with made(("memory://", {}), f"sqlite:///{path}") as container:
        await container.spawn(Receiver)
        process = await sender(container)
        await process.tell("early")
        await noted(container, "early", 1)
        relay: Any = (await container.message_store()).relay
        writer: Any = (await container.datastore())._writer  # type: ignore[attr-defined]
        monkeypatch.setattr(relay, "_doubt", doubt)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            telling = asyncio.ensure_future(process.tell("late"))
            await until(lambda: any(len(j.steps) > 1 for _, js in writer._waiting for j in js))
            await until(writer._inbox.empty)
            telling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await telling
            (sweep,) = relay._sweeps.values()
            await until(lambda: sweep.pause > relays.PAUSE or not relay._sweeps)
            other.execute("COMMIT")

        async def is_even() -> bool:
            sums = [await number(container, name, "late") for name in ("accounts", "notes")]
            return sums[0] == sums[1] and not await unsent(container) and not writer._count

        await eventually(is_even, "it was done, and its message was not sent")


async def test_what_nobody_takes_for_long_is_a_dead_letter(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url, store__remember=0.5) as container:
        process = await sender(container)
        await process.tell("x", to="nobody")
        [letter] = await dead_letters(container, "processes", 1)
        headers = letter.envelope.headers
        assert headers["receiver"] == "nobody"
        assert headers["dead-from"] == "outbox"
        assert "nobody took it" in headers["cause"]
        await eventually(lambda: _none(container))


async def _none(container: Container) -> bool:
    return not await unsent(container)


async def test_what_cannot_be_read_stays_and_holds_nobody_up(bus: Bus, store_url: str) -> None:
    async with made(bus, store_url) as container:
        process = await sender(container)
        await container.datastore()
        outbox = await process.store(OUTBOX)
        relay = (await container.message_store()).relay
        bad = f"{relay._prefix(relay._claims.own)}000000000000"
        await outbox.put(bad, b"rubbish")
        await process.tell("x")
        await container.spawn(Receiver)

        async def only_bad() -> bool:
            return (await outbox.keys()).items == [bad]

        await eventually(only_bad)

        async def is_noted() -> bool:
            return await number(container, "notes", "x") == 1

        await eventually(is_noted)


async def test_units_work_while_the_broker_is_away(
    rabbitmq_server: RabbitServer, amqp_url: str, store_url: str
) -> None:
    async with made((amqp_url, {}), store_url) as container:
        await container.spawn(Receiver)
        process = await sender(container)
        await asyncio.to_thread(rabbitmq_server.stop)
        try:
            await until(lambda: container.state == "DEGRADED")
            for _ in range(5):
                await process.tell("away")
            assert await unsent(container) == 5
        finally:
            await asyncio.to_thread(rabbitmq_server.start)
        await noted(container, "away", 5)


async def test_a_store_that_went_away_and_came_back(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with made(("memory://", {}), postgres_url, store__timeout=5.0) as container:
        process = await sender(container)
        await process.tell("before")
        await asyncio.to_thread(postgres_server.stop)
        try:
            with pytest.raises(Unavailable):
                await process.tell("meanwhile")
        finally:
            await asyncio.to_thread(postgres_server.start)

        async def again() -> bool:
            try:
                await process.tell("after")
            except Unavailable:
                return False
            return True

        await eventually(again)
        await container.spawn(Receiver)
        await noted(container, "before", 1)
        await noted(container, "after", await number(container, "accounts", "after"))
        assert await number(container, "notes", "meanwhile") == await number(
            container, "accounts", "meanwhile"
        )


async def test_a_store_that_is_full_for_long_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.name == relays.log.name]

    async with made(("memory://", {}), f"sqlite:///{tmp_path}/store.db") as container:
        relay = (await container.message_store()).relay
        looks = 0

        async def full() -> list[str]:
            nonlocal looks
            looks += 1
            raise Unavailable("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(relay._claims, "renew", full)
            await until(lambda: looks > 3)
        await until(lambda: len(told()) > 1)
        looked = "the claims to what is in the outbox cannot be looked at"
        first, last = told()
        assert first == f"{looked}: the disk is full"
        assert re.fullmatch(rf"over, after \d+ s: {looked}", last)


def test_a_message_comes_back_as_it_was() -> None:
    envelope = Envelope("op", b"\0\xff", message_id="m", persistent=True, headers={"a": [1, "é"]})
    made_ = outgoing("", "there", 12.5, envelope)
    found = unpacked(packed(made_))
    assert (found.to, found.since) == ("there", 12.5)
    assert found.envelope.replace() is not envelope
    assert repr(found.envelope) == repr(envelope)
    assert found.envelope.body == envelope.body
    assert found.envelope.persistent
    assert repr(answer_of(kept(envelope))) == repr(envelope)
    with pytest.raises(Damaged):
        unpacked(b"rubbish")
    with pytest.raises(NewerSchema):
        unpacked(packed(type(made_)(99, "", "", 0.0, envelope)))


async def test_the_inbox_is_kept_within_its_bounds() -> None:
    datastore = MemoryDatastore()
    await datastore.open()
    inbox = await datastore.index_store("inbox", INDICES)
    forgetting = Retention(inbox, "c", StoreSettings(remember=100.0, max_remembered=5))
    now = clock.now()
    for n in range(20):
        await inbox.put(f"old-{n}", b"", index={"at": int((now - 101) * 1000)})
    for n in range(8):
        await inbox.put(f"new-{n}", b"", index={"at": int((now - 50 + n) * 1000)})
    assert await forgetting.forget() == 23
    assert (await inbox.keys()).items == [f"new-{n}" for n in range(3, 8)]
    assert await forgetting.forget() == 0
