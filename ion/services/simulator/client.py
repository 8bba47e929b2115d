"""The typed client of the simulator."""

from __future__ import annotations

from ion.process.client import ServiceClient
from ion.services.simulator.model import Fault, Status


class SimulatorClient(ServiceClient, service="simulator"):
    """Has the simulated device behave badly, and well again."""

    async def address(self, *, timeout: float | None = None) -> tuple[str, int]:
        """Return where it listens: host and port."""
        answer: tuple[str, int] = await self._call(
            "address", {}, timeout=timeout, returns=tuple[str, int]
        )
        return answer

    async def misbehave(
        self,
        fault: Fault,
        seconds: float = 10.0,
        after: float = 0.0,
        *,
        timeout: float | None = None,
    ) -> Status:
        """Have it behave badly for some seconds, ``after`` seconds from now.

        :raises BadRequest: there is no such fault.
        """
        content = {"fault": fault, "seconds": seconds, "after": after}
        answer: Status = await self._call("misbehave", content, timeout=timeout, returns=Status)
        return answer

    async def behave(self, *, timeout: float | None = None) -> Status:
        """Have it behave well from now on."""
        answer: Status = await self._call("behave", {}, timeout=timeout, returns=Status)
        return answer

    async def status(self, *, timeout: float | None = None) -> Status:
        """Return what it is at."""
        answer: Status = await self._call("status", {}, timeout=timeout, returns=Status)
        return answer
