"""The resource registry: what there is in a system, whose it is, and how it hangs together.

Its app's ``config`` says ``name``, in front of the names of its stores; ``history``, how many
former versions of a resource are kept; ``life_cycles``, ``types`` and ``predicates``, which it
brings with it. Each change is one commit with its history, its events and its answer, so the store
has to have transactions: SQLite, PostgreSQL, or memory.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ion.base.errors import ApplicationError, ConfigurationError, InvalidRequest, StoreError
from ion.process.service import Service
from ion.services.resource_registry import queries, stores
from ion.services.resource_registry.associationops import AssociationOps
from ion.services.resource_registry.errors import answering
from ion.services.resource_registry.lifecycle import DELETE, DELETED, RETIRE, life_cycles
from ion.services.resource_registry.model import (
    ACTOR,
    HAS_OWNER,
    Found,
    NewResource,
    Packed,
    PredicateType,
    Resource,
    ResourceType,
)
from ion.services.resource_registry.stores import RegistryStores, resource_in
from ion.services.resource_registry.transaction import not_there
from ion.services.resource_registry.typeops import TypeOps
from ion.stores.conditions import predicate_of
from ion.stores.query import Compare, Query
from ion.stores.store import Entry, Page

NAME = "registry"
HISTORY = 100
MOST_CREATED = 500
LIMIT = 100


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """The app's ``config``."""

    name: str = NAME
    history: int = HISTORY
    life_cycles: dict[str, Any] = {}
    types: list[ResourceType] = []
    predicates: list[PredicateType] = []


class ResourceRegistryService(
    TypeOps, AssociationOps, Service, name="resource_registry", version="0.1.0"
):
    """Keeps typed resources, their life cycles, history and associations."""

    async def on_init(self) -> None:
        """Open its stores, and keep the types that it brings.

        :raises ConfigurationError: its configuration cannot be used, or the store has no
            transactions.
        """
        settings = self._settings()
        datastore = await self.datastore()
        if not datastore.has_transactions:
            message = (
                f"the resource registry cannot keep its promises on {datastore.url}, which has no "
                "transactions: set store.url to an SQLite, PostgreSQL or memory one"
            )
            raise ConfigurationError(message)
        cycles = life_cycles(settings.life_cycles)
        self._stores = RegistryStores(datastore, settings.name, cycles, settings.history)
        own = [ResourceType(ACTOR, description="Who owns resources.", life_cycle="simple")]
        said = [PredicateType(HAS_OWNER, range=[ACTOR], description="Whose a resource is.")]
        try:
            await self._stores.open()
            await self._bring([*own, *settings.types], [*said, *settings.predicates])
            await self._index_pending()
        except (InvalidRequest, StoreError) as error:
            if isinstance(error, InvalidRequest) or error.code < 500:  # noqa: PLR2004
                message = f"the resource registry cannot start: {error}"
                raise ConfigurationError(message) from error
            raise

    def _settings(self) -> Settings:
        try:
            settings = msgspec.convert(dict(self.app_config), Settings)
        except msgspec.ValidationError as error:
            message = f"the config of the resource registry cannot be used: {error}"
            raise ConfigurationError(message) from error
        if settings.history < 0:
            message = f"history: 0 or more versions are kept, not {settings.history}"
            raise ConfigurationError(message)
        return settings

    # changing

    async def op_create(
        self,
        type: str,
        name: str,
        attributes: dict[str, Any] | None = None,
        description: str = "",
        id: str = "",
    ) -> Resource:
        """Make a resource of a type, and return it: a private draft, the caller's.

        404 for a type that there is none of, 400 for attributes that do not fit it, 409 where there
        is one of that ``id``.
        """
        new = NewResource(type, name, attributes or {}, description, id)
        async with self._transaction() as transaction:
            made = await transaction.create(new, await transaction.schema(type))
            await transaction.answer(made)
        return made

    async def op_create_many(self, resources: list[NewResource]) -> list[str]:
        """Make some resources, at most 500, or, where one cannot be, none; return their ids."""
        async with self._transaction() as transaction:
            if len(resources) > MOST_CREATED:
                message = f"at most {MOST_CREATED} resources are made at a time"
                raise InvalidRequest(message)
            types = {new.type for new in resources}
            schemas = {name: await transaction.schema(name) for name in sorted(types)}
            made = [(await transaction.create(new, schemas[new.type])).id for new in resources]
            await transaction.answer(made)
        return made

    async def op_update(
        self,
        id: str,
        revision: int | None = None,
        attributes: dict[str, Any] | None = None,
        name: str | None = None,
        description: str | None = None,
        owner: str | None = None,
    ) -> Resource:
        """Change a resource, and return it; an attribute that is None is taken away.

        ``revision`` is what it is expected to have: 409 Conflict, with both sides, where it has
        another one; without, the change is made to whatever is there. ``owner`` passes it on.
        """
        said = {"attributes": attributes, "name": name, "description": description}
        changes = {key: value for key, value in said.items() if value is not None}
        async with self._transaction() as transaction:
            found, kept = await transaction.current(id, revision, changes)
            after = await transaction.update(found, kept, changes, owner)
            await transaction.answer(after)
        return after

    async def op_step(self, id: str, event: str, revision: int | None = None) -> Resource:
        """Let a resource take a step of its life cycle, and return it.

        409 where its state does not allow it; the details say what it allows.
        """
        async with self._transaction() as transaction:
            found, kept = await transaction.current(id, revision, {"event": event})
            after = await transaction.step(found, kept, event)
            await transaction.answer(after)
        return after

    async def op_retire(self, id: str, revision: int | None = None) -> Resource:
        """Retire a resource: it changes no more, and is found only where that is asked for."""
        return await self.op_step(id, RETIRE, revision)

    async def op_delete(self, id: str, revision: int | None = None) -> Resource:
        """Delete a resource: only its history still tells of it."""
        return await self.op_step(id, DELETE, revision)

    # looking

    async def op_read(self, id: str) -> Resource:
        """Return a resource as it is now; 404 where there is none, or it is deleted."""
        with answering():
            found = await self._present(id)
            if found.maturity == DELETED:
                raise not_there(id, found)
            return found

    async def op_read_many(self, ids: list[str]) -> list[Resource]:
        """Return those resources that are there, in the order of their ids as given."""
        with answering():
            if len(ids) > queries.MOST:
                queries.check_limit(len(ids))
            keys = [key for key in dict.fromkeys(ids) if stores.is_id(key)]
            values = await self._stores.resources.get_many(keys)
            some = [Entry(key, values[key], 0) for key in keys if key in values]
            if len(stores.fitting(some, self._most)) < len(some):
                message = f"these resources are over the {self._most} bytes of one answer"
                raise ApplicationError(message, code=413, type="ContentTooLarge")
            found = [resource_in(entry.value) for entry in some]
            return [resource for resource in found if resource.maturity != DELETED]

    async def op_find(
        self,
        type: str | None = None,
        where: Any = None,
        name: str | None = None,
        owner: str | None = None,
        state: str | list[str] | None = None,
        order: list[str] | None = None,
        limit: int = LIMIT,
        cursor: str | None = None,
        retired: bool = False,
        below: bool = True,
        packed: bool = False,
    ) -> Found | Packed:
        """Return resources that all of this is true of, by one query of the store.

        ``where`` is a map, such as ``{"serial": "CTD-7", "depth": {"GT": 100}}``, or a tree
        (:func:`~ion.stores.conditions.predicate_of`), of attributes that types declare as indices,
        and of ``name``, ``owner``, ``maturity``, ``availability``, ``created`` and ``modified``;
        ``order`` is of the same. ``type`` finds those of sub-types, too, unless ``below``
        is false. ``state`` is a maturity, an availability, both (``DEPLOYED_AVAILABLE``), or
        several of these; without, the retired are left out, unless ``retired``, and the deleted.
        With ``packed`` their array comes as bytes of msgpack, for who reads them at once.
        """
        home, key = self._stores, None
        with answering():
            asked = predicate_of(where)
        is_usual = packed and cursor is None and name is None and owner is None and not state
        if is_usual and isinstance(asked, Compare):
            key = queries.key_of(type, asked, order, limit, retired, below)
            again = queries.find_again(home, key, asked.value, self._most)
            if again is not None:
                return again
        with answering():
            path = None
            if type is not None:
                path = home.known_path(type) or await home.path(type)
            every = queries.wanted(
                path, asked, name, owner, state, retired, below, is_ordered=bool(order)
            )
            query = Query(every, tuple(order or ()), limit, cursor, index=False)
            found = await queries.find(home, query, self._most, packed=packed)
            if key is not None:
                queries.keep(home, key, query)
            return found

    async def op_count(
        self,
        type: str | None = None,
        where: Any = None,
        name: str | None = None,
        owner: str | None = None,
        state: str | list[str] | None = None,
        retired: bool = False,
        below: bool = True,
    ) -> int:
        """Return of how many resources all of this is true; as ``find``."""
        with answering():
            path = await self._stores.path(type) if type is not None else None
            asked = predicate_of(where)
            every = queries.wanted(path, asked, name, owner, state, retired, below)
            return await self._stores.resources.count(Query(every))

    async def op_history(self, id: str, limit: int = LIMIT, cursor: str | None = None) -> Found:
        """Return a resource as it is, and as it was, the latest revision first."""
        with answering():
            queries.check_limit(limit)
            present = await self._present(id)
            prefix = f"{id}/"
            # It may be history by now, too: what is older comes after its key there.
            own = stores.history_key(id, present.modified)
            after = f"{prefix}{cursor}" if cursor else own
            page = await self._stores.history.scan(prefix, after=after, limit=limit)
            if cursor is None:
                now = Entry(own, stores.encode(present), 0)
                page = Page([now, *page.items], page.cursor)
            some = stores.fitting(page.items[:limit], self._most)
            more = len(some) < len(page.items) or page.cursor is not None
            if not some:  # they were thinned out meanwhile, or the cursor is none
                return Found([], None)
            start = some[-1].key[len(prefix) :] if more else None
            return Found([resource_in(entry.value) for entry in some], start)

    async def op_as_of(self, id: str, at: float) -> Resource:
        """Return a resource as it was at a time, in seconds since 1970.

        404 where it was not there yet, or deleted, or where no version is kept for so long.
        """
        with answering():
            after = stores.before_key(id, at)
            found = await self._present(id)
            if found.modified > at:
                page = await self._stores.history.scan(f"{id}/", after=after, limit=1)
                if not page.items:
                    message = f"resource {id!r} is not known as of {at!r}: no version is so old"
                    raise ApplicationError(message, code=404, type="NotFound")
                found = resource_in(page.items[0].value)
            if found.maturity == DELETED:
                raise not_there(id, found)
            return found

    async def _present(self, id: str) -> Resource:
        """Return a resource as it is, deleted or not.

        :raises NotFound: there is none.
        """
        value = await self._stores.resources.get(stores.checked_id(id))
        if value is None:
            raise not_there(id)
        return resource_in(value)
