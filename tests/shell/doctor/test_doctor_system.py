"""`ioncc doctor` and the containers: their keys, clocks, versions and health."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from ion import Container, Service
from ion.container.agent.agent import ContainerAgent
from ion.services.hello.service import HelloService
from tests.shell.doctoring import diagnose, run

pytestmark = pytest.mark.amqp
ALWAYS = ["broker-end-of-life", "guest-login"]
KEY, OTHER = "ab" * 32, "cd" * 32


class First(Service, name="counter", version="1.4.0"):
    """Of the first major version."""


class Second(Service, name="counter", version="2.0.1"):
    """Of the second one."""


class Ill(Service, name="ill"):
    """Knows that it is not well."""

    async def on_health(self):
        raise RuntimeError("no tide today")


class Slow(Service, name="slow"):
    """Takes its time."""

    def __init__(self, begun):
        self.begun = begun

    async def op_wait(self):
        self.begun.set()
        await asyncio.Event().wait()


def test_two_systems_of_one_name(ioncc, amqp_url):
    """Two users, or machines, each with a key that their first container made."""
    for folder in ("data", "other"):
        ioncc.env["XDG_DATA_HOME"] = str(ioncc.folder / folder)
        ioncc.serve("-n", "-b", amqp_url, "hello").ready()
    message, remedy = run(ioncc, "-b", amqp_url).one("two-systems")
    assert message.startswith("the system 'ion' has 2 keys: ")
    assert "-s" in remedy
    ioncc.env["XDG_DATA_HOME"] = str(ioncc.folder / "third")
    seen = run(ioncc, "-b", amqp_url)
    assert seen.codes == sorted([*ALWAYS, "key-missing", "two-systems"])
    assert str(ioncc.folder / "third" / "ion" / "ion.key") in seen.one("key-missing")[0]


async def test_another_key(amqp_url):
    async with Container(amqp_url, sysname="test", config={"agent.key": KEY}):
        seen = await diagnose(amqp_url, settings=[f"agent.key={OTHER}"])
        assert (await diagnose(amqp_url, settings=[f"agent.key={KEY}"])).codes == ALWAYS
    assert seen.codes == sorted([*ALWAYS, "key-differs"])
    assert KEY not in str(seen)
    assert OTHER not in str(seen)


SHIFTED = """
import time
real = time.time
time.time = lambda: real() + {}
"""


@pytest.mark.parametrize(
    ("seconds", "code", "way"),
    [(3600, "clock", "ahead of"), (-3600, "clock", "behind"), (20, "clock-drift", "ahead of")],
)
def test_a_clock_that_is_off(ioncc, amqp_url, seconds, code, way):
    site = ioncc.folder / "sitecustomize.py"
    site.write_text(SHIFTED.format(seconds))
    ioncc.serve("-n", "-b", amqp_url, "hello").ready()
    site.unlink()
    seen = run(ioncc, "-b", amqp_url)
    message = seen.one(code)[0]
    assert way in message
    assert seen.codes == sorted([*ALWAYS, code])


def test_different_versions_of_ion(ioncc, amqp_url):
    site = ioncc.folder / "sitecustomize.py"
    site.write_text("from ion.base import version\nversion.__version__ = '0.0.7'\n")
    old = ioncc.serve("-n", "-b", amqp_url, "hello").ready()["id"]
    site.unlink()
    assert "ion-versions" not in run(ioncc, "-b", amqp_url).codes
    ioncc.serve("-n", "-b", amqp_url, "hello").ready()
    message, _ = run(ioncc, "-b", amqp_url).one("ion-versions")
    assert f"0.0.7: container {old} on " in message


async def test_two_major_versions_by_one_name(amqp_url):
    async with Container(amqp_url, sysname="test") as container:
        await container.spawn(First)
        assert (await diagnose(amqp_url)).codes == ALWAYS
        await container.spawn(Second)
        message, remedy = (await diagnose(amqp_url)).one("service-versions")
        settled = await diagnose(amqp_url, settings=["services.counter.major=1"])
    assert "1.4.0, 2.0.1" in message
    assert "services.counter.major: 2" in remedy
    assert settled.codes == ALWAYS


async def test_a_container_that_is_not_ready(amqp_url):
    async with Container(amqp_url, sysname="test") as container:
        await container.spawn(Ill)
        message, _ = (await diagnose(amqp_url)).one("not-ready")
    assert container.id in message
    assert "no tide today" in message


async def test_an_op_that_is_stuck(amqp_url):
    begun = asyncio.Event()
    config = {"health.slow_op": 0.05}
    async with Container(amqp_url, sysname="test", config=config) as container:
        await container.spawn(Slow, args={"begun": begun})
        call = asyncio.ensure_future(container.rpc_send("slow", "wait", timeout=60))
        await asyncio.wait_for(begun.wait(), 10)
        async with asyncio.timeout(20):
            while "stuck-op" not in (seen := await diagnose(amqp_url)).codes:
                pass
        call.cancel()
    # on a busy machine, what answers the doctor may take as long
    assert any("op 'wait' of slow" in each["message"] for each in seen.findings)


@pytest.mark.parametrize("missing", ["health", "now", "key", "state", "services", "names"])
async def test_a_container_of_another_release(amqp_url, missing, monkeypatch):
    """What it does not tell hides nothing."""

    class Older(ContainerAgent):
        async def op_info(self):
            told = msgspec.to_builtins(await ContainerAgent.op_info(self))
            told.pop(missing, None)
            return told

    ops = {name: op for name, op in Older.ops.items() if name != missing}
    monkeypatch.setattr(ContainerAgent, "ops", ops)
    async with Container(amqp_url, sysname="test") as container:
        await container.spawn(HelloService)
        seen = await diagnose(amqp_url)
    assert seen.codes == ALWAYS
    assert list(seen.unchecked) == ["management"]
