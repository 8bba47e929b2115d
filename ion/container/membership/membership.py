"""Who is there: what the beats of a system's containers tell, as a pure core.

It is told of beats, of ticks and of looks at queues, and returns what is to be done. A container
judges others only while it hears itself: what was cut off, or asleep, has heard nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

CROWD = 50  # containers; where there are more, each beats more seldom
SILENT_BEATS = 2.5  # of its own, that a container that beats seldom may be silent for
LOST_BEATS = 10.0
MANY = 5000  # containers that are known by beats that are not sealed; twice as many by all
SELDOM = 600.0  # seconds: nobody beats more seldom, whatever it says: it would never be lost
LONG = 200  # bytes of a container id: a queue's name, which is longer, may have 255

Holding = tuple[int, str]  # fencing token, and file of the app


class Beat(msgspec.Struct, omit_defaults=True):
    """What a container says of itself. What is unknown in it is of a newer one, and ignored.

    :ivar container: its id.
    :ivar number: of its beats.
    :ivar started: when it was, seconds since 1970: another one of the same id began anew.
    :ivar every: seconds until the next one.
    :ivar leaving: it is the last one.
    :ivar apps: the failover apps that it holds, by name.
    :ivar stopped: those that were stopped, with the token they had: nobody is to start them.
    :ivar sent: when, seconds since 1970.
    """

    container: str
    number: int
    started: float
    every: float = 1.0
    leaving: bool = False
    apps: dict[str, Holding] = {}
    stopped: dict[str, int] = {}
    sent: float = 0.0


class Member(msgspec.Struct):
    """A container of the system, as the others see it.

    :ivar beat: the last one.
    :ivar heard: when that came, on this container's clock.
    :ivar limit: seconds of silence after which it is looked for.
    :ivar lost: seconds of silence after which it is lost.
    :ivar asked: when its queue was looked at last; 0.0: not since it was heard.
    :ivar is_sealed: it has shown that it has the key: without, it is not believed any more.
    :ivar is_steady: it was heard more than once.
    """

    beat: Beat
    heard: float
    limit: float
    lost: float
    asked: float = 0.0
    is_sealed: bool = True
    is_steady: bool = False

    @property
    def id(self) -> str:
        """Its container id."""
        return self.beat.container


class Look(msgspec.Struct, frozen=True):
    """Find out whether the queue of a silent container is there."""

    container: str


class Joined(msgspec.Struct, frozen=True):
    """A container is there that was not, or not any more."""

    container: str
    again: bool = False


class Gone(msgspec.Struct, frozen=True):
    """A container is not there any more.

    :ivar why: "" where it has said goodbye.
    """

    container: str
    why: str = ""


Change = Look | Joined | Gone


class Membership:
    """The containers of a system, by id.

    :param own: this container.
    :param every: seconds between two of its beats.
    :param suspect_after: seconds of silence after which a container is looked for.
    :param lost_after: seconds of silence after which it is lost, whatever its queue says.
    """

    def __init__(
        self, own: str, *, every: float, suspect_after: float, lost_after: float, now: float
    ) -> None:
        self._own = own
        self._every = every
        self._suspect_after = suspect_after
        self._lost_after = lost_after
        self._members: dict[str, Member] = {}
        self._steady = 0  # members that were heard more than once
        self.is_full = False  # some were not let in
        self._over: dict[str, tuple[Beat, bool]] = {}  # last beats of who is gone; whether lost
        self._heard_self = now
        self._ticked = now

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def find(self, container: str) -> Member | None:
        """Return what is known of a container; None where it is not there."""
        return self._members.get(container)

    @property
    def every(self) -> float:
        """Seconds between two beats: the more containers go on beating, the longer."""
        return self._every * max(1.0, self._steady / CROWD)

    def silent(self, now: float) -> list[str]:
        """Return who is there, as far as is known, but has not been heard for too long."""
        return [m.id for m in self if m.id != self._own and now - m.heard > m.limit]

    def is_deaf(self, now: float) -> bool:
        """Whether this container's own beats do not come back."""
        return now - self._heard_self > max(self._suspect_after, SILENT_BEATS * self.every)

    def heard(self, beat: Beat, now: float, *, sealed: bool = True) -> list[Change]:
        """Take a beat.

        :param sealed: who has sent it has the key of the system. Anybody can send one that is not:
            it makes nobody go, nor another one of somebody who seals. One of a container that was
            started again is believed once the one before has been silent for long enough.
        """
        member = self._members.get(beat.container)
        if member is not None and not self._is_believed(beat, member, sealed=sealed):
            return []
        last, was_lost = self._over.get(beat.container, (None, False))
        if member is None and last is not None and _is_of_before(beat, last):
            return []
        if beat.container == self._own:
            self._hear_self(now)
        changes: list[Change] = []
        if member is not None and member.beat.started < beat.started:
            self._remove(member)
            changes.append(Gone(beat.container, "another one has its name"))
            member = None
        if member is None:
            if beat.leaving or not self._has_room(beat, sealed=sealed):
                return changes
            self._over.pop(beat.container, None)
            again = was_lost and last is not None and last.started == beat.started
            changes.append(Joined(beat.container, again))
        self._enter(beat, now, member, sealed=sealed)
        return changes

    def _is_believed(self, beat: Beat, member: Member, *, sealed: bool) -> bool:
        """Return whether a beat is one of the container that it names, as that is known."""
        started = member.beat.started
        if sealed:  # one that was known by what anybody could say does not count
            return not member.is_sealed or not _is_of_before(beat, member.beat)
        return beat.started == started and not member.is_sealed

    def _has_room(self, beat: Beat, *, sealed: bool) -> bool:
        limit = 2 * MANY if sealed else MANY
        if beat.container == self._own or len(self._members) < limit:
            return True
        self.is_full = True
        return False

    def _enter(self, beat: Beat, now: float, before: Member | None, *, sealed: bool) -> None:
        every = min(beat.every, SELDOM) if beat.every > 0 else self._every
        limit = max(self._suspect_after, SILENT_BEATS * every)
        lost = max(self._lost_after, LOST_BEATS * every)
        is_steady = before is not None
        self._steady += is_steady and not (before is not None and before.is_steady)
        sealed = sealed or (before is not None and before.is_sealed)
        self._members[beat.container] = Member(beat, now, limit, lost, 0.0, sealed, is_steady)

    def _remove(self, member: Member) -> None:
        del self._members[member.id]
        self._steady -= member.is_steady

    def _hear_self(self, now: float) -> None:
        if self.is_deaf(now):
            self._begin_anew(now)
        self._heard_self = now

    def _begin_anew(self, now: float) -> None:
        """Give everybody time: they may be cut off, too, and come back later than this one."""
        for member in self:
            member.heard, member.asked, member.limit = now, 0.0, member.lost

    def tick(self, now: float) -> list[Change]:
        """Take note of the time: to be called more often than anybody may be silent."""
        asleep = now - self._ticked > max(self._suspect_after, self.every)  # in a crowd: seldom
        self._ticked = now
        if asleep:  # what the others have said meanwhile is still to be read
            self._begin_anew(now)
        if self.is_deaf(now):
            return []
        changes: list[Change] = []
        for member in [m for m in self if m.id != self._own and now - m.heard > m.limit]:
            silent = now - member.heard
            if member.beat.leaving:
                changes.append(self._give_up(member, ""))
            elif silent > member.lost:
                changes.append(self._give_up(member, f"it has been silent for {silent:.1f} s"))
            elif now - max(member.asked, member.heard) > self._suspect_after:
                member.asked = now
                changes.append(Look(member.id))
        return changes

    def looked(self, container: str, *, is_there: bool, now: float) -> list[Change]:
        """Take what a look at the queue of a container has shown."""
        member = self._members.get(container)
        if member is None or is_there or now - member.heard <= member.limit:
            return []
        return [self._give_up(member, "its connection to the broker is gone")]

    def _give_up(self, member: Member, why: str) -> Gone:
        self._remove(member)
        if member.is_sealed:
            self._over.pop(member.id, None)
            self._over[member.id] = (member.beat, bool(why))
            while len(self._over) > MANY:
                del self._over[next(iter(self._over))]
        return Gone(member.id, why)


def _is_of_before(beat: Beat, known: Beat) -> bool:
    """Tell whether a beat is none after ``known``: it is said again, by whoever has heard it."""
    return (beat.started, beat.number) <= (known.started, known.number)


def beat_of(content: Any) -> Beat:
    """Return the beat that a message's content says.

    :raises msgspec.ValidationError: it is none.
    """
    beat = msgspec.convert(content, Beat)
    if not 0 < len(beat.container.encode()) <= LONG or "." in beat.container:
        message = "no container has such an id"
        raise msgspec.ValidationError(message)
    return beat
