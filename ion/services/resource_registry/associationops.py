"""The ops about associations: what is said of two resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ion.base.errors import Conflict, InvalidRequest, NotFound
from ion.services.resource_registry import queries, stores
from ion.services.resource_registry.base import Base
from ion.services.resource_registry.errors import answering
from ion.services.resource_registry.lifecycle import DELETED, GONE
from ion.services.resource_registry.model import (
    HAS_OWNER,
    Association,
    Associations,
    Found,
    PredicateType,
    Resource,
)
from ion.services.resource_registry.stores import (
    PREDICATE,
    RegistryStores,
    association_in,
    predicate_in,
    resource_in,
)
from ion.services.resource_registry.transaction import Transaction
from ion.stores.ordering import position
from ion.stores.query import Compare, Predicate, Query, checked, cursor_of
from ion.stores.store import Entry, Page

LIMIT = 100
_ROUNDS = 10  # pages that are read for one that is not empty


class AssociationOps(Base):
    """Keeps associations, and finds by them."""

    async def op_associate(self, subject: str, predicate: str, object: str) -> Association:
        """Say something of two resources; return it.

        404 where one end is not there, 400 where it is of a type that the predicate does not allow,
        409 where it is retired, or the same was said already.
        """
        _check_own(predicate)
        async with self._transaction() as transaction:
            rule = await _rule(transaction, predicate)
            types = []
            for which, end in (("subject", subject), ("object", object)):
                found, path = await transaction.end(which, end)
                await _check_end(transaction, rule, which, found, path)
                types.append(found.type)
            key = stores.association_key(subject, predicate, object)
            there = await transaction.associations.get(key)
            if there is not None:
                message = f"{subject} {predicate} {object} was said already"
                theirs = msgspec.to_builtins(association_in(there))
                raise Conflict(message, details={"theirs": theirs})
            said = transaction.said(subject, predicate, object, types[0], types[1])
            await transaction.keep(said)
            await transaction.tell_association(said, made=True)
            await transaction.answer(said)
        return said

    async def op_dissociate(self, subject: str, predicate: str, object: str) -> bool:
        """Take an association back; return whether there was one."""
        _check_own(predicate)
        async with self._transaction() as transaction:
            key = stores.association_key(subject, predicate, object)
            there = await transaction.associations.get(key)
            if there is not None:
                await transaction.associations.remove(key)
                await transaction.tell_association(association_in(there), made=False)
            await transaction.answer(there is not None)
        return there is not None

    async def op_associations(
        self,
        subject: str = "",
        predicate: str = "",
        object: str = "",
        limit: int = LIMIT,
        cursor: str | None = None,
        retired: bool = False,
    ) -> Associations:
        """Return associations that have all parts that are given.

        Those with a retired end only with ``retired``, those with a deleted one never. A page may
        be short, and still not the last one.
        """
        with answering():
            search = Search(self._stores, subject, predicate, object, limit, cursor)
            said = await search.page(self._most, retired=retired)
            return Associations([each.association for each in said], search.cursor)

    async def op_find_objects(
        self,
        subject: str,
        predicate: str = "",
        type: str | None = None,
        limit: int = LIMIT,
        cursor: str | None = None,
        retired: bool = False,
    ) -> Found:
        """Return the resources that are objects of a subject; as ``associations``.

        Without a predicate, one that several associations lead to may be on several pages.

        :param type: those of it, or below it.
        """
        with answering():
            search = Search(self._stores, subject, predicate, "", limit, cursor)
            said = await search.page(self._most, retired=retired)
            return await self._told([each.object for each in said], type, search.cursor)

    async def op_find_subjects(
        self,
        object: str,
        predicate: str = "",
        type: str | None = None,
        limit: int = LIMIT,
        cursor: str | None = None,
        retired: bool = False,
    ) -> Found:
        """Return the resources that are subjects of an object; as ``find_objects``."""
        with answering():
            search = Search(self._stores, "", predicate, object, limit, cursor)
            said = await search.page(self._most, retired=retired)
            return await self._told([each.subject for each in said], type, search.cursor)

    async def _told(
        self, resources: Sequence[Resource], type: str | None, cursor: str | None
    ) -> Found:
        each = {resource.id: resource for resource in resources}
        if type is not None:
            above = await self._stores.path(type)
            paths = {name: await self._stores.path(name) for name in {r.type for r in resources}}
            each = {key: r for key, r in each.items() if paths[r.type].startswith(above)}
        return Found(list(each.values()), cursor)


class Said(NamedTuple):
    """An association, and its ends as they are now."""

    association: Association
    subject: Resource
    object: Resource


class Search:
    """Associations that have all parts that are given; two calls of the stores for a page.

    :param cursor: of the page before.
    :ivar cursor: of the last page that was read.
    :raises InvalidRequest: no part is given, one is none, or the limit is.
    """

    def __init__(
        self,
        home: RegistryStores,
        subject: str,
        predicate: str,
        object: str,
        limit: int,
        cursor: str | None,
    ) -> None:
        queries.check_limit(limit)
        if not (subject or predicate or object):
            message = "which associations? Give a subject, a predicate or an object"
            raise InvalidRequest(message)
        for end in filter(None, (subject, object)):
            stores.checked_id(end)
        if predicate:
            stores.checked_predicate(predicate)
        self.cursor = cursor
        self._stores = home
        self._store = home.associations
        self._limit = limit
        self._prefix = ""
        self._is_one = bool(subject and predicate and object)
        self._where: Predicate | None = None
        if subject and not object:
            self._prefix = f"{subject}/{predicate}/" if predicate else f"{subject}/"
        elif subject and predicate:
            self._prefix = stores.association_key(subject, predicate, object)
        else:
            self._where = _condition(subject, predicate, object)

    async def page(self, most: int, *, retired: bool) -> list[Said]:
        """Return the next ones whose ends are there; none only where there are no more, or many
        are gone.

        :param most: bytes that one answer holds.
        :param retired: an end may be retired.
        """
        for _ in range(_ROUNDS):
            entries = await self._read()
            found = await self._with_ends(entries, most, retired=retired)
            if found or self.cursor is None:
                return found
        return []

    async def _read(self) -> Sequence[Entry]:
        """Return the entries of the next page, and take down its cursor."""
        if self._where is not None:
            query = Query(self._where, limit=self._limit, cursor=self.cursor)
            page = await self._store.query(query)
        else:
            if self.cursor is not None and not self.cursor.startswith(self._prefix):
                message = "the cursor is not one of this search: give the one of its last page"
                raise InvalidRequest(message)
            page = await self._store.scan(self._prefix, after=self.cursor, limit=self._limit)
        if self._is_one:
            page = Page([entry for entry in page.items if entry.key == self._prefix])
        self.cursor = page.cursor
        return page.items

    async def _with_ends(self, entries: Sequence[Entry], most: int, *, retired: bool) -> list[Said]:
        said = [association_in(entry.value) for entry in entries]
        ids = dict.fromkeys(end for one in said for end in (one.subject, one.object))
        values = await self._stores.resources.get_many(list(ids)) if ids else {}
        ends = {key: resource_in(value) for key, value in values.items()}
        hidden = {DELETED} if retired else {*GONE}
        found: list[Said] = []
        size = 0
        last: Entry | None = None
        for entry, one in zip(entries, said, strict=True):
            subject, object_ = ends.get(one.subject), ends.get(one.object)
            if subject is None or object_ is None or {subject.maturity, object_.maturity} & hidden:
                continue
            size += len(entry.value) + len(values[one.subject]) + len(values[one.object])
            if size > most and last is not None:
                self.cursor = self._cursor_at(last)
                break
            found.append(Said(one, subject, object_))
            last = entry
        return found

    def _cursor_at(self, entry: Entry) -> str:
        if self._where is None:
            return entry.key
        query = checked(Query(self._where), self._store.indices)
        return cursor_of(query, position(query, entry))


def _condition(subject: str, predicate: str, object: str) -> Predicate:
    if subject:
        return Compare("pair", "EQ", f"{subject}/{object}")
    if object and predicate:
        return Compare("object", "EQ", f"{object}/{predicate}")
    if object:
        return Compare("object", "GE", f"{object}/") & Compare("object", "LT", f"{object}0")
    return Compare("predicate", "EQ", predicate)


def _check_own(predicate: str) -> None:
    """Refuse to say by hand what the registry says.

    :raises ApplicationError: it is that.
    """
    with answering():
        if predicate == HAS_OWNER:
            message = f"{HAS_OWNER} goes with the owner of a resource: change that, by update"
            raise InvalidRequest(message)


async def _rule(transaction: Transaction, name: str) -> PredicateType:
    data = await transaction.types.get(f"{PREDICATE}{stores.checked_predicate(name)}")
    if data is None:
        message = f"there is no predicate {name!r}: register it first"
        raise NotFound(message, details={"predicate": name})
    return predicate_in(data)


async def _check_end(
    transaction: Transaction, rule: PredicateType, which: str, resource: Resource, path: str
) -> None:
    """Refuse an end whose type a predicate does not allow.

    :raises InvalidRequest: it does not.
    """
    types = rule.domain if which == "subject" else rule.range
    above = [await transaction.home.path(name) for name in types]
    if types and not any(path.startswith(one) for one in above):
        allowed = ", ".join(types)
        message = (
            f"the {which} of {rule.name} is a {allowed}, or below; "
            f"resource {resource.id!r} is a {resource.type}"
        )
        details = {"end": which, "id": resource.id, "type": resource.type, "allowed": types}
        raise InvalidRequest(message, details=details)
