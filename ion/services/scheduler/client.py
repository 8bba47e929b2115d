"""The typed client of the scheduler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ion.base.ids import new_mark
from ion.process.client import ServiceClient
from ion.process.storeerrors import heard
from ion.services.scheduler.model import Firing, Misfire, Overlap, Task, Tasks

Moment = float | str | datetime


class Words(TypedDict, total=False):
    """What else a task may be added with; see :meth:`SchedulerClient.add`."""

    every: float
    cron: str
    timezone: str
    jitter: float
    misfire: Misfire
    grace: float
    most: int
    call: str
    send: str
    content: Any
    call_timeout: float
    overlap: Overlap
    origin: str
    origin_type: str
    sub_type: str
    owner: str
    description: str
    keep: int


class SchedulerClient(ServiceClient, service="scheduler"):
    """Has tasks fire: once, at intervals or by cron.

    All calls raise :class:`~ion.base.errors.NotFound` where there is no such task,
    :class:`~ion.base.errors.InvalidRequest` for what cannot be, and
    :class:`~ion.base.errors.Unavailable` where the scheduler's store is away.
    """

    async def add(
        self,
        id: str = "",
        *,
        at: Moment | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        timeout: float | None = None,
        **words: Unpack[Words],
    ) -> Task:
        """Add a task, and return it; the very same one once more is that one.

        :param id: one is made here by default.
        :param at: fires once, at a time: seconds since 1970, text in ISO 8601, or a datetime.
        :param every: fires each so many seconds, from ``start`` on, or first so long from now.
        :param cron: fires where a cron expression is true, in ``timezone``.
        :param start: no firing is due before it.
        :param end: no firing is due after it.
        :param jitter: each firing is up to so many seconds late, by chance.
        :param misfire: what becomes of what was missed by more than ``grace`` seconds: ``skip``,
            ``once`` or ``all`` (the last ``most`` of them).
        :param call: ``service.op`` to call with ``content``; its result is noted.
        :param send: ``service.op`` to send ``content`` to; without both, a ``TimerFired`` event is
            published, of ``origin`` (the id, by default), ``origin_type`` and ``sub_type``.
        :param call_timeout: of the call that a firing is, seconds.
        :param overlap: what becomes of a call that is due while that before it goes on: ``skip`` or
            ``queue``.
        :param keep: how many firings are remembered, 100 at most.
        :raises Conflict: there is another task of that id.
        :raises InvalidRequest: it would never fire, or cannot be; the message says why.
        """
        content: dict[str, Any] = {"id": id or new_mark() + new_mark(), **words}
        content |= {"at": _moment(at), "start": _moment(start), "end": _moment(end)}
        if "call_timeout" in content:
            content["timeout"] = content.pop("call_timeout")
        added: Task = await self._ask("add", content, timeout, Task)
        return added

    async def get(self, id: str, *, timeout: float | None = None) -> Task:
        """Return a task."""
        found: Task = await self._ask("get", {"id": id}, timeout, Task)
        return found

    async def remove(self, id: str, *, timeout: float | None = None) -> bool:
        """Remove a task; return whether there was one."""
        was: bool = await self._ask("remove", {"id": id}, timeout, bool)
        return was

    async def pause(self, id: str, *, timeout: float | None = None) -> Task:
        """Have a task not fire for now."""
        task: Task = await self._ask("pause", {"id": id}, timeout, Task)
        return task

    async def resume(self, id: str, *, timeout: float | None = None) -> Task:
        """Have a paused task fire again; what was due meanwhile is not made up for."""
        task: Task = await self._ask("resume", {"id": id}, timeout, Task)
        return task

    async def fire(self, id: str, *, timeout: float | None = None) -> Firing:
        """Have a task fire now, once, beside its due times.

        :raises Conflict: a call of it goes on.
        :raises Unavailable: it sends to a service that is not there.
        """
        firing: Firing = await self._ask("fire", {"id": id}, timeout, Firing)
        return firing

    async def history(
        self,
        id: str,
        limit: int = 100,
        *,
        timeout: float | None = None,
    ) -> list[Firing]:
        """Return the last firings of a task, the latest first."""
        content = {"id": id, "limit": limit}
        firings: list[Firing] = await self._ask("history", content, timeout, list[Firing])
        return firings

    async def page(
        self,
        *,
        owner: str = "",
        state: str = "",
        target: str = "",
        order: Sequence[str] = (),
        limit: int = 100,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> Tasks:
        """Return some tasks, by default in the order in which they are due.

        :param target: ``service.op``, or ``event:<origin>``.
        :param order: of ``due``, ``owner``, ``target``, ``state``, ``created``; ``-`` in front:
            from the greatest.
        """
        content = {
            "owner": owner,
            "state": state,
            "target": target,
            "order": [order] if isinstance(order, str) else list(order),
            "limit": limit,
            "cursor": cursor,
        }
        tasks: Tasks = await self._ask("tasks", content, timeout, Tasks)
        return tasks

    async def tasks(self, *, timeout: float | None = None, **wanted: Any) -> AsyncIterator[Task]:
        """Iterate all tasks, a page at a time; parameters are those of :meth:`page`."""
        cursor: str | None = None
        while True:
            page = await self.page(**wanted, cursor=cursor, timeout=timeout)
            for task in page.items:
                yield task
            cursor = page.cursor
            if cursor is None:
                return

    async def _ask(self, op: str, content: Any, timeout: float | None, returns: Any = Any) -> Any:
        with heard():
            return await self._call(op, content, timeout=timeout, returns=returns)


def _moment(given: Moment | None) -> float | str | None:
    """Return a time as it travels; a datetime without a zone is text, and in the task's zone."""
    if not isinstance(given, datetime):
        return given
    return given.isoformat() if given.tzinfo is None else given.timestamp()
