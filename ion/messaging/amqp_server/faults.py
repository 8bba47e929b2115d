"""What a client does wrong, as the close frame that answers it.

A channel fault closes the channel, a connection fault the connection, with the codes and words
that RabbitMQ has for it: clients go by them. Neither leaves this package.
"""

from __future__ import annotations

from ion.base.errors import ConfigurationError, IonError, ServiceNotFound

NOT_FOUND = 404
PRECONDITION_FAILED = 406
ACCESS_REFUSED = 403
RESOURCE_LOCKED = 405
CONNECTION_FORCED = 320
FRAME_ERROR = 501
SYNTAX_ERROR = 502
COMMAND_INVALID = 503
CHANNEL_ERROR = 504
UNEXPECTED_FRAME = 505
NOT_ALLOWED = 530
NOT_IMPLEMENTED = 540
INTERNAL_ERROR = 541

_NAMES = {
    NOT_FOUND: "NOT_FOUND",
    PRECONDITION_FAILED: "PRECONDITION_FAILED",
    ACCESS_REFUSED: "ACCESS_REFUSED",
    RESOURCE_LOCKED: "RESOURCE_LOCKED",
    CONNECTION_FORCED: "CONNECTION_FORCED",
    FRAME_ERROR: "FRAME_ERROR",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    COMMAND_INVALID: "COMMAND_INVALID",
    CHANNEL_ERROR: "CHANNEL_ERROR",
    UNEXPECTED_FRAME: "UNEXPECTED_FRAME",
    NOT_ALLOWED: "NOT_ALLOWED",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    INTERNAL_ERROR: "INTERNAL_ERROR",
}
_MAX_TEXT = 255


class Fault(Exception):
    """Base of both kinds.

    :ivar code: of the close frame.
    :ivar text: of the close frame, at most 255 bytes.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        whole = f"{_NAMES[code]} - {words}".encode("utf-8", "replace")
        self.text = whole[:_MAX_TEXT].decode("utf-8", "ignore")


class ChannelFault(Fault):
    """Closes the channel it happened on."""


class ConnectionFault(Fault):
    """Closes the connection."""


def refusal(error: IonError) -> ChannelFault:
    """Return what an error of the memory broker is to a client."""
    if isinstance(error, ServiceNotFound):
        return ChannelFault(NOT_FOUND, f"{error.message} in vhost '/'")
    if isinstance(error, ConfigurationError):
        return ChannelFault(PRECONDITION_FAILED, error.message)
    code = RESOURCE_LOCKED if error.details.get("locked") else ACCESS_REFUSED
    return ChannelFault(code, error.message)
