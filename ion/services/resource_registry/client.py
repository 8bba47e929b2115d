"""The typed client of the resource registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from ion.base.errors import IonError
from ion.process.client import ServiceClient
from ion.services.resource_registry.errors import heard
from ion.services.resource_registry.model import (
    Association,
    Associations,
    Attribute,
    Found,
    NewResource,
    PredicateType,
    Resource,
    ResourceType,
    unpacked,
)
from ion.stores.conditions import Where

LIMIT = 100


class Wanted(TypedDict, total=False):
    """What else is asked for of resources.

    ``state`` is one such as ``DEPLOYED``, ``AVAILABLE``, ``DEPLOYED_AVAILABLE``, or several;
    ``retired``: the retired, too; without ``below``, types below are left out.
    """

    name: str | None
    owner: str | None
    state: str | Sequence[str] | None
    retired: bool
    below: bool


class Part(TypedDict, total=False):
    """Which of the associations, or of what is found by them.

    ``limit`` of them (100 by default) from ``cursor`` on, that of the page before; ``retired``:
    those with a retired end, too. A page may be short, and still not the last one: its cursor says
    so.
    """

    limit: int
    cursor: str | None
    retired: bool


class ResourceRegistryClient(ServiceClient, service="resource_registry"):
    """Makes resources, changes and finds them, and says what they have to do with each other.

    All calls raise :class:`~ion.base.errors.NotFound` where there is no such resource, type or
    predicate, :class:`~ion.base.errors.InvalidRequest` for what does not fit,
    :class:`~ion.base.errors.Conflict` where somebody else was faster, with both sides (``ours``
    and ``theirs``) in ``details``, :class:`~ion.services.resource_registry.lifecycle.IllegalStep`
    where a resource's state does not allow it, and :class:`~ion.base.errors.Unavailable` where the
    store is away.
    """

    # types and predicates

    async def register_type(
        self,
        name: str,
        attributes: Mapping[str, Attribute] | None = None,
        *,
        parent: str = "",
        life_cycle: str = "",
        description: str = "",
        timeout: float | None = None,
    ) -> ResourceType:
        """Keep a type, or change the one of that name: attributes may be added.

        :param parent: a type whose attributes it has, too.
        :param life_cycle: ``resource``, ``simple``, or one that the registry's app declares; by
            default that of the parent, or ``resource``.
        :param timeout: resources that are there are found by new indices when this returns: give
            it time where they are many.
        """
        content = {
            "name": name,
            "attributes": dict(attributes or {}),
            "parent": parent,
            "life_cycle": life_cycle,
            "description": description,
        }
        made: ResourceType = await self._ask("register_type", content, timeout, ResourceType)
        return made

    async def type(self, name: str, *, timeout: float | None = None) -> ResourceType:
        """Return a type."""
        found: ResourceType = await self._ask("type", {"name": name}, timeout, ResourceType)
        return found

    async def types(self, below: str = "", *, timeout: float | None = None) -> list[ResourceType]:
        """Return all types, or one with all below it, those above first."""
        found: list[ResourceType] = []
        while True:
            content = {"below": below, "after": found[-1].path if found else ""}
            page = await self._ask("types", content, timeout, list[ResourceType])
            if not page:
                return found
            found += page

    async def register_predicate(
        self,
        name: str,
        *,
        domain: Sequence[str] = (),
        range: Sequence[str] = (),
        description: str = "",
        timeout: float | None = None,
    ) -> PredicateType:
        """Keep what associations may say.

        :param domain: types that a subject is of, or below; none: any. ``range``: an object.
        """
        content = {"name": name, "domain": list(domain), "range": list(range)}
        content["description"] = description
        made: PredicateType = await self._ask("register_predicate", content, timeout, PredicateType)
        return made

    async def predicates(self, *, timeout: float | None = None) -> list[PredicateType]:
        """Return all predicates."""
        found: list[PredicateType] = []
        while True:
            content = {"after": found[-1].name if found else ""}
            page = await self._ask("predicates", content, timeout, list[PredicateType])
            if not page:
                return found
            found += page

    # resources

    async def create(
        self,
        type: str,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        description: str = "",
        id: str = "",
        timeout: float | None = None,
    ) -> Resource:
        """Make a resource: a private draft, owned by the actor of this call.

        :param id: by which it is known; one is made by default. Who may have to call again, not
            knowing whether it was made, gives one: then it is made once, or a Conflict.
        """
        content = {
            "type": type,
            "name": name,
            "attributes": dict(attributes or {}),
            "description": description,
            "id": id,
        }
        return await self._resource("create", content, timeout)

    async def create_many(
        self, resources: Sequence[NewResource], *, timeout: float | None = None
    ) -> list[str]:
        """Make some resources, at most 500, or, where one cannot be, none; return their ids."""
        content = {"resources": list(resources)}
        made: list[str] = await self._ask("create_many", content, timeout, list[str])
        return made

    async def read(self, id: str, *, timeout: float | None = None) -> Resource:
        """Return a resource as it is now."""
        return await self._resource("read", {"id": id}, timeout)

    async def read_many(
        self, ids: Sequence[str], *, timeout: float | None = None
    ) -> list[Resource]:
        """Return those resources that are there, in the order of their ids as given."""
        content = {"ids": list(ids)}
        found: list[Resource] = await self._ask("read_many", content, timeout, list[Resource])
        return found

    async def update(
        self,
        id: str,
        revision: int | None = None,
        *,
        attributes: Mapping[str, Any] | None = None,
        name: str | None = None,
        description: str | None = None,
        owner: str | None = None,
        timeout: float | None = None,
    ) -> Resource:
        """Change a resource, and return it.

        :param revision: that it is expected to have; None: it is changed as it is.
        :param attributes: those that change; None takes one away.
        :param owner: the actor whom it is passed on to; "": nobody.
        :raises Conflict: it has another revision.
        """
        content = {
            "id": id,
            "revision": revision,
            "attributes": dict(attributes) if attributes is not None else None,
            "name": name,
            "description": description,
            "owner": owner,
        }
        return await self._resource("update", content, timeout)

    async def step(
        self,
        id: str,
        event: str,
        *,
        revision: int | None = None,
        timeout: float | None = None,
    ) -> Resource:
        """Let a resource take a step of its life cycle, such as ``plan`` or ``announce``.

        :raises IllegalStep: its state does not allow it; ``details["allowed"]`` says what it does.
        """
        content = {"id": id, "event": event, "revision": revision}
        return await self._resource("step", content, timeout)

    async def retire(
        self, id: str, *, revision: int | None = None, timeout: float | None = None
    ) -> Resource:
        """Retire a resource: it changes no more, and is found only where that is asked for."""
        return await self._resource("retire", {"id": id, "revision": revision}, timeout)

    async def delete(
        self, id: str, *, revision: int | None = None, timeout: float | None = None
    ) -> Resource:
        """Delete a resource: only its history still tells of it."""
        return await self._resource("delete", {"id": id, "revision": revision}, timeout)

    async def find(
        self,
        type: str | None = None,
        where: Where | None = None,
        *,
        order: Sequence[str] = (),
        limit: int = LIMIT,
        cursor: str | None = None,
        timeout: float | None = None,
        **wanted: Unpack[Wanted],
    ) -> Found:
        """Return resources that all of this is true of; see :class:`Wanted` for what else.

        :param type: of it, or (``below``) of a type below it.
        :param where: of attributes that types declare as indices, and of ``name``, ``owner``,
            ``maturity``, ``availability``, ``created`` and ``modified``: ``A("depth") > 100`` (see
            ``ion.stores.query``), or a map (see ``ion.stores.conditions``).
        :param order: of the same attributes, with ``-`` in front from the greatest; a text: of one.
        """
        content: dict[str, Any] = {"type": type, "where": where, "limit": limit, "packed": True}
        if wanted:
            content.update(wanted)
        if order:
            content["order"] = [order] if isinstance(order, str) else list(order)
        if cursor is not None:
            content["cursor"] = cursor
        to, left = self._to, self._timeout if timeout is None else timeout
        try:
            return unpacked(await self._caller.rpc_send(to, "find", content, left))
        except IonError:
            with heard():
                raise

    async def each(
        self,
        type: str | None = None,
        where: Where | None = None,
        *,
        order: Sequence[str] = (),
        limit: int = LIMIT,
        timeout: float | None = None,
        **wanted: Unpack[Wanted],
    ) -> AsyncIterator[Resource]:
        """Iterate all resources that :meth:`find` finds, ``limit`` at a time."""
        page: dict[str, Any] = {"order": order, "limit": limit, "cursor": None, "timeout": timeout}
        while True:
            found = await self.find(type, where, **page, **wanted)
            for resource in found.items:
                yield resource
            page["cursor"] = found.cursor
            if found.cursor is None:
                return

    async def count(
        self,
        type: str | None = None,
        where: Where | None = None,
        *,
        timeout: float | None = None,
        **wanted: Unpack[Wanted],
    ) -> int:
        """Return of how many resources all of this is true; as :meth:`find`."""
        content = {"type": type, "where": where, **wanted}
        number: int = await self._ask("count", content, timeout, int)
        return number

    async def history(
        self,
        id: str,
        *,
        limit: int = LIMIT,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> Found:
        """Return a resource as it is, and as it was, the latest revision first."""
        content = {"id": id, "limit": limit, "cursor": cursor}
        found: Found = await self._ask("history", content, timeout, Found)
        return found

    async def as_of(self, id: str, at: float, *, timeout: float | None = None) -> Resource:
        """Return a resource as it was at a time, in seconds since 1970."""
        return await self._resource("as_of", {"id": id, "at": at}, timeout)

    # associations

    async def associate(
        self, subject: str, predicate: str, object: str, *, timeout: float | None = None
    ) -> Association:
        """Say something of two resources.

        :raises NotFound: one of them is not there; ``details["end"]`` says which.
        :raises InvalidRequest: one is of a type that the predicate does not allow.
        :raises Conflict: it was said already.
        """
        content = {"subject": subject, "predicate": predicate, "object": object}
        made: Association = await self._ask("associate", content, timeout, Association)
        return made

    async def dissociate(
        self, subject: str, predicate: str, object: str, *, timeout: float | None = None
    ) -> bool:
        """Take an association back; return whether there was one."""
        content = {"subject": subject, "predicate": predicate, "object": object}
        was: bool = await self._ask("dissociate", content, timeout, bool)
        return was

    async def associations(
        self,
        subject: str = "",
        predicate: str = "",
        object: str = "",
        *,
        timeout: float | None = None,
        **page: Unpack[Part],
    ) -> Associations:
        """Return associations that have all parts that are given, one at least."""
        content = {"subject": subject, "predicate": predicate, "object": object, **page}
        found: Associations = await self._ask("associations", content, timeout, Associations)
        return found

    async def find_objects(
        self,
        subject: str,
        predicate: str = "",
        *,
        type: str | None = None,
        timeout: float | None = None,
        **page: Unpack[Part],
    ) -> Found:
        """Return the resources that are objects of a subject."""
        content = {"subject": subject, "predicate": predicate, "type": type, **page}
        found: Found = await self._ask("find_objects", content, timeout, Found)
        return found

    async def find_subjects(
        self,
        object: str,
        predicate: str = "",
        *,
        type: str | None = None,
        timeout: float | None = None,
        **page: Unpack[Part],
    ) -> Found:
        """Return the resources that are subjects of an object; as :meth:`find_objects`."""
        content = {"object": object, "predicate": predicate, "type": type, **page}
        found: Found = await self._ask("find_subjects", content, timeout, Found)
        return found

    async def _resource(self, op: str, content: Any, timeout: float | None) -> Resource:
        found: Resource = await self._ask(op, content, timeout, Resource)
        return found

    async def _ask(self, op: str, content: Any, timeout: float | None, returns: Any = Any) -> Any:
        with heard():
            return await self._call(op, content, timeout=timeout, returns=returns)
