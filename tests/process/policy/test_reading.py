"""Files of rules: what is wrong is said with file, line and key, and all at once."""

from __future__ import annotations

import pytest

from ion.base.errors import ConfigurationError
from ion.container.apps.check import check
from ion.process.policy.model import When
from ion.process.policy.reading import parse, read

GOOD = """\
type: policy
roles:
  ADMIN: [OPERATOR]
  OPERATOR: []
rules:
  - {id: greet, allow: hello.*, to: anyone}
  - id: own
    allow: [instrument.set, "@events/Event.*"]
    to: [OPERATOR]
    actors: [ann]
    when: {owner: resource_id, fields: {kind: [a, 1]}, claims: {site: north}, same: {a.b: site}}
  - {deny: "*.secret", to: [anonymous]}
"""

WRONG = {
    "a key that is misspelt": (
        "  - {allow: [a.b], too: [anyone]}",
        "4: rules.0.too: unknown key (did you mean 'to'?)",
    ),
    "a role that is none": (
        "  - {allow: [a.b], to: [OPERATR]}",
        "4: rules.0.to.0: there is no role 'OPERATR' (did you mean 'OPERATOR'?)",
    ),
    "for nobody": ("  - {allow: [a.b]}", "4: rules.0: a rule is for somebody"),
    "both": ("  - {allow: a.b, deny: a.b, to: anyone}", "4: rules.0: a rule allows or denies"),
    "neither": ("  - {to: anyone}", "4: rules.0: a rule allows or denies something"),
    "nothing": ("  - {allow: [], to: anyone}", "4: rules.0: a rule allows or denies something"),
    "an op without a service": ("  - {allow: set, to: anyone}", "'set' is no pattern of ops"),
    "an op with a blank": ("  - {allow: 'a. b', to: anyone}", "'a. b' is no pattern of ops"),
    "an event without a point": ("  - {allow: '@/x', to: anyone}", "is no pattern of events"),
    "a point without topics": (
        "  - {allow: '@events', to: anyone}",
        "'@events' matches nothing: say which topics, '@events/*' for all",
    ),
    "an id twice": (
        "  - {id: a, allow: a.b, to: anyone}\n  - {id: a, allow: a.c, to: anyone}",
        "5: rules.1.id: rule 'a' is there already, in line 4",
    ),
    "no condition": ("  - {allow: a.b, to: anyone, when: {}}", "no condition is given"),
    "no condition at all": ("  - {allow: a.b, to: anyone, when: }", "no condition is given"),
    "a condition that says nothing": (
        "  - {allow: a.b, to: anyone, when: {direct: true, owner: }}",
        "4: rules.0.when.owner: 'owner' says nothing",
    ),
    "a condition that is none": (
        "  - {allow: a.b, to: anyone, when: {ownr: x}}",
        "4: rules.0.when.ownr: unknown key (did you mean 'owner'?)",
    ),
    "a field that is none": ("  - {allow: a.b, to: anyone, when: {owner: a..b}}", "is no field"),
    "a name that YAML takes for false": ("  - {id: no, allow: a.b, to: anyone}", "must be text"),
    "an actor without a name": ("  - {allow: a.b, actors: ['']}", "an actor has a name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_place(case):
    rules, said = WRONG[case]
    with pytest.raises(ConfigurationError) as raised:
        parse(f"type: policy\nroles: {{OPERATOR: []}}\nrules:\n{rules}\n", "p.yml")
    assert raised.value.message.startswith("p.yml:")
    assert said in raised.value.message


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ("{A: [B], B: [A]}", "role 'A' includes itself"),
        ("{A: [C]}", "roles.A.0: there is no role 'C'"),
        ("{anyone: []}", "is what a sender is of itself"),
        ("{'A B': []}", "a role is a word"),
    ],
)
def test_roles_that_cannot_be(roles, said):
    with pytest.raises(ConfigurationError, match=said):
        parse(f"type: policy\nroles: {roles}\n", "p.yml")


def test_all_mistakes_are_said_together():
    with pytest.raises(ConfigurationError) as raised:
        parse("type: policy\nrules:\n- {allow: a, to: X}\n- {deny: b, to: Y}\n", "p.yml")
    assert len(raised.value.details["findings"]) == 4


def test_what_is_right_is_read_as_it_stands(tmp_path):
    path = tmp_path / "p.yml"
    path.write_text(GOOD)
    rules, warnings = read(path)
    assert warnings == []
    assert [rule.id for rule in rules.rules] == ["greet", "own", "rule 3"]
    assert [rule.effect for rule in rules.rules] == ["allow", "allow", "deny"]
    own = rules.rules[1]
    assert own.place == f"{path}:7"
    assert own.actors == {"ann"}
    assert own.when == When(
        owner="resource_id",
        fields=(("kind", ("a", 1)),),
        claims=(("site", ("north",)),),
        same=(("a.b", "site"),),
    )


def test_a_rule_that_another_denies_altogether_is_a_warning():
    rules = """\
type: policy
roles: {ADMIN: [OPERATOR], OPERATOR: []}
rules:
- {id: d, deny: ["instrument.*", "@events/*"], to: [OPERATOR]}
- {id: void, allow: instrument.set, to: [ADMIN]}
- {id: void too, allow: "@events/Event.A", to: [OPERATOR]}
- {id: for others, allow: instrument.set, to: [anonymous]}
- {id: more, allow: "instr*.set", to: [ADMIN]}
"""
    _, warnings = parse(rules, "p.yml")
    assert [(w.line, w.severity) for w in warnings] == [(5, "warning"), (6, "warning")]
    assert "rule 'd' (p.yml:4) denies all that it allows" in warnings[0].message


def test_check_knows_rules_from_settings(tmp_path):
    path = tmp_path / "p.yml"
    path.write_text(GOOD.replace("to: anyone", "to: anyne"))
    assert [(f.line, f.key) for f in check([path])] == [(6, "rules.0.to")]
    path.write_text(GOOD)
    assert check([path]) == []
    path.write_text("broker: {url: 5}\n")
    assert [f.key for f in check([path])] == ["broker.url"]
