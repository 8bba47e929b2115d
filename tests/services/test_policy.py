"""The policy service: rules of a system, in versions, which containers take and nobody forges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ion import Conflict, Container, Forbidden, NotFound, Service
from ion.base.errors import ConfigurationError
from ion.process.events.types import ResourceModified
from ion.process.identity.acting import acting
from ion.process.identity.trust import issuer_of
from ion.services.policy.client import PolicyClient
from ion.services.policy.service import PolicyService

KEY = {"agent.key": "5a" * 32}
SYSNAME = "test"
HEAD = "type: policy\nroles: {ADMIN: []}\nrules:\n"
OPEN = HEAD + "- {allow: lab.look, to: [anyone]}\n- {allow: 'policy.*', to: [ADMIN]}\n"
SHUT = HEAD + "- {allow: 'policy.*', to: [ADMIN]}\n"
PATIENCE = 30.0


class Lab(Service, name="lab"):
    """Is looked at."""

    async def op_look(self) -> str:
        return "seen"

    async def op_set(self, resource: str) -> str:
        return resource


class Impostor(Service, name="policy"):
    """Answers as the policy service does, but has not the key."""

    asked = 0

    async def op_rules(self, nonce: str, have: int = 0) -> dict[str, Any]:
        type(self).asked += 1
        return {"version": 7, "text": OPEN, "seal": "v1 00000000 " + "0" * 64}


class Registry(Service, name="resource_registry"):
    """Knows who owns what."""

    def __init__(self) -> None:
        self.owners = {"r1": "ann"}

    def _all(self) -> list[dict[str, str]]:
        return [{"id": name, "owner": owner} for name, owner in self.owners.items()]

    async def op_find(self, limit: int, cursor: str | None) -> dict[str, Any]:
        return {"items": self._all(), "cursor": None}

    async def op_read_many(self, ids: list[str]) -> list[dict[str, str]]:
        return [each for each in self._all() if each["id"] in ids]


async def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(bus: Any, **config: Any) -> AsyncIterator[Container]:
    url, given = bus
    own = {**given, **KEY, "identity.verify": "present", "store.url": "memory://", **config}
    async with Container(url, sysname=SYSNAME, config=own) as container:
        yield container


@asynccontextmanager
async def policed(bus: Any, **config: Any) -> AsyncIterator[Container]:
    """Give a container that takes the rules of the service, and has the service lab."""
    own = {"policy.service": True, "policy.default": "deny", "policy.reload_every": 0.1}
    async with running(bus, **{**own, **config}) as container:
        await container.spawn(Lab)
        yield container


def looked(container: Container) -> Callable[[], Any]:
    async def ask() -> bool:
        with acting(""):  # its own calls are the system's
            try:
                return await container.rpc_send("lab", "look", {}, 20) == "seen"
            except Forbidden:
                return False

    return ask


def token(container: Container, actor: str, *roles: str) -> str:
    issuer = issuer_of(container.endpoint.permission, container.settings.identity, SYSNAME)
    assert issuer is not None
    return issuer.token(actor, roles)


async def test_containers_take_the_rules_that_are_put_in_force(bus):
    async with policed(bus) as lab, running(bus) as home:
        may_look = looked(lab)
        assert not await may_look()  # there are no rules yet: nothing is allowed
        await home.spawn(PolicyService)
        client = PolicyClient(home, as_system=True)
        assert (await client.current()).version == 0
        with pytest.raises(Conflict) as conflict:
            await client.put(OPEN, 3)
        assert conflict.value.details["version"] == 0
        made = await client.put(OPEN, 0, comment="to begin with")
        assert (made.version, made.rules, made.text) == (1, 2, "")
        await until(may_look)
        with pytest.raises(ConfigurationError, match=r"rules:3: rules\.0\.alow: unknown key"):
            await client.put("type: policy\nrules:\n- {alow: a.b, to: anyone}\n", 1)
        assert [each["severity"] for each in await client.check("rules: 5")] == ["error"] * 2
        assert await may_look()
        await client.put(SHUT, 1)

        async def is_shut() -> bool:
            return not await may_look()

        await until(is_shut)
        assert lab.active_rules is not None
        assert lab.active_rules.describe()["version"] == 2
        assert [v.version for v in await client.history()] == [2, 1]
        first = await client.read(1)
        assert (first.text, first.comment) == (OPEN, "to begin with")
        await client.put(first.text, 2)  # as it was before
        await until(may_look)
        with pytest.raises(NotFound):
            await client.read(9)
        told = await client.explain("lab.look", actor="ann")
        assert (told["allowed"], told["rule"], told["version"]) == (True, "rule 1", 3)


async def test_who_may_put_rules_in_force(bus):
    own = {"policy.service": True, "policy.default": "deny", "policy.reload_every": 0.1}
    async with running(bus, **own) as home:
        await home.spawn(PolicyService)
        client = PolicyClient(home, as_system=True)
        assert home.active_rules is not None
        await client.put(SHUT, 0)

        async def is_taken() -> bool:
            return home.active_rules.version == 1

        await until(is_taken)
        with acting(token(home, "eve", "OPERATOR")), pytest.raises(Forbidden, match="takes ADMIN"):
            await PolicyClient(home).put(OPEN, 1)
        with acting(token(home, "root", "ADMIN")):
            made = await PolicyClient(home).put(OPEN, 1)
            again = await PolicyClient(home).put(OPEN, 1)  # as where the answer was lost
        assert made.actor == "root"
        assert made.version == again.version == 2


async def test_no_default_lets_anybody_put_rules_in_force(amqp_url):
    async with running((amqp_url, {})) as home:
        await home.spawn(PolicyService)
        with acting(""), pytest.raises(Forbidden, match="a rule that allows it, or the key"):
            await PolicyClient(home).put(OPEN, 0)


async def test_rules_of_an_impostor_are_not_taken(amqp_url, caplog):
    bus = (amqp_url, {})
    other = {"agent.key": "a5" * 32, "identity.verify": "off"}
    async with running(bus, **other) as elsewhere, policed(bus) as lab:
        await elsewhere.spawn(Impostor)

        async def is_asked() -> bool:
            return Impostor.asked > 2

        await until(is_asked)
        assert not await looked(lab)()
        assert lab.active_rules is not None
        assert lab.active_rules.version == 0
        assert any("their seal is not good" in record.getMessage() for record in caplog.records)


async def test_owners_are_learnt_from_the_registry_and_kept_current(bus, tmp_path):
    path = tmp_path / "p.yml"
    path.write_text(
        "type: policy\nrules:\n"
        "- {allow: lab.set, to: [authenticated], when: {owner: resource}}\n"
        "- {allow: 'resource_registry.*', to: [anyone]}\n"
        "- {allow: '@*', to: [anyone]}\n"
    )
    own = {"policy.service": False, "policy.file": str(path)}
    async with running(bus) as home:
        registry = home.processes[await home.spawn(Registry)]
        async with policed(bus, **own) as lab:

            def may_set(actor: str, resource: str) -> Callable[[], Any]:
                async def ask() -> bool:
                    with acting(token(lab, actor)):
                        try:
                            await lab.rpc_send("lab", "set", {"resource": resource}, 20)
                        except Forbidden:
                            return False
                    return True

                return ask

            await until(may_set("ann", "r1"))
            assert not await may_set("bob", "r1")()
            registry.owners["r2"] = "bob"  # made later, and nobody told of it
            await until(may_set("bob", "r2"))  # refused at first, and looked up
            registry.owners["r1"] = "bob"
            await home.publish_event(ResourceModified(origin="r1", changed=["owner"]))
            await until(may_set("bob", "r1"))
            assert not await may_set("ann", "r1")()
