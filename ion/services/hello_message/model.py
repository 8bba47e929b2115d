"""The messages of the hello_message service, as the service and its client both see them.

A struct travels as a map. What arrives is checked against the annotations before the op runs, so
that an op never sees a person without a name. Dataclasses would do as well.
"""

from __future__ import annotations

from msgspec import Struct


class Person(Struct, kw_only=True):
    """Somebody to greet."""

    name: str
    languages: list[str] = []


class Greeting(Struct, kw_only=True):
    """A greeting, and whom it is for."""

    text: str
    language: str
    person: Person
