"""What the tests of delivery share: short ladders, waiting for what is to come, dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ion import ApplicationError, Container
from ion.messaging.codec import encode
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery

Bus = tuple[str, dict[str, object]]
PATIENCE = 20.0  # seconds; far more than needed: the machine may be busy
DELAYS = [0.02, 0.04]


def config(bus: Bus, **more: Any) -> dict[str, Any]:
    """Return the configuration of a container with a short ladder; ``__`` stands for a dot."""
    given = {name.replace("__", "."): value for name, value in more.items()}
    return {**bus[1], "service.retry_delays": DELAYS, **given}


@asynccontextmanager
async def running(bus: Bus, **more: Any) -> AsyncIterator[Container]:
    """Run a container of system ``test`` with a short ladder."""
    async with Container(bus[0], sysname="test", config=config(bus, **more)) as container:
        yield container


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Return once ``condition()`` is true."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(what or "it did not come") from None


async def dead_letters(container: Container, key: str, count: int) -> list[Delivery]:
    """Take ``count`` dead letters of ``key``."""
    found: list[Delivery] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            letter = await container.transport.get(f"test.{key}.dlq")
            if letter is None:
                await asyncio.sleep(0.01)
            else:
                letter.ack()
                found.append(letter)
    return found


async def is_empty(container: Container, queue: str) -> bool:
    """Tell whether nothing is ready in a queue (one that is not there is empty)."""
    info = await container.transport.queue_info(queue)
    return info is None or info.messages == 0


def message(op: str, content: Any = None, **properties: Any) -> Envelope:
    """Return a message as a foreign client sends it."""
    body, content_type = encode(content, "application/json")
    return Envelope(op, body, content_type=content_type, **properties)


def unwrap(settings: object) -> Callable[[Envelope], Envelope]:
    """Return an interceptor that takes a wrapping off, and refuses what has none."""
    del settings

    def unwrapped(envelope: Envelope) -> Envelope:
        if not envelope.body.startswith(b"wrapped:"):
            reason = "not wrapped"
            raise ApplicationError(reason, code=403)
        return envelope.replace(body=envelope.body.removeprefix(b"wrapped:"))

    return unwrapped
