"""Instruments in the shell."""

from __future__ import annotations

from ion import Container
from ion.shell.helpers.helpers import Helpers
from tests.journeys.faults.waiting import until


async def test_instruments_in_the_shell() -> None:
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        await container.start_app("simulator")
        await container.start_app("gps")
        helpers = Helpers(container)
        assert "Type:  await instruments()" in await helpers.banner()
        instruments = helpers.instruments

        async def streams() -> bool:
            return (await instruments()).rows[0]["state"] == "STREAMING"

        await until(streams, "it does not stream")
        (row,) = (await instruments()).rows
        assert (row["instrument"], row["session"], row["losses"]) == ("gps1", None, 0)
        assert await instruments.set("gps1", rate=50) == {"rate": 50.0}
        assert await instruments.get("gps1", "rate") == {"rate": 50.0}
        assert "stop_streaming" in [row["name"] for row in (await instruments.can("gps1")).rows]

        async def samples() -> bool:
            return await instruments.last("gps1") is not None

        await until(samples, "no samples")
        assert await instruments.execute("gps1", "reset") is None
        assert await instruments.go("gps1", "IDLE") == "IDLE"
        assert "instruments.can" in repr(instruments)
        told = {row["command"]: row["effect"] for row in (await helpers.info()).rows}
        assert any(word.startswith("await instruments(") for word in told)
