"""The memory broker does what RabbitMQ does: random topologies and traffic through both at once.

After each step both sides must agree, for every queue, on how many messages are ready and how many
are out, and for every consumer, on what it was given, in which order, with which marks. A step in
which one queue is sent messages from two places has no order of its own on RabbitMQ; there the
example ends.

ION_LONG=1 runs many more examples, at random.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ion.base.errors import IonError
from ion.messaging.envelope import Envelope
from ion.messaging.memory.queue import Queue
from ion.messaging.opening import open_transport
from ion.messaging.transport import Consumer, Delivery, ExchangeSpec, QueueSpec, Transport
from ion.testing.servers import RabbitServer

pytestmark = [pytest.mark.amqp, pytest.mark.slow]

PATIENCE = 2.0
LONG = bool(os.environ.get("ION_LONG"))
SETTINGS = settings(
    max_examples=2000 if LONG else 20,
    stateful_step_count=60 if LONG else 30,
    derandomize=not LONG,
    deadline=None,
    # shrinking a failure takes minutes: with ION_LONG only
    phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
    database=None,
    suppress_health_check=list(HealthCheck),
)

QUEUES = ["q0", "q1", "q2", "q3"]
EXCHANGES = ["x0", "x1", "d"]  # d is the one that dead letters may go to
KEYS = ["a", "a.b", "a.b.c", "b", "dead.q0", "dead.q1", ""]
PATTERNS = [*KEYS, "#", "*", "a.*", "*.b", "a.#", "#.c", "dead.*"]
KINDS = ["topic", "direct", "fanout"]
SESSIONS = ["first", "second"]

queue_names = st.sampled_from(QUEUES)
exchange_names = st.sampled_from(EXCHANGES)
session_names = st.sampled_from(SESSIONS)
CHANGES = ["declare", "bind", "unbind", "cancel", "cancel", "reopen", "purge", "delete", "exchange"]
picks = st.integers(0, 7)
flags = st.booleans()


@st.composite
def queue_arguments(draw: st.DrawFn, name: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    way = draw(st.sampled_from(["next", "next", "d", "d with key", "missing", None]))
    if way is not None:
        following = QUEUES[(QUEUES.index(name) + 1) % len(QUEUES)]
        arguments["x-dead-letter-exchange"] = {"next": "", "missing": "none"}.get(way, "d")
        if way == "next":
            arguments["x-dead-letter-routing-key"] = following
        elif way == "d with key":
            arguments["x-dead-letter-routing-key"] = f"dead.{name}"
    limit = draw(
        st.sampled_from([*[None] * 4, "x-max-length", "x-max-length-bytes", "x-message-ttl"])
    )
    if limit == "x-message-ttl":
        arguments[limit] = draw(st.sampled_from([0, 600_000]))
    elif limit:
        arguments[limit] = draw(st.integers(0, 4)) * (4 if limit.endswith("bytes") else 1)
        arguments["x-overflow"] = draw(st.sampled_from(["drop-head", "reject-publish"]))
    if draw(st.integers(0, 3)) == 0:
        arguments["x-max-priority"] = draw(st.sampled_from([1, 5]))
    if draw(st.integers(0, 3)) == 0:
        arguments["x-single-active-consumer"] = True
    return arguments


@st.composite
def queue_specs(draw: st.DrawFn, names: st.SearchStrategy[str] = queue_names) -> QueueSpec:
    name = draw(names)
    exclusive = draw(st.integers(0, 5)) == 0
    return QueueSpec(
        name,
        durable=not exclusive,
        exclusive=exclusive,
        auto_delete=draw(st.integers(0, 5)) == 0,
        arguments=draw(queue_arguments(name)),
    )


@dataclass
class Hand:
    """A consumer (or who gets by hand), and all it was ever given."""

    queue: str
    session: str
    consumer: Consumer | None = None
    by_hand: bool = False
    given: list[Delivery] = field(default_factory=list)
    marks: list[Any] = field(default_factory=list)

    def __call__(self, delivery: Delivery) -> None:
        self.given.append(delivery)
        self.marks.append(signature(delivery))


def signature(delivery: Delivery) -> tuple[Any, ...]:
    envelope = delivery.envelope
    headers: Any = envelope.headers
    deaths = [
        (d["queue"], d["reason"], d["count"], d["exchange"], tuple(d["routing-keys"]))
        + ((d["original-expiration"],) if "original-expiration" in d else ())
        for d in headers.get("x-death", [])
    ]
    deaths[1:] = sorted(deaths[1:])  # 3.10 turns these round each time, 4.x does not
    first = [headers.get(f"x-first-death-{word}") for word in ("queue", "reason", "exchange")]
    where = (delivery.exchange, delivery.key, delivery.redelivered)
    return (envelope.body, *where, envelope.priority, envelope.expiration, deaths, first)


class Side:
    """One of the two brokers, with two connections to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.transports: dict[str, Transport] = {}
        self.hands: list[Hand] = []

    async def open(self, session: str) -> None:
        self.transports[session] = open_transport(self.url)
        await self.transports[session].open()

    async def close(self) -> None:
        for transport in self.transports.values():
            await transport.close()

    async def do(self, session: str, verb: str, *args: Any, **named: Any) -> Any:
        """Do it; return its value, or the kind of its error."""
        try:
            return await getattr(self.transports[session], verb)(*args, **named)
        except IonError as error:
            return type(error)

    async def publish(self, session: str, exchange: str, key: str, *args: Any) -> Any:
        envelope, mandatory = args
        return await self.do(
            session,
            "publish_confirmed",
            exchange,
            key,
            envelope,
            mandatory=mandatory,
            timeout=PATIENCE,
        )

    async def consume(self, session: str, queue: str, options: dict[str, Any]) -> Any:
        hand = Hand(queue, session)
        got = await self.do(session, "consume", queue, hand, **options)
        if isinstance(got, type):
            return got
        hand.consumer = got
        self.hands.append(hand)
        return None

    async def get(self, session: str, queue: str, no_ack: bool) -> Any:
        got = await self.do(session, "get", queue, no_ack=no_ack)
        if got is None or isinstance(got, type):
            return got
        hand = Hand(queue, session, by_hand=True)
        hand(got)
        self.hands.append(hand)
        return hand.marks

    async def reopen(self, session: str) -> None:
        await self.transports[session].close()
        await self.open(session)

    def given(self) -> list[Any]:
        return [hand.marks for hand in self.hands]

    def out(self) -> Counter[str]:
        """How many messages of each queue of the memory broker are held, unsettled."""
        return Counter(
            hand.queue
            for hand in self.hands
            for delivery in hand.given
            if not delivery.settled and not delivery.queue.deleted
        )


@dataclass
class Puts:
    """Counts from how many places each queue was sent messages in one step."""

    sources: dict[str, set[Any]] = field(default_factory=lambda: defaultdict(set))

    def seen(self, queue: str, exchange: str, key: str, envelope: Envelope) -> None:
        deaths: Any = envelope.headers.get("x-death")
        origin = (deaths[0]["queue"], deaths[0]["reason"]) if deaths else None
        self.sources[queue].add((exchange, key, origin))

    @property
    def racing(self) -> bool:
        return any(len(sources) > 1 for sources in self.sources.values())


class Comparison(RuleBasedStateMachine):
    """Both brokers, step by step."""

    loop: asyncio.AbstractEventLoop
    server: RabbitServer
    vhosts: list[str]
    puts: Puts
    examples = 0

    def __init__(self) -> None:
        super().__init__()
        cls = type(self)
        cls.examples += 1
        self.vhost = cls.server.new_vhost()
        self.memory = Side(f"memory://compared-{cls.examples}")
        self.real = Side(cls.server.url(self.vhost))
        self.over = False
        self.number = 0
        self.dead_queues: set[str] = set()
        for side in (self.memory, self.real):
            for session in SESSIONS:
                self.run(side.open(session))

    def run(self, call: Any) -> Any:
        return self.loop.run_until_complete(call)

    def step(self, verb: str, *args: Any, method: str = "do", **named: Any) -> Any:
        """Do the same on both sides, wait until they agree, and return what the call gave."""
        type(self).puts = Puts()
        words = (verb, *args) if method == "do" else args
        expected = self.run(getattr(self.memory, method)(*self._ordered(method, words), **named))
        got = self.run(getattr(self.real, method)(*self._ordered(method, words), **named))
        if self.puts.racing:
            self.over = True
            return expected
        assert expected == got, f"{verb}{args}: memory {expected}, RabbitMQ {got}"
        self.agree()
        return expected

    @staticmethod
    def _ordered(method: str, words: tuple[Any, ...]) -> tuple[Any, ...]:
        if method != "do":
            return words
        verb, session, *rest = words
        return (session, verb, *rest)

    def agree(self) -> None:
        async def wait() -> None:
            deadline = self.loop.time() + PATIENCE
            while True:
                await asyncio.sleep(0.001)
                memory = (await self.queues_of_memory(), self.memory.given())
                real = (self.queues_of_real(), self.real.given())
                if memory == real:
                    return
                if self.puts.racing:
                    self.over = True
                    return
                assert self.loop.time() < deadline, f"\nmemory {memory}\nreal   {real}"

        self.run(wait())

    async def queues_of_memory(self) -> dict[str, Any]:
        out = self.memory.out()
        found = {}
        for name in QUEUES:
            for session in SESSIONS:
                info = await self.memory.do(session, "queue_info", name)
                if info is not None and not isinstance(info, type):
                    found[name] = (info.messages, out[name], info.consumers)
        return found

    def queues_of_real(self) -> dict[str, Any]:
        text = self.server.eval(
            "iolist_to_binary(lists:join(<<32>>, [io_lib:format(<<126,115,44,126,119,44,126,119,44,"
            "126,119>>, [element(4, proplists:get_value(name, I)) | "
            "[proplists:get_value(K, I) || K <- [messages_ready, messages_unacknowledged, "
            f'consumers]]]) || I <- rabbit_amqqueue:info_all(<<"{self.vhost}">>, '
            "[name, messages_ready, messages_unacknowledged, consumers])]))"
        )
        rows = [row.split(",") for row in text.strip('<>"').split()]
        return {row[0]: tuple(int(word) for word in row[1:]) for row in rows}

    # rules

    @initialize(
        kinds=st.tuples(*[st.sampled_from(KINDS)] * 2),
        specs=st.tuples(*[queue_specs(st.just(name)) for name in QUEUES]),
        count=st.integers(2, len(QUEUES)),
        keys=st.tuples(*[st.sampled_from(PATTERNS)] * len(QUEUES)),
        prefetches=st.tuples(*[st.integers(0, 3)] * len(QUEUES)),
    )
    def begin(
        self,
        kinds: tuple[str, str],
        specs: tuple[QueueSpec, ...],
        count: int,
        keys: tuple[str, ...],
        prefetches: tuple[int, ...],
    ) -> None:
        """Make exchanges and queues that messages and dead letters can flow through."""
        for name, kind in zip(EXCHANGES, (*kinds, "topic"), strict=True):
            self.step("declare_exchange", "first", ExchangeSpec(name, kind))
        for spec, key, prefetch in zip(specs[-count:], keys, prefetches, strict=False):
            self.step("declare_queue", "first", spec)
            self.step("bind", "first", spec.name, "x0", key)
            if prefetch:
                self.consume_from("first", spec.name, prefetch=prefetch)
        self.step("bind", "first", QUEUES[-1], "d", "#")

    def consume_from(self, session: str, queue: str, **options: Any) -> None:
        self.step("consume", session, queue, options, method="consume")

    @precondition(lambda self: not self.over)
    @rule(
        session=session_names,
        to=st.one_of(st.tuples(exchange_names, st.sampled_from(KEYS)), picks),
        mandatory=flags,
        priority=st.sampled_from([0, 0, 3, 9]),
        expiration=st.sampled_from([None, None, None, 0, 600_000]),
        sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    )
    def publish(
        self,
        session: str,
        to: tuple[str, str] | int,
        mandatory: bool,
        priority: int,
        expiration: int | None,
        sizes: list[int],
    ) -> None:
        where = ("", self.pick(to)) if isinstance(to, int) else to
        if priority:
            # A message that overtakes others is not looked at for expiry by RabbitMQ until the
            # next one leaves; in memory it expires at once.
            expiration = expiration or None
        for size in sizes:
            self.number += 1
            body = f"{self.number}".encode().ljust(4 * size, b".")
            envelope = Envelope("op", body, priority=priority, expiration=expiration)
            if not self.over:
                self.step("publish", session, *where, envelope, mandatory, method="publish")

    @precondition(lambda self: self.over)
    @rule()
    def rest(self) -> None:
        """The example has ended."""

    def pick(self, number: int) -> str:
        """Return the name of a queue, mostly of one that is there."""
        there = sorted(self.run(self.queues_of_memory())) if number else None
        return (there or QUEUES)[number % len(there or QUEUES)]

    @precondition(lambda self: not self.over)
    @rule(
        session=session_names,
        queue=picks,
        prefetch=st.integers(1, 3),
        no_ack=st.sampled_from([False, False, True]),
        exclusive=st.sampled_from([*[False] * 7, True]),
        priority=st.sampled_from([0, 0, 1]),
    )
    def consume(self, session: str, queue: int, **options: Any) -> None:
        self.consume_from(session, self.pick(queue), **options)

    @precondition(lambda self: not self.over)
    @rule(session=session_names, queue=picks, no_ack=flags)
    def get(self, session: str, queue: int, no_ack: bool) -> None:
        name = self.pick(queue)
        # On RabbitMQ a get that fails closes its channel, which puts back what it got before.
        if self.may_use(session, name) or not self.holds_by_hand(session):
            self.step("get", session, name, no_ack, method="get")

    def may_use(self, session: str, queue: str) -> bool:
        info = self.run(self.memory.do(session, "queue_info", queue))
        return info is not None and not isinstance(info, type)

    def holds_by_hand(self, session: str) -> bool:
        return any(
            hand.session == session and hand.by_hand and not hand.given[0].settled
            for hand in self.memory.hands
        )

    @precondition(lambda self: not self.over and self.unsettled())
    @rule(numbers=st.lists(st.integers(0, 20), min_size=1, max_size=3))
    def ack(self, numbers: list[int]) -> None:
        self.settle(numbers, "ack")

    def settle(self, numbers: list[int], how: str) -> None:
        for number in numbers:
            unsettled = self.unsettled()
            if unsettled and not self.over:
                self.settle_one(*unsettled[number % len(unsettled)], how)

    @precondition(lambda self: not self.over and self.unsettled())
    @rule(numbers=st.lists(st.integers(0, 20), min_size=1, max_size=3))
    def give_back(self, numbers: list[int]) -> None:
        self.settle(numbers, "back")

    @precondition(lambda self: not self.over and self.unsettled())
    @rule(numbers=st.lists(st.integers(0, 20), min_size=1, max_size=3))
    def drop(self, numbers: list[int]) -> None:
        self.settle(numbers, "drop")

    def settle_one(self, number: int, index: int, how: str) -> None:
        async def settle() -> None:
            for side in (self.memory, self.real):
                delivery = side.hands[number].given[index]
                if how == "ack":
                    delivery.ack()
                else:
                    delivery.nack(requeue=how == "back")

        type(self).puts = Puts()
        self.run(settle())
        self.agree()

    def unsettled(self) -> list[tuple[int, int]]:
        return [
            (number, index)
            for number, hand in enumerate(self.memory.hands)
            for index, delivery in enumerate(hand.given)
            if not delivery.settled
        ]

    def consuming(self) -> list[int]:
        return [n for n, hand in enumerate(self.memory.hands) if hand.consumer is not None]

    @precondition(lambda self: not self.over)
    @rule(
        what=st.sampled_from(CHANGES),
        data=st.data(),
    )
    def change(self, what: str, data: st.DataObject) -> None:
        """Change something other than messages; less often than messages flow."""
        getattr(self, f"change_{what}")(data.draw(session_names), data)

    def change_declare(self, session: str, data: st.DataObject) -> None:
        self.step("declare_queue", session, data.draw(queue_specs()))

    def change_bind(self, session: str, data: st.DataObject, verb: str = "bind") -> None:
        queue, exchange = self.pick(data.draw(picks)), data.draw(exchange_names)
        self.step(verb, session, queue, exchange, data.draw(st.sampled_from(PATTERNS)))

    def change_unbind(self, session: str, data: st.DataObject) -> None:
        self.change_bind(session, data, "unbind")

    def change_cancel(self, session: str, data: st.DataObject) -> None:
        if not self.consuming():
            return
        type(self).puts = Puts()
        number = data.draw(st.sampled_from(self.consuming()))
        for side in (self.memory, self.real):
            hand = side.hands[number]
            assert hand.consumer is not None
            self.run(hand.consumer.cancel())
            hand.consumer = None
        self.agree()

    def change_purge(self, session: str, data: st.DataObject) -> None:
        queue = self.pick(data.draw(picks))
        if queue in self.run(self.queues_of_memory()):
            self.step("purge_queue", session, queue)

    def change_delete(self, session: str, data: st.DataObject) -> None:
        """Delete a queue that nobody consumes or holds messages of."""
        queue = self.pick(data.draw(picks))
        info = self.run(self.queues_of_memory()).get(queue)
        if info is not None and info[1:] == (0, 0):
            self.step("delete_queue", session, queue)

    def change_exchange(self, session: str, data: st.DataObject) -> None:
        spec = ExchangeSpec(data.draw(exchange_names), data.draw(st.sampled_from(KINDS)))
        self.step("declare_exchange", session, spec)
        self.step("delete_exchange", session, spec.name)
        self.step("declare_exchange", session, spec)

    def may_reopen(self) -> bool:
        """Whether no queue has two holders at the second session (they go one by one)."""
        holders = Counter(
            hand.queue
            for hand in self.memory.hands
            if hand.session == "second"
            and (hand.consumer is not None or any(not d.settled for d in hand.given))
        )
        return all(count == 1 for count in holders.values())

    def change_reopen(self, _session: str, _data: st.DataObject) -> None:
        if not self.may_reopen():
            return
        type(self).puts = Puts()
        for side in (self.memory, self.real):
            self.run(side.reopen("second"))
            for hand in side.hands:
                if hand.session == "second":
                    hand.consumer = None
                    for delivery in hand.given:
                        delivery.settled = True
        self.agree()

    def teardown(self) -> None:
        for side in (self.memory, self.real):
            self.run(side.close())
        self.server.give_back(self.vhost)


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_memory_does_what_rabbitmq_does(
    rabbitmq_server: RabbitServer, loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Queue.put

    def put(queue: Queue, envelope: Envelope, exchange: str, key: str) -> bool:
        Comparison.puts.seen(queue.name, exchange, key, envelope)
        return original(queue, envelope, exchange, key)

    monkeypatch.setattr(Queue, "put", put)
    Comparison.server = rabbitmq_server
    Comparison.loop = loop
    Comparison.puts = Puts()
    run_state_machine_as_test(Comparison, settings=SETTINGS)
