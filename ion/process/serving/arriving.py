"""A message that arrives, as the call that it asks for: its headers are read here, once."""

from __future__ import annotations

from time import time

from ion.base.errors import BadRequest
from ion.conversation.conversation import REQUEST
from ion.conversation.oneway import ONE_WAY
from ion.conversation.protocols import PROTOCOLS
from ion.conversation.rpc import RPC
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery
from ion.process.endpoint.endpoint import Endpoint
from ion.process.serving.incoming import GRACE, IncomingCall
from ion.process.serving.outcomes import expired
from ion.process.serving.source import MAIL, Source

_protocol_of = PROTOCOLS.get
LONG_PAST = 1e-9  # a deadline on the loop's clock that is over


def incoming_call(
    endpoint: Endpoint, process: str, delivery: Delivery, source: Source = MAIL
) -> IncomingCall:
    """Return the call that a delivery is, for the process with that pid; never raises."""
    envelope = delivery.envelope
    get = envelope.headers.get
    reply_to, serial = envelope.reply_to, envelope.correlation_id
    name = get("protocol", "rpc")  # a foreign header may hold any value, unhashable ones too
    protocol = _protocol_of(name) if name.__class__ is str else None
    timeout = get("timeout")
    hint = get("deadline")
    if timeout.__class__ is int:
        deadline = endpoint.time() + timeout / 1000 + GRACE if timeout > 0 else LONG_PAST
    else:
        deadline = endpoint.time() + endpoint.rpc_timeout if reply_to else 0.0
    if hint.__class__ is int and hint / 1000 + endpoint.clock_skew < time():
        deadline = LONG_PAST  # whatever the clocks' difference: not to be run
    call = IncomingCall(
        process,
        serial,
        envelope.op,
        deadline,
        get("user-id", ""),
        get("traceparent", ""),
        endpoint,
        delivery,
        envelope,
        (protocol or RPC) if reply_to else ONE_WAY,
        source,
        (reply_to, serial),
    )
    if not (reply_to and serial):
        # Without an id nobody can name it; it stands for itself.
        # An event has one id in all the queues that it went to, a broadcast for all processes.
        call.key = (reply_to or source.queue or process, serial or envelope.message_id or call)
    if protocol is None or get("performative", REQUEST) != REQUEST:
        call.fault = _no_beginning(envelope)
    elif timeout is not None and timeout.__class__ is not int:
        call.fault = BadRequest(f"header timeout must be whole milliseconds, not {timeout!r}")
    elif deadline is LONG_PAST:
        call.fault = expired(call)
    return call


def _no_beginning(envelope: Envelope) -> BadRequest:
    """Return what is wrong with a message that should begin a conversation, and does not."""
    protocol = envelope.headers.get("protocol", "rpc")
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        return BadRequest(f"header protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
    performative = envelope.headers.get("performative")
    return BadRequest(f"header performative {performative!r} does not begin a conversation")
