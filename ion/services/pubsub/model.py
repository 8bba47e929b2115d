"""What is registered: exchange spaces, points in them, topics under a point, subscriptions.

A point is named by its path: ``ctd`` in the system's own space, ``lab/ctd`` in space ``lab``. So it
is given to ``publish`` and ``subscribe``, too. Names of topics and subscriptions belong to a point.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ion.base.errors import ConfigurationError, InvalidRequest
from ion.base.ids import checked_name
from ion.messaging.address import OWN_SPACE

SYSTEM = OWN_SPACE  # the space that services and processes live on
EVENTS = "events"
Kind = Literal["space", "point", "topic", "subscription"]
QueueKind = Literal["classic", "quorum"]


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of the registry.

    :ivar name: of a space, topic or subscription; of a point its path.
    :ivar space: that it is in, of a point; of what belongs to a point that point's.
    :ivar point: path of the point that a topic or subscription belongs to, else "".
    :ivar owner: who has declared it, or "".
    :ivar created: seconds since 1970.
    :ivar patterns: of a topic; or those that a subscription is bound with, besides those of
        ``named``, its registered topics.
    :ivar stale: patterns that a subscription is to be bound with no more.
    :ivar expires: of a subscription: seconds without a consumer after which the broker deletes its
        queue; 0: never.
    :ivar going: it is being undeclared: by force, or not.
    """

    kind: Kind
    name: str
    space: str = ""
    point: str = ""
    description: str = ""
    owner: str = ""
    created: float = 0.0
    patterns: list[str] = []
    named: list[str] = []
    stale: list[str] = []
    queue: QueueKind = "classic"
    expires: float = 0.0
    going: Literal["", "unused", "forced"] = ""

    @property
    def key(self) -> str:
        """Its key in the store."""
        return key_of(self.kind, self.name, self.point)


class Space(msgspec.Struct, frozen=True):
    """An exchange space.

    :ivar exchange: its exchange at the broker.
    :ivar created: seconds since 1970.
    """

    name: str
    exchange: str
    description: str = ""
    owner: str = ""
    created: float = 0.0


class Point(msgspec.Struct, frozen=True):
    """An exchange point.

    :ivar name: its path: ``ctd``, or ``lab/ctd``, as publishers and subscribers name it.
    :ivar exchange: its exchange at the broker.
    :ivar created: seconds since 1970.
    """

    name: str
    space: str
    exchange: str
    description: str = ""
    owner: str = ""
    created: float = 0.0


class Topic(msgspec.Struct, frozen=True):
    """A registered topic: a name for patterns that belong together.

    :ivar point: path of its point.
    :ivar created: seconds since 1970.
    """

    name: str
    point: str
    patterns: list[str]
    description: str = ""
    owner: str = ""
    created: float = 0.0


class Registered(msgspec.Struct, frozen=True):
    """A registered subscription, and how it stands at the broker.

    :ivar point: path of its point.
    :ivar topics: the patterns that its queue is bound with.
    :ivar named: the registered topics that some of those come from.
    :ivar queue: its queue at the broker.
    :ivar messages: how many wait in it; None: there is no such queue.
    :ivar consumers: how many take from it.
    :ivar created: seconds since 1970.
    :ivar expires: seconds without a consumer after which the broker deletes its queue; 0: never.
    """

    name: str
    point: str
    topics: list[str]
    named: list[str]
    queue: str
    messages: int | None
    consumers: int
    description: str = ""
    owner: str = ""
    created: float = 0.0
    expires: float = 0.0


class Gone(msgspec.Struct, frozen=True):
    """What was undeclared.

    :ivar found: whether there was one.
    :ivar messages: how many messages were dropped with its queue.
    """

    found: bool
    messages: int = 0


class Some(msgspec.Struct, frozen=True):
    """Some of many.

    :ivar cursor: gives the next ones; None: these are the last.
    """

    items: list[Any]
    cursor: str | None = None


def key_of(kind: Kind, name: str, point: str = "") -> str:
    """Return the key of a row."""
    return f"{kind}/{point}/{name}" if point else f"{kind}/{name}"


def name_of(given: str, what: str) -> str:
    """Return a name that came.

    :raises InvalidRequest: it is none.
    """
    try:
        return checked_name(given, what)
    except ConfigurationError as error:
        raise InvalidRequest(error.message) from error


def path_of(given: str) -> str:
    """Return the path of a point that came, in its one form.

    :raises InvalidRequest: it is none.
    """
    space, slash, name = given.rpartition("/")
    name_of(name, "exchange point")
    if slash:
        name_of(space, "exchange space")
    return name if space in ("", SYSTEM) else f"{space}/{name}"


def space_of(path: str) -> str:
    """Return the space that a point is in."""
    return path.rpartition("/")[0] or SYSTEM
