"""What its protocol asks of a participant before the op of a message runs."""

from __future__ import annotations

from ion.base.errors import BadRequest
from ion.conversation import conversation as c
from ion.conversation.flow import MAX_CREDIT, credit_of
from ion.conversation.generic import GENERIC
from ion.conversation.request import REQUEST_PROTOCOL
from ion.conversation.rpc import RPC
from ion.conversation.stream import STREAM
from ion.process.conversations import dialogue
from ion.process.ops import Op
from ion.process.serving.incoming import IncomingCall

AGREE_AFTER = 0.05  # seconds: a handler that has not refused by then is agreed to


def prepare(call: IncomingCall, op: Op) -> None:
    """See that an op is asked for in the way it answers, and agree to what is agreed to.

    Of no use for an rpc of an op that does not stream.

    :raises BadRequest: the protocol is not the op's, or its headers are wrong.
    """
    if op.streams or call.protocol is STREAM:
        _check_stream(call, op)
    elif call.protocol is REQUEST_PROTOCOL:
        call.endpoint.loop.call_later(AGREE_AFTER, _agree, call)
    elif call.protocol is GENERIC:
        dialogue.opens(call)


def _check_stream(call: IncomingCall, op: Op) -> None:
    if call.protocol is not STREAM:
        raise _otherwise(call, STREAM, f"op {op.name!r} is a stream")
    if not op.streams:
        raise _otherwise(call, RPC, f"op {op.name!r} is no stream")
    credit = call.envelope.headers.get("credit")
    if credit is not None and credit_of(credit) is None:
        message = f"header credit must be a whole number from 1 to {MAX_CREDIT}, not {credit!r}"
        raise BadRequest(message)


def _otherwise(call: IncomingCall, protocol: c.Protocol, reason: str) -> BadRequest:
    how = {STREAM: "process.stream", RPC: "process.rpc_send"}[protocol]
    message = f"{reason}: ask with protocol {protocol.name!r} ({how}), not {call.protocol.name!r}"
    return BadRequest(message, details={"op": call.op, "protocol": protocol.name})


def _agree(call: IncomingCall) -> None:
    if call.state == c.REQUESTED:
        call.agree()
