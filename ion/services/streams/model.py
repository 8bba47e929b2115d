"""What travels to and from the service ``streams``, and what it keeps of each stream."""

from __future__ import annotations

import msgspec

from ion.base.errors import Conflict, InvalidRequest
from ion.process.granules.definition import StreamDefinition

MAX_KEEP = 10**12


class Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a stream is kept; what is older goes.

    :ivar granules: so many of the last; None: all.
    :ivar seconds: what was published within the last; None: for ever.
    """

    granules: int | None = None
    seconds: float | None = None

    def check(self) -> None:
        """Refuse what makes no sense.

        :raises InvalidRequest: the message says what.
        """
        for name, value in (("granules", self.granules), ("seconds", self.seconds)):
            if value is not None and not 0 < value <= MAX_KEEP:
                message = f"keep {name}: more than 0, and at most {MAX_KEEP:g}, not {value!r}"
                raise InvalidRequest(message)


class Stream(msgspec.Struct, frozen=True):
    """A stream as it is registered.

    :ivar definitions: its versions, the newest last; none: anything may be published.
    :ivar keep: how much of it is kept; None: it is not persisted.
    :ivar created: seconds since 1970, UTC.
    :ivar ends: it is being deleted.
    """

    name: str
    definitions: tuple[StreamDefinition, ...] = ()
    keep: Keep | None = None
    description: str = ""
    created: float = 0.0
    ends: bool = False

    def with_definition(self, definition: StreamDefinition | None) -> Stream:
        """Return it with a definition as its newest; the same once more changes nothing.

        :raises Conflict: it breaks readers of the one before, or is another one of that version.
        """
        if definition is None or definition in self.definitions:
            return self
        if self.definitions:
            newest = self.definitions[-1]
            found = definition.breaks(newest)
            if definition.version <= newest.version:
                found.insert(0, f"version {newest.version} is there: {definition.version} is used")
            if found:
                message = f"stream {self.name!r} goes on as it is: {'; '.join(found)}"
                raise Conflict(message, details={"stream": self.name, "breaks": found})
        return msgspec.structs.replace(self, definitions=(*self.definitions, definition))


class Described(msgspec.Struct, frozen=True):
    """A stream with what is kept of it.

    :ivar first, last: offsets of the oldest and newest granule that is kept; 0: none is.
    :ivar since: publishing time of the newest granule so far, seconds since 1970; 0.0: none yet.
    :ivar bytes: of all that was kept since the stream is persisted.
    :ivar waiting: granules that wait to be kept.
    :ivar persisting: whether the instance that answers is the one that keeps it.
    """

    stream: Stream
    first: int = 0
    last: int = 0
    since: float = 0.0
    bytes: int = 0
    waiting: int = 0
    persisting: bool = False


class Kept(msgspec.Struct, frozen=True):
    """A granule that is kept, as it travels to who reads.

    :ivar offset: 1, 2, ... in the order of the stream.
    :ivar granule: its message; None: there is none now, and this is a sign of life.
    """

    offset: int
    granule: bytes | None = None
