"""Load that is shed: what becomes of a message that finds the mailbox full."""

from __future__ import annotations

from typing import Protocol

from ion.base.errors import Unavailable
from ion.process.redelivery import retrying
from ion.process.serving.answering import RETRY_AFTER
from ion.process.serving.incoming import IncomingCall
from ion.process.serving.retry_after import RetryAfter


class Crowded(Protocol):
    """A process whose mailbox is full."""

    name: str
    mailbox: int
    concurrency: int
    _handled: int
    _pressure: RetryAfter | None

    @property
    def waiting(self) -> int:
        """How many messages wait in the mailbox."""


def measure(process: Crowded, now: float) -> RetryAfter:
    """Begin to measure how fast the process handles what waits, and return the measurement."""
    process._pressure = RetryAfter(now, process._handled, process.concurrency)
    return process._pressure


def shed(process: Crowded, call: IncomingCall) -> None:
    """Let a message wait elsewhere, or answer 503 and say when it is worth another try."""
    endpoint = call.endpoint
    endpoint.counts["shed"] += 1
    now = endpoint.time()
    pressure = process._pressure or measure(process, now)
    after = pressure.retry_after(now, process._handled, process.waiting)
    if not call.envelope.reply_to and call.source.policy is not None:
        retrying.later(call, counted=False, wait=after)
        return
    message = f"the mailbox of {process.name} is full: {process.mailbox} messages wait"
    call.fail(Unavailable(message, details={RETRY_AFTER: after}))
