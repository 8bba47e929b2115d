"""The container: one OS process's share of a system, hosting processes on one connection.

Rooms below are opened in order (transport, endpoint, exchange manager, agent) and closed in
reverse. Several containers can live in one OS process; there is no global one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import copy_context
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ion.base import lifecycle
from ion.base.config import load
from ion.base.errors import LifecycleError
from ion.base.ids import checked_name, new_container_id
from ion.base.settings import Settings
from ion.container.agent.agent import ContainerAgent
from ion.container.apps.launcher import Launcher
from ion.container.apps.running_app import RunningApp
from ion.container.container_store import ContainerStore
from ion.container.events import ContainerEvents
from ion.container.exchange import AGENT, ExchangeManager
from ion.container.failover.failover import Failover
from ion.container.health.condition import Conditioned
from ion.container.health.health import Health
from ion.container.host import ProcessHost
from ion.container.membership.heartbeat import Heartbeat
from ion.container.membership.notices import Notices
from ion.container.policy import keep, police
from ion.container.revocation_sync import RevocationSync
from ion.container.spawner import Spawner
from ion.container.store_lock import bus_of
from ion.messaging.address import Namespace
from ion.messaging.transport import Transport
from ion.process.calling import Calling
from ion.process.connection import endpoint_for, transport_for
from ion.process.endpoint.endpoint import Endpoint
from ion.process.identity.credentials import Credentials, with_token
from ion.process.process import Process
from ion.process.serving.workers import Workers
from ion.process.supervision.exit_reason import STOPPED, End, Guardian

log = logging.getLogger(__name__)
LAST_MOMENT = 1.0  # seconds that hooks have where a drain has taken all its time
ROOMS = {"endpoint", "_endpoint", "exchange", "workers", "stores", "notices", "heartbeat", "health"}


class _Room:
    """Says what is missing where a room is asked for before it was opened; slows no other."""

    def __get__(self, container: Container | None, owner: type) -> Any:
        if container is None:
            return self
        message = (
            f"container {container.id} is not started: use `async with Container(...)`, "
            "or `await container.start()` first"
        )
        raise LifecycleError(message)


class Container(Calling, ProcessHost, Conditioned):
    """Hosts processes; use it as an async context manager, or :meth:`start` and :meth:`stop` it.

    :param url: of the broker, or of several; ``broker.url`` of the configuration by default.
    :param sysname: the system; ``container.sysname`` of the configuration by default.
    :param config: overrides configuration, nested or with dotted keys.
    :param settings: settings that were read already; then no configuration is read here.
    :param token: that its own calls bear; ``identity.token`` of the configuration by default.
    :ivar id: container id, unique, without dots.
    :ivar state: INIT, READY, ACTIVE, DEGRADED (the broker is away, or takes no messages),
        TERMINATED or ERROR.
    :ivar born: when it was made, seconds since 1970, UTC.
    :ivar since: when it entered that state, seconds since 1970, UTC.
    :ivar reason: why it is DEGRADED; "" in other states.
    :ivar gave_up: set when it stops by itself, because an app has ended, or it was told to;
        ``failure`` says why, or is "" where nothing failed.
    :ivar undoes: while it is set, a stop undoes a start that failed: failover apps that were begun
        here are stopped for good, where else another container would take them over.
    :ivar claims_store: its store file is to be of its bus alone (:mod:`ion.container.store_lock`).
    :ivar processes: pid -> process, in the order of spawning.
    :ivar apps: name -> running app, in the order of starting.
    :raises ConfigurationError: the configuration is wrong; the message says what and where.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        sysname: str | None = None,
        config: Mapping[str, Any] | None = None,
        settings: Settings | None = None,
        token: str | None = None,
    ) -> None:
        self.settings = with_token(settings if settings is not None else load(config), token)
        self.namespace = Namespace(self.settings.container.sysname if sysname is None else sysname)
        self.id = checked_name(self.settings.container.name or new_container_id(), "container id")
        self._sender = f"{self.id}.0"  # its agent's pid
        self.state = lifecycle.INIT
        self.born = self.since = time.time()
        self.reason = ""
        self.failure = ""
        self.gave_up = asyncio.Event()
        self.undoes = False
        self.claims_store = False
        self.processes: dict[str, Process] = {}
        self.drain_timeout = self.settings.container.drain_timeout
        self.transport: Transport = transport_for(
            self.settings, url, sysname=self.sysname, is_host=True
        )
        self.endpoint: Endpoint
        self.workers: Workers
        self.exchange: ExchangeManager
        self.notices: Notices
        self.stores: ContainerStore
        self.events = ContainerEvents(self.settings.events)
        self.heartbeat: Heartbeat
        self.failover: Failover
        self.health: Health
        self._spawner = Spawner(self, self.processes, self.settings)
        self._terminator = self._spawner.terminator
        self._launcher = Launcher(self)
        self._rooms = AsyncExitStack()
        self._starting: asyncio.Future[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    @property
    def sysname(self) -> str:
        """The system this container belongs to."""
        return self.namespace.sysname

    @property
    def broker(self) -> str:
        """URL of the broker that it is connected to, or was last; the password is masked."""
        return self.transport.broker

    @property
    def apps(self) -> dict[str, RunningApp]:
        """Running apps by name."""
        return self._launcher.apps

    # life cycle

    async def start(self) -> None:
        """Connect and bring up the agent; undo everything where that fails.

        :raises Unavailable: the broker is away, or refused; the message says which.
        :raises LifecycleError: it was started before.
        """
        self._step("initialize")
        self.transport.on_state(self._on_transport)
        self._starting = asyncio.get_running_loop().create_future()
        try:
            await self.transport.open()
            self._rooms.push_async_callback(self.transport.close)
            await self._make_endpoint()
            self.exchange = self._exchange_manager()
            await self.exchange.claim()  # or the undoing would take another's queue for answers
            self._rooms.push_async_callback(self.endpoint.close)
            await self.endpoint.open()
            self.workers = Workers(self.endpoint.loop, copy_context())
            self._rooms.push_async_callback(self.workers.close)
            self.events.open(self.endpoint)
            self._rooms.push_async_callback(self.events.close)
            self._rooms.push_async_callback(self.stores.close)
            self._rooms.push_async_callback(self.exchange.close)
            self.notices = Notices(self.endpoint, self.id, self.processes)
            self._rooms.push_async_callback(self.notices.close)
            await self.exchange.open()
            await self._start_agent()
            sync = RevocationSync(self)
            self._rooms.push_async_callback(sync.close)
            await sync.open()
            lost = self.events.and_lost(self.notices.lost)
            self.heartbeat = Heartbeat(self.endpoint, self.exchange, self.settings.system, lost)
            self._rooms.push_async_callback(self.heartbeat.close)
            self.failover = self._launcher.failover = Failover(self, self._launcher)
            self._rooms.push_async_callback(self.failover.close)
            await self.heartbeat.open()
            self.health = Health(self)
            self._rooms.push_async_callback(self.health.close)
            await self.health.open()
        except BaseException:
            self._step("fail")
            await self._rooms.aclose()
            raise
        else:
            self._step("activate")
            self.events.started(self.broker)
            self._on_transport(self.transport.state)
        finally:
            self._starting.set_result(None)

    async def stop(self, timeout: float | None = None) -> None:
        """Drain: stop taking, finish what was begun, answer, settle, close. Never raises.

        :param timeout: seconds for all of it; ``container.drain_timeout`` by default. What is not
            finished then is answered with a failure.
        """
        if self._starting is None:
            return  # never started
        await asyncio.wait({self._starting})
        if self._stopping is None:
            budget = self.drain_timeout if timeout is None else timeout
            self._stopping = asyncio.ensure_future(self._stop(budget))
        await asyncio.shield(self._stopping)

    async def _stop(self, budget: float) -> None:
        if self.state not in lifecycle.RUNNING:
            return
        self.drain_timeout = budget  # hooks have no longer than all has
        self.events.stopping(self.failure)
        best_effort = self.endpoint.best_effort
        best_effort.patience = min(best_effort.patience, max(budget / 4, LAST_MOMENT))
        drain = asyncio.create_task(self._drain(budget), name="drain")
        try:
            await asyncio.wait({drain}, timeout=budget + LAST_MOMENT)
            if not drain.done():
                log.warning("%s did not end within %g s: what is left is cut off", self.id, budget)
                drain.cancel()
                await self._terminator.cut_off(LAST_MOMENT)
        finally:
            await self._rooms.aclose()
            self._step("terminate")

    async def _drain(self, budget: float) -> None:
        now = self.endpoint.loop.time
        deadline = now() + budget
        at_hand = len(self.endpoint.calls)
        if at_hand:
            log.info("stopping %s: %d messages at hand, %g s at most", self.id, at_hand, budget)
        try:
            await self.failover.retire()
            await self._launcher.stop_all(deadline, undo=self.undoes)
            await self._terminator.terminate_all(max(deadline - now(), 0.0))
        except Exception:
            log.exception("stopping %s", self.id)

    def give_up(self, failure: str, timeout: float | None = None) -> None:
        """Begin to stop; ``failure`` says why, or is "" where nothing failed.

        :param timeout: as of :meth:`stop`.
        """
        self.failure = self.failure or failure
        if not self.gave_up.is_set():
            self.gave_up.set()
            self._giving_up = asyncio.ensure_future(self.stop(timeout))

    async def kill(self) -> None:
        """Stop at once: nothing is finished or answered; the broker delivers it again elsewhere."""
        for process in self.processes.values():
            process._abandon()
        self.processes.clear()
        if self._starting is not None and self._starting.done():
            self.heartbeat.silence()
            self.stores.silence()
        await self._rooms.aclose()
        if self.state != lifecycle.TERMINATED:
            self._step("terminate")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    # processes, apps and releases

    async def spawn(
        self,
        target: type[Process] | str,
        *,
        name: str | None = None,
        args: Mapping[str, Any] | None = None,
        parent: str | None = None,
        app_config: Mapping[str, Any] | None = None,
        guardian: Guardian | None = None,
    ) -> str:
        """Start a process and return its pid once it is ACTIVE.

        :param target: a class, or a dotted name ``package.module:Class``.
        :param name: overrides the class's name (not the name of a service's queue).
        :param args: keyword arguments of its ``__init__``.
        :param parent: pid of the process that it is terminated with.
        :param app_config: what it finds in its ``app_config``; its parent's by default.
        :param guardian: is told what becomes of it; for supervisors.
        :raises StartError: its class cannot be found or made, or a hook of it failed.
        :raises LifecycleError: the container does not run, or is being stopped.
        """
        if self.state not in lifecycle.RUNNING or self._stopping is not None:
            state = self.state if self._stopping is None else "stopping"
            message = f"container {self.id} is {state}: it starts no process"
            raise LifecycleError(message)
        return await self._spawner.spawn(
            target, name=name, args=args, parent=parent, app_config=app_config, guardian=guardian
        )

    async def terminate_process(
        self, pid: str, *, timeout: float | None = None, end: End = STOPPED
    ) -> None:
        """Stop a process: its begun calls end within ``timeout`` seconds, or are answered 500.

        :param end: what those hear who watch it, unless it ends already.
        :raises ProcessNotFound: there is none of that id.
        """
        budget = self.drain_timeout if timeout is None else timeout
        await self._terminator.terminate(pid, timeout=budget, end=end)

    async def start_app(
        self,
        app: str | Path,
        *,
        config: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
        args_of: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Start an app and, before it, the apps it depends on; no-op where it runs already.

        :param app: a path, or a name that is looked up in ``res/apps``.
        :param config: over the app file's ``config``.
        :param args: over the app file's keyword arguments.
        :param args_of: app name -> the same for the apps it depends on.
        :raises ConfigurationError: the file is wrong; the message names line and key.
        :raises StartError: it did not come up; what it had started is stopped.
        """
        await self._launcher.start_app(app, config, args, args_of)

    async def stop_app(self, name: str) -> None:
        """Stop a running app.

        :raises IonError: 404, there is none of that name.
        """
        await self._launcher.stop_app(name)

    async def restart_app(self, name: str) -> None:
        """Stop a running app, drained, and start it as its file says now, with the same arguments.

        Apps that depend on it run on; what they send to its services waits meanwhile.

        :raises IonError: 404, there is none of that name.
        :raises ConfigurationError: its file is wrong by now; it runs on as it was.
        :raises StartError: it did not come up again, and does not run any more.
        """
        await self._launcher.restart_app(name)

    async def start_rel(
        self, rel: str | Path, *, args: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Start the apps of a release in order; where one fails, stop those it had started.

        :param args: app name -> arguments, over those of the release.
        :raises ConfigurationError: the file, or an app's, is wrong.
        :raises StartError: an app did not come up.
        """
        await self._launcher.start_rel(rel, args)

    async def _make_endpoint(self) -> None:
        endpoint = endpoint_for(self.settings, self.transport, self.namespace, self.id)
        self.endpoint = self._endpoint = endpoint
        if endpoint.permission is not None:
            await endpoint.permission.establish()
        await endpoint.auth.establish()
        own = self._own = Credentials(self.settings.identity, endpoint, self.sysname, is_host=True)
        self._rooms.push_async_callback(own.close)
        await own.open()
        await police(self)

    def _exchange_manager(self) -> ExchangeManager:
        listens = self.settings.broker.listen is not None
        bus = bus_of(self.transport, self.sysname, listens=listens) if self.claims_store else ""
        self.stores = ContainerStore(self.endpoint, self.settings, copy_context(), bus)
        return ExchangeManager(self.endpoint, self.id, self.processes, self.settings, self.stores)

    async def _start_agent(self) -> None:
        self._spawner.exchange = self._terminator.exchange = self.exchange
        self._terminator.tell = self.events.and_ended(self.notices.ended)
        self._spawner.events = self.events
        pid = await self._spawner.spawn(ContainerAgent, args={"container": self}, number=0)
        await self.exchange.join_control(AGENT, self.processes[pid])
        await keep(self, self._spawner)

    def __repr__(self) -> str:
        return f"<Container {self.id} sysname={self.sysname} {self.state}>"


for _name in ROOMS:
    setattr(Container, _name, _Room())
