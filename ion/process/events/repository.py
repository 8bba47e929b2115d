"""Events as the repository keeps them: what its service, its clients and replays have in common."""

from __future__ import annotations

from typing import Any

import msgspec

from ion.process.events.event import Event, event_from

REPOSITORY = "events"  # name of the service


class Filed(msgspec.Struct, frozen=True):
    """An event in the repository.

    :ivar offset: its number there; later ones have greater ones, and none is used twice.
    :ivar stored: when it came there, seconds since 1970, UTC.
    :ivar content: what it travels as.
    :ivar published_by: the actor who published it, as was checked; "": nobody known; None: that
        was not kept.
    """

    offset: int
    stored: float
    content: dict[str, Any]
    published_by: str | None = None

    @property
    def event(self) -> Event:
        """The event, as an object of its type or of the nearest one above that is known here.

        :raises BadRequest: it does not fit its type as it is known here.
        """
        return event_from(self.content, Event)


class Found(msgspec.Struct, frozen=True):
    """Some events of the repository.

    :ivar cursor: gives the next ones; None: these are the last.
    :ivar first: offset of the oldest one that is kept, of any; ``last + 1`` where none is.
    :ivar last: the greatest offset that was given; 0: none was.
    """

    events: list[Filed]
    cursor: str | None = None
    first: int = 1
    last: int = 0


class Place(msgspec.Struct, frozen=True):
    """How far the replay for a durable subscription is.

    :ivar owner: pid of the process that replays, or "".
    :ivar until: when it loses that, unless it says something before; seconds since 1970, UTC.
    :ivar after: offset of the last event that was handled.
    :ivar done: nothing is left to be replayed.
    """

    owner: str = ""
    until: float = 0.0
    after: int = 0
    done: bool = False
