"""What one side says, until the broker has it, with a broker that takes some of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ion.base.errors import IonError, Unavailable, Unroutable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Settled
from ion.process.conversations.send_buffer import SendBuffer


class Broker:
    """Keeps what is sent, and settles it when the test says."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Settled]] = []
        self.changes = 0

    def publish(self, envelope: Envelope, settled: Settled) -> None:
        self.sent.append((envelope.op, settled))

    def changed(self) -> None:
        self.changes += 1

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.sent]

    def settle(self, *outcomes: IonError | None) -> None:
        """Settle the first ones, in their order."""
        now, self.sent = self.sent[: len(outcomes)], self.sent[len(outcomes) :]
        for (_, settled), error in zip(now, outcomes, strict=True):
            settled(error)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def broker() -> Broker:
    return Broker()


async def boxed(broker: Broker, *, patient: bool, count: int = 3) -> SendBuffer:
    loop = asyncio.get_running_loop()
    unsent = SendBuffer(loop, broker.publish, broker.changed, patient=patient)
    for number in range(2, 2 + count):
        unsent.send(number, Envelope(str(number)))
    return unsent


async def test_all_go_at_once_and_are_gone_when_they_are_confirmed(broker: Broker) -> None:
    unsent = await boxed(broker, patient=False)
    assert broker.names == ["2", "3", "4"]
    broker.settle(None, None)
    assert (len(unsent), broker.changes) == (1, 0)
    broker.settle(None)
    assert (len(unsent), broker.changes, unsent.interrupted) == (0, 1, False)


async def test_what_was_not_confirmed_is_sent_again_before_anything_else(broker: Broker) -> None:
    unsent = await boxed(broker, patient=False)
    broker.settle(None, Unavailable("lost"), Unavailable("lost"))
    assert unsent.interrupted
    unsent.send(5, Envelope("5"))
    assert broker.names == [], "it would overtake the others"
    await until(lambda: broker.sent)
    assert broker.names == ["3", "4", "5"]
    assert not unsent.interrupted
    assert broker.changes == 1, "who waited to send goes on"
    broker.settle(None, None, None)
    assert not unsent


async def test_a_connection_that_is_away_is_asked_again_and_again(broker: Broker) -> None:
    tries = []

    def away(envelope: Envelope, settled: Settled) -> None:
        tries.append(envelope.op)
        if len(tries) < 4:
            settled(Unavailable("away"))
        else:
            broker.publish(envelope, settled)

    unsent = SendBuffer(asyncio.get_running_loop(), away, broker.changed, patient=False)
    unsent.send(2, Envelope("2"))
    unsent.send(3, Envelope("3"))
    await until(lambda: broker.sent)
    assert tries == ["2", "2", "2", "2", "3"]
    broker.settle(None, None)
    assert not unsent


async def test_a_queue_that_is_gone_is_gone(broker: Broker) -> None:
    unsent = await boxed(broker, patient=False)
    broker.settle(Unroutable("gone"))
    assert isinstance(unsent.lost, Unroutable)
    assert broker.changes == 1
    assert not unsent.interrupted


async def test_a_patient_one_sends_one_after_the_other(broker: Broker) -> None:
    unsent = await boxed(broker, patient=True)
    assert broker.names == ["2"]
    broker.settle(Unroutable("not back yet"))
    assert unsent.interrupted
    assert unsent.lost is None
    await until(lambda: broker.sent)
    assert broker.names == ["2"]
    for name in ("2", "3", "4"):
        assert broker.names == [name]
        broker.settle(None)
    assert not unsent


async def test_a_closed_one_sends_nothing_more(broker: Broker) -> None:
    unsent = await boxed(broker, patient=False)
    broker.settle(Unavailable("lost"))
    unsent.close()
    assert (len(unsent), unsent.interrupted) == (0, False)
    broker.settle(None, Unavailable("late"))
    assert not unsent.interrupted
