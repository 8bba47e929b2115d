"""Who may ask the identity service for what, and what may be asked for."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ion.base.errors import ApplicationError, BadRequest, ConfigurationError, IonError
from ion.observe.context import current_call
from ion.process.command.signing import HEADER as SIGNATURE
from ion.process.command.signing import read
from ion.process.identity.authenticator import THE_SYSTEM
from ion.process.identity.identity import ADMIN_ROLE, SYSTEM, SYSTEM_ROLE, Identity
from ion.process.serving.incoming import IncomingCall
from ion.process.storeerrors import answering

_OF_NOBODY = frozenset({SYSTEM, "anonymous", "authenticated", "anyone", "keyholder"})
_NAME = re.compile(r"[^\s/\x00-\x1f\x7f]{1,200}\Z")
_ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}\Z", re.ASCII)
MAX_ROLES = 64
MAX_TEXT = 200


@contextmanager
def answered() -> Iterator[None]:
    """Let a handler answer with what the caller got wrong, as what it is.

    :raises ApplicationError: with code, type, message and details of the error.
    """
    try:
        with answering():
            yield
    except ApplicationError:
        raise
    except IonError as error:
        code = 400 if isinstance(error, ConfigurationError) else error.code
        if not 400 <= code < 500:  # noqa: PLR2004
            raise
        kind = "BadRequest" if isinstance(error, ConfigurationError) else error.type
        raise ApplicationError(error.message, code, kind, error.details) from error


def caller() -> Identity | None:
    """Return whose the call is that is being handled; the system's, where it is signed so.

    On a bus that nobody else can reach everybody is the system, as for commands, unless it is said
    (``identity.verify``: ``present``) that without a token nobody is known.
    """
    call = current_call.get()
    if not isinstance(call, IncomingCall):
        return THE_SYSTEM
    if call.identity is not None:
        return call.identity
    envelope, permission = call.envelope, call.endpoint.permission
    if permission is None or (permission.is_open and call.endpoint.auth.is_strict):
        return None
    given = (call.delivery.key, envelope.op, envelope.body, envelope.headers)
    return THE_SYSTEM if permission.is_signed(*given) else None


def lateness() -> float:
    """Return for how many seconds who has called does not wait any more, by the clocks of both."""
    call = current_call.get()
    deadline = call.envelope.headers.get("deadline") if isinstance(call, IncomingCall) else None
    return time.time() - deadline / 1000 if isinstance(deadline, int) else 0.0


def signature_of() -> tuple[str, float]:
    """Return the nonce that the call is signed with, and until when it must not come again.

    "" where it is the call of somebody with a token, or not signed.
    """
    call = current_call.get()
    if not isinstance(call, IncomingCall) or call.endpoint.permission is None:
        return "", 0.0
    header = call.envelope.headers.get(SIGNATURE)
    is_borne = call.identity is not None and call.token != ""
    if header is None or is_borne or call.endpoint.permission.is_open:
        return "", 0.0
    return read(header).nonce, time.time() + 2 * call.endpoint.clock_skew + 1.0


def administrator() -> Identity:
    """Return whose the call is, who may administrate.

    :raises ApplicationError: 403, they may not.
    """
    who = caller()
    if who is not None and who.has_role(ADMIN_ROLE, SYSTEM_ROLE) and not who.chain:
        return who
    raise forbidden(who, f"needs the role {ADMIN_ROLE}, or the key of the system")


def owner_of(actor: str) -> Identity:
    """Return whose the call is: the actor themselves, or who may administrate.

    :raises ApplicationError: 403, neither.
    """
    who = caller()
    if who is not None and who.actor == actor and not who.chain:
        return who
    return administrator()


def forbidden(who: Identity | None, what: str) -> ApplicationError:
    """Return the refusal of a call."""
    if who is None:
        told = "nobody who is known has called: give a token, and see identity.verify"
    else:
        told = f"{who} has {', '.join(sorted(who.roles)) or 'no role'}"
        told += "; nobody administrates for another" if who.chain else ""
    return ApplicationError(f"this {what}: {told}", 403, "Forbidden", {"reason": "authority"})


def checked_actor(id: str) -> str:
    """Return the id of an actor.

    :raises BadRequest: it is none; it is the system's own, or what stands for nobody in particular,
        or looks the same; or it could be written in another way, too, or holds what is not seen.
    """
    folded = unicodedata.normalize("NFKC", id)
    is_plain = folded == id and id.isprintable() and _NAME.match(id)
    if not is_plain or id.casefold().partition(":")[0] in _OF_NOBODY:
        message = (
            "an actor's id is 1 to 200 letters that are seen, composed (NFKC), without blanks and "
            f"'/', and not {SYSTEM!r} or a word of rules; not {id!a:.80}"
        )
        raise BadRequest(message)
    return id


def checked_roles(roles: Iterable[str], by: Identity) -> tuple[str, ...]:
    """Return roles in order.

    :raises BadRequest: one is none, they are too many; or the system's own, and not by it.
    """
    ordered = tuple(sorted(set(roles)))
    for role in ordered:
        if not _ROLE.match(role):
            message = f"a role is a word of letters, digits, '_', '.' and '-', not {role!r:.80}"
            raise BadRequest(message)
    if len(ordered) > MAX_ROLES:
        message = f"{len(ordered)} roles: an actor has at most {MAX_ROLES}"
        raise BadRequest(message)
    if SYSTEM_ROLE in ordered and not by.has_role(SYSTEM_ROLE):
        message = f"the role {SYSTEM_ROLE} is given only by who has the key of the system"
        raise BadRequest(message)
    return ordered


def checked_text(text: str, what: str) -> str:
    """Return a text for people.

    :raises BadRequest: it is too long.
    """
    if len(text) > MAX_TEXT:
        message = f"{what} is at most {MAX_TEXT} letters"
        raise BadRequest(message)
    return text
