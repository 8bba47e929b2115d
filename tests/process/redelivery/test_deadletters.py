"""Dead letters: looking leaves all as it is, replaying loses and doubles nothing."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from ion import ApplicationError, Container, Process, Service
from ion.base.errors import BadRequest, ContentTooLarge, ServiceNotFound, Unavailable
from ion.messaging import codec
from ion.messaging.address import Namespace
from ion.messaging.envelope import JSON, MSGPACK, Envelope
from ion.messaging.transport import QueueSpec, TransportState
from ion.process.redelivery import deadletters, search
from ion.process.redelivery.deadletters import list_dead_letters, peek, purge, replay

KEY = "taker"
QUEUE = f"test.{KEY}"
USER = "guest"  # who the tests are at the broker, which takes no other name
DEAD_AT = 1_790_000_000_123


class Taker(Service, name=KEY, concurrency=1):
    """Takes notes; fails where it is told to."""

    def __init__(self):
        self.taken = []
        self.failing = False

    async def op_take(self, content, headers, msg):
        self.taken.append((content, headers))
        if self.failing:
            raise ApplicationError("not this one either")


class Once(Service, name="once", delivery="effectively-once", attempts=1):
    """Must not do a thing twice; fails until it is mended."""

    def __init__(self):
        self.done = []
        self.mended = False

    async def op_do(self, n: int):
        if not self.mended:
            raise RuntimeError("broken")
        self.done.append(n)


class Listener(Process):
    """Hears of stars; fails until it is mended."""

    def __init__(self):
        self.heard = []
        self.mended = False

    async def on_activate(self):
        await self.subscribe("sky", "star.*", self.on_star, name="night")

    async def on_star(self, n: int):
        if not self.mended:
            raise ApplicationError("too bright")
        self.heard.append((self.message.topic, n))


class Pair(Process):
    """A process that is reached by its id."""

    def __init__(self):
        self.taken = []

    async def op_take(self, n: int):
        self.taken.append(n)


@pytest.fixture
async def endpoint(container):
    """An endpoint, and the queue of a service without the service, as when it has stopped."""
    endpoint = container.endpoint
    await declare(endpoint, KEY)
    return endpoint


async def declare(endpoint, key):
    transport, names = endpoint.transport, endpoint.namespace
    for spec in (names.dead_letter_queue(key), names.service_queue(key)):
        await transport.declare_queue(spec)
    await transport.bind(names.dead_letter_queue(key).name, names.dlx, key)
    await transport.bind(f"test.{key}", names.xs, key)


def letter(n, key=KEY, body=None, content_type=MSGPACK, **changes):
    """Return a message as ION dead-letters it."""
    headers = {
        "performative": "request",
        "protocol": "none",
        "sender": "a.1",
        "attempt": 5,
        "cause": "no such thing",
        "cause-code": 404,
        "cause-type": "NotThere",
        "dead-from": f"test.{key}",
        "dead-at": DEAD_AT,
        "dead-by": "b.2",
        "receiver": key,
        **changes.pop("headers", {}),
    }
    body = codec.encode({"n": n}, MSGPACK)[0] if body is None else body
    changes.setdefault("message_id", f"m-{n}")
    return Envelope(
        "take", body, content_type=content_type, persistent=True, headers=headers, **changes
    )


async def bury(endpoint, *letters, key=KEY):
    for envelope in letters:
        await endpoint.transport.publish_confirmed(
            endpoint.namespace.dlx, key, envelope, mandatory=True, timeout=10
        )
    await until_there(endpoint, len(letters), key)


async def until_there(endpoint, count, key=KEY):
    """Wait until exactly so many dead letters are ready."""

    async def there():
        (row,) = await list_dead_letters(endpoint, [key])
        return row.messages == count

    await until(there)


async def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


def ids(letters):
    return [letter.message_id for letter in letters]


async def waiting(endpoint, queue=QUEUE):
    """Take all that waits in a queue."""
    found = []
    while (delivery := await endpoint.transport.get(queue, no_ack=True)) is not None:
        found.append(delivery.envelope)
    return found


# looking


async def test_a_list_has_a_row_for_each_queue_that_is_there(endpoint):
    await bury(endpoint, letter(1), letter(2))
    rows = await list_dead_letters(
        endpoint, [KEY, "nobody", "processes", f"{QUEUE}.dlq", "", "x" * 300]
    )
    assert [msgspec.structs.astuple(row) for row in rows] == [
        (KEY, f"{QUEUE}.dlq", 2),
        ("processes", "test.processes.dlq", 0),
    ]


async def test_a_letter_tells_all_that_ion_knows(endpoint):
    await bury(endpoint, letter(7, reply_to="r", correlation_id="c", timestamp=12))
    (found,) = await peek(endpoint, KEY)
    assert found.content == {"n": 7}
    assert found.attempt == 5
    assert (found.cause, found.cause_code, found.cause_type) == ("no such thing", 404, "NotThere")
    assert (found.dead_from, found.dead_at, found.dead_by) == (QUEUE, DEAD_AT, "b.2")
    assert (found.key, found.receiver, found.op, found.message_id) == (KEY, KEY, "take", "m-7")
    assert (found.reply_to, found.correlation_id, found.timestamp) == ("r", "c", 12)
    assert (found.content_type, found.size) == (MSGPACK, 4)
    assert (found.undecodable, found.body, found.replayed) == ("", b"", 0)
    assert found.headers["sender"] == "a.1"


async def test_what_the_broker_dead_lettered_is_told_by_its_record(endpoint):
    envelope = Envelope("take", b"\x01", message_id="m-1")
    await endpoint.transport.publish_confirmed(
        endpoint.namespace.xs, KEY, envelope, mandatory=True, timeout=10
    )
    began = time.time()
    (await endpoint.transport.get(QUEUE)).nack(requeue=False)
    await until_there(endpoint, 1)
    (found,) = await peek(endpoint, KEY)
    assert (found.dead_from, found.receiver, found.cause_type) == (QUEUE, KEY, "rejected")
    assert found.cause == f"rejected in {QUEUE}, says the broker"
    assert (found.cause_code, found.attempt, found.dead_by) == (None, 1, "")
    assert abs(found.dead_at / 1000 - began) < 60


async def test_peeking_leaves_all_in_its_order(endpoint):
    await bury(endpoint, *(letter(n) for n in range(6)))
    for _ in range(2):
        assert ids(await peek(endpoint, KEY, 3)) == ["m-0", "m-1", "m-2"]
        assert ids(await peek(endpoint, KEY)) == [f"m-{n}" for n in range(6)]
    assert ids(await peek(endpoint, KEY, ids=["m-4", "none"])) == ["m-4"]
    await until_there(endpoint, 6)
    envelopes = await waiting(endpoint, f"{QUEUE}.dlq")
    assert [e.message_id for e in envelopes] == [f"m-{n}" for n in range(6)]


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_limit_out_of_range_is_named(endpoint, limit):
    with pytest.raises(BadRequest, match=str(limit)):
        await peek(endpoint, KEY, limit)


async def test_content_that_cannot_be_decoded_is_shown_as_bytes(endpoint):
    await bury(
        endpoint,
        letter(1, body=b"\xc1\xff"),
        letter(2, body=b"{", content_type=JSON),
        letter(3, body=b"\x00\x01", content_type="image/png"),
        letter(4, body=b"", content_type=""),
        letter(5, body=b"x" * (endpoint.max_content + 1)),
    )
    msgpack, json, png, empty, large = await peek(endpoint, KEY)
    assert [x.content for x in (msgpack, json, png, empty, large)] == [None] * 5
    assert "msgpack" in msgpack.undecodable
    assert "JSON" in json.undecodable
    assert "image/png" in png.undecodable
    assert (msgpack.body, json.body, png.body) == (b"\xc1\xff", b"{", b"\x00\x01")
    assert empty.undecodable == ""
    assert (large.body, large.size) == (b"", endpoint.max_content + 1)
    assert "max_content" in large.undecodable


async def test_foreign_headers_of_any_type_do_not_hinder(endpoint):
    wrong = {
        "attempt": "many",
        "cause": [1],
        "cause-code": "x",
        "cause-type": {"a": 1},
        "dead-at": True,
        "dead-by": b"\xff",
        "dead-from": 7,
        "receiver": None,
        "replayed": "often",
        "x-death": [5, {"queue": 5, "routing-keys": "x"}],
    }
    await bury(endpoint, letter(1, headers=wrong))
    (found,) = await peek(endpoint, KEY)
    assert (found.attempt, found.cause, found.cause_code) == (1, "[1]", None)
    assert (found.dead_at, found.receiver) == (None, "")
    assert await replay(endpoint, KEY) == 1
    (envelope,) = await waiting(endpoint)
    assert envelope.headers["replayed"] == 1


# replaying


async def test_a_replayed_message_is_as_it_was_without_its_death(endpoint):
    call = {
        "protocol": "rpc",
        "timeout": 1000,
        "deadline": 5,
        "call-stack": ["a.1 x.y"],
        "credit": 4,
        "x-death": [{"queue": "test.retry.1000", "reason": "expired", "count": 2}],
        "x-first-death-queue": "test.retry.1000",
        "mine": b"\x00",
    }
    await bury(
        endpoint,
        letter(1, headers=call, reply_to="r", correlation_id="c", user_id=USER, timestamp=12),
    )
    assert await replay(endpoint, KEY) == 1
    (envelope,) = await waiting(endpoint)
    assert dict(envelope.headers) == {
        "performative": "request",
        "protocol": "none",
        "sender": "a.1",
        "receiver": KEY,
        "mine": b"\x00",
        "replayed": 1,
    }
    assert (envelope.op, envelope.message_id, envelope.correlation_id) == ("take", "m-1", "c")
    assert (envelope.reply_to, envelope.expiration, envelope.persistent) == ("", None, True)
    assert (envelope.user_id, envelope.timestamp) == ("", 12)
    assert codec.decode(envelope.body) == {"n": 1}
    await until_there(endpoint, 0)


@pytest.mark.parametrize(
    ("before", "after"), [(3, 4), (2**63 - 1, 1), (-(2**63), 1), (True, 1), ("x", 1), ([], 1)]
)
async def test_a_replay_is_counted(endpoint, before, after):
    await bury(endpoint, letter(1, headers={"replayed": before}))
    assert await replay(endpoint, KEY) == 1
    (envelope,) = await waiting(endpoint)
    assert envelope.headers["replayed"] == after


async def test_what_the_broker_dead_lettered_goes_back_too(endpoint):
    transport = endpoint.transport
    sent = Envelope("take", b"\x01", message_id="m-1", headers={"mine": "x"})
    await transport.publish_confirmed(endpoint.namespace.xs, KEY, sent, mandatory=True, timeout=10)
    for times in (1, 2):
        (await transport.get(QUEUE)).nack(requeue=False)
        await until_there(endpoint, 1)
        assert await replay(endpoint, KEY) == 1
        (envelope,) = await waiting(endpoint)
        assert dict(envelope.headers) == {"mine": "x", "receiver": KEY, "replayed": times}
        await transport.publish_confirmed("", QUEUE, envelope, mandatory=True, timeout=10)


async def test_ids_and_limit_select(endpoint):
    await bury(endpoint, *(letter(n) for n in range(8)))
    assert await replay(endpoint, KEY, ids=["m-2", "m-5", "none"]) == 2
    await until_there(endpoint, 6)
    assert await replay(endpoint, KEY, limit=2) == 2
    assert await replay(endpoint, KEY, ids=["m-3", "m-4"], limit=1) == 1
    assert await replay(endpoint, KEY, ids=[]) == 0
    await until_there(endpoint, 3)
    assert [e.message_id for e in await waiting(endpoint)] == ["m-2", "m-5", "m-0", "m-1", "m-3"]
    assert ids(await peek(endpoint, KEY)) == ["m-4", "m-6", "m-7"]


async def test_a_subscription_gets_its_own_back(endpoint):
    key = "sub.sky.night"
    await declare(endpoint, key)
    origin = {"dead-from": f"test.{key}", "receiver": "star.seen"}
    await bury(endpoint, letter(1, key, headers=origin), key=key)
    assert await replay(endpoint, key) == 1
    (envelope,) = await waiting(endpoint, f"test.{key}")
    assert envelope.headers["receiver"] == "star.seen"


async def test_an_event_keeps_its_topic(container):
    listener = container.processes[await container.spawn(Listener)]
    await container.publish("sky", "star.seen", {"n": 1})
    await until_there(container.endpoint, 1, "sub.sky.night")
    listener.mended = True
    assert await replay(container.endpoint, "sub.sky.night") == 1

    async def heard():
        return listener.heard == [("star.seen", 1)]

    await until(heard)


@pytest.mark.parametrize(
    "origin", [f"{QUEUE}.suspect", f"{QUEUE}.dlq", "elsewhere.billing", "", None]
)
async def test_an_origin_that_is_none_stands_for_the_queue_of_the_key(endpoint, origin):
    await bury(endpoint, letter(1, headers={"dead-from": origin}))
    assert await replay(endpoint, KEY) == 1
    assert len(await waiting(endpoint)) == 1


async def test_a_message_for_a_process_goes_to_it_and_others_stay(container, endpoint):
    pid = await container.spawn(Pair)
    gone = letter(1, headers={"receiver": "gone.1", "dead-from": "test.gone"})
    there = letter(2, headers={"receiver": pid, "dead-from": f"test.{container.id}"})
    await bury(endpoint, gone, there, key="processes")
    with pytest.raises(ServiceNotFound, match=r"gone\.1") as caught:
        await replay(endpoint, "processes")
    assert caught.value.details == {"to": "gone.1", "replayed": 1}

    async def taken():
        return container.processes[pid].taken == [2]

    await until(taken)
    await until_there(endpoint, 1, "processes")
    assert ids(await peek(endpoint, "processes")) == ["m-1"]


async def test_without_its_queue_a_message_stays(endpoint):
    await endpoint.transport.delete_queue(QUEUE)
    await bury(endpoint, letter(1), letter(2))
    with pytest.raises(ServiceNotFound, match=QUEUE) as caught:
        await replay(endpoint, KEY)
    assert caught.value.details == {"queue": QUEUE, "replayed": 0}
    assert ids(await peek(endpoint, KEY)) == ["m-1", "m-2"]


async def test_a_queue_that_is_full_gets_no_more(endpoint):
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await endpoint.transport.declare_queue(QueueSpec("test.full", arguments=limits))
    await bury(endpoint, *(letter(n, headers={"dead-from": "test.full"}) for n in range(3)))
    with pytest.raises(Unavailable) as caught:
        await replay(endpoint, KEY)
    assert caught.value.details["replayed"] == 1
    await until_there(endpoint, 2)
    assert ids(await peek(endpoint, KEY)) == ["m-1", "m-2"]


async def test_no_such_queue_of_dead_letters_is_named(container):
    endpoint = container.endpoint
    for asked in (peek, replay, purge):
        with pytest.raises(ServiceNotFound, match=r"test\.nobody\.dlq"):
            await asked(endpoint, "nobody")
    with pytest.raises(ServiceNotFound, match="nobody"):
        await purge(endpoint, "test.nobody.dlq", ids=["x"])


async def test_a_replay_ends_though_all_fail_again(container, endpoint):
    pid = await container.spawn(Taker)
    taker = container.processes[pid]
    taker.failing = True
    await bury(endpoint, *(letter(n) for n in range(30)))
    assert await replay(endpoint, KEY) == 30

    async def all_failed():
        return len(taker.taken) == 30

    await until(all_failed)
    await until_there(endpoint, 30)
    assert {x.replayed for x in await peek(endpoint, KEY, 100)} == {1}
    taker.failing = False
    assert await replay(endpoint, KEY) == 30

    async def all_taken():
        return len(taker.taken) == 60

    await until(all_taken)
    await until_there(endpoint, 0)


async def test_what_failed_once_is_done_when_it_is_replayed(container):
    """The inbox knows what was done, and a dead letter was not."""
    endpoint = container.endpoint
    once = container.processes[await container.spawn(Once)]
    await container.send("once", "do", {"n": 1}, message_id="only")
    await until_there(endpoint, 1, "once")
    (found,) = await peek(endpoint, "once")
    assert (found.message_id, found.attempt, found.content) == ("only", 1, {"n": 1})
    assert (found.cause, found.cause_code, found.cause_type) == ("broken", 500, "RuntimeError")
    assert (found.dead_from, found.dead_by, found.receiver) == ("test.once", once.id, "once")
    assert abs(found.dead_at / 1000 - time.time()) < 60
    once.mended = True
    for _ in range(2):  # the second time by hand: somebody has kept a copy
        await replay(endpoint, "once")
        await container.send("once", "do", {"n": 1}, message_id="only")
    await container.rpc_send("once", "ping", {})

    async def done():
        return once.done == [1]

    await until(done)
    await until_there(endpoint, 0, "once")


async def test_two_that_replay_at_once_double_nothing(endpoint, other):
    await bury(endpoint, *(letter(n) for n in range(60)))
    counts = await asyncio.gather(replay(endpoint, KEY), replay(other.endpoint, KEY))
    assert sum(counts) == 60
    found = await waiting(endpoint)
    assert sorted(e.message_id for e in found) == sorted(f"m-{n}" for n in range(60))


async def test_a_replay_that_is_given_up_leaves_the_rest(endpoint, monkeypatch):
    """Cancelled while a message is on its way: that one may be doubled, no other, and none lost."""
    await bury(endpoint, *(letter(n) for n in range(10)))
    publish = endpoint.transport.publish_confirmed
    published = []
    begun = asyncio.Event()

    async def stopping(*words, **options):
        await publish(*words, **options)
        published.append(words)
        if len(published) == 4:
            begun.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(endpoint.transport, "publish_confirmed", stopping)
    task = asyncio.create_task(replay(endpoint, KEY))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_there(endpoint, 7)
    assert ids(await peek(endpoint, KEY)) == [f"m-{n}" for n in range(3, 10)]
    assert [e.message_id for e in await waiting(endpoint)] == [f"m-{n}" for n in range(4)]


@pytest.mark.parametrize("lean", [True, False])
async def test_a_lost_connection_ends_a_replay(rabbitmq_server, amqp_url, monkeypatch, lean):
    """It is lost between the broker's taking a message and its leaving: that one is doubled."""
    async with Container(amqp_url, sysname="test", config={"broker.lean": lean}) as container:
        endpoint, transport = container.endpoint, container.endpoint.transport
        await declare(endpoint, KEY)
        await bury(endpoint, *(letter(n) for n in range(10)))
        publish = transport.publish_confirmed
        published = []
        lost = asyncio.Event()
        transport.on_state(lambda state: state is TransportState.LOST and lost.set())

        async def losing(*words, **options):
            await publish(*words, **options)
            published.append(words)
            if len(published) == 4:
                await asyncio.to_thread(rabbitmq_server.close_connections)
                await lost.wait()

        monkeypatch.setattr(transport, "publish_confirmed", losing)
        with pytest.raises(Unavailable, match="m-3") as caught:
            await replay(endpoint, KEY)
        assert caught.value.details["replayed"] == 3
        await transport.wait_connected(20)
        await until_there(endpoint, 7)
        assert await replay(endpoint, KEY) == 7
        found = [e.message_id for e in await waiting(endpoint)]
        assert sorted(found) == sorted([*(f"m-{n}" for n in range(10)), "m-3"])


async def test_many_are_searched_and_come_back_in_order(endpoint):
    count = 600
    outcomes = []
    for n in range(count):
        endpoint.transport.publish(
            endpoint.namespace.dlx, KEY, letter(n), mandatory=True, settled=outcomes.append
        )
        if n % 500 == 0:
            await endpoint.writable(10)
    await until_there(endpoint, count)
    assert await replay(endpoint, KEY, ids=[f"m-{count - 1}"]) == 1
    await until_there(endpoint, count - 1)
    assert ids(await peek(endpoint, KEY, 300)) == [f"m-{n}" for n in range(300)]
    assert await purge(endpoint, KEY, ids=["m-0", f"m-{count - 2}"]) == 2
    await until_there(endpoint, count - 3)
    assert ids(await peek(endpoint, KEY, 1)) == ["m-1"]
    assert await purge(endpoint, KEY) == count - 3


async def test_a_search_holds_no_more_than_its_limit(endpoint, monkeypatch):
    monkeypatch.setattr(search, "MAX_HELD", 100)
    monkeypatch.setattr(search, "PREFETCH", 1)
    monkeypatch.setattr(search, "MAX_PREFETCH", 1)
    await bury(endpoint, *(letter(n, body=b"x" * 30) for n in range(6)))
    for asked in (replay, purge, peek):
        with pytest.raises(ContentTooLarge, match="dlq"):
            await asked(endpoint, KEY, ids=["m-5"])
    await until_there(endpoint, 6)
    assert await replay(endpoint, KEY) == 6


# dropping


async def test_purging_drops_what_is_named_or_all(endpoint):
    await bury(endpoint, *(letter(n) for n in range(5)))
    assert await purge(endpoint, KEY, ids=["m-1", "m-3", "none"]) == 2
    await until_there(endpoint, 3)
    assert ids(await peek(endpoint, KEY)) == ["m-0", "m-2", "m-4"]
    await until_there(endpoint, 3)
    assert await purge(endpoint, f"{QUEUE}.dlq") == 3
    assert await purge(endpoint, KEY) == 0


def test_a_full_name_stands_for_its_key():
    names = Namespace("test")
    assert deadletters.key_of(names, "test.a.v2.dlq") == "a.v2"
    assert deadletters.key_of(names, "a.v2") == "a.v2"
    assert deadletters.key_of(names, "other.a.dlq") == "other.a.dlq"
    assert deadletters.key_of(names, "test.dlq") == "test.dlq"
