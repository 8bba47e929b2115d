"""What was revoked before a container was there to hear of it: it asks, before it serves anybody.

The service ``identity`` answers in pages, to who commands with the key of the system. Each page is
sealed with that key, over a number that was chosen by who asks and the place of the page: nobody
else can answer, nor say once more what was answered before, when less was revoked.
"""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from ion.base.errors import CodecError, Forbidden
from ion.process.calling import Calling
from ion.process.command.operator import Operator
from ion.process.command.permission import Permission
from ion.process.command.seal import HEADER
from ion.process.identity.revocations import Revocation

SERVICE, OP = "identity", "revoked"
PAGE = 2000  # revocations in an answer
MAX_PAGES = 1000
_WHAT = "revocations"
Place = tuple[float, str, str]  # when, kind, name: of the last one that was told
_encode = msgspec.msgpack.Encoder().encode
_told = msgspec.msgpack.Decoder(list[Revocation]).decode


class Page(msgspec.Struct, frozen=True):
    """Some of what is revoked.

    :ivar told: the revocations, encoded.
    :ivar next: what to ask ``after`` for the next page; None: this is the last one.
    """

    told: bytes
    next: Place | None = None
    seal: str = ""


def in_order(revoked: Iterable[Revocation]) -> list[tuple[Place, Revocation]]:
    """Return what is revoked, each with its place, in the order in which it is told."""
    return sorted(((each.at, each.kind, each.name), each) for each in revoked)


def page_of(
    permission: Permission | None,
    nonce: str,
    ordered: Sequence[tuple[Place, Revocation]],
    after: Place | None,
) -> Page:
    """Return a page of what is revoked, sealed.

    :param after: the place before it; None: it is the first one.
    """
    start = 0 if after is None else bisect_right(ordered, after, key=itemgetter(0))
    told = ordered[start : start + PAGE]
    end = told[-1][0] if start + PAGE < len(ordered) else None
    body = _encode([each for _, each in told])
    name = _name(nonce, after, end)
    headers = permission.seal(_WHAT, name, body) if permission is not None else {}
    return Page(body, end, str(headers.get(HEADER, "")))


async def catch_up(caller: Calling, timeout: float) -> int:
    """Ask what is revoked, and take it; return how much is known now.

    :param timeout: seconds for each page.
    :raises ServiceNotFound: there is no service ``identity``, and was none for a day.
    :raises IonError: it did not answer; or somebody did who has not the key of the system.
    """
    endpoint, operator = caller._endpoint, Operator(caller)
    nonce = secrets.token_hex(16)
    after: Place | None = None
    known = 0
    for _ in range(MAX_PAGES):
        asked = {"nonce": nonce, "after": after}
        page = _read(await operator.command(SERVICE, OP, asked, timeout=timeout))
        permission, name = endpoint.permission, _name(nonce, after, page.next)
        seal = {HEADER: page.seal}
        if permission is None or not permission.is_sealed(_WHAT, name, page.told, seal):
            message = f"what {SERVICE!r} says to be revoked is not sealed with the system's key"
            raise Forbidden(message, details={"reason": "unsealed"})
        known = endpoint.auth.revoke(_told(page.told))
        after = page.next
        if after is None:
            break
    return known


def _read(said: Any) -> Page:
    try:
        return msgspec.convert(said, Page)
    except msgspec.ValidationError as error:
        message = f"what {SERVICE!r} says to be revoked is no page of it: {error}"
        raise CodecError(message) from None


def _name(nonce: str, after: Place | None, end: Place | None) -> str:
    """Return what the seal of a page is about beside its content: every part of it is quoted."""
    return repr((nonce, after, end))
