"""Rules that messages of a type keep, declared with the type.

A rule names a field, or one within others: ``position.latitude``. Of a repeated field it holds for
each item. What is not set breaks no rule but :class:`Required`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from ion.base.errors import ConfigurationError


class Rule(Protocol):
    """One rule."""

    field: str

    def broken(self, message: Any) -> str | None:
        """Say how a message breaks it; None: it does not."""


class Required(msgspec.Struct, frozen=True):
    """A field is set: text, bytes and lists are not empty.

    In what is optional it is required where that is there.
    """

    field: str

    def broken(self, message: Any) -> str | None:
        """See :meth:`Rule.broken`."""
        *above, last = self.field.split(".")
        owners = _values(message, above)
        return "is missing" if any(not _is_set(owner, last) for owner in owners) else None


class Range(msgspec.Struct, frozen=True):
    """A number is not under ``least``, nor over ``most``, where these are given."""

    field: str
    least: float | None = None
    most: float | None = None

    def broken(self, message: Any) -> str | None:
        """See :meth:`Rule.broken`."""
        for value in _values(message, self.field.split(".")):
            is_in = self.least is None or value >= self.least
            if not (is_in and (self.most is None or value <= self.most)):
                return f"is {value}, not {_span(self.least, self.most)}"
        return None


class Length(msgspec.Struct, frozen=True):
    """Text (in characters), bytes, or the items of a list are so many."""

    field: str
    least: int = 0
    most: int | None = None

    def broken(self, message: Any) -> str | None:
        """See :meth:`Rule.broken`."""
        for value in _values(message, self.field.split("."), whole=True):
            is_in = len(value) >= self.least
            if not (is_in and (self.most is None or len(value) <= self.most)):
                return f"has {len(value)}, not {_span(self.least, self.most)}"
        return None


class Pattern(msgspec.Struct, frozen=True):
    """Text matches a regular expression, whole."""

    field: str
    regex: str

    def broken(self, message: Any) -> str | None:
        """See :meth:`Rule.broken`."""
        for value in _values(message, self.field.split(".")):
            if not re.fullmatch(self.regex, value):
                return f"is {value[:50]!r}, which does not match {self.regex}"
        return None


def check_field(descriptor: Any, rule: Rule) -> None:
    """Refuse a rule of a field that a message has not.

    :raises ConfigurationError: it has not.
    """
    found = descriptor
    for step in rule.field.split("."):
        field = found.fields_by_name.get(step) if found is not None else None
        if field is None:
            message = f"{descriptor.full_name} has no field {rule.field!r}, which a rule names"
            raise ConfigurationError(message)
        found = field.message_type


def _values(message: Any, path: list[str], *, whole: bool = False) -> Iterator[Any]:
    """Iterate the values of a field that are set; of a list each, or all of it at once."""
    if not path:
        yield message
        return
    name, rest = path[0], path[1:]
    field = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if not field.is_repeated:
        if not field.has_presence or message.HasField(name):
            yield from _values(value, rest, whole=whole)
    elif whole and not rest:
        yield value
    else:
        for each in value.values() if hasattr(value, "values") else value:
            yield from _values(each, rest, whole=whole)


def _is_set(message: Any, name: str) -> bool:
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated:
        return len(getattr(message, name)) > 0
    if field.has_presence:
        return bool(message.HasField(name))
    return bool(getattr(message, name) != field.default_value)


def _span(least: float | None, most: float | None) -> str:
    if most is None:
        return f"{least} or more"
    return f"{most} or less" if least is None else f"{least} to {most}"
