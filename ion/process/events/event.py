"""An event: something that has happened to something, as an object of a type.

The name of a type is the name of its class, and what is above it its base classes: an event carries
the names from :class:`Event` down as its *path*, as in ``Event.ResourceEvent.ResourceModified``.
So who knows only ``ResourceEvent`` hears of a type that was made later, as one of these.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ion.base.errors import BadRequest

ROOT = "Event"
_TYPE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


class Event(msgspec.Struct, kw_only=True):
    """Something that has happened; make a subclass for each type of event.

    One object is one event: published again, it is the same one, which is known by its id.

    :ivar origin: what it has happened to, or who tells: any text.
    :ivar origin_type: what kind of thing that is, as ``Instrument``.
    :ivar sub_type: says more than the type does, as ``renamed``.
    :ivar actor: on whose behalf; filled at publishing from the call that is being handled.
    :ivar created: when, seconds since 1970, UTC; filled at publishing.
    :ivar id: filled at publishing; unique for ever.
    :ivar path: its type; filled at publishing. Longer than that of its class where it was heard by
        someone who does not know its type.
    :ivar extra: what came with it that its class has no fields for.
    """

    origin: str
    origin_type: str = ""
    sub_type: str = ""
    description: str = ""
    actor: str = ""
    created: float = 0.0
    id: str = ""
    path: str = ""
    extra: dict[str, Any] = {}

    def __init_subclass__(cls) -> None:
        bases = [base for base in cls.__bases__ if issubclass(base, Event)]
        if len(bases) > 1 or not _TYPE_NAME.match(cls.__name__):
            message = (
                f"event type {cls.__qualname__}: give it a name of letters, digits and '_', and "
                "one type of event as its base"
            )
            raise TypeError(message)

    @property
    def type(self) -> str:
        """The name of its type, which is that of its class, or of one below it."""
        return (self.path or path_of(type(self))).rpartition(".")[2]


E = TypeVar("E", bound=Event)


@functools.lru_cache(maxsize=1024)
def path_of(cls: type[Event]) -> str:
    """Return the path of a type: names from the root down, with dots between."""
    names = [c.__name__ for c in cls.__mro__ if issubclass(c, Event)]
    return ".".join(reversed(names))


def is_within(path: str, above: str) -> bool:
    """Return whether a path is that of a type, or of one below it."""
    return path == above or path.startswith(f"{above}.")


def content_of(event: Event) -> dict[str, Any]:
    """Return what an event travels as: its fields, and what came with it beside these."""
    content = msgspec.structs.asdict(event)
    extra = content.pop("extra")
    return {**extra, **content} if extra else content


def event_from(content: Any, known: type[E]) -> E:
    """Return the event that some content is: of its type, or of the nearest one known above it.

    :param known: a type that it is of, or below.
    :raises BadRequest: it is no event, or does not fit its type; the message says what is wrong.
    """
    path = path_in(content)
    cls = nearest(known, path)
    fields = cls.__struct_fields__
    extra = {key: value for key, value in content.items() if key not in fields}
    try:
        return msgspec.convert({**content, "extra": extra} if extra else content, cls)
    except msgspec.ValidationError as error:
        message = f"event {content.get('id')!r} is no {path}: {error}"
        raise BadRequest(message, details={"event": path}) from None


def path_in(content: Any) -> str:
    """Return the path in an event's content.

    :raises BadRequest: there is none.
    """
    path = content.get("path") if isinstance(content, Mapping) else None
    if not isinstance(path, str) or not is_within(path, ROOT):
        what = f"path {path!r:.100}" if isinstance(content, Mapping) else type(content).__name__
        message = f"this is no event: a map with a 'path' that begins with {ROOT!r}, not {what}"
        raise BadRequest(message)
    return path


def nearest(known: type[E], path: str) -> type[E]:
    """Return the class of a path, as far down from ``known`` as there are classes."""
    own = path_of(known)
    if path == own or not path.startswith(f"{own}."):
        return known
    for name in path[len(own) + 1 :].split("."):
        below = [cls for cls in known.__subclasses__() if cls.__name__ == name]
        if not below:
            break
        known = below[-1]  # what was made last, where a module was loaded again
    return known
