"""The scheduler: tasks that are due once, at intervals or by cron, and what they fire.

Its tasks are in its container's datastore, which must have transactions: each firing is one commit
with the due time that comes next. Its app runs in one container of a system at a time; who takes it
over goes on where the other one was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from ion.base import clock
from ion.base.errors import ConfigurationError, Conflict, InvalidRequest, NotFound, Unavailable
from ion.base.ids import new_mark
from ion.process.identity import acting, current_identity
from ion.process.service import Service
from ion.process.serving.incoming import IncomingCall
from ion.process.storeerrors import answering
from ion.services.scheduler import deciding, posting, taskstore, validation
from ion.services.scheduler.deciding import Move
from ion.services.scheduler.model import (
    GRACE,
    KEEP,
    MOST,
    TIMEOUT,
    Firing,
    Kept,
    Misfire,
    Overlap,
    Task,
    Tasks,
)
from ion.services.scheduler.ticker import Ticker
from ion.services.scheduler.validation import Moment
from ion.stores.store import ABSENT, Entry, IndexStore

NAME = "schedules"
DAY = 86400.0
MAX_PAGE = 1000


class SchedulerService(Service, name="scheduler", version="0.1.0"):
    """Keeps tasks, and has them fire.

    :param book: name of the store of its tasks; the app's ``config.name``, else ``schedules``, by
        default.
    :param keep: seconds for which a task is kept that is over; the app's, else a day, by default.
    """

    _rows: IndexStore
    _ticker: Ticker

    def __init__(self, book: str | None = None, keep: float | None = None) -> None:
        self._book = book
        self._kept_for = keep

    async def on_init(self) -> None:
        """Open the store of tasks.

        :raises ConfigurationError: its store has no transactions, or a setting cannot be.
        """
        config = self.app_config
        keep = self._kept_for if self._kept_for is not None else config.get("keep", DAY)
        if not isinstance(keep, int | float) or keep < 0:
            message = f"scheduler: keep: seconds, not {keep!r}"
            raise ConfigurationError(message)
        datastore = await self.datastore()
        if not datastore.has_transactions:
            message = (
                f"the scheduler needs a store with transactions, and {datastore.url} has none: "
                "set store.url to an SQLite or PostgreSQL one"
            )
            raise ConfigurationError(message)
        name = self._book or config.get("name") or NAME
        try:
            self._rows = await self.index_store(name, taskstore.INDICES)
        except InvalidRequest as error:
            message = f"the store of tasks cannot be opened: {error}"
            raise ConfigurationError(message) from error
        self._ticker = Ticker(self, self._rows, float(keep))

    async def on_activate(self) -> None:
        """Begin to look what is due."""
        self.run(self._ticker.run(), "ticker")

    async def on_health(self) -> None:
        """Say that tasks have to wait, and why."""
        if self._ticker.trouble is not None:
            message = f"tasks have to wait: {self._ticker.trouble}"
            raise Unavailable(message)

    # ops

    async def op_add(
        self,
        id: str = "",
        at: Moment = None,
        every: float | None = None,
        cron: str | None = None,
        timezone: str = "UTC",
        start: Moment = None,
        end: Moment = None,
        jitter: float = 0.0,
        misfire: Misfire = "once",
        grace: float = GRACE,
        most: int = MOST,
        call: str = "",
        send: str = "",
        content: Any = None,
        timeout: float = TIMEOUT,
        overlap: Overlap = "skip",
        origin: str = "",
        origin_type: str = "",
        sub_type: str = "",
        owner: str = "",
        description: str = "",
        keep: int = KEEP,
    ) -> Task:
        """Add a task: ``at`` a time, ``every`` so many seconds, or by ``cron``.

        Times are seconds since 1970, or text as 2026-11-21T18:15:00, in ``timezone`` where it has
        no offset. ``call`` or ``send``, as ``service.op``, or an event is published, of ``origin``.

        400 where it cannot be, or would never fire. One with the ``id`` of a task that is there is
        that task, where it is the same, else a 409.
        """
        with answering():
            task_id = id or new_mark() + new_mark()
            rule = {"every": every, "cron": cron, "jitter": jitter}
            missed = {"misfire": misfire, "grace": grace, "most": most}
            schedule = validation.schedule_of(at, start, end, timezone, **rule, **missed)
            target = validation.target_of(
                call,
                send,
                content=content,
                timeout=timeout,
                overlap=overlap,
                origin=origin or ("" if call or send else task_id),
                origin_type=origin_type,
                sub_type=sub_type,
            )
            by = _caller(self.message)
            words = {"by": by, "owner": owner or by, "description": description}
            kept = validation.kept_of(task_id, schedule, target, clock.now(), **words, keep=keep)
            posting.check(self._endpoint, kept.task)
            return await self._add(kept)

    async def op_get(self, id: str) -> Task:
        """Return a task; 404 where there is none."""
        with answering():
            return (await self._read(self._rows, id))[1].task

    async def op_history(self, id: str, limit: int = validation.MAX_KEEP) -> list[Firing]:
        """Return the last firings of a task, the latest first."""
        with answering():
            history = (await self._read(self._rows, id))[1].history
            return sorted(history, key=lambda f: -f.at)[: max(limit, 0)]

    async def op_tasks(
        self,
        owner: str = "",
        state: str = "",
        target: str = "",
        order: list[str] | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Tasks:
        """Return tasks, by default in the order in which they are due.

        ``target`` is ``service.op``, or ``event:<origin>``; ``order`` is of ``due``, ``owner``,
        ``target``, ``state`` and ``created``, with ``-`` from the greatest. A page is cut where one
        answer holds no more.
        """
        with answering():
            validation.check_page(order or [], limit, taskstore.ORDERS, MAX_PAGE)
            validation.check_state(state)
            wanted = {"owner": owner, "state": state, "target": target}
            most = self._endpoint.max_content // 2
            return await taskstore.find(self._rows, wanted, order or ["due"], limit, cursor, most)

    async def op_remove(self, id: str) -> bool:
        """Remove a task; return whether there was one. A call of it that goes on is let go on."""
        with answering():
            async with self._ticker.turn, self.unit_of_work() as uow:
                was = await uow.index_store(self._rows.name).remove(id)
                await uow.reply(was)
            return was

    async def op_pause(self, id: str) -> Task:
        """Have a task not fire for now; 404 where there is none."""
        return await self._change(id, deciding.paused)

    async def op_resume(self, id: str) -> Task:
        """Have a paused task fire again; what was due meanwhile is not made up for."""
        return await self._change(id, lambda kept: deciding.resumed(kept, clock.now()))

    async def op_fire(self, id: str) -> Firing:
        """Have a task fire now, once, beside its due times; return that firing.

        404 where there is none; 409 where a call of it goes on; 503 where it sends to a service
        that is not there.
        """
        with answering():
            await self._ask_for_receiver(id)
            move, firing = await self._fire(id, self._name_by_hand(id))
            if move.call is not None:
                self._ticker.begin(move.kept.task, move.call)
            return firing

    # helpers

    async def _add(self, kept: Kept) -> Task:
        """Keep a new task; return it, or the very same one that is there.

        Without the ticker's turn: nobody else is at a task that is not there yet, and so many that
        are added at once are one commit of the store.
        """
        task = kept.task
        async with self.unit_of_work() as uow:
            rows = uow.index_store(self._rows.name)
            entry = await rows.entry(task.id)
            if entry is None:
                await rows.write([taskstore.put_of(kept, ABSENT)])
            else:
                there = taskstore.decode(entry)
                if there.given != kept.given:
                    message = f"there is another task {task.id!r}: remove it first"
                    raise Conflict(message)
                task = there.task
            await uow.reply(task)
        self._ticker.wake(deciding.look_at(kept))
        return task

    async def _fire(self, task_id: str, name: str) -> tuple[Move, Firing]:
        """Have a task fire by hand, as far as the commit does."""
        async with self._ticker.turn, self.unit_of_work() as uow:
            rows = uow.index_store(self._rows.name)
            entry, kept = await self._read(rows, task_id)
            if kept.task.running is not None:
                message = f"task {task_id!r}: its call of {kept.task.running.id} goes on"
                raise Conflict(message)
            self._check_receiver(kept.task)
            move = deciding.by_hand(kept, name, clock.now())
            firing = move.post or move.call
            assert firing is not None
            await rows.write([taskstore.put_of(move.kept, entry.revision)])
            if move.post is not None:
                with acting(self._endpoint.token):  # as when it is due
                    await posting.post(self._endpoint, uow, move.kept.task, firing)
            await uow.reply(firing)
            return move, firing

    async def _ask_for_receiver(self, task_id: str) -> None:
        """Find out whether there is somebody to be sent to, while others have their turn."""
        entry = await self._rows.entry(task_id)
        target = taskstore.decode(entry).task.target if entry is not None else None
        if target is not None and target.kind == "send":
            await self._ticker.receivers.ask(target.to)

    def _check_receiver(self, task: Task) -> None:
        target = task.target
        if target.kind == "send":
            missing, _ = self._ticker.receivers.look([target.to])
            for error in missing.values():
                message = f"task {task.id!r} cannot fire: {error.message}"
                raise Unavailable(message)

    async def _change(self, task_id: str, change: Callable[[Kept], Kept]) -> Task:
        with answering():
            async with self._ticker.turn, self.unit_of_work() as uow:
                rows = uow.index_store(self._rows.name)
                entry, kept = await self._read(rows, task_id)
                kept = change(kept)
                await rows.write([taskstore.put_of(kept, entry.revision)])
                await uow.reply(kept.task)
            self._ticker.wake()
            return kept.task

    async def _read(self, rows: IndexStore, task_id: str) -> tuple[Entry, Kept]:
        entry = await rows.entry(task_id)
        if entry is None:
            message = f"there is no task {task_id!r}"
            raise NotFound(message)
        return entry, taskstore.decode(entry)

    def _name_by_hand(self, task_id: str) -> str:
        """Return the id of a firing by hand: the same for the same message."""
        message = self.message.envelope.message_id.encode()
        mark = hashlib.blake2b(message, digest_size=8).hexdigest() if message else new_mark()
        return f"{task_id}/by-hand/{mark}"


def _caller(call: IncomingCall) -> str:
    """Return who calls, as far as it is known, or ""."""
    identity = current_identity()
    return identity.actor if identity is not None else call.user
