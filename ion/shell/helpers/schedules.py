"""What the shell offers for tasks that fire at their times: the scheduler of the system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ion.shell.helpers.targets import Target
from ion.shell.render import Table, moment

if TYPE_CHECKING:
    from ion.services.scheduler.client import SchedulerClient
    from ion.services.scheduler.model import Firing, Schedule, Task

SHOWN = 20
MORE = "there are more: give a limit"
_TASK = ("task", "state", "when", "due", "target", "fired", "missed", "last", "owner")
_FIRING = ("due", "late", "outcome", "missed", "tries", "result", "id")


class Tasks:
    """List the tasks of the scheduler; schedule.add(...), schedule.show(id) and others."""

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> SchedulerClient:
        """A client of the scheduler."""
        from ion.services.scheduler.client import SchedulerClient  # few need it

        return SchedulerClient(self._place.caller)

    async def __call__(
        self, limit: int = SHOWN, *, owner: str = "", state: str = "", target: str = ""
    ) -> Table:
        """List tasks in the order in which they are due."""
        page = await self.client.page(owner=owner, state=state, target=target, limit=limit)
        note = "" if page.cursor is None else MORE
        return Table(_TASK, [_row(task) for task in page.items], note)

    async def add(self, id: str = "", **words: Any) -> Table:
        """Add a task: schedule.add('tick', every=60), or at=, cron=; call= or send='service.op'."""
        return Table(_TASK, [_row(await self.client.add(id, **words))])

    async def show(self, id: str, limit: int = SHOWN) -> Table:
        """List the last firings of a task, the latest first, and say why it waits."""
        trouble = (await self.client.get(id)).trouble
        note = f"it waits: {trouble['message']}" if trouble else ""
        history = await self.client.history(id, limit)
        return Table(_FIRING, [_firing(each) for each in history], note)

    async def pause(self, id: str) -> Table:
        """Have a task not fire for now."""
        return Table(_TASK, [_row(await self.client.pause(id))])

    async def resume(self, id: str) -> Table:
        """Have a paused task fire again."""
        return Table(_TASK, [_row(await self.client.resume(id))])

    async def fire(self, id: str) -> Table:
        """Have a task fire now, once."""
        return Table(_FIRING, [_firing(await self.client.fire(id))])

    async def remove(self, id: str) -> bool:
        """Remove a task; return whether there was one."""
        return await self.client.remove(id)

    def __repr__(self) -> str:
        return "schedule() lists tasks; schedule.add('tick', every=60), schedule.show('tick')"


def _row(task: Task) -> dict[str, Any]:
    last = task.running or task.last
    return {
        "task": task.id,
        "state": "waiting" if task.trouble and task.state == "active" else task.state,
        "when": _when(task.schedule),
        "due": None if task.due is None else moment(task.due),
        "target": task.target.word,
        "fired": task.fired,
        "missed": task.missed or None,
        "last": last.outcome if last is not None else None,
        "owner": task.owner or None,
    }


def _when(schedule: Schedule) -> str:
    if schedule.cron is not None:
        return f"{schedule.cron} {schedule.timezone}"
    return "once" if schedule.every is None else f"every {schedule.every:g} s"


def _firing(firing: Firing) -> dict[str, Any]:
    error = firing.error or {}
    result = error.get("message") if error else firing.result
    return {
        "due": moment(firing.due),
        "late": f"{firing.at - firing.due:.3f} s",
        "outcome": firing.outcome,
        "missed": firing.missed or None,
        "tries": firing.tries,
        "result": result,
        "id": firing.id,
    }
