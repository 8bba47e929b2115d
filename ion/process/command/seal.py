"""The seal of a message: that it is of somebody who has the key of its system. Pure.

What containers tell each other without asking, beats and the tokens of leases, carries the header
``seal``: ``v1 <key id> <mac>``. The MAC is an HMAC-SHA256, in hexadecimal digits, with the key of
the system over these lines, joined by line feeds: ``ion seal v1``, the sysname, what it is
(``beat`` or ``lease``), the name of the container or of the lease, and the SHA-256 of the body. The
first line differs from those of commands and proofs, so that none can be taken for another. Of who
signs with a key of its own it is ``v2``, and Ed25519 (:mod:`ion.process.command.keyring`). A seal
does not age: what is sealed says itself what tells it from what was sealed before. A beat has a
number and a time, the token of a lease its fencing number, an answer the nonce of who has asked.
"""

from __future__ import annotations

import hashlib
import re

from ion.base.errors import Forbidden
from ion.process.command.keyring import KEY_ID, SIGNED, Keyring, is_form, ring_of

HEADER = "seal"
_DOMAIN = "ion seal v1"
_FORM = re.compile(rf"(v[12]) ({KEY_ID}) ({SIGNED})\Z", re.ASCII)


def seal(key: bytes | Keyring, sysname: str, what: str, name: str, body: bytes) -> str:
    """Return the header of a message.

    :param what: ``beat`` or ``lease``.
    :param name: of the container that beats, or of the lease.
    """
    ring = ring_of(key)
    return f"{ring.form} {ring.id} {ring.sign(_text(sysname, what, name, body))}"


def check(
    key: bytes | Keyring, header: object, sysname: str, what: str, name: str, body: bytes
) -> None:
    """Check what a header says, which may be anything.

    :raises Forbidden: the message was not sealed with this key; the message says what is wrong.
    """
    ring = ring_of(key)
    own = ring.id
    match = _FORM.match(header) if isinstance(header, str) else None
    if match is None or not is_form(*match.groups()):
        message = f"it is not sealed with the key of system {sysname!r}, which has key {own} here"
        raise Forbidden(message, details={"reason": "unsealed"})
    _, given, mac = match.groups()
    if not ring.knows(given):
        message = f"it is sealed with key {given}, and system {sysname!r} has key {own} here"
        raise Forbidden(message, details={"reason": "key", "given": given, "wanted": own})
    if not ring.holds(given, mac, _text(sysname, what, name, body)):
        message = "it was changed on its way, or sealed as something else"
        raise Forbidden(message, details={"reason": "altered"})


def _text(sysname: str, what: str, name: str, body: bytes) -> bytes:
    lines = (_DOMAIN, sysname, what, name, hashlib.sha256(body).hexdigest())
    return "\n".join(lines).encode("utf-8", "surrogatepass")
