"""Drivers: processes that speak with a device, each the child of its agent.

A driver knows its device and nothing else: no sessions, no states of agents, no streams. It is
started and restarted by a supervisor of the agent, and does only what its agent says. Write one by
deriving from :class:`Driver`; ``nmea/driver.py`` is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from ion.base import clock
from ion.base.errors import ApplicationError, IonError
from ion.process.process import Process
from ion.services.instrument.batching import Batch, Batcher
from ion.services.instrument.model import Capability
from ion.services.instrument.signed_channel import SignedChannel

log = logging.getLogger(__name__)
TELL = 10.0  # seconds for the agent to take what it is told
AGAIN = 0.5
LAST_WORDS = 0.5  # seconds for what is not sent when it ends
MOST_AT_ONCE = 50  # batches in one answer
FORBIDDEN = 403


class Driver(Process):
    """Base of drivers. Override what stands under "to be written".

    What it raises is answered: :class:`DeviceError` where the device is not there or says no.

    :param agent: pid of its agent.
    :param settings: of the device: where it is, how long its silences may be.
    :cvar fields: of its samples, and what they are; all are numbers.
    :cvar capabilities: commands and parameters of the device.
    """

    concurrency = 16  # while the device takes its time, it can be asked how it is
    fields: ClassVar[Mapping[str, str]] = {}
    capabilities: ClassVar[tuple[Capability, ...]] = ()

    def __init__(self, agent: str, settings: Mapping[str, Any] | None = None) -> None:
        self.agent = agent
        self.settings = dict(settings or {})
        self._channel = SignedChannel(str(self.settings.pop("key", "")))  # with its agent
        count = int(self.settings.pop("batch_count", 100))
        seconds = float(self.settings.pop("batch_seconds", 1.0))
        self.batches = Batcher(tuple(self.fields), count, seconds)
        self.is_streaming = False

    async def on_activate(self) -> None:
        """Tell the agent that it is there; in the background, since that may be starting, too."""
        self.run(self._announce(), "announce")

    async def on_terminate(self) -> None:
        """Hand over what was sampled, where that is quickly done, and let the device go."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self.flush()
        await self.disconnect()

    async def _announce(self) -> None:
        while not await self._tell("driver_up", {}):
            await clock.sleep(AGAIN)

    # to be written

    async def connect(self) -> None:
        """Connect to the device, and return once it is seen to work.

        :raises DeviceError: it is not there.
        """
        raise NotImplementedError

    async def disconnect(self) -> None:
        """Let the device go; nothing happens where it is not connected."""
        raise NotImplementedError

    async def get(self, name: str) -> Any:
        """Return the value of a parameter. :raises DeviceError: the device does not say."""
        raise NotImplementedError

    async def set(self, name: str, value: Any) -> Any:
        """Set a parameter; return what the device has made of it. :raises DeviceError: it is no."""
        raise NotImplementedError

    async def execute(self, command: str, args: Mapping[str, Any]) -> Any:
        """Do a command of the device. :raises DeviceError: it did not."""
        raise NotImplementedError

    async def direct(self, data: bytes, wait: float) -> bytes:
        """Send bytes as they are; return what the device has sent since, after ``wait`` seconds."""
        raise NotImplementedError

    def status(self) -> dict[str, Any]:
        """Return counters and facts, as plain data."""
        return {}

    # to be called

    async def lose(self, reason: str) -> None:
        """Tell the agent, until it has heard, that the device is gone; it says when to connect.

        To be cut off where it says so before.
        """
        log.debug("%r: the connection is lost: %s", self, reason)
        self.settle()
        await self.flush()
        while not await self._tell("lost", {"reason": reason}):
            await clock.sleep(AGAIN)

    def sample(self, values: Mapping[str, float]) -> None:
        """Take a sample of the device; it is dropped unless samples are asked for."""
        if self.is_streaming:
            self.batches.add(values, clock.monotonic())

    def settle(self) -> None:
        """Take the sample that more may be said of, as it is; by default there is none such.

        It is asked for when samples end: the device is gone, or is heard no more.
        """

    async def flush(self, *, only_due: bool = False) -> None:
        """Send what there is to the agent, or what is due; wait until it has taken it.

        This waiting is what slows a device down that talks faster than it is heard.
        """
        while self.is_streaming:
            if only_due and self.batches.due(clock.monotonic()) != 0.0:
                return
            batch = self.batches.take()
            if batch is None or not await self._tell("samples", {"batch": batch}):
                return
            self.batches.confirm()

    async def _tell(self, op: str, content: dict[str, Any]) -> bool:
        """Tell the agent; return whether it has heard. Where it is gone, so is this driver soon."""
        try:
            await self._channel.ask(self, self.agent, op, content, TELL)
        except IonError as error:
            log.warning("%r: the agent does not take %r: %s", self, op, error)
            return False
        return True

    # what the agent says

    async def op_connect(self, settings: dict[str, Any]) -> None:
        """Connect to the device. ``settings`` are laid over those that it was made with."""
        self._only_agent()
        self.settings.update(settings)
        self.is_streaming = False
        await self.connect()

    async def op_disconnect(self) -> None:
        """Let the device go."""
        self._only_agent()
        self.is_streaming = False
        self.batches.clear()
        await self.disconnect()

    async def op_stream(self, on: bool) -> None:
        """Begin or end to send samples; at the end, those that are there are sent."""
        self._only_agent()
        if not on:
            self.settle()
            await self.flush()
        self.is_streaming = on

    async def op_rest(self) -> list[Batch]:
        """End to send samples, and return those that are there instead."""
        self._only_agent()
        self.settle()
        self.is_streaming = False
        batches: list[Batch] = []
        while len(batches) < MOST_AT_ONCE and (batch := self.batches.take()) is not None:
            batches.append(batch)
            self.batches.confirm()
        return batches

    async def op_get(self, names: list[str]) -> dict[str, Any]:
        """Return the values of parameters."""
        self._only_agent()
        return {name: await self.get(name) for name in names}

    async def op_set(self, values: dict[str, Any]) -> dict[str, Any]:
        """Set parameters, one after another; return what the device has made of them."""
        self._only_agent()
        return {name: await self.set(name, value) for name, value in values.items()}

    async def op_execute(self, command: str, args: dict[str, Any]) -> Any:
        """Do a command of the device."""
        self._only_agent()
        return await self.execute(command, args)

    async def op_direct(self, data: bytes, wait: float) -> bytes:
        """Send bytes as they are; return what the device has sent."""
        self._only_agent()
        return await self.direct(data, wait)

    async def op_status(self) -> dict[str, Any]:
        """Return counters and facts."""
        return {"dropped_samples": self.batches.dropped, **self.status()}

    async def op_capabilities(self) -> list[Capability]:
        """Return commands and parameters of the device."""
        return list(self.capabilities)

    async def op_fields(self) -> dict[str, str]:
        """Return the fields of a sample, and what they are."""
        return dict(self.fields)

    def _only_agent(self) -> None:
        """Let nobody else command: a sender can be made up, what is signed cannot."""
        if self.message.sender != self.agent or not self._channel.holds():
            message = "a driver does what its agent says: ask the agent"
            raise ApplicationError(message, code=FORBIDDEN, type="Forbidden")
