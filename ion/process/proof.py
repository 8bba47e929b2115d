"""How a container proves that it has the key of its system. Pure.

It is asked with a nonce, and answers with an HMAC-SHA256, in hexadecimal digits, with the key over
these lines, joined by line feeds: ``ion container proof v1``, the sysname, its id, the nonce. The
signature of a command (:mod:`ion.process.signing`) has another first line, so that neither can be
taken for the other.
"""

from __future__ import annotations

import hashlib
import hmac
import re

_DOMAIN = "ion container proof v1"
_NONCE = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)


def is_nonce(text: str) -> bool:
    """Tell whether ``text`` has the form of a nonce: 32 hexadecimal digits."""
    return _NONCE.match(text) is not None


def proof(secret: bytes, sysname: str, container: str, nonce: str) -> str:
    """Return what only a container with the key can answer.

    :param nonce: 32 hexadecimal digits, never used before.
    """
    text = f"{_DOMAIN}\n{sysname}\n{container}\n{nonce}".encode("utf-8", "surrogatepass")
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def holds(answer: object, secret: bytes, sysname: str, container: str, nonce: str) -> bool:
    """Tell whether an answer, which may be anything, proves that the container has the key."""
    if not isinstance(answer, str):
        return False
    expected = proof(secret, sysname, container, nonce)
    return hmac.compare_digest(answer.encode("utf-8", "surrogatepass"), expected.encode())
