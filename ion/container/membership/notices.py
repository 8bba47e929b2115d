"""Death notices: who watches whom, and the telling of it, here and between containers.

Each container knows who watches its processes, and tells the agents of theirs: one message a
container and death, at control priority, and again until the broker has it or there is no such
container. Whom its own processes watch it knows, too: what was not asked for is not heard, and what
was is heard once. A link is two watches, one each way: the container of the other one enters its
half on request, and that request is a command, for what is linked can be ended. So is what is told
of an end signed, too; of one that is not, the container of the process is asked. Whoever has not
shown the key of the system may watch, so many of them, and undo what they have asked for alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import msgspec

from ion.base import lifecycle
from ion.base.errors import (
    ApplicationError,
    Forbidden,
    IonError,
    ProcessNotFound,
    ReceivedError,
    ServiceNotFound,
    Unavailable,
    Unroutable,
)
from ion.base.tasks import Tasks
from ion.messaging import codec
from ion.messaging.address import CONTROL_PRIORITY
from ion.messaging.envelope import MSGPACK, Envelope
from ion.process.endpoint.endpoint import Endpoint
from ion.process.process import Process
from ion.process.supervision.exit_reason import (
    LOST,
    NO_SUCH_PROCESS,
    SHUTDOWN,
    STOPPED,
    DownNotice,
    End,
)
from ion.process.supervision.notice import hear

log = logging.getLogger(__name__)
PAUSE = 0.2  # seconds before a notice that the broker did not take is tried again
PATIENCE = 5.0  # seconds for the broker to take a notice
LAST_MOMENT = 1.0  # seconds that untold notices have when the container stops
DOUBTS = 100  # ends that are looked into at a time
MAX_GUESTS = 1000
MAX_PID = 200  # letters
FORBIDDEN = Forbidden.default_code
MONITORED, LINKED = 1, 2  # what a process wants to hear of another for: bits


class Notices:
    """The death notices of one container.

    :param processes: pid -> process, those that run here.
    """

    def __init__(self, endpoint: Endpoint, container: str, processes: dict[str, Process]) -> None:
        self._endpoint = endpoint
        self._container = container
        self._processes = processes
        self._watched: dict[str, set[str]] = {}  # pid here -> pids, anywhere, that watch it
        self._guests: set[tuple[str, str]] = set()  # of those, who has not shown the key
        self._watching: dict[str, dict[str, int]] = {}  # pid here -> pid -> what for
        self._watchers: dict[str, Process] = {}  # those of _watching: some are only starting
        self._tasks = Tasks("notices")
        self._doubted: set[str] = set()  # pids of which somebody says that they have ended
        self._linking: set[asyncio.Task[bool]] = set()

    # for the processes of this container

    async def monitor(self, process: Process, pid: str, *, linked: bool) -> None:
        """See :meth:`Process.monitor` and :meth:`Process.link`."""
        if process._end is not None or process._state == lifecycle.TERMINATED:
            return  # there will be nobody to hear of it
        if linked and pid == process.id:
            return
        bond = LINKED if linked else MONITORED
        before = self._watching.get(process.id, {}).get(pid, 0)
        self._enter(process, pid, bond)
        try:
            is_there = await (self._link(process, pid) if linked else self._ask(pid, process.id))
        except BaseException:
            self._loosen(process.id, pid, bond & ~before)
            if bond & ~before & LINKED:  # it may have been made just now
                self._tell_unlinked(pid, process.id)
            raise
        if not is_there:
            self.heard(DownNotice(pid, "", NO_SUCH_PROCESS), [process.id])

    async def unmonitor(self, process: Process, pid: str, *, linked: bool) -> None:
        """See :meth:`Process.unmonitor` and :meth:`Process.unlink`."""
        bond = self._watching.get(process.id, {}).get(pid, 0)
        if not linked:
            self._loosen(process.id, pid, MONITORED)
        elif bond & LINKED:
            self._loosen(process.id, pid, LINKED)
            self._tell_unlinked(pid, process.id)

    def ended(self, process: Process, end: End) -> None:
        """Tell all who watch a process that it has ended; what it watched is of no interest now."""
        pid = process.id
        self._watchers.pop(pid, None)
        for other in self._watching.pop(pid, ()):
            self._tell_unwatched(other, pid)
        watchers = self._watched.pop(pid, None)
        if watchers and self._guests:
            self._guests.difference_update([(pid, watcher) for watcher in watchers])
        if watchers:
            self._tell_all(DownNotice(pid, process.name, end.reason, end.error), watchers)

    # for other containers, by the agent

    def watch(self, pid: str, watcher: str) -> bool:
        """Tell ``watcher`` when ``pid`` ends; return whether there is such a process here."""
        if pid not in self._processes:
            return False
        self._watched.setdefault(pid, set()).add(watcher)
        self._guests.discard((pid, watcher))
        return True

    def watch_for_guest(self, pid: str, watcher: str) -> bool:
        """Do as :meth:`watch` for somebody who has not shown that they have the key.

        :raises ApplicationError: 429, too many such do already; 400, ``watcher`` is no pid.
        """
        if watcher in self._watched.get(pid, ()) or pid not in self._processes:
            return pid in self._processes
        if not 0 < len(watcher) <= MAX_PID:
            message = f"a pid has at most {MAX_PID} letters"
            raise ApplicationError(message, type="BadRequest")
        if len(self._guests) >= MAX_GUESTS:
            message = f"{MAX_GUESTS} without the key of the system watch processes here already"
            raise ApplicationError(message, code=429, type="TooMany")
        self.watch(pid, watcher)
        self._guests.add((pid, watcher))
        return True

    def unwatch_for_guest(self, pid: str, watcher: str) -> None:
        """Undo :meth:`watch_for_guest`, and nothing that others have asked for."""
        if (pid, watcher) in self._guests:
            self.unwatch(pid, watcher)

    def unwatch(self, pid: str, watcher: str) -> None:
        """Undo :meth:`watch`."""
        self._guests.discard((pid, watcher))
        watchers = self._watched.get(pid)
        if watchers is not None:
            watchers.discard(watcher)
            if not watchers:
                del self._watched[pid]

    def linked(self, pid: str, other: str) -> bool:
        """Enter this container's half of a link; return whether there is such a process here."""
        process = self._processes.get(pid)
        if process is None or process._end is not None:
            return False
        self._enter(process, other, LINKED)
        return True

    def unlinked(self, pid: str, other: str) -> None:
        """Undo :meth:`linked`."""
        self._loosen(pid, other, LINKED)

    def heard(self, notice: DownNotice, watchers: list[str]) -> None:
        """Tell processes here of an end, those that still want to know."""
        for watcher in watchers:
            bond = self._watching.get(watcher, {}).get(notice.pid, 0)
            process = self._watchers.get(watcher)
            if not bond or process is None:
                continue
            self._forget(watcher, notice.pid)
            self.unwatch(watcher, notice.pid)
            if bond & LINKED and notice.reason != "normal":
                self._end_linked(process, notice)
            elif bond & MONITORED:
                hear(process, notice)

    def claimed(self, notice: DownNotice, watchers: list[str]) -> None:
        """Hear of an end what anybody may have said: ask where the process was, then tell.

        What nobody here watches is not asked for.
        """
        pid = notice.pid
        wanted = [each for each in watchers if pid in self._watching.get(each, {})]
        if not wanted or pid in self._doubted:
            return
        if len(self._doubted) >= DOUBTS:
            self._endpoint.counts["ends that were not looked into"] += 1
            return
        self._doubted.add(pid)
        task = self._tasks.start(self._find_out(notice, wanted), f"find out about {pid}")
        task.add_done_callback(lambda _: self._doubted.discard(pid))

    async def _find_out(self, notice: DownNotice, watchers: list[str]) -> None:
        pid = notice.pid
        agent, here = f"{self._container_of(pid)}.0", f"{self._container}.0"
        try:
            is_there = await self._endpoint.rpc(here, agent, "info_of", {"pid": pid}, PATIENCE)
        except (ServiceNotFound, ProcessNotFound):
            is_there = None
        except IonError as error:  # where its container is gone, its beats will say so
            log.warning("whether %s has ended was not found out: %s", pid, error)
            return
        if is_there is None:
            self.heard(notice, watchers)
            return
        self._endpoint.counts["ends that were none"] += 1
        log.warning("somebody without the key of the system says that %s has ended; it lives", pid)

    def lost(self, container: str) -> None:
        """Take note that a container has vanished: its processes are lost, and watch nobody.

        For whoever notices it; nothing here finds it out.
        """
        for pid, watchers in list(self._watched.items()):
            for watcher in [w for w in watchers if self._container_of(w) == container]:
                self.unwatch(pid, watcher)
        for watcher, watching in list(self._watching.items()):
            for pid in [p for p in watching if self._container_of(p) == container]:
                self.heard(DownNotice(pid, "", LOST), [watcher])

    async def close(self) -> None:
        """Give what is still to be told a last moment. Never raises."""
        await self._tasks.stop(LAST_MOMENT)

    # helpers of the above

    async def _ask(self, pid: str, watcher: str) -> bool:
        """Watch a process, wherever it is; return whether it is there."""
        container = self._container_of(pid)
        if container == self._container or not container:
            return self.watch(pid, watcher)
        body = codec.encode({"pid": pid, "watcher": watcher}, MSGPACK)[0]
        to, raw = f"{container}.0", msgspec.Raw(body)
        try:
            signed = self._signed(to, "monitor", body)
            return bool(
                await self._endpoint.rpc(watcher, to, "monitor", raw, None, MSGPACK, signed)
            )
        except (ServiceNotFound, ProcessNotFound):
            return False

    async def _link(self, process: Process, pid: str) -> bool:
        """Enter both halves of a link; return whether the other process is there."""
        container = self._container_of(pid)
        if container == self._container or not container:
            return self.linked(pid, process.id)
        task = asyncio.ensure_future(self._ask_link(process, pid))
        self._linking.add(task)  # it is seen through, also where nobody waits for it any more
        task.add_done_callback(self._asked)
        return await asyncio.shield(task)

    def _asked(self, task: asyncio.Task[bool]) -> None:
        self._linking.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("not linked: %s", task.exception())

    async def _ask_link(self, process: Process, pid: str) -> bool:
        here, to = process.id, f"{self._container_of(pid)}.0"
        body = codec.encode({"pid": pid, "other": here}, MSGPACK)[0]
        signed, raw = self._signed(to, "link", body), msgspec.Raw(body)
        try:
            is_there = bool(await self._endpoint.rpc(here, to, "link", raw, None, MSGPACK, signed))
        except (ServiceNotFound, ProcessNotFound):
            return False  # its container is gone
        except ReceivedError as error:
            if error.code != FORBIDDEN:
                raise
            raise Forbidden(error.message, details=error.details) from error
        end = process._end
        if end is not None:  # its notice may have overtaken the request
            notice = DownNotice(here, process.name, end.reason, end.error)
            self._tell(pid, "down", {"notice": notice, "watchers": [pid]})
        elif not self._watching.get(here, {}).get(pid, 0) & LINKED:
            self._tell_unlinked(pid, here)
        return is_there

    def _enter(self, process: Process, pid: str, bond: int) -> None:
        """Note what a process here wants to hear of another one for."""
        self._watchers[process.id] = process
        watching = self._watching.setdefault(process.id, {})
        watching[pid] = watching.get(pid, 0) | bond
        if bond & LINKED:
            self._watched.setdefault(process.id, set()).add(pid)

    def _loosen(self, watcher: str, pid: str, bond: int) -> None:
        """Take back what :meth:`_enter` noted; where nothing is left, the other is not watched."""
        watching = self._watching.get(watcher, {})
        left = watching.get(pid, 0) & ~bond
        if left:
            watching[pid] = left
        elif self._forget(watcher, pid):
            self._tell_unwatched(pid, watcher)

    def _end_linked(self, process: Process, notice: DownNotice) -> None:
        """End a process with the one that it is linked to."""
        if notice.reason == SHUTDOWN and process.id in self._processes:
            self._tasks.start(self._end_with(process), "link")
            return
        why = notice.error and f": {notice.error}"
        message = f"linked process {notice.pid} {notice.name} is down: {notice.reason}{why}"
        process._host.fail_process(process, message)  # its class may have a `fail`

    async def _end_with(self, process: Process) -> None:
        with contextlib.suppress(ProcessNotFound):
            await process._host.terminate_process(process.id, end=STOPPED)

    def _forget(self, watcher: str, pid: str) -> bool:
        watching = self._watching.get(watcher)
        if watching is None or watching.pop(pid, None) is None:
            return False
        if not watching:
            del self._watching[watcher]
            del self._watchers[watcher]
        return True

    def _tell_unwatched(self, pid: str, watcher: str) -> None:
        if self._container_of(pid) == self._container:
            self.unwatch(pid, watcher)
        else:
            self._tell(pid, "unmonitor", {"pid": pid, "watcher": watcher})

    def _tell_unlinked(self, pid: str, other: str) -> None:
        if self._container_of(pid) == self._container:
            self.unlinked(pid, other)
        else:
            self._tell(pid, "unlink", {"pid": pid, "other": other})

    def _tell_all(self, notice: DownNotice, watchers: set[str]) -> None:
        by_container: dict[str, list[str]] = {}
        for watcher in sorted(watchers):
            by_container.setdefault(self._container_of(watcher), []).append(watcher)
        for container, pids in by_container.items():
            if container == self._container:
                self.heard(notice, pids)
            else:
                self._tell(pids[0], "down", {"notice": notice, "watchers": pids})

    def _tell(self, pid: str, op: str, content: object) -> None:
        """Send one way to the agent of the container of ``pid``."""
        try:
            self._tasks.start(self._send(f"{self._container_of(pid)}.0", op, content), op)
        except RuntimeError:
            log.debug("%s of %s not told: the container has stopped", op, pid)

    async def _send(self, agent: str, op: str, content: object) -> None:
        endpoint = self._endpoint
        body, content_type = codec.encode(content, MSGPACK)
        plain = Envelope(
            op,
            body,
            content_type=content_type,
            message_id=endpoint.next_id(),
            priority=CONTROL_PRIORITY,
        )
        transport, xs = endpoint.transport, endpoint.namespace.xs
        while True:
            headers = self._headers(agent, op, body)  # anew: a signature ages
            envelope = endpoint.outgoing(msgspec.structs.replace(plain, headers=headers))
            try:
                await transport.publish_confirmed(
                    xs, agent, envelope, mandatory=True, timeout=PATIENCE
                )
            except Unroutable:
                log.debug("%s not told to %s: it is gone", op, agent)
            except Unavailable:
                await asyncio.sleep(PAUSE)
                continue
            except IonError as error:
                log.warning("%s not told to %s: %s", op, agent, error)
            return

    def _headers(self, agent: str, op: str, body: bytes) -> dict[str, Any]:
        sender = f"{self._container}.0"
        headers = {"performative": "request", "protocol": "none", "sender": sender}
        return {**headers, **self._signed(agent, op, body)}

    def _signed(self, agent: str, op: str, body: bytes) -> dict[str, str]:
        """Return what shows that containers talk: ``down`` may end what is linked, and what a
        process watches is no matter of whose call it handles.
        """
        permission = self._endpoint.permission
        return permission.sign(agent, op, body) if permission is not None else {}

    @staticmethod
    def _container_of(pid: str) -> str:
        return pid.rpartition(".")[0]
