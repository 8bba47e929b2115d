"""A failover app in one container: it runs where its lease is held, and stands by elsewhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ion.base.errors import ConfigurationError, StartError, Unavailable
from ion.base.merging import merge
from ion.base.tasks import Tasks
from ion.container.apps.app import AppSpec, load_app
from ion.container.apps.launcher import Launcher
from ion.container.apps.lookup import find
from ion.container.apps.plan import Start
from ion.container.apps.running_app import AppHost, Overlay, RunningApp
from ion.container.failover.lease_actions import Token
from ion.container.failover.lease_keeper import LeaseKeeper
from ion.container.membership.heartbeat import Heartbeat
from ion.process.serving.lease import current_lease, silence
from ion.process.supervision.exit_reason import End

log = logging.getLogger(__name__)
STANDBY = "STANDBY"
UNDECIDED = 5.0  # seconds, and two graces, to hear who runs an app that is started here
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before a container that failed stands by again


class Neighbourhood(AppHost, Protocol):
    """What a post asks of its container."""

    heartbeat: Heartbeat


def find_here(name: str, file: str) -> Path:
    """Return the file of an app that another container runs: the one of its name here, or its own.

    :param file: that the other one has started, as its sealed message says: whoever can seal may
        have anything spawned here.
    :raises ConfigurationError: there is none.
    """
    try:
        return find(name)
    except ConfigurationError:
        path = Path(file)
        if file and path.is_absolute() and path.is_file():
            return path
        raise


class FailoverApp(RunningApp):
    """An app of which the system runs one. Its state is STANDBY where another container does."""

    def __init__(
        self,
        name: str,
        start: Start,
        config: Mapping[str, Any],
        post: Post,
        container: AppHost,
    ) -> None:
        super().__init__(name, start, config, post.ended)
        self._post = post
        self._host = container
        self._is_silent = False

    async def start(self, container: AppHost) -> None:
        """Start it, where no other container runs it; else stand by."""
        self.prepare()
        if not await self._post.enter(self):
            self.state = STANDBY
            return
        self.lease = self._post.keeper.held_lease()
        reset = current_lease.set(self.lease)
        try:
            await super().start(container)
        except StartError as error:
            self._refuse_silent(error)
            raise
        finally:
            current_lease.reset(reset)
        self._refuse_silent(None)

    def _refuse_silent(self, error: StartError | None) -> None:
        """See that it has kept its lease; ``error`` is what came of the loss."""
        if self._is_silent:
            message = f"the lease of app {self.name!r} was lost while it started"
            raise StartError(message) from error

    async def let_go(self, *, final: bool) -> None:
        """Give its lease up: to nobody, or to the next container."""
        await self._post.let_go(self, final=final, declined=final)

    async def undo(self) -> None:
        """Give up what it was given for a start that was undone."""
        await self._post.undo(self)

    def silence(self) -> None:
        """Cancel all that its processes do, now."""
        self._is_silent = True
        if self.lease is None:
            return
        for process in list(self._host.processes.values()):
            if process.lease is self.lease:
                silence(process)

    @property
    def record(self) -> dict[str, Any]:
        """What another container needs to start the same."""
        config: dict[str, Any] = {}
        args: dict[str, Any] = {}
        if self.begun.said is not None:
            entry = self.begun.said[1]
            merge(config, entry.config)
            args.update(entry.args)
        merge(config, self.overlay[0])
        args.update(self.overlay[1])
        file = str(self.spec.file.resolve()) if self.spec.file is not None else ""
        return {"name": self.name, "file": file, "config": config, "args": args}


class Post:
    """A container's place at one failover app: the tenant of its lease.

    :ivar spec: the app as it was found, or started, in this container.
    :ivar keeper: of the lease.
    :ivar is_retiring: the container stops: nothing is begun any more.
    """

    def __init__(
        self,
        spec: AppSpec,
        container: Neighbourhood,
        launcher: Launcher,
        left: Callable[..., None],
    ) -> None:
        self.name = spec.name
        self.spec = spec
        self.keeper: LeaseKeeper
        self.is_retiring = False
        self._container = container
        self._launcher = launcher
        self._left = left
        self._app: FailoverApp | None = None
        self._is_adopted = False
        self._decided: asyncio.Future[bool] | None = None
        self._tasks = Tasks(f"failover {self.name}")
        self._taking: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._failures = 0
        self._is_over = False

    # for the app

    async def enter(self, app: FailoverApp) -> bool:
        """Return whether the app is to be started here.

        :raises Unavailable: the broker is away.
        """
        self._app = app
        self._is_over = False
        if self.keeper.is_taken:
            return True
        loop = self._container.endpoint.loop
        takeover = self.spec.takeover
        attempts = takeover.attempts if takeover is not None else 1
        self._decided = loop.create_future()
        try:
            await self.keeper.bid(app.record, attempts=attempts, grace=self.keeper.grace)
            return await self._decision()
        finally:
            self._decided = None

    async def _decision(self) -> bool:
        """Wait until it is held here, or another container says that it holds it."""
        assert self._decided is not None
        limit = UNDECIDED + 2 * self.keeper.grace
        loop = self._container.endpoint.loop
        end = loop.time() + self._container.settings.container.start_timeout
        while not self._decided.done():
            await asyncio.wait({self._decided}, timeout=limit)
            if not self._decided.done() and (self.keeper.is_idle or loop.time() > end):
                log.warning("app %s: no container says that it runs it; standing by", self.name)
                return False
        return self._decided.result()

    def heard(self, container: str) -> None:
        """Another container says that it holds the app."""
        self.keeper.claimed()
        if self._decided is not None and not self._decided.done() and self.keeper.is_idle:
            log.info("app %s runs in container %s; standing by", self.name, container)
            self._decided.set_result(False)

    def ended(self, app: RunningApp, end: End) -> None:
        """The app has ended without being told to."""
        if app is self._app and not self._is_taking:
            self._ending = self._tasks.start(self._fail(app, end.error or end.reason), "failed")

    async def undo(self, app: FailoverApp) -> None:
        """The start of the app was undone: the next one gets it, if one ran it before."""
        try:
            await self.let_go(app, final=not self._is_adopted, declined=False)
        except Unavailable as error:
            log.warning("%s", error)

    @property
    def _is_taking(self) -> bool:
        return self._taking is not None and not self._taking.done()

    async def let_go(self, app: FailoverApp, *, final: bool, declined: bool) -> None:
        """The app has stopped here.

        :param final: no other container is to start it.
        :param declined: this one is not to stand by for it again.
        :raises Unavailable: it was ``final``, and the others were not told.
        """
        if app is not self._app or self._taking is asyncio.current_task():
            return
        try:
            await self.keeper.release("stopped" if final else "free")
        except Unavailable as error:
            message = f"app {self.name!r} has stopped here, but the others were not told: {error}"
            if final:
                raise Unavailable(message) from error
            log.warning("%s", message)
        finally:
            self._left(self, declined=declined)
            await self.close()

    async def retire(self) -> None:
        """Take nothing over any more. Never raises."""
        self.is_retiring = True
        if self.keeper.is_idle:
            await self.keeper.close()
        elif self._is_taking:
            assert self._taking is not None
            self._taking.cancel()
            await asyncio.wait({self._taking})
            await self._hand_on()

    async def close(self) -> None:
        """Stand by no more. Never raises."""
        self.is_retiring = True
        await self._tasks.stop()
        await self.keeper.close()
        self._left(self, declined=False)

    # as the tenant of the lease

    def begins(self, keeper: LeaseKeeper, *, adopted: bool) -> None:
        """Start: it is held here."""
        self._is_adopted = adopted
        self._container.heartbeat.beat()
        self._is_over = False
        if self._decided is not None and not self._decided.done():
            self._decided.set_result(True)
        elif not self.is_retiring:
            before = {task for task in (self._taking, self._ending) if task is not None}
            self._taking = self._tasks.start(self._take_over(before), "take over")
        elif not self._tasks.stopping.is_set():
            self._tasks.start(self._hand_on(), "hand on")

    async def _hand_on(self) -> None:
        try:
            await self.keeper.release("free")
        except Unavailable as error:
            log.warning("app %s was not handed on: %s", self.name, error)

    def ends(self, keeper: LeaseKeeper, why: str) -> None:
        """Stop, now: it is not held here any more."""
        app = self._app
        if app is None:
            return
        app.silence()
        if self._is_taking:
            assert self._taking is not None
            self._taking.cancel()
        elif not self._tasks.stopping.is_set():
            self._ending = self._tasks.start(self._end(app), "end")

    def over(self, keeper: LeaseKeeper, last: Token) -> None:
        """Nobody is to start it."""
        if self._decided is not None and not self._decided.done():
            self._tasks.start(self._open(), "stand by")  # it was asked for meanwhile
            return
        self._is_over = True
        if last.state == "failed":
            log.error(
                "app %s stays down everywhere: it failed too often (%s); start it to try again",
                self.name,
                last.error,
            )
        elif self._app is None or self._app.state == STANDBY:
            log.info("app %s was stopped by container %s", self.name, last.container)
        if self._app is not None and self._launcher.apps.get(self.name) is self._app:
            if self._app.state != STANDBY:
                return  # whoever stops it takes it away
            del self._launcher.apps[self.name]
        self._left(self, declined=False)

    def asked(self, keeper: LeaseKeeper) -> None:
        """Tell the others that it is held here."""
        self._container.heartbeat.beat()

    # what takes longer

    async def _take_over(self, before: set[asyncio.Task[None]]) -> None:
        """Start what is held here now, as the token says, once ``before`` has ended."""
        try:
            if before:
                await asyncio.wait(before)
            token = self.keeper.token
            assert token is not None
            log.warning("app %s is taken over, with token %d", self.name, token.number)
            await self._start_as(token.record)
        except asyncio.CancelledError:
            await self._stand_by()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, another container may do better
            await self._give_on(str(error))
        else:
            self._failures = 0

    async def _start_as(self, record: Mapping[str, Any]) -> None:
        own = self.spec.file
        named = str(record.get("file", ""))
        spec = load_app(own if own is not None and own.is_file() else find_here(self.name, named))
        if spec.name != self.name or spec.takeover is None:
            message = f"{spec.where('name')} is no app {self.name!r} that fails over"
            raise StartError(message)
        overlay: Overlay = (record.get("config") or {}, record.get("args") or {})
        await self._launcher.take_over(spec, overlay)

    async def _fail(self, app: RunningApp, why: str) -> None:
        log.error("app %s has failed here, and goes to another container: %s", self.name, why)
        await app.stop(self._container, self._container.drain_timeout)
        await self._give_on(why)

    async def _give_on(self, why: str) -> None:
        """Let another container try what has failed here; then stand by again."""
        log.error("app %s does not run here: %s", self.name, why)
        await self._stand_by()
        try:
            await self.keeper.release("free", why)
        except Unavailable as error:
            log.warning("app %s was not given on: %s", self.name, error)
        token = self.keeper.token
        if token is not None and token.state == "failed":
            return
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        await asyncio.sleep(pause)
        await self._open()

    async def _open(self) -> None:
        """Stand by, as soon as the broker lets it."""
        while not self.is_retiring:
            try:
                await self.keeper.open()
            except Unavailable as error:
                log.warning("app %s is not stood by for yet: %s", self.name, error)
                await asyncio.sleep(PAUSES[0])
            else:
                return

    async def _end(self, app: RunningApp) -> None:
        await app.stop(self._container, 0.0)
        await self._stand_by()

    async def _stand_by(self) -> None:
        """Show the app as one that stands by, once it has stopped."""
        app = self._app
        if app is None or self.is_retiring:
            return
        await app.stop(self._container, 0.0)
        if self._is_over:
            self._launcher.apps.pop(self.name, None)
            return
        waiting = FailoverApp(self.name, app.begun, app.config, self, self._container)
        waiting.overlay = app.overlay
        waiting.state = STANDBY
        self._app = self._launcher.apps[self.name] = waiting
