"""The agent of an instrument: a service of the name of its resource, which owns its driver.

It is one of each in a system; where more are started, the others stand by. What it offers is the
same for all instruments: states and commands that lead from one to another, parameters, sessions,
samples as a stream, events; what the device can do is its driver's to say. The line to the device
may break at any time: the agent says so, connects again, and is then what it was before.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from ion.base.errors import ApplicationError, ConfigurationError, IonError
from ion.base.ids import checked_name
from ion.process.events import types
from ion.process.supervision.exit_reason import DownNotice
from ion.services.instrument import machine
from ion.services.instrument.batching import Batch
from ion.services.instrument.events import AgentCommandDone, AgentErrorRaised
from ion.services.instrument.machine import (
    COMMAND,
    CONNECTED,
    DIRECT_ACCESS,
    LOST_CONNECTION,
    STATES,
    STREAMING,
    UNINITIALIZED,
)
from ion.services.instrument.model import (
    Capability,
    DeviceError,
    NoSession,
    Session,
    Status,
    Wrong,
    WrongState,
)
from ion.services.instrument.registering import register
from ion.services.instrument.session import DEFAULT_LEASE, MAX_WAITING, Held
from ion.services.instrument.session_manager import SessionManager
from ion.services.instrument.states import StatefulAgent

log = logging.getLogger(__name__)
NMEA = "ion.services.instrument.nmea.driver:NmeaDriver"
MAX_DIRECT = 65_536
MAX_DIRECT_WAIT = 10.0
STATUS_WAIT = 2.0
LAST_SAMPLES = 2.0  # seconds that the driver has to hand them over, when the agent ends
AT_ONCE = 4 * MAX_WAITING  # who waits for the session must not keep others from being heard
SHORTEST, LONGEST = 0.01, 3600.0  # seconds between two tries to connect
FORBIDDEN = 403
MAX_WORD, MAX_REASON = 50, 1000  # characters that an event tells of what was refused


class InstrumentAgent(
    StatefulAgent, name="instrument", version="0.1.0", singleton=True, concurrency=AT_ONCE
):
    """Stands for one instrument.

    :param resource: its name, under which it is called: ``ioncc call gps1.status``.
    :param driver: dotted name of its driver's class.
    :param device: settings of the driver: where the device is; ``batch_count`` and
        ``batch_seconds`` say how many samples make a granule.
    :param stream: where samples go; by default, the name of the resource; "" for nowhere.
    :param start: the state that it comes to by itself.
    :param restore: come to the state that it was brought to last, with the parameters that were
        set, rather than to ``start``.
    """

    def __init__(
        self,
        resource: str,
        driver: str = NMEA,
        device: Mapping[str, Any] | None = None,
        stream: str | None = None,
        start: str = STREAMING,
        restore: bool = True,
    ) -> None:
        self.service_name = checked_name(resource, "resource")  # type: ignore[misc] # one a resource
        if start not in STATES or start in (LOST_CONNECTION, DIRECT_ACCESS):
            message = f"start: one of {', '.join(STATES)}, not {start!r}"
            raise ConfigurationError(message)
        self._told = {"driver": driver, "stream": resource if stream is None else stream}
        self._restore = restore
        self._sessions = SessionManager(self._session_ended)
        self._direct: Held | None = None  # the session that direct access was given to
        self._stand(driver, device or {}, resource if stream is None else stream or None)
        self._start_state = start

    async def on_init(self) -> None:
        """Read what is remembered. May raise: the store is away, or cannot be read.

        :raises ConfigurationError: this machine's numbers are no good.
        """
        if sys.byteorder != "little":
            message = "drivers send little-endian numbers, which this machine does not make"
            raise ConfigurationError(message)
        await self._saved.open(self, restore=self._restore)

    async def on_activate(self) -> None:
        """Start the driver; the rest happens in the background: the device may be away.

        :raises DeviceError: the driver cannot be started.
        """
        self.run(self._events.run(), "events")
        self.run(register(self, self.service_name, self._told), "register")
        if self._desired != UNINITIALIZED:
            await self._do("initialize")
        self.run(self._hold_post(), "post")

    async def _drain(self, timeout: float) -> None:
        """Fetch what the driver still has: what it sends, nobody takes any more."""
        if self._at == STREAMING and self._driver.pid:
            try:
                async with asyncio.timeout(min(timeout, LAST_SAMPLES)):
                    await self._fetch_rest()
            except (IonError, TimeoutError) as error:
                log.info("%r: the last samples are lost: %s", self, error)
        await super()._drain(timeout)

    async def _fetch_rest(self) -> None:
        for each in await self._driver.ask("rest"):
            await self._take(msgspec.convert(each, Batch))

    async def on_terminate(self) -> None:
        """Let the device go; what was sampled is with the broker then."""
        self._sessions.close()
        await self._stream.close()

    # looking

    async def op_status(self) -> Status:
        """Return what it is at: state, session, losses, samples, and counters of the driver."""
        return Status(
            resource=self.service_name,
            state=self._at,
            since=self._since,
            desired=self._desired,
            reason=self._reason,
            session=self._sessions.owner,
            waiting=self._sessions.waiting,
            losses=self._losses,
            samples=self._stream.samples,
            granules=self._stream.granules,
            last_sample=(self._stream.last or {}).get("time"),
            stream=self._stream.stream,
            device=await self._device_status(),
        )

    async def _device_status(self) -> dict[str, Any]:
        if not self._driver.pid:
            return {}
        try:
            status: dict[str, Any] = await self._driver.ask("status", timeout=STATUS_WAIT)
        except DeviceError as error:
            return {"error": error.message}
        return status

    async def op_whoami(self) -> str:
        """Return its pid: of all instances, the one that is at the post answers."""
        return self.id

    async def op_state(self) -> str:
        """Return its state."""
        return self._at

    async def op_last(self) -> dict[str, float] | None:
        """Return the last sample, or None."""
        return self._stream.last

    async def op_capabilities(self) -> list[Capability]:
        """Return what can be done in this state, and all parameters."""
        found = [
            Capability(name, "agent_command", f"to {machine.AGENT.table[self._at, name]}")
            for name in machine.allowed(self._at)
        ]
        found += [
            Capability(name, "agent_parameter", "seconds", "float", writable=True)
            for name in self._own
        ]
        if self._at in CONNECTED:
            found += [Capability(**each) for each in await self._driver.ask("capabilities")]
        if self._stream.stream is not None:
            found.append(Capability(self._stream.stream, "stream", ", ".join(self._fields)))
        return found

    # parameters and commands

    async def op_get(self, names: list[str] | None = None) -> dict[str, Any]:
        """Return parameters of the device; all by default."""
        self._connected("get", CONNECTED)
        if names is None:
            known = await self._driver.ask("capabilities")
            names = [each["name"] for each in known if each["kind"] == "parameter"]
        once = list(dict.fromkeys(names))  # each asks the device, which has more to do
        found: dict[str, Any] = await self._driver.ask("get", {"names": once})
        return found

    async def op_set(self, values: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        """Set parameters of the device; return what it has made of them. They are remembered."""
        async with self._commanding("set", session, values) as _:
            self._connected("set", (COMMAND, STREAMING))
            done: dict[str, Any] = {}
            try:
                for name, value in values.items():
                    done |= await self._driver.ask("set", {"values": {name: value}})
            finally:  # where one is refused, those before it are set
                await self._configured(done)
        return done

    async def _configured(self, done: dict[str, Any]) -> None:
        if done:
            self._saved.kept.parameters.update(done)
            await self._saved.save()
            self._tell(types.AgentConfigured, parameters=done)

    async def op_execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        session: str | None = None,
    ) -> Any:
        """Do a command of the device."""
        async with self._commanding(command, session, args):
            self._connected(command, (COMMAND, STREAMING))
            answer = await self._driver.ask("execute", {"command": command, "args": args or {}})
            if command == "reset":
                self._saved.kept.parameters = {}
                await self._saved.save()
        return answer

    async def op_command(self, name: str, session: str | None = None) -> str:
        """Do a command of the agent: ``run``, ``start_streaming``, ...; return the new state."""
        if name not in machine.COMMAND_NAMES:
            message = f"{name!r} is no command (known: {', '.join(machine.COMMAND_NAMES)})"
            raise Wrong(message)
        async with self._commanding(name, session) as held:
            if name == "go_direct_access":
                if held is None:
                    message = "direct access is for who has a session: acquire one"
                    raise NoSession(message)
                self._direct = held
            state = await self._do(name)
            await self._remember()
            if state == DIRECT_ACCESS:
                self._sessions.check(session)  # where it ended meanwhile, so does the access
        return state

    async def op_go(self, state: str, session: str | None = None) -> str:
        """Bring it to a state, by whatever commands lead there; return the state."""
        async with self._commanding("go", session, {"state": state}):
            if state == DIRECT_ACCESS:
                message = "direct access is entered by its command"
                raise WrongState(message)
            try:
                await self._go(state)
            finally:  # also where it has come half the way
                await self._remember()
        return self._at

    async def op_get_agent(self) -> dict[str, Any]:
        """Return the parameters of the agent."""
        return dict(self._own)

    async def op_set_agent(
        self, values: dict[str, float], session: str | None = None
    ) -> dict[str, Any]:
        """Set parameters of the agent; return all of them."""
        async with self._commanding("set_agent", session, values):
            for name, value in values.items():
                if name not in self._own or not SHORTEST <= value <= LONGEST:
                    known = ", ".join(self._own)
                    message = f"{name}={value!r}: {SHORTEST} to {LONGEST:g} s, and one of {known}"
                    raise Wrong(message)
            self._own.update(values)
            self._saved.kept.own.update(values)
            await self._saved.save()
            self._tell(types.AgentConfigured, parameters=dict(values))
        return dict(self._own)

    async def op_direct(self, data: bytes, session: str, wait: float = 0.5) -> bytes:
        """Send bytes to the device as they are; return what it has sent since the last time."""
        self._sessions.check(session)
        if len(data) > MAX_DIRECT or not 0 <= wait <= MAX_DIRECT_WAIT:
            message = f"at most {MAX_DIRECT} bytes, and a wait of 0 to {MAX_DIRECT_WAIT:g} s"
            raise Wrong(message)
        self._connected("direct", (DIRECT_ACCESS,))
        answer: bytes = await self._driver.ask("direct", {"data": data, "wait": wait})
        return answer

    @asynccontextmanager
    async def _commanding(
        self, what: str, session: str | None, args: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Held | None]:
        """Do a command, alone and with the right to; tell of it, or of why it was not done."""
        try:
            self._sessions.check(session)
            async with self._busy:
                held = self._sessions.check(session)  # it may have ended while others were at work
                try:
                    yield held
                finally:
                    self._end_direct()
        except ApplicationError as error:
            said = {"error": error.type, "reason": error.message[:MAX_REASON]}
            is_word = what.isascii() and what.isprintable() and len(what) <= MAX_WORD
            self._tell(AgentErrorRaised, sub_type=what if is_word else "", **said)
            raise
        owner = held.owner if held is not None else ""
        self._tell(AgentCommandDone, sub_type=what, owner=owner, args=dict(args or {}))

    async def _remember(self) -> None:
        self._desire(self._at if self._at != LOST_CONNECTION else self._return_to)
        await self._saved.save()

    def _connected(self, what: str, states: tuple[str, ...]) -> None:
        if self._at not in states:
            message = f"{what} is not done in {self._at}, but in {', '.join(states)}"
            raise WrongState(message, details={"state": self._at, "reason": self._reason})

    # sessions

    async def op_acquire(
        self, owner: str = "", lease: float = DEFAULT_LEASE, wait: float = 0.0
    ) -> Session:
        """Get the session, whose id goes with each command; 409 SessionHeld after ``wait``.

        ``owner`` is by default who calls, where that is known.
        """
        call = self.message
        identity = getattr(call, "identity", None)
        owner = owner or getattr(identity, "actor", "") or call.user or ""
        return await self._sessions.acquire(owner, lease, wait)

    async def op_renew(self, session: str, lease: float = DEFAULT_LEASE) -> Session:
        """Let the session end ``lease`` seconds from now; 409 NoSession where it is over."""
        return self._sessions.renew(session, lease)

    async def op_release(self, session: str) -> None:
        """Give the session back; 409 NoSession where it is over."""
        self._sessions.release(session)

    def _session_ended(self, held: Held) -> None:
        if not self._busy.locked():  # else once the command is done, which has its own way
            self._end_direct()

    def _end_direct(self) -> None:
        """End direct access where the session is over that it was given to."""
        held = self._sessions.held
        if self._at == DIRECT_ACCESS and held is not self._direct and self._end is None:
            self._enter(machine.AGENT.next_state(self._at, "go_command"), "the session is over")

    # what the driver says

    async def op_driver_up(self) -> None:
        """Hear that the driver is there."""
        if not self._driver.holds():
            raise _no_driver()
        pid = self.message.sender
        await self.monitor(pid)
        self._driver.up(pid)

    async def op_samples(self, batch: Batch) -> None:
        """Take samples of the driver."""
        self._only_driver()
        await self._take(batch)

    async def _take(self, batch: Batch) -> None:
        await self._driver.take(batch.number, partial(self._stream.publish, batch, self._fields))

    async def op_lost(self, reason: str) -> None:
        """Hear of the driver that the device is gone."""
        self._only_driver()
        self._lose(reason)

    async def on_down(self, notice: DownNotice) -> None:
        """Hear that the driver has ended: its supervisor starts it again. Nobody starts that."""
        if notice.pid == self._driver.pid:
            self._driver.down()
            self._lose(f"the driver has ended: {notice.reason}")
        elif notice.pid == self._driver.supervisor:
            self.fail(f"nobody keeps its driver running any more: {notice.reason}")

    def _only_driver(self) -> None:
        """Believe nobody else: a sender can be made up, what is signed cannot."""
        if self.message.sender != self._driver.pid or not self._driver.holds():
            raise _no_driver()


def _no_driver() -> ApplicationError:
    message = "only the driver of this agent may say so"
    return ApplicationError(message, code=FORBIDDEN, type="Forbidden")
