"""T2: a publish that the broker does not take ends with an error at its deadline.

The broker is stopped, has its memory alarm on, or is frozen (SIGSTOP), so that whatever is sent to
it is never answered, as on a network that drops packets. Calls, requests, confirmed one-way
messages, events (half of them to an exchange point that was never used) and broadcasts are begun at
once. What reached the frozen broker may be executed once it goes on: a sender
whose message was not confirmed cannot know.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from ion import Container, IonError, ServiceClient
from ion.messaging.envelope import Envelope
from ion.messaging.transport import TransportState
from tests.journeys.faults.actors import Plain
from tests.journeys.faults.waiting import until

pytestmark = pytest.mark.amqp

TIMEOUT = 0.5
LATE = 0.05  # seconds after the deadline in which the error is there
WAKES = 2  # the machine may be late at the deadline, and again when the broker was asked in vain
FAULTS = ["stopped", "alarm", "frozen"]
EACH = (10, 50)  # calls of each kind
ROUNDS = (1, 10)


class Fault:
    """Breaks the session's broker, and mends it."""

    def __init__(self, kind, broker, container):
        self.kind, self.broker, self.container = kind, broker, container

    async def begin(self):
        if self.kind == "stopped":
            await asyncio.to_thread(self.broker.kill)
            await self._state(TransportState.LOST)
        elif self.kind == "frozen":
            self.broker.suspend()
        else:
            await asyncio.to_thread(self.broker.set_memory_alarm, True)
            self.container.transport.publish(
                "", "nobody", Envelope("nothing")
            )  # so that it is told
            await self._state(TransportState.BLOCKED)

    async def end(self):
        if self.kind == "stopped":
            await asyncio.to_thread(self.broker.start)
        elif self.kind == "frozen":
            self.broker.resume()
        else:
            await asyncio.to_thread(self.broker.set_memory_alarm, False)
        await self._state(TransportState.CONNECTED)

    async def _state(self, state):
        async def there():
            return self.container.transport.state is state

        await until(there, f"never {state}")


async def timed(call, tally):
    """Await it and return how many seconds after its deadline it was over."""
    began = time.monotonic()
    tally.sent += 1
    try:
        await call
    except IonError as error:
        tally.ended(error)
    else:
        tally.ended(None)
    return time.monotonic() - began - TIMEOUT


def everything(container, count):
    """Return one of each kind that can be begun, ``count`` times."""
    client = ServiceClient("plain", container)
    for number in range(count):
        yield client.do(key=f"call-{number}", timeout=TIMEOUT)
        yield _awaited(container.request("plain", "do", {"key": f"request-{number}"}, TIMEOUT))
        yield container.send("plain", "do", {"key": f"send-{number}"}, timeout=TIMEOUT)
        point = "used" if number % 2 else f"new{number}"
        yield container.publish(point, "a.b", {"key": f"event-{number}"}, timeout=TIMEOUT)
        yield container.broadcast("plain", "do", {"key": f"all-{number}"}, timeout=TIMEOUT)


async def _awaited(conversation):
    return await conversation


@pytest.mark.parametrize("kind", FAULTS)
async def test_an_error_at_the_deadline(
    kind, amqp_url, rabbitmq_server, effects, new_tally, size, pulse
):
    tally = new_tally(f"T2 {kind}")
    latest = 0.0
    # heartbeats would end what is frozen; here the deadline has to
    async with Container(amqp_url, sysname="never", config={"broker.heartbeat": 60}) as container:
        pid = await container.spawn(Plain, args={"effects": str(effects.path)})
        await container.rpc_send("plain", "ping")
        await container.publish("used", "a.b")
        fault = Fault(kind, rabbitmq_server, container)
        # what one round asked the frozen broker in vain must not delay the next one
        for _ in range(size(*ROUNDS) + (kind == "frozen")):
            await fault.begin()
            try:
                calls = everything(container, size(*EACH))
                late = await asyncio.gather(*(timed(call, tally) for call in calls))
            finally:
                await fault.end()
            latest = max(latest, *late)
        await container.rpc_send("plain", "ping", timeout=10)
        assert len(container.endpoint.conversations.open) == 0
        await container.terminate_process(pid)
    tally.effects = effects.all()
    tally.notes |= {
        "latest": f"{latest * 1000:+.0f}ms",
        "machine": f"{pulse.latest * 1000:+.0f}ms",
    }
    assert tally.answered == 0
    assert tally.ends == tally.sent
    assert set(tally.failed) == {"Unavailable"}
    assert latest < LATE + WAKES * pulse.latest
