"""Copies of what is sent, for observers, at the exchange point ``trace``.

Contract: a copy is published beside its message, transient, and nobody learns whether it arrived:
it neither delays nor fails the message, and is left out where the broker takes nothing just now.
The wrapper is there only where copies are asked for (``messaging.trace``), so that without it no
message is slower. Copied are requests, one-way messages, what is said in conversations, answers and
events; not signs of life, leases, retries and dead letters. Headers that prove who somebody is stay
out.
"""

from __future__ import annotations

import itertools
from typing import Any

from ion.base.errors import IonError
from ion.base.ids import new_mark
from ion.messaging.address import BEAT, Namespace
from ion.messaging.envelope import Envelope, Headers
from ion.messaging.transport import Settled, Transport

POINT = "trace"
HEADER = "copy-of"
_PROOFS = {"token", "mac", "agent-auth", "seal"}


class TracedTransport:
    """A transport that also publishes a copy of each message; all else is the transport's own.

    :param transport: the way to the broker, not opened yet.
    """

    def __init__(self, transport: Transport, namespace: Namespace) -> None:
        self._transport = transport
        self._spec = namespace.exchange_point(POINT)
        self._spaces = f"{namespace.sysname}.x"  # what names of spaces and points begin with
        self._quiet = namespace.control_key(BEAT)
        self._mark = new_mark()
        self._serial = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def open(self) -> None:
        """Connect, and declare the exchange point; errors as the transport's own."""
        await self._transport.open()
        try:
            await self._transport.declare_exchange(self._spec)
        except BaseException:
            await self._transport.close()
            raise

    def publish(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        *,
        mandatory: bool = False,
        settled: Settled | None = None,
    ) -> None:
        """Hand a message over, then its copy; as :meth:`Transport.publish`."""
        self._transport.publish(exchange, key, envelope, mandatory=mandatory, settled=settled)
        self._copy(exchange, key, envelope)

    async def publish_confirmed(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        *,
        mandatory: bool = False,
        timeout: float,
    ) -> None:
        """Hand over a copy, then publish; as :meth:`Transport.publish_confirmed`."""
        self._copy(exchange, key, envelope)
        await self._transport.publish_confirmed(
            exchange, key, envelope, mandatory=mandatory, timeout=timeout
        )

    def _copy(self, exchange: str, key: str, envelope: Envelope) -> None:
        if not self._is_traced(exchange, key, envelope.headers) or not self._transport.writable:
            return
        headers = {
            "performative": "request",
            "protocol": "none",
            "sender": str(envelope.headers.get("sender", "")),
            HEADER: _told(exchange, key, envelope),
        }
        copy = Envelope(
            envelope.op,
            envelope.body,
            content_type=envelope.content_type,
            message_id=f"trace-{self._mark}-{next(self._serial)}",
            timestamp=envelope.timestamp,
            headers=headers,
        )
        try:
            self._transport.publish(self._spec.name, key, copy)
        except IonError:
            return  # the connection went in between, or it is too long with what is told of it

    def _is_traced(self, exchange: str, key: str, headers: Headers) -> bool:
        if not exchange:  # answers, which bear a status; leases, and what comes back from elsewhere
            return "status" in headers
        is_known = exchange.startswith(self._spaces) and exchange != self._spec.name
        return is_known and key != self._quiet and bool(headers)  # a probe has none


def _told(exchange: str, key: str, envelope: Envelope) -> dict[str, Any]:
    """Return what is told of the message beside its op and content."""
    return {
        "exchange": exchange,
        "key": key,
        "reply-to": envelope.reply_to,
        "correlation-id": envelope.correlation_id,
        "message-id": envelope.message_id,
        "headers": {n: v for n, v in envelope.headers.items() if n not in _PROOFS},
    }
