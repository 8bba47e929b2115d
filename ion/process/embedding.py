"""ION in a program that is not asynchronous: one party, in a thread with an event loop of its own.

There is one an OS process, made by the first who asks for it, and ended, drained, when Python ends.
Where no broker is configured it is a container, with the apps that were asked for; else it is a
connection to the system of that broker. A process that was forked makes one of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import thread as executors
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar, cast

from ion.base.config import load
from ion.base.errors import DeadlineExceeded, IonError, LifecycleError, StartError
from ion.base.lifecycle import ACTIVE
from ion.base.plugin import resolve
from ion.base.settings import Settings
from ion.messaging.opening import scheme_of
from ion.process.calling import Calling
from ion.process.connection import connect
from ion.process.process import Process

log = logging.getLogger(__name__)
T = TypeVar("T")

CONTAINER = "ion.container.container:Container"
MEMORY = "memory"
START = 60.0  # seconds that the start of a party, or of an app, may take
ENDED = "ION has ended in this program"
STOP = 2.0  # seconds beyond the container's own drain


class _Embedded(Protocol):
    """What is asked of a container."""

    processes: dict[str, Process]
    gave_up: asyncio.Event

    async def start_app(self, app: str) -> None:
        """Start an app; no-op where it runs already."""


class Party:
    """A container or a connection, and the thread that it lives in.

    All methods may be called from any thread but its own.

    :raises IonError: it did not come up; nothing of it is left.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self.caller: Calling
        self._apps: set[str] = set()
        self._starting = threading.Lock()
        self._settings = load()
        self._waiting: set[Future[Any]] = set()
        self._is_over = False
        started: Future[Calling] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="ion embedded", daemon=True
        )
        try:
            self._thread.start()
            started.result(START)
        except TimeoutError as error:
            if isinstance(error, IonError):
                raise
            message = f"ION did not start within {START:g} s"
            raise StartError(message) from None
        except RuntimeError as error:  # Python is ending: no thread can be started
            message = f"ION cannot be started any more: {error}"
            raise StartError(message) from None
        finally:
            started.cancel()  # where nobody waits for it any more, it ends as soon as it is up

    @property
    def is_embedded(self) -> bool:
        """Whether it is a container, and hosts what it calls."""
        return is_embedded(self._settings)

    @property
    def is_up(self) -> bool:
        """Whether it can be called."""
        return self._thread.is_alive() and not self._loop.is_closed()

    def need(self, app: str) -> None:
        """See to it that an app runs, where it is a container; else that is the system's matter.

        :raises IonError: it did not come up.
        """
        if app in self._apps:
            return
        with self._starting:
            if app not in self._apps and self.is_embedded:
                self.call(self._container.start_app(app), START)
            self._apps.add(app)

    def process(self, service: str) -> Process | None:
        """Return the process of a service that lives here and is ACTIVE; for its coroutines.

        What is called of it is the same as an op, without the bus: see what the service says.
        """
        if not self.is_embedded:
            return None
        for process in list(self._container.processes.values()):
            if getattr(process, "service_name", None) == service and process.state == ACTIVE:
                return process
        return None

    def call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Return the result of ``work``, which is done in the party's loop.

        It is cancelled where the wait for it is interrupted (Ctrl-C), or takes too long.

        :param timeout: seconds; None: ``work`` has its own deadlines.
        :raises DeadlineExceeded: it took longer.
        :raises LifecycleError: the party has ended, or ends meanwhile, or this is its own thread.
        """
        if threading.current_thread() is self._thread:
            work.close()
            message = "this is called from within ION, where to wait is to wait for ever: await"
            raise LifecycleError(message)
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise LifecycleError(ENDED) from None
        self._waiting.add(future)
        if self._is_over:
            future.cancel()  # who is added now is not found there any more
        try:
            return future.result(timeout)
        except CancelledError:
            raise LifecycleError(ENDED) from None
        except TimeoutError as error:
            if isinstance(error, IonError):
                raise
            message = f"no answer within {timeout} s"
            raise DeadlineExceeded(message) from None
        finally:
            future.cancel()
            self._waiting.discard(future)

    @property
    def _container(self) -> _Embedded:
        return cast("_Embedded", self.caller)

    def close(self) -> None:
        """End it, drained; never raises. Later calls are refused."""
        drain = self._settings.container.drain_timeout
        try:
            self._loop.call_soon_threadsafe(self._over.set)
        except RuntimeError:
            return
        self._thread.join(drain + STOP)

    def _run(self, started: Future[Calling]) -> None:
        try:
            asyncio.run(self._live(started))
        # What ends it is told to whoever waits for its start, or was logged where it happened.
        except Exception as error:  # noqa: BLE001 - a thread ends here
            if started.done():
                log.warning("ION did not end well: %s", error)
            else:
                started.set_exception(_as_ion_error(error))
        finally:
            self._is_over = True
            for future in list(self._waiting):
                future.cancel()

    async def _live(self, started: Future[Calling]) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        async with AsyncExitStack() as stack:
            caller: Calling
            if is_embedded(self._settings):
                container = resolve(CONTAINER)("memory://", settings=self._settings)
                caller = await stack.enter_async_context(container)
            else:
                caller = await stack.enter_async_context(connect())
            self.caller = caller
            if started.set_running_or_notify_cancel():
                started.set_result(caller)
                await self._ended()

    async def _ended(self) -> None:
        """Wait until it is to end, or has ended by itself."""
        ends = [asyncio.ensure_future(self._over.wait())]
        if self.is_embedded:
            ends.append(asyncio.ensure_future(self._container.gave_up.wait()))
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()


def is_embedded(settings: Settings) -> bool:
    """Tell whether these settings name no broker: a bus in memory, of nobody else."""
    return scheme_of(settings.broker.urls[0]) == MEMORY


def _as_ion_error(error: Exception) -> IonError:
    if isinstance(error, IonError):
        return error
    return StartError(f"ION did not start: {type(error).__name__}: {error}")


class _Place:
    """Where the party of this OS process is."""

    def __init__(self) -> None:
        self.party: Party | None = None
        self.lock = threading.Lock()
        self.left: list[Any] = []
        self.is_hooked = False
        self.is_over = False

    def get(self) -> Party:
        """Return it; make it where there is none that is up.

        :raises IonError: it did not come up, or Python is ending.
        """
        party = self.party
        if party is not None and party.is_up:
            return party
        with self.lock:
            if self.is_over:
                raise LifecycleError(ENDED)
            if self.party is None or not self.party.is_up:
                self.party = Party()
                self._hook()
            return self.party

    def close(self) -> None:
        """End the party, where there is one."""
        party, self.party = self.party, None
        if party is not None:
            party.close()

    def forget(self) -> None:
        """Leave the party to the process that this one was forked from.

        It is kept, and never ended: its files and sockets are the other's.
        """
        self.left.append(self.party)
        self.party, self.lock = None, threading.Lock()

    def _hook(self) -> None:
        """Have the party ended with Python: before executors are, which `atexit` would be after.

        Such hooks run in reverse order, and that of executors was set when they were imported.
        """
        if not self.is_hooked:
            self.is_hooked = True
            register: Callable[[Callable[[], None]], Any]
            register = getattr(threading, "_register_atexit", atexit.register)
            register(self._at_exit)

    def _at_exit(self) -> None:
        """Let the program's threads end, for which Python waits after this, and end the party."""
        while threads := _at_work():
            threads[0].join()
        self.is_over = True
        self.close()


def _at_work() -> list[threading.Thread]:
    """Return the threads that keep Python alive; those of executors are told to end after this."""
    beside = {threading.main_thread(), threading.current_thread(), *executors._threads_queues}
    return [
        thread
        for thread in threading.enumerate()
        if not (thread.daemon or thread in beside)
        and not type(thread).__module__.startswith("concurrent.")  # that of a pool of processes
    ]


_place = _Place()
os.register_at_fork(after_in_child=_place.forget)


def party(app: str) -> Party:
    """Return the party of this OS process, with ``app`` running where it is a container.

    :raises IonError: it did not come up; who asks again tries again.
    """
    found = _place.get()
    found.need(app)
    return found


def leave() -> None:
    """End the party of this OS process, drained; the next who asks makes another one."""
    _place.close()
