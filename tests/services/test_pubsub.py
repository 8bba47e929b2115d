"""Exchange spaces, points, topics and subscriptions: declared, listed, and really undeclared."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from ion import ApplicationError, Container, Process, connect
from ion.base.errors import (
    ConfigurationError,
    Conflict,
    InvalidRequest,
    NotFound,
    ReceivedContainerError,
    ServiceNotFound,
)
from ion.messaging.amqp.topology_recovery import reassert
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.transport import ExchangeSpec, QueueSpec
from ion.process.connection import Connection
from ion.process.redelivery import deadletters
from ion.services.pubsub.client import PubsubClient
from ion.services.pubsub.model import Gone
from ion.services.pubsub.service import PubsubService
from ion.testing.servers import RabbitServer

Bus = tuple[str, dict[str, object]]
SPACE = "lab"


class Ear(Process):
    """Hears, and publishes."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.refuses = True

    async def on_event(self, content: Any, headers: Any, msg: Any) -> None:
        self.heard.append(content)

    async def on_refused(self, content: Any, headers: Any, msg: Any) -> None:
        if self.refuses:
            raise ApplicationError("not yet")
        self.heard.append(content)


@pytest.fixture
async def system(bus: Bus, tmp_path: Any) -> AsyncIterator[tuple[Container, Container]]:
    """Give a container that has the service, and one of the same system that has none."""
    url, config = bus
    config = {**config, "store.url": f"sqlite:///{tmp_path}/store.db"}
    async with (
        Container(url, sysname="test", config=config) as one,
        Container(url, sysname="test", config=config) as other,
    ):
        await one.start_app("pubsub")
        yield one, other


@pytest.fixture
def client(system: tuple[Container, Container]) -> PubsubClient:
    """Give a client that calls from the container that has no service."""
    return PubsubClient(system[1])


async def ear(container: Container) -> Ear:
    process = container.processes[await container.spawn(Ear)]
    assert isinstance(process, Ear)
    return process


async def until(condition: Callable[[], Awaitable[bool] | bool]) -> None:
    async with asyncio.timeout(15):
        while not (await told if isinstance(told := condition(), Awaitable) else told):
            await asyncio.sleep(0.01)


async def is_there(container: Container, exchange: str) -> bool:
    """Ask the broker itself: a queue is bound to what is there only."""
    probe = f"probe-{exchange}"
    transport = container.transport
    await transport.declare_queue(QueueSpec(probe))
    try:
        await transport.bind(probe, exchange, "probe")
    except ServiceNotFound:
        return False
    finally:
        await transport.delete_queue(probe)
    return True


async def test_equal_names_in_two_spaces_are_two(
    client: PubsubClient, system: tuple[Container, Container]
) -> None:
    one, other = system
    await client.declare_space(SPACE, description="the laboratory", owner="ann")
    points = [await client.declare_point(path) for path in ("ctd", f"{SPACE}/ctd")]
    assert [p.exchange for p in points] == ["test.xp.ctd", "test.xs.lab.xp.ctd"]
    made = [await client.subscribe("archive", p.name, ["#"]) for p in points]
    assert [s.queue for s in made] == ["test.sub.ctd.archive", "test.xs.lab.sub.ctd.archive"]
    voice = await ear(other)
    await voice.publish(f"{SPACE}/ctd", "a.b", "for the lab")
    assert [(s.point, s.messages) async for s in client.subscriptions()] == [
        ("ctd", 0),
        (f"{SPACE}/ctd", 1),
    ]
    assert [s.messages async for s in client.subscriptions(space=SPACE)] == [1]
    hearer = await ear(one)
    await client.attach(hearer, "archive", f"{SPACE}/ctd", hearer.on_event)
    await until(lambda: hearer.heard == ["for the lab"])
    assert [p.name async for p in client.points()] == ["ctd", "events", "lab/ctd"]
    assert [(s.name, s.exchange, s.owner) async for s in client.spaces()] == [
        ("lab", "test.xs.lab", "ann"),
        ("system", "test.xs", ""),
    ]


async def test_a_subscription_collects_before_anybody_consumes_and_goes_for_good(
    client: PubsubClient, system: tuple[Container, Container]
) -> None:
    one, other = system
    await client.declare_point("ctd")
    await client.declare_topic("temperatures", "ctd", ["*.temp"], description="of all stations")
    await client.subscribe("archive", "ctd", ["a.salt"], named=["temperatures"])
    voice = await ear(other)
    for topic in ("a.temp", "b.temp", "a.salt", "b.salt"):
        await voice.publish("ctd", topic, topic)
    seen = await client.subscription("archive", "ctd")
    assert (seen.topics, seen.messages, seen.consumers) == (["a.salt", "*.temp"], 3, 0)
    with pytest.raises(Conflict, match="subscription archive"):
        await client.undeclare_topic("temperatures", "ctd")
    with pytest.raises(Conflict, match="subscription archive"):
        await client.declare_topic("temperatures", "ctd", ["#"])
    assert (await client.subscribe("archive", "ctd", ["b.salt"])).topics == ["b.salt"]
    for topic in ("a.temp", "a.salt", "b.salt"):  # the old bindings are gone, too
        await voice.publish("ctd", topic, topic)
    assert (await client.subscription("archive", "ctd")).messages == 4
    assert await client.undeclare_topic("temperatures", "ctd") == Gone(True)

    hearer = await ear(one)
    await client.attach(hearer, "archive", "ctd", hearer.on_event)
    await until(lambda: len(hearer.heard) == 4)
    with pytest.raises(Conflict, match="1 consumers"):
        await client.unsubscribe("archive", "ctd")
    (taken,) = one.exchange.subscriptions.of(hearer.id)
    assert await client.unsubscribe("archive", "ctd", force=True) == Gone(True, 0)
    assert not taken.is_open
    transport = other.transport
    for queue in (seen.queue, f"{seen.queue}.suspect", f"{seen.queue}.dlq"):
        assert await transport.queue_info(queue) is None
    assert await client.unsubscribe("archive", "ctd") == Gone(False)
    await voice.publish("ctd", "b.salt", "nobody hears")
    assert [s async for s in client.subscriptions("ctd")] == []


async def test_a_subscription_expires_where_nobody_consumes_it(
    client: PubsubClient, system: tuple[Container, Container]
) -> None:
    one, _ = system
    await client.declare_point("ctd")
    made = await client.subscribe("brief", "ctd", ["#"], expires=0.3)
    assert made.expires == 0.3
    for wrong in (-1, 0.0001, 1e10):
        with pytest.raises(InvalidRequest, match="expires: 0"):
            await client.subscribe("wrong", "ctd", ["#"], expires=wrong)
    with pytest.raises(Conflict, match=r"expires after 0.3 s: unsubscribe first"):
        await client.subscribe("brief", "ctd", ["#"], expires=0)
    hearer = await ear(one)
    await client.attach(hearer, "brief", "ctd", hearer.on_event)  # which knows of it
    await one.terminate_process(hearer.id)
    await asyncio.sleep(0.6)
    async with asyncio.timeout(20):
        while (await client.subscription("brief", "ctd")).messages is not None:
            await asyncio.sleep(0.6)  # to look at it is to use it
    assert (await client.subscribe("brief", "ctd", ["#"])).messages == 0
    assert (await client.subscription("brief", "ctd")).expires == 0.3


async def test_a_point_in_use_stays_and_goes_by_force_for_all(
    client: PubsubClient, system: tuple[Container, Container], bus: Bus
) -> None:
    one, other = system
    made = await client.declare_point("ctd")
    async with connect(bus[0], sysname="test") as script:
        await script.publish("ctd", "a", 0)
        await _in_use(client, one, other, made.exchange, script)


async def _in_use(
    client: PubsubClient, one: Container, other: Container, exchange: str, script: Connection
) -> None:
    hearer, voice = await ear(one), await ear(other)
    private = await hearer.subscribe("ctd", "#", hearer.on_event)  # which nobody has registered
    await voice.publish("ctd", "a", 1)
    await until(lambda: hearer.heard == [1])
    with pytest.raises(Conflict, match="is used"):
        await client.undeclare_point("ctd")
    await voice.publish("ctd", "a", 2)
    await until(lambda: hearer.heard == [1, 2])
    await client.subscribe("archive", "ctd", ["#"])
    await voice.publish("ctd", "a", 3)
    with pytest.raises(Conflict, match="subscription archive"):
        await client.undeclare_point("ctd")

    assert await client.undeclare_point("ctd", force=True) == Gone(True, 1)
    assert not private.is_open
    # Whoever knew it does not bring it back by looking after what it has declared.
    for endpoint in (one.endpoint, other.endpoint, script._endpoint):
        transport = endpoint.transport
        if isinstance(transport, AmqpTransport):
            await reassert(transport._topology, transport._need(transport._asker))
    assert not await is_there(other, exchange)
    assert [p.name async for p in client.points()] == ["events"]
    await script.publish("ctd", "a", 4)  # makes it anew, as any publish does
    again = await hearer.subscribe("ctd", "#", hearer.on_event)
    await voice.publish("ctd", "a", 5)
    await until(lambda: 5 in hearer.heard)
    assert again.is_open
    assert 4 not in hearer.heard


async def test_a_path_does_not_name_the_systems_own_space(
    client: PubsubClient, system: tuple[Container, Container]
) -> None:
    """What is published to `system/ctd` would go to an exchange that nobody lists, nor hears."""
    made = await client.declare_point("system/ctd")
    assert (made.name, made.exchange) == ("ctd", "test.xp.ctd")
    hearer = await ear(system[0])
    for wrong in (
        hearer.publish("system/ctd", "a", 1),
        hearer.subscribe("system/ctd", "#", hearer.on_event),
        hearer.subscribe("system/ctd", "#", hearer.on_event, name="all"),
    ):
        with pytest.raises(ConfigurationError, match="'ctd', not 'system/ctd'"):
            await wrong


async def test_an_exchange_that_somebody_else_deletes_costs_no_message(
    system: tuple[Container, Container],
) -> None:
    one, other = system
    voice = await ear(other)
    await voice.publish("ctd", "a", 1)
    assert other.endpoint.points.known("ctd")
    await one.transport.delete_exchange("test.xp.ctd")
    await voice.publish("ctd", "a", 2)  # no Unavailable: it is declared and published again
    assert await is_there(one, "test.xp.ctd")
    await voice.publish("ctd", "a", 3)


async def test_a_space_goes_with_all_that_is_in_it(
    client: PubsubClient, system: tuple[Container, Container]
) -> None:
    await client.declare_space(SPACE)
    await client.declare_point("lab/ctd")
    await client.declare_topic("all", "lab/ctd", ["#"])
    made = await client.subscribe("archive", "lab/ctd", named=["all"])
    await (await ear(system[0])).publish("lab/ctd", "a", 1)
    with pytest.raises(Conflict, match="exchange point lab/ctd"):
        await client.undeclare_space(SPACE)
    assert await client.undeclare_space(SPACE, force=True) == Gone(True, 1)
    for exchange in ("test.xs.lab", "test.xs.lab.xp.ctd"):
        assert not await is_there(system[0], exchange)
    assert await system[0].transport.queue_info(made.queue) is None
    assert [t async for t in client.topics()] == []
    with pytest.raises(NotFound, match="exchange space 'lab'"):
        await client.declare_point("lab/ctd")


def listed(server: RabbitServer, vhost: str) -> set[str]:
    """Return exchanges, queues and bindings as the broker itself lists them."""
    there = f'<<"{vhost}">>'
    names = "[element(4, element(2, X)) || X <- rabbit_{}:list(" + there + ")]"
    bindings = (
        "[{element(4, element(2, B)), element(3, B), element(4, element(4, B))} "
        f"|| B <- rabbit_binding:list({there})]"
    )
    text = r'<<"([^"]*)">>'
    bound = re.findall(rf"{{{text},\s*{text},\s*{text}}}", server.eval(bindings))
    kinds = [re.findall(text, server.eval(names.format(k))) for k in ("exchange", "amqqueue")]
    return {*kinds[0], *kinds[1], *(" ".join(each) for each in bound if each[0])}


async def test_what_is_undeclared_is_gone_from_the_brokers_own_listing(
    rabbitmq_server: RabbitServer, amqp_url: str, tmp_path: Any
) -> None:
    """Whoever declared it was killed, and some are bound to it that nobody has registered."""

    async def there() -> set[str]:
        vhost = amqp_url.rpartition("/")[2]
        return await asyncio.to_thread(listed, rabbitmq_server, vhost)

    config = {"store.url": f"sqlite:///{tmp_path}/store.db", "service.attempts": 1}
    async with (
        Container(amqp_url, sysname="test", config=config) as one,
        Container(amqp_url, sysname="test", config=config) as other,
    ):
        await one.start_app("pubsub")
        first = await ear(one)
        made = await first.subscribe("warm", "#", first.on_event)
        await made.cancel()
        await one.endpoint.points.forget("warm")
        before = await there()
        doomed = Container(amqp_url, sysname="test", config=config)
        await doomed.start()
        client = PubsubClient(doomed)
        await client.declare_space(SPACE)
        for point in ("lab/ctd", "ctd"):
            await client.declare_point(point)
        await client.declare_topic("two", "lab/ctd", ["a.*", "b.#"])
        await client.subscribe("listed", "lab/ctd", ["x"], named=["two"])
        await client.subscribe("quorum", "ctd", ["#"], queue="quorum")
        alive, gone = await ear(other), await ear(doomed)
        for each in (alive, gone):
            await client.attach(each, "listed", "lab/ctd", each.on_refused)
            await each.subscribe("lab/ctd", "#", each.on_event)
            await each.subscribe("lab/ctd", "#", each.on_event, name="unlisted")
        await gone.subscribe("ctd", "#", gone.on_event, name="orphan")
        for point in ("lab/ctd", "ctd"):
            await alive.publish(point, "a.b", point)
        await until(lambda: len(alive.heard) + len(gone.heard) == 2 + 1 + 1)
        await until(lambda: _count(other, "xs.lab.sub.ctd.listed", 1))
        with pytest.raises(Conflict, match="1 consumers"):
            await client.unsubscribe("orphan", "ctd", force=True)  # which is not the registry's
        await doomed.kill()
        await alive.publish("ctd", "a.b", "nobody hears")
        client = PubsubClient(other)
        await client.undeclare_space(SPACE, force=True)
        assert await client.undeclare_point("ctd", force=True) == Gone(True, 2)
        # Nobody knows of what the killed one alone had: it collects no more, and goes when told.
        assert {each for each in await there() - before if "orphan" in each} == {
            "test.sub.ctd.orphan",
            "test.sub.ctd.orphan.suspect",
            "test.sub.ctd.orphan.dlq",
            "test.dlx sub.ctd.orphan test.sub.ctd.orphan.dlq",
        }
        assert await client.unsubscribe("orphan", "ctd") == Gone(True, 1)
        letters = "xs.lab.sub.ctd.listed"  # stay, as what has failed
        assert await there() - before == {
            f"test.{letters}.dlq",
            f"test.dlx {letters} test.{letters}.dlq",
        }


async def test_what_cannot_be(client: PubsubClient, system: tuple[Container, Container]) -> None:
    for name in ("a.b", "", "a b", "x" * 101):
        with pytest.raises(InvalidRequest, match="not a name"):
            await client.declare_space(name)
        with pytest.raises(InvalidRequest, match="not a name"):
            await client.declare_point(f"{name}/p")
    with pytest.raises(InvalidRequest, match="not a name"):
        await client.declare_point("a/b/c")
    for own in (client.undeclare_space("system", force=True), client.undeclare_point("events")):
        with pytest.raises(Conflict, match="system's own"):
            await own
    with pytest.raises(NotFound, match="exchange point 'ctd'"):
        await client.subscribe("s", "ctd", ["#"])
    await client.declare_point("ctd")
    with pytest.raises(InvalidRequest, match="at most 10000 characters"):
        await client.declare_point("long", description="x" * 10_001)
    with pytest.raises(InvalidRequest, match="1 to 100 topics"):
        await client.subscribe("s", "ctd", [])
    with pytest.raises(NotFound, match="topic 'nope'"):
        await client.subscribe("s", "ctd", named=["nope"])
    with pytest.raises(InvalidRequest, match="not a pattern"):
        await client.declare_topic("t", "ctd", ["a..b"])
    await system[0].transport.declare_exchange(ExchangeSpec("test.xp.odd", "fanout"))
    with pytest.raises(InvalidRequest, match="otherwise"):
        await client.declare_point("odd")
    assert [p.name async for p in client.points()] == ["ctd", "events"]
    assert await client.undeclare_point("nothing") == Gone(False)
    assert [s async for s in client.subscriptions()] == []


async def test_more_than_one_answer_holds_comes_in_more_pages() -> None:
    async with Container("memory://", config={"store.url": "memory://"}) as container:
        await container.start_app("pubsub")
        client = PubsubClient(container)
        await client.declare_point("ctd")
        names = [f"t{n:02}" for n in range(60)]
        for n, name in enumerate(names):
            patterns = [f"{'w' * 200}.{n}.{m}" for m in range(100)]
            await client.declare_topic(name, "ctd", patterns)
        for n in range(6):
            named = names[n * 10 : n * 10 + 10]
            await client.subscribe(f"s{n}", "ctd", named=named)
        assert [topic.name async for topic in client.topics("ctd")] == names
        found = [each async for each in client.subscriptions()]
        assert [(each.name, len(each.topics)) for each in found] == [
            (f"s{n}", 1000) for n in range(6)
        ]
        with pytest.raises(InvalidRequest, match="over the 1000 of one subscription"):
            await client.subscribe("more", "ctd", ["#"], named=names[:10])


async def test_a_new_instance_declares_again_and_finishes_what_was_begun(
    client: PubsubClient, system: tuple[Container, Container]
) -> None:
    one, other = system
    await client.declare_space(SPACE)
    await client.declare_point("lab/ctd")
    await client.declare_point("doomed")
    await client.subscribe("archive", "lab/ctd", ["#"])
    await client.subscribe("archive", "doomed", ["#"])
    (service,) = [p for p in one.processes.values() if isinstance(p, PubsubService)]
    reconciler = service._reconciler

    async def killed(*_: Any) -> None:
        raise RuntimeError("as if it were killed")

    reconciler.broker.tell = killed  # type: ignore[method-assign]
    with pytest.raises(ReceivedContainerError, match="killed"):
        await client.undeclare_point("doomed", force=True)
    await one.stop_app("pubsub")
    for exchange in ("test.xs.lab", "test.xs.lab.xp.ctd"):  # the broker was set up anew, say
        await one.transport.delete_exchange(exchange)
    await one.transport.delete_queue("test.xs.lab.sub.ctd.archive")
    await other.start_app("pubsub")
    assert [p.name async for p in client.points()] == ["events", "lab/ctd"]
    assert not await is_there(one, "test.xp.doomed")
    assert await one.transport.queue_info("test.sub.doomed.archive") is None
    await (await ear(one)).publish("lab/ctd", "a", 1)
    assert [s.messages async for s in client.subscriptions()] == [1]


async def test_what_fails_is_a_dead_letter_of_its_subscription_and_comes_back(
    client: PubsubClient, system: tuple[Container, Container]
) -> None:
    one, other = system
    await client.declare_space(SPACE)
    await client.declare_point("lab/ctd")
    await client.subscribe("archive", "lab/ctd", ["#"])
    hearer = await ear(one)
    await client.attach(hearer, "archive", "lab/ctd", hearer.on_refused)
    await other.publish("lab/ctd", "a", "x")
    key = "xs.lab.sub.ctd.archive"
    await until(lambda: _count(other, key, 1))
    (letter,) = await deadletters.peek(other.endpoint, key)
    assert (letter.cause, hearer.heard) == ("not yet", [])
    hearer.refuses = False
    assert await deadletters.replay(other.endpoint, key) == 1
    await until(lambda: hearer.heard == ["x"])


async def _count(container: Container, key: str, count: int) -> bool:
    (queue,) = await deadletters.list_dead_letters(container.endpoint, [key])
    return bool(queue.messages == count)


async def test_a_change_is_whole_though_its_caller_gives_up(
    client: PubsubClient, system: tuple[Container, Container]
) -> None:
    one, other = system
    await client.declare_point("ctd")
    await client.subscribe("archive", "ctd", ["#"])
    (service,) = [p for p in one.processes.values() if isinstance(p, PubsubService)]
    broker, reached, go_on = service._reconciler.broker, asyncio.Event(), asyncio.Event()
    delete_queue = broker.delete_queue

    async def held(record: Any, patterns: Any) -> int:
        reached.set()
        await go_on.wait()
        return await delete_queue(record, patterns)

    broker.delete_queue = held  # type: ignore[method-assign]
    caller = asyncio.create_task(client.undeclare_point("ctd", force=True))
    await reached.wait()
    caller.cancel()
    await until(lambda: not service._begun())
    go_on.set()
    await until(lambda: not service._reconciler._going)
    assert [p.name async for p in client.points()] == ["events"]
    assert not await is_there(other, "test.xp.ctd")


async def test_two_instances_agree(
    client: PubsubClient, system: tuple[Container, Container]
) -> None:
    """Who declares under a point, and who undeclares it, cannot both have their way."""
    one, other = system
    await other.start_app("pubsub")
    for number in range(5):
        await client.declare_point("ctd")
        clients = [PubsubClient(one), PubsubClient(other)]
        outcomes = await asyncio.gather(
            clients[number % 2].undeclare_point("ctd"),
            clients[1 - number % 2].declare_topic("t", "ctd", ["#"]),
            clients[0].declare_point("ctd"),
            return_exceptions=True,
        )
        assert not [e for e in outcomes if isinstance(e, Exception) and not _is_fair(e)], outcomes
        points = [p.name async for p in client.points()]
        for topic in [t async for t in client.topics()]:
            assert topic.point in points
        for name in points:
            assert await is_there(one, (await client.point(name)).exchange)
        await client.undeclare_point("ctd", force=True)


def _is_fair(error: Exception) -> bool:
    return isinstance(error, Conflict | NotFound)
