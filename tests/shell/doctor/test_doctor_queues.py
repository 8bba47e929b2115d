"""`ioncc doctor` and the system's exchanges and queues: each fault is made on a real broker."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from ion import Container
from ion.messaging.address import Namespace, suspect_queue
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.messaging.transport import ExchangeSpec, QueueSpec
from ion.process.granules import Transform
from ion.process.redelivery.deadletters import list_dead_letters
from ion.services.hello.service import HelloService
from ion.services.streams.client import StreamsClient
from ion.shell.commands.dlq import keys_of
from ion.shell.commands.system import ask
from tests.shell.doctoring import diagnose

pytestmark = pytest.mark.amqp
ALWAYS = ["broker-end-of-life", "guest-login"]
NAMES = Namespace("test")
IN_MEMORY = {"store.url": "memory://"}
HELLO = ["services.hello.queue=classic"]  # names the service, though no container runs


@pytest.fixture
async def broker(amqp_url):
    """A transport on the test's vhost, which declares what the tests want otherwise."""
    transport = AmqpTransport([amqp_url])
    await transport.open()
    yield transport
    await transport.close()


async def put(broker, queue, count=1):
    for number in range(count):
        envelope = Envelope("op", b"\xc0", message_id=f"m-{number}", persistent=True)
        await broker.publish_confirmed("", queue, envelope, mandatory=True, timeout=10)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ExchangeSpec("test.xs", kind="fanout"), "'type'"),
        (ExchangeSpec("test.xs", durable=False), "'durable'"),
        (ExchangeSpec("test.dlx", kind="direct"), "'type'"),
    ],
)
async def test_an_exchange_that_is_otherwise(amqp_url, broker, spec, said):
    await broker.declare_exchange(spec)
    message, remedy = (await diagnose(amqp_url)).one("exchange")
    assert spec.name in message
    assert said in message
    assert spec.name in remedy


async def test_the_remedy_for_an_exchange_works(amqp_url, broker, rabbitmq_server):
    await broker.declare_exchange(ExchangeSpec("test.xs", kind="fanout"))
    remedy = (await diagnose(amqp_url)).one("exchange")[1]
    words = shlex.split(remedy.partition("then: ")[2])
    assert words[0] == "rabbitmqctl"
    rabbitmq_server.ctl(*words[1:])
    async with Container(amqp_url, sysname="test"):
        assert (await diagnose(amqp_url)).codes == ALWAYS


async def test_no_dead_letter_exchange(amqp_url, broker):
    await broker.declare_exchange(NAMES.exchange_space())
    message, _ = (await diagnose(amqp_url)).one("no-dead-letter-exchange")
    assert "'test.dlx'" in message


async def test_no_dead_letter_queue(amqp_url, broker):
    await broker.declare_queue(NAMES.service_queue("hello"))
    message, _ = (await diagnose(amqp_url, settings=HELLO)).one("no-dead-letter-queue")
    assert "'test.hello.dlq'" in message


@pytest.mark.parametrize(
    "spec",
    [
        QueueSpec("test.hello"),
        NAMES.service_queue("hello", quorum=True),
        replace(suspect_queue(NAMES.service_queue("hello")), arguments={}),
        QueueSpec("test.hello.dlq"),
    ],
    ids=["no dead letters", "quorum", "suspects", "unlimited dead letters"],
)
async def test_a_queue_that_is_otherwise(amqp_url, broker, spec):
    for right in (NAMES.service_queue("hello"), NAMES.dead_letter_queue("hello")):
        await broker.declare_queue(spec if right.name == spec.name else right)
    await broker.declare_queue(spec)
    seen = await diagnose(amqp_url, settings=HELLO)
    message, remedy = seen.one("queue")
    assert f"'{spec.name}'" in message
    assert "x-" in message
    assert remedy.endswith(f" {spec.name}")
    assert seen.codes == [*ALWAYS, "queue"]


async def test_a_queue_as_the_settings_say(amqp_url, broker):
    for right in (NAMES.service_queue("hello", quorum=True), NAMES.dead_letter_queue("hello")):
        await broker.declare_queue(right)
    seen = await diagnose(amqp_url, settings=["services.hello.queue=quorum"])
    assert seen.codes == ALWAYS


async def test_the_queue_of_a_singleton(amqp_url, broker):
    spec = NAMES.service_queue("hello")
    single = replace(spec, arguments={**spec.arguments, "x-single-active-consumer": True})
    for right in (single, suspect_queue(single), NAMES.dead_letter_queue("hello")):
        await broker.declare_queue(right)
    assert (await diagnose(amqp_url, settings=HELLO)).codes == ALWAYS


async def test_messages_that_nobody_takes(amqp_url):
    async with Container(amqp_url, sysname="test") as container:
        pid = await container.spawn(HelloService)
        await container.terminate_process(pid)
        broker = container.transport
        await put(broker, "test.hello", 3)
        await put(broker, "test.hello.suspect")
        seen = await diagnose(amqp_url, settings=HELLO)
    assert "3 messages wait in 'test.hello'" in seen.one("queue-unconsumed")[0]
    assert "'test.hello.suspect'" in seen.one("suspects")[0]


class Same(Transform):
    """Consumes a queue of its own."""

    source, target = "ctd", "same"


async def test_dead_letters(amqp_url):
    async with Container(amqp_url, sysname="test", config=IN_MEMORY) as container:
        await container.spawn(HelloService)
        await put(container.transport, "test.hello.dlq", 2)
        await put(container.transport, "test.processes.dlq")
        await container.start_app("streams")
        await StreamsClient(container).persist("ctd", create=True)
        await container.spawn(Same)
        for key in ("persist-ctd", "Same-ctd"):
            await put(container.transport, f"test.sub.streams.{key}.dlq")
        keys = keys_of(await ask(container.endpoint), "test")
        counts = await list_dead_letters(container.endpoint, keys)
        seen = await diagnose(amqp_url)
    assert {each.key: each.messages for each in counts} == {
        "hello": 2,
        "processes": 1,
        "streams": 0,
        "sub.streams.persist-ctd": 1,
        "sub.streams.Same-ctd": 1,
    }
    found = {each["message"]: each["remedy"] for each in seen.findings}
    hello = f"ioncc dlq show hello -s test -b {amqp_url.replace(':guest@', ':***@')}"
    assert found["2 dead letters of 'hello' wait for somebody to look"] == hello
    for key in ("processes", "sub.streams.persist-ctd", "sub.streams.Same-ctd"):
        assert f"1 dead letter of {key!r} wait for somebody to look" in found
    assert seen.codes == [ALWAYS[0], "dead-letters", ALWAYS[1]]


async def test_a_step_of_the_ladder_that_keeps_what_it_gets(amqp_url, broker):
    await broker.declare_queue(QueueSpec("test.retry.200"))
    message, remedy = (await diagnose(amqp_url)).one("retry-ladder")
    assert "x-" in message
    assert remedy.endswith("test.retry.200")


async def test_a_step_of_the_ladder_without_its_queue(amqp_url):
    async with Container(amqp_url, sysname="test") as container:
        await container.spawn(HelloService)
        await container.transport.delete_queue("test.retry.1000")
        message, _ = (await diagnose(amqp_url)).one("retry-ladder")
    assert "'test.retry.1000' has lost its queue" in message


async def test_somebody_consumes_the_ladder(amqp_url):
    async with Container(amqp_url, sysname="test") as container:
        await container.spawn(HelloService)
        consumer = await container.transport.consume("test.retry.200", print, prefetch=1)
        message, _ = (await diagnose(amqp_url)).one("retry-ladder")
        await consumer.cancel()
    assert "somebody consumes 'test.retry.200'" in message


async def test_a_ladder_of_quorum_queues(amqp_url):
    settings = ["service.queue=quorum"]
    async with Container(amqp_url, sysname="test", config={"service.queue": "quorum"}) as container:
        await container.spawn(HelloService)
        assert (await diagnose(amqp_url, settings=settings)).codes == ALWAYS
        # What was set in one shell and forgotten in another one shows at the service's queues.
        seen = await diagnose(amqp_url)
    assert seen.codes == [*ALWAYS, "queue"]


async def test_a_container_of_the_name_runs(amqp_url):
    settings = ["container.name=solo"]
    assert (await diagnose(amqp_url, settings=settings)).codes == ALWAYS
    async with Container(amqp_url, sysname="test", config={"container.name": "solo"}):
        message, _ = (await diagnose(amqp_url, settings=settings)).one("container-name")
    assert "'solo' (from --set container.name)" in message


async def test_nothing_is_taken_and_nothing_is_made(amqp_url, broker):
    await broker.declare_exchange(NAMES.exchange_space())
    await broker.declare_queue(NAMES.service_queue("hello"))
    await put(broker, "test.hello", 5)
    await diagnose(amqp_url, settings=HELLO)
    info = await broker.queue_info("test.hello")
    assert info.messages == 5
    assert await broker.queue_info("test.hello.dlq") is None
    assert await broker.queue_info("test.retry.200") is None
