"""Life cycles of resources: how mature they are, and to whom they are available.

Each is two machines, declared as data. Events of the first change the *maturity*: it grows from a
draft to what is deployed, and ends retired or deleted. Events of the second change the
*availability*, as long as the resource is neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ion.base.errors import ConfigurationError, LifecycleError
from ion.base.fsm import MachineSpec

MATURITIES = ("DRAFT", "PLANNED", "DEVELOPED", "INTEGRATED", "DEPLOYED", "RETIRED", "DELETED")
RETIRED, DELETED = "RETIRED", "DELETED"
GONE = (RETIRED, DELETED)
PRIVATE = "PRIVATE"
AVAILABILITIES = (PRIVATE, "DISCOVERABLE", "AVAILABLE")
RETIRE, DELETE = "retire", "delete"

MAX_EVENT = 32  # characters of an event's name

Row = tuple[str, str | list[str], str]  # event, source or sources, target
_ALIVE = [state for state in MATURITIES if state not in GONE]
_ENDS: list[Row] = [
    (RETIRE, _ALIVE, RETIRED),
    (DELETE, [*_ALIVE, RETIRED], DELETED),
]
_AVAILABILITY: list[Row] = [
    ("announce", PRIVATE, "DISCOVERABLE"),
    ("unannounce", ["DISCOVERABLE", "AVAILABLE"], PRIVATE),
    ("enable", [PRIVATE, "DISCOVERABLE"], "AVAILABLE"),
    ("disable", "AVAILABLE", "DISCOVERABLE"),
]
DEFAULT = "resource"
TABLES: dict[str, dict[str, list[Row]]] = {
    DEFAULT: {
        "maturity": [
            ("plan", "DRAFT", "PLANNED"),
            ("develop", ["DRAFT", "PLANNED", "INTEGRATED"], "DEVELOPED"),
            ("integrate", ["DEVELOPED", "DEPLOYED"], "INTEGRATED"),
            ("deploy", "INTEGRATED", "DEPLOYED"),
            *_ENDS,
        ],
        "availability": _AVAILABILITY,
    },
    "simple": {
        "maturity": [
            ("deploy", "DRAFT", "DEPLOYED"),
            ("develop", "DEPLOYED", "DRAFT"),
            *_ENDS,
        ],
        "availability": _AVAILABILITY,
    },
}


class IllegalStep(LifecycleError):
    """An event that a resource's state does not allow; ``details`` has what it allows."""


class _Tables(msgspec.Struct, forbid_unknown_fields=True):
    maturity: list[Row]
    availability: list[Row] = []


class LifeCycle:
    """One life cycle.

    :param tables: rows of (event, source or sources, target), under ``maturity`` and
        ``availability``; without the latter, all of it.
    :raises ConfigurationError: they cannot be read, name a state that there is none of, or an
        event that both have.
    """

    def __init__(self, name: str, tables: Mapping[str, Any]) -> None:
        self.name = name
        try:
            given = msgspec.convert(tables, _Tables)
            self.maturity = _machine(f"{name}: maturity", MATURITIES, given.maturity)
            rows = given.availability or _AVAILABILITY
            self.availability = _machine(f"{name}: availability", AVAILABILITIES, rows)
        except (ValueError, msgspec.ValidationError) as error:
            message = f"life cycle {name!r} cannot be used: {error}"
            raise ConfigurationError(message) from error
        self._matures = {event for _, event in self.maturity.table}
        both = self._matures & {event for _, event in self.availability.table}
        if both:
            message = f"life cycle {name!r}: {sorted(both)} change maturity or availability: which?"
            raise ConfigurationError(message)

    def allowed(self, maturity: str, availability: str) -> list[str]:
        """Return the events that a state allows."""
        events = [event for state, event in self.maturity.table if state == maturity]
        if maturity not in GONE:
            events += [e for state, e in self.availability.table if state == availability]
        return events

    def step(self, maturity: str, availability: str, event: str) -> tuple[str, str]:
        """Return the maturity and the availability that an event leads to.

        What is retired or deleted is private.

        :raises IllegalStep: the state does not allow it.
        """
        if event in self._matures:
            after = self.maturity.table.get((maturity, event))
            if after is not None:
                return after, PRIVATE if after in GONE else availability
        elif maturity not in GONE and (availability, event) in self.availability.table:
            return maturity, self.availability.table[availability, event]
        state, allowed = f"{maturity}_{availability}", self.allowed(maturity, availability)
        message = (
            f"{event!r} is not allowed in {state} (allowed: {', '.join(allowed) or 'nothing'})"
        )
        details = {"state": state, "event": event, "allowed": allowed, "life_cycle": self.name}
        raise IllegalStep(message, details=details)


def life_cycles(more: Mapping[str, Any]) -> dict[str, LifeCycle]:
    """Return the life cycles that there are, by name: our own, and more, which may replace them.

    :raises ConfigurationError: one of them cannot be used.
    """
    return {name: LifeCycle(name, tables) for name, tables in {**TABLES, **more}.items()}


def _machine(name: str, states: Sequence[str], rows: Sequence[Row]) -> MachineSpec:
    """Return a machine.

    :raises ValueError: a row names a state that there is none of, or an event that is none.
    """
    for event, sources, target in rows:
        if len(event) > MAX_EVENT or not event.isidentifier() or not event.isascii():
            text = f"an event is at most {MAX_EVENT} letters, digits and _, not {event[:50]!r}"
            raise ValueError(text)
        named = {*([sources] if isinstance(sources, str) else sources), target}
        unknown = sorted(named - set(states))
        if unknown:
            text = f"{event!r} names {', '.join(unknown)}, which is none of {', '.join(states)}"
            raise ValueError(text)
    return MachineSpec(name, states, rows, IllegalStep)
