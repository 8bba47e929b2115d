"""Read rules from a file, or from what a service gives out: data in, rules or findings out.

::

    type: policy
    roles:
      ADMIN: [OPERATOR]          # who is ADMIN is OPERATOR, too
      OPERATOR: []
    rules:
      - {id: greet, allow: hello.*, to: [anyone]}
      - id: own instruments
        allow: [instrument.set, instrument.execute]
        to: [OPERATOR]
        when: {owner: resource_id}

Contract: everything wrong is said in one ConfigurationError, each with file, line and key; what is
not wrong, but of no effect, is a warning. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from ion.base import document
from ion.base.builder import KeyPath
from ion.base.document import Document
from ion.base.errors import ConfigurationError
from ion.base.findings import WARNING, Finding, error_of, raise_errors
from ion.base.schema import check, did_you_mean
from ion.process.policy.model import ALLOW, DENY, EVENT, OF_ITSELF, Rule, Rules, When
from ion.process.policy.shadowed_rules import void_rules

TYPE = "policy"
_SERVICE = r"[A-Za-z0-9_\-*?\[\]!]+"
_OP = re.compile(rf"{_SERVICE}\.{_SERVICE}\Z", re.ASCII)
_EVENT = re.compile(r"@[^\s/]+(/\S+)?\Z")
_WILD = frozenset("*?[")
_FIELD = re.compile(r"[^\s.]+(\.[^\s.]+)*\Z")
_ROLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:-]*\Z", re.ASCII)

Value = str | int | float | bool
Values = Value | list[Value]
Words = str | list[str]


class _When(msgspec.Struct, kw_only=True):
    owner: str | None = None
    actor: str | None = None
    fields: dict[str, Values] = {}
    claims: dict[str, Values] = {}
    same: dict[str, str] = {}
    direct: bool | None = None


class _Rule(msgspec.Struct, kw_only=True):
    id: str | None = None
    allow: Words | None = None
    deny: Words | None = None
    to: Words | None = None
    actors: Words | None = None
    when: _When | None = None
    description: str | None = None


class _File(msgspec.Struct, kw_only=True):
    type: Literal["policy"]
    description: str | None = None
    roles: dict[str, list[str]] = {}
    rules: list[_Rule] = []


class Read(NamedTuple):
    """Rules, and the warnings about them."""

    rules: Rules
    warnings: list[Finding]


def read(path: str | Path) -> Read:
    """Return the rules of a file. Blocks for as long as reading takes.

    :raises ConfigurationError: it cannot be read, or anything in it is wrong.
    """
    return rules_of(document.read(path))


def parse(text: str | bytes, name: str) -> Read:
    """Return the rules of a text.

    :param name: what stands for a file in what is said of it.
    :raises ConfigurationError: anything in it is wrong.
    """
    return rules_of(document.parse(text, name))


def is_policy(read: Document) -> bool:
    """Tell whether a file is, or tries to be, one of rules; settings have no such keys."""
    data = read.data
    return isinstance(data, Mapping) and (data.get("type") == TYPE or "rules" in data)


def findings_in(read: Document) -> list[Finding]:
    """Return what is wrong with a file of rules, and what in it has no effect."""
    try:
        return rules_of(read).warnings
    except ConfigurationError as error:
        return [Finding(**finding) for finding in error.details["findings"]]


def rules_of(read: Document) -> Read:
    """Return the rules that a file says.

    :raises ConfigurationError: anything in it is wrong.
    """
    faults = check(read.data, _File)
    if faults:
        raise error_of([read.finding(fault.path, fault.message) for fault in faults])
    said = msgspec.convert(read.data, _File)
    reader = _Reader(read, said)
    reader.look_at_roles()
    rules = tuple(reader.rule(index, rule) for index, rule in enumerate(said.rules))
    raise_errors(reader.findings)
    roles = {role: tuple(included) for role, included in said.roles.items()}
    for index, by in void_rules(rules, roles):
        message = f"this rule never applies: rule {by.id!r} ({by.place}) denies all that it allows"
        reader.say(("rules", index), message, WARNING)
    return Read(Rules(rules, roles, read.name), reader.findings)


class _Reader:
    """Looks at what has the right form, and gathers what is wrong with it."""

    def __init__(self, read: Document, said: _File) -> None:
        self.findings: list[Finding] = []
        self._read = read
        self._roles = said.roles
        self._ids: dict[str, int] = {}

    def say(self, path: KeyPath, message: str, severity: str = "error") -> None:
        self.findings.append(self._read.finding(path, message, severity))

    def look_at_roles(self) -> None:
        """Check names of roles, and what they include."""
        for role, included in self._roles.items():
            if role in OF_ITSELF:
                self.say(("roles", role), f"{role!r} is what a sender is of itself: not to be said")
            elif not _ROLE.match(role):
                self.say(("roles", role), "a role is a word of letters, digits, '_', '-' and ':'")
            for index, name in enumerate(included):
                self._look_at_role(("roles", role, index), name, self._roles)
            if self._includes_itself(role):
                self.say(("roles", role), f"role {role!r} includes itself, by what it includes")

    def _includes_itself(self, role: str) -> bool:
        seen: set[str] = set()
        open_ = list(self._roles[role])
        while open_:
            name = open_.pop()
            if name == role:
                return True
            if name not in seen:
                seen.add(name)
                open_ += self._roles.get(name, ())
        return False

    def _look_at_role(self, path: KeyPath, name: str, known: Iterable[str]) -> None:
        if name not in known:
            self.say(path, f"there is no role {name!r}{did_you_mean(name, known)}")

    def rule(self, index: int, said: _Rule) -> Rule:
        """Return one rule; what is wrong with it is noted."""
        at: KeyPath = ("rules", index)
        name = self._id(at, said.id or f"rule {index + 1}")
        effect = DENY if said.deny is not None else ALLOW
        actions = self._words((*at, effect), said.deny if said.deny is not None else said.allow)
        if (said.allow is None) == (said.deny is None) or not actions:
            self.say(at, "a rule allows or denies something: give 'allow' or 'deny', one of them")
        for path, action in actions:
            self._look_at_action(path, action)
        roles = self._words((*at, "to"), said.to)
        known = [*self._roles, *OF_ITSELF]
        for path, role in roles:
            self._look_at_role(path, role, known)
        actors = self._words((*at, "actors"), said.actors)
        for path, actor in actors:
            if not actor:
                self.say(path, "an actor has a name; who has none is 'anonymous', a role")
        self._look_at_conditions((*at, "when"), self._read.data["rules"][index])
        if not roles and not actors:
            self.say(at, "a rule is for somebody: give 'to' (roles; 'anyone' for all) or 'actors'")
        return Rule(
            id=name,
            effect=effect,  # type: ignore[arg-type]
            actions=tuple(action for _, action in actions),
            roles=frozenset(role for _, role in roles),
            actors=frozenset(actor for _, actor in actors),
            when=self._when((*at, "when"), said.when),
            description=said.description or "",
            place=f"{self._read.name}:{self._read.line_of(at)}",
        )

    def _id(self, at: KeyPath, name: str) -> str:
        first = self._ids.setdefault(name, self._read.line_of(at))
        if first != self._read.line_of(at):
            self.say((*at, "id"), f"rule {name!r} is there already, in line {first}")
        return name

    def _words(self, at: KeyPath, said: Words | None) -> list[tuple[KeyPath, str]]:
        if isinstance(said, str):
            return [(at, said)]
        return [((*at, index), word) for index, word in enumerate(said or ())]

    def _look_at_action(self, path: KeyPath, action: str) -> None:
        if action.startswith(EVENT):
            if not _EVENT.match(action):
                self.say(path, f"{action!r} is no pattern of events: '@point/topic', such as '@*'")
            elif "/" not in action and _WILD.isdisjoint(action):
                message = f"{action!r} matches nothing: say which topics, '{action}/*' for all"
                self.say(path, message)
        elif not _OP.match(action):
            message = f"{action!r} is no pattern of ops: 'service.op', such as 'hello.*' or '*.*'"
            self.say(path, message)

    def _when(self, at: KeyPath, said: _When | None) -> When | None:
        if said is None:
            return None
        if said == _When():
            self.say(at, "no condition is given; leave 'when' out where there is none")
        for key, path in (("owner", said.owner), ("actor", said.actor)):
            if path is not None:
                self._look_at_field((*at, key), path)
        for key, names in (("fields", said.fields), ("same", said.same)):
            for name in names:
                self._look_at_field((*at, key, name), name)
        return When(
            owner=said.owner or "",
            actor=said.actor or "",
            fields=tuple((name, _values(value)) for name, value in said.fields.items()),
            claims=tuple((name, _values(value)) for name, value in said.claims.items()),
            same=tuple(said.same.items()),
            direct=said.direct,
        )

    def _look_at_conditions(self, at: KeyPath, rule: Mapping[str, Any]) -> None:
        """Refuse a condition that says nothing: left out, it would let the rule hold for more."""
        when = rule.get("when")
        if "when" in rule and when is None:
            self.say(at, "no condition is given; leave 'when' out where there is none")
        for key in [key for key, said in (when or {}).items() if said is None]:
            self.say((*at, key), f"{key!r} says nothing: give what it asks for, or leave it out")

    def _look_at_field(self, at: KeyPath, path: str) -> None:
        if not _FIELD.match(path):
            self.say(at, f"{path!r} is no field of content: a name, or names with dots between")


def _values(said: Any) -> tuple[Any, ...]:
    return tuple(said) if isinstance(said, list) else (said,)
