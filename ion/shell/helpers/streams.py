"""What the shell offers for streams: which there are, what is kept, and the last of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ion.shell.helpers.targets import Target
from ion.shell.render import Table, moment

if TYPE_CHECKING:
    from ion.services.streams.client import StreamsClient
    from ion.services.streams.model import Stream

SHOWN = 20
MORE = "there are more: give a limit"
_COLUMNS = ("stream", "fields", "kept", "from", "to", "waiting", "newest", "description")


class Streams:
    """List the streams; streams.last(name), streams.keep(name), streams.delete(name)."""

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> StreamsClient:
        """A client of the service."""
        from ion.services.streams.client import StreamsClient  # few need it

        return StreamsClient(self._place.caller)

    async def __call__(self, prefix: str = "", limit: int = SHOWN) -> Table:
        """List the streams whose names begin with ``prefix``, and what is kept of each."""
        client = self.client
        found = await client.streams(prefix)
        rows = [await self._row(stream) for stream in found[:limit]]
        return Table(_COLUMNS, rows, MORE if len(found) > limit else "")

    async def _row(self, stream: Stream) -> dict[str, Any]:
        about = await self.client.describe(stream.name)
        definition = stream.definitions[-1] if stream.definitions else None
        return {
            "stream": stream.name,
            "fields": ", ".join(definition.fields) if definition is not None else None,
            "kept": _kept(stream),
            "from": about.first or None,
            "to": about.last or None,
            "waiting": about.waiting,
            "newest": moment(about.since) if about.last else None,
            "description": stream.description or None,
        }

    async def fields(self, name: str) -> Table:
        """List the fields of a stream, by its newest definition."""
        stream = (await self.client.describe(name)).stream
        fields = stream.definitions[-1].fields if stream.definitions else {}
        rows = [
            {
                "field": name,
                "type": field.dtype,
                "shape": "x".join("any" if n is None else str(n) for n in field.shape) or None,
                "unit": field.unit or None,
                "description": field.description or None,
            }
            for name, field in fields.items()
        ]
        return Table(("field", "type", "shape", "unit", "description"), rows)

    async def last(self, name: str, n: int = 1) -> Table:
        """Show the newest granules that are kept: the last value of each field."""
        granules = await self.client.last(name, n)
        rows = [
            {
                "offset": granule.offset,
                "time": moment(granule.time),
                "samples": max((array.size for array in granule.fields.values()), default=0),
                "last": ", ".join(
                    f"{name}={array.reshape(-1)[-1]}"
                    for name, array in granule.fields.items()
                    if array.size
                ),
            }
            for granule in granules
        ]
        return Table(("offset", "time", "samples", "last"), rows)

    async def keep(
        self,
        name: str,
        granules: int | None = None,
        seconds: float | None = None,
        *,
        create: bool = False,
    ) -> str:
        """Keep a stream from now on: all, the last ``granules``, or what is not older.

        With ``create``, one that is not registered yet, too.
        """
        how: dict[str, Any] = {"granules": granules, "seconds": seconds, "create": create}
        stream = await self.client.persist(name, **how)
        return f"{name} is kept: {_kept(stream)}"

    async def unkeep(self, name: str, *, drop: bool = False) -> str:
        """Keep a stream no more; with ``drop``, what was kept goes, too."""
        await self.client.unpersist(name, drop=drop)
        return f"{name} is kept no more"

    async def delete(self, name: str) -> str:
        """Delete a stream with all that is kept of it; its publishers stop."""
        was_there = await self.client.delete(name)
        return f"{name} is gone" if was_there else f"there was no stream {name}"

    def __repr__(self) -> str:
        return "streams() lists the streams; streams.last(name), streams.keep(name)"


def _kept(stream: Stream) -> str | None:
    if stream.keep is None:
        return None
    words = []
    if stream.keep.granules is not None:
        words.append(f"the last {stream.keep.granules}")
    if stream.keep.seconds is not None:
        words.append(f"{stream.keep.seconds:g} s")
    return ", ".join(words) or "all"
