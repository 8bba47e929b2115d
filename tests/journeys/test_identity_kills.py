"""The identity service is killed: what it has signed is checked all the same, and what it was told
to revoke is revoked once it is back.

It is an `ioncc` of its own on a real RabbitMQ, its store an SQLite file.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from ion import Container, IonError, Service, Unauthorized, connect
from ion.process.identity import acting
from ion.services.identity.client import IdentityClient, Session
from tests.journeys.faults.fleet import PATIENCE
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow]

ROUNDS = 2
_random = random.Random(11)


class Roles(Service, name="roles"):
    """Tells the roles of who asks."""

    async def op_of(self) -> list[str]:
        identity = self.message.identity
        return sorted(identity.roles) if identity is not None else []


SETTINGS = {
    "identity.verify": "required",
    "identity.leeway": 0,  # the clocks are one clock
    "apps.identity.remind_every": 0.5,
}


async def done(call: Any) -> Any:
    """Return what a call answers, made again until it does."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await call()
            except IonError as error:
                if error.code < 500:  # it was not done for another reason than that it was killed
                    raise
            await asyncio.sleep(0.05)


async def refused(caller: Any, token: str) -> None:
    """Return once a token is refused."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                with acting(token):
                    await caller.rpc_send("roles", "of", timeout=5)
            except Unauthorized as error:
                if error.details["reason"] != "revoked":
                    raise
                return
            await asyncio.sleep(0.02)


async def test_identity_outlives_its_service(
    tmp_path: Path, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # the system's keys are there
    config = {"identity.verify": "required", "store.url": "memory://"}
    identity = Program(tmp_path, amqp_url, "identity.app", settings=SETTINGS)
    try:
        await identity.start()
        async with (
            Container(amqp_url, sysname="kills", config=config) as container,
            connect(amqp_url, sysname="kills") as script,
        ):
            await container.spawn(Roles)
            system = IdentityClient(container, as_system=True, timeout=5)
            await system.add_actor("ada", roles=["OPERATOR"])
            secret = (await system.add_secret("ada")).secret
            async with Session(script, "ada", secret=secret) as session:
                await identity.kill()
                # its keys are everywhere: what it has signed is good, also for who comes later
                assert await script.rpc_send("roles", "of") == ["OPERATOR"]
                async with Container(amqp_url, sysname="kills", config=config) as late:
                    pid = await late.spawn(Roles)
                    assert await script.rpc_send(pid, "of") == ["OPERATOR"]
                # but nobody gives new ones
                asking = IdentityClient(script, timeout=0.5)
                with acting(""), pytest.raises(IonError):
                    await asking.authenticate("ada", secret=secret)
                await identity.start()
                before = session.grant.refresh
                await session.renew()  # the session was kept
                assert session.grant.refresh.partition(".")[0] == before.partition(".")[0]
                for _ in range(ROUNDS):
                    await _killed_in_a_change(identity, system, script, session)
    finally:
        await identity.close()


async def _killed_in_a_change(
    identity: Program, system: IdentityClient, script: Any, session: Session
) -> None:
    """Kill it at any moment of a change of roles; once that is done, old tokens are nothing."""
    token = session.grant.token
    change = asyncio.ensure_future(system.grant("ada", "X", timeout=1))
    await asyncio.sleep(_random.uniform(0, 0.02))
    await identity.kill()
    await asyncio.gather(change, return_exceptions=True)
    await identity.start()
    await done(lambda: system.grant("ada", "X", timeout=5))
    await refused(script, token)
    await session.renew()
    assert await script.rpc_send("roles", "of") == ["OPERATOR", "X"]
    await done(lambda: system.withdraw("ada", "X", timeout=5))
    await refused(script, session.grant.token)
    await session.renew()
    assert await script.rpc_send("roles", "of") == ["OPERATOR"]
