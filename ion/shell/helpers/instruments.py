"""What the shell offers for instruments: their agents, wherever in the system they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ion.base.errors import IonError
from ion.shell.commands import system
from ion.shell.helpers.targets import Target
from ion.shell.render import Table, moment

if TYPE_CHECKING:
    from ion.services.instrument.client import InstrumentClient

AGENT_OPS = {"acquire", "capabilities", "go", "samples"}  # by which agents are known
_STATUS = ("instrument", "state", "session", "samples", "last", "losses", "reason")
_CAPABILITY = ("name", "kind", "type", "writable", "doc")


class Instruments:
    """List the instruments; instruments.go(name, state), .get(name), .set(name, ...) and others."""

    def __init__(self, place: Target) -> None:
        self._place = place

    def client(self, name: str) -> InstrumentClient:
        """Return a client of an agent."""
        from ion.services.instrument.client import InstrumentClient  # few need it

        return InstrumentClient(name, self._place.caller)

    async def __call__(self) -> Table:
        """List the instruments of the system, and what they are at."""
        found = {
            str(service["name"])
            for info in await system.ask(self._place.endpoint)
            for service in info.get("services", [])
            if set(service["ops"]) >= AGENT_OPS
        }
        return Table(_STATUS, [await self._row(name) for name in sorted(found)])

    async def _row(self, name: str) -> dict[str, Any]:
        try:
            status = await self.client(name).status(timeout=5.0)
        except IonError as error:
            return {"instrument": name, "state": None, "reason": error.message}
        return {
            "instrument": name,
            "state": status.state,
            "session": status.session,
            "samples": status.samples,
            "last": _when(status.last_sample),
            "losses": status.losses,
            "reason": status.reason or None,
        }

    async def can(self, name: str) -> Table:
        """List what an instrument can do in the state that it is in."""
        found = await self.client(name).capabilities()
        rows = [{word: getattr(each, word) or None for word in _CAPABILITY} for each in found]
        return Table(_CAPABILITY, rows)

    async def go(self, name: str, state: str) -> str:
        """Bring an instrument to a state: IDLE, COMMAND, STREAMING, INACTIVE, ..."""
        return await self.client(name).go(state)

    async def get(self, name: str, *parameters: str) -> dict[str, Any]:
        """Return parameters of an instrument, all by default."""
        return await self.client(name).get(parameters or None)

    async def set(self, name: str, **values: Any) -> dict[str, Any]:
        """Set parameters of an instrument: instruments.set('gps1', rate=5)."""
        return await self.client(name).set(values)

    async def execute(self, name: str, command: str, **args: Any) -> Any:
        """Have the device do a command."""
        return await self.client(name).execute(command, args)

    async def last(self, name: str) -> dict[str, float] | None:
        """Return the last sample of an instrument."""
        return await self.client(name).last()

    def __repr__(self) -> str:
        return "instruments() lists them; instruments.can(name), .go(name, state), .get(name)"


def _when(time: float | None) -> str | None:
    if time is None:
        return None
    return moment(time, "seconds")
