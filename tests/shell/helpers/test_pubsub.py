"""The shell's words for exchange points."""

from __future__ import annotations

from ion import Container
from ion.shell.helpers.helpers import Helpers


async def test_points_from_declaring_to_undeclaring() -> None:
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        await container.start_app("pubsub")
        points = Helpers(container).points
        assert await points.declare("lab/ctd", "casts") == "ion.xs.lab.xp.ctd"
        assert await points.declare("field/") == "ion.xs.field"
        assert await points.subscribe("archive", "lab/ctd") == "ion.xs.lab.sub.ctd.archive"
        await points.client.declare_topic("raw", "lab/ctd", ["*.raw", "raw.#"])
        await container.publish("lab/ctd", "a.raw", 1)
        assert (await points("lab")).rows == [
            {"name": "lab/ctd", "exchange": "ion.xs.lab.xp.ctd", "owner": ""}
        ]
        assert (await points(limit=1)).note == "there are more: give a limit"
        assert [row["name"] for row in (await points.spaces()).rows] == ["field", "lab", "system"]
        assert (await points.topics()).rows == [
            {"point": "lab/ctd", "name": "raw", "patterns": "*.raw, raw.#"}
        ]
        (row,) = (await points.subs("lab/ctd")).rows
        assert (row["topics"], row["messages"], row["consumers"]) == ("#", 1, 0)
        assert await points.unsubscribe("archive", "lab/ctd") == "archive is gone, with 1 messages"
        assert await points.undeclare("lab/", force=True) == "lab/ is gone"
        assert await points.undeclare("lab/ctd") == "there was no lab/ctd"
