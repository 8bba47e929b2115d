"""The keyring of one party: the key that it signs with, and the keys of all that it believes. Pure.

A signature is written as a *form*, the id of the key, and the signature itself: ``v1`` is an
HMAC-SHA256 in hexadecimal digits, with a key that all who are believed share; ``v2`` is Ed25519,
base64url, with a private key that one party has, and all others the public half of.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

Check = Callable[[str, bytes], bool]  # whether a signature is one of a text
SHARED, OWN = "v1", "v2"
# what stands in a header for the id of a key, and for a signature; in none is there a blank
KEY_ID = r"[0-9a-f]{8}|[A-Za-z0-9_-]{16}"
SIGNED = r"[0-9a-f]{64}|[A-Za-z0-9_-]{86}"
_SAME_FILE = (
    "give both sides the same key file (agent.key_file; by default ion/{}.key in the user's data "
    "folder)"
)
_FORMS = {(SHARED, 8, 64), (OWN, 16, 86)}


def is_form(form: str, id: str, signature: str) -> bool:
    """Tell whether the words of a header belong together."""
    return (form, len(id), len(signature)) in _FORMS


class Keyring:
    """What one party signs with, and whom it believes.

    :ivar form: of its own signatures; id: of its own key.
    :ivar names: id of a key -> whose it is; of those that are one party's alone.
    :param sign: signs a text.
    :param checks: id of a key -> what checks a signature of it; its own among them.
    :param place: what to do where it does not know a key, for people; ``{}``: the sysname.
    """

    def __init__(
        self,
        form: str,
        id: str,
        sign: Callable[[bytes], str],
        checks: Mapping[str, Check],
        names: Mapping[str, str] | None = None,
        place: str = _SAME_FILE,
    ) -> None:
        self.form = form
        self.id = id
        self.sign = sign
        self.names = dict(names or {})
        self._place = place
        self._checks = dict(checks)

    def knows(self, id: str) -> bool:
        """Tell whether a key is one of those that are believed."""
        return id in self._checks

    def advice(self, sysname: str) -> str:
        """Return what to do where a key is not known, for people."""
        return self._place.format(sysname)

    def holds(self, id: str, signature: str, text: bytes) -> bool:
        """Tell whether a text was signed so with the key of that id."""
        check = self._checks.get(id)
        return check is not None and check(signature, text)

    def holds_by_any(self, signature: str, text: bytes) -> bool:
        """Tell whether a text was signed so with one of the keys."""
        return any(check(signature, text) for check in self._checks.values())

    def believing(
        self, checks: Mapping[str, Check], names: Mapping[str, str], place: str
    ) -> Keyring:
        """Return a ring that signs likewise, and believes others, too."""
        return Keyring(self.form, self.id, self.sign, {**self._checks, **checks}, names, place)


def key_id(secret: bytes) -> str:
    """Return what a shared key is known by: eight hexadecimal digits that tell nothing of it."""
    return hashlib.sha256(b"ion key id" + secret).hexdigest()[:8]


def is_shared(id: str) -> bool:
    """Tell whether the id of a key is that of a shared one."""
    return len(id) == 8  # noqa: PLR2004 - as KEY_ID says


@lru_cache(maxsize=64)
def shared(secret: bytes, *others: bytes) -> Keyring:
    """Return the ring of who has a shared key, and believes others, too, while it is changed."""
    return Keyring(SHARED, key_id(secret), _signer(secret), checks_of((secret, *others)))


def checks_of(secrets: Iterable[bytes]) -> dict[str, Check]:
    """Return what checks signatures of shared keys, by their ids."""
    return {key_id(each): _check(each) for each in secrets}


def ring_of(key: bytes | Keyring) -> Keyring:
    """Return a ring; of a shared key the one that it is."""
    return key if isinstance(key, Keyring) else shared(key)


def _signer(secret: bytes) -> Callable[[bytes], str]:
    def sign(text: bytes) -> str:
        return hmac.digest(secret, text, "sha256").hex()

    return sign


def _check(secret: bytes) -> Check:
    def check(signature: str, text: bytes) -> bool:
        expected = hmac.digest(secret, text, "sha256").hex()
        return hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), expected.encode())

    return check
