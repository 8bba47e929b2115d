"""The container's agent: a process in every container that tells what the container hosts."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Mapping
from typing import Any, Protocol

from ion.base.version import __version__
from ion.container.exchange import ExchangeManager
from ion.container.notices import Notices
from ion.container.running import RunningApp
from ion.process.ending import DownNotice
from ion.process.process import Process
from ion.process.service import Service


class Described(Protocol):
    """What the agent asks of its container."""

    id: str
    state: str
    since: float
    reason: str
    processes: dict[str, Process]
    exchange: ExchangeManager
    notices: Notices

    @property
    def sysname(self) -> str:
        """The system it belongs to."""

    @property
    def broker(self) -> str:
        """URL of the broker that it is connected to."""

    @property
    def apps(self) -> Mapping[str, RunningApp]:
        """Running apps by name."""


class ContainerAgent(Process):
    """Answers for its container, at ``<container id>.0``; ``ctl.agent`` reaches all of them."""

    name = "agent"
    concurrency = 16

    def __init__(self, container: Described) -> None:
        self._container = container
        self._started = time.time()

    async def op_info(self) -> dict[str, Any]:
        """Return what the container is and hosts."""
        container = self._container
        return {
            "container": container.id,
            "sysname": container.sysname,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "python": platform.python_version(),
            "started": self._started,
            "state": container.state,
            "since": container.since,
            "reason": container.reason,
            "broker": container.broker,
            "apps": [app.describe() for app in container.apps.values()],
            "processes": [p.describe() for p in container.processes.values()],
            "services": _services(container),
            "names": container.exchange.names(),
        }

    async def op_info_of(self, pid: str) -> dict[str, Any] | None:
        """Return what ``ps`` shows of one process, or None where there is none."""
        process = self._container.processes.get(pid)
        return process.describe() if process is not None else None

    async def op_monitor(self, pid: str, watcher: str) -> bool:
        """Tell the process ``watcher`` of another container when ``pid`` ends, with op ``down``.

        Return whether there is such a process; else nothing will be told. May be asked twice.
        """
        return self._container.notices.watch(pid, watcher)

    async def op_unmonitor(self, pid: str, watcher: str) -> None:
        """Undo op ``monitor``."""
        self._container.notices.unwatch(pid, watcher)

    async def op_down(self, notice: DownNotice, watchers: list[str]) -> None:
        """Hear that a process of another container has ended, and tell those here who watch it."""
        self._container.notices.heard(notice, watchers)


def _services(container: Described) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for process in container.processes.values():
        if not isinstance(process, Service):
            continue
        key = (process.service_name, process.version)
        entry = found.setdefault(
            key,
            {
                "name": process.service_name,
                "version": process.version,
                "doc": (type(process).__doc__ or "").strip().partition("\n")[0],
                "instances": 0,
                "ops": {name: op.describe() for name, op in sorted(process.ops.items())},
            },
        )
        entry["instances"] += 1
    return list(found.values())
