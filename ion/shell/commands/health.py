"""``ioncc health``: are the containers of a system alive, and ready; what is wrong where not.

All are asked at once. Those that others hear of, and that have not answered, are asked once more,
by their name: a container that is held up, or suspended, is there and does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from ion.base.errors import DeadlineExceeded, IonError, ServiceNotFound, Unavailable
from ion.process.connection import Connection
from ion.process.discovery import AGENTS, survey
from ion.process.endpoint.endpoint import Endpoint
from ion.shell import exits
from ion.shell.commandline.operate import ALL
from ion.shell.commandline.options import Options
from ion.shell.commands.nodes import need_some, nodes_named
from ion.shell.commands.printing import quietly
from ion.shell.commands.system import ANSWERS_WITHIN
from ion.shell.render import Table, local_moment, printable, show_json

HEALTH = "health"
_MAX_STACKS = 5  # that are shown of one container

Rows = list[dict[str, Any]]
Row = Mapping[str, Any]


async def health(connection: Connection, options: Options) -> int:
    """Show the health of the containers that ``options`` name; 0 where all are ready, else 1.

    :raises ServiceNotFound: there is no such container.
    :raises NobodyAnswered: there is none at all.
    :raises Unavailable: the broker is away.
    """
    within = options.timeout or ANSWERS_WITHIN
    found = await gather_health(connection.endpoint, within)
    if not found and options.node != ALL:  # who alone is there, and held up, is known to nobody
        row = await _ask(connection.endpoint, options.node, within)
        found = {options.node: row} if row is not None else {}
    if options.json and not found:
        show_json([])
    await need_some(found, connection, within)
    rows = [found[node] for node in nodes_named(options.node, found)]
    with quietly():
        if options.json:
            show_json(rows)
        else:
            _show(rows)
    return exits.OK if all(row.get("ready") for row in rows) else exits.FAILED


async def gather_health(endpoint: Endpoint, within: float) -> dict[str, dict[str, Any]]:
    """Return what each container tells of its health, and a row of those that do not, by id.

    Each row is the map of the agent's op ``health``, and ``silent``: whether it did not answer.

    :param within: seconds for all, and then for those that have not answered.
    :raises Unavailable: the broker is away.
    """
    answers = await survey(endpoint, AGENTS, HEALTH, {}, within)
    rows = {
        str(answer["container"]): {**answer, "silent": False}
        for answer in answers
        if isinstance(answer, dict) and "container" in answer
    }
    known = {str(node) for row in rows.values() for node in row.get("members") or ()}
    missing = sorted(known - set(rows))
    for row in await asyncio.gather(*(_ask(endpoint, node, within) for node in missing)):
        if row is not None:
            rows[row["container"]] = row
    return dict(sorted(rows.items()))


async def _ask(endpoint: Endpoint, node: str, within: float) -> dict[str, Any] | None:
    """Return what one container tells, or that it is silent; None where it has gone."""
    try:
        answer = await endpoint.rpc(endpoint.id, f"{node}.0", HEALTH, {}, within)
    except ServiceNotFound:  # its queue has gone with it
        return None
    except (DeadlineExceeded, Unavailable):
        message = (
            f"it has not answered within {within:g} s, and its connection to the broker is there: "
            "it is held up, or suspended, or cut off"
        )
    except IonError as error:
        message = exits.one_line(error)
    else:
        return {**answer, "silent": False} if isinstance(answer, dict) else None
    check = {"name": "answer", "ok": False, "message": message, "value": None, "limit": within}
    return {"container": node, "live": False, "ready": False, "silent": True, "checks": [check]}


# for people


def _show(rows: Rows) -> None:
    _overview(rows).show()
    faults = _faults(rows)
    if faults:
        print()
        Table(("container", "check", "value", "limit", "message"), faults).show()
    for row in rows:
        for told in _stacks(row):
            print(f"\n{told}")


def _overview(rows: Rows) -> Table:
    shown = [
        {
            "container": row.get("container"),
            "live": _word(row.get("live")),
            "ready": _word(row.get("ready")),
            "since": local_moment(row.get("since")),
            "slow ops": len(row.get("stuck") or ()),
            "wrong": [check.get("name") for check in _wrong(row)],
        }
        for row in rows
    ]
    ready = sum(bool(row.get("ready")) for row in rows)
    note = f"{ready} of {len(rows)} {'container' if len(rows) == 1 else 'containers'} ready"
    return Table(("container", "live", "ready", "since", "slow ops", "wrong"), shown, note)


def _faults(rows: Rows) -> Rows:
    return [
        {**check, "container": row.get("container"), "check": check.get("name")}
        for row in rows
        for check in _wrong(row)
    ]


def _wrong(row: Row) -> list[dict[str, Any]]:
    return [check for check in row.get("checks") or () if not check.get("ok")]


def _stacks(row: Row) -> list[str]:
    """Return what holds up a container, and its slow ops, each with its stack."""
    told = []
    blocked = row.get("blocked")
    if blocked:
        what = blocked.get("what") or "what stands here"
        head = f"{row.get('container')}: its event loop is held up by {what}"
        told.append(_with_stack(head, blocked))
    stuck: Sequence[Row] = row.get("stuck") or ()
    for slow in stuck[:_MAX_STACKS]:
        head = (
            f"op {slow.get('op')!r} of {slow.get('name')} ({slow.get('pid')}), called by "
            f"{slow.get('sender') or 'nobody known'}, has run for {slow.get('seconds', 0):.0f} s"
        )
        told.append(_with_stack(head, slow))
    if len(stuck) > _MAX_STACKS:
        told.append(f"{row.get('container')}: {len(stuck) - _MAX_STACKS} slow ops more (--json)")
    return told


def _with_stack(head: str, told: Row) -> str:
    return "\n".join([printable(head), *(f"  {printable(line)}" for line in told.get("stack", ()))])


def _word(value: Any) -> str:
    return "yes" if value else "no"
