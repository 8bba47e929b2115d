"""What the repository of events is asked for, and how that is asked of an index store."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import msgspec

from ion.base import clock
from ion.base.errors import BadRequest, CodecError, InvalidRequest
from ion.messaging import codec
from ion.process.events.event import ROOT, Event, path_in
from ion.process.events.repository import Filed, Found
from ion.stores.limits import check_attributes
from ion.stores.ordering import position
from ion.stores.query import A, Absent, And, Or, Position, Predicate, Query, cursor_of
from ion.stores.store import Entry, Indices, Page

__all__ = ["Filed", "Found", "Info", "Wanted"]

INDICES: Indices = {
    "offset": "int",
    "event": "str",
    "created": "float",
    "path": "str",
    "origin": "str",
    "origin_type": "str",
    "sub_type": "str",
    "actor": "str",
}
ROWS = "e/"  # in front of the keys of events
ANY = "*"
ROW = 64  # bytes that an event takes in an answer besides its content, at most
Order = Literal["offset", "-offset", "created", "-created"]


class Wanted(msgspec.Struct, frozen=True):
    """Which events are asked for; what is None is any.

    :ivar type: name or path of a type: those below it, too.
    :ivar origin: a ``*`` at its end stands for any rest; so with the others.
    :ivar since: the least time of creation, seconds since 1970, UTC.
    :ivar until: a time that they were created before.
    """

    type: str | None = None
    origin: str | None = None
    origin_type: str | None = None
    sub_type: str | None = None
    actor: str | None = None
    since: float | None = None
    until: float | None = None


class Info(msgspec.Struct, frozen=True):
    """The repository.

    :ivar first: offset of the oldest event that is kept.
    :ivar last: the greatest offset that was given; 0: none was.
    :ivar count: how many events are kept.
    :ivar max_age: seconds that an event is kept; None: for ever.
    :ivar max_count: how many are kept; None: all.
    """

    first: int
    last: int
    count: int
    max_age: float | None
    max_count: int | None


class Arrived(msgspec.Struct, frozen=True):
    """An event that is to be kept.

    :ivar index: its attributes, but for the offset.
    :ivar published_by: as of :class:`Filed`.
    """

    id: str
    path: str
    content: dict[str, Any]
    index: dict[str, Any]
    size: int
    published_by: str = ""


def arrived(content: Any, message_id: str, timestamp: float, published_by: str = "") -> Arrived:
    """Return a message as an event that is to be kept.

    What is not known of its type is no matter here: all of it is kept as it came. Who says nowhere
    when it was (``timestamp`` is 0), means now.

    :raises BadRequest: it is no event.
    :raises InvalidRequest: one of its texts is too long to be found by.
    """
    path = path_in(content)
    if not all(isinstance(name, str) for name in content):
        message = "the fields of an event have texts as names"  # else no page with it can be read
        raise BadRequest(message)
    content = {"id": message_id, "created": timestamp or clock.now(), **content}
    base = {name: content[name] for name in Event.__struct_fields__ if name in content}
    base.pop("extra", None)
    try:
        event = msgspec.convert(base, Event)
    except msgspec.ValidationError as error:
        message = f"event {content.get('id')!r:.300} is no {path}: {error}"
        raise BadRequest(message) from None
    if not event.origin or not event.id:
        message = f"event {event.id!r} has no origin, or no id"
        raise BadRequest(message)
    index = {
        "event": event.id,
        "created": event.created,
        "path": f"{path}.",
        "origin": event.origin,
        "origin_type": event.origin_type or None,
        "sub_type": event.sub_type or None,
        "actor": event.actor or None,
    }
    check_attributes(index, INDICES)
    try:
        size = len(codec.encode(content)[0])
    except CodecError as error:  # what came as JSON may have numbers that msgpack has not
        message = f"event {event.id!r} cannot be kept: {error.message}"
        raise BadRequest(message) from None
    return Arrived(event.id, path, content, index, size, published_by)


def key_of(offset: int) -> str:
    """Return the key of the event with an offset; they are ordered as the offsets are."""
    return f"{ROWS}{offset:016d}"


def offset_of(key: str) -> int:
    """Return the offset of the event with a key."""
    return int(key.removeprefix(ROWS))


def filed(entry: Entry) -> Filed:
    """Return an event as it is kept."""
    stored, content, *rest = codec.decode(entry.value)  # older ones do not say by whom
    return Filed(offset_of(entry.key), stored, content, *rest)


def query_of(
    wanted: Wanted,
    known: Collection[str],
    order: Order = "offset",
    limit: int = 100,
    cursor: str | None = None,
    after: int | None = None,
) -> Query | None:
    """Return the query for some events; None: there can be none.

    :param known: the paths of all events that were ever kept.
    :param after: an offset: those with greater ones.
    :raises InvalidRequest: a ``*`` is not the last of a text; or ``cursor`` and ``after`` are both
        given.
    """
    terms = _terms(wanted)
    if wanted.type is not None and wanted.type != ROOT:
        of_type = type_is(wanted.type, known)
        if of_type is None:
            return None
        terms.append(of_type)
    if order != "offset" and after is not None:
        terms.append(A("offset") > after)
    if all(isinstance(term, Absent) for term in terms):
        terms.append(A("offset") >= 0)  # events only, not what else is kept beside them
    where: Predicate = terms[0] if len(terms) == 1 else And(tuple(terms))
    query = Query(where, () if order == "offset" else (order, *_then(order)), limit, cursor)
    if after is None or order != "offset":
        return query
    if cursor is not None:
        message = "give the cursor of a page, or the offset to go on after; not both"
        raise InvalidRequest(message)
    # Where a page would have ended there: the engine begins at that key, and reads none before.
    start = cursor_of(query, Position((), key_of(max(after, 0)).encode()))
    return msgspec.structs.replace(query, cursor=start)


def _then(order: Order) -> tuple[str, ...]:
    """Return what decides among events that were created at the same time."""
    if order.endswith("offset"):
        return ()
    return ("-offset",) if order.startswith("-") else ("offset",)


def _terms(wanted: Wanted) -> list[Predicate]:
    terms: list[Predicate] = []
    for name in ("origin", "origin_type", "sub_type", "actor"):
        text = getattr(wanted, name)
        if text is not None and text != ANY:  # which an empty one is like, too
            terms.append(_term(name, text))
    if wanted.since is not None:
        terms.append(A("created") >= float(wanted.since))
    if wanted.until is not None:
        terms.append(A("created") < float(wanted.until))
    return terms


def _term(name: str, text: str) -> Predicate:
    if not text:
        return A(name).is_absent()
    if ANY not in text:
        return A(name) == text
    if ANY in text[:-1]:
        message = f"{name} {text!r}: in the repository a '*' can only be the last of a text"
        raise InvalidRequest(message)
    return A(name).begins_with(text[:-1])


def type_is(name: str, known: Collection[str]) -> Predicate | None:
    """Return what is true of the events of a type and below; None: there are none.

    :param name: of the type, or its path.
    :param known: the paths of all events that were ever kept.
    :raises InvalidRequest: it is neither.
    """
    roots = [name]
    if "." in name and not name.startswith(f"{ROOT}."):
        message = f"{name!r:.300} is no type of events: give its name, or its path from {ROOT!r} on"
        raise InvalidRequest(message)
    if "." not in name:  # a name: of a type, wherever it stands
        roots = sorted({_up_to(name, path) for path in known if name in path.split(".")})
    terms = tuple(A("path").begins_with(f"{root}.") for root in roots)
    return None if not terms else terms[0] if len(terms) == 1 else Or(terms)


def _up_to(name: str, path: str) -> str:
    names = path.split(".")
    return ".".join(names[: names.index(name) + 1])


def fitting(query: Query, page: Page[Entry], most: int) -> tuple[list[Filed], str | None]:
    """Return a page's events, cut to what one answer holds, and the cursor of the next.

    :param most: bytes.
    """
    size, cursor = 0, page.cursor
    events: list[Filed] = []
    for entry in page.items:
        size += len(entry.value) + ROW
        if size > most and events:
            cursor = cursor_of(query, position(query, page.items[len(events) - 1]))
            break
        events.append(filed(entry))
    return events, cursor
