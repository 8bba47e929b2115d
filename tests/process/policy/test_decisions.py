"""Deciding: as a plain reading of the rules says, whatever the rules, subject, action and facts."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.base.errors import ApplicationError
from ion.process.policy.decisions import Judge
from ion.process.policy.facts import GivenFacts, asked_of
from ion.process.policy.model import NOBODY, UNKNOWN, Rule, Rules, Subject, When
from ion.process.policy.reading import parse

ROLES = {"ADMIN": ("OPERATOR",), "OPERATOR": ("OBSERVER",), "OBSERVER": (), "OTHER": ()}
HELD = {  # by hand: what the judge works out
    "ADMIN": {"ADMIN", "OPERATOR", "OBSERVER"},
    "OPERATOR": {"OPERATOR", "OBSERVER"},
    "OBSERVER": {"OBSERVER"},
    "OTHER": {"OTHER"},
    "unheard-of": set(),
}
OWNERS = {"r1": "ann", "r2": "bob", "r3": ""}
PATTERNS = ["a.x", "a.y", "b.x", "a.*", "*.x", "?.y", "*.*", "[ab].x", "@p/*", "@p/E.F", "@*"]
ACTIONS = ["a.x", "a.y", "b.x", "c.z", "a.x.y", ".", "a", "@p/E.F", "@p/E", "@q/E"]

whens = st.one_of(
    st.none(),
    st.builds(
        When,
        owner=st.sampled_from(["", "id"]),
        actor=st.sampled_from(["", "who"]),
        fields=st.sampled_from([(), (("kind", (1, "t")),), (("deep.er", (True,)),)]),
        claims=st.sampled_from([(), (("site", ("north",)),)]),
        same=st.sampled_from([(), (("place", "site"),)]),
        direct=st.sampled_from([None, True, False]),
    ),
)
rules = st.lists(
    st.builds(
        Rule,
        id=st.sampled_from("abcdef"),
        effect=st.sampled_from(["allow", "deny"]),
        actions=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2).map(tuple),
        roles=st.frozensets(st.sampled_from([*ROLES, "anyone", "anonymous", "authenticated"])),
        actors=st.frozensets(st.sampled_from(["ann", "bob"])),
        when=whens,
    ),
    max_size=6,
)
subjects = st.one_of(
    st.just(NOBODY),
    st.builds(
        Subject,
        actor=st.sampled_from(["ann", "bob"]),
        roles=st.frozensets(st.sampled_from([*HELD]), max_size=2),
        claims=st.sampled_from([{}, {"site": "north"}, {"site": ["south", "north"]}]),
        chain=st.sampled_from([(), ("robot",)]),
    ),
)
contents = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["r1", "r2", "r3", "r9", 5]),
        "who": st.sampled_from(["ann", "bob", "", None]),
        "kind": st.sampled_from([1, True, "t", "u", [1]]),
        "deep": st.sampled_from([{}, {"er": True}, {"er": 1}, 5]),
        "place": st.sampled_from(["north", "south"]),
    },
)


def at(content: dict, path: str) -> object:
    for name in path.split("."):
        if not isinstance(content, dict) or name not in content:
            return UNKNOWN
        content = content[name]
    return content


def same(one: object, other: object) -> bool:
    return (type(one) is bool) == (type(other) is bool) and one == other


def condition(when: When, subject: Subject, content: dict) -> list[object]:
    """Return True, False or UNKNOWN for each condition."""
    found: list[object] = []
    claims = subject.claims
    if when.direct is not None:
        found.append(when.direct == (not subject.chain))
    if when.owner:
        resource = at(content, when.owner)
        known = resource in OWNERS if isinstance(resource, str) else False
        if resource is UNKNOWN or (isinstance(resource, str) and not known):
            found.append(UNKNOWN)
        else:
            found.append(known and subject.actor != "" and OWNERS[resource] == subject.actor)
    if when.actor:
        value = at(content, when.actor)
        found.append(UNKNOWN if value is UNKNOWN else value == subject.actor != "")
    for name, values in when.fields:
        value = at(content, name)
        found.append(UNKNOWN if value is UNKNOWN else any(same(value, v) for v in values))
    for name, values in when.claims:
        said = claims.get(name, UNKNOWN)
        each = said if isinstance(said, list) else [said]
        found.append(UNKNOWN if said is UNKNOWN else any(v in each for v in values))
    for name, claim in when.same:
        value, said = at(content, name), claims.get(claim, UNKNOWN)
        each = said if isinstance(said, list) else [said]
        found.append(UNKNOWN if UNKNOWN in (value, said) else value in each)
    return found


def fits(pattern: str, action: str) -> bool:
    if pattern.startswith("@") or action.startswith("@"):
        return pattern[:1] == action[:1] and fnmatchcase(action, pattern)
    service, _, op = action.rpartition(".")
    of_service, _, of_op = pattern.rpartition(".")
    return fnmatchcase(service, of_service) and fnmatchcase(op, of_op)


def expected(said: list[Rule], default: str, subject: Subject, action: str, content: dict) -> bool:
    held = {"anyone", "authenticated" if subject.actor else "anonymous"}
    held = held.union(*(HELD[role] for role in subject.roles))
    allows = False
    for rule in said:
        if not any(fits(pattern, action) for pattern in rule.actions):
            continue
        if not rule.roles & held and subject.actor not in rule.actors:
            continue
        found = condition(rule.when, subject, content) if rule.when is not None else []
        if rule.effect == "deny" and False not in found:
            return False
        allows = allows or (rule.effect == "allow" and set(found) <= {True})
    return allows or default == "allow"


@given(rules, st.sampled_from(["allow", "deny"]), subjects, st.sampled_from(ACTIONS), contents)
def test_it_decides_as_the_rules_read(said, default, subject, action, content):
    judge = Judge(Rules(tuple(said), ROLES), default)
    wanted = expected(said, default, subject, action, content)
    for _ in range(2):  # once more from what it remembers
        decision = judge.decide(subject, action, GivenFacts(content, OWNERS))
        assert decision.allowed == wanted
        assert decision.reason
        assert judge.consider(subject, action, GivenFacts(content, OWNERS)) == decision


def test_case_matters_and_all_ops_are_not_all_events():
    said = "type: policy\nrules: [{allow: '*.*', to: anyone}, {deny: h.secret, to: anyone}]"
    judge = Judge(parse(said, "p").rules)

    def allows(action: str) -> bool:
        return judge.decide(NOBODY, action, GivenFacts({}, {})).allowed

    assert allows("h.greet")
    assert not allows("h.secret")
    assert allows("h.Secret")  # which is another op; there is none of that name
    assert not allows("@events/Event._._.x")


def test_a_denial_tells_what_it_takes_and_nothing_of_others():
    said = """\
type: policy
roles: {ADMIN: [OPERATOR], OPERATOR: []}
rules:
  - {id: own, allow: i.set, to: [OPERATOR], when: {owner: id}}
  - {id: near, allow: i.go, to: [OPERATOR], when: {same: {site: site}}}
  - {id: named, allow: i.get, to: [OPERATOR, ADMIN], actors: [mallory]}
  - {id: known, allow: j.get, to: [authenticated]}
  - {id: all, allow: j.*, to: [ADMIN]}
"""
    judge = Judge(parse(said, "p").rules)
    ann = Subject("ann", frozenset({"OPERATOR"}))
    decision = judge.decide(ann, "i.set", GivenFacts({"id": "r2"}, OWNERS))
    assert (decision.allowed, decision.rule) == (False, "own")
    assert "owns what 'id' names" in decision.reason
    assert "bob" not in decision.reason
    decision = judge.decide(ann, "i.set", GivenFacts({"id": "r9"}, OWNERS))
    assert decision.reason.endswith("whether it is so is not known here (yet)")
    decision = judge.decide(ann, "i.set", GivenFacts({}, OWNERS))
    assert decision.reason.endswith("owns what 'id' names; the content says no 'id'")
    decision = judge.decide(ann, "i.go", GivenFacts({"site": "west"}, OWNERS))
    assert decision.reason.endswith("; the token has no claim 'site'")
    decision = judge.decide(NOBODY, "i.get", GivenFacts({}, {}))
    assert decision.needs == ("OPERATOR",)
    assert "mallory" not in decision.reason
    assert judge.decide(NOBODY, "j.get", GivenFacts({}, {})).needs == ("authenticated",)


def test_ten_thousand_rules_are_read_and_decided():
    patterns = ("s{n}.op", "s{n}.*", "*s{n}.o*")
    lines = [f"- {{allow: '{patterns[n % 3].format(n=n)}', to: [R]}}" for n in range(10_000)]
    read = parse("\n".join(["type: policy", "roles: {R: []}", "rules:", *lines]), "p")
    assert len(read.rules.rules) == 10_000
    judge, facts = Judge(read.rules), GivenFacts({}, {})
    ann = Subject("ann", frozenset({"R"}))
    for n in (9_997, 9_998, 9_999):
        assert judge.decide(ann, f"s{n}.op", facts).rule == f"rule {n + 1}"
    assert not judge.decide(ann, "t9999.op", facts).allowed
    assert not judge.decide(NOBODY, "s9999.op", facts).allowed


def test_what_it_remembers_is_bounded():
    judge = Judge(Rules())
    for n in range(25_000):
        assert not judge.decide(NOBODY, f"s.{n}", GivenFacts({}, {})).allowed
    assert len(judge._known) <= 10_000


def test_who_asks_what_would_be_decided_leaves_nothing_behind():
    rule = Rule("r", "allow", ("s.*",), frozenset({"anyone"}))
    judge = Judge(Rules((rule,)))
    for n in range(100):
        action = f"s.{n}"
        told = judge.consider(asked_of(action, f"a{n}", ["R"], None), action, GivenFacts({}, {}))
        assert told.allowed
        assert told.rule == "r"
    assert not judge._known
    assert not judge._candidates
    long = "x" * 2_000_000
    for asked in ((long, "", [], None), ("s.a", long, [], None), ("s.a", "", [long], None)):
        with pytest.raises(ApplicationError, match="at most 1024 letters"):
            asked_of(*asked)
    with pytest.raises(ApplicationError, match="1000 roles"):
        asked_of("s.a", "", [str(n) for n in range(1001)], None)
