"""T3: whoever is killed, at whatever moment of a call, the call ends by its deadline.

Three may be killed (client, server, broker) at each of five phases: before the request is out;
the request in the queue; the handler at work; its effect done, the answer not sent; the answer on
its way. The client, the server and the broker are OS processes, and the kill is a SIGKILL. A killed
server is replaced at once, as a supervisor would; a killed broker is started again. A fourth is not
killed but cut off: the broker closes the connections of both.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from ion import Container
from ion.testing.servers import RabbitServer
from tests.journeys.faults.fleet import PATIENCE, Fleet, Member
from tests.journeys.faults.tally import Effects, Tally
from tests.journeys.faults.waiting import until

pytestmark = pytest.mark.amqp

PHASES = {
    1: "before the request is out",
    2: "request in the queue",
    3: "handler at work",
    4: "effect done, answer not sent",
    5: "answer on its way",
}
GATES = {3: "before", 4: "after", 5: "after"}
TIMEOUT = 4.0  # seconds, of each call
LATE = 0.5  # seconds that a busy machine may be late in telling
STOP = {"messaging.interceptors.out": ["tests.journeys.faults.actors:stop_before_request"]}


@dataclass
class Cell:
    """One client and one server of a system of their own, at one phase of its calls."""

    fleet: Fleet
    broker: RabbitServer
    url: str
    phase: int
    keys: list[str]
    effects: Effects
    tally: Tally
    client: Member
    server: Member

    @property
    def sysname(self) -> str:
        return f"phase{self.phase}"

    async def arrange(self) -> None:
        """Begin the calls, and bring them to the phase; all stands still there."""
        if self.phase == 2:
            await self.server.freeze()
        self.client.go()
        if self.phase == 1:
            await self.client.said("stopped")
        elif self.phase == 2:
            await self._wait_for_messages()
        else:
            for _ in self.keys:
                await self.server.said("at the gate")
        if self.phase == 5:
            await self.client.freeze()
            self.server.go()
            await self._wait_for_answers()

    async def kill(self, who: str) -> None:
        """Kill the client or the server, and let what stands still go on."""
        victim = self.client if who == "client" else self.server
        await victim.kill()
        if who == "server":
            self.server = await self.serve()
        self.go_on()

    def go_on(self) -> None:
        for member in (self.client, self.server):
            member.thaw()
            if member is self.server:
                member.go()

    async def serve(self) -> Member:
        return await self.fleet.host(
            self.url, self.sysname, "Gated", args={"effects": str(self.effects.path)}
        )

    async def end(self, who: str) -> None:
        """See every call end in time, and nothing left of them at either side."""
        tally = self.tally
        for _ in self.keys if who != "client" else ():
            _, kind, took = await self.client.said("call")
            tally.answered += not kind
            tally.failed.update([kind] if kind else [])
            assert took < TIMEOUT + LATE, f"{tally.name}: {took:.2f} s"
        if who != "client":
            assert await self.client.said("done") == 0
            assert await self.client.over() == 0
        async with Container(self.url, sysname=self.sysname) as container:
            await until(lambda: self._nothing_pending(container), "a call is still pending")
        tally.effects = self.effects.all()
        tally.lost = tally.sent - tally.ends if who != "client" else 0
        assert tally.lost == 0
        assert tally.unmarked == []

    async def _nothing_pending(self, container: Container) -> bool:
        """Ask the server; it answers, so the system works again."""
        pending = await container.rpc_send("gated", "pending", timeout=PATIENCE)
        info = await container.transport.queue_info(f"{self.sysname}.gated")
        return pending == [0, 0] and info is not None and info.messages == 0

    async def _wait_for_messages(self) -> None:
        """Wait until the broker has the requests, whether the server was sent them or not."""

        async def there() -> bool:
            return int(await asyncio.to_thread(self._messages)) == len(self.keys)

        await until(there, "the requests did not reach the queue")

    def _messages(self) -> str:
        vhost = self.url.rsplit("/", 1)[1]
        queue = f'{{resource, <<"{vhost}">>, queue, <<"{self.sysname}.gated">>}}'
        return self.broker.eval(
            f"begin {{ok, Q}} = rabbit_amqqueue:lookup({queue}), "
            "[{messages, N}] = rabbit_amqqueue:info(Q, [messages]), N end"
        )

    async def _wait_for_answers(self) -> None:
        """Wait until the requests are off the queue: the broker has their answers then."""

        async def gone() -> bool:
            return int(await asyncio.to_thread(self._messages)) == 0

        await until(gone, "the answers did not leave the server")


@pytest.mark.parametrize("who", ["client", "server", "broker", "connections"])
async def test_every_call_ends_by_its_deadline(
    who, fleet, amqp_url, rabbitmq_server, new_effects, new_tally, size
):
    verb = "cut" if who == "connections" else "kill"
    for _ in range(size(1, 10)):
        cells = []
        for phase in PHASES:
            tally, effects = new_tally(f"T3 {who}/{verb}/phase {phase}"), new_effects()
            cells.append(await made(fleet, rabbitmq_server, amqp_url, phase, effects, tally, size))
        await asyncio.gather(*(cell.arrange() for cell in cells))
        if who == "broker":
            await asyncio.to_thread(rabbitmq_server.kill)
            for cell in cells:
                cell.go_on()
            await asyncio.to_thread(rabbitmq_server.start)
        elif who == "connections":
            await asyncio.to_thread(rabbitmq_server.close_connections)
            for cell in cells:
                cell.go_on()
        else:
            await asyncio.gather(*(cell.kill(who) for cell in cells))
        await asyncio.gather(*(cell.end(who) for cell in cells))
        for cell in cells:
            await cell.server.stop()


async def made(fleet, broker, url, phase, effects, tally, size) -> Cell:
    """Start a client and a server."""
    keys = [f"{phase}-{number}" for number in range(size(5, 20))]
    tally.sent = len(keys)
    args = {"effects": str(effects.path), "gate": GATES.get(phase, "")}
    server = await fleet.host(url, f"phase{phase}", "Gated", args=args)
    client = await fleet.start(
        "calls",
        url=url,
        sysname=f"phase{phase}",
        service="gated",
        op="do",
        keys=keys,
        timeout=TIMEOUT,
        config=STOP if phase == 1 else {},
    )
    await client.said("ready")
    return Cell(fleet, broker, url, phase, keys, effects, tally, client, server)
