"""A million calls, ten thousand processes and thousands of reconnects must leave nothing behind.

``python -m benchmarks.soak [--n 1000000] [--spawns 10000] [--reconnects 2000] [--on memory,amqp]``
makes calls from one container to another (both in this OS process), spawns and terminates processes
and services, has the broker close both connections with calls under way (RabbitMQ only), and takes
a census before and after: every live object of ION's own classes, tasks, futures, what the
broker holds, and resident memory. Prints what grew; ends with 1 where anything did.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benchmarks.payload import record
from benchmarks.resident import resident_bytes
from ion import Container, IonError, Process, Service, ServiceClient
from ion.messaging.transport import TransportState
from ion.testing.servers import RabbitServer

CALLERS = 64
STEPS = 10  # readings of resident memory over a run
WARM_UP = 0.1  # of the run, before the census that counts, and at least for the time of ...
RPC_TIMEOUT = 3.0  # seconds: the record of a deadline is kept until it has passed
SERVICE_EVERY = 100  # spawns of a process to one of a service
A_LONG_RUN = 10_000  # calls; a shorter one says nothing about memory
SLACK = 8  # live objects of one class that may be more or less by chance (a timer, a buffer)
MEMORY_SLACK = 8 << 20  # bytes that an allocator may keep
CALLERS_AT_A_LOSS = 4
AT_WORK = 0.02  # seconds: longer than the broker takes to close connections
PATIENCE = 60.0  # seconds for a connection to be back
LINGER = 15.0  # seconds: aiormq gives up what it was asking a lost connection after ten
SETTLE = 5.0  # seconds for acknowledgements that are on their way
CONFIG = {
    "logging": {"level": "WARNING"},
    "messaging": {"rpc_timeout": RPC_TIMEOUT},
    "service": {"retry_delays": [0.05]},
}
BROKER_COUNTS = {
    "queues": "length(rabbit_amqqueue:list())",
    "consumers": "lists:sum([N || Q <- rabbit_amqqueue:list(), "
    "{_, N} <- rabbit_amqqueue:info(Q, [consumers])])",
    "messages": "lists:sum([N || Q <- rabbit_amqqueue:list(), "
    "{_, N} <- rabbit_amqqueue:info(Q, [messages])])",
    "channels": "length(rabbit_channel:list())",
    "connections": "length(rabbit_networking:connections())",
}
Census = dict[str, int]


class Echo(Service, name="soak", version="1.0.0"):
    """Gives back what it is given."""

    async def op_echo(self, content: dict[str, Any]) -> dict[str, Any]:
        return content

    async def op_slowly(self) -> None:
        await asyncio.sleep(AT_WORK)


class Passing(Service, name="passing", version="1.0.0"):
    """A service that comes and goes."""

    async def op_here(self) -> str:
        return self.id


class Worker(Process):
    """A process that comes and goes."""

    async def op_here(self) -> str:
        return self.id


class Losses:
    """Tells when both containers have seen that their connections are gone."""

    def __init__(self, *containers: Container) -> None:
        self._names = {container.id for container in containers}
        self._seen: set[str] = set()
        self._all = asyncio.Event()
        for container in containers:
            container.transport.on_state(functools.partial(self._told, container.id))

    def _told(self, name: str, state: TransportState) -> None:
        if state is TransportState.LOST:
            self._seen.add(name)
        if self._seen == self._names:
            self._all.set()

    def awaited(self) -> None:
        """Look for the next loss."""
        self._seen.clear()
        self._all.clear()

    async def both(self) -> None:
        """Return once both are lost."""
        await asyncio.wait_for(self._all.wait(), PATIENCE)


class Pair:
    """Two containers of one system, and what they hold."""

    def __init__(self, server: Container, client: Container, broker: RabbitServer | None) -> None:
        self.server = server
        self.client = client
        self.broker = broker
        self.losses = Losses(server, client)
        self.ends: Counter[str] = Counter()

    async def call(self, count: int) -> None:
        """Make ``count`` calls, :data:`CALLERS` under way at once."""
        echo, content, left = ServiceClient("soak", self.client), record(), iter(range(count))

        async def caller() -> None:
            for _ in left:
                if await echo.echo(content=content) != content:
                    sys.exit("a wrong answer")

        await asyncio.gather(*(caller() for _ in range(CALLERS)))

    async def spawn(self, count: int) -> None:
        """Spawn, call and terminate ``count`` processes, and a service once in a while."""
        for number in range(count):
            pid = await self.server.spawn(Worker)
            await self.client.rpc_send(pid, "here")
            await self.server.terminate_process(pid)
            if number % SERVICE_EVERY == 0:
                pid = await self.server.spawn(Passing)
                await self.client.rpc_send("passing", "here")
                await self.server.terminate_process(pid)

    async def reconnect(self, count: int) -> None:
        """Have the broker close both connections ``count`` times, with calls under way each time.

        Such a call ends with its answer or an error; the ones after it are answered again.
        """
        assert self.broker is not None
        for _ in range(count):
            calls = [asyncio.create_task(self._any_end()) for _ in range(CALLERS_AT_A_LOSS)]
            await asyncio.sleep(0)  # they are on their way
            for container in (self.server, self.client):
                await container.transport.wait_connected(PATIENCE)
            self.losses.awaited()
            await asyncio.to_thread(self.broker.close_connections)
            await self.losses.both()
            for end in await asyncio.gather(*calls):
                self.ends[end] += 1
            await self.client.rpc_send("soak", "echo", {"content": {}}, timeout=PATIENCE)
            await self.client.rpc_send(f"{self.server.id}.0", "ping", timeout=PATIENCE)

    async def _any_end(self) -> str:
        try:
            await self.client.rpc_send("soak", "slowly")
        except IonError as error:
            return type(error).__name__
        return "answered"

    async def census(self) -> Census:
        """Return how many of everything there are, once nothing is on its way any more."""
        for container in (
            self.server,
            self.client,
        ):  # its channel for questions, where there is one
            await container.transport.queue_info("soak.soak")
        found = self._count()
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            now = self._count()
            if now == found:
                break
            found = now
        return found

    async def more_than(self, before: Census) -> dict[str, tuple[int, int]]:
        """Return what there is more of, once nothing is, or what was closed had time to end."""
        await self._ask()
        deadline = time.monotonic() + LINGER
        while more := grown(before, self._count()):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        return more

    async def _ask(self) -> None:
        """Open the channels for questions, which are opened when needed."""
        for container in (self.server, self.client):
            await container.transport.queue_info("soak.soak")

    def _count(self) -> Census:
        gc.collect()
        kinds = Counter(map(type, gc.get_objects()))
        found = {
            f"{kind.__module__}.{kind.__qualname__}": number
            for kind, number in kinds.items()
            if str(kind.__module__).startswith("ion.") or issubclass(kind, asyncio.Future)
        }
        found["tasks"] = len(asyncio.all_tasks())
        found["open conversations"] = sum(
            len(container.endpoint.conversations.open) for container in (self.server, self.client)
        )
        found["calls at work"] = len(self.server.endpoint.calls) + len(self.client.endpoint.calls)
        found["processes"] = len(self.server.processes) + len(self.client.processes)
        if self.broker is not None:
            for name, expression in BROKER_COUNTS.items():
                found[f"{name} of the broker"] = int(self.broker.eval(expression))
        return found


def grown(before: Census, after: Census) -> dict[str, tuple[int, int]]:
    """Return what there is more of, beyond chance; what the broker holds must be the same."""
    result = {}
    for name in sorted(before | after):
        old, new = before.get(name, 0), after.get(name, 0)
        slack = SLACK if "." in name else 0
        if new > old + slack:
            result[name] = (old, new)
    return result


async def steadily(
    what: Callable[[int], Any], count: int, name: str, say: Callable[[str], None]
) -> list[int]:
    """Do ``count`` of something in steps; return resident bytes after each."""
    readings = []
    begun = time.perf_counter()
    for step in range(STEPS):
        await what(count * (step + 1) // STEPS - count * step // STEPS)
        readings.append(resident_bytes())
    seconds = time.perf_counter() - begun
    megabytes = " ".join(f"{reading / 1e6:.1f}" for reading in readings)
    say(f"  {count:,} {name} in {seconds:.1f} s; resident MB: {megabytes}")
    return readings


async def soak(
    pair: Pair, calls: int, spawns: int, reconnects: int = 0, say: Callable[[str], None] = print
) -> dict[str, tuple[int, int]]:
    """Run the soak on a pair; return what grew (nothing, where all is well)."""
    watched = pair.broker is not None and reconnects
    enough = time.monotonic() + (RPC_TIMEOUT if calls >= A_LONG_RUN else 0.0)
    await pair.call(max(int(calls * WARM_UP), CALLERS))
    while time.monotonic() < enough:
        await pair.call(1000)
    await pair.spawn(max(int(spawns * WARM_UP), 2))
    if watched:
        await pair.reconnect(max(int(reconnects * WARM_UP), 1))
        pair.ends.clear()
    before = await pair.census()
    first = resident_bytes()
    await steadily(pair.call, calls, "calls", say)
    readings = await steadily(pair.spawn, spawns, "processes spawned and terminated", say)
    if watched:
        readings = await steadily(pair.reconnect, reconnects, "reconnects", say)
        say(f"  calls that a loss met: {dict(sorted(pair.ends.items()))}")
    more = await pair.more_than(before)
    if readings[-1] > first + MEMORY_SLACK:
        more["resident bytes"] = (first, readings[-1])
    for name, (old, new) in more.items():
        say(f"  GREW: {name}: {old} -> {new}")
    if not more:
        say(f"  nothing is left: {len(before)} kinds counted, {first / 1e6:.1f} MB at first")
    return more


async def on_memory(calls: int, spawns: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run the soak on a shared memory bus."""
    return await _with_pair("memory://soak", None, calls, spawns, 0, say)


async def on_amqp(
    broker: RabbitServer,
    calls: int,
    spawns: int,
    reconnects: int,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the soak on a RabbitMQ that nobody else uses meanwhile."""
    return await _with_pair(broker.url(), broker, calls, spawns, reconnects, say)


async def _with_pair(
    url: str,
    broker: RabbitServer | None,
    calls: int,
    spawns: int,
    reconnects: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    async with (
        Container(url, sysname="soak", config=CONFIG) as server,
        Container(url, sysname="soak", config=CONFIG) as client,
    ):
        await server.spawn(Echo)
        return await soak(Pair(server, client, broker), calls, spawns, reconnects, say)


def main(argv: list[str]) -> int:
    """Run on each transport that is asked for; return 1 where anything grew."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="calls")
    parser.add_argument("--spawns", type=int, default=10_000)
    parser.add_argument("--reconnects", type=int, default=2_000, help="on RabbitMQ")
    parser.add_argument("--on", default="memory,amqp")
    options = parser.parse_args(argv)
    logging.getLogger("ion").setLevel(logging.ERROR)  # each loss would be told four times
    more: dict[str, Any] = {}
    with ExitStack() as rooms:
        for transport in options.on.split(","):
            print(f"{transport}:", flush=True)
            if transport == "amqp":
                broker = RabbitServer()
                rooms.enter_context(broker)
                more |= asyncio.run(on_amqp(broker, options.n, options.spawns, options.reconnects))
            else:
                more |= asyncio.run(on_memory(options.n, options.spawns))
    return 1 if more else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
