"""T1: a consumer that lost its queue, its channel, its connection or its broker hears again.

The time is taken from the fault (where the broker was stopped: from its being back) until a call
is answered, by way of every queue that a call needs: the service's, the process's, the answers'.
"""

from __future__ import annotations

import asyncio
import functools
import time

import pytest

from ion import Container, IonError, Service
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.transport import QueueSpec, TransportState
from ion.testing.servers import RabbitServer
from tests.journeys.faults.waiting import until

pytestmark = pytest.mark.amqp

SYSNAME = "deaf"
AFTER_CANCEL = 2.0  # seconds to consume again, where the broker ended the consumer
AFTER_RETURN = 1.0  # ... and where the broker is back after a loss of the connection
TRY = 0.1  # seconds for each call meanwhile
GIVE_UP = 20.0
ROUNDS = (1, 20)
CRASHES = 4  # the broker itself gives a queue up that crashes more often within ten seconds
ACK_LIMIT_MS = 50


class Deaf(Service, name="deaf", version="1.0.0"):
    def __init__(self) -> None:
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()

    async def op_hear(self) -> str:
        return "heard"

    async def op_hold(self) -> None:
        self.begun.set()
        await self.let_go.wait()


class System:
    """A server, a caller, and somebody who spoils it."""

    def __init__(self, url: str, broker: RabbitServer) -> None:
        self.broker = broker
        self.vhost = url.rsplit("/", 1)[1]
        self.server = Container(url, sysname=SYSNAME)
        self.caller = Container(url, sysname=SYSNAME)
        self.spoiler = AmqpTransport([url])
        self.pid = ""
        self.lost: set[str] = set()
        self.held: list[asyncio.Task[object]] = []

    async def __aenter__(self) -> System:
        await self.spoiler.open()
        await self.server.start()
        await self.caller.start()
        self.pid = await self.server.spawn(Deaf)
        for container in (self.server, self.caller):
            container.transport.on_state(functools.partial(self._told, container.id))
        await self.caller.rpc_send("deaf", "hear")
        return self

    def _told(self, id: str, state: TransportState) -> None:
        if state is TransportState.LOST:
            self.lost.add(id)

    @property
    def deaf(self) -> Deaf:
        service = self.server.processes[self.pid]
        assert isinstance(service, Deaf)
        return service

    async def __aexit__(self, *_: object) -> None:
        self.deaf.let_go.set()
        await asyncio.gather(*self.held)
        await self.caller.stop()
        await self.server.stop()
        await self.spoiler.close()

    async def erlang(self, expression: str) -> str:
        return await asyncio.to_thread(self.broker.eval, expression)

    async def queue_deleted(self) -> None:
        await self.spoiler.delete_queue("deaf.deaf")

    async def queue_made_again_by_another(self) -> None:
        spec = self.server.namespace.service_queue("deaf")
        await self.spoiler.delete_queue(spec.name)
        await self.spoiler.declare_queue(QueueSpec(spec.name, arguments=spec.arguments))

    async def queue_of_processes_deleted(self) -> None:
        # exclusive: only the broker itself can
        await self._delete_from_within(f"deaf.{self.server.id}")

    async def queue_of_answers_deleted(self) -> None:
        await self.spoiler.delete_queue(f"deaf.{self.caller.id}.reply")

    async def queue_crashed(self) -> None:
        await self.erlang(
            f"begin {{ok, Q}} = rabbit_amqqueue:lookup({self._resource('deaf.deaf')}), "
            "P = amqqueue:get_pid(Q), M = monitor(process, P), exit(P, kill), "
            "receive {'DOWN', M, _, _, _} -> ok end end"
        )

    async def channel_closed(self) -> None:
        """By the limit for acknowledgements, which the broker looks at once a minute, or now."""
        self.deaf.begun.clear()
        self.held.append(asyncio.create_task(self.caller.rpc_send("deaf", "hold", timeout=30)))
        await self.deaf.begun.wait()
        await asyncio.sleep(2 * ACK_LIMIT_MS / 1000)
        before = await self.consumers("deaf.deaf")
        await self.erlang("[P ! tick || P <- rabbit_channel:list()]")

        async def ended() -> bool:
            return await self.consumers("deaf.deaf") != before

        await until(ended, "the broker let the consumer be", GIVE_UP)

    async def connections_closed(self) -> None:
        for container in (self.server, self.caller):
            await container.transport.wait_connected(GIVE_UP)  # or its next loss is not told
        self.lost.clear()
        await asyncio.to_thread(self.broker.close_connections)

        async def noticed() -> bool:
            return len(self.lost) == 2

        await until(noticed, "nobody noticed", GIVE_UP)

    async def broker_restarted(self) -> None:
        await asyncio.to_thread(self.broker.stop)
        await asyncio.to_thread(self.broker.start)

    async def consumers(self, queue: str) -> str:
        """Ask the broker itself by which channels a queue is consumed; [] where by none."""
        return await self.erlang(
            f"case rabbit_amqqueue:lookup({self._resource(queue)}) of {{ok, Q}} -> "
            "[element(1, C) || C <- rabbit_amqqueue:consumers(Q)]; _ -> [] end"
        )

    def _resource(self, name: str) -> str:
        return f'{{resource, <<"{self.vhost}">>, queue, <<"{name}">>}}'

    async def _delete_from_within(self, name: str) -> None:
        await self.erlang(
            f"begin {{ok, Q}} = rabbit_amqqueue:lookup({self._resource(name)}), "
            'rabbit_amqqueue:delete(Q, false, false, <<"test">>) end'
        )


FAULTS = {
    "queue_deleted": AFTER_CANCEL,
    "queue_made_again_by_another": AFTER_CANCEL,
    "queue_of_processes_deleted": AFTER_CANCEL,
    "queue_of_answers_deleted": AFTER_CANCEL,
    "queue_crashed": AFTER_CANCEL,
    "channel_closed": AFTER_CANCEL,
    "connections_closed": AFTER_RETURN,
    "broker_restarted": AFTER_RETURN,
}


@pytest.fixture
def ack_limit(rabbitmq_server):
    """The broker closes channels that settle nothing for long; here, that is soon."""
    before = rabbitmq_server.eval("element(2, application:get_env(rabbit, consumer_timeout))")
    rabbitmq_server.eval(f"application:set_env(rabbit, consumer_timeout, {ACK_LIMIT_MS})")
    yield
    rabbitmq_server.eval(f"application:set_env(rabbit, consumer_timeout, {before})")


@pytest.mark.usefixtures("ack_limit")
@pytest.mark.parametrize("fault", FAULTS)
async def test_it_hears_again_in_time(fault, amqp_url, rabbitmq_server, new_tally, size):
    slowest = 0.0
    tally = new_tally(f"T1 {fault.replace('_', ' ')}")
    async with System(amqp_url, rabbitmq_server) as system:
        rounds = size(*ROUNDS)
        for _ in range(min(rounds, CRASHES) if fault == "queue_crashed" else rounds):
            await getattr(system, fault)()
            slowest = max(slowest, await heard(system, tally))
    tally.notes["slowest"] = f"{slowest:.2f}s"
    assert slowest < FAULTS[fault]


async def heard(system: System, tally) -> float:
    """Return the seconds until calls by the service's name and by the process's id are answered."""
    began = time.monotonic()
    for to in ("deaf", system.pid):
        while True:
            tally.sent += 1
            try:
                await system.caller.rpc_send(to, "hear", timeout=TRY)
            except IonError as error:
                tally.ended(error)
                assert time.monotonic() - began < GIVE_UP, f"deaf for {GIVE_UP} s"
                await asyncio.sleep(0.005)
            else:
                tally.ended(None)
                break
    while await system.consumers("deaf.deaf") == "[]":
        assert time.monotonic() - began < GIVE_UP, f"no consumer for {GIVE_UP} s"
    return time.monotonic() - began
