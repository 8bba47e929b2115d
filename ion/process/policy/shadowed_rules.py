"""Find rules that can never apply, as others deny all that they allow. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from ion.process.policy.model import ALLOW, ANONYMOUS, ANYONE, AUTHENTICATED, DENY, EVENT, Rule

MAX_COMPARED = 1_000_000  # pairs; beyond, nobody waits for it


def void_rules(
    rules: Sequence[Rule], roles: Mapping[str, Sequence[str]]
) -> Iterator[tuple[int, Rule]]:
    """Give the place of each rule that allows in vain, and a rule that denies it all.

    Only what is certain is given; what two rules deny together is not found.
    """
    denies = [rule for rule in rules if rule.effect == DENY and rule.when is None]
    if len(denies) * len(rules) > MAX_COMPARED:
        return
    for index, rule in enumerate(rules):
        if rule.effect != ALLOW:
            continue
        by = next((deny for deny in denies if _covers(deny, rule, roles)), None)
        if by is not None:
            yield index, by


def _covers(deny: Rule, allow: Rule, roles: Mapping[str, Sequence[str]]) -> bool:
    is_for_all = ANYONE in deny.roles or {ANONYMOUS, AUTHENTICATED} <= deny.roles
    if not is_for_all and not (
        allow.actors <= deny.actors and all(_is_in(role, deny.roles, roles) for role in allow.roles)
    ):
        return False
    return all(any(_takes_in(pattern, one) for pattern in deny.actions) for one in allow.actions)


def _is_in(role: str, denied: frozenset[str], roles: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether who has ``role`` has a role that is denied."""
    seen: set[str] = set()
    open_ = [role]
    while open_:
        name = open_.pop()
        if name in denied:
            return True
        if name not in seen:
            seen.add(name)
            open_ += roles.get(name, ())
    return False


def _takes_in(pattern: str, one: str) -> bool:
    """Tell whether all that the pattern ``one`` fits, ``pattern`` fits; False where not certain."""
    if pattern == one:
        return True
    if "[" in one or "?" in one or pattern.startswith(EVENT) != one.startswith(EVENT):
        return False
    if pattern.startswith(EVENT):
        return fnmatchcase(one, pattern)
    parts = zip(pattern.rpartition(".")[::2], one.rpartition(".")[::2], strict=True)
    return all(fnmatchcase(narrow, wide) for wide, narrow in parts)
