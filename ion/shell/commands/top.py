"""``ioncc top``: how busy containers, services and processes are, again and again."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

from ion.base.errors import IonError
from ion.process.connection import Connection
from ion.process.discovery import AGENTS, survey
from ion.shell import exits
from ion.shell.commandline.operate import ALL
from ion.shell.commandline.options import Options
from ion.shell.commands.nodes import need_some, nodes_named
from ion.shell.commands.rates import Rows, Sample, Stats, sample
from ion.shell.commands.screen import Screen, can_draw
from ion.shell.commands.signals import first_of, until_told
from ion.shell.commands.system import ANSWERS_WITHIN
from ion.shell.render import Table, local_moment, printable, show_json, to_json

SHOWN = 10  # rows of services, and of processes, where there is no screen to fit them to
_MEGA = 1_048_576
_BESIDE = 9  # lines beside the rows: headings, blanks, a clock
_MILLI = 1000


async def top(connection: Connection, options: Options) -> int:
    """Show samples as ``options`` say and return the exit code.

    :raises ServiceNotFound: there is no such container.
    :raises NobodyAnswered: there is none at all.
    :raises Unavailable: the broker is away.
    """
    watch = _Watch(connection, options)
    await watch.begin()
    with until_told() as told:
        if options.json or options.count is not None or not can_draw():
            await _print(watch, options, told)
        else:
            await _draw(watch, options, told)
    return exits.OK


async def _print(watch: _Watch, options: Options, told: asyncio.Event) -> None:
    """Print one sample after another."""
    left = options.count
    while left != 0 and not await first_of(told, timeout=options.every):
        try:
            found = await watch.look()
        except IonError as error:
            print(f"ioncc top: {printable(exits.one_line(error))}", file=sys.stderr)
            continue
        if options.json:
            print(to_json(found._asdict()), flush=True)
        else:
            print("\n".join([*lines_of(found, SHOWN), ""]), flush=True)
        left = None if left is None else left - 1


async def _draw(watch: _Watch, options: Options, told: asyncio.Event) -> None:
    """Draw each sample over the one before."""
    with Screen(told) as screen:
        lines: list[str] = []
        while not told.is_set():
            try:
                found = await watch.look()
                rows = max(screen.height - len(found.containers) - _BESIDE, 2) // 2
                lines = [*lines_of(found, rows), "q ends it"]
            except IonError as error:
                lines = [printable(exits.one_line(error)), *lines[1:]]
            screen.draw(lines)
            await first_of(told, timeout=options.every)


class _Watch:
    """Looks at the numbers of the chosen containers, and remembers the last look."""

    def __init__(self, connection: Connection, options: Options) -> None:
        self._connection = connection
        self._within = options.timeout or ANSWERS_WITHIN
        self._node = options.node
        self._is_json = options.json
        self._before: list[Stats] = []
        self._at = time.monotonic()

    async def begin(self) -> None:
        """Look for the first time, and find out which containers are meant."""
        found = await self._ask()
        ids = [str(each["container"]) for each in found]
        if self._is_json and not ids:
            show_json([])
        await need_some(ids, self._connection, self._within)
        if self._node != ALL:
            (self._node,) = nodes_named(self._node, ids)
        self._before, self._at = self._chosen(found), time.monotonic()

    async def look(self) -> Sample:
        """Return what was done since the last look."""
        found = self._chosen(await self._ask())
        now = time.monotonic()
        result = sample(self._before, found, time.time(), round(now - self._at, 3))
        self._before, self._at = found, now
        return result

    async def _ask(self) -> list[Stats]:
        answers = await survey(self._connection.endpoint, AGENTS, "stats", {}, self._within)
        return [each for each in answers if isinstance(each, dict) and "container" in each]

    def _chosen(self, found: Sequence[Stats]) -> list[Stats]:
        return [each for each in found if self._node in (ALL, each["container"])]


def lines_of(found: Sample, rows: int) -> list[str]:
    """Return a sample as people read it.

    :param rows: of services, and of processes, at most.
    """
    count = len(found.containers)
    head = (
        f"{local_moment(found.time)}  {count} {'container' if count == 1 else 'containers'}"
        f"  {len(found.processes)} processes"
    )
    tables = (
        _containers(found.containers),
        _busy(found.services, rows, ("name", "version", "instances"), "in_flight"),
        _busy(found.processes, rows, ("pid", "name", "state"), "waiting", "active"),
    )
    lines = [head]
    for table in tables:
        lines += ["", *table.text().splitlines()]
    return lines


def _containers(rows: Rows) -> Table:
    columns = ("container", "cpu %", "memory", "lag ms", "in/s", "out/s", "open", "at hand")
    shown = [
        {
            "container": row["container"],
            "cpu %": _fixed(row["cpu_percent"]),
            "memory": _fixed(row["rss"], 1 / _MEGA, " MB"),
            "lag ms": _fixed(row["lag"], _MILLI),
            "in/s": _fixed(row["in_per_s"]),
            "out/s": _fixed(row["out_per_s"]),
            "open": row["calls_open"],
            "at hand": row["calls_at_hand"],
            "processes": row["processes"],
        }
        for row in rows
    ]
    return Table((*columns, "processes"), shown)


def _busy(rows: Rows, most: int, keys: tuple[str, ...], *counts: str) -> Table:
    shown = [
        {
            **{key: row[key] for key in keys},
            "handled/s": _fixed(row["handled_per_s"]),
            "failed/s": _fixed(row["failed_per_s"]),
            **{key.replace("_", " "): row[key] for key in counts},
        }
        for row in rows[:most]
    ]
    heads = (*keys, "handled/s", "failed/s", *(key.replace("_", " ") for key in counts))
    return Table(heads, shown)


def _fixed(value: Any, factor: float = 1.0, unit: str = "") -> str | None:
    return f"{value * factor:.1f}{unit}" if isinstance(value, int | float) else None
