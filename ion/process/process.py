"""The process: an actor with an address, a bounded mailbox, ops and a life cycle.

The path of a message: the transport hands it to :meth:`Process.deliver`; it waits in the mailbox
while ``concurrency`` messages are being handled; then a worker runs :meth:`_serve`, which
calls the op directly, so that a traceback shows the op. An idle process has no task.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from ion.base import lifecycle
from ion.conversation.conversation import FINAL
from ion.conversation.rpc import RPC
from ion.messaging import codec
from ion.messaging.transport import Delivery
from ion.observe.context import current_call
from ion.process.calling import Calling
from ion.process.conversations import participant
from ion.process.endpoint.callstack import cycle
from ion.process.endpoint.endpoint import Endpoint
from ion.process.events.subscription import EventSubscribing
from ion.process.exactly_once.conflict_retry import Contended, run_again
from ion.process.exactly_once.inbox import Known
from ion.process.exactly_once.storing import Storing
from ion.process.host import Host
from ion.process.living import Living
from ion.process.ops import Arguments, Op, op_table
from ion.process.redelivery import pausing, redelivered, retrying
from ion.process.serving import incoming, outcomes, shedding
from ion.process.serving.admission import admit, admit_later, answer_ping
from ion.process.serving.arriving import incoming_call
from ion.process.serving.incoming import IncomingCall
from ion.process.serving.lease import HeldLease
from ion.process.serving.replying import Replying
from ion.process.serving.retry_after import RetryAfter
from ion.process.serving.source import MAIL, Source

_set_current = current_call.set
SERVICE_KEYWORDS = (
    "name, version, depends, concurrency, mailbox, prefetch, delivery, attempts, singleton"
)


class _State:
    """Shows the life cycle state, but lets a subclass have a ``state`` of its own in its place."""

    def __get__(self, process: Process | None, owner: type[Process]) -> str:
        return lifecycle.INIT if process is None else process._state


class Process(Living, Calling, Replying, EventSubscribing, Storing):
    """Base class of processes. Write ops as ``async def op_<name>(self, ...)``.

    Spawn arguments are passed to ``__init__``; a class without one keeps them in
    ``self.spawn_args``, and is refused them where its code never says that word. The hooks
    ``on_init``, ``on_activate`` and ``on_terminate`` may be overridden without calling the base.

    :cvar name: default name; the class's name where it is not set.
    :cvar mailbox: how many messages may wait; beyond, a request is answered 503.
    :cvar concurrency: how many messages are handled at a time.
    :ivar id: process id (pid), ``<container id>.<n>``.
    :ivar app_config: configuration of the app it belongs to; empty where it belongs to none.
    :ivar state: INIT, READY, ACTIVE, TERMINATED or ERROR.
    :ivar lease: of the failover app it belongs to: its fencing token, and whether it is held; else
        None.
    """

    name: str = ""
    mailbox: int = 10_000
    concurrency: int = 1
    ops: ClassVar[Mapping[str, Op]] = {}

    # Set by the container before any hook runs. Class-level defaults keep an instance small, and
    # let a subclass have an ``__init__`` that does not call this class's.
    id: str = ""
    state = _State()
    _state: str = lifecycle.INIT
    parent: str | None = None
    spawn_args: Mapping[str, Any] = {}
    app_config: Mapping[str, Any] = {}
    lease: HeldLease | None = None
    _handled: int = 0
    _failed: int = 0
    _restarts: int = 0
    _active: int = 0
    _draining: bool = False
    _held: bool = False
    _host: Host
    _waiting: deque[IncomingCall] | None = None
    _children: dict[str, None] | None = None
    _idle: asyncio.Future[None] | None = None
    _pressure: RetryAfter | None = None

    def __init_subclass__(cls, *, name: str | None = None, **keywords: Any) -> None:
        if keywords:
            known = "name" if "service_name" not in dir(cls) else SERVICE_KEYWORDS
            message = f"class {cls.__qualname__}: unknown {', '.join(keywords)} (known: {known})"
            raise TypeError(message)
        super().__init_subclass__()
        for hook in ("on_init", "on_activate", "on_terminate", "on_down", "on_health"):
            if not inspect.iscoroutinefunction(inspect.unwrap(getattr(cls, hook))):
                message = (
                    f"{cls.__qualname__}.{hook} must be an async method: async def {hook}(self)"
                )
                raise TypeError(message)
        cls.ops = op_table(cls)
        if name is not None or "name" not in cls.__dict__:
            cls.name = name or cls.__name__

    def __init__(self, **spawn_args: Any) -> None:
        if spawn_args:
            self.spawn_args = spawn_args

    # hooks

    async def on_init(self) -> None:
        """INIT -> READY. The process has its id and may send; it gets no messages yet.

        May raise: the process goes to ERROR and its spawn fails.
        """

    async def on_activate(self) -> None:
        """READY -> ACTIVE. Messages wait in the mailbox until this returns.

        May raise: the process goes to ERROR and its spawn fails.
        """

    async def on_terminate(self) -> None:
        """Called once, whatever state the process was in, when its last call is over.

        Its children are gone already. What it raises is logged and changes nothing.
        """

    # sending: what Calling needs to know

    @property
    def _endpoint(self) -> Endpoint:  # type: ignore[override]
        return self._host.endpoint

    @property
    def _sender(self) -> str:  # type: ignore[override]
        return self.id

    # other processes

    async def spawn_child(
        self, target: type[Process] | str, *, name: str | None = None, **args: Any
    ) -> str:
        """Spawn a process that is terminated with this one; return its pid."""
        return await self._host.spawn(target, name=name, args=args, parent=self.id)

    # built-in ops

    async def op_ping(self) -> dict[str, str]:
        """Answer ``{"pong": "pong"}``."""
        return {"pong": "pong"}

    # the message path

    @property
    def waiting(self) -> int:
        """How many messages wait in the mailbox."""
        return len(self._waiting) if self._waiting is not None else 0

    def deliver(self, delivery: Delivery) -> None:
        """Take a message that is addressed to this process: handle it now, keep it, or shed it."""
        self.take(MAIL, delivery)

    def take(self, source: Source, delivery: Delivery) -> None:
        """Take a message from one of its sources: handle it now, keep it, or shed it."""
        host = self._host
        endpoint = host.endpoint
        call = incoming_call(endpoint, self.id, delivery, source)
        is_plain = call.fault is None and not (delivery.redelivered or endpoint.cancelled)
        if (not is_plain or self._draining) and not self._is_to_be_taken(call):
            return
        if endpoint.calls.setdefault(call.key, call) is not call:
            if redelivered.is_taken_over(endpoint.calls[call.key], call):
                return
            call.key = (call.envelope.reply_to, call)  # its id is taken: it stands for itself, too
            endpoint.calls[call.key] = call
        deadline = call.deadline
        if deadline and deadline < endpoint.deadlines.earliest:
            endpoint.deadlines.announce(deadline)
        if self._active < self.concurrency and self._state == lifecycle.ACTIVE:
            self._active += 1
            host.workers.run(self, call)
        else:
            self._keep_waiting(call)

    def _is_to_be_taken(self, call: IncomingCall) -> bool:
        """Return whether to take a message of which there is something to be said; else it was."""
        endpoint = call.endpoint
        if call.fault is not None:
            call.fail(call.fault)
        elif endpoint.cancelled and endpoint.cancelled.take(call.key):
            redelivered.drop_cancelled(call)
        elif call.delivery.redelivered and not redelivered.is_to_be_handled(call):
            pausing.pause(self, endpoint.republisher)
        elif self._draining:
            retrying.back(call)
        else:
            return True
        return False

    def _keep_waiting(self, call: IncomingCall) -> None:
        """Put a message into the mailbox, unless that is full, or it would wait for ever."""
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = deque()
        if call.op == "ping" and self._answer_ping(call):
            return
        stack = call.stack
        ring = cycle(stack, self.id, call.entry, self.concurrency) if stack else None
        if ring is None and len(waiting) < self.mailbox:
            (waiting.appendleft if call.source.is_for_suspects else waiting.append)(call)
            if len(waiting) == self.mailbox >> 1:
                shedding.measure(self, call.endpoint.time())
            return
        call.endpoint.calls.pop(call.key, None)
        if ring is not None:
            call.fail(ring)
        else:
            shedding.shed(self, call)

    def _answer_ping(self, call: IncomingCall) -> bool:
        """Answer a ping though all hands are full: it asks whether the process is there."""
        if type(self).op_ping is not Process.op_ping or self._state != lifecycle.ACTIVE:
            return False
        call.endpoint.calls.pop(call.key, None)
        answer_ping(call, self, {"pong": "pong"})
        return True

    async def _serve(self, call: IncomingCall) -> None:
        call.phase = incoming.BINDING
        _set_current(call)
        endpoint = call.endpoint
        try:
            if call.cause:
                raise asyncio.CancelledError
            source, envelope = call.source, call.envelope
            if (endpoint.auth.is_strict or "token" in envelope.headers) and not admit(call, self):
                await admit_later(call, self)
            if endpoint.inbound or len(envelope.body) > endpoint.max_content:
                envelope = call.envelope = endpoint.incoming(envelope)
            if source.careful and not await redelivered.is_to_be_run(call):
                return
            op = source.handler or self.ops.get(envelope.op)
            if op is None:
                raise outcomes.no_such_op(self.name, envelope.op, self.ops)
            args, kwargs = _parts(call) if op.raw else op.bind(envelope)
            if op.streams or call.protocol is not RPC:
                participant.prepare(call, op)
            call.phase = incoming.RUNNING
            method = op.method
            try:
                result = await (method(self, *args, **kwargs) if kwargs else method(self, *args))
            except Contended as error:
                result = await run_again(self, call, method, args, kwargs, error)
            if call.state not in FINAL:
                call.phase = incoming.ANSWERING
                if call.talk is not None:
                    await call.talk.finish()
                if not endpoint.transport.writable and envelope.reply_to:
                    await endpoint.transport.wait_writable(_time_left(call, endpoint.time()))
                if call.source.careful:  # a unit of work makes it so
                    await self.reply_ok(call, result)
                else:
                    call.answer(result)
        except asyncio.CancelledError:
            outcomes.settle_cancelled(call, self.name)
            raise
        except Known as known:
            redelivered.answer_known(call, known.answer)
        except (GeneratorExit, KeyboardInterrupt) as error:
            outcomes.settle_exit(call, error, self.name)
        except BaseException as error:  # noqa: BLE001 - a sys.exit() in an op must not end us all
            self._failed += 1
            call.fail(outcomes.failure_of(call, error, self.name))
            if isinstance(error, SystemExit):
                self._host.fail_process(self, f"SystemExit in op {call.op!r}: {error.code}")
        finally:
            self._finished(call)

    def _finished(self, call: IncomingCall) -> None:
        call.endpoint.calls.pop(call.key, None)
        call.deadline = 0.0  # what it left running in the background has no caller to be late for
        self._active -= 1
        self._handled += 1
        call.task = None
        if call.done is not None:
            call.done()
        if self._waiting and not self._draining:
            self._begin_next()
        elif not self._active and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _begin_next(self) -> None:
        """Begin what waits, and settle what is not to be begun any more."""
        while self._waiting and self._active < self.concurrency:
            call = self._waiting.popleft()
            if not redelivered.is_void(call, self.name):
                self._active += 1
                self._host.workers.run(self, call)

    def _give_back(self, call: IncomingCall) -> None:
        """Settle a message that will not be begun here; other instances may have it."""
        call.endpoint.calls.pop(call.key, None)
        retrying.back(call)

    def _withdraw(self, sources: tuple[Source, ...]) -> list[IncomingCall]:
        """Take what came from these sources out of the mailbox, and return it, unsettled."""
        waiting = list(self._waiting or ())
        withdrawn = [call for call in waiting if call.source in sources]
        if withdrawn:
            self._waiting = deque(call for call in waiting if call.source not in sources)
        for call in withdrawn:
            call.endpoint.calls.pop(call.key, None)
        return withdrawn

    # life cycle, stepped by the container's spawner

    def _step(self, event: str) -> None:
        self._state = lifecycle.LIFECYCLE.next_state(self._state, event)

    def _start_serving(self) -> None:
        """Begin what came while the process was READY."""
        self._begin_next()

    async def _drain(self, timeout: float) -> None:
        """Give back what was not begun, and wait for what was; cancel what is left then."""
        self._draining = True
        while self._waiting:
            self._give_back(self._waiting.popleft())
        if not self._active:
            return
        self._idle = self._host.endpoint.loop.create_future()
        done, _ = await asyncio.wait({self._idle}, timeout=max(timeout, 0))
        if done:
            return
        begun = self._begun()
        tasks = [call.task for call in begun if call.task is not None]
        for call in begun:
            call.cancel(incoming.TERMINATED)
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        for call in begun:  # handlers that heed no cancellation owe an answer, too
            outcomes.settle_cancelled(call, self.name)

    def _abandon(self) -> None:
        """Cancel everything at once, answering nothing: the broker delivers it again."""
        self._draining = True
        if self._tasks is not None:
            self._tasks.cancel()
        for call in self._begun():
            call.cancel(incoming.ABANDONED)

    def _begun(self) -> list[IncomingCall]:
        """Return the calls of this process that are not over."""
        calls = self._host.endpoint.calls.values()
        return [c for c in calls if isinstance(c, IncomingCall) and c.process == self.id]

    def describe(self) -> dict[str, Any]:
        """Return what ``ioncc ps`` shows of it."""
        return {
            "pid": self.id,
            "name": self.name,
            "class": f"{type(self).__module__}:{type(self).__qualname__}",
            "state": self._state,
            "parent": self.parent,
            "service": None,
            "version": None,
            "mailbox": self.waiting,
            "active": self._active - self.concurrency * self._held,
            "handled": self._handled,
            "failed": self._failed,
            "restarts": self._restarts,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id or 'unspawned'} {self._state}>"


def _parts(call: IncomingCall) -> Arguments:
    """Return the arguments of a handler that takes the raw parts."""
    envelope = call.envelope
    return (codec.decode(envelope.body, envelope.content_type), call.headers, call), {}


def _time_left(call: IncomingCall, now: float) -> float:
    return max(call.deadline - now, 0.0) if call.deadline else 15.0


Process.ops = op_table(Process)
Process.name = "Process"
