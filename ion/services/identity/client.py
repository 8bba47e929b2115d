"""The typed client of the identity service, and a session that keeps a party's token fresh."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import msgspec

from ion.base.errors import CodecError, IonError, Unauthorized
from ion.base.tasks import Tasks
from ion.process.client import Caller, ServiceClient
from ion.process.command.operator import Operator
from ion.process.identity.acting import acting
from ion.services.identity.model import Actor, Actors, Credential, Grant, Kind, NewSecret, Who

if TYPE_CHECKING:
    from ion.process.calling import Calling

log = logging.getLogger(__name__)
PATIENCE = 15.0  # seconds for a command
T = TypeVar("T")


class IdentityClient(ServiceClient, service="identity"):
    """Proves who one is, and administrates who there is.

    Errors: :class:`~ion.base.errors.Unauthorized` for what proves nothing,
    :class:`~ion.base.errors.Forbidden` where the role is missing, and ``ReceivedApplicationError``
    with 404 for an actor who is not there, 409 for one who is there already.

    :param caller: a container, a process, or what ``ion.connect`` gives.
    :param as_system: sign what is asked for with the key of the system, which may do everything.
    """

    def __init__(
        self, caller: Caller, *, as_system: bool = False, timeout: float | None = None
    ) -> None:
        super().__init__(caller, timeout=timeout)
        self._operator = Operator(cast("Calling", caller)) if as_system else None

    # proving who one is

    async def authenticate(
        self,
        actor: str,
        *,
        secret: str = "",
        assertion: str = "",
        roles: Sequence[str] | None = None,
        session: bool = True,
        timeout: float | None = None,
    ) -> Grant:
        """Return a token of an actor, and what renews it.

        :param secret: one of theirs; or ``assertion``: of :func:`ion.services.identity.proving`.
        :param roles: fewer than the actor has; None: all.
        :param session: whether it can be renewed.
        """
        content = {
            "actor": actor,
            "secret": secret,
            "assertion": assertion,
            "roles": _listed(roles),
            "session": session,
        }
        return await self._ask("authenticate", content, timeout, Grant)

    async def refresh(
        self, refresh: str, *, roles: Sequence[str] | None = None, timeout: float | None = None
    ) -> Grant:
        """Return the next grant of a session; its ``refresh`` is good once.

        Where the answer was lost, the same one may be tried again within ten seconds.

        :raises Unauthorized: the session is over; or it is ended, as the text was used before.
        """
        content = {"refresh": refresh, "roles": _listed(roles)}
        return await self._ask("refresh", content, timeout, Grant)

    async def end_session(self, refresh: str, *, timeout: float | None = None) -> bool:
        """End a session; its token goes on until it ends. Return whether there was one."""
        return await self._ask("end_session", {"refresh": refresh}, timeout, bool)

    async def exchange(
        self,
        token: str,
        *,
        roles: Sequence[str] | None = None,
        audience: Sequence[str] | None = None,
        life: float | None = None,
        by: str = "",
        timeout: float | None = None,
    ) -> Grant:
        """Return a token to act for who ``token`` is of, which is never more than that one.

        :param roles: some of its roles; audience: ``<sysname>/<service>``; life: seconds.
        :param by: who is to act, for who has the key of the system; else it is the caller.
        """
        content = {
            "token": token,
            "roles": _listed(roles),
            "audience": _listed(audience),
            "life": life,
            "by": by,
        }
        return await self._ask("exchange", content, timeout, Grant)

    async def whoami(self, *, timeout: float | None = None) -> Who:
        """Return whom the caller is found to be."""
        return await self._ask("whoami", {}, timeout, Who)

    async def keys(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Return the public keys of the tokens, a JSON Web Key Set."""
        return await self._ask("keys", {}, timeout, dict[str, Any])

    # administrating

    async def add_actor(
        self,
        actor: str,
        *,
        kind: Kind = "user",
        name: str = "",
        roles: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Actor:
        """Add an actor."""
        content = {"actor": actor, "kind": kind, "name": name, "roles": list(roles)}
        return await self._ask("add_actor", content, timeout, Actor)

    async def actor(self, actor: str, *, timeout: float | None = None) -> Actor:
        """Return an actor."""
        return await self._ask("actor", {"actor": actor}, timeout, Actor)

    async def actors(
        self,
        kind: Kind | None = None,
        *,
        limit: int = 100,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> Actors:
        """Return actors in the order of their ids."""
        content = {"kind": kind, "limit": limit, "cursor": cursor}
        return await self._ask("actors", content, timeout, Actors)

    async def remove_actor(self, actor: str, *, timeout: float | None = None) -> bool:
        """Remove an actor; their tokens and sessions end."""
        return await self._ask("remove_actor", {"actor": actor}, timeout, bool)

    async def enable(
        self, actor: str, enabled: bool = True, *, timeout: float | None = None
    ) -> Actor:
        """Let an actor in, or keep them out."""
        return await self._ask("enable", {"actor": actor, "enabled": enabled}, timeout, Actor)

    async def grant(
        self, actor: str, *roles: str | Iterable[str], timeout: float | None = None
    ) -> Actor:
        """Give an actor roles, one by one or in a list; their tokens so far end."""
        content = {"actor": actor, "roles": _flat(roles)}
        return await self._ask("grant", content, timeout, Actor)

    async def withdraw(
        self, actor: str, *roles: str | Iterable[str], timeout: float | None = None
    ) -> Actor:
        """Take roles from an actor, as :meth:`grant`; their tokens so far end, everywhere."""
        content = {"actor": actor, "roles": _flat(roles)}
        return await self._ask("withdraw", content, timeout, Actor)

    async def credentials(self, actor: str, *, timeout: float | None = None) -> list[Credential]:
        """Return how an actor can prove who they are."""
        return await self._ask("credentials", {"actor": actor}, timeout, list[Credential])

    async def add_key(
        self, actor: str, public: str, label: str = "", *, timeout: float | None = None
    ) -> Credential:
        """Add a public key of an actor."""
        content = {"actor": actor, "public": public, "label": label}
        return await self._ask("add_key", content, timeout, Credential)

    async def add_secret(
        self, actor: str, label: str = "", *, timeout: float | None = None
    ) -> NewSecret:
        """Make a secret for an actor; it is told once."""
        return await self._ask("add_secret", {"actor": actor, "label": label}, timeout, NewSecret)

    async def remove_credential(self, actor: str, id: str, *, timeout: float | None = None) -> None:
        """Remove a credential; the actor's tokens and sessions end."""
        await self._ask("remove_credential", {"actor": actor, "id": id}, timeout, type(None))

    async def revoke(
        self,
        *,
        token: str = "",
        token_id: str = "",
        actor: str = "",
        reason: str = "",
        timeout: float | None = None,
    ) -> int:
        """Revoke a token, or all that an actor has; return how many containers have heard."""
        content = {"token": token, "token_id": token_id, "actor": actor, "reason": reason}
        return await self._ask("revoke", content, timeout, int)

    async def _ask(self, op: str, content: Any, timeout: float | None, returns: type[T]) -> T:
        if self._operator is None:
            found: T = await self._call(op, content, timeout=timeout, returns=returns)
            return found
        patience = timeout or self._timeout or PATIENCE
        answer = await self._operator.command(self._to, op, content, timeout=patience)
        try:
            return msgspec.convert(answer, returns)
        except msgspec.ValidationError as error:
            message = f"the answer of {self._to}.{op} is not what its client expects: {error}"
            raise CodecError(message) from None


class Session:
    """Keeps a party's own token fresh, for the time of an ``async with``.

    ::

        async with ion.connect(url) as connection:
            async with Session(connection, "ada", secret=secret):
                ...                                    # all its calls are ada's

    It renews the token when two thirds of its time have passed, and where it is over, or revoked,
    at :meth:`renew`.

    :param caller: what ``ion.connect`` gives, or a container.
    :param secret: of the actor; or ``prove``: returns a new assertion each time. What it raises is
        logged, and it is called again, once the session has begun.
    :ivar grant: the last one.
    """

    grant: Grant

    def __init__(
        self,
        caller: Calling,
        actor: str,
        *,
        secret: str = "",
        prove: Callable[[], str] | None = None,
        roles: Sequence[str] | None = None,
    ) -> None:
        self._client = IdentityClient(caller)
        self._endpoint = caller._endpoint
        self._actor = actor
        self._secret = secret
        self._prove = prove
        self._roles = roles

    async def __aenter__(self) -> Self:
        self._before = self._endpoint.token
        await self._take(self._begin)
        self._tasks = Tasks(f"session of {self._actor}")  # new ones: it may be entered again
        self._tasks.start(self._keep(), "renewal")
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._tasks.stop()
        finally:
            self._endpoint.token = self._before
        with contextlib.suppress(IonError), acting(""):
            await self._client.end_session(self.grant.refresh)

    async def renew(self) -> Grant:
        """Get a new token now, such as after a change of roles."""
        try:
            return await self._take(lambda: self._client.refresh(self.grant.refresh))
        except Unauthorized:
            return await self._take(self._begin)

    async def _begin(self) -> Grant:
        said = self._prove() if self._prove is not None else ""
        return await self._client.authenticate(
            self._actor, secret=self._secret, assertion=said, roles=self._roles
        )

    async def _take(self, get: Callable[[], Awaitable[Grant]]) -> Grant:
        """Take a new grant. It is asked for without a token: the old one may be over."""
        with acting(""):
            self.grant = await get()
        self._endpoint.token = self.grant.token
        return self.grant

    async def _keep(self) -> None:
        while True:
            left = self.grant.expires - time.time()
            await asyncio.sleep(max(left * 2 / 3, 0.5) if left > 0 else 1.0)
            try:
                await self.renew()
            except Exception as error:  # noqa: BLE001 - `prove` may raise anything; it is tried again
                log.warning("the token of %r is not renewed yet: %s", self._actor, error)


def _flat(roles: Iterable[str | Iterable[str]]) -> list[Any]:
    """Return roles that are given one by one, or as the list that ``add_actor`` takes."""
    listed: list[Any] = []
    for each in roles:
        listed += each if isinstance(each, list | tuple | set | frozenset) else [each]
    return listed


def _listed(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)
