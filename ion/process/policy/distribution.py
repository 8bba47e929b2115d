"""How rules go from the service ``policy`` to the containers, so that nobody else can give any.

Who asks sends a nonce; the answer is sealed with the key of the system over that nonce, the version
and the text (:mod:`ion.process.command.seal`). So it is fresh, whole, and of somebody who has the
key. On a bus that nobody else can reach there is no key, and no seal.
"""

from __future__ import annotations

from typing import Any

from ion.process.command.permission import Permission
from ion.process.command.seal import HEADER

SERVICE = "policy"
OP = "rules"
KEEPER = "policy_keeper"  # the process in each container that takes them
_WHAT = "policy"


def sealed(permission: Permission | None, nonce: str, version: int, text: str) -> str:
    """Return the seal of an answer; "" where there is no key."""
    if permission is None:
        return ""
    headers = permission.seal(_WHAT, _name(nonce, version), text.encode())
    return str(headers.get(HEADER, ""))


def is_good(permission: Permission | None, nonce: str, version: int, text: str, seal: Any) -> bool:
    """Tell whether an answer is of somebody who has the key, and was given to this nonce."""
    if permission is None:
        return False
    name = _name(nonce, version)
    return permission.is_sealed(_WHAT, name, text.encode(), {HEADER: seal})


def _name(nonce: str, version: int) -> str:
    return f"{nonce} {version}"
