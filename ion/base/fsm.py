"""Finite state machines: declared with ``transitions``, stepped from a compiled table.

A ``transitions.Machine`` validates a declaration and can draw it, but costs 6 us a step and up to
20 KB an instance. So each machine is declared once, compiled to a table once, and every walk
through it is one dictionary look-up: (state, event) -> state. No clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ion.base.errors import IonError, LifecycleError

Table = Mapping[tuple[str, str], str]


class MachineSpec:
    """The declaration of a machine, and the table compiled from it.

    :param name: for messages and drawings.
    :param states: all states, the initial one first.
    :param transitions: rows of (event, source, target); source may be a list or ``"*"``.
    :param error: what an event without a row raises.
    """

    __slots__ = ("_transitions", "error", "initial", "name", "states", "table")

    def __init__(
        self,
        name: str,
        states: Sequence[str],
        transitions: Sequence[tuple[str, str | list[str], str]],
        error: type[IonError] = LifecycleError,
    ) -> None:
        self.name = name
        self.states = tuple(states)
        self.initial = states[0]
        self.error = error
        self._transitions: list[Any] = [list(row) for row in transitions]
        self.table: Table = _compile(self.machine())

    def machine(self) -> Any:
        """Return the declaration as a ``transitions.Machine`` (to draw, or to explore)."""
        from transitions import Machine

        return Machine(
            model=None,
            states=list(self.states),
            transitions=self._transitions,
            initial=self.initial,
            auto_transitions=False,
            name=self.name,
        )

    def next_state(self, state: str, event: str) -> str:
        """Return the state that ``event`` leads to.

        :raises IonError: of the class ``error``, where the event has no row in that state.
        """
        try:
            return self.table[state, event]
        except KeyError:
            allowed = ", ".join(e for s, e in self.table if s == state) or "nothing"
            message = f"{self.name}: {event!r} is not allowed in {state} (allowed: {allowed})"
            raise self.error(message) from None

    def mermaid(self) -> str:
        """Return the machine as a Mermaid state diagram, for the docs."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial}"]
        lines += [f"    {s} --> {t}: {e}" for (s, e), t in self.table.items()]
        return "\n".join(lines)


def _compile(machine: Any) -> Table:
    table: dict[tuple[str, str], str] = {}
    for event_name, event in machine.events.items():
        for source, rows in event.transitions.items():
            for row in rows:
                table.setdefault((source, event_name), row.dest or source)
    return table
