"""How the registry keeps what it knows: its stores, their keys, and what is found by what.

Four stores, whose names begin with that of the registry:

* ``types``: types and predicates, under ``type/<name>`` and ``predicate/<name>``;
* ``resources``: each as it is now, under its id, found by what all have and by the attributes that
  types declare as indices;
* ``history``: as each was before, under ``<id>/<what is left of time>``: the latest comes first;
* ``associations``: under ``<subject>/<predicate>/<object>``, which is the index of subjects; found
  by their other ends, too.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence, Set
from typing import Any

import msgspec

from ion.base.errors import Conflict, InvalidRequest, NotFound
from ion.process.events.event import path_of
from ion.process.events.topics import word
from ion.process.events.types import ResourceLifecycleChanged
from ion.process.exactly_once.conflict_retry import Contended
from ion.process.pubsub.topics import MAX_TOPIC
from ion.services.resource_registry.lifecycle import DEFAULT, MAX_EVENT, LifeCycle
from ion.services.resource_registry.model import (
    ACTOR,
    Association,
    PredicateType,
    Resource,
    ResourceType,
)
from ion.services.resource_registry.schema import OWN, Schema, indices_of
from ion.stores.prepared import Finder
from ion.stores.store import Datastore, Entry, IndexStore, Indices, Store

TYPE, PREDICATE, PENDING = "type/", "predicate/", "pending/"
ASSOCIATIONS: Indices = {"predicate": "str", "object": "str", "pair": "str"}
MOST_ACTORS = 10_000
_NAME = 200  # characters
_DESCRIPTION = 10_000
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+=,-]{0,127}")
_PREDICATE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_END_OF_TIME = 10**16  # microseconds since 1970
_MICRO = 1_000_000
# of a topic, what the longest event of a resource leaves to its type and id
_TOLD = MAX_TOPIC - len(path_of(ResourceLifecycleChanged)) - len("...") - MAX_EVENT

encode = msgspec.msgpack.Encoder().encode
resource_in = msgspec.msgpack.Decoder(Resource).decode
association_in = msgspec.msgpack.Decoder(Association).decode
type_in = msgspec.msgpack.Decoder(ResourceType).decode
predicate_in = msgspec.msgpack.Decoder(PredicateType).decode


class RegistryStores:
    """The stores of a registry, and the types that were read of them; made by :meth:`open`.

    :param cycles: the life cycles that types may name.
    :param versions: of each resource that are kept, besides the present one.
    :ivar resources: that store; opened anew where types have brought indices.
    :ivar finders: what finds resources as those did who asked before; see :mod:`queries`.
    :ivar actors: ids of actors that are resources for sure; :meth:`remember` adds to them.
    """

    resources: IndexStore
    types: Store
    history: Store
    associations: IndexStore

    def __init__(
        self, datastore: Datastore, name: str, cycles: dict[str, LifeCycle], versions: int
    ) -> None:
        self.datastore = datastore
        self.cycles = cycles
        self.versions = versions
        self.name = name
        self.actors: set[str] = set()
        self.finders: dict[Any, Finder | None] = {}
        self._schemas: dict[str, tuple[bytes, Schema]] = {}

    async def open(self) -> None:
        """Open the stores.

        :raises InvalidRequest: their name is none.
        """
        self.types = await self.datastore.store(f"{self.name}_types")
        self.history = await self.datastore.store(f"{self.name}_history")
        associations = f"{self.name}_associations"
        self.associations = await self.datastore.index_store(associations, ASSOCIATIONS)
        await self.declare({})
        await self.learn()

    def remember(self, actors: Set[str]) -> None:
        """Take note of actors that are resources by now; with very many, it begins anew."""
        if len(self.actors) + len(actors) > MOST_ACTORS:
            self.actors.clear()
        self.actors |= actors

    async def declare(self, indices: Indices) -> None:
        """Let resources be found by further attributes.

        :raises InvalidRequest: they are too many together, or one is of another type already.
        """
        name = f"{self.name}_resources"
        known = self.resources.indices if hasattr(self, "resources") else {}
        self.resources = await self.datastore.index_store(name, {**OWN, **known, **indices})
        self.finders.clear()

    async def learn(self) -> bool:
        """Look for indices that types have brought elsewhere; return whether there were some."""
        before = len(self.resources.indices)
        wanted: dict[str, Any] = {}
        for entry in await scanned(self.types, TYPE):
            wanted.update(indices_of(type_in(entry.value)))
        if not wanted.keys() <= self.resources.indices.keys():
            await self.declare(wanted)
        return len(self.resources.indices) > before

    async def schema(self, name: str, types: Store | None = None) -> Schema:
        """Return a type, as it is now.

        :param types: the store of types as a unit of work sees it.
        :raises NotFound: there is none of that name.
        :raises Contended: it has brought indices elsewhere; try again.
        """
        data = await (types or self.types).get(f"{TYPE}{name}") if name else None
        if data is None:
            message = f"there is no type {name!r}: register it first"
            raise NotFound(message, details={"type": name})
        known = self._schemas.get(name)
        if known is not None and known[0] == data:
            return known[1]
        schema = Schema(type_in(data))
        if not schema.indices.keys() <= self.resources.indices.keys():
            await self.learn()
            if types is not None:
                raise Contended(Conflict(f"type {name!r} has changed"))
        self._schemas[name] = data, schema
        return schema

    async def path(self, name: str) -> str:
        """Return the path of a type, which stays as it is; errors as :meth:`schema`."""
        return self.known_path(name) or (await self.schema(name)).type.path

    def known_path(self, name: str) -> str:
        """Return the path of a type that was read before, or ""."""
        known = self._schemas.get(name)
        return known[1].type.path if known is not None else ""

    async def cycle(self, schema: Schema, types: Store) -> LifeCycle:
        """Return the life cycle of a type.

        :raises InvalidRequest: no life cycle is called that here.
        """
        type_ = schema.type
        while not type_.life_cycle and type_.parent:
            type_ = (await self.schema(type_.parent, types)).type
        found = self.cycles.get(type_.life_cycle or DEFAULT)
        if found is None:
            message = f"type {type_.name!r}: there is no life cycle {type_.life_cycle!r} here"
            raise InvalidRequest(message)
        return found


async def scanned(store: Store, prefix: str) -> list[Entry]:
    """Return all entries of some keys; for those that are never many."""
    found: list[Entry] = []
    after: str | None = None
    while True:
        page = await store.scan(prefix, after=after)
        found += page.items
        if page.cursor is None:
            return found
        after = page.cursor


# keys and names


def new_id() -> str:
    """Return an id for a resource, unique for ever."""
    return uuid.uuid4().hex


def is_id(text: str) -> bool:
    """Return whether a text may be the id of a resource."""
    return _ID.fullmatch(text) is not None


def checked_id(id: str) -> str:
    """Return the id of a resource.

    :raises InvalidRequest: it is none.
    """
    if not is_id(id):
        message = f"{id[:100]!r} is no id: letters, digits, and _ . : @ + = , -, at most 128"
        raise InvalidRequest(message)
    return id


def check_told(type: str, id: str) -> None:
    """Refuse an id with which not all that becomes of a resource could be told.

    Else there would be resources that can be made, and not be retired.

    :raises InvalidRequest: it is too long, with its type.
    """
    if not _is_told(type, id):
        message = (
            f"{id!r} is too long for the events of a {type}: {_TOLD} characters together, where "
            "what is no letter, digit, - or _ counts three times"
        )
        raise InvalidRequest(message)


def _is_told(type: str, id: str) -> bool:
    return len(word(type)) + len(word(id)) <= _TOLD


def checked_texts(name: str, description: str) -> None:
    """Refuse a name or description that is none.

    :raises InvalidRequest: it is.
    """
    if not name.strip() or len(name) > _NAME or not name.isprintable():
        message = f"a name has 1 to {_NAME} printable characters: {name[:50]!r} has not"
        raise InvalidRequest(message)
    if len(description) > _DESCRIPTION:
        message = f"a description has at most {_DESCRIPTION} characters"
        raise InvalidRequest(message)


def checked_owner(owner: str) -> str:
    """Return whose a resource is to be; "": nobody's.

    :raises InvalidRequest: that is the name of no actor.
    """
    if len(owner) > _NAME or not owner.isprintable():
        message = f"an owner has at most {_NAME} printable characters: {owner[:50]!r} has not"
        raise InvalidRequest(message)
    return owner


def checked_predicate(name: str) -> str:
    """Return the name of a predicate.

    :raises InvalidRequest: it is none.
    """
    if not _PREDICATE.fullmatch(name):
        message = (
            f"{name[:100]!r} names no predicate: a letter, then letters, digits, _, at most 64"
        )
        raise InvalidRequest(message)
    return name


def actor_id(actor: str) -> str:
    """Return the id of the resource that is an actor."""
    plain = f"actor:{actor}"
    if _ID.fullmatch(plain) and _is_told(ACTOR, plain):
        return plain
    return f"actor:sha256={hashlib.sha256(actor.encode('utf-8', 'replace')).hexdigest()[:40]}"


def history_key(id: str, modified: float) -> str:
    """Return the key of what a resource was from a time on."""
    return f"{id}/{_END_OF_TIME - micros(modified):017d}"


def before_key(id: str, at: float) -> str:
    """Return the key after which what a resource was at a time, and before, is found."""
    return f"{id}/{_END_OF_TIME - micros(at) - 1:017d}"


def micros(at: float) -> int:
    """Return seconds as microseconds.

    :raises InvalidRequest: that is no time.
    """
    if not 0 <= at < _END_OF_TIME // _MICRO:
        message = f"{at!r} is no time: give seconds since 1970"
        raise InvalidRequest(message)
    return round(at * _MICRO)


def later(now: float, than: float) -> float:
    """Return now, or a little after ``than``, where the clock was set back."""
    return max(round(now, 6), round(than + 2 / _MICRO, 6))


def association_key(subject: str, predicate: str, object: str) -> str:
    """Return the key of an association."""
    return f"{subject}/{predicate}/{object}"


def association_index(found: Association) -> dict[str, str]:
    """Return what an association is found by."""
    return {
        "predicate": found.predicate,
        "object": f"{found.object}/{found.predicate}",
        "pair": f"{found.subject}/{found.object}",
    }


def resource_index(resource: Resource, schema: Schema) -> dict[str, Any]:
    """Return what a resource is found by."""
    return {
        "path": schema.type.path,
        "name": resource.name,
        "owner": resource.owner or None,
        "maturity": resource.maturity,
        "availability": resource.availability,
        "created": resource.created,
        "modified": resource.modified,
        **schema.index(resource.attributes),
    }


def fitting(entries: Sequence[Entry], most: int) -> Sequence[Entry]:
    """Return the first entries, as many as one answer holds, and one at least.

    :param most: bytes.
    """
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.value)
        if size > most and count:
            return entries[:count]
    return entries
