"""How a command is signed, and how a signature is checked. Pure: no clock, no files.

A command carries the header ``agent-auth``: ``v1 <key id> <time> <nonce> <mac>``, with the time in
ms since 1970, a nonce of 32 hexadecimal digits, and the MAC an HMAC-SHA256, in hexadecimal digits,
with the key of the system over these lines, joined by line feeds: ``ion command v1``, the sysname,
the routing key that it is sent to, the op, the time, the nonce, and the SHA-256 of the body. Of who
signs with a key of its own it is ``v2``, and Ed25519 over the same
(:mod:`ion.process.command.keyring`).
"""

from __future__ import annotations

import hashlib
import re
from collections import deque

import msgspec

from ion.base.errors import Forbidden
from ion.process.command.keyring import KEY_ID, SIGNED, Keyring, is_form, key_id, ring_of

__all__ = ["Command", "Nonces", "Signature", "check", "key_id", "read", "sign"]

HEADER = "agent-auth"
MAX_NONCES = 100_000
_DOMAIN = "ion command v1"
_FORM = re.compile(rf"(v[12]) ({KEY_ID}) (\d{{1,15}}) ([0-9a-f]{{32}}) ({SIGNED})\Z", re.ASCII)


class Command(msgspec.Struct, frozen=True):
    """What a signature stands for.

    :ivar to: the routing key that it is sent to.
    :ivar body: the content, encoded.
    """

    sysname: str
    to: str
    op: str
    body: bytes


class Signature(msgspec.Struct, frozen=True):
    """What the header says.

    :ivar time: of signing, ms since 1970.
    """

    key_id: str
    time: int
    nonce: str
    mac: str
    form: str = "v1"

    def __str__(self) -> str:
        return f"{self.form} {self.key_id} {self.time} {self.nonce} {self.mac}"


def sign(key: bytes | Keyring, command: Command, time: int, nonce: str) -> str:
    """Return the header of a command.

    :param time: ms since 1970.
    :param nonce: 32 hexadecimal digits, never used before.
    """
    ring = ring_of(key)
    mac = ring.sign(_text(command, time, nonce))
    return str(Signature(ring.id, time, nonce, mac, ring.form))


def read(header: object) -> Signature:
    """Return what a header says, which may be anything.

    :raises Forbidden: there is none, or it is no signature.
    """
    if header is None:
        message = (
            "this command is not signed: call it by ion.Operator or ioncc, with the key of the "
            "system"
        )
        raise Forbidden(message, details={"reason": "unsigned"})
    match = _FORM.match(header) if isinstance(header, str) else None
    if match is None or not is_form(match[1], match[2], match[5]):
        message = f"header {HEADER} is no signature of a kind that is known here (v1, v2)"
        raise Forbidden(message, details={"reason": "malformed"})
    form, id_, time, nonce, mac = match.groups()
    return Signature(id_, int(time), nonce, mac, form)


def check(
    key: bytes | Keyring, signature: Signature, command: Command, now: int, window: int
) -> None:
    """Check that a command was signed with this key, and lately.

    :param now: ms since 1970.
    :param window: how far the time of signing may be from it, ms.
    :raises Forbidden: it was not; the message says what is wrong.
    """
    ring = ring_of(key)
    if not ring.knows(signature.key_id):
        message = (
            f"this command is signed with key {signature.key_id}, and system "
            f"{command.sysname!r} has key {ring.id} here: {ring.advice(command.sysname)}"
        )
        details = {"reason": "key", "given": signature.key_id, "wanted": ring.id}
        raise Forbidden(message, details=details)
    text = _text(command, signature.time, signature.nonce)
    if not ring.holds(signature.key_id, signature.mac, text):
        message = (
            f"the signature is not one of this command to {command.to!r}: it was changed on its "
            "way, or was signed for another receiver"
        )
        raise Forbidden(message, details={"reason": "altered"})
    apart = abs(now - signature.time)
    if apart > window:
        side = "before" if signature.time < now else "after"
        message = (
            f"this command was signed {apart / 1000:.1f} s {side} it came, by the clocks of both "
            f"sides, and may be {window / 1000:g} s old: it was held up, or the clocks differ"
        )
        raise Forbidden(message, details={"reason": "time", "apart": apart / 1000})


class Nonces:
    """The nonces of commands that were taken, each for as long as its signature holds."""

    def __init__(self, limit: int = MAX_NONCES) -> None:
        self._limit = limit
        self._seen: set[str] = set()
        self._ends: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        return len(self._seen)

    def use(self, signature: Signature, now: int, window: int) -> None:
        """Remember a nonce.

        :param now: ms since 1970.
        :param window: how far the time of signing may be from it, ms.
        :raises Forbidden: it was used before; or there are too many to remember one more.
        """
        while self._ends and self._ends[0][0] < now:
            self._seen.discard(self._ends.popleft()[1])
        if signature.nonce in self._seen:
            message = "this command was given before: each is signed anew"
            raise Forbidden(message, details={"reason": "replayed"})
        if len(self._seen) >= self._limit:
            message = f"more than {self._limit} commands in {2 * window / 1000:g} s: slow down"
            raise Forbidden(message, details={"reason": "flood"})
        self._seen.add(signature.nonce)
        # One that was signed by a clock ahead holds longer; all are kept as long as that one could.
        self._ends.append((now + 2 * window, signature.nonce))


def _text(command: Command, time: int, nonce: str) -> bytes:
    body = hashlib.sha256(command.body).hexdigest()
    lines = (_DOMAIN, command.sysname, command.to, command.op, str(time), nonce, body)
    return "\n".join(lines).encode("utf-8", "surrogatepass")
