"""The ticker: looks which tasks are due, and has them fire.

What fires, and the due time that comes next, are one commit: a unit of work holds the row of the
task, in place of the very one that was read, and the event or message in the outbox. So a due time
fires once, whoever is killed when; and where two tickers have the same tasks, one of them does it.
A call begins after the commit that notes it; whoever finds it noted, and nobody at it, begins it
again under the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ion.base import clock
from ion.base.errors import Conflict, Damaged, IonError, Unavailable
from ion.observe.context import current_call
from ion.process.process import Process
from ion.services.scheduler import deciding, posting, taskstore
from ion.services.scheduler.deciding import Move
from ion.services.scheduler.model import Firing, Kept, Task
from ion.services.scheduler.receivers import Receivers
from ion.stores.store import Entry, IndexStore, Remove

log = logging.getLogger(__name__)

FEW, BATCH = 16, 128  # tasks that are looked at in one turn, and fire in one commit
GATHER = 0.02  # seconds in which what is due gathers, for one look and one commit
LOOK = 5.0  # seconds between two looks into the store, at most: others may have changed it
TICK = 1.0  # seconds between two looks at the clock, at most: somebody may have set it
PAUSE = 1.0  # seconds until the next try where the store is away
SWEEP = 60.0  # seconds between two removals of what is over
SWEPT = 200  # tasks that are removed in one turn
MAX_CALLS = 1000  # at a time
MAX_OF_ONE = 100  # of one op: one that hangs keeps nobody else's from being called
MAX_ASIDE = 100  # ops whose messages wait until the broker has told who is there


class Ticker:
    """Has the tasks of a store fire.

    :param process: whose units of work and calls these are.
    :param rows: the store of tasks.
    :param keep: seconds for which tasks are kept that are over.
    :ivar receivers: who is there to be sent to.
    :ivar trouble: why tasks have to wait now, or None.
    :ivar turn: held by who reads a task here and writes it again, so that these do not meet.
    """

    def __init__(self, process: Process, rows: IndexStore, keep: float) -> None:
        self._process = process
        self._rows = rows
        self._keep = keep
        self.receivers = Receivers(process._endpoint, process.run, self.wake)
        self.trouble: IonError | None = None
        self.turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._until = math.inf  # when it looks next; while it is at it, that is not known
        self._next = {
            taskstore.SENDS: -math.inf,
            taskstore.CALLS: -math.inf,
        }  # when a line is looked at
        self._few = {taskstore.SENDS: FEW, taskstore.CALLS: FEW}  # how much of it then
        self._read_all = -math.inf  # when both were, on the monotonic clock
        self._aside: dict[str, str] = {}  # op -> receiver, of which the broker is being asked
        self._calls: dict[str, str] = {}  # firing -> op
        self._is_unsure = True  # whether there may be calls noted that nobody is at
        self._swept = clock.monotonic()

    def wake(self, look: float | None = -math.inf) -> None:
        """Look into the store again: somebody has changed it.

        :param look: when what was changed is to be looked at; None: never.
        """
        if look is None:
            return
        if look < self._until:
            self._wake.set()
        else:  # it is looked at later, and of the two lines perhaps only the other one by then
            self._next = {line: min(at, look) for line, at in self._next.items()}

    async def run(self) -> None:
        """Have tasks fire, until this is cancelled."""
        current_call.set(None)  # on behalf of nobody: not of who has had it started
        while True:
            if self._wake.is_set() or clock.monotonic() - self._read_all >= LOOK:
                self._read_all = clock.monotonic()
                self._next = dict.fromkeys(self._next, -math.inf)
            self._wake.clear()
            self._until = math.inf
            try:
                until = await self._turn()
            except IonError as error:
                level = logging.WARNING if self.trouble is None else logging.DEBUG
                log.log(level, "tasks have to wait: %s", error)
                self.trouble = error
                self._is_unsure = True
                self._read_all = -math.inf
                await clock.sleep(PAUSE)
            else:
                if self.trouble is not None:
                    log.info("tasks do not have to wait any more")
                self.trouble = None
                await self._idle(until)

    def begin(self, task: Task, firing: Firing) -> None:
        """Begin a call that is noted in the store."""
        self._calls[firing.id] = task.target.word
        self._process.run(self._call(task, firing), f"call {firing.id}")

    # looking

    async def _turn(self) -> float:
        """Have fire what is due; return when the next is."""
        if self._process.lease is not None and not self._process.lease.held:
            return clock.now() + PAUSE  # somebody else may be at it
        async with self.turn:
            if self._is_unsure:
                await self._take_over()
            has_more = await self._sweep()
            self._aside = {
                op: name for op, name in self._aside.items() if self.receivers.is_asked(name)
            }
            await self._line(taskstore.SENDS, BATCH, list(self._aside))
            free = MAX_CALLS - len(self._calls)
            if free > 0:
                counted = Counter(self._calls.values())
                full = [word for word, count in counted.items() if count >= MAX_OF_ONE]
                await self._line(taskstore.CALLS, min(free, BATCH), full)
            until = min(self._next.values()) if free > 0 else self._next[taskstore.SENDS]
            return until if not has_more else clock.now()

    async def _line(self, line: str, most: int, without: Sequence[str]) -> None:
        """Have fire what is due of a line, and note when to look at it next.

        Of a line that is not due, little is read: the tasks are whole ones.

        :param most: tasks that may fire.
        :param without: targets that have to wait.
        """
        if self._next[line] > clock.now():
            return
        limit = min(self._few[line], most)
        entries = await taskstore.next_due(self._rows, line, limit, without)
        now = clock.now()
        due = [entry for entry in entries if float(entry.index[line]) <= now]
        if not due:
            self._next[line] = float(entries[0].index[line]) if entries else now + LOOK
            self._few[line] = FEW
            return
        again = await self._move(due, now)
        if len(due) == limit:
            self._few[line], self._next[line] = min(limit * 2, BATCH), -math.inf
            return
        self._few[line] = min(max(len(due) * 2, FEW), BATCH)
        self._next[line] = min(again, clock.now() + GATHER)

    async def _take_over(self) -> None:
        """Begin again what another one has begun, of whom it is known that he is gone.

        Without a lease that is not known: then it is begun again when its time is over.
        """
        lease = self._process.lease
        for entry in await taskstore.running(self._rows) if lease is not None else []:
            kept = self._read(entry)
            if kept is None or kept.task.running is None or kept.task.running.id in self._calls:
                continue
            with contextlib.suppress(Conflict):
                await self._commit([(entry, deciding.lost(kept, clock.now()))])
        self._is_unsure = False

    async def _sweep(self) -> bool:
        """Remove some of what is over for long, now and then; return whether there is more."""
        if clock.monotonic() - self._swept < SWEEP:
            return False
        entries = await taskstore.over(self._rows, clock.now() - self._keep, SWEPT)
        removes = [Remove(entry.key, entry.revision) for entry in entries]
        try:
            if removes:
                await self._rows.write(removes)
        except Conflict:  # somebody has changed one of them
            for each in removes:
                with contextlib.suppress(Conflict):
                    await self._rows.write([each])
        if len(entries) == SWEPT:
            return True
        self._swept = clock.monotonic()
        return False

    async def _idle(self, until: float) -> None:
        """Wait until a time, or until something changes; the clock may be set meanwhile."""
        end = clock.monotonic() + LOOK
        self._until = until
        while not self._wake.is_set():
            left = min(until - clock.now(), end - clock.monotonic(), TICK)
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()

    # firing

    async def _move(self, entries: Sequence[Entry], now: float) -> float:
        """Have tasks fire: all in one commit, or, where that fails, one by one.

        Return when one of them is to be looked at again.
        """
        read = [(entry, self._read(entry)) for entry in entries]
        for entry in [entry for entry, kept in read if kept is None]:
            await self._set_aside(entry)
        there = [(entry, kept) for entry, kept in read if kept is not None]
        sends = [kept.task.target for _, kept in there if kept.task.target.kind == "send"]
        missing, asked = self.receivers.look(target.to for target in sends)
        for target in sends:
            if target.to in asked and len(self._aside) < MAX_ASIDE:
                self._aside[target.word] = target.to
        ready = [pair for pair in there if not self._is_aside(pair[1].task)]
        looked = [(entry, self._decided(kept, now, missing)) for entry, kept in ready]
        moves = [(entry, move) for entry, move in looked if move is not None]
        try:
            await self._commit(moves)
        except Unavailable:
            raise
        except IonError as error:
            log.debug("%d tasks fire one by one: %s", len(moves), error)
            for each in moves:
                await self._move_one(*each, now)
        looks = [deciding.look_at(move.kept) for _, move in moves]
        return min((look for look in looks if look is not None), default=math.inf)

    def _is_aside(self, task: Task) -> bool:
        return task.target.kind == "send" and task.target.word in self._aside

    def _decided(self, kept: Kept, now: float, missing: Mapping[str, IonError]) -> Move | None:
        """Return what is to be done with a task; see :func:`deciding.look`."""
        task = kept.task
        error = missing.get(task.target.to) if task.target.kind == "send" else None
        alive = task.running is not None and task.running.id in self._calls
        try:
            if error is None:
                return deciding.look(kept, now, alive=alive)
            if task.trouble is None:
                log.warning("task %r waits: %s", task.id, error)
            return deciding.held(kept, now, error.as_content())
        except (IonError, ValueError, OverflowError) as trouble:
            # What was fine where it was added need not be here: its time zone, the cron library.
            if task.trouble is None:
                log.error("task %r waits: %s", task.id, trouble)  # noqa: TRY400
            return deciding.stuck(kept, now, _told(trouble))

    async def _move_one(self, entry: Entry, move: Move, now: float) -> None:
        try:
            await self._commit([(entry, move)])
        except Conflict:
            return  # somebody has changed it: it is looked at again
        except Unavailable:
            raise
        except IonError as error:
            log.error("task %r cannot fire: %s", entry.key, error)  # noqa: TRY400
            kept = deciding.spoiled(taskstore.decode(entry), now, error.as_content())
            with contextlib.suppress(Conflict):
                await self._rows.write([taskstore.put_of(kept, entry.revision)])

    async def _commit(self, moves: Sequence[tuple[Entry, Move]]) -> None:
        """Keep what has become of tasks, with what they send; then begin their calls.

        :raises Conflict: somebody has changed one of them; nothing was done.
        """
        if not moves:
            return
        async with self._process.unit_of_work() as uow:
            puts = [taskstore.put_of(move.kept, entry.revision) for entry, move in moves]
            await uow.index_store(self._rows.name).write(puts)
            for _, move in moves:
                if move.post is not None:
                    await posting.post(self._process._endpoint, uow, move.kept.task, move.post)
        for _, move in moves:
            if move.call is not None:
                self.begin(move.kept.task, move.call)

    # calls

    async def _call(self, task: Task, firing: Firing) -> None:
        """Call, and note what came of it."""
        current_call.set(None)  # nor of who has fired it by hand
        target = task.target
        told: dict[str, Any] = {}
        try:
            told["result"] = await self._process.rpc_send(
                target.to,
                target.op,
                target.content,
                timeout=target.timeout,
                message_id=firing.id,
            )
        except IonError as error:
            told["error"] = error.as_content()
        try:
            while not await self._note(task.id, firing.id, told):
                await clock.sleep(PAUSE)
        finally:
            self._calls.pop(firing.id, None)
            self.wake()

    async def _note(self, task: str, firing: str, told: dict[str, Any]) -> bool:
        """Note the end of a call; return whether that is done, or never will be."""
        while True:
            try:
                async with self.turn:
                    await self._note_once(task, firing, told)
            except Conflict:
                continue  # another instance was at it
            except Unavailable as error:
                log.warning("the end of %s cannot be noted yet: %s", firing, error)
                return False
            except IonError as error:
                log.error("the end of %s cannot be noted: %s", firing, error)  # noqa: TRY400
            return True

    async def _note_once(self, task: str, firing: str, told: dict[str, Any]) -> None:
        entry = await self._rows.entry(task)
        if entry is not None:  # else it was removed meanwhile
            kept = deciding.ended(taskstore.decode(entry), firing, clock.now(), **told)
            await self._rows.write([taskstore.put_of(kept, entry.revision)])

    # rows

    def _read(self, entry: Entry) -> Kept | None:
        try:
            return taskstore.decode(entry)
        except Damaged as error:
            log.error("%s", error)  # noqa: TRY400
            return None

    async def _set_aside(self, entry: Entry) -> None:
        """Look no more at a task that cannot be read; it stays as it is."""
        with contextlib.suppress(Conflict):
            index = {taskstore.SENDS: None, taskstore.CALLS: None, "running": None}
            await self._rows.update_index(entry.key, index, revision=entry.revision)


def _told(error: Exception) -> dict[str, Any]:
    if isinstance(error, IonError):
        return error.as_content()
    return {"code": 500, "type": type(error).__name__, "message": str(error)}
