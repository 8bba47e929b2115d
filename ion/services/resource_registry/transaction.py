"""What an op changes, in one unit of work: resources, their history, and the events of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.base import clock
from ion.base.errors import BadRequest, Conflict, ContentTooLarge, InvalidRequest, NotFound
from ion.observe.context import current_call
from ion.process.events.event import Event
from ion.process.events.publishing import told
from ion.process.events.topics import POINT
from ion.process.events.types import (
    AssociationCreated,
    AssociationEvent,
    AssociationRemoved,
    ResourceCreated,
    ResourceEvent,
    ResourceLifecycleChanged,
    ResourceModified,
    ResourceRetired,
)
from ion.process.exactly_once.unit_of_work import Unit
from ion.services.resource_registry import stores
from ion.services.resource_registry.lifecycle import (
    DELETED,
    MATURITIES,
    RETIRED,
    IllegalStep,
)
from ion.services.resource_registry.model import (
    ACTOR,
    HAS_OWNER,
    Association,
    NewResource,
    Resource,
)
from ion.services.resource_registry.schema import Schema
from ion.services.resource_registry.stores import RegistryStores, encode, resource_in
from ion.stores.store import ABSENT, IndexStore, Store


class Transaction:
    """A unit of work of the registry; errors are those of :class:`~ion.stores.store.Store`.

    :param endpoint: of the process, for its events.
    :ivar actor: who does it, or "".
    :ivar most: bytes that one thing may have, so that a conflict can show both sides.
    """

    def __init__(self, home: RegistryStores, unit: Unit, endpoint: Any) -> None:
        self.home = home
        self.actor = actor()
        self.actors: set[str] = set()
        self._unit = unit
        self._endpoint = endpoint
        self.most = endpoint.max_content // 4
        self.types: Store = unit.store(home.types.name)
        self._history: Store = unit.store(home.history.name)
        self.associations: IndexStore = unit.index_store(home.associations.name)

    @property
    def _resources(self) -> IndexStore:
        return self._unit.index_store(self.home.resources.name)

    # resources

    async def schema(self, name: str) -> Schema:
        """Return a type, which does not change meanwhile."""
        return await self.home.schema(name, self.types)

    async def create(self, new: NewResource, schema: Schema) -> Resource:
        """Make a resource, its owner's where there is an actor.

        :raises Conflict: there is one of that id; ``details["theirs"]`` is it.
        :raises InvalidRequest: it is none, or does not fit its type.
        :raises ContentTooLarge: it is too large for one message.
        """
        stores.checked_texts(new.name, new.description)
        key = stores.checked_id(new.id) if new.id else stores.new_id()
        if new.id:
            stores.check_told(schema.type.name, key)
        there = await self._resources.get(key) if new.id else None
        if there is not None:
            message = f"there is a resource {key!r}"
            raise Conflict(message, details={"id": key, "theirs": _plain(resource_in(there))})
        now = round(clock.now(), 6)
        made = Resource(
            id=key,
            type=schema.type.name,
            name=new.name,
            attributes=schema.checked(new.attributes),
            description=new.description,
            owner=self.actor,
            maturity=MATURITIES[0],
            created=now,
            modified=now,
            actor=self.actor,
            type_version=schema.type.version,
        )
        await self._put(made, schema, ABSENT if new.id else None)
        await self._own(made)
        await self.tell(made, ResourceCreated)
        return made

    async def current(
        self, id: str, revision: int | None, ours: Mapping[str, Any]
    ) -> tuple[Resource, int]:
        """Return a resource that is to change, and its revision in the store.

        :param revision: that it is expected to have.
        :param ours: what it is to become, for the details.
        :raises NotFound: there is none, or it is deleted.
        :raises Conflict: it has another revision; ``details`` has both sides.
        """
        entry = await self._resources.entry(id) if id else None
        if entry is None:
            raise not_there(id)
        found = resource_in(entry.value)
        if found.maturity == DELETED:
            raise not_there(id, found)
        if revision is not None and revision != found.revision:
            message = (
                f"resource {id!r} has revision {found.revision} by now, not {revision}: "
                "read it again"
            )
            details = {"expected": revision, "revision": found.revision, "theirs": _plain(found)}
            if len(encode(ours)) <= self.most:  # else both would not fit into an answer
                details["ours"] = dict(ours)
            raise Conflict(message, details=details)
        return found, entry.revision

    async def update(
        self, found: Resource, kept: int, changes: Mapping[str, Any], owner: str | None
    ) -> Resource:
        """Change name, description, attributes (None takes one away) or owner of a resource.

        :param kept: its revision in the store.
        :raises IllegalStep: it is retired.
        """
        if found.maturity == RETIRED:
            details = {"state": found.state, "event": "update", "allowed": ["delete"]}
            message = f"resource {found.id!r} is retired, and changes no more"
            raise IllegalStep(message, details=details)
        schema = await self.schema(found.type)
        attributes = schema.checked({**found.attributes, **changes.get("attributes", {})})
        changed = {**changes, "attributes": attributes, "type_version": schema.type.version}
        if owner is not None:
            changed["owner"] = stores.checked_owner(owner)
        after = self._next(found, "update", changed)
        stores.checked_texts(after.name, after.description)
        await self._replace(found, kept, after, schema)
        if after.owner != found.owner:
            await self._disown(found)
            await self._own(after)
        await self.tell(after, ResourceModified, changed=_changed(found, after))
        return after

    async def step(self, found: Resource, kept: int, event: str) -> Resource:
        """Let a resource take a step of its life cycle.

        :raises IllegalStep: its state does not allow it.
        """
        schema = await self.schema(found.type)
        cycle = await self.home.cycle(schema, self.types)
        maturity, availability = cycle.step(found.maturity, found.availability, event)
        changes = {"maturity": maturity, "availability": availability}
        after = self._next(found, event, changes)
        await self._replace(found, kept, after, schema)
        is_retired = maturity == RETIRED != found.maturity
        kind = ResourceRetired if is_retired else ResourceLifecycleChanged
        await self.tell(after, kind, before=found.state, state=after.state, step=event)
        return after

    def _next(self, found: Resource, change: str, changes: Mapping[str, Any]) -> Resource:
        return msgspec.structs.replace(
            found,
            revision=found.revision + 1,
            modified=stores.later(clock.now(), found.modified),
            actor=self.actor,
            change=change,
            **changes,
        )

    async def _replace(self, found: Resource, kept: int, after: Resource, schema: Schema) -> None:
        """Keep a resource as it is now, and how it was."""
        await self._put(after, schema, kept)
        most = self.home.versions
        if most == 0:
            return
        key = stores.history_key(found.id, found.modified)
        await self._history.put(key, encode(found))
        if found.revision > most:
            page = await self._history.keys(f"{found.id}/", limit=most + 100)
            for old in page.items[most:]:
                await self._history.remove(old)

    async def _put(self, resource: Resource, schema: Schema, kept: int | None) -> None:
        index = stores.resource_index(resource, schema)
        try:
            data = encode(resource)
        except (OverflowError, TypeError, ValueError, RecursionError) as error:
            message = f"resource {resource.id!r} cannot be kept: {error}"
            raise InvalidRequest(message) from None
        if len(data) > self.most:
            message = (
                f"resource {resource.id!r} has {len(data)} bytes, over the {self.most} that one "
                "may have: keep what is large as a blob"
            )
            raise ContentTooLarge(message, details={"size": len(data), "limit": self.most})
        await self._resources.put(resource.id, data, revision=kept, index=index)

    # owners

    async def _own(self, resource: Resource) -> None:
        """Associate a resource with its owner, who becomes one where there is none yet."""
        if not resource.owner:
            return
        key = stores.actor_id(resource.owner)
        known = key in self.home.actors or key in self.actors
        if not known and await self._resources.get(key) is None:
            schema = await self.schema(ACTOR)
            now = round(clock.now(), 6)
            made = Resource(
                key, ACTOR, resource.owner, maturity=MATURITIES[0], created=now, modified=now
            )
            await self._put(made, schema, ABSENT)
            await self.tell(made, ResourceCreated)
        self.actors.add(key)
        said = self.said(resource.id, HAS_OWNER, key, resource.type, ACTOR)
        await self.keep(said)

    async def _disown(self, resource: Resource) -> None:
        if resource.owner:
            owner = stores.actor_id(resource.owner)
            await self.associations.remove(stores.association_key(resource.id, HAS_OWNER, owner))

    # associations

    def said(
        self, subject: str, predicate: str, object: str, subject_type: str, object_type: str
    ) -> Association:
        """Return an association that is made now."""
        return Association(
            subject, predicate, object, subject_type, object_type, clock.now(), self.actor
        )

    async def keep(self, said: Association) -> None:
        """Keep an association."""
        key = stores.association_key(said.subject, said.predicate, said.object)
        await self.associations.put(key, encode(said), index=stores.association_index(said))

    async def end(self, which: str, id: str) -> tuple[Resource, str]:
        """Return one end of an association, and the path of its type.

        :param which: ``subject`` or ``object``.
        :raises NotFound: there is no such resource.
        :raises IllegalStep: it is retired.
        """
        entry = await self._resources.entry(id) if id else None
        found = resource_in(entry.value) if entry is not None else None
        if entry is None or found is None or found.maturity == DELETED:
            message = f"the {which} of the association: there is no resource {id!r}"
            raise NotFound(message, details={"end": which, "id": id})
        if found.maturity == RETIRED:
            message = f"the {which} of the association: resource {id!r} is retired"
            details = {"end": which, "id": id, "state": found.state, "allowed": []}
            raise IllegalStep(message, details={**details, "event": "associate"})
        return found, str(entry.index["path"])

    # events

    async def tell(self, resource: Resource, kind: type[ResourceEvent], **fields: Any) -> None:
        """Publish an event, with all this."""
        event = kind(
            origin=resource.id,
            origin_type=resource.type,
            sub_type=resource.change,
            name=resource.name,
            revision=resource.revision,
            **fields,
        )
        await self._publish(event)

    async def tell_association(self, said: Association, *, made: bool) -> None:
        """Publish that an association was made, or removed."""
        kind: type[AssociationEvent] = AssociationCreated if made else AssociationRemoved
        event = kind(
            origin=said.subject,
            origin_type=said.subject_type,
            sub_type=said.predicate,
            predicate=said.predicate,
            object=said.object,
        )
        await self._publish(event)

    async def _publish(self, event: Event) -> None:
        try:
            topic, content = told(event, self._endpoint)
        except BadRequest as error:
            raise InvalidRequest(error.message) from error
        await self._unit.publish(POINT, topic, content, op=event.type, message_id=event.id)

    async def answer(self, content: Any) -> None:
        """Answer the call with all this, so that it gets the same answer when it comes again."""
        await self._unit.reply(content)


def actor() -> str:
    """Return on whose behalf something is done now, or ""."""
    call = current_call.get()
    identity = getattr(call, "identity", None)
    return str(getattr(identity, "actor", "") or (call.user if call is not None else ""))


def not_there(id: str, deleted: Resource | None = None) -> NotFound:
    """Return the error for a resource that is not, or not any more."""
    if deleted is None:
        return NotFound(f"there is no resource {id!r}", details={"id": id})
    details = {"id": id, "deleted": deleted.modified, "actor": deleted.actor}
    message = f"resource {id!r} is deleted; its history still tells of it"
    return NotFound(message, details=details)


def _plain(resource: Resource) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(resource, builtin_types=(bytes,))
    return plain


def _changed(before: Resource, after: Resource) -> list[str]:
    names = [n for n in ("name", "description", "owner") if getattr(before, n) != getattr(after, n)]
    old, new = before.attributes, after.attributes
    return names + sorted(name for name in old | new if old.get(name) != new.get(name))
