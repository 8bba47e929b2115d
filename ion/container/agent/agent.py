"""The container's agent: a process in every container that tells what it hosts, and may change it.

Ops that only look are open to everybody. Those that change something are commands: they need the
key of the system (:mod:`ion.process.command.permission`). What one cannot do is answered with the
error that the container's own method raises, by its type.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ion.base import lifecycle
from ion.base.errors import (
    ApplicationError,
    ConfigurationError,
    Forbidden,
    IonError,
    LifecycleError,
)
from ion.container.agent.describing import Described, info_of, process_of, processes_of, stats_of
from ion.container.agent.reports import Health as HealthReport
from ion.container.agent.reports import Info, ProcessInfo, Stats, schemas
from ion.container.apps.lookup import find
from ion.container.exchange import ExchangeManager
from ion.container.health.health import Health
from ion.container.membership.notices import Notices
from ion.observe.context import current_call, on_nobodys_behalf
from ion.observe.logging import set_level
from ion.observe.tailing import Tails, wanted
from ion.process.command.authorization import demand, is_signed
from ion.process.command.proof import is_nonce, proof
from ion.process.identity.revocations import Revocation
from ion.process.ops import command
from ion.process.process import Process
from ion.process.serving.incoming import IncomingCall
from ion.process.supervision.exit_reason import DownNotice

log = logging.getLogger(__name__)
BAD_REQUEST = 400
MAX_TAILS = 8  # readers of the log; the other hands are for what is short
T = TypeVar("T")


class Governed(Described, Protocol):
    """What the agent asks of its container."""

    exchange: ExchangeManager
    notices: Notices
    health: Health
    gave_up: asyncio.Event

    async def spawn(
        self,
        target: type[Process] | str,
        *,
        name: str | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a process."""

    async def terminate_process(self, pid: str, *, timeout: float | None = None) -> None:
        """Stop a process."""

    async def start_app(
        self,
        app: str | Path,
        *,
        config: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Start an app."""

    async def stop_app(self, name: str) -> None:
        """Stop an app."""

    async def restart_app(self, name: str) -> None:
        """Stop an app, and start it again."""

    async def start_rel(self, rel: str | Path) -> None:
        """Start a release."""

    def give_up(self, failure: str, timeout: float | None = None) -> None:
        """Begin to stop."""


class ContainerAgent(Process):
    """Answers for its container, at ``<container id>.0``; ``ctl.agent`` reaches all of them."""

    name = "agent"
    concurrency = 64

    def __init__(self, container: Governed) -> None:
        self._container = container
        self._going: set[asyncio.Task[Any]] = set()
        self._tails = Tails()

    # looking

    async def op_info(self) -> Info:
        """Return what the container is and hosts."""
        return info_of(self._container)

    async def op_processes(self, start: int = 0) -> list[ProcessInfo]:
        """Return what ``info`` tells of processes, from the ``start``-th on; empty: no more."""
        return processes_of(self._container, max(start, 0))

    async def op_info_of(self, pid: str) -> ProcessInfo | None:
        """Return what ``ps`` shows of one process, or None where there is none."""
        process = self._container.processes.get(pid)
        return process_of(process) if process is not None else None

    async def op_stats(self) -> Stats:
        """Return numbers; two answers give rates."""
        return stats_of(self._container, self._container.health.lag)

    async def op_health(self) -> HealthReport:
        """Return whether the container is alive and ready, and what is wrong where it is not."""
        return await self._container.health.tell()

    async def op_schemas(self) -> dict[str, Any]:
        """Return the JSON schemas of the answers of this agent, by op."""
        return schemas()

    async def op_log(
        self, level: str = "", logger: str = "", text: str = "", recent: int = 0, after: int = 0
    ) -> AsyncIterator[dict[str, Any]]:
        """Give log records: recent ones, then new ones, until the container stops.

        Each item has ``records``, ``lost`` (how many were dropped, as they were read too slowly),
        ``last``, the number to go on ``after``, and ``more``, whether others wait already; there
        is one a second at least.
        """
        if len(self._tails) >= MAX_TAILS:
            message = f"{MAX_TAILS} follow the log of {self._container.id} already"
            raise ApplicationError(message, code=429, type="TooMany")
        try:
            which = wanted(self._container.id, level, logger, text)
        except ConfigurationError as error:
            raise ApplicationError(error.message, type=error.type) from error
        async with aclosing(self._tails.tail(which, recent, after)) as items:
            async for item in items:
                yield item

    async def _drain(self, timeout: float) -> None:
        self._tails.end()  # they would hold up the stop
        await super()._drain(timeout)

    # commands

    @command
    async def op_spawn(
        self, target: str, name: str | None = None, args: dict[str, Any] | None = None
    ) -> str:
        """Start a process, and return its pid once it is ACTIVE."""
        log.info("told by %s to spawn %s", _by(), target)
        return await self._start(self._container.spawn(target, name=name, args=args))

    @command
    async def op_terminate(self, pid: str, timeout: float | None = None) -> None:
        """Stop a process; its begun calls have ``timeout`` seconds."""
        log.info("told by %s to terminate %s", _by(), pid)
        if pid == self.id:
            message = f"{pid} is the agent: it ends with its container, which drain stops"
            raise ApplicationError(message, code=409, type="LifecycleError")
        await self._finish(self._container.terminate_process(pid, timeout=timeout))

    @command
    async def op_start_app(
        self,
        app: str,
        config: dict[str, Any] | None = None,
        args: dict[str, Any] | None = None,
    ) -> list[str]:
        """Start an app and what it depends on; return the names of those started."""
        log.info("told by %s to start app %s", _by(), app)
        before = set(self._container.apps)
        await self._start(self._container.start_app(_find(app), config=config, args=args))
        return [name for name in self._container.apps if name not in before]

    @command
    async def op_stop_app(self, name: str) -> None:
        """Stop an app."""
        log.info("told by %s to stop app %s", _by(), name)
        await self._finish(self._container.stop_app(name))

    @command
    async def op_restart_app(self, name: str) -> None:
        """Stop an app, drained, and start it again."""
        log.info("told by %s to restart app %s", _by(), name)
        await self._finish(self._container.restart_app(name))

    @command
    async def op_start_rel(self, rel: str) -> list[str]:
        """Start the apps of a release; return the names of those started."""
        log.info("told by %s to start release %s", _by(), rel)
        before = set(self._container.apps)
        await self._start(self._container.start_rel(_find(rel)))
        return [name for name in self._container.apps if name not in before]

    async def op_log_level(self, level: str | None = None, logger: str = "") -> str:
        """Return the level of a logger; with ``level``, a command: set it first."""
        if level is not None:
            self._demand()
            try:
                set_level(level, logger)
            except ConfigurationError as error:
                raise ApplicationError(error.message, type=error.type) from error
            log.warning("told by %s to log %s from %s on", _by(), logger or "all", level)
        effective = logging.getLogger(logger or None).getEffectiveLevel()
        return logging.getLevelName(effective)

    @command
    async def op_prove(self, nonce: str) -> str | None:
        """Prove that this container has the key of its system; None where it needs none.

        :param nonce: 32 hexadecimal digits, never used before; see
            :mod:`ion.process.command.proof`.
        """
        if not is_nonce(nonce):
            message = "a nonce is 32 hexadecimal digits"
            raise ApplicationError(message)
        permission = self._endpoint.permission
        if permission is None or permission.key is None:
            return None
        container = self._container
        return proof(permission.key.ring, container.sysname, container.id, nonce)

    @command
    async def op_undeclared(self, points: list[str], queues: list[str]) -> None:
        """Let go of exchange points and of queues of subscriptions that were undeclared.

        :param points: ``name``, or ``space/name``.
        """
        log.info("told by %s that %s were undeclared", _by(), ", ".join([*points, *queues]))
        await _answered(self._container.exchange.subscriptions.undeclared(points, queues))

    @command
    async def op_drain(self, timeout: float | None = None) -> None:
        """Begin to stop the container, as SIGTERM does; its drain may take ``timeout`` seconds."""
        container = self._container
        if container.gave_up.is_set() or container.state not in lifecycle.RUNNING:
            message = f"container {container.id} is being stopped already"
            raise ApplicationError(message, code=LifecycleError.default_code, type="LifecycleError")
        log.warning("told by %s to drain", _by())
        container.give_up("", timeout)

    def _demand(self) -> None:
        """Check that who has asked by a message may command; called directly, everybody may."""
        call = current_call.get()
        if isinstance(call, IncomingCall) and call.process == self.id:
            try:
                demand()
            except Forbidden as error:  # the caller's fault, not a failure of the op
                raise ApplicationError(error.message, 403, error.type, error.details) from error

    async def _start(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what is to be undone where the caller gives up."""
        return await _answered(asyncio.create_task(on_nobodys_behalf(work)))

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what goes on where the caller gives up: half of it is worse than all."""
        task = asyncio.create_task(on_nobodys_behalf(work))
        self._going.add(task)
        task.add_done_callback(self._going.discard)
        try:
            return await _answered(asyncio.shield(task))
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    # what agents tell each other

    async def op_monitor(self, pid: str, watcher: str) -> bool:
        """Tell the process ``watcher`` of another container when ``pid`` ends, with op ``down``.

        Return whether there is such a process; else nothing will be told. May be asked twice. Of
        those that are not signed as commands are, 1,000 are taken.
        """
        notices = self._container.notices
        return (notices.watch if is_signed() else notices.watch_for_guest)(pid, watcher)

    async def op_unmonitor(self, pid: str, watcher: str) -> None:
        """Undo op ``monitor``; where it is not signed, one that was not, either."""
        notices = self._container.notices
        (notices.unwatch if is_signed() else notices.unwatch_for_guest)(pid, watcher)

    @command
    async def op_link(self, pid: str, other: str) -> bool:
        """Link the process ``pid`` with ``other``, of another container, which is linked already.

        Return whether there is such a process. It is a command: what is linked can be ended.
        """
        return self._container.notices.linked(pid, other)

    async def op_unlink(self, pid: str, other: str) -> None:
        """Undo op ``link``; nothing where it is not signed as a command is."""
        if is_signed():
            self._container.notices.unlinked(pid, other)
        else:
            self._endpoint.counts["links that strangers would undo"] += 1

    @command
    async def op_revoke(self, told: list[Revocation]) -> int:
        """Take what was revoked of tokens; return how much of it is known here."""
        return self._endpoint.auth.revoke(told)

    async def op_down(self, notice: DownNotice, watchers: list[str]) -> None:
        """Hear that a process of another container has ended, and tell those here who watch it.

        Signed as a command is, it is believed; else the container of the process is asked.
        """
        notices = self._container.notices
        if is_signed():
            notices.heard(notice, watchers)
        else:
            notices.claimed(notice, watchers)


def _by() -> str:
    """Return who has asked, for the log."""
    call = current_call.get()
    return call.sender or "nobody known" if isinstance(call, IncomingCall) else "its own program"


async def _answered(work: Awaitable[T]) -> T:
    """Await ``work``; what it cannot do is answered as it is, not as a failure of the agent."""
    try:
        return await work
    except IonError as error:
        code = BAD_REQUEST if isinstance(error, ConfigurationError) else error.code
        details = error.details
        raise ApplicationError(error.message, code, error.type, details) from error


def _find(name: str) -> Path:
    try:
        return find(name)
    except ConfigurationError as error:
        raise ApplicationError(error.message, 404, "AppNotFound", error.details) from error


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("told, and not awaited any more: %s", task.exception())
