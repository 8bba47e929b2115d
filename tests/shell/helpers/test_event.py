"""The shell's words for events."""

from __future__ import annotations

from ion import Container
from ion.shell.helpers.helpers import Helpers
from tests.process.hearing import Hurricane
from tests.services.test_events import stored

CONFIG = {"store.url": "memory://", "events.lifecycle": "off"}


async def test_events_in_the_shell() -> None:
    async with Container("memory://", config=CONFIG) as container:
        await container.start_app("events")
        helpers = Helpers(container)
        events = helpers.events
        assert (await events()).rows == []
        own = await events.tell("pier", "the ice is thin", sub_type="ice")
        await container.publish_event(Hurricane(origin="sea", force=12, name="Ada" * 30))
        await stored(events.client, 2)
        first, second = (await events()).rows
        assert (first["offset"], first["type"], first["origin"]) == (1, "Event", "pier")
        assert first["says"] == "sub_type='ice', description='the ice is thin'"
        assert first["time"].endswith("Z")
        assert second["type"] == "Hurricane"
        assert len(second["says"]) == 60
        assert [row["offset"] for row in (await events("Weather")).rows] == [2]
        assert [row["offset"] for row in (await events(origin="p*")).rows] == [1]
        assert (await events(limit=1)).rows == [second]
        await container.publish_event(Hurricane(origin="sun", force=1, name="", created=1e300))
        await stored(events.client, 3)
        assert (await events(origin="sun")).rows[0]["time"] == "1e+300 s"  # in no calendar
        assert (await events(limit=1)).note == "there are more: give a limit"
        assert (await events.show(own))["origin"] == (await events.show(1))["origin"] == "pier"
        assert await events.show(7) is None
        assert await events.show("nobody's") is None
        assert "Event.Weather.Storm.Hurricane" in await events.types()
        assert (await events.info())["count"] == 3
        assert "events.show" in repr(events)
        assert "events" in helpers.namespace()
        told = {row["command"]: row["effect"] for row in (await helpers.info()).rows}
        assert any(word.startswith("await events(") for word in told)
