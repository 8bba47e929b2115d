"""What the shell offers for events: what was told, and to tell of something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ion.process.events.event import Event
from ion.shell.helpers.targets import Target
from ion.shell.render import Table, moment

if TYPE_CHECKING:
    from ion.process.events.publishing import EventPublishing
    from ion.process.events.repository import Filed
    from ion.services.events.client import EventsClient

SHOWN = 20
MORE = "there are more: give a limit"
WIDTH = 60
_COLUMNS = ("offset", "time", "type", "origin", "says")
_NOT_SAID = {"origin", "created", "id", "path"}


class Events:
    """List the last events; events('ProcessFailed'), events(origin='hello') some of them."""

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> EventsClient:
        """A client of the repository."""
        from ion.services.events.client import EventsClient  # few need it

        return EventsClient(self._place.caller)

    async def __call__(self, type: str | None = None, limit: int = SHOWN, **wanted: Any) -> Table:
        """List the last events of a type, or of any: of an origin, sub_type, actor, since, ..."""
        found = await self.client.find(type, order="-offset", limit=limit, **wanted)
        rows = [_row(filed) for filed in reversed(found.events)]
        return Table(_COLUMNS, rows, MORE if found.cursor is not None else "")

    async def show(self, which: str | int) -> dict[str, Any] | None:
        """Return all that an event says, by its offset or id; or None."""
        if isinstance(which, str):
            filed = await self.client.get(which)
            return filed.content if filed is not None else None
        found = await self.client.find(after=which - 1, limit=1)
        return next((each.content for each in found.events if each.offset == which), None)

    async def types(self) -> list[str]:
        """List the types of all events that were ever kept."""
        return await self.client.types()

    async def info(self) -> dict[str, Any]:
        """Tell how many events there are, and what is kept for how long."""
        told = await self.client.info()
        return {name: getattr(told, name) for name in told.__struct_fields__}

    async def tell(self, origin: str, description: str = "", sub_type: str = "") -> str:
        """Publish an event without a type of its own; return its id."""
        event = Event(origin=origin, description=description, sub_type=sub_type)
        caller = cast("EventPublishing", self._place.caller)  # a container, or a connection to one
        return (await caller.publish_event(event)).id

    def __repr__(self) -> str:
        return "events() lists the last ones; events.show(offset), events.types(), events.tell(...)"


def _row(filed: Filed) -> dict[str, Any]:
    content = filed.content
    said = [f"{k}={v!r}" for k, v in content.items() if k not in _NOT_SAID and v not in ("", [])]
    says = ", ".join(said)
    return {
        "offset": filed.offset,
        "time": moment(float(content.get("created") or 0.0)),
        "type": str(content.get("path", "")).rpartition(".")[2],
        "origin": content.get("origin"),
        "says": says if len(says) <= WIDTH else f"{says[: WIDTH - 3]}...",
    }
