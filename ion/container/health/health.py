"""The health of a container: watched all the time, told when somebody asks.

What is cheap is sampled every second, what needs the broker's answer is looked at every few. A
report is put together from what is known, by :mod:`ion.container.health.verdict`; that may be done
in any thread, so that it is true, too, while the event loop is held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from functools import partial
from typing import Any, Protocol

from msgspec import structs

from ion.base import lifecycle
from ion.base.settings import HealthSettings, Settings
from ion.base.tasks import Tasks
from ion.container.agent.describing import Described
from ion.container.agent.reports import Blocked, Check
from ion.container.agent.reports import Health as HealthReport
from ion.container.health import verdict
from ion.container.health.exposition import exposition
from ion.container.health.httpserver import HealthServer
from ion.container.health.probes import ALL_WITHIN, Prober, Sight
from ion.container.health.vitals import SlowOps, Waits
from ion.container.membership.heartbeat import Heartbeat
from ion.messaging.transport import TransportState
from ion.observe import watchdog
from ion.observe.watchdog import Block, Watch
from ion.process.serving.workers import Workers

log = logging.getLogger(__name__)

SAMPLE = 1.0  # seconds between two samples, at most
LEAST_SAMPLE = 0.02
SAMPLES_A_LIMIT = 4  # what has a limit is sampled so many times before it is reached
QUEUES_A_SECOND = 50  # that are looked at, on average: where there are many, looks are rarer
FRESH = 2.0  # seconds: no look is made for one who asks, where the last is no older
ASKER_WAITS = 0.5  # seconds, for a look that is made for one who asks


class Examined(Described, Protocol):
    """What is asked of a container."""

    settings: Settings
    workers: Workers
    heartbeat: Heartbeat
    _stopping: asyncio.Task[None] | None


class Health:
    """Watches one container that runs.

    :ivar url: where it is told by HTTP; "" where it is not.
    """

    def __init__(self, container: Examined) -> None:
        settings = container.settings.health
        endpoint, processes = container.endpoint, container.processes
        self._container = container
        self._settings: HealthSettings = settings
        self._transport = endpoint.transport
        self._time = endpoint.loop.time
        self._opened = self._time()
        self._slow = SlowOps(container.workers, processes, settings.slow_op)
        self._waits = Waits(processes)
        self._prober = Prober(endpoint, container.exchange, processes, settings.max_confirm)
        self._sight = Sight()
        self._heard = self._time()
        self._tasks = Tasks(f"{container.id}.health")
        self._looking: asyncio.Task[None] | None = None
        self._soon = asyncio.Event()
        self._watch: Watch
        self._door: HealthServer | None = None
        self._pace = settings.look_every
        self._ready: bool | None = None
        self._was_ready = False
        self._since = time.time()

    @property
    def url(self) -> str:
        """Where health is told by HTTP; "" where it is not."""
        return self._door.url if self._door is not None else ""

    @property
    def lag(self) -> float:
        """By how much the event loop is late now, or was at the worst in the last seconds."""
        return self._watch.lag

    async def open(self) -> None:
        """Begin to watch.

        :raises ConfigurationError: ``health.listen`` is no address.
        :raises StartError: nobody can listen there; the message says why.
        """
        self._watch = watchdog.watch(self._settings.blocked_after, self._name)
        if self._settings.listen is not None:
            metrics = partial(exposition, self._container)
            self._door = await HealthServer.open(self._settings.listen, self.report, metrics)
            self._soon.set()
        self._transport.on_state(self._on_transport)
        self._tasks.start(self._keep_sampling(), "samples")
        self._tasks.start(self._keep_looking(), "looks")

    async def close(self) -> None:
        """Watch no more. Never raises."""
        await self._tasks.stop()
        if self._door is not None:
            await self._door.close()
        self._watch.end()

    # watching

    def _name(self, task: asyncio.Task[Any]) -> str:
        """Say what a task does, where it handles a message of this container."""
        call = self._container.workers.call_of(task)
        if call is None:
            return ""
        process = self._container.processes.get(call.process)
        return f"op {call.op!r} of {process.name if process else 'a process'} ({call.process})"

    async def _keep_sampling(self) -> None:
        period = _period(self._settings.slow_op, self._settings.max_wait)
        while True:
            now = self._time()
            self._slow.sample(now)
            self._waits.sample(now)
            self._heard = self._transport.heard
            self._note()
            await asyncio.sleep(period)

    def _note(self) -> None:
        """See whether it is ready, and say so where that has changed."""
        report = self.report()
        if report.ready == self._ready:
            return
        was, self._ready, now = self._ready, report.ready, time.time()
        lasted, self._since = now - self._since, now
        if report.ready:
            again, self._was_ready = self._was_ready, True
            log.log(logging.INFO if again else logging.DEBUG, "%s is ready", report.container)
        elif was and self._container._stopping is None:
            told = report.state == lifecycle.DEGRADED  # by the container
            wrong = "; ".join(
                f"{each.name}: {each.message}" for each in report.checks if not each.ok
            )
            level = logging.INFO if told else logging.WARNING
            log.log(level, "%s is not ready, after %.1f s: %s", report.container, lasted, wrong)

    async def _keep_looking(self) -> None:
        while True:
            queues = len(self._container.exchange.consumers())
            self._pace = max(self._settings.look_every, queues / QUEUES_A_SECOND)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace):
                    await self._soon.wait()
            self._soon.clear()
            await self._begin_look()

    def _begin_look(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = self._tasks.start(self._look(), "look")
        return self._looking

    async def _look(self) -> None:
        if self._transport.state is TransportState.CONNECTED:
            before = self._sight
            sight = await self._prober.look()
            if self._sight is before:  # else the connection is another one by now
                self._sight = sight

    def _on_transport(self, state: TransportState) -> None:
        self._sight = Sight()
        self._prober.forget()
        if state is TransportState.CONNECTED:
            self._soon.set()

    # telling

    async def tell(self) -> HealthReport:
        """Return the report, with a look at the broker that is no older than two seconds.

        Where the broker is slow to answer, what is known is told after half a second.
        """
        if self._time() - self._sight.at > FRESH and not self._tasks.stopping.is_set():
            await asyncio.wait({self._begin_look()}, timeout=ASKER_WAITS)
        members = sorted(
            {self._container.id, *(each.id for each in self._container.heartbeat.members)}
        )
        return structs.replace(self.report(), members=members)

    def report(self) -> HealthReport:
        """Return what is known now; from any thread."""
        block = self._watch.block
        facts = self._facts(block)
        checks = verdict.checks(facts, self._limits())
        live = verdict.is_live(facts)
        ready = live and all(check.ok for check in checks)
        now = time.time()
        changed = block.since if block is not None else now
        return HealthReport(
            container=self._container.id,
            sysname=self._container.sysname,
            now=now,
            state=facts.state,
            live=live,
            ready=ready,
            since=self._since if ready == self._ready else changed,
            checks=checks,
            stuck=self._slow.found,
            blocked=_blocked(block),
        )

    def check(self, name: str) -> Check:
        """Return one check of the report.

        :raises KeyError: there is none of that name.
        """
        return {check.name: check for check in self.report().checks}[name]

    def _facts(self, block: Block | None) -> verdict.Facts:
        container, now = self._container, self._time()
        processes = dict(container.processes)
        agent = processes.get(f"{container.id}.0")
        is_connected = self._transport.state is TransportState.CONNECTED
        heartbeat, sight, ages = container.heartbeat, self._sight, self._waits.ages

        def title(pid: str) -> str:
            return f"{processes[pid].name} ({pid})"

        return verdict.Facts(
            state=container.state,
            reason=container.reason,
            is_stopping=container._stopping is not None,
            agent=agent._state if agent is not None else "",
            apps={name: app.state for name, app in dict(container.apps).items()},
            lag=self._watch.lag,
            blocked=block.what if block is not None else None,
            way=self._transport.state,
            heard=max(now - self._heard, 0.0),
            beat=now - (heartbeat.came_back or self._opened) if is_connected else None,
            is_deaf=heartbeat.members.is_deaf(now),
            sight=sight,
            age=now - sight.at,
            waits={title(pid): age for pid, age in ages.items() if pid in processes},
            names={pid: title(pid) for pid in sight.processes if pid in processes},
        )

    def _limits(self) -> verdict.Limits:
        settings = self._settings
        return verdict.Limits(
            lag=settings.blocked_after,
            wait=settings.max_wait,
            confirm=settings.max_confirm,
            heard=2.0 * self._container.settings.broker.heartbeat,
            sight=3 * self._pace + ALL_WITHIN + settings.max_confirm,
        )


def _period(*limits: float | None) -> float:
    """Return the seconds between two samples of what has these limits."""
    wanted = min([SAMPLE, *(seconds / SAMPLES_A_LIMIT for seconds in limits if seconds)])
    return max(wanted, LEAST_SAMPLE)


def _blocked(block: Block | None) -> Blocked | None:
    if block is None:
        return None
    return Blocked(
        since=block.since, seconds=round(block.seconds, 3), what=block.what, stack=block.stack
    )
