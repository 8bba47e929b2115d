"""What travels to and from the policy service."""

from __future__ import annotations

import msgspec

MAX_TEXT = 900_000  # bytes of rules: they go out in one message


class Version(msgspec.Struct, frozen=True):
    """One version of the rules.

    :ivar version: from 1 on, each one more than the one before.
    :ivar text: as a file of rules is written; "" in lists.
    :ivar actor: who has put it; "": not known.
    :ivar created: seconds since 1970, UTC.
    :ivar rules: how many it has.
    """

    version: int
    text: str = ""
    comment: str = ""
    actor: str = ""
    created: float = 0.0
    rules: int = 0


NONE_YET = Version(0)


class Given(msgspec.Struct, frozen=True):
    """The newest rules, as containers take them.

    :ivar text: "" where who asks has this version.
    :ivar seal: that it was given, in answer to this nonce, by one who has the key of the system.
    """

    version: int
    text: str = ""
    seal: str = ""
