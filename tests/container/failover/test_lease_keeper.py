"""A lease on every bus: who holds it, and that it is one at a time, whatever happens."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ion import Container
from ion.container.failover.lease_actions import Publish, Token
from ion.container.failover.lease_keeper import LeaseKeeper, _now
from ion.container.failover.leasing import Phase
from ion.messaging import codec
from ion.messaging.envelope import Envelope
from ion.messaging.transport import TransportState
from ion.process.command import seal
from tests.process.supervised import until

GRACE = 1.0
RECORD = {"name": "app"}
QUEUE = "lease.lease.app"


class Flat:
    """A tenant that notes what it is told, with the time."""

    def __init__(self, book: list[tuple[str, int]], name: str) -> None:
        self.book = book
        self.name = name
        self.overs: list[Token] = []
        self.asked_for = 0

    def begins(self, keeper: LeaseKeeper, *, adopted: bool) -> None:
        self.book.append((f"+{self.name}", keeper.token.number))

    def ends(self, keeper: LeaseKeeper, why: str) -> None:
        self.book.append((f"-{self.name}", 0))

    def over(self, keeper: LeaseKeeper, last: Token) -> None:
        self.overs.append(last)

    def asked(self, keeper: LeaseKeeper) -> None:
        self.asked_for += 1


class House:
    """Containers, each with a keeper of the same lease."""

    def __init__(self, url: str, config: dict[str, Any]) -> None:
        self.url = url
        self.config = config
        self.book: list[tuple[str, int]] = []
        self.keepers: list[LeaseKeeper] = []
        self.containers: list[Container] = []
        self.tenants: list[Flat] = []

    async def move_in(self, *, grace: float = GRACE) -> LeaseKeeper:
        name = f"c{len(self.keepers)}"
        container = Container(self.url, sysname="lease", config=self.config)
        await container.start()
        tenant = Flat(self.book, name)
        keeper = LeaseKeeper("app", container.endpoint, tenant, own=name, grace=grace)
        container.transport.on_state(keeper.on_transport)
        await keeper.open()
        self.keepers.append(keeper)
        self.containers.append(container)
        self.tenants.append(tenant)
        return keeper

    async def vanish(self, keeper: LeaseKeeper) -> None:
        """End the connection of a keeper, behind its back."""
        container = self.containers[self.keepers.index(keeper)]
        await container.kill()

    async def close(self) -> None:
        for keeper, container in zip(self.keepers, self.containers, strict=True):
            await keeper.close()
            await container.stop()

    @property
    def tokens(self) -> list[int]:
        return [number for word, number in self.book if word.startswith("+")]


@pytest.fixture
async def house(bus):
    url, config = bus
    made = House(url, config)
    yield made
    await made.close()


async def bid(keeper: LeaseKeeper, grace: float = GRACE, attempts: int = 5) -> None:
    await keeper.bid(RECORD, attempts=attempts, grace=grace)


async def test_it_is_taken_held_and_handed_over(house):
    one, other = await house.move_in(), await house.move_in()
    await bid(one, grace=20.0)
    await until(lambda: one.held)
    assert not other.held
    assert one.token.record == RECORD
    await one.release("free")
    assert not one.held
    await until(lambda: other.held)  # long before the grace is over
    assert house.tokens == sorted(set(house.tokens))
    assert len(house.tokens) == 2


async def test_it_is_held_for_longer_than_its_grace(house):
    one = await house.move_in(grace=0.5)
    await bid(one, grace=0.5)
    await until(lambda: one.held)
    held_lease = one.held_lease()
    end = asyncio.get_running_loop().time() + 1.2
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.02)
    await until(lambda: one.held)
    assert held_lease.token >= house.tokens[0]


async def test_after_its_holder_vanished_another_one_has_it(house):
    one, other = await house.move_in(), await house.move_in()
    await bid(one)
    await until(lambda: one.held)
    began = time.monotonic()
    await house.vanish(one)
    assert not one.held
    await until(lambda: other.held)
    assert time.monotonic() - began >= GRACE * 0.9
    assert other.token.vanished == 1
    assert house.tokens == sorted(set(house.tokens))


async def test_ten_that_race_have_one_holder(house):
    await asyncio.gather(*(house.move_in() for _ in range(10)))
    await asyncio.gather(*(bid(keeper) for keeper in house.keepers))
    await until(lambda: any(keeper.held for keeper in house.keepers))
    holder = next(keeper for keeper in house.keepers if keeper.held)
    tenant = house.tenants[house.keepers.index(holder)]
    await until(lambda: tenant.asked_for)
    assert [keeper for keeper in house.keepers if keeper.held] == [holder]
    assert len(house.tokens) == 1


async def test_what_is_stopped_is_nobodys_until_it_is_asked_for(house):
    one, other = await house.move_in(), await house.move_in()
    await bid(one)
    await until(lambda: one.held)
    first = one.token.number
    await one.release("stopped")
    await until(lambda: house.tenants[1].overs)
    assert not other.is_open
    assert not other.held
    await bid(other)
    await until(lambda: other.held)
    assert other.token.number > first


async def test_a_failure_is_counted_and_too_many_end_it(house):
    one = await house.move_in()
    await bid(one, attempts=2)
    await until(lambda: one.held)
    await one.release("free", "it breaks")
    await one.open()
    await until(lambda: one.held)
    assert one.token.failed == 1
    await one.release("free", "it breaks again")
    [last] = house.tenants[0].overs
    assert (last.state, last.failed, last.error) == ("failed", 2, "it breaks again")


async def test_a_deleted_queue_is_made_again_and_only_one_holds(house):
    one, other = await house.move_in(grace=3.0), await house.move_in(grace=3.0)
    await bid(one, grace=3.0)
    await until(lambda: one.held)
    await house.containers[1].transport.delete_queue(QUEUE)
    transport = house.containers[0].transport

    async def is_there() -> bool:
        info = await transport.queue_info(QUEUE)
        return info is not None and info.consumers > 0

    async with asyncio.timeout(20):
        while not (await is_there() and one.held != other.held):
            assert not (one.held and other.held)
            await asyncio.sleep(0.02)
    assert house.tokens == sorted(set(house.tokens))


async def test_a_crash_between_two_tokens_leaves_the_greater_one(house):
    transport = (await house.move_in())._transport
    [keeper] = house.keepers
    for number, holder in ((7, "gone"), (9_000_000_000_000, "gone too"), (8, "gone")):
        token = Token(number, "held", holder, f"m{number}", 1.0, RECORD, GRACE)
        envelope = keeper._envelope(Publish(token, lasting=True))
        await transport.publish_confirmed("", QUEUE, envelope, timeout=5)
    await until(lambda: keeper.held)
    assert keeper.token.number == 9_000_000_000_001
    info = await transport.queue_info(QUEUE)
    assert info.messages == 0


async def test_what_is_no_token_does_no_harm(house):
    keeper = await house.move_in()
    for body in (b"", b"\xc1", codec.encode("text")[0], codec.encode({"number": "one"})[0]):
        await keeper._transport.publish_confirmed("", QUEUE, Envelope("x", body), timeout=5)
    await bid(keeper)
    await until(lambda: keeper.held)


async def test_a_token_that_was_not_sealed_with_the_key_is_dropped(amqp_url, caplog):
    house = House(amqp_url, {})
    keeper = await house.move_in()
    try:
        body = codec.encode(Token(9, "free", "evil", "m9", 1.0, {"args": {"cmd": "x"}}))[0]
        others = seal.seal(bytes(32), "lease", "lease", "app", body)
        ours = house.containers[0].endpoint.permission.seal("lease", "app", body + b"x")
        for headers in ({}, {"seal": 5}, {"seal": others}, ours):
            envelope = Envelope("lease", body, persistent=True, headers=headers)
            await keeper._transport.publish_confirmed("", QUEUE, envelope, timeout=5)
        counts = house.containers[0].endpoint.counts
        await until(lambda: counts["tokens that are not sealed"] == 4)
        assert keeper.is_idle
        said = [r.getMessage() for r in caplog.records if "is not believed" in r.getMessage()]
        assert len(said) == 1
        assert "give both sides the same key file" in said[0]
        await bid(keeper)
        await until(lambda: keeper.held)
        assert keeper.token.record == RECORD
    finally:
        await house.close()


async def test_a_blocked_loop_ends_the_hold_before_anything_else(house):
    keeper = await house.move_in()
    await bid(keeper)
    await until(lambda: keeper.held)
    held_lease = keeper.held_lease()
    order: list[str] = []
    loop = asyncio.get_running_loop()
    waiter = loop.create_task(asyncio.sleep(0.01))
    waiter.add_done_callback(lambda _: order.append(house.book[-1][0]))
    await asyncio.sleep(0)
    time.sleep(GRACE)  # noqa: ASYNC251 - as bad code does
    assert not held_lease.held
    await waiter
    await until(lambda: order)
    assert order == ["-c0"]  # what the task did next came after the end
    await until(lambda: keeper.held)  # nobody else is there: it has it again
    assert not held_lease.held or held_lease.token <= keeper.token.number
    assert house.tokens == sorted(set(house.tokens))


@pytest.mark.amqp
async def test_a_lost_connection_ends_it_and_the_broker_chooses_anew(amqp_url, rabbitmq_server):
    house = House(amqp_url, {})
    one, other = await house.move_in(), await house.move_in()
    try:
        await bid(one)
        await until(lambda: one.held)
        await asyncio.to_thread(rabbitmq_server.close_connections)
        await until(lambda: ("-c0", 0) in house.book)
        await until(lambda: one.held or other.held)
        await until(lambda: one.held != other.held)
        assert house.tokens == sorted(set(house.tokens))
    finally:
        await house.close()


@pytest.mark.amqp
async def test_a_broker_that_starts_again_has_one_holder(amqp_url, rabbitmq_server):
    house = House(amqp_url, {})
    for _ in range(3):
        await house.move_in()
    try:
        await bid(house.keepers[0])
        await until(lambda: house.keepers[0].held)
        await asyncio.to_thread(rabbitmq_server.kill)
        await until(lambda: ("-c0", 0) in house.book)
        await asyncio.to_thread(rabbitmq_server.start)
        async with asyncio.timeout(60):
            while not any(keeper.held for keeper in house.keepers):
                await asyncio.sleep(0.01)
        assert sum(keeper.held for keeper in house.keepers) == 1
        assert house.tokens == sorted(set(house.tokens))
        assert house.keepers[0].token.record == RECORD
    finally:
        await house.close()


async def test_a_token_that_comes_before_the_line_is_open_is_taken_as_soon_as_it_is():
    house = House("memory://early", {})
    keeper = await house.move_in(grace=30.0)
    try:
        transport = keeper._transport
        lost = Token(7, "free", "gone", "m7", 1.0, RECORD, 30.0)
        transport._tell(TransportState.LOST)  # as AMQP does: what it consumes is resumed first
        core = keeper._core
        keeper._act(core.arrived("tag", lost, _now(), time.time()))
        assert core.phase is Phase.LOOKING
        transport._tell(TransportState.CONNECTED)
        await until(lambda: keeper.held)  # long before patience and grace are over
    finally:
        await house.close()


@pytest.mark.amqp
async def test_an_alarm_takes_it_from_nobody(amqp_url, rabbitmq_server):
    house = House(amqp_url, {})
    one, other = await house.move_in(), await house.move_in()
    try:
        await bid(one)
        await until(lambda: one.held)
        await asyncio.to_thread(rabbitmq_server.set_memory_alarm, True)
        loop = asyncio.get_running_loop()
        end = loop.time() + 3 * GRACE
        while loop.time() < end:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(rabbitmq_server.set_memory_alarm, False)
        await until(lambda: one.held)
        assert len(house.tokens) == 1
        assert not other.held
    finally:
        await asyncio.to_thread(rabbitmq_server.set_memory_alarm, False)
        await house.close()


async def test_a_replicated_lease(amqp_url):
    container = Container(amqp_url, sysname="lease")
    await container.start()
    tenant = Flat([], "c0")
    keeper = LeaseKeeper("app", container.endpoint, tenant, own="c0", grace=2.0, quorum=True)
    await keeper.open()
    await bid(keeper, grace=2.0)
    await until(lambda: keeper.held)
    await keeper.release("free")
    await keeper.open()
    await until(lambda: keeper.held)
    await keeper.close()
    await container.stop()
