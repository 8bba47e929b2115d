"""The agent's end of its driver: the supervisor that keeps it running, and asking it.

Whoever asks is told in the words of agents: an answer, a ``DeviceError`` where driver or device is
gone, or what the driver says is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ion.base.errors import ApplicationError, IonError, ProcessNotFound, ReceivedError, StartError
from ion.process.process import Process
from ion.process.supervisor import Supervisor
from ion.services.instrument.model import (
    DeviceError,
    NoSession,
    SessionHeld,
    Wrong,
    WrongState,
)
from ion.services.instrument.signed_channel import SignedChannel

log = logging.getLogger(__name__)
PATIENCE = 5.0  # seconds for a driver to come up that has just failed
ANSWER = 20.0  # seconds for a driver to answer: longer than any of its own
RESTARTS = {"intensity": 1000, "period": 60.0, "backoff": {"first": 0.2, "cap": 10.0}}
_OWN = {cls.__name__: cls for cls in (DeviceError, Wrong, WrongState, SessionHeld, NoSession)}


class DriverClient:
    """To the driver of one agent.

    :ivar pid: of the driver, or "" while there is none; supervisor: of what keeps it running.
    """

    def __init__(self, agent: Process, driver: str, settings: Mapping[str, Any]) -> None:
        self._agent = agent
        self._driver = driver
        key = secrets.token_hex(32)  # only this driver knows it: it goes there in here
        self._channel = SignedChannel(key)
        self._settings = {**settings, "key": key}
        self.supervisor = ""
        self._up = asyncio.Event()
        self._taking = asyncio.Lock()
        self._taken = "", 0  # the last batch: whose it was, and its number
        self.pid = ""

    async def start(self) -> None:
        """Start the driver, and keep it running.

        :raises DeviceError: it does not start.
        """
        args = {"agent": self._agent.id, "settings": self._settings}
        child = {"id": "driver", "class": self._driver, "args": args}
        try:
            self.supervisor = await self._agent.spawn_child(
                Supervisor, name="driver_supervisor", children=[child], **RESTARTS
            )
            await self._agent.monitor(self.supervisor)
        except StartError as error:
            message = f"the driver does not start: {error}"
            raise DeviceError(message) from error

    async def stop(self) -> None:
        """End the driver; nothing happens where there is none."""
        self.down()
        supervisor, self.supervisor = self.supervisor, ""
        if supervisor:
            try:
                await self._agent._host.terminate_process(supervisor)
            except ProcessNotFound:
                log.debug("%r: its driver has ended already", self._agent)

    def holds(self) -> bool:
        """Return whether what is being handled was said by the driver that was started here."""
        return self._channel.holds()

    def up(self, pid: str) -> None:
        """Hear that a driver is there."""
        self.pid = pid
        self._up.set()

    def down(self) -> None:
        """Hear that it is gone."""
        self.pid = ""
        self._up.clear()

    async def take(self, number: int, publish: Callable[[], Awaitable[None]]) -> None:
        """Have a batch published, once however often its driver sends it.

        Errors are those of ``publish``: then it is still to come.
        """
        driver = self.pid
        async with self._taking:  # it may come again while the broker has no room for it
            whose, last = self._taken
            if driver == whose and number <= last:
                return  # it was taken, and the driver has not heard so
            await publish()
            self._taken = driver, number

    async def ask(self, op: str, content: Any = None, timeout: float = ANSWER) -> Any:
        """Ask the driver.

        :raises DeviceError: it is not there, or the device is not.
        :raises ApplicationError: what it says is wrong.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._up.wait()
        except TimeoutError:
            message = "the driver is not running"
            raise DeviceError(message) from None
        try:
            return await self._channel.ask(self._agent, self.pid, op, content or {}, timeout)
        except ReceivedError as error:
            raise _own(error) from error
        except IonError as error:
            message = f"the driver does not answer: {error}"
            raise DeviceError(message) from error


def _own(error: ReceivedError) -> ApplicationError:
    cls = _OWN.get(error.type, DeviceError)
    return cls(error.message, details=error.details)
