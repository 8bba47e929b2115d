"""Deciding: a pure function of rules, subject, action and facts, compiled and remembered.

What holds: a rule that denies wins over all that allow, wherever it stands; where none decides, the
default does. What cannot be known, fails closed: a condition on it lets no rule allow, and every
rule deny.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from typing import Any

import msgspec

from ion.process.policy.model import (
    ALLOW,
    ANONYMOUS,
    ANYONE,
    AUTHENTICATED,
    DENY,
    EVENT,
    KEYHOLDER,
    UNKNOWN,
    Decision,
    Facts,
    Rule,
    Rules,
    Subject,
    When,
)

MAX_KNOWN = 10_000  # verdicts that are remembered; then it begins anew
MAX_NEEDS = 8
_WILD = frozenset("*?[")

Fits = Callable[[str], Any]

# Who has the key of the system may command, and its containers have it.
BUILT_IN = (Rule("keyholder", ALLOW, ("*.*", "@*"), frozenset({KEYHOLDER}), place="built in"),)


class Verdict(msgspec.Struct, frozen=True):
    """What of the rules concerns one kind of subject and one action.

    :ivar decision: where no condition has to be looked at; else None.
    :ivar denies: rules that deny under a condition; allows: that allow under one.
    :ivar rest: what holds where none of these does.
    """

    decision: Decision | None
    denies: tuple[Rule, ...] = ()
    allows: tuple[Rule, ...] = ()
    rest: Decision = Decision(allowed=False)


class Judge:
    """Rules that are ready to decide. Nothing of it changes but what it remembers.

    To make one takes a second for ten thousand rules: make it in a thread.

    :param default: ``allow`` or ``deny``: where no rule decides.
    """

    def __init__(self, rules: Rules, default: str = DENY) -> None:
        self.rules = rules
        self.default = default
        self._included = _closure(rules.roles)
        self._exact: dict[str, list[Rule]] = {}
        self._of_service: dict[str, list[tuple[Fits, Rule]]] = {}
        self._wild: list[tuple[Fits, Fits, Rule]] = []
        self._events: list[tuple[Fits, Rule]] = []
        self._candidates: dict[str, list[Rule]] = {}
        for rule in (*rules.rules, *BUILT_IN):
            for pattern in rule.actions:
                self._add(pattern, rule)
        self._known: dict[tuple[str, frozenset[str], bool, str], Verdict] = {}

    def decide(self, subject: Subject, action: str, facts: Facts) -> Decision:
        """Return what the rules say; never raises but for what ``facts`` raise."""
        verdict = self.verdict(subject, action)
        if verdict.decision is not None:
            return verdict.decision
        return msgspec.structs.replace(weigh(verdict, subject, facts), is_free=False)

    def consider(self, subject: Subject, action: str, facts: Facts) -> Decision:
        """Return what :meth:`decide` would, and remember nothing of it: anybody can ask."""
        verdict = self._found(subject, _each_once(self._fitting(action)))
        if verdict.decision is not None:
            return verdict.decision
        return msgspec.structs.replace(weigh(verdict, subject, facts), is_free=False)

    def verdict(self, subject: Subject, action: str) -> Verdict:
        """Return what concerns such a subject and this action; remembered."""
        key = (subject.actor, subject.roles, subject.is_keyholder, action)
        verdict = self._known.get(key)
        if verdict is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            verdict = self._known[key] = self._found(subject, self.candidates(action))
        return verdict

    def roles_of(self, subject: Subject) -> frozenset[str]:
        """Return all roles of a subject: its own, what they include, and what it is of itself."""
        own: set[str] = {ANYONE, AUTHENTICATED if subject.is_known else ANONYMOUS}
        if subject.is_keyholder:
            own.add(KEYHOLDER)
        for role in subject.roles:
            own |= self._included.get(role, frozenset())  # one that no rule knows gives nothing
        return frozenset(own)

    def candidates(self, action: str) -> list[Rule]:
        """Return the rules whose patterns an action fits, each once; remembered."""
        found = self._candidates.get(action)
        if found is None:
            if len(self._candidates) >= MAX_KNOWN:
                self._candidates.clear()
            found = self._candidates[action] = _each_once(self._fitting(action))
        return found

    def _fitting(self, action: str) -> list[Rule]:
        if action.startswith(EVENT):
            return [rule for fits, rule in self._events if fits(action)]
        service, _, op = action.rpartition(".")
        found = list(self._exact.get(action, ()))
        found += [rule for fits, rule in self._of_service.get(service, ()) if fits(op)]
        return found + [rule for of, fits, rule in self._wild if of(service) and fits(op)]

    def _add(self, pattern: str, rule: Rule) -> None:
        service, _, op = pattern.rpartition(".")
        if pattern.startswith(EVENT):
            self._events.append((_matcher(pattern), rule))
        elif _WILD.isdisjoint(pattern):
            self._exact.setdefault(pattern, []).append(rule)
        elif _WILD.isdisjoint(service):
            self._of_service.setdefault(service, []).append((_matcher(op), rule))
        else:
            self._wild.append((_matcher(service), _matcher(op), rule))

    def _found(self, subject: Subject, candidates: list[Rule]) -> Verdict:
        held = self.roles_of(subject)
        ours = [rule for rule in candidates if rule.roles & held or subject.actor in rule.actors]
        needs = self._needs(candidates, held)
        denies = [rule for rule in ours if rule.effect == DENY]
        allows = [rule for rule in ours if rule.effect == ALLOW]
        for rule in denies:
            if rule.when is None:
                return Verdict(_denied(rule))
        free = next((rule for rule in allows if rule.when is None), None)
        rest = _allowed(free) if free is not None else self._undecided(needs)
        if not denies and (free is not None or not allows):
            return Verdict(rest)
        conditional = () if free is not None else tuple(allows)
        return Verdict(None, tuple(denies), conditional, rest)

    def _needs(self, candidates: Iterable[Rule], held: frozenset[str]) -> tuple[str, ...]:
        """Return the least roles that the subject does not have, and that the action is allowed."""
        said = {role for rule in candidates if rule.effect == ALLOW for role in rule.roles}
        roles = said - held - {KEYHOLDER}
        if AUTHENTICATED in roles:
            return (AUTHENTICATED,)  # whoever has another role is that, too
        least = [each for each in roles if not (self._included.get(each, set()) & roles) - {each}]
        return tuple(sorted(least))[:MAX_NEEDS]

    def _undecided(self, needs: tuple[str, ...]) -> Decision:
        if self.default == ALLOW:
            return Decision(allowed=True, reason="no rule is about it, and the default is to allow")
        return Decision(allowed=False, reason="no rule allows it", needs=needs)


def _each_once(rules: Iterable[Rule]) -> list[Rule]:
    return list({id(rule): rule for rule in rules}.values())


def _matcher(pattern: str) -> Fits:
    """Return what tells whether a text fits a pattern; case matters."""
    if pattern == "*":
        return _anything
    return pattern.__eq__ if _WILD.isdisjoint(pattern) else re.compile(translate(pattern)).match


def _anything(_: str) -> bool:
    return True


def weigh(verdict: Verdict, subject: Subject, facts: Facts) -> Decision:
    """Decide where conditions have to be looked at."""
    for rule in verdict.denies:
        if rule.when is not None and holds(rule.when, subject, facts) is not False:
            return _denied(rule)
    missed = verdict.rest
    for rule in verdict.allows:
        held = rule.when is None or holds(rule.when, subject, facts)
        if held:
            return _allowed(rule)
        if not missed.allowed and not missed.rule:
            why = "" if held is not None else _unknown(rule, subject, facts)
            missed = _missed(rule, verdict.rest.needs, why)
    return missed


def holds(when: When, subject: Subject, facts: Facts) -> bool | None:
    """Tell whether all conditions hold; None: none fails, and one cannot be known."""
    unknown = False
    for found in _conditions(when, subject, facts):
        if found is False:
            return False
        unknown = unknown or found is None
    return None if unknown else True


def _conditions(when: When, subject: Subject, facts: Facts) -> Iterable[bool | None]:
    if when.direct is not None:
        yield when.direct is not bool(subject.chain)
    if when.actor:
        yield _is_actor(facts.field(when.actor), subject)
    for name, values in when.fields:
        yield _is_among(facts.field(name), values)
    for claim, values in when.claims:
        yield _claims(subject.claims.get(claim, UNKNOWN), values)
    for name, claim in when.same:
        yield _is_claimed(facts.field(name), subject.claims.get(claim, UNKNOWN))
    if when.owner:
        yield _owns(facts.field(when.owner), subject, facts)


def _is_actor(value: Any, subject: Subject) -> bool | None:
    if value is UNKNOWN:
        return None
    return isinstance(value, str) and subject.is_known and value == subject.actor


def _owns(resource: Any, subject: Subject, facts: Facts) -> bool | None:
    if resource is UNKNOWN:
        return None
    if not isinstance(resource, str):
        return False
    owner = facts.owner(resource)
    return None if owner is None else subject.is_known and owner == subject.actor


def _is_among(value: Any, values: Iterable[Any]) -> bool | None:
    if value is UNKNOWN:
        return None
    return any(_equal(value, one) for one in values)


def _claims(claimed: Any, values: Iterable[Any]) -> bool | None:
    if claimed is UNKNOWN:
        return None
    each = claimed if isinstance(claimed, list | tuple) else (claimed,)
    return any(_equal(one, value) for one in each for value in values)


def _is_claimed(value: Any, claimed: Any) -> bool | None:
    if value is UNKNOWN or claimed is UNKNOWN:
        return None
    return bool(_claims(claimed, (value,)))


def _equal(one: Any, other: Any) -> bool:
    """Compare without the surprises of Python: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _allowed(rule: Rule) -> Decision:
    return Decision(allowed=True, rule=rule.id, reason=f"rule {rule.id!r} allows it")


def _unknown(rule: Rule, subject: Subject, facts: Facts) -> str:
    """Say why it cannot be known whether the conditions of a rule hold."""
    when = rule.when or When()
    asked = (when.actor, *(name for name, _ in (*when.fields, *when.same)), when.owner)
    lacks = [name for name in dict.fromkeys(asked) if name and facts.field(name) is UNKNOWN]
    if lacks:
        return f"; the content says no {_listed(lacks)}"
    wanted = [claim for claim, _ in when.claims] + [claim for _, claim in when.same]
    lacks = [claim for claim in dict.fromkeys(wanted) if claim not in subject.claims]
    if lacks:
        return f"; the token has no claim {_listed(lacks)}"
    return "; whether it is so is not known here (yet)"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _missed(rule: Rule, needs: tuple[str, ...], why: str) -> Decision:
    """Return what is told of a rule that would have allowed it, had its conditions held."""
    told = rule.when.told() if rule.when is not None else ""
    reason = f"rule {rule.id!r} allows it only where {told}{why}"
    return Decision(allowed=False, rule=rule.id, reason=reason, needs=needs)


def _denied(rule: Rule) -> Decision:
    why = f": {rule.description}" if rule.description else ""
    return Decision(allowed=False, rule=rule.id, reason=f"rule {rule.id!r} denies it{why}")


def _closure(roles: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Return for each role itself and all that it includes, at any depth; a cycle is no harm."""
    closed: dict[str, frozenset[str]] = {}
    for role in roles:
        found, open_ = {role}, [role]
        while open_:
            new = [each for each in roles.get(open_.pop(), ()) if each not in found]
            found.update(new)
            open_ += new
        closed[role] = frozenset(found)
    return closed
