"""What a policy is made of: roles, rules and their conditions; what they are asked, and answer.

An *action* is what a message wants: ``<service>.<op>`` for a call or a send (of a process without a
service: its name), ``@<point>/<topic>`` for an event. A *subject* is who wants it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

import msgspec

ALLOW: Final = "allow"
DENY: Final = "deny"
Effect = Literal["allow", "deny"]

# roles that nobody is given: what a sender is, and has shown
ANYONE = "anyone"
ANONYMOUS = "anonymous"
AUTHENTICATED = "authenticated"
KEYHOLDER = "keyholder"
OF_ITSELF = (ANYONE, ANONYMOUS, AUTHENTICATED, KEYHOLDER)

EVENT = "@"  # what begins the action of an event


class Subject(msgspec.Struct, frozen=True):
    """Who wants something.

    :ivar actor: "" for anonymous.
    :ivar roles: as its token says; what they include is looked up in the rules.
    :ivar claims: further ones of its token.
    :ivar chain: who acts for the actor.
    :ivar is_keyholder: whether the message is signed with the key of the system.
    """

    actor: str = ""
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = {}
    chain: tuple[str, ...] = ()
    is_keyholder: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it has shown who it is."""
        return bool(self.actor)


NOBODY = Subject()


class Unknown:
    """What cannot be known: a field that is not there, content that cannot be read."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = Unknown()


class Facts(Protocol):
    """What conditions are decided from: found out without I/O, and only where one asks."""

    def field(self, path: str) -> Any:
        """Return what the content says at a dotted path, or UNKNOWN."""

    def owner(self, resource: str) -> str | None:
        """Return the actor that owns a resource; None: not known here."""


class When(msgspec.Struct, frozen=True):
    """Conditions of a rule; all must hold.

    :ivar owner: the field of the content that names a resource, which the actor must own.
    :ivar actor: the field of the content that must be the actor itself.
    :ivar fields: field of the content -> values, of which it must be one.
    :ivar claims: claim of the token -> values, of which it must be, or hold, one.
    :ivar same: field of the content -> the claim of the token that it must be, or be one of.
    :ivar direct: whether nobody may act for the actor; None: all the same.
    """

    owner: str = ""
    actor: str = ""
    fields: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    claims: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    same: tuple[tuple[str, str], ...] = ()
    direct: bool | None = None

    def told(self) -> str:
        """Say for people what it asks for, without the values of others."""
        said = []
        if self.owner:
            said.append(f"its actor owns what {self.owner!r} names")
        if self.actor:
            said.append(f"{self.actor!r} is the actor itself")
        said += [f"{name!r} is one of {_words(values)}" for name, values in self.fields]
        said += [f"the token's claim {name!r} fits" for name, _ in self.claims]
        said += [f"{name!r} is as the token's claim {claim!r} says" for name, claim in self.same]
        if self.direct is not None:
            said.append("the actor itself calls" if self.direct else "somebody acts for the actor")
        return ", and ".join(said)


class Rule(msgspec.Struct, frozen=True):
    """One rule.

    :ivar id: what decisions name it by.
    :ivar actions: patterns of ``service.op`` or ``@point/topic``.
    :ivar roles: to whom: one of them, or of the ``actors``.
    :ivar when: None: without a condition.
    :ivar place: ``file:line``, or what stands for it.
    """

    id: str
    effect: Effect
    actions: tuple[str, ...]
    roles: frozenset[str] = frozenset()
    actors: frozenset[str] = frozenset()
    when: When | None = None
    description: str = ""
    place: str = ""


class Rules(msgspec.Struct, frozen=True):
    """A policy, as one file or one version says it.

    :ivar roles: role -> the roles that it includes.
    :ivar source: the file, or the version; for people.
    """

    rules: tuple[Rule, ...] = ()
    roles: Mapping[str, tuple[str, ...]] = {}
    source: str = ""


class Decision(msgspec.Struct, frozen=True):
    """What was decided, and why.

    :ivar rule: id of the rule that decided; "": none did.
    :ivar reason: for people.
    :ivar needs: roles to which a rule allows it.
    :ivar is_free: whether it is the same whatever the content says.
    """

    allowed: bool
    rule: str = ""
    reason: str = ""
    needs: tuple[str, ...] = ()
    is_free: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data; ``rule`` is None where none decided."""
        return {
            "allowed": self.allowed,
            "rule": self.rule or None,
            "reason": self.reason,
            "needs": list(self.needs),
        }


def _words(values: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, values[:5])) + (", ..." if len(values) > 5 else "")  # noqa: PLR2004
