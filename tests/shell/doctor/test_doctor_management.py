"""`ioncc doctor` and RabbitMQ's management interface: a node of its own has it."""

from __future__ import annotations

import asyncio
import subprocess
import time

import pytest
from yarl import URL

from ion.messaging.address import Namespace
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec
from ion.shell.doctor import management
from ion.shell.doctor.faults import FAULTS
from ion.testing.servers import RabbitServer
from ion.testing.servers.private import find_binary, free_port
from tests.shell.doctoring import diagnose

pytestmark = [pytest.mark.amqp, pytest.mark.slow]


@pytest.fixture(scope="module")
def managed():
    """A RabbitMQ with the management plugin, and the plugin's port."""
    port = free_port()
    with RabbitServer() as server:
        listener = f'[{{port, {port}}}, {{ip, "127.0.0.1"}}]'
        for app in ("rabbitmq_management", "rabbitmq_management_agent"):
            put = f"application:set_env({app}, listener, {listener}, [{{persistent, true}}])"
            server.eval(put)
        plugins = find_binary("rabbitmq-plugins", server.package, "/usr/lib/rabbitmq/bin")
        words = [plugins, "-q", "enable", "rabbitmq_management"]
        subprocess.run(words, env=server._environment(), check=True, capture_output=True)
        yield server, port


@pytest.fixture
async def url(managed, monkeypatch):
    """The URL of a vhost of that broker."""
    server, port = managed
    monkeypatch.setattr(management, "PORT", port)
    return server.url(server.new_vhost())


async def test_queues_without_limit_and_consumer(url):
    transport = AmqpTransport([url])
    await transport.open()
    for name, arguments in (
        ("test.forgotten", {}),
        ("test.bounded", {"x-max-length": 10}),
        ("test.passing", {"x-expires": 60_000}),
        ("others", {}),
    ):
        await transport.declare_queue(QueueSpec(name, arguments=arguments))
    seen = await diagnose(url)
    await transport.close()
    message, remedy = seen.one("queue-unlimited")
    assert "'test.forgotten' has no limit and no consumer" in message
    assert remedy.endswith("test.forgotten")
    assert "management" not in seen.unchecked


async def test_durable_subscriptions_that_collect_for_nobody(url):
    names = Namespace("test")
    specs = [
        (names.subscription_queue("lab/ctd", "forsaken"), 2),
        (names.subscription_queue("events", "empty"), 0),
        (names.subscription_queue("events", "brief", expires=3600), 1),
    ]
    transport = AmqpTransport([url])
    await transport.open()
    for spec, waiting in specs:
        await transport.declare_queue(spec)
        for _ in range(waiting):
            await transport.publish_confirmed("", spec.name, Envelope(), timeout=10)

    def is_known() -> bool:  # the broker counts now and then
        told = {q["name"]: q.get("messages") for q in management.ask(URL(url)).queues}
        return told == {spec.name: waiting for spec, waiting in specs}

    async with asyncio.timeout(60):
        while not await asyncio.to_thread(is_known):
            await asyncio.sleep(0.2)
    seen = await diagnose(url)
    await transport.close()
    message, remedy = seen.one("subscription-unconsumed")
    assert "'forsaken' to 'lab/ctd' ('test.xs.lab.sub.ctd.forsaken'), where 2 messages" in message
    assert remedy.endswith("test.xs.lab.sub.ctd.forsaken")


async def test_a_wrong_login_there_is_no_fault(url):
    with pytest.raises(ValueError, match="401"):
        management.ask(URL(url).with_password("wrong"), management.PORT)


async def test_the_brokers_clock(url, monkeypatch):
    real = time.time
    monkeypatch.setattr(management.time, "time", lambda: real() - 100)
    seen = await diagnose(url)
    assert "the clock of the broker on 127.0.0.1 is " in seen.one("clock")[0]
    assert "clock" in FAULTS
