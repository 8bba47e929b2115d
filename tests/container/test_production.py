"""The profile for production: a system lives under it, and lets in only whom a rule allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ion import Container, Forbidden, Operator, Process, connect
from ion.base.config import read
from ion.container.apps.check import check
from ion.process.identity.acting import acting
from ion.process.identity.issuer import Issuer
from ion.process.identity.trust import issuer_of
from ion.services.resource_registry.client import ResourceRegistryClient

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "res" / "profiles" / "production.yml"
PATIENCE = 30.0


class Watcher(Process, name="watcher"):
    """Watches another process."""

    def __init__(self, pid: str) -> None:
        self.pid = pid
        self.down: list[str] = []

    async def on_activate(self) -> None:
        await self.monitor(self.pid)

    async def on_down(self, notice) -> None:
        self.down.append(notice.pid)


class Linked(Process, name="linked"):
    """Lives as long as another process."""

    def __init__(self, pid: str) -> None:
        self.pid = pid

    async def on_activate(self) -> None:
        await self.link(self.pid)


@asynccontextmanager
async def produced(url: str, tmp_path: Path) -> AsyncIterator[Container]:
    own = {"store.url": f"sqlite:///{tmp_path}/store.db", "policy.reload_every": 0.1}
    settings = read(own, files=[PROFILE], directory=ROOT).settings
    async with Container(url, sysname="production", settings=settings) as container:
        yield container


async def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_there_is_nothing_wrong_with_it():
    assert check([PROFILE, PROFILE.with_name("policy.yml")]) == []


async def test_a_system_lives_under_it(amqp_url, tmp_path):
    async with produced(amqp_url, tmp_path) as one, produced(amqp_url, tmp_path) as two:
        for app in ("hello", "attributestore", "resource_registry", "events", "scheduler"):
            await one.start_app(app)
        issuer = issuer_of(one.endpoint.permission, one.settings.identity, "production")
        assert issuer is not None
        async with connect(amqp_url, sysname="production") as nobody:
            with pytest.raises(Forbidden, match=r"anonymous .* may not call hello\.hello"):
                await nobody.rpc_send("hello", "hello", {})
            assert await nobody.rpc_send("hello", "ping", {}) == {"pong": "pong"}
            with pytest.raises(Forbidden):
                await nobody.rpc_send(f"{one.id}.0", "info", {})
        async with connect(amqp_url, sysname="production", token=issuer.token("eve")) as eve:
            assert await eve.rpc_send("hello", "hello", {"text": "eve"}) == "Hello there, eve"
            with pytest.raises(Forbidden, match=r"it takes OBSERVER$"):
                await eve.rpc_send("attributestore", "get", {"key": "a"})
            with pytest.raises(Forbidden, match="it takes ADMIN"):
                await eve.rpc_send("attributestore", "put", {"key": "a", "value": "b"})
        with acting(issuer.token("root", ["ADMIN"])):
            await two.rpc_send("attributestore", "put", {"key": "a", "value": "b"})
        await owners_change_what_they_own(two, issuer)
        # containers of the system watch, link and command as ever
        hello = next(p.id for p in one.processes.values() if p.name == "hello")
        watcher = two.processes[await two.spawn(Watcher, args={"pid": hello})]
        linked = await two.spawn(Linked, args={"pid": hello})
        await Operator(two).terminate(hello)
        await until(lambda: watcher.down == [hello])
        await until(lambda: linked not in two.processes)
        denied = one.endpoint.counts["policy denied"] + two.endpoint.counts["policy denied"]
        assert denied >= 6


async def test_an_observatory_works_under_it(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    async with produced("memory://", tmp_path) as container:
        await container.start_rel("observatory")
        deadline = time.monotonic() + PATIENCE
        while (await container.rpc_send("streams", "describe", {"stream": "gps"}))["last"] < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert container.endpoint.counts["policy denied"] == 0
        with acting(""), pytest.raises(Forbidden):
            await container.rpc_send("streams", "describe", {"stream": "gps"})


async def owners_change_what_they_own(container: Container, issuer: Issuer) -> None:
    """Let two operators try to change a resource of the registry; it is handed on."""
    registry = ResourceRegistryClient(container)
    ann, bob = (issuer.token(actor, ["OPERATOR"]) for actor in ("ann", "bob"))

    async def may_change(token: str, id: str, **change: str) -> bool:
        with acting(token):
            try:
                await registry.update(id, None, **change)
            except Forbidden:
                return False
        return True

    with acting(issuer.token("root", ["ADMIN"])):
        await registry.register_type("Thing", {})
    with acting(ann):
        thing = (await registry.create("Thing", "a lamp")).id
    deadline = time.monotonic() + PATIENCE
    while not await may_change(ann, thing, description="mine"):  # until it is known whose it is
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert not await may_change(bob, thing, owner="bob")
    assert await may_change(ann, thing, owner="bob")
    while not await may_change(bob, thing, description="mine, now"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert not await may_change(ann, thing, description="mine")
