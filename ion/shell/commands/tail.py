"""``ioncc tail``: the logs of all containers as one, over the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ion.base.errors import DeadlineExceeded, IonError, OpNotFound, ServiceNotFound, Unavailable
from ion.process.connection import Connection
from ion.shell import exits
from ion.shell.commandline.operate import ALL
from ion.shell.commandline.options import Options
from ion.shell.commands.choosing import chosen
from ion.shell.commands.printing import Printer
from ion.shell.commands.signals import first_of, until_told
from ion.shell.commands.system import ANSWERS_WITHIN, present
from ion.shell.render import printable, to_json

SILENCE = 5.0  # seconds: a container gives a sign of life every second
LOOK_EVERY = 1.0  # seconds between looks for new containers
FIRST_WITHIN = 2.0  # seconds for the recent records of all, which are shown in the order of time
NEW_LINES = 100  # records that a container that comes later begins with: those of its start
LAST_WORDS = 1.0  # seconds for what is left to be printed when it is told to end
TOO_MANY = 429

_KNOWN = frozenset(
    ("time", "level", "logger", "message", "container", "process", "op", "conversation", "trace")
) | {"traceback", "cut"}

Record = Mapping[str, Any]


async def tail(connection: Connection, options: Options) -> int:
    """Show log records as ``options`` say and return the exit code.

    :raises ServiceNotFound: there is no such container.
    :raises NobodyAnswered: there is none at all.
    :raises Unavailable: the broker is away.
    """
    nodes = await chosen(connection, options.node, options.timeout or ANSWERS_WITHIN)
    printer = Printer()
    followers = Followers(connection, options, printer)
    with until_told() as told:
        try:
            await followers.begin(nodes)
            if options.follow:
                await _stay(followers, told, printer)
        finally:
            await followers.close()
            await printer.close(LAST_WORDS if options.follow or told.is_set() else None)
    if printer.error is not None:
        raise printer.error  # main knows what becomes of it
    return exits.OK


async def _stay(followers: Followers, told: asyncio.Event, printer: Printer) -> None:
    """Show new records, and look for containers that come, until told to end."""
    while not await first_of(told, printer.broken, timeout=LOOK_EVERY):
        await followers.look()


class Followers:
    """Those containers whose logs are followed: a stream each."""

    def __init__(self, connection: Connection, options: Options, printer: Printer) -> None:
        self._connection = connection
        self._options = options
        self._printer = printer
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._last: dict[str, int] = {}
        self._mute: set[str] = set()  # those that cannot be followed
        self._early: list[Record] | None = []
        self._missing: set[str] = set()  # those whose recent records have not come yet
        self._all_came = asyncio.Event()
        self._chosen: set[str] | None = None
        self._is_away = False

    async def begin(self, nodes: list[str]) -> None:
        """Show the recent records of ``nodes`` in the order of time, and follow them."""
        self._chosen = None if self._options.node == ALL else set(nodes)
        self._missing = set(nodes)
        for each in nodes:
            self._follow(each, self._options.lines)
        await first_of(self._all_came, self._printer.broken, timeout=FIRST_WITHIN)
        early, self._early = self._early or [], None
        early.sort(key=lambda record: str(record.get("time", "")))
        count = self._options.lines
        self._print(early[len(early) - count :] if count < len(early) else early)

    async def look(self) -> None:
        """Follow the containers that have come since, or come back."""
        lost = self._printer.take_lost()
        if lost:
            self._tell("", "dropped", f"{lost} lines were dropped: they are read too slowly")
        try:
            there = await present(self._connection.endpoint)
        except IonError as error:
            if not self._is_away:
                self._is_away = True
                self._tell("", "away", exits.one_line(error))
            return
        self._is_away = False
        for each in there:
            is_wanted = self._chosen is None or each in self._chosen
            if is_wanted and each not in self._tasks and each not in self._mute:
                self._tell(each, "joined", "is there again" if each in self._last else "is there")
                self._follow(each, max(self._options.lines, NEW_LINES))

    async def close(self) -> None:
        """Leave all of them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _follow(self, id: str, recent: int) -> None:
        self._tasks[id] = asyncio.create_task(self._read(id, recent), name=f"tail {id}")

    async def _read(self, id: str, recent: int) -> None:
        options = self._options
        wanted = {
            "level": options.level,
            "logger": options.logger,
            "text": options.grep,
            "recent": recent,
            "after": self._last.get(id, 0),
        }
        try:
            await self._take_all(id, wanted)
        except IonError as error:
            self._failed(id, error)
        finally:
            self._tasks.pop(id, None)
            self._came(id)

    async def _take_all(self, id: str, wanted: Mapping[str, Any]) -> None:
        """Take what a container logs until it stops; only the recent ones where none is followed.

        :raises IonError: it cannot be followed, or not any more.
        """
        stream = self._connection.stream(
            f"{id}.0", "log", wanted, timeout=SILENCE, returns=dict[str, Any]
        )
        async with stream as batches:
            async for batch in batches:
                self._take(id, batch)
                if not self._options.follow and not batch.get("more"):
                    return
        self._tell(id, "stopped", "has stopped")

    def _take(self, id: str, batch: Mapping[str, Any]) -> None:
        records = [each for each in batch.get("records") or () if isinstance(each, Mapping)]
        self._last[id] = batch.get("last", 0)
        if batch.get("lost"):
            text = f"{batch['lost']} records were dropped: they were taken too slowly"
            self._tell(id, "dropped", text)
        if self._early is not None:
            self._early += records
            if not batch.get("more"):
                self._came(id)
        else:
            self._print(records)

    def _came(self, id: str) -> None:
        self._missing.discard(id)
        if not self._missing:
            self._all_came.set()

    def _failed(self, id: str, error: IonError) -> None:
        if isinstance(error, OpNotFound):
            self._mute.add(id)
            self._tell(id, "mute", "is of a release of ION whose log cannot be followed")
        elif error.code == TOO_MANY:
            self._mute.add(id)
            self._tell(id, "mute", exits.one_line(error))
        elif isinstance(error, ServiceNotFound | DeadlineExceeded):
            self._tell(id, "lost", "does not answer any more")
        elif not isinstance(error, Unavailable):  # that one is told by the next look
            self._tell(id, "lost", exits.one_line(error))

    def _print(self, records: list[Record]) -> None:
        show = to_json if self._options.json else text_of
        self._printer.print(show(record) for record in records)

    def _tell(self, id: str, notice: str, text: str) -> None:
        """Say on standard error what is no record."""
        if self._options.json:
            self._printer.tell(
                to_json({"notice": notice, "container": id or None, "message": text})
            )
        else:
            self._printer.tell(f"ioncc tail: {printable(f'{id} {text}'.strip())}")


def text_of(record: Record) -> str:
    """Return a record as people read it: as the container's own log has it."""
    said = {name: printable(str(value)) for name, value in record.items() if name != "traceback"}
    who = [said[name] for name in ("process", "op", "conversation") if name in said]
    speaker = " ".join(who) or said.get("container", "")
    extra = "".join(f" {k}={record[k]!r}" for k in said if k not in _KNOWN)
    line = (
        f"{said.get('time', '')} {said.get('level', ''):<8}{said.get('logger', '')} "
        f"[{speaker}] {said.get('message', '')}{printable(extra)}"
    )
    trouble = [printable(row) for row in str(record.get("traceback", "")).splitlines()]
    return "\n".join([line, *trouble])
