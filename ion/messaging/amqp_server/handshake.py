"""The words at the beginning of a connection: who is there, what was agreed on."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pamqp import commands

from ion.base.errors import CodecError
from ion.base.version import __version__
from ion.messaging.amqp.field_table import decode_table
from ion.messaging.amqp_server.faults import NOT_ALLOWED, SYNTAX_ERROR, ConnectionFault

MECHANISMS = "PLAIN AMQPLAIN"
PRODUCT = "ION"
MIN_FRAME = 4096
_PARTS = 3  # of a PLAIN response: authorization id, user, password
_CAPABILITIES = {
    "publisher_confirms": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": False,
    "connection.blocked": True,
    "authentication_failure_close": True,
    "consumer_priorities": True,
    "per_consumer_qos": True,
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What the server offers, or what both sides agreed on.

    :ivar channels: how many a connection may have.
    :ivar frame_max: the largest frame, in bytes.
    :ivar heartbeat: seconds; 0: none.
    """

    channels: int = 2047
    frame_max: int = 131_072
    heartbeat: int = 60

    def tune(self) -> commands.Connection.Tune:
        """Return the offer."""
        return commands.Connection.Tune(self.channels, self.frame_max, self.heartbeat)

    def agreed(self, answer: commands.Connection.TuneOk) -> Terms:
        """Return what holds after the client's answer.

        :raises ConnectionFault: it wants more than was offered, or impossibly little.
        """
        frame_max = answer.frame_max or self.frame_max
        if not MIN_FRAME <= frame_max <= self.frame_max:
            words = f"frame_max {frame_max} is not from {MIN_FRAME} to {self.frame_max}"
            raise ConnectionFault(NOT_ALLOWED, words)
        channels = answer.channel_max or self.channels
        if channels > self.channels:
            words = f"channel_max {channels} is over {self.channels}"
            raise ConnectionFault(NOT_ALLOWED, words)
        return Terms(channels, frame_max, answer.heartbeat or 0)


def start(sysname: str) -> commands.Connection.Start:
    """Return the server's first words."""
    properties: Any = {
        "product": PRODUCT,
        "version": __version__,
        "platform": "Python",
        "information": "the memory bus of one container; for use on one machine",
        "cluster_name": sysname,
        "capabilities": _CAPABILITIES,
    }
    return commands.Connection.Start(0, 9, properties, MECHANISMS, "en_US")


@dataclass(frozen=True, slots=True)
class Account:
    """The one user that the server knows."""

    user: str
    password: str = field(repr=False)

    def admits(self, answer: commands.Connection.StartOk) -> bool:
        """Tell whether the client is this user.

        :raises ConnectionFault: its words cannot be read.
        """
        user, password = _login(answer.mechanism, answer.response)
        # Both are compared in any case, in a time that does not tell how much of them was right.
        good_user = hmac.compare_digest(user, self.user.encode())
        return hmac.compare_digest(password, self.password.encode()) and good_user


def _login(mechanism: str, response: str | bytes) -> tuple[bytes, bytes]:
    raw = response.encode() if isinstance(response, str) else response
    if mechanism == "PLAIN":
        parts = raw.split(b"\0", 2)
        if len(parts) == _PARTS:
            return parts[1], parts[2]
    elif mechanism == "AMQPLAIN":
        try:
            table = decode_table(raw)
        except CodecError as error:
            raise ConnectionFault(SYNTAX_ERROR, "an AMQPLAIN response without a table") from error
        return _bytes(table.get("LOGIN")), _bytes(table.get("PASSWORD"))
    else:
        words = f"mechanism {mechanism!r} is none of {MECHANISMS}"
        raise ConnectionFault(NOT_ALLOWED, words)
    raise ConnectionFault(SYNTAX_ERROR, "a PLAIN response without user and password")


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value or "").encode()


def capability(properties: Mapping[str, Any] | None, name: str) -> bool:
    """Tell whether a client says that it has a capability."""
    capabilities = (properties or {}).get("capabilities")
    return isinstance(capabilities, Mapping) and capabilities.get(name) is True
