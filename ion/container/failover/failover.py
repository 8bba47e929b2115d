"""Failover: apps of which the system runs one, in one of its containers, whichever lives.

Each has a lease. Every container that can load the app stands by; the broker says whose turn it is
when the one that runs it is gone. What is to be started, and how, is in the token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from ion.base.errors import ConfigurationError, IonError
from ion.base.ids import checked_name, new_mark
from ion.base.tasks import Tasks
from ion.container.apps.app import AppSpec, load_app
from ion.container.apps.launcher import Launcher
from ion.container.apps.plan import Start
from ion.container.apps.running_app import AppHost
from ion.container.failover.lease_keeper import LeaseKeeper
from ion.container.failover.standby import FailoverApp, Post, find_here
from ion.container.membership.heartbeat import Heartbeat
from ion.container.membership.membership import Beat, Holding
from ion.messaging.transport import TransportState

log = logging.getLogger(__name__)
LOOK_AGAIN = 30.0  # seconds before an app that could not be loaded is looked for again
MANY = 1000  # apps that a container stands by for


class Home(AppHost, Protocol):
    """What failover asks of its container."""

    heartbeat: Heartbeat


class Failover:
    """The failover apps of the system, as one container sees them.

    :ivar posts: by app name: those that it holds or stands by for.
    """

    def __init__(self, container: Home, launcher: Launcher) -> None:
        self.posts: dict[str, Post] = {}
        self._container = container
        self._launcher = launcher
        self._own = f"{container.id}/{new_mark()}"
        self._tasks = Tasks(f"{container.id}.failover")
        self._declined: set[str] = set()  # apps that were stopped here
        self._looked: dict[str, float] = {}
        self._is_retiring = False
        container.heartbeat.hearers.append(self._hear)
        container.heartbeat.holds = self._held
        container.endpoint.transport.on_state(self._on_transport)

    def app(self, name: str, start: Start, config: Mapping[str, Any]) -> FailoverApp:
        """Return an app that runs where its lease is held, and stands by elsewhere.

        :raises ConfigurationError: it runs here already: once in the system is all there is; or
            this container has no key, so that no other would believe it.
        """
        permission = self._container.endpoint.permission
        if permission is None or not permission.can_seal:
            why = permission.why_none if permission is not None else "nobody looked for it"
            message = f"app {start.name!r} fails over, which takes the key of the system: {why}"
            raise ConfigurationError(message)
        if name != start.name:
            message = f"app {start.name!r} fails over: it runs once in the system (mult: false)"
            raise ConfigurationError(message)
        return FailoverApp(name, start, config, self._post(start.app), self._container)

    def _post(self, spec: AppSpec) -> Post:
        """Return this container's place at an app, or make one."""
        self._declined.discard(spec.name)
        post = self.posts.get(spec.name)
        if post is not None:
            post.spec = spec  # as it is started here now
        else:
            post = self.posts[spec.name] = Post(spec, self._container, self._launcher, self._left)
            post.keeper = self._keeper(spec, post)
        return post

    def _keeper(self, spec: AppSpec, post: Post) -> LeaseKeeper:
        settings = self._container.settings
        takeover = spec.takeover
        grace = takeover.grace if takeover is not None else None
        return LeaseKeeper(
            spec.name,
            self._container.endpoint,
            post,
            own=self._own,
            grace=grace or settings.system.grace,
            quorum=settings.service.queue == "quorum",
        )

    def _left(self, post: Post, *, declined: bool) -> None:
        """A post is given up."""
        if self.posts.get(post.name) is post:
            del self.posts[post.name]
        if declined:
            self._declined.add(post.name)

    # what is heard

    def _held(self) -> dict[str, Holding]:
        held = {}
        for name, post in self.posts.items():
            token = post.keeper.token
            if post.keeper.is_taken and token is not None:
                held[name] = (token.number, str(token.record.get("file", "")))
        return held

    def _hear(self, beat: Beat) -> None:
        """Stand by for what another container runs."""
        for name, (_, file) in beat.apps.items():
            post = self.posts.get(name)
            if post is not None:
                post.heard(beat.container)
            elif not self._is_retiring and self._is_new(name):
                self._looked[name] = time.monotonic()
                self._tasks.start(self._join(name, file), f"join {name}")

    def _is_new(self, name: str) -> bool:
        last = self._looked.get(name)
        is_due = last is None or time.monotonic() - last > LOOK_AGAIN
        return is_due and name not in self._declined and len(self.posts) < MANY

    async def _join(self, name: str, file: str) -> None:
        """Stand by for an app, where there is one of that name here."""
        try:
            spec = load_app(find_here(checked_name(name, "app name"), file))
        except (IonError, OSError) as error:
            log.info("no standing by for app %r: %s", name, error)
            return
        if spec.name == name and spec.takeover is not None and name not in self.posts:
            try:
                await self._post(spec).keeper.open()
            except IonError as error:
                log.warning("no standing by for app %r: %s", name, error)
                self.posts.pop(name, None)

    def _on_transport(self, state: TransportState) -> None:
        for post in list(self.posts.values()):
            post.keeper.on_transport(state)

    # the end

    async def retire(self) -> None:
        """Take nothing over any more; to be called before the apps are stopped."""
        self._is_retiring = True
        await self._tasks.stop()
        for post in list(self.posts.values()):
            await post.retire()

    async def close(self) -> None:
        """Give up what is left. Never raises."""
        self._is_retiring = True
        await self._tasks.stop()
        for post in list(self.posts.values()):
            await post.close()
