"""The store of tasks: an index store, in which what is due next is found by its index.

There are two lines of what is due, one for calls: where as many calls go on as may, those that wait
are not in the way of events and messages.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from ion.base.errors import Damaged
from ion.services.scheduler.deciding import look_at
from ion.services.scheduler.model import Kept, Task, Tasks
from ion.stores.ordering import position
from ion.stores.query import A, And, Predicate, Query, checked, cursor_of
from ion.stores.store import Attributes, Entry, IndexStore, Indices, Put

log = logging.getLogger(__name__)
SENDS, CALLS = "look", "look_call"
INDICES: Indices = {
    SENDS: "float",
    CALLS: "float",
    "due": "float",
    "owner": "str",
    "target": "str",
    "state": "str",
    "created": "float",
    "ended": "float",
    "running": "bool",
}
ORDERS = ("due", "owner", "target", "state", "created")

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


def decode(entry: Entry) -> Kept:
    """Return what an entry holds.

    :raises Damaged: it holds something else.
    """
    try:
        return _decode(entry.value)
    except msgspec.MsgspecError as error:
        message = f"task {entry.key!r} cannot be read: {error}"
        raise Damaged(message) from None


def put_of(kept: Kept, revision: int) -> Put:
    """Return the write that keeps a task in place of that revision."""
    return Put(kept.task.id, encode(kept), revision, index_of(kept))


def index_of(kept: Kept) -> Attributes:
    """Return by what a task is found."""
    task = kept.task
    look = look_at(kept)
    is_call = task.target.kind == "call"
    return {
        SENDS: None if is_call else look,
        CALLS: look if is_call else None,
        "due": task.due,
        "owner": task.owner or None,
        "target": task.target.word,
        "state": task.state,
        "created": task.created,
        "ended": kept.ended,
        "running": True if task.running is not None else None,
    }


async def next_due(
    rows: IndexStore, line: str, limit: int, without: Sequence[str] = ()
) -> list[Entry]:
    """Return the tasks of a line that are to be looked at first, but for those of some targets."""
    where: Predicate = A(line) >= 0.0
    if without:
        where = And((where, ~A("target").is_in(without)))
    return (await rows.query(Query(where, order=(line,), limit=limit))).items


async def over(rows: IndexStore, before: float, limit: int) -> list[Entry]:
    """Return tasks that were done before a time."""
    return (await rows.query(Query(A("ended") < before, order=("ended",), limit=limit))).items


async def running(rows: IndexStore) -> list[Entry]:
    """Return the tasks that have a call of which nobody told the end."""
    return (await rows.query(Query(A("running") == True, limit=10_000))).items  # noqa: E712


async def find(
    rows: IndexStore,
    wanted: dict[str, str],
    order: Sequence[str],
    limit: int,
    cursor: str | None,
    most: int,
) -> Tasks:
    """Return tasks by what they are.

    :param most: bytes that one answer holds.
    :raises InvalidRequest: they are not ordered by that, or the cursor is of another query.
    """
    terms: tuple[Predicate, ...] = tuple(A(name) == text for name, text in wanted.items() if text)
    query = checked(Query(And(terms), tuple(order), limit, cursor), rows.indices)
    page = await rows.query(query)
    items: list[Task] = []
    size = 0
    for number, entry in enumerate(page.items):
        size += len(entry.value)
        if size > most and items:
            last = page.items[number - 1]
            return Tasks(items, cursor_of(query, position(query, last)))
        try:
            items.append(decode(entry).task)
        except Damaged as error:  # the others can be read
            log.error("%s", error)  # noqa: TRY400
    return Tasks(items, page.cursor)
