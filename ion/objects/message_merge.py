"""Three-way merge of protobuf messages, field by field.

A field (or a oneof, as one) that one side changed is taken; what both changed, each in its own way,
is a conflict, where ours stays. Messages within are merged in turn, maps key by key; a list is one
value. Fields that this release does not know are kept, or are a conflict of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ion.objects.thawing import NOTHING
from ion.objects.types import Conflicts


class UnknownDiffer(Exception):
    """Both sides changed fields that are not known here, each in its own way."""


def merged(base: Any, ours: Any, theirs: Any) -> tuple[Any, Conflicts]:
    """Return the merged message, and its conflicts: (field, base, ours, theirs).

    :param base: of the same class; None: there was none.
    :raises UnknownDiffer: see there.
    """
    conflicts: Conflicts = []
    before = type(ours)() if base is None else base
    result = _messages(before, ours, theirs, "", conflicts)
    return result, conflicts


def _messages(base: Any, ours: Any, theirs: Any, above: str, conflicts: Conflicts) -> Any:
    result = type(ours)()
    for fields in _units(ours.DESCRIPTOR):
        was, mine, other = (_part(side, fields) for side in (base, ours, theirs))
        if other in (mine, was):
            result.MergeFromString(mine)
        elif was == mine:
            result.MergeFromString(other)
        else:
            _both(base, ours, theirs, fields, result, above, conflicts)
    result.MergeFromString(_unknown(base, ours, theirs))
    return result


def _both(
    base: Any, ours: Any, theirs: Any, fields: list[Any], result: Any, above: str, found: Conflicts
) -> None:
    """Merge a field that both sides have changed into ``result``."""
    field = fields[0]
    name = f"{above}{field.name}"
    if len(fields) == 1 and _is_map(field):
        _maps(base, ours, theirs, field, result, above, found)
        return
    is_message = field.message_type is not None and not field.is_repeated
    both = ours.HasField(field.name) and theirs.HasField(field.name) if is_message else False
    if len(fields) == 1 and both:
        sides = [getattr(side, field.name) for side in (base, ours, theirs)]
        getattr(result, field.name).CopyFrom(
            _messages(sides[0], sides[1], sides[2], f"{name}.", found)
        )
        return
    result.MergeFromString(_part(ours, fields))
    if len(fields) > 1:
        name = f"{above}{field.containing_oneof.name}"
    found.append((name, *[_value(side, fields) for side in (base, ours, theirs)]))


def _maps(
    base: Any, ours: Any, theirs: Any, field: Any, result: Any, above: str, found: Conflicts
) -> None:
    was, mine, other = (
        {key: _entry(side, field, key) for key in getattr(side, field.name)}
        for side in (base, ours, theirs)
    )
    for key in sorted({*was, *mine, *other}):
        states = [side.get(key, b"") for side in (was, mine, other)]
        if states[1] in (states[2], states[0]):
            result.MergeFromString(states[2])
            continue
        result.MergeFromString(states[1])
        if states[0] != states[2]:
            values = [_at(side, field, key) for side in (base, ours, theirs)]
            found.append((f"{above}{field.name}[{key}]", *values))


def _entry(message: Any, field: Any, key: Any) -> bytes:
    """Return one entry of a map field, as a message that has this alone is written."""
    alone = type(message)()
    value = getattr(message, field.name)[key]
    if hasattr(value, "CopyFrom"):
        getattr(alone, field.name)[key].CopyFrom(value)
    else:
        getattr(alone, field.name)[key] = value
    return _written(alone)


def _at(message: Any, field: Any, key: Any) -> Any:
    return dict(getattr(message, field.name)).get(key, NOTHING)


def _units(descriptor: Any) -> Iterator[list[Any]]:
    """Iterate what is changed as one: fields, and oneofs with all of theirs."""
    for field in descriptor.fields:
        if field.containing_oneof is None:
            yield [field]
    for oneof in descriptor.oneofs:
        yield list(oneof.fields)


def _part(message: Any, fields: list[Any]) -> bytes:
    """Return what a message that has these fields alone is written as; empty: none is set."""
    alone = type(message)()
    for field in fields:
        value = getattr(message, field.name)
        if _is_map(field):
            for key in value:
                alone.MergeFromString(_entry(message, field, key))
        elif field.is_repeated:
            getattr(alone, field.name).extend(value)
        elif field.has_presence and not message.HasField(field.name):
            continue
        elif field.message_type is not None:
            getattr(alone, field.name).CopyFrom(value)
        else:
            setattr(alone, field.name, value)
    return _written(alone)


def _value(message: Any, fields: list[Any]) -> Any:
    for field in fields:
        if field.is_repeated:
            return list(getattr(message, field.name))
        if not field.has_presence or message.HasField(field.name):
            return getattr(message, field.name)
    return NOTHING


def _unknown(base: Any, ours: Any, theirs: Any) -> bytes:
    was, mine, other = (_unknown_of(side) for side in (base, ours, theirs))
    if other in (mine, was):
        return mine
    if mine == was:
        return other
    raise UnknownDiffer


def _unknown_of(message: Any) -> bytes:
    rest = type(message)()
    rest.CopyFrom(message)
    for field in rest.DESCRIPTOR.fields:
        rest.ClearField(field.name)
    return _written(rest)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _written(message: Any) -> bytes:
    data: bytes = message.SerializePartialToString(deterministic=True)
    return data
