"""What travels to and from the identity service, and what it keeps.

Kept of a secret is a salted scrypt hash, of a key the public half, of a refresh text a SHA-256.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ion.process.identity.revocations import Revocation

Kind = Literal["user", "service"]


class Actor(msgspec.Struct, frozen=True):
    """Somebody who may call.

    :ivar id: by which everybody knows them; no blanks.
    :ivar name: for people.
    :ivar created: seconds since 1970.
    """

    id: str
    kind: Kind = "user"
    name: str = ""
    roles: tuple[str, ...] = ()
    enabled: bool = True
    created: float = 0.0


class Credential(msgspec.Struct, frozen=True):
    """One way in which an actor can prove who they are.

    :ivar kind: ``key`` (a public key of theirs) or ``secret`` (of which only a hash is kept).
    :ivar public: the public key, base64url; or "".
    :ivar created: seconds since 1970.
    """

    id: str
    kind: Literal["key", "secret"]
    label: str = ""
    public: str = ""
    created: float = 0.0


class NewSecret(msgspec.Struct, frozen=True):
    """A secret that was made for an actor: this is the only time that it is told."""

    id: str
    actor: str
    secret: str

    def __repr__(self) -> str:
        return f"<NewSecret {self.id} of {self.actor!r}>"


class Grant(msgspec.Struct, frozen=True):
    """What an actor gets who has proved who they are.

    :ivar token: to be borne by calls; for some minutes.
    :ivar expires: when it ends, seconds since 1970.
    :ivar refresh: a text that gives the next grant, once; "" where there is no session.
    :ivar session: its id.
    :ivar session_expires: when the session ends whatever happens, seconds since 1970.
    """

    token: str
    actor: str
    roles: tuple[str, ...]
    expires: float
    refresh: str = ""
    session: str = ""
    session_expires: float = 0.0

    def __repr__(self) -> str:
        return f"<Grant of {self.actor!r}, roles {', '.join(self.roles) or 'none'}>"


class Who(msgspec.Struct, frozen=True):
    """Whom a call was found to be of.

    :ivar actor: "": nobody who is known.
    :ivar chain: who acts for the actor, the last one first.
    :ivar verify: what ``identity.verify`` says where the service runs.
    :ivar expires: when the token ends, seconds since 1970; None: it does not.
    """

    actor: str
    roles: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    issuer: str = ""
    audience: tuple[str, ...] = ()
    expires: float | None = None
    verify: str = ""


class Actors(msgspec.Struct, frozen=True):
    """Some of many.

    :ivar cursor: gives the next ones; None: these are the last.
    """

    items: list[Actor]
    cursor: str | None = None


# what is kept


class KeptCredential(msgspec.Struct, frozen=True):
    """A credential as it is kept.

    :ivar salt, hash: of a secret.
    """

    told: Credential
    salt: bytes = b""
    hash: bytes = b""


class KeptActor(msgspec.Struct, frozen=True):
    """An actor with all credentials, in one value.

    :ivar ended: what ended their tokens last: kept in the same write as what it was done for.
    """

    actor: Actor
    credentials: tuple[KeptCredential, ...] = ()
    ended: Revocation | None = None


class KeptSession(msgspec.Struct, frozen=True):
    """A session as it is kept.

    :ivar hash: of the refresh text that is good now; ``before``: of the one before that.
    :ivar renewed: when ``before`` was used first, seconds since 1970.
    :ivar line: hash of what all refresh texts of the session begin with; empty: kept by a version
        that did not know it.
    """

    id: str
    actor: str
    hash: bytes
    before: bytes = b""
    expires: float = 0.0
    renewed: float = 0.0
    line: bytes = b""
