"""A registry of typed messages: protobuf classes under names that stay, with versions and rules.

What is kept of a message says what it is: :class:`~ion.objects.element.Typed` has the name and the
version of its type, and its bytes. Make a registry, register what you use, and pass it on; there is
none that all share::

    registry = Registry()
    registry.register(Station, name="ion.station", version=2, rules=[Required("id")])
    registry.upgrade("ion.station", 1, StationV1, lambda old: Station(id=old.name))
    station = Repository("station-7", home, types=registry)

Fields that a release does not know are kept when it reads a message and writes it again; so is the
version of one that a newer release has written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ion.base.errors import ConfigurationError, Damaged, InvalidRequest, NewerSchema
from ion.objects.element import Typed
from ion.objects.message_merge import UnknownDiffer, merged
from ion.objects.rules import Rule, check_field
from ion.objects.types import Conflicts

_NAME = re.compile(r"[a-z][a-z0-9_]*([.-][a-z0-9_]+)*")
_NAME_MOST = 100


class _Type(msgspec.Struct):
    name: str
    version: int
    message_class: Any
    rules: tuple[Rule, ...]
    upgrades: dict[int, tuple[Any, Callable[[Any], Any]]]


class Registry:
    """Types of messages by their names.

    :raises ConfigurationError: protobuf is not installed; the message says how to get it.
    """

    def __init__(self) -> None:
        try:
            from google.protobuf.message import DecodeError
        except ImportError as error:
            message = "protobuf is not installed: pip install 'ioncore[protobuf]'"
            raise ConfigurationError(message) from error
        self._decode_error = DecodeError
        self._by_name: dict[str, _Type] = {}
        self._by_class: dict[str, _Type] = {}

    def register(
        self, message_class: Any, *, name: str, version: int = 1, rules: Sequence[Rule] = ()
    ) -> None:
        """Register the class of a type, as of its latest version that is known here.

        :param name: stays, whatever the class is called: lower-case words with dots.
        :param version: 1 or more; raise it with each change that older releases cannot read as is.
        :raises ConfigurationError: the name is none, or it or the class is registered; the class is
            none of protobuf; a rule names a field that it has not.
        """
        descriptor = getattr(message_class, "DESCRIPTOR", None)
        if not isinstance(message_class, type) or descriptor is None:
            message = f"{message_class!r} is no class of protobuf messages"
            raise ConfigurationError(message)
        if not _NAME.fullmatch(name) or len(name) > _NAME_MOST or type(version) is not int:
            message = f"{name!r} version {version!r} names no type: give 'ion.station', 2"
            raise ConfigurationError(message)
        if version < 1 or name in self._by_name or descriptor.full_name in self._by_class:
            message = f"{name!r} ({descriptor.full_name}) is registered, or its version is under 1"
            raise ConfigurationError(message)
        for rule in rules:
            check_field(descriptor, rule)
        made = _Type(name, version, message_class, tuple(rules), {})
        self._by_name[name] = self._by_class[descriptor.full_name] = made

    def upgrade(
        self, name: str, version: int, message_class: Any, function: Callable[[Any], Any]
    ) -> None:
        """Say how a message of an older version becomes one of the next.

        Where nothing is said, its bytes are read as the next version's class, as protobuf allows.

        :param version: the older one.
        :param message_class: what its bytes are read as.
        :param function: message -> message of the class of ``version + 1``.
        :raises ConfigurationError: there is no such type, or no newer version of it, or it is said.
        """
        found = self._by_name.get(name)
        if found is None or not 1 <= version < found.version or version in found.upgrades:
            message = f"{name!r} has no older version {version}, or it has an upgrade already"
            raise ConfigurationError(message)
        found.upgrades[version] = (message_class, function)

    def names(self) -> dict[str, int]:
        """Return name -> version of the types that are registered."""
        return {name: known.version for name, known in sorted(self._by_name.items())}

    def check(self, message: Any) -> None:
        """Refuse a message that breaks a rule of its type.

        :raises InvalidRequest: it does, or its type is not registered; ``details["broken"]`` says
            which fields, and how.
        """
        self._checked(message)

    # packing

    def packed(self, value: Any) -> Any:
        """See :meth:`Types.packed`."""
        return self.pack(value) if hasattr(value, "DESCRIPTOR") else value

    def pack(self, message: Any, *, version: int | None = None) -> Typed:
        """Return a message as it is kept.

        :param version: that it was read with, which stays where it is newer than the one here.
        :raises InvalidRequest: its type is not registered, or it breaks a rule.
        """
        known = self._checked(message)
        data = message.SerializeToString(deterministic=True)
        return Typed(known.name, max(known.version, version or 0), data)

    def unpacked(self, typed: Typed) -> Any:
        """See :meth:`Types.unpacked`."""
        return self.unpack(typed) if typed.name in self._by_name else typed

    def unpack(self, typed: Typed, *, is_newer_read: bool = True) -> Any:
        """Return the message, brought up to the version that is registered.

        What a newer release has written is read as far as it is known here.

        :param is_newer_read: False: it is refused.
        :raises InvalidRequest: its type is not registered.
        :raises NewerSchema: it is newer, and refused.
        :raises Damaged: it is no message of that type, or an upgrade made none of it.
        """
        known = self._by_name.get(typed.name)
        if known is None:
            message = f"type {typed.name[:100]!r} is not registered (known: {self._known()})"
            raise InvalidRequest(message, details={"type": typed.name})
        if typed.version > known.version and not is_newer_read:
            message = (
                f"a {typed.name!r} of version {typed.version} was written by a newer release: "
                f"this one knows version {known.version}; upgrade it"
            )
            raise NewerSchema(message)
        return self._upgraded(known, typed)

    def encode(self, message: Any, *, version: int | None = None) -> bytes:
        """Return a message as bytes that say what they are, for stores and messages.

        They are ``[name, version, bytes]`` in msgpack. Errors as :meth:`pack`.
        """
        typed = self.pack(message, version=version)
        return msgspec.msgpack.encode([typed.name, typed.version, typed.data])

    def decode(self, data: bytes) -> Any:
        """Return the message that :meth:`encode` has written.

        :raises Damaged: it has not. Other errors as :meth:`unpack`.
        """
        return self.unpack(typed_of(data))

    # merging

    def merge(
        self, base: Typed | None, ours: Typed, theirs: Typed
    ) -> tuple[Typed, Conflicts] | None:
        """See :meth:`Types.merge`; None, too, where no message that keeps its rules comes of it."""
        known = self._by_name.get(ours.name)
        if known is None or theirs.name != ours.name:
            return None
        before = base if base is not None and base.name == ours.name else None
        try:
            was = self.unpack(before) if before is not None else None
            result, conflicts = merged(was, self.unpack(ours), self.unpack(theirs))
            return self.pack(result, version=max(ours.version, theirs.version)), conflicts
        except (UnknownDiffer, Damaged, InvalidRequest):
            return None

    # helpers

    def _checked(self, message: Any) -> _Type:
        descriptor = getattr(message, "DESCRIPTOR", None)
        known = self._by_class.get(getattr(descriptor, "full_name", ""))
        if known is None or not isinstance(message, known.message_class):
            name = getattr(descriptor, "full_name", type(message).__name__)
            text = f"type {name} is not registered (known: {self._known()})"
            raise InvalidRequest(text, details={"type": name})
        broken: dict[str, str] = {}
        for rule in known.rules:
            how = rule.broken(message)
            if how is not None:
                broken.setdefault(rule.field, how)
        if not message.IsInitialized():
            broken |= dict.fromkeys(message.FindInitializationErrors(), "is missing")
        if broken:
            text = "; ".join(f"{field} {how}" for field, how in broken.items())
            text = f"{known.name}: {text}"
            raise InvalidRequest(text, details={"broken": broken})
        return known

    def _upgraded(self, known: _Type, typed: Typed) -> Any:
        message: Any = None
        for version in range(typed.version, known.version):
            if version not in known.upgrades:
                continue
            old_class, function = known.upgrades[version]
            message = function(self._read(old_class, typed, message))
            if not hasattr(message, "SerializePartialToString"):
                text = f"the upgrade of {known.name!r} from version {version} returned no message"
                raise Damaged(text)
        return self._read(known.message_class, typed, message)

    def _read(self, message_class: Any, typed: Typed, before: Any) -> Any:
        """Return a message of a class: the one so far, or read from bytes."""
        if isinstance(before, message_class):
            return before
        data = typed.data if before is None else before.SerializePartialToString()
        message = message_class()
        try:
            message.MergeFromString(data)
        except self._decode_error as error:
            text = f"what is kept as {typed.name!r} version {typed.version} cannot be read: {error}"
            raise Damaged(text) from error
        return message

    def _known(self) -> str:
        return ", ".join(sorted(self._by_name)) or "none"


def typed_of(data: bytes) -> Typed:
    """Return what :meth:`Registry.encode` has written, its type known or not.

    :raises Damaged: it has not.
    """
    try:
        return Typed(*msgspec.msgpack.decode(data, type=tuple[str, int, bytes]))
    except msgspec.MsgspecError as error:
        message = f"it is no typed message: {error}"
        raise Damaged(message) from error
