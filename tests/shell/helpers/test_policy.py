"""The word ``policy`` of the shell: the rules in force, and what they would decide."""

from __future__ import annotations

import pytest

from ion import Container
from ion.base.errors import ApplicationError
from ion.shell.helpers.helpers import Helpers

RULES = """\
type: policy
roles: {OPERATOR: []}
rules:
  - {id: greet, allow: hello.*, to: [OPERATOR], actors: [ann]}
  - {id: own, allow: lab.set, to: [OPERATOR], when: {owner: resource}}
"""


async def test_rules_are_listed_explained_and_put_in_force(bus, tmp_path):
    url, config = bus
    path = tmp_path / "p.yml"
    path.write_text(RULES)
    own = {"policy.file": str(path), "policy.default": "deny", "store.url": "memory://"}
    async with Container(url, sysname="test", config={**config, **own}) as container:
        await container.start_app("policy")
        policy = Helpers(container).policy
        listed = await policy()
        assert [(row["id"], row["to"]) for row in listed.rows] == [
            ("greet", "OPERATOR, actor ann"),
            ("own", "OPERATOR"),
        ]
        assert (await policy(limit=1)).note == "there are more: give a limit"
        assert (await policy.status())["source"] == str(path)
        told = await policy.explain("hello.hello", "ann")
        assert told == {
            "allowed": True,
            "rule": "greet",
            "reason": "rule 'greet' allows it",
            "needs": [],
        }
        told = await policy.explain("lab.set", "ann", "OPERATOR", {"resource": "x"})
        assert (told["allowed"], told["rule"]) == (False, "own")
        assert (await policy.explain("lab.no", "ann"))["reason"] == "no rule allows it"
        path.write_text(RULES.replace("lab.set", "lab.*"))
        assert (await policy.reload())["problem"] == ""
        assert (await policy.explain("lab.no", "ann"))["needs"] == ["OPERATOR"]
        assert await policy.put(str(path), "from the shell") == 1
        assert [row["comment"] for row in (await policy.history()).rows] == ["from the shell"]


async def test_where_no_policy_is_on_it_says_so():
    async with Container("memory://", sysname="test") as container:
        policy = Helpers(container).policy
        with pytest.raises(ApplicationError, match=r"set policy\.file, or policy\.service"):
            await policy()
