"""What the resource registry speaks of: types, resources, predicates and associations."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ion.base.errors import CodecError
from ion.services.resource_registry.lifecycle import PRIVATE

Kind = Literal["str", "int", "float", "bool", "bytes", "list", "map", "any"]

ACTOR = "Actor"  # the type of who owns resources
HAS_OWNER = "hasOwner"  # kept with the owner of a resource, never said by itself


class Attribute(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An attribute of a type.

    :ivar items: what a list or map holds.
    :ivar required: it has to be given; what has a default need not be.
    :ivar least: the least number; of text, bytes, lists and maps the least length; ``most``
        likewise.
    :ivar pattern: a regular expression that all of a text is like, of 1,000 characters at most; of
        RE2's syntax, which has nothing that could run for ever.
    :ivar choices: the texts or whole numbers that it may be.
    :ivar index: resources are found by it (text, numbers, truth values).
    :ivar unit: of a number, for people.
    """

    kind: Kind = "str"
    items: Kind = "any"
    required: bool = False
    default: Any = None
    least: float | None = None
    most: float | None = None
    pattern: str | None = None
    choices: list[str | int] | None = None
    index: bool = False
    unit: str = ""
    description: str = ""


class ResourceType(msgspec.Struct, frozen=True):
    """A type of resources.

    :ivar parent: the type whose attributes it has, too; "": none.
    :ivar attributes: its own, by their names.
    :ivar life_cycle: name of the life cycle; "": that of its parent.
    :ivar version: counts the changes of what its resources are checked against.
    :ivar path: names from the root on, a ``/`` after each.
    :ivar every: its own attributes and those of the types above.
    """

    name: str
    parent: str = ""
    attributes: dict[str, Attribute] = {}
    life_cycle: str = ""
    description: str = ""
    version: int = 1
    path: str = ""
    every: dict[str, Attribute] = {}


class PredicateType(msgspec.Struct, frozen=True):
    """What associations may say.

    :ivar domain: types that a subject is of, or of a sub-type; none: any.
    :ivar range: likewise, of an object.
    """

    name: str
    domain: list[str] = []
    range: list[str] = []
    description: str = ""


class Resource(msgspec.Struct, frozen=True):
    """A resource, as it was in one revision.

    :ivar owner: id of the actor whose it is; "": nobody's.
    :ivar revision: 1, and one more with each change.
    :ivar created: seconds since 1970; ``modified`` likewise, and later with each revision.
    :ivar actor: who has made this revision; "": not known.
    :ivar change: what has made it: ``create``, ``update``, or an event of the life cycle.
    :ivar type_version: of the type that it was checked against.
    """

    id: str
    type: str
    name: str
    attributes: dict[str, Any] = {}
    description: str = ""
    owner: str = ""
    maturity: str = ""
    availability: str = PRIVATE
    revision: int = 1
    created: float = 0.0
    modified: float = 0.0
    actor: str = ""
    change: str = "create"
    type_version: int = 1

    @property
    def state(self) -> str:
        """Maturity and availability in one word, such as ``DEPLOYED_AVAILABLE``."""
        return f"{self.maturity}_{self.availability}"


class NewResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resource that is to be.

    :ivar id: letters, digits and ``_ . : @ + = , -``; "": one is made.
    """

    type: str
    name: str
    attributes: dict[str, Any] = {}
    description: str = ""
    id: str = ""


class Association(msgspec.Struct, frozen=True):
    """What is said of two resources.

    :ivar created: seconds since 1970.
    :ivar actor: who has said it.
    """

    subject: str
    predicate: str
    object: str
    subject_type: str = ""
    object_type: str = ""
    created: float = 0.0
    actor: str = ""


class Found(msgspec.Struct, frozen=True):
    """Some resources.

    :ivar cursor: gives the next ones, also where these are few; None: these are the last.
    """

    items: list[Resource] = []
    cursor: str | None = None


class Packed(msgspec.Struct, frozen=True):
    """Some resources as they are kept, which costs less than to take them apart on the way.

    :ivar items: an array of :class:`Resource`, in msgpack; ``cursor`` as in :class:`Found`.
    """

    items: bytes
    cursor: str | None = None


_resources_in = msgspec.msgpack.Decoder(list[Resource]).decode


def unpacked(answer: Any) -> Found:
    """Return what came packed.

    :raises CodecError: it did not.
    """
    try:
        return Found(_resources_in(answer["items"]), answer["cursor"])
    except (TypeError, KeyError, msgspec.MsgspecError) as error:
        message = f"the answer of resource_registry.find is not what its client expects: {error}"
        raise CodecError(message) from None


class Associations(msgspec.Struct, frozen=True):
    """Some associations; ``cursor`` as in :class:`Found`."""

    items: list[Association] = []
    cursor: str | None = None
