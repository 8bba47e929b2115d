"""Services that work in units, and are killed with their OS process at each moment of it.

A message's key says who is to die of it, and when: ``payer.committed-7``. So it happens at the
first execution that comes so far; a file remembers it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from ion import Service
from ion.messaging.codec import decode
from tests.journeys.faults.tally import Recorder

# The moments of a message: its op has begun; has written, and is about to commit; has committed,
# and nothing is sent; the broker has what it sends; that is out of the outbox; it is acked.
RECEIVED, WORKING, COMMITTED, SENT, TAKEN_OUT, ACKED = (
    "received",
    "working",
    "committed",
    "sent",
    "taken_out",
    "acked",
)
MOMENTS = {
    "payer": (RECEIVED, WORKING, COMMITTED, SENT, TAKEN_OUT, ACKED),
    "booker": (RECEIVED, WORKING, COMMITTED, ACKED),
}
FLUSHED = 0.005  # seconds after which an ack is on its way, as a rule


class Mortal(Service):
    """Counts in units how often it has done each key."""

    def __init__(self, effects: str) -> None:
        self.record = Recorder(effects)
        self.marks = Path(f"{effects}.killed")
        self.marks.mkdir(exist_ok=True)

    async def on_init(self) -> None:
        await self.store(self.name)

    async def work(self, key: str) -> int:
        """Do what is to be done once."""
        self.record(f"{self.name} {key}", self.message)
        self.message.at_end(lambda: self._die_later(key))
        self.die(key, RECEIVED)
        async with self.unit_of_work() as uow:
            done = uow.store(self.name)
            count = int(await done.get(key) or b"0") + 1
            await done.put(key, str(count).encode())
            await self.tell(uow, key)
            self.die(key, WORKING)
        self.die(key, COMMITTED)
        return count

    async def tell(self, uow: Any, key: str) -> None:
        """Send on."""

    def die(self, key: str, moment: str) -> None:
        """Be killed, if that is what the key says, and it was not done before."""
        if key.partition("-")[0] != f"{self.name}.{moment}":
            return
        try:
            (self.marks / key).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def _die_later(self, key: str) -> None:
        asyncio.get_running_loop().call_later(FLUSHED, self.die, key, ACKED)


class Payer(Mortal, name="payer"):
    """Pays, and has it booked."""

    async def on_init(self) -> None:
        await super().on_init()
        relay: Any = (await self._host.message_store()).relay
        send, sender = relay._send, relay._sender
        publish = sender.send

        async def published(messages: Any) -> Any:
            done = await publish(messages)
            for outgoing in messages:
                self.die(_key(outgoing), SENT)
            return done

        async def taken_out(batch: Any) -> Any:
            done = await send(batch)
            for _, outgoing in batch:
                self.die(_key(outgoing), TAKEN_OUT)
            return done

        sender.send, relay._send = published, taken_out

    async def op_pay(self, key: str) -> int:
        return await self.work(key)

    async def tell(self, uow: Any, key: str) -> None:
        """Have it booked."""
        await uow.send("booker", "book", {"key": key})


class Booker(Mortal, name="booker"):
    """Books."""

    async def op_book(self, key: str) -> int:
        return await self.work(key)


def _key(outgoing: Any) -> str:
    envelope = outgoing.envelope
    key: str = decode(envelope.body, envelope.content_type)["key"]
    return key
