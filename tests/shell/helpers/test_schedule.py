"""The scheduler in the shell."""

from __future__ import annotations

from ion import Container
from ion.shell.helpers.helpers import Helpers
from tests.journeys.faults.waiting import until


async def test_tasks_in_the_shell() -> None:
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        await container.start_app("scheduler")
        await container.start_app("hello")
        helpers = Helpers(container)
        schedule = helpers.schedule
        (row,) = (await schedule.add("tick", every=0.02, owner="ann")).rows
        assert (row["task"], row["state"], row["when"]) == ("tick", "active", "every 0.02 s")
        await schedule.add("noon", cron="0 12 * * *", timezone="Europe/Berlin", send="hello.hello")
        await schedule.add("once", at="2050-01-01T00:00:00")

        async def has_fired() -> bool:
            return bool((await schedule.show("tick")).rows)

        await until(has_fired, "it does not fire")
        assert (await schedule.pause("tick")).rows[0]["state"] == "paused"
        assert (await schedule.resume("tick")).rows[0]["state"] == "active"
        assert (await schedule.fire("noon")).rows[0]["outcome"] == "fired"
        told = {row["task"]: row for row in (await schedule()).rows}
        assert told["noon"]["when"] == "0 12 * * * Europe/Berlin"
        assert told["noon"]["target"] == "hello.hello"
        assert told["once"]["due"] == "2050-01-01T00:00:00.000Z"
        await schedule.add("nobody", at=0.0, send="nobody.hello")

        async def waits() -> bool:
            return "no service 'nobody'" in (await schedule.show("nobody")).note

        await until(waits, "it does not say why it waits")
        assert (await schedule(target="nobody.hello")).rows[0]["state"] == "waiting"
        assert (await schedule(limit=1)).note == "there are more: give a limit"
        assert [row["task"] for row in (await schedule(owner="ann")).rows] == ["tick"]
        assert await schedule.remove("tick")
        assert not await schedule.remove("tick")
        assert "schedule.add" in repr(schedule)
        assert "schedule" in helpers.namespace()
        told = {row["command"]: row["effect"] for row in (await helpers.info()).rows}
        assert any(word.startswith("await schedule(") for word in told)
