"""What a container tells of itself: read from what is there, when somebody asks."""

from __future__ import annotations

import heapq
import itertools
import os
import platform
import resource
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ion.base.version import __version__
from ion.container.agent.reports import (
    AppInfo,
    Info,
    NameInfo,
    ProcessInfo,
    ProcessStats,
    ServiceInfo,
    ServiceStats,
    Stats,
    report_of,
)
from ion.container.apps.running_app import RunningApp
from ion.container.exchange import ExchangeManager
from ion.process.endpoint.endpoint import Endpoint
from ion.process.process import Process
from ion.process.service import Service

LISTED = 2_000  # processes in one answer: what is told of them fits into a message
_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes


class Described(Protocol):
    """What is asked of a container.

    :ivar born: when it was made, seconds since 1970.
    """

    id: str
    state: str
    since: float
    born: float
    reason: str
    processes: dict[str, Process]
    exchange: ExchangeManager
    endpoint: Endpoint

    @property
    def sysname(self) -> str:
        """The system it belongs to."""

    @property
    def broker(self) -> str:
        """URL of the broker that it is connected to."""

    @property
    def apps(self) -> Mapping[str, RunningApp]:
        """Running apps by name."""


def info_of(container: Described) -> Info:
    """Return what the container is and hosts."""
    permission = container.endpoint.permission
    key = permission.key if permission is not None else None
    return Info(
        container=container.id,
        sysname=container.sysname,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        python=platform.python_version(),
        started=container.born,
        now=time.time(),
        state=container.state,
        since=container.since,
        reason=container.reason,
        broker=container.broker,
        key=key.id if key is not None else None,
        apps=[report_of(AppInfo, app.describe()) for app in container.apps.values()],
        processes=processes_of(container, 0),
        total=len(container.processes),
        services=[_service(instances) for instances in _services(container)],
        names=[report_of(NameInfo, name) for name in container.exchange.names()],
    )


def processes_of(container: Described, start: int) -> list[ProcessInfo]:
    """Return what ``ps`` shows of processes, from the ``start``-th on: :data:`LISTED` at most."""
    some = itertools.islice(container.processes.values(), start, start + LISTED)
    return [process_of(process) for process in some]


def process_of(process: Process) -> ProcessInfo:
    """Return what ``ps`` shows of a process."""
    return report_of(ProcessInfo, process.describe())


def stats_of(container: Described, lag: float = 0.0) -> Stats:
    """Return the numbers of the container.

    :param lag: by how much its loop is late, seconds.
    """
    endpoint = container.endpoint
    now = time.time()
    processes = [_numbers(process) for process in container.processes.values()]
    return Stats(
        container=container.id,
        now=now,
        uptime=now - container.born,
        cpu=time.process_time(),
        rss=_memory(),
        threads=threading.active_count(),
        lag=lag,
        messages_in=endpoint.counts["handled"] + sum(each.handled for each in processes),
        messages_out=int(endpoint.next_id().rpartition("-")[2]),  # each message has a number
        calls_open=len(endpoint.conversations.open),
        calls_at_hand=len(endpoint.calls),
        counts=dict(endpoint.counts),
        processes=_busiest(processes),
        services=[_service_numbers(instances) for instances in _services(container)],
    )


def _services(container: Described) -> list[list[Service]]:
    """Return the service instances of a container, those of one service and version together."""
    found: dict[tuple[str, str], list[Service]] = {}
    for process in container.processes.values():
        if isinstance(process, Service):
            found.setdefault((process.service_name, process.version), []).append(process)
    return list(found.values())


def _service(instances: list[Service]) -> ServiceInfo:
    one = instances[0]
    return ServiceInfo(
        name=one.service_name,
        version=one.version,
        doc=(type(one).__doc__ or "").strip().partition("\n")[0],
        instances=len(instances),
        pids=[each.id for each in instances[:LISTED]],
        ops={name: op.describe() for name, op in sorted(one.ops.items())},
    )


def _service_numbers(instances: list[Service]) -> ServiceStats:
    numbers = [_numbers(each) for each in instances]
    return ServiceStats(
        name=instances[0].service_name,
        version=instances[0].version,
        instances=len(instances),
        handled=sum(each.handled for each in numbers),
        failed=sum(each.failed for each in numbers),
        in_flight=sum(each.active + each.waiting for each in numbers),
    )


def _busiest(processes: list[ProcessStats]) -> list[ProcessStats]:
    """Return all processes in their order; of very many those that have most to do, or had."""
    if len(processes) <= LISTED:
        return processes
    return heapq.nlargest(LISTED, processes, key=lambda p: (p.waiting + p.active, p.handled))


def _numbers(process: Process) -> ProcessStats:
    told = process_of(process)
    return ProcessStats(
        pid=process.id,
        name=process.name,
        service=told.service,
        state=told.state,
        waiting=told.mailbox,
        active=told.active,
        handled=told.handled,
        failed=told.failed,
    )


def _memory() -> int:
    """Return the bytes of memory in use; where the OS does not tell, the most that ever were."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
