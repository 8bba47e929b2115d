"""The services of the journeys, and what stops them at chosen moments."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ion import Service
from ion.messaging.envelope import Envelope
from tests.journeys.faults.tally import Recorder
from tests.journeys.faults.zygote import say


class Plain(Service, name="plain", version="1.0.0"):
    """Has its effect at once."""

    def __init__(self, effects: str, pause: float = 0.0) -> None:
        self.record = Recorder(effects)
        self.pause = pause

    async def op_do(self, key: str) -> str:
        await asyncio.sleep(self.pause)
        self.record(key, self.message)
        return key


class Gated(Service, name="gated", version="1.0.0"):
    """Waits at a gate, before or after its effect, until it gets SIGUSR1.

    Says ``at the gate`` with the key.
    """

    def __init__(self, effects: str, gate: str = "") -> None:
        self.record = Recorder(effects)
        self.gate = gate
        self.opened = asyncio.Event()

    async def on_init(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.opened.set)

    async def op_do(self, key: str) -> str:
        if self.gate == "before":
            await self._wait(key)
        self.record(key, self.message)
        if self.gate == "after":
            await self._wait(key)
        return key

    async def op_weigh(self, key: str, filling: str) -> int:
        await self.op_do(key)
        return len(filling)

    async def _wait(self, key: str) -> None:
        say("at the gate", key)
        await self.opened.wait()

    async def op_pending(self) -> list[int]:
        """Return how many calls are at work here, this one apart, and how many wait for others."""
        endpoint = self._endpoint
        return [len(endpoint.calls) - 1, len(endpoint.conversations.open)]


class Killing(Service, name="killing", version="1.0.0"):
    """Is killed, with its OS process, after an effect and before its ack.

    ``kill-...`` does so at its first execution (a file remembers it), ``poison-...`` at each.
    """

    def __init__(self, effects: str) -> None:
        self.record = Recorder(effects)
        self.marks = Path(f"{effects}.killed")
        self.marks.mkdir(exist_ok=True)

    async def op_do(self, key: str) -> str:
        self.record(key, self.message)
        kind, _, _ = key.partition("-")
        if kind == "poison" or (kind == "kill" and self._is_first(key)):
            os.kill(os.getpid(), signal.SIGKILL)
        return key

    def _is_first(self, key: str) -> bool:
        try:
            (self.marks / key).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def stop_before_request(_: Any) -> Callable[[Envelope], Envelope]:
    """Make an interceptor for what goes out: stops its OS process before the first request."""
    stopped: list[bool] = []

    def stop(envelope: Envelope) -> Envelope:
        if not stopped and envelope.reply_to:
            stopped.append(True)
            os.kill(os.getpid(), signal.SIGSTOP)
        return envelope

    return stop


def ahead(_: Any) -> Callable[[Envelope], Envelope]:
    """Make an interceptor that sends as a clock would that is 59 seconds ahead."""
    return lambda envelope: _shifted(envelope, 59_000)


def behind(_: Any) -> Callable[[Envelope], Envelope]:
    """Make an interceptor that sends as a clock would that is 59 seconds behind."""
    return lambda envelope: _shifted(envelope, -59_000)


def _shifted(envelope: Envelope, by: int) -> Envelope:
    if "deadline" in envelope.headers:
        envelope.headers["deadline"] += by
        envelope.timestamp = (envelope.timestamp or 0) + by // 1000
    return envelope
