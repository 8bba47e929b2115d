"""The fields of an event, checked against its type where it is told, as they are where it is heard.

A field that its type does not allow would be a dead letter of whoever knows the type, far from the
program that is wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from ion.base.errors import BadRequest, CodecError
from ion.messaging import codec
from ion.process.events.event import Event, content_of

_WHOLE = (  # an object of these passes as it is: what is in it is seen only once it has travelled
    inspect.StructType,
    inspect.DataclassType,
    inspect.NamedTupleType,
)


def checked_content(event: Event) -> dict[str, Any]:
    """Return what an event travels as.

    :raises BadRequest: a field is not what its type says; the message says type, field and what it
        should be.
    """
    cls, content = type(event), content_of(event)
    if event.extra:
        _check_extra(event)
    if is_plain(cls):
        try:
            msgspec.convert(content, cls)
        except (msgspec.ValidationError, TypeError, UnicodeEncodeError):
            pass  # it may be one by the time it has travelled: a number of numpy, say
        else:
            return content
    _check_travelled(event, content)
    return content


def _check_travelled(event: Event, content: dict[str, Any]) -> None:
    """Check an event as whoever hears it does."""
    try:
        body, content_type = codec.encode(content)
        msgspec.convert(codec.decode(body, content_type), type(event))
    except CodecError:
        return  # it is said where it is sent: another content type may do
    except (msgspec.ValidationError, TypeError) as error:
        message, field = str(error), ""
        what, at, where = message.partition(" - at `$.")
        if at:
            field = where.rstrip("`")
            message = f"field {field}: {what[:1].lower()}{what[1:]}"
        raise _wrong(event, message, field) from None


def _check_extra(event: Event) -> None:
    extra: Any = event.extra
    if isinstance(extra, dict) and all(isinstance(name, str) for name in extra):
        return
    raise _wrong(event, "field extra: expected a map with texts as names", "extra")


def _wrong(event: Event, what: str, field: str = "") -> BadRequest:
    message = f"this is no {event.type}: {what}"
    return BadRequest(message, details={"event": event.path, "field": field})


@functools.lru_cache(maxsize=1024)
def is_plain(cls: type[Event]) -> bool:
    """Return whether all that is in a type's fields is seen without taking objects apart."""
    try:
        described = inspect.type_info(cls)
    except TypeError:
        return False
    fields = getattr(described, "fields", ())
    return not any(_is_whole(field.type) for field in fields)


def _is_whole(described: inspect.Type) -> bool:
    return any(isinstance(part, _WHOLE) for part in _parts(described))


def _parts(described: inspect.Type) -> Iterator[inspect.Type]:
    """Iterate a type and those that it is made of, but what is in an object."""
    yield described
    for name in ("type", "item_type", "key_type", "value_type"):
        part = getattr(described, name, None)
        if isinstance(part, inspect.Type):
            yield from _parts(part)
    for name in ("types", "item_types"):
        for part in getattr(described, name, ()):
            yield from _parts(part)
