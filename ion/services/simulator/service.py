"""The simulator as a service: it starts the device, and has it misbehave."""

from __future__ import annotations

from typing import Any

import msgspec

from ion.base.errors import ApplicationError, ConfigurationError
from ion.process.service import Service
from ion.services.simulator.device import MAX_RATE, MIN_RATE, SimulatedDevice
from ion.services.simulator.model import Fault, Spell, Status


class SimulatorService(Service, name="simulator", version="0.1.0"):
    """A GPS receiver that is none, at a TCP port.

    :param host: where it listens.
    :param port: 0: any that is free; ``address`` says which.
    :param rate: fixes a second, until it is told otherwise.
    :param schedule: how it misbehaves by itself: maps of ``fault``, ``after`` and ``seconds``.
    :raises ConfigurationError: there is no such rate.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        rate: float = 1.0,
        schedule: list[dict[str, Any]] | None = None,
    ) -> None:
        if not MIN_RATE <= rate <= MAX_RATE:
            message = f"rate: {MIN_RATE:g} to {MAX_RATE:g} fixes a second, not {rate!r}"
            raise ConfigurationError(message)
        self.device = SimulatedDevice(host, port, rate=rate)
        self._schedule = schedule or []

    async def on_init(self) -> None:
        """Listen.

        :raises ConfigurationError: the schedule is wrong, or it cannot listen there.
        """
        try:
            spells = msgspec.convert(self._schedule, list[Spell])
        except msgspec.ValidationError as error:
            message = f"schedule: {error}"
            raise ConfigurationError(message) from None
        try:
            self.device.plan(spells)
        except ApplicationError as error:
            message = f"schedule: {error.message}"
            raise ConfigurationError(message) from None
        try:
            await self.device.open()
        except (OSError, OverflowError) as error:
            where = f"{self.device.host}:{self.device.port}"
            message = f"the simulator cannot listen at {where} (port 0: any that is free): {error}"
            raise ConfigurationError(message) from None

    async def on_terminate(self) -> None:
        """Throw everybody out."""
        await self.device.close()

    async def op_address(self) -> tuple[str, int]:
        """Return where it listens: host and port."""
        return self.device.host, self.device.port

    async def op_misbehave(self, fault: Fault, seconds: float = 10.0, after: float = 0.0) -> Status:
        """Behave badly for some seconds, in ``after`` seconds from now."""
        self.device.plan([Spell(fault, after, seconds)])
        return self.device.status()

    async def op_behave(self) -> Status:
        """Behave well from now on."""
        self.device.behave()
        return self.device.status()

    async def op_status(self) -> Status:
        """Return what it is at: connections, what was sent, what is wrong."""
        return self.device.status()
