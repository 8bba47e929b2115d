"""How a container proves that it has the key of its system. Pure.

It is asked with a nonce, and answers with an HMAC-SHA256, in hexadecimal digits, with the key over
these lines, joined by line feeds: ``ion container proof v1``, the sysname, its id, the nonce. The
signature of a command (:mod:`ion.process.command.signing`) has another first line, so that neither
can be taken for the other.
"""

from __future__ import annotations

import re

from ion.process.command.keyring import Keyring, ring_of

_DOMAIN = "ion container proof v1"
_NONCE = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)


def is_nonce(text: str) -> bool:
    """Tell whether ``text`` has the form of a nonce: 32 hexadecimal digits."""
    return _NONCE.match(text) is not None


def proof(key: bytes | Keyring, sysname: str, container: str, nonce: str) -> str:
    """Return what only a container with the key can answer.

    :param nonce: 32 hexadecimal digits, never used before.
    """
    return ring_of(key).sign(_text(sysname, container, nonce))


def holds(answer: object, key: bytes | Keyring, sysname: str, container: str, nonce: str) -> bool:
    """Tell whether an answer, which may be anything, proves that the container has a good key."""
    if not isinstance(answer, str):
        return False
    return ring_of(key).holds_by_any(answer, _text(sysname, container, nonce))


def _text(sysname: str, container: str, nonce: str) -> bytes:
    return f"{_DOMAIN}\n{sysname}\n{container}\n{nonce}".encode("utf-8", "surrogatepass")
