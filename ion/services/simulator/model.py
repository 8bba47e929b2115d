"""What can be wrong with the simulated device, and what it tells of itself."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from ion.base.errors import ApplicationError

Fault = Literal[
    "garbage",  # bytes that are no text, between sentences
    "half_lines",  # sentences without their second half
    "checksums",  # sentences whose checksums are wrong
    "silence",  # it is connected, and says nothing
    "flood",  # sentences without pause
    "drip",  # one byte at a time
    "close",  # the connection is closed after each sentence or two
    "refuse",  # nobody may connect, and who is connected is thrown out
    "huge_lines",  # text without an end of line
]
FAULTS: tuple[str, ...] = get_args(Fault)


class UnknownFault(ApplicationError):
    """There is no such way to behave badly."""


class ImpossibleSpell(ApplicationError):
    """It is at no time, or there are too many already."""


class Spell(msgspec.Struct, frozen=True):
    """A time of bad behaviour.

    :ivar after: seconds from now, or from the start of the simulator.
    :ivar seconds: how long it lasts.
    """

    fault: Fault
    after: float = 0.0
    seconds: float = 10.0


class Status(msgspec.Struct, frozen=True):
    """What the simulator is at.

    :ivar faults: how it behaves badly just now.
    :ivar settings: what was set by sentences: ``rate`` (Hz), ``sentences``.
    """

    host: str
    port: int
    connections: int
    accepted: int
    sent: int
    faults: list[str]
    settings: dict[str, Any] = {}
