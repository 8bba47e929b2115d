"""What state an agent is in, how it gets to others, and how it comes back when the line is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any

from ion.base import clock
from ion.base.errors import ApplicationError, IonError, StoreError, Unavailable
from ion.messaging.transport import TransportState
from ion.process.events import types
from ion.process.events.queue import EventQueue
from ion.process.service import Service
from ion.process.supervision.spec import Backoff
from ion.services.instrument import machine
from ion.services.instrument.driver_client import DriverClient
from ion.services.instrument.events import AgentErrorRaised
from ion.services.instrument.machine import (
    AGENT,
    COMMAND,
    CONNECTED,
    INACTIVE,
    LOST_CONNECTION,
    STREAMING,
    UNINITIALIZED,
)
from ion.services.instrument.model import DeviceError, WrongState
from ion.services.instrument.sample_stream import SampleStream
from ion.services.instrument.saved_state import SavedState

log = logging.getLogger(__name__)
ORIGIN_TYPE = "Instrument"
POST_HELD, POST_WANTED = 5.0, 1.0  # seconds between two looks at who is the agent
POST_STEP = 0.25  # seconds between two looks whether this side was away, and may be it no more
POST_LATE = 1.0  # seconds that such a pause may take longer; else all here stood still
POST_ANSWER = 5.0
STEADY = 10.0  # seconds after which a connection counts as good: the next wait is a short one again


class StatefulAgent(Service):
    """Base of agents: the states, and what is done on the way from one to another.

    One command is done at a time. Losing the line waits for none of them: a command that is under
    way then finds out when it is done, and fails.
    """

    def _stand(self, driver: str, device: Mapping[str, Any], stream: str | None) -> None:
        """Be in the first state; to be called by ``__init__``."""
        self._at = UNINITIALIZED
        self._since = clock.now()
        self._reason = ""
        self._losses = 0
        self._breaks = 0  # also those that came while it was to be connected
        self._busy = asyncio.Lock()
        self._saved = SavedState(self.service_name)
        self._events = EventQueue(self)
        self._driver = DriverClient(self, driver, device)
        self._stream = SampleStream(self, stream)
        self._fields: dict[str, str] = {}
        self._returning: asyncio.Task[None] | None = None
        self._return_to = COMMAND
        self._failures = 0
        self._reached = clock.monotonic()
        self._is_at_post = False
        self._start_state = STREAMING
        self._own: dict[str, Any] = {"reconnect_first": 0.2, "reconnect_cap": 30.0}

    # commands

    async def _do(self, name: str) -> str:
        """Do a command of the agent, and return the new state; ``_busy`` is held.

        :raises WrongState: it is not allowed now, or the line was lost meanwhile.
        :raises DeviceError: the device did not; the state is what it was.
        """
        before, breaks = self._at, self._breaks
        target = AGENT.next_state(before, name)
        if before == LOST_CONNECTION:
            await self._stop_returning()
        effect = getattr(self, f"_to_{name}", None)
        try:
            if effect is not None:
                await effect()
        finally:
            if before == LOST_CONNECTION == self._at and target in CONNECTED:
                self._begin_return()
        if self._at != before:
            message = f"{name}: the agent has become {self._at} meanwhile: {self._reason}"
            raise WrongState(message)
        if self._breaks != breaks and target in CONNECTED:
            message = f"{name}: the device was lost as soon as it was there"
            raise DeviceError(message)
        self._enter(target)
        return target

    async def _to_initialize(self) -> None:
        await self._driver.start()

    async def _to_go_active(self) -> None:
        await self._connect()

    async def _to_start_streaming(self) -> None:
        await self._driver.ask("stream", {"on": True})

    async def _to_stop_streaming(self) -> None:
        await self._driver.ask("stream", {"on": False})

    async def _to_go_direct_access(self) -> None:
        await self._driver.ask("direct", {"data": b"", "wait": 0.0})  # from now on, bytes are kept

    async def _to_go_inactive(self) -> None:
        """Let the device go, whether or not the driver is there to do it."""
        try:
            if self._at == STREAMING:
                await self._driver.ask("stream", {"on": False})
            if self._driver.pid:
                await self._driver.ask("disconnect")
        except DeviceError as error:
            log.info("%r: the driver does not let go: %s", self, error)

    async def _to_reset(self) -> None:
        await self._driver.stop()

    async def _connect(self) -> None:
        """Connect to the device, and set it as it was set before."""
        await self._driver.ask("connect", {"settings": {}})
        self._reached = clock.monotonic()
        self._tell(types.AgentConnected)
        self._fields = self._fields or await self._driver.ask("fields")
        for name, value in self._saved.kept.parameters.items():
            await self._set_again(name, value)

    async def _set_again(self, name: str, value: Any) -> None:
        """Set what was set before; a device that does not take it any more is used all the same."""
        try:
            await self._driver.ask("set", {"values": {name: value}})
        except ApplicationError as error:
            log.warning("%r: %s is not set to %r again: %s", self, name, value, error)
            said = {"error": error.type, "reason": error.message}
            self._tell(AgentErrorRaised, sub_type="set", **said)

    def _enter(self, state: str, reason: str = "") -> None:
        before, self._at = self._at, state
        self._since, self._reason = clock.now(), reason
        level = logging.INFO if LOST_CONNECTION in (before, state) else logging.DEBUG
        because = f": {reason}" if reason else ""
        log.log(level, "%s: %s -> %s%s", self.service_name, before, state, because)
        self._tell(types.AgentStateChanged, before=before, state=state, reason=reason)

    def _tell(self, event: type[types.AgentEvent], **fields: Any) -> None:
        origin = self.service_name
        self._events.put(event(origin=origin, origin_type=ORIGIN_TYPE, **fields))

    # losing the line, and coming back

    def _lose(self, reason: str, return_to: str | None = None) -> None:
        """Hear that the device, or the driver, is gone."""
        self._breaks += 1
        if self._at == LOST_CONNECTION or (return_to is None and self._at not in CONNECTED):
            return
        self._losses += 1
        if clock.monotonic() - self._reached >= STEADY:
            self._failures = 0
        self._return_to = machine.returns_to(return_to or self._at)
        AGENT.next_state(self._at, machine.LOSE)
        self._enter(LOST_CONNECTION, reason)
        self._tell(types.AgentConnectionLost, reason=reason)
        self._begin_return()

    def _begin_return(self) -> None:
        if self._end is None:
            self._returning = self.run(self._return(), "reconnect", own=True)

    async def _stop_returning(self) -> None:
        task, self._returning = self._returning, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})

    async def _return(self) -> None:
        """Connect again, as often as it takes."""
        first, cap = self._own["reconnect_first"], self._own["reconnect_cap"]
        backoff = Backoff(first=first, cap=max(cap, first))
        while self._at == LOST_CONNECTION:
            await clock.sleep(first / 2 + backoff.delay(self._failures, random.random()))
            self._failures += 1
            breaks = self._breaks
            try:
                await self._connect()
                if self._return_to == STREAMING:
                    await self._driver.ask("stream", {"on": True})
            except ApplicationError as error:
                self._reason = error.message
                log.debug("%r: not connected yet: %s", self, error)
                continue
            if self._breaks != breaks:
                continue  # it was there, and is gone again
            self._enter(AGENT.next_state(self._at, machine.BACK[self._return_to]))

    # at its post, or standing by

    async def _hold_post(self) -> None:
        """Be the agent while the broker gives this instance what is sent to it; else stand by.

        Who is given that is found out by asking by name, again and again: an instance that was cut
        off from the broker is not told that another one has taken over.
        """
        while True:
            pid = await self._who()
            if pid == self.id and not self._is_at_post:
                self._is_at_post = True
                await self._recall()
                self._say_what_is_recalled()
                await self._come_to_desired()
            elif pid not in ("", self.id) and self._is_at_post:
                self._is_at_post = False
                await self._retreat(pid)
            await self._rest(POST_HELD if self._is_at_post and pid else POST_WANTED)

    async def _rest(self, seconds: float) -> None:
        """Wait, but no longer than until this side is back: it was cut off, or stood still."""
        transport = self._endpoint.transport
        end = clock.monotonic() + seconds
        while (now := clock.monotonic()) < end:
            was_there = transport.state is TransportState.CONNECTED
            await clock.sleep(min(POST_STEP, end - now))
            stood_still = clock.monotonic() - now > POST_STEP + POST_LATE
            if stood_still or (not was_there and transport.state is TransportState.CONNECTED):
                return

    async def _who(self) -> str:
        """Return the pid of the instance at the post, "" where nobody says so."""
        try:
            return str(await self.rpc_send(self.service_name, "whoami", {}, POST_ANSWER))
        except IonError as error:
            log.debug("%r: who is at the post is not known: %s", self, error)
            return ""

    async def _recall(self) -> None:
        """Read what is remembered: another instance may have been at work."""
        try:
            await self._saved.read()
        except (StoreError, Unavailable) as error:
            log.warning("%r: what is remembered cannot be read: %s", self, error)
        self._own.update(self._saved.kept.own)

    def _say_what_is_recalled(self) -> None:
        """Tell who wonders why nothing streams: it was left so, perhaps long ago."""
        if self._desired != self._start_state:
            why = "as it was left (with restore: false it begins as its app says)"
            log.info("%s goes to %s, %s", self.service_name, self._desired, why)

    async def _retreat(self, pid: str) -> None:
        """Let the device go: it is another one's now."""
        log.warning("%r: %s is the agent now; this one stands by", self, pid)
        async with self._busy:
            if (self._at, "go_inactive") in AGENT.table:
                await self._do("go_inactive")

    @property
    def _desired(self) -> str:
        """The state that it is to be in."""
        return self._saved.kept.desired or self._start_state

    async def _go(self, state: str) -> None:
        """Come to a state, by whatever commands lead there.

        Where the line was lost, and is not to be had now, it stays lost: as soon as it is back, so
        is the agent. Errors as of :meth:`_do`.
        """
        was_lost, why = self._at == LOST_CONNECTION, self._reason
        try:
            for name in machine.way(self._at, state):
                await self._do(name)
        finally:
            if was_lost and self._at == INACTIVE and state in CONNECTED:
                self._lose(why, state)

    async def _come_to_desired(self) -> None:
        """Come to its state after the start; where the device is away, as soon as it is there."""
        async with self._busy:
            desired = self._desired  # not that of before: who was first may have brought it there
            try:
                for name in machine.way(self._at, desired):
                    await self._do(name)
            except WrongState as error:  # lost on the way: it comes back by itself
                self._return_to = machine.returns_to(desired)
                log.info("%r: %s", self, error)
            except IonError as error:
                self._lose(str(error), desired)

    def _desire(self, state: str) -> None:
        """Remember the state that somebody has brought it to."""
        self._saved.kept.desired = (
            state if state in (UNINITIALIZED, INACTIVE) else (machine.returns_to(state))
        )
