"""The ops about types and predicates."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from ion.base.errors import Conflict, ContentTooLarge, InvalidRequest, NotFound
from ion.process.exactly_once.conflict_retry import Contended
from ion.services.resource_registry import queries, stores
from ion.services.resource_registry.base import Base
from ion.services.resource_registry.errors import answering
from ion.services.resource_registry.model import (
    HAS_OWNER,
    Attribute,
    PredicateType,
    ResourceType,
)
from ion.services.resource_registry.schema import (
    Schema,
    check_change,
    check_rules,
    indices_of,
    joined,
)
from ion.services.resource_registry.stores import (
    PENDING,
    PREDICATE,
    TYPE,
    RegistryStores,
    encode,
    predicate_in,
    resource_in,
    type_in,
)
from ion.services.resource_registry.transaction import Transaction
from ion.stores.query import Query
from ion.stores.store import Reindex, Store

log = logging.getLogger(__name__)
_PAGE = 500  # resources that are indexed at a time
T = TypeVar("T", ResourceType, PredicateType)


class TypeOps(Base):
    """Keeps what resources and associations are checked against."""

    async def op_register_type(
        self,
        name: str,
        attributes: dict[str, Attribute] | None = None,
        parent: str = "",
        life_cycle: str = "",
        description: str = "",
    ) -> ResourceType:
        """Keep a type of resources, or change the one of that name; return it.

        Attributes may be added, and their rules change; 400 for a change that resources of the
        type would not survive. Those that are there are found by a new index when this returns.
        """
        own = attributes or {}
        given = ResourceType(name, parent, own, life_cycle, description)
        with answering():
            await _drafted(
                self._stores, self._stores.types, given
            )  # what is refused declares nothing
            await self._declare_indices(given)
        async with self._transaction() as transaction:
            made = await _registered(transaction, given)
        with answering():
            await self._index_pending()
        return made

    async def op_type(self, name: str) -> ResourceType:
        """Return a type; 404 where there is none."""
        with answering():
            return (await self._stores.schema(name)).type

    async def op_types(self, below: str = "", after: str = "") -> list[ResourceType]:
        """Return all types, or one with all below it, those above first.

        As many as one answer holds; the next ones are those ``after`` the path of the last.
        """
        with answering():
            path = (await self._stores.schema(below)).type.path if below else ""
            entries = await stores.scanned(self._stores.types, TYPE)
        every = [(type_in(entry.value), len(entry.value)) for entry in entries]
        some = [(t, size) for t, size in every if t.path.startswith(path) and t.path > after]
        return self._first(sorted(some, key=lambda each: each[0].path))

    async def op_register_predicate(
        self,
        name: str,
        domain: list[str] | None = None,
        range: list[str] | None = None,
        description: str = "",
    ) -> PredicateType:
        """Keep what associations may say, of subjects of some types, and objects of some.

        404 for a type that there is none of.
        """
        with answering():
            if name == HAS_OWNER:
                message = f"predicate {HAS_OWNER} is the registry's own, and stays as it is"
                raise InvalidRequest(message)
        made = PredicateType(name, domain or [], range or [], description)
        async with self._transaction() as transaction:
            await _keep_predicate(transaction, made)
        return made

    async def op_predicates(self, after: str = "") -> list[PredicateType]:
        """Return all predicates, in the order of their names.

        As many as one answer holds; the next ones are those ``after`` the name of the last.
        """
        with answering():
            entries = await stores.scanned(self._stores.types, PREDICATE)
        every = [(predicate_in(entry.value), len(entry.value)) for entry in entries]
        return self._first([each for each in every if each[0].name > after])

    def _first(self, sized: Sequence[tuple[T, int]]) -> list[T]:
        """Return the first ones, as many as one answer holds."""
        found: list[T] = []
        left = self._most
        for each, size in sized:
            left -= size
            if left < 0 and found:
                break
            found.append(each)
        return found

    async def _bring(
        self, types: Sequence[ResourceType], predicates: Sequence[PredicateType]
    ) -> None:
        """Keep what the registry, or its configuration, brings with it; as the ops do."""
        for type_ in types:
            await self._declare_indices(type_)
        for _ in range(10):
            try:
                await self._bring_once(types, predicates)
            except Contended:
                continue  # another instance is about the same
            else:
                return
        message = "the types of the registry are changed elsewhere again and again"
        raise Conflict(message)

    async def _bring_once(
        self, types: Sequence[ResourceType], predicates: Sequence[PredicateType]
    ) -> None:
        async with self.unit_of_work() as unit:
            transaction = Transaction(self._stores, unit, self._endpoint)
            for type_ in types:
                await _registered(transaction, await _grown(transaction, type_))
            for predicate in predicates:
                await _keep_predicate(transaction, predicate)

    async def _declare_indices(self, given: ResourceType) -> None:
        """Let resources be found by what a type declares, before it is one.

        :raises InvalidRequest: that cannot be.
        """
        alone = joined(msgspec.structs.replace(given, parent=""), None)
        Schema(alone)  # refuses what is no attribute
        indices = indices_of(alone)
        if not indices.keys() <= self._stores.resources.indices.keys():
            await self._stores.declare(indices)
        wrong = [
            f"{name} ({self._stores.resources.indices[name]})"
            for name, kind in indices.items()
            if self._stores.resources.indices[name] != kind
        ]
        if wrong:
            message = (
                f"another type has an index of the same name and another kind: {', '.join(wrong)}"
            )
            raise InvalidRequest(message)

    async def _index_pending(self) -> None:
        """Let what is there be found by indices that were declared since."""
        for entry in await stores.scanned(self._stores.types, PENDING):
            name = entry.key.removeprefix(PENDING)
            count = await self._index(await self._stores.schema(name))
            await self._stores.types.remove(entry.key)
            if count:
                log.info("%d resources of type %s are found by new indices", count, name)

    async def _index(self, schema: Schema) -> int:
        predicate = queries.within(schema.type.path)
        query = Query(predicate[0] & predicate[1], limit=_PAGE)
        count = 0
        while True:
            page = await self._stores.resources.query(query)
            batch = []
            for entry in page.items:
                index = schema.index(resource_in(entry.value).attributes)
                batch.append(Reindex(entry.key, index, entry.revision))
            await self._reindex([write for write in batch if write.index])
            count += len(batch)
            if page.cursor is None:
                return count
            query = msgspec.structs.replace(query, cursor=page.cursor)

    async def _reindex(self, batch: Sequence[Reindex]) -> None:
        try:
            if batch:
                await self._stores.resources.write(batch)
        except (Conflict, NotFound):
            if len(batch) == 1:
                return  # it was changed since, and has the index by that
            for write in batch:
                await self._reindex([write])


async def _drafted(
    home: RegistryStores, types: Store, given: ResourceType
) -> tuple[ResourceType, ResourceType | None]:
    """Return a type as it is to be, and as it is, where it is.

    :raises InvalidRequest: it, or its change, cannot be.
    :raises NotFound: there is no such parent.
    """
    parent = (await home.schema(given.parent, types)).type if given.parent else None
    if given.life_cycle and given.life_cycle not in home.cycles:
        known = ", ".join(home.cycles)
        message = f"type {given.name}: there is no life cycle {given.life_cycle!r}: {known}"
        raise InvalidRequest(message)
    new = joined(given, parent)
    Schema(new)
    data = await types.get(f"{TYPE}{new.name}")
    if data is None:
        check_rules(new)
        return new, None
    old = type_in(data)
    same = msgspec.structs.replace(new, version=old.version)
    if old == same:
        return old, old
    check_rules(new)
    check_change(old, new)
    return msgspec.structs.replace(new, version=old.version + 1), old


async def _grown(transaction: Transaction, brought: ResourceType) -> ResourceType:
    """Return a type that the registry brings, with the attributes that it was given since.

    They stay: else whoever has added some would have kept the registry from starting again.
    """
    data = await transaction.types.get(f"{TYPE}{brought.name}")
    if data is None:
        return brought
    own = {**type_in(data).attributes, **brought.attributes}
    return msgspec.structs.replace(brought, attributes=own)


async def _registered(transaction: Transaction, given: ResourceType) -> ResourceType:
    """Keep a type, and what those below it have of it; return it. Errors as of a draft."""
    new, old = await _drafted(transaction.home, transaction.types, given)
    if new == old:
        return new
    await _put(transaction, new)
    if old is None:
        return new
    if indices_of(new) != indices_of(old):
        await transaction.types.put(f"{PENDING}{new.name}", b"")
    await _hand_down(transaction, new)
    return new


async def _hand_down(transaction: Transaction, above: ResourceType) -> None:
    """Give the types below one what it has now."""
    types = transaction.types
    every = [type_in(entry.value) for entry in await stores.scanned(types, TYPE)]
    known: Mapping[str, ResourceType] = {}
    known = {above.name: above}
    for type_ in sorted(every, key=lambda t: t.path):
        if type_.path.startswith(above.path) and type_.name != above.name:
            data = await types.get(f"{TYPE}{type_.name}")  # held: it does not change meanwhile
            here = type_in(data) if data is not None else type_
            after = joined(here, known[here.parent])
            Schema(after)
            after = msgspec.structs.replace(after, version=here.version + 1)
            await _put(transaction, after)
            known = {**known, after.name: after}


async def _put(transaction: Transaction, type_: ResourceType) -> None:
    data = _encoded(f"type {type_.name}", type_, transaction.most)
    await transaction.types.put(f"{TYPE}{type_.name}", data)


def _encoded(what: str, found: ResourceType | PredicateType, most: int) -> bytes:
    """Return a type or predicate as it is kept.

    :raises ContentTooLarge: no answer would hold it, beside others.
    """
    data = encode(found)
    if len(data) > most:
        message = f"{what} has {len(data)} bytes, over the {most} that one may have"
        raise ContentTooLarge(message, details={"size": len(data), "limit": most})
    return data


async def _keep_predicate(transaction: Transaction, predicate: PredicateType) -> None:
    stores.checked_predicate(predicate.name)
    for name in (*predicate.domain, *predicate.range):
        await transaction.schema(name)
    key = f"{PREDICATE}{predicate.name}"
    data = _encoded(f"predicate {predicate.name}", predicate, transaction.most)
    if await transaction.types.get(key) != data:
        await transaction.types.put(key, data)
