"""What an agent and its driver say to each other, signed: nobody else can say it for them.

Both are in one container, where the secret goes from hand to hand; on the bus there is only what
was made with it: each message is signed as a command is (:mod:`ion.process.command.signing`), for
its receiver, its op and its content, and is good once. Who reads all that is said can say none of
it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import msgspec

from ion.base.errors import Forbidden
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK
from ion.observe.context import current_call
from ion.process.command import signing
from ion.process.identity import acting
from ion.process.process import Process
from ion.process.serving.incoming import IncomingCall

HEADER = "bond"
WINDOW = 120_000  # ms that a message may take; both sides have one clock
SYSNAME = ""  # the secret is of these two alone, and of no system


class SignedChannel:
    """One end of it.

    :param secret: what both ends have; it is nowhere shown, nor sent.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._nonces = signing.Nonces()

    async def ask(
        self, process: Process, to: str, op: str, content: Mapping[str, Any], timeout: float
    ) -> Any:
        """Call an op of the other end; errors as :meth:`Process.rpc_send`.

        Either end speaks for itself, not for whose call it handles: he may command the agent, but
        not its driver, and his token ends long before the samples do that he has asked for.

        :param process: this end.
        :param to: pid of the other one.
        """
        body = codec.encode(content, MSGPACK)[0]
        command = signing.Command(SYSNAME, to, op, body)
        said = signing.sign(self._secret, command, _now(), secrets.token_hex(16))
        call = process._endpoint.rpc
        raw = msgspec.Raw(body)
        own = process._endpoint.token
        with acting(own) if own else nullcontext():
            return await call(process.id, to, op, raw, timeout, MSGPACK, {HEADER: said})

    def holds(self) -> bool:
        """Tell whether what is being handled was said by the other end, and not before."""
        call = current_call.get()
        if not self._secret or not isinstance(call, IncomingCall):
            return False
        envelope = call.envelope
        command = signing.Command(SYSNAME, call.delivery.key, envelope.op, envelope.body)
        try:
            signature = signing.read(envelope.headers.get(HEADER))
            signing.check(self._secret, signature, command, _now(), WINDOW)
            self._nonces.use(signature, _now(), WINDOW)
        except Forbidden:
            return False
        return True


def _now() -> int:
    return time.time_ns() // 1_000_000
