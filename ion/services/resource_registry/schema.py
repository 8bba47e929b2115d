"""What resources of a type are checked against, and how a type may change."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union

import msgspec

from ion.base.errors import ConfigurationError, InvalidRequest
from ion.base.patterns import Pattern, compiled
from ion.services.resource_registry.model import Attribute, ResourceType
from ion.stores.limits import Kind as IndexKind
from ion.stores.limits import attribute_value
from ion.stores.store import Indices

OWN: Indices = {
    "path": "str",
    "name": "str",
    "owner": "str",
    "maturity": "str",
    "availability": "str",
    "created": "float",
    "modified": "float",
}
MOST_ATTRIBUTES = 200
MOST_MATCHED = 1000  # characters: the worst of patterns takes less than 0.1 s over so many
_TAKEN = {*OWN, "id", "type", "state", "description", "revision", "actor", "change", "attributes"}
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,47}")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_DEEPEST = 12
_PLAIN: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "bytes": bytes}
_PLAIN |= {"list": list, "map": dict, "any": Any}
_INDEXED: dict[str, IndexKind] = {"str": "str", "int": "int", "float": "float", "bool": "bool"}
_MEASURED = {"str", "bytes", "list", "map"}


class Schema:
    """A type, ready to check the attributes of its resources.

    :ivar indices: attributes that its resources are found by, and their types.
    :raises InvalidRequest: an attribute is none.
    """

    def __init__(self, type_: ResourceType) -> None:
        self.type = type_
        self._convert = _checker(type_)
        self.indices = indices_of(type_)

    def checked(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return attributes with the defaults of those that are not given.

        :raises InvalidRequest: one is missing, is not the type's, or breaks its rules; the message
            names it.
        """
        given = {name: value for name, value in attributes.items() if value is not None}
        try:
            found = self._convert(given)
        except msgspec.ValidationError as error:
            message = f"{self.type.name}: {error}"
            details = {"type": self.type.name, "attributes": sorted(self.type.every)}
            raise InvalidRequest(message, details=details) from None
        for name, pattern in self._patterns:
            if name in found:
                _match(f"{self.type.name}.{name}", pattern, found[name])
        return found

    @functools.cached_property
    def _patterns(self) -> list[tuple[str, Pattern]]:
        """Patterns and whose they are; made when they are needed first.

        So resources are found whose type has a pattern of former times, which is none any more.
        """
        every = self.type.every.items()
        return [
            (name, _pattern(f"{self.type.name}.{name}", attribute.pattern))
            for name, attribute in every
            if attribute.pattern
        ]

    def index(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return those attributes by which a resource is found."""
        return {name: attributes[name] for name in self.indices if name in attributes}


def check_rules(type_: ResourceType) -> None:
    """Refuse a type of whose own attributes some rules are none, or do not go together.

    These are looked at when it is registered: a type of former times goes on as it is.

    :raises InvalidRequest: the message says what of it; or google-re2 is not installed.
    """
    for name, attribute in type_.attributes.items():
        where = f"{type_.name}.{name}"
        wrong = _wrong(attribute)
        if wrong:
            message = f"{where} cannot be checked: {wrong}"
            raise InvalidRequest(message)
        if attribute.pattern:
            pattern = _pattern(where, attribute.pattern)
            if attribute.default is not None:
                _match(f"{where}, its default", pattern, attribute.default)
        if attribute.index and attribute.default is not None:
            attribute_value(name, attribute.default, {name: _INDEXED[attribute.kind]})


def _wrong(attribute: Attribute) -> str:
    """Return what of an attribute's rules does not go together, or ""."""
    least, most, choices = attribute.least, attribute.most, attribute.choices
    if choices is not None:
        kind = _PLAIN[attribute.kind]
        if any(type(choice) is not kind for choice in choices):
            return f"its choices are of kind {attribute.kind}"
        if not (least is most is None and not attribute.pattern):
            return "choices say all: without least, most and pattern"
    if attribute.kind in {"bool", "any"} and not (least is most is None):
        return f"least and most mean nothing for a {attribute.kind}"
    if least is not None and most is not None and least > most:
        return "its least is over its most"
    return ""


def indices_of(type_: ResourceType) -> dict[str, IndexKind]:
    """Return the attributes by which resources of a type are found, and their types."""
    every = type_.every.items()
    return {name: _INDEXED[each.kind] for name, each in every if each.index}


def joined(type_: ResourceType, parent: ResourceType | None) -> ResourceType:
    """Return a type with what it has of its parent.

    :raises InvalidRequest: its name, or an attribute, is none, or is its parent's already.
    """
    if not _TYPE.fullmatch(type_.name):
        message = f"{type_.name!r} names no type: a letter, then letters, digits, _, at most 64"
        raise InvalidRequest(message)
    above = parent.every if parent is not None else {}
    twice = sorted(set(above) & set(type_.attributes))
    if twice:
        message = f"{type_.name} has {', '.join(twice)} of {parent.name if parent else ''} already"
        raise InvalidRequest(message)
    every = {**above, **type_.attributes}
    path = f"{parent.path if parent is not None else ''}{type_.name}/"
    if len(every) > MOST_ATTRIBUTES or path.count("/") > _DEEPEST:
        message = f"{type_.name}: at most {MOST_ATTRIBUTES} attributes, and {_DEEPEST} types deep"
        raise InvalidRequest(message)
    return msgspec.structs.replace(type_, every=every, path=path)


def check_change(old: ResourceType, new: ResourceType) -> None:
    """Refuse a change of a type that its resources would not survive.

    Attributes may be added, and rules of theirs change, which hold from the next change of each
    resource on.

    :raises InvalidRequest: the parent is another one, an attribute is taken away, becomes of
        another kind or is found no more, or a new one is required and has no default.
    """
    wrong = []
    if new.parent != old.parent:
        wrong.append(f"its parent stays {old.parent or 'none'}")
    for name, was in old.attributes.items():
        now = new.attributes.get(name)
        if now is None or now.kind != was.kind:
            wrong.append(f"{name} stays, of kind {was.kind}")
        elif was.index and not now.index:
            wrong.append(f"{name} stays an index")
    for name, now in new.attributes.items():
        if name not in old.attributes and now.required and now.default is None:
            wrong.append(f"{name} is new, and required: give a default")
    if wrong:
        message = f"type {new.name} cannot change so: {'; '.join(wrong)}"
        raise InvalidRequest(message, details={"type": new.name, "wrong": wrong})


def _checker(type_: ResourceType) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what checks the attributes of a type."""
    fields: list[Any] = []
    names = list(type_.every)
    for number, name in enumerate(names):
        attribute = type_.every[name]
        if name in _TAKEN or not _ATTRIBUTE.fullmatch(name):
            message = (
                f"{type_.name}: {name!r} is no attribute: a lower-case letter, then letters, "
                f"digits, _, at most 48, and none of {', '.join(sorted(_TAKEN))}"
            )
            raise InvalidRequest(message)
        fields.append(_field(f"f{number}", type_.name, name, attribute))
    rename = {f"f{number}": name for number, name in enumerate(names)}
    struct = msgspec.defstruct(
        type_.name, fields, forbid_unknown_fields=True, kw_only=True, rename=rename
    )
    unset = msgspec.UNSET

    def check(given: dict[str, Any]) -> dict[str, Any]:
        values = msgspec.structs.astuple(msgspec.convert(given, struct))
        return {name: v for name, v in zip(names, values, strict=True) if v is not unset}

    return check


def _field(field: str, type_: str, name: str, attribute: Attribute) -> Any:
    where = f"{type_}.{name}"
    try:
        hint = _hint(attribute)
        if attribute.default is not None:
            msgspec.convert(attribute.default, hint)
    except (TypeError, ValueError, OverflowError, msgspec.ValidationError) as error:
        message = f"{where} cannot be checked: {error}"
        raise InvalidRequest(message) from None
    if attribute.index and attribute.kind not in _INDEXED:
        message = f"{where}: nothing is found by a {attribute.kind}; by {', '.join(_INDEXED)}"
        raise InvalidRequest(message)
    if attribute.default is not None:
        fresh = functools.partial(copy.deepcopy, attribute.default)
        return field, hint, msgspec.field(default_factory=fresh)
    if attribute.required:
        return field, hint
    return field, Union[hint, msgspec.UnsetType], msgspec.UNSET  # noqa: UP007 - made at run time


def _hint(attribute: Attribute) -> Any:
    """Return the annotation that an attribute's values are checked against."""
    if attribute.choices is not None:
        if not attribute.choices or attribute.kind not in ("str", "int"):
            text = "choices are some texts or whole numbers"
            raise ValueError(text)
        return Literal[tuple(attribute.choices)]
    base = _PLAIN[attribute.kind]
    if attribute.kind == "list":
        base = list.__class_getitem__(_PLAIN[attribute.items])
    elif attribute.kind == "map":
        base = dict.__class_getitem__((str, _PLAIN[attribute.items]))
    least, most = attribute.least, attribute.most
    if attribute.kind in _MEASURED:
        lengths = ("min_length", least), ("max_length", most)
        rules: dict[str, Any] = {rule: int(n) for rule, n in lengths if n is not None}
    else:
        rules = {rule: n for rule, n in (("ge", least), ("le", most)) if n is not None}
        if attribute.kind == "int":
            rules = {rule: int(n) for rule, n in rules.items()}
    if attribute.pattern and attribute.kind != "str":
        text = f"a pattern is for text, not for a {attribute.kind}"
        raise ValueError(text)
    return Annotated[base, msgspec.Meta(**rules)] if rules else base


def _pattern(where: str, text: str) -> Pattern:
    """Return the pattern of an attribute.

    :raises InvalidRequest: it is none, or nothing is there that could match it.
    """
    try:
        return compiled(text)
    except (InvalidRequest, ConfigurationError) as error:
        message = f"{where} cannot be checked: {error.message}"
        raise InvalidRequest(message, details=error.details) from None


def _match(where: str, pattern: Pattern, text: str) -> None:
    """Refuse a text that is not like its pattern.

    :raises InvalidRequest: it is not, or longer than is looked at.
    """
    if len(text) > MOST_MATCHED:
        message = f"{where}: where there is a pattern, at most {MOST_MATCHED} characters"
        raise InvalidRequest(message, details={"limit": MOST_MATCHED})
    if not pattern.matches(text):
        message = f"{where}: {text[:100]!r} is not all like its pattern {pattern.text[:200]!r}"
        raise InvalidRequest(message, details={"pattern": pattern.text})
