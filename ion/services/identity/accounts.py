"""Accounts: actors, sessions and revocations that the identity service keeps, in one index store.

All changes are single writes that give the revision they replace, so that it works on any store,
and of two who change the same actor at the same time one is told to look again.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ion.base.errors import Conflict, NotFound
from ion.process.identity.revocations import Revocation
from ion.services.identity.model import Actors, KeptActor, KeptSession
from ion.stores.query import A, And, Predicate, Query
from ion.stores.store import ABSENT, IndexStore, Indices, Scalar

INDICES: Indices = {
    "what": "str",
    "actor": "str",
    "kind": "str",
    "until": "float",  # the row is removed then
    "ended": "float",  # until then it is told that the actor's tokens have ended
}
ACTOR, SESSION, USED, REVOKED = "actor", "session", "used", "revoked"
TRIES = 5
_encode = msgspec.msgpack.Encoder().encode
_actor = msgspec.msgpack.Decoder(KeptActor).decode
_session = msgspec.msgpack.Decoder(KeptSession).decode
_revocation = msgspec.msgpack.Decoder(Revocation).decode
Index = dict[str, Scalar | None]


class AccountStore:
    """Actors, sessions, what was used, what was revoked.

    All calls raise the errors of stores.
    """

    def __init__(self, rows: IndexStore) -> None:
        self._rows = rows

    # actors

    async def actor(self, id: str) -> KeptActor:
        """Return an actor.

        :raises NotFound: there is none of that id.
        """
        value = await self._rows.get(_key(ACTOR, id))
        if value is None:
            raise _nobody(id)
        return _actor(value)

    async def add(self, kept: KeptActor) -> None:
        """Keep a new actor.

        :raises Conflict: there is one of that id.
        """
        try:
            await self._put_actor(kept, ABSENT)
        except Conflict as error:
            message = f"there is an actor {kept.actor.id!r} already"
            raise Conflict(message, details={"actor": kept.actor.id}) from error

    async def change(self, id: str, change: Callable[[KeptActor], KeptActor]) -> KeptActor:
        """Change an actor; ``change`` is called again where others were faster.

        :raises NotFound: there is none of that id.
        :raises Conflict: others were faster each time.
        """
        for left in reversed(range(TRIES)):
            entry = await self._rows.entry(_key(ACTOR, id))
            if entry is None:
                raise _nobody(id)
            before = _actor(entry.value)
            after = change(before)
            if after == before:
                return after
            try:
                await self._put_actor(after, entry.revision)
            except Conflict:
                if not left:
                    raise
            else:
                return after
        raise AssertionError

    async def remove(self, id: str) -> bool:
        """Remove an actor; return whether there was one."""
        return await self._rows.remove(_key(ACTOR, id))

    async def actors(self, kind: str | None, limit: int, cursor: str | None) -> Actors:
        """Return actors in the order of their ids."""
        where: Predicate = A("what") == ACTOR
        if kind is not None:
            where = And((where, A("kind") == kind))
        page = await self._rows.query(Query(where, ("actor",), limit, cursor))
        return Actors([_actor(entry.value).actor for entry in page.items], page.cursor)

    async def _put_actor(self, kept: KeptActor, revision: int) -> None:
        index: Index = {"what": ACTOR, "actor": kept.actor.id, "kind": kept.actor.kind}
        index["ended"] = kept.ended.until if kept.ended is not None else None
        key = _key(ACTOR, kept.actor.id)
        await self._rows.put(key, _encode(kept), revision=revision, index=index)

    # sessions

    async def session(self, id: str) -> tuple[KeptSession, int] | None:
        """Return a session and its revision; None: there is none (any more)."""
        entry = await self._rows.entry(_key(SESSION, id))
        return None if entry is None else (_session(entry.value), entry.revision)

    async def keep_session(self, kept: KeptSession, revision: int = ABSENT) -> None:
        """Keep a session in place of that revision.

        :raises Conflict: it was renewed, or ended, meanwhile.
        """
        index: Index = {"what": SESSION, "actor": kept.actor, "until": kept.expires}
        key = _key(SESSION, kept.id)
        await self._rows.put(key, _encode(kept), revision=revision, index=index)

    async def end_session(self, id: str) -> bool:
        """End a session; return whether there was one."""
        return await self._rows.remove(_key(SESSION, id))

    async def end_sessions_of(self, actor: str) -> int:
        """End all sessions of an actor; return how many."""
        where = And((A("what") == SESSION, A("actor") == actor))
        count = 0
        while keys := [e.key for e in (await self._rows.query(Query(where, (), 100))).items]:
            for key in keys:
                count += await self._rows.remove(key)
        return count

    # what was used once, and what was revoked

    async def use(self, actor: str, mark: str, until: float) -> bool:
        """Note that an assertion was used; return whether it had not been."""
        index: Index = {"what": USED, "actor": actor, "until": until}
        try:
            await self._rows.put(_key(USED, actor, mark), b"", revision=ABSENT, index=index)
        except Conflict:
            return False
        return True

    async def revoke(self, revocation: Revocation) -> None:
        """Keep that something was revoked."""
        index: Index = {"what": REVOKED, "actor": revocation.name, "until": revocation.until}
        key = _key(REVOKED, revocation.kind, revocation.name)
        await self._rows.put(key, _encode(revocation), index=index)

    async def revocations(self, now: float) -> list[Revocation]:
        """Return all that is still revoked, what was revoked last first."""
        rows = await self._all(And((A("what") == REVOKED, A("until") > now)), "-until")
        found = [_revocation(value) for value in rows]
        actors = await self._all(And((A("what") == ACTOR, A("ended") > now)), "-ended")
        ended = [_actor(value).ended for value in actors]
        return sorted(
            [*found, *(each for each in ended if each is not None)],
            key=lambda each: each.at,
            reverse=True,
        )

    async def _all(self, where: Predicate, order: str) -> list[bytes]:
        values: list[bytes] = []
        cursor: str | None = None
        while True:
            page = await self._rows.query(Query(where, (order,), 1000, cursor))
            values += [entry.value for entry in page.items]
            cursor = page.cursor
            if cursor is None:
                return values

    async def sweep(self, now: float) -> int:
        """Remove what is over; return how much."""
        query = Query(A("until") < now, (), 500)
        count = 0
        while keys := [entry.key for entry in (await self._rows.query(query)).items]:
            for key in keys:
                count += await self._rows.remove(key)
        return count


def _key(*parts: str) -> str:
    return "/".join(parts)


def _nobody(id: str) -> NotFound:
    message = f"there is no actor {id!r}"
    return NotFound(message, details={"actor": id})
