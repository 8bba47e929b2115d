"""The shell's words for streams."""

from __future__ import annotations

import asyncio

from ion import Container, Process
from ion.process.granules import Field, StreamDefinition, StreamPublisher
from ion.shell.helpers.helpers import Helpers

CTD = StreamDefinition("ctd", {"temp": Field("f8", unit="degC"), "n": Field("i4", ())})


async def test_streams_from_keeping_to_deleting() -> None:
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        await container.start_app("streams")
        streams = Helpers(container).streams
        assert "streams()" in repr(streams)
        told = await streams.keep("ctd", granules=10, seconds=60, create=True)
        assert told == "ctd is kept: the last 10, 60 s"
        process = container.processes[await container.spawn(Process)]
        publisher = await StreamPublisher.open(process, "ctd", CTD, register=True)
        for n in range(3):
            await publisher.publish({"temp": [1.5, 2.5], "n": n}, time=1000.0 + n)
        await publisher.flush()
        async with asyncio.timeout(10):
            while (await streams()).rows[0]["to"] != 3:
                await asyncio.sleep(0.01)
        (row,) = (await streams("c")).rows
        assert (row["fields"], row["from"], row["newest"]) == (
            "temp, n",
            1,
            "1970-01-01T00:16:42.000Z",
        )
        assert [r["unit"] for r in (await streams.fields("ctd")).rows] == ["degC", None]
        rows = (await streams.last("ctd", 2)).rows
        assert [(r["offset"], r["samples"], r["last"]) for r in rows] == [
            (2, 2, "temp=2.5, n=1"),
            (3, 2, "temp=2.5, n=2"),
        ]
        assert (await streams(limit=0)).note == "there are more: give a limit"
        assert await streams.unkeep("ctd", drop=True) == "ctd is kept no more"
        assert (await streams()).rows[0]["kept"] is None
        assert await streams.delete("ctd") == "ctd is gone"
        assert await streams.delete("ctd") == "there was no stream ctd"
