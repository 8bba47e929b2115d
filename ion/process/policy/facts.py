"""What conditions are decided from: the content of the message, and who owns what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ion.base.errors import ApplicationError, IonError
from ion.messaging import codec
from ion.messaging.envelope import Envelope
from ion.process.ops import Op
from ion.process.policy.model import UNKNOWN, Subject
from ion.process.policy.owners import Owners

MAX_ASKED = 1024  # letters of a name
MAX_ROLES = 1000


class MessageFacts:
    """The facts about one message; its content is read where a condition asks for it, once.

    :param op: that it is for; None: there is none of that name.
    """

    __slots__ = ("_content", "_envelope", "_op", "_owners")

    def __init__(self, envelope: Envelope, op: Op | None, owners: Owners) -> None:
        self._envelope = envelope
        self._op = op
        self._owners = owners
        self._content: Any = self  # not read yet

    def field(self, path: str) -> Any:
        """Return what the content says at a dotted path, or UNKNOWN."""
        if self._content is self:
            self._content = self._read()
        return field_of(self._content, path)

    def owner(self, resource: str) -> str | None:
        """Return who owns a resource; None: not known here."""
        return self._owners.of(resource)

    def _read(self) -> Any:
        """Return the content as it is bound to the op: what is no map is its first parameter."""
        envelope = self._envelope
        if not envelope.body:
            return {}
        try:
            content = codec.decode(envelope.body, envelope.content_type)
        except IonError:
            return UNKNOWN
        if hasattr(content, "ListFields"):
            from ion.messaging.protobuf import fields_of

            return fields_of(content)
        if content is None:  # as no content: the op does with its defaults
            return {}
        if isinstance(content, Mapping):
            return content
        parameters = self._op.parameters if self._op is not None else ()
        return {parameters[0].name: content} if parameters else UNKNOWN


def asked_of(
    action: str, actor: str, roles: Iterable[str] | None, claims: Mapping[str, Any] | None
) -> Subject:
    """Return whom somebody asks about who wants to know what would be decided.

    :raises ApplicationError: 400, a name is longer than any that is decided on, or there are too
        many.
    """
    named = frozenset(roles or ())
    longest = max(map(len, (action, actor, *named)))
    if longest > MAX_ASKED or len(named) > MAX_ROLES:
        message = f"an action, an actor and a role have at most {MAX_ASKED} letters, "
        message += f"and an actor {MAX_ROLES} roles"
        raise ApplicationError(message, type="BadRequest")
    return Subject(actor, named, claims or {})


class GivenFacts:
    """Facts that somebody gives who asks what would be decided."""

    def __init__(self, content: Any, owners: Mapping[str, str] | Owners) -> None:
        self._content = content
        self._owners = owners

    def field(self, path: str) -> Any:
        """Return what the content says at a dotted path, or UNKNOWN."""
        return field_of(self._content, path)

    def owner(self, resource: str) -> str | None:
        """Return who owns a resource; None: not known."""
        owners = self._owners
        return owners.of(resource) if isinstance(owners, Owners) else owners.get(resource)


def field_of(content: Any, path: str) -> Any:
    """Return what stands at a dotted path of maps, or UNKNOWN."""
    for name in path.split("."):
        if not isinstance(content, Mapping) or name not in content:
            return UNKNOWN
        content = content[name]
    return content
