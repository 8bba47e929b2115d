"""A death notice as a message: it waits in the mailbox of who hears it, and is handled in turn.

So a process that handles one message at a time hears of a death between two of them. A notice did
not come from a queue, and cannot go back to one: where the mailbox is full, it is tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ion.base import lifecycle
from ion.messaging.envelope import Envelope
from ion.process.ops import Op
from ion.process.serving.source import Source
from ion.process.supervision.exit_reason import DownNotice

if TYPE_CHECKING:
    from ion.process.process import Process

PAUSE = 0.1  # seconds before a notice that found the mailbox full is tried again


async def _on_down(process: Process, content: Any, headers: Any, msg: Any) -> None:
    await process.on_down(msg.delivery.notice)


NOTICES = Source(key="", handler=Op("on_down", _on_down, "Process"))
_NOTHING = b"\xc0"  # in msgpack


def _envelope() -> Envelope:
    return Envelope("on_down", _NOTHING, headers={"performative": "request", "protocol": "none"})


class _Delivery(msgspec.Struct, eq=False):
    """A notice in the place of a delivery."""

    notice: DownNotice
    process: Any
    envelope: Envelope = msgspec.field(default_factory=_envelope)
    exchange: str = ""
    key: str = ""
    redelivered: bool = False
    settled: bool = False
    lost: bool = False

    def ack(self) -> None:
        """Take note that it was handled."""
        self.settled = True

    def nack(self, *, requeue: bool) -> None:
        """Nothing: whoever gives a message back ends, and is to hear of nothing any more."""
        self.settled = True


def hear(process: Process, notice: DownNotice) -> None:
    """Have a process handle a notice after what waits in its mailbox."""
    if process._draining or process._state in (lifecycle.TERMINATED, lifecycle.ERROR):
        return  # it ends itself
    if process.waiting < process.mailbox:
        process.take(NOTICES, _Delivery(notice, process))
    else:
        process._host.endpoint.loop.call_later(PAUSE, hear, process, notice)
