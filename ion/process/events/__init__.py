"""Events: what has happened, told to whoever wants to hear of its type."""

from ion.process.events.event import Event

__all__ = ["Event"]
