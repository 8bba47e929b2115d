"""Cancels: before the request, after its end, while it waits elsewhere, and four services deep."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion import Container, DeadlineExceeded, Service
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec
from ion.process.endpoint.bounded_set import BoundedSet
from tests.process.delivery import Bus, config, is_empty, message, running, until


class Tier(Service, name="tier0"):
    """Calls the next tier, which holds on until it is cancelled."""

    def __init__(self, log: list[str], concurrency: int = 64) -> None:
        self.log = log
        self.concurrency = concurrency

    async def op_go(self, depth: int = 0) -> str:
        self.log.append(f"begun {depth}")
        try:
            if depth:
                return str(await self.rpc_send(f"tier{depth - 1}", "go", {"depth": depth - 1}))
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log.append(f"cancelled {depth}")
            raise
        return "never"

    async def op_quick(self) -> str:
        self.log.append("quick")
        return "quick"


TIERS = [Tier, *(type(f"Tier{n}", (Tier,), {}, name=f"tier{n}") for n in (1, 2, 3))]


def cancel(reply_to: str, conversation: str) -> Envelope:
    return Envelope(
        "go",
        reply_to=reply_to,
        correlation_id=conversation,
        priority=1,
        headers={"performative": "cancel", "protocol": "rpc"},
    )


async def publish(container: Container, key: str, *envelopes: Envelope) -> None:
    for envelope in envelopes:
        await container.transport.publish_confirmed(
            "test.xs", key, envelope, mandatory=True, timeout=10
        )


async def inbox(container: Container) -> list[Any]:
    """Consume a queue ``answers``; return the list that its deliveries will be in."""
    got: list[Any] = []
    transport = container.transport
    await transport.declare_queue(QueueSpec("answers", durable=False, exclusive=True))
    await transport.consume("answers", got.append, prefetch=1, no_ack=True)
    return got


async def test_a_cancel_that_overtakes_its_request_keeps_it_from_beginning(bus: Bus) -> None:
    log: list[str] = []
    async with running(bus) as container:
        await container.spawn(Tier, args={"log": log})
        got = await inbox(container)
        await publish(container, "ctl.tier0", cancel("answers", "c-1"))
        await until(lambda: len(container.endpoint.cancelled) == 1)
        await publish(container, "tier0", message("go", reply_to="answers", correlation_id="c-1"))
        await until(lambda: got)
        assert got[0].envelope.headers["code"] == 499
        assert container.endpoint.counts["cancelled before"] == 1
        assert not container.endpoint.cancelled
        assert not container.endpoint.calls
        assert log == []
        # the id is free again
        await publish(
            container, "tier0", message("quick", reply_to="answers", correlation_id="c-1")
        )
        await until(lambda: log == ["quick"])
    async with running(bus) as container:
        assert await is_empty(container, "test.tier0")


async def test_cancels_of_what_is_over_are_forgotten_in_the_end(bus: Bus) -> None:
    log: list[str] = []
    async with running(bus) as container:
        await container.spawn(Tier, args={"log": log})
        notes = container.endpoint.cancelled
        notes.limit = 100
        for n in range(300):
            container.transport.publish("test.xs", "ctl.tier0", cancel("answers", str(n)))
        await until(lambda: ("answers", "299") in notes)
        assert len(notes) == 100
        assert not container.endpoint.calls
        assert await container.rpc_send("tier0", "quick") == "quick"


async def test_a_call_that_waits_in_the_mailbox_never_begins(bus: Bus) -> None:
    log: list[str] = []
    async with running(bus) as container:
        pid = await container.spawn(Tier, args={"log": log, "concurrency": 1})
        process = container.processes[pid]
        first = asyncio.ensure_future(container.rpc_send("tier0", "go"))
        await until(lambda: log)
        second = asyncio.ensure_future(container.rpc_send("tier0", "quick"))
        await until(lambda: process.waiting)
        second.cancel()
        await until(lambda: all(call.cause for call in calls(container) if call.op == "quick"))
        first.cancel()
        await until(lambda: not container.endpoint.calls)
        assert log == ["begun 0", "cancelled 0"]


def calls(container: Container) -> list[Any]:
    return list(container.endpoint.calls.values())


async def test_a_call_on_the_ladder_is_cancelled_too(bus: Bus, other: Container) -> None:
    log: list[str] = []
    more = {"service__retry_delays": [0.5]}
    killed = Container(bus[0], sysname="test", config=config(bus, **more))
    await killed.start()
    await killed.spawn(Tier, args={"log": log})
    call = asyncio.ensure_future(other.rpc_send("tier0", "go", timeout=60))
    await until(lambda: log)
    await killed.kill()
    async with running(bus, **more) as container:
        await container.spawn(Tier, args={"log": log})
        await until(lambda: container.endpoint.counts["retried"])
        call.cancel()
        await until(lambda: container.endpoint.counts["cancelled before"])
        assert log == ["begun 0", "cancelled 0"]  # the first one, when it was killed
        assert not container.endpoint.cancelled
        assert not container.endpoint.calls


@pytest.mark.parametrize("how", ["deadline", "cancel"])
async def test_the_whole_tree_of_calls_is_cancelled(bus: Bus, other: Container, how: str) -> None:
    log: list[str] = []
    async with running(bus) as container:
        for kind in TIERS:
            await container.spawn(kind, args={"log": log})
        timeout = 0.5 if how == "deadline" else 60
        call = asyncio.ensure_future(other.rpc_send("tier3", "go", {"depth": 3}, timeout=timeout))
        await until(lambda: log == ["begun 3", "begun 2", "begun 1", "begun 0"])
        if how == "cancel":
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        else:
            with pytest.raises(DeadlineExceeded):
                await call
        await until(lambda: len(log) == 8)
        assert sorted(log[4:]) == [f"cancelled {n}" for n in range(4)]
        for party in (container, other):
            await until(lambda: not party.endpoint.calls)  # noqa: B023
            await until(lambda: not party.endpoint.conversations.open)  # noqa: B023
    async with running(bus) as container:
        assert await is_empty(container, "test.tier3")
        assert await is_empty(container, "test.tier0.dlq")


def test_the_oldest_note_goes() -> None:
    notes = BoundedSet(3)
    for n in range(5):
        notes.keep(n)
    assert list(notes) == [2, 3, 4]
    assert notes.take(3)
    assert not notes.take(3)
    assert not notes.take(0)
    notes.keep(4)
    assert list(notes) == [2, 4]
