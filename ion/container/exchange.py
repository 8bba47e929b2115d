"""The exchange manager: a container's queues, and the way from a routing key to a process.

One exclusive queue brings what is addressed to the container's processes and, by ``ctl.*`` keys,
control traffic, so that neither waits behind a service's requests. Each service instance consumes
the shared queue of its name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from ion.base.errors import IonError, ProcessNotFound
from ion.base.settings import Settings
from ion.container import handover
from ion.container.container_store import ContainerStore
from ion.container.subscriptions import Subscriptions
from ion.conversation import conversation as c
from ion.messaging.address import BEAT, PROCESSES, Namespace, checked_service, suspect_queue
from ion.messaging.transport import Consumer, Delivery, QueueSpec, Transport
from ion.process.endpoint.endpoint import Endpoint
from ion.process.exactly_once.inbox import Inbox
from ion.process.process import Process
from ion.process.service import Service, prefetch_of
from ion.process.serving.admission import answer_ping
from ion.process.serving.arriving import incoming_call
from ion.process.serving.incoming import CALLER, IncomingCall
from ion.process.serving.source import TO_ALL, Policy, Source, source_of

log = logging.getLogger(__name__)
CONTROL = "ctl."
CONTAINER_PREFETCH = 500
AGENT = "agent"


class ExchangeManager:
    """Queues and dispatch of one container.

    :param processes: pid -> process, kept by the spawner.
    :param settings: queue kind of each service, and the major version its plain name goes to;
        without one, every instance takes from the plain name.
    :ivar stores: where the inbox of an effectively-once service is, where a store is configured.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        container_id: str,
        processes: Mapping[str, Process],
        settings: Settings,
        stores: ContainerStore,
    ) -> None:
        self.stores = stores
        self._endpoint = endpoint
        self._transport: Transport = endpoint.transport
        self._namespace: Namespace = endpoint.namespace
        self._best_effort = endpoint.best_effort
        self._id = container_id
        self._processes = processes
        self._settings = settings
        self._queue = self._namespace.container_queue(container_id).name
        self._consumer: Consumer | None = None
        self._consumers: dict[str, list[Consumer]] = {}
        self._inboxes: dict[str, Inbox] = {}
        self._ladder: set[tuple[int, bool]] = set()
        self._instances: dict[str, list[Process]] = {}
        self.subscriptions = Subscriptions(
            endpoint, container_id, self, settings.messaging.max_unheard
        )
        self.on_beat: Callable[[Delivery], None] | None = None

    async def claim(self) -> None:
        """Declare the container's queue, before anything else of that name is touched.

        :raises Unavailable: the broker is away, or another container has this id.
        """
        await self._transport.declare_queue(self._namespace.container_queue(self._id))

    async def open(self) -> None:
        """Declare the dead-letter exchange, and take from the container's queue.

        :raises Unavailable: the broker is away.
        """
        transport, namespace = self._transport, self._namespace
        await transport.declare_exchange(namespace.dead_letter_exchange())
        await self.declare_dead_letters(PROCESSES)
        await transport.bind(self._queue, namespace.xs, f"{self._id}.*")
        self._consumer = await transport.consume(
            self._queue, self._dispatch, prefetch=CONTAINER_PREFETCH
        )

    async def close(self) -> None:
        """Stop taking, and give the container's queue back. Never raises."""
        await self.subscriptions.close()
        for consumers in self._consumers.values():
            for consumer in consumers:
                await self._best_effort.tell(consumer.cancel())
        self._consumers.clear()
        if self._consumer is not None:
            await self._best_effort.tell(self._consumer.cancel())
            self._consumer = None
            await self._best_effort.tell(self._transport.delete_queue(self._queue))

    async def join_control(self, name: str, process: Process) -> None:
        """Let ``process`` get what is sent to ``ctl.<name>``."""
        instances = self._instances.setdefault(name, [])
        instances.append(process)
        if len(instances) == 1:
            key = self._namespace.control_key(name)
            await self._transport.bind(self._queue, self._namespace.xs, key)

    async def hear_beats(self, on_beat: Callable[[Delivery], None]) -> None:
        """Call ``on_beat`` with every sign of life of a container, this one included."""
        self.on_beat = on_beat
        key = self._namespace.control_key(BEAT)
        await self._transport.bind(self._queue, self._namespace.xs, key)

    async def leave_control(self, name: str, process: Process) -> None:
        """Undo :meth:`join_control`."""
        instances = self._instances.get(name, [])
        if process in instances:
            instances.remove(process)
        if not instances and self._instances.pop(name, None) is not None:
            key = self._namespace.control_key(name)
            await self._best_effort.tell(
                self._transport.unbind(self._queue, self._namespace.xs, key)
            )

    # services

    def keys_of(self, service: Service) -> list[str]:
        """Return the routing keys of an instance: its name, and that of its major version.

        :raises ConfigurationError: no service may have that name.
        """
        checked_service(service.service_name)  # which need not be that of its class
        major = type(service).major()
        override = self._settings.services.get(service.service_name)
        preferred = override.major if override is not None else None
        plain = [service.service_name] if preferred in (None, major) else []
        return (
            [*plain, self._namespace.service_key(service.service_name, major)] if major else plain
        )

    async def declare_service(self, service: Service) -> None:
        """Declare the queues of a service, with their dead letters, ladder and bindings.

        :raises Unavailable: the broker is away, or the store that the service's inbox is in.
        """
        quorum = self.is_replicated(service)
        policy = self.policy_of(service)
        await self.stores.ready_for(policy)
        await self.declare_ladder(policy)
        for key in self.keys_of(service):
            spec = self._namespace.service_queue(key, quorum=quorum, singleton=service.singleton)
            await self.declare_dead_letters(key)
            # A singleton has no queue of suspects: another instance could be the one to take those.
            for queue in (spec,) if service.singleton else (spec, suspect_queue(spec)):
                await self.declare_tried(queue, replicated=quorum)
            await self._transport.bind(spec.name, self._namespace.xs, key)

    def is_replicated(self, process: Process) -> bool:
        """Return whether the queues of a service, or of any process's events, are quorum queues.

        Those of singletons are: a classic queue with a single active consumer may crash when that
        one dies, and lose its calls (rabbitmq-server issue 5460, seen on 3.10).
        """
        if isinstance(process, Service) and process.singleton:
            return True
        name = process.service_name if isinstance(process, Service) else ""
        return self._settings.service_settings(name).queue == "quorum"

    def policy_of(self, process: Process) -> Policy:
        """Return how hard the messages of a service, or the events of any process, are tried."""
        service = process if isinstance(process, Service) else None
        name = service.service_name if service is not None else ""
        settings = self._settings.service_settings(name)
        own = self._settings.services.get(name)
        delays = tuple(round(seconds * 1000) for seconds in settings.retry_delays)
        return Policy(
            (own and own.delivery) or (service and service.delivery) or settings.delivery,
            (own and own.attempts) or (service and service.attempts) or settings.attempts,
            delays,
            self.is_replicated(process),
        )

    async def declare_tried(self, queue: QueueSpec, *, replicated: bool) -> None:
        """Declare a queue whose messages are tried again, with their way back from the ladder."""
        await self._transport.declare_queue(queue)
        if replicated:
            back, _ = self._namespace.way_back()
            await self._transport.bind(queue.name, back.name, queue.name)

    async def declare_ladder(self, policy: Policy) -> None:
        """Declare the delay queues that a policy needs, each once."""
        for delay in policy.delays:
            if (delay, policy.replicated) in self._ladder:
                continue
            if policy.replicated:
                await self._declare_way_back()
            exchange, queue = self._namespace.retry_queue(delay, quorum=policy.replicated)
            await self._transport.declare_exchange(exchange)
            await self._transport.declare_queue(queue)
            await self._transport.bind(queue.name, exchange.name, "#")
            self._ladder.add((delay, policy.replicated))

    async def _declare_way_back(self) -> None:
        back, lost = self._namespace.way_back()
        await self._transport.declare_exchange(lost)
        await self._transport.bind(self._namespace.dead_letter_queue(PROCESSES).name, lost.name, "")
        await self._transport.declare_exchange(back)

    async def attach_service(self, service: Service) -> None:
        """Begin to take requests for a service instance."""
        await self.join_control(service.service_name, service)
        for key in self.keys_of(service):
            source = self._source(service, key)
            await self.attach(service, source, prefetch_of(service))
            if not source.suspects:
                continue
            suspects = msgspec.structs.replace(source, queue=source.suspects)
            await self.attach(service, suspects, 1)

    def _source(self, service: Service, key: str) -> Source:
        spec, inbox = self._namespace.service_queue(key), service.service_name
        policy = self.policy_of(service)
        source = source_of(spec, key, policy, self._inboxes, inbox, self.stores.new_inbox)
        return msgspec.structs.replace(source, suspects="") if service.singleton else source

    async def attach(self, process: Process, source: Source, prefetch: int) -> Consumer:
        """Let a process take from a source, until :meth:`detach`."""
        take = partial(process.take, source)
        consumer = await self._transport.consume(source.queue, take, prefetch=prefetch)
        self._consumers.setdefault(process.id, []).append(consumer)
        return consumer

    async def hand_over(self, process: Process, timeout: float) -> None:
        """Let the next instance of a singleton that keeps an order go on where this one ends.

        Nothing is done for others. :meth:`detach` it in any case. Never raises.

        :param timeout: seconds for begun calls to end.
        """
        consumers = self._consumers.get(process.id)
        if consumers and handover.keeps_order(process):
            await self.leave_control(process.service_name, process)
            await handover.hand_over(self._endpoint, process, tuple(consumers), timeout)

    async def detach(self, process: Process) -> None:
        """Stop taking messages for a process. What it was given it may still settle.

        Control still reaches it, so that a call it is finishing can be cancelled.
        """
        await self.subscriptions.end(process)
        for consumer in self._consumers.pop(process.id, []):
            await self._best_effort.tell(consumer.cancel())

    async def wait_for_service(self, name: str) -> bool:
        """Return whether anybody consumes the queue of a service now."""
        queue = f"{self._namespace.sysname}.{name}"
        info = await self._transport.queue_info(queue)
        return info is not None and info.consumers > 0

    async def declare_dead_letters(self, key: str) -> None:
        """Declare the queue for dead letters of ``key``."""
        spec = self._namespace.dead_letter_queue(key)
        await self._transport.declare_queue(spec)
        await self._transport.bind(spec.name, self._namespace.dlx, key)

    def consumers(self) -> list[Consumer]:
        """Return all consumers of this container, on whatever queue."""
        own = [consumer for consumers in self._consumers.values() for consumer in consumers]
        common = [self._endpoint._consumer, self._consumer]
        return [*own, *self.subscriptions.consumers(), *filter(None, common)]

    def names(self) -> list[dict[str, str]]:
        """Return the messaging names of this container: queue, routing key, kind."""
        rows = [
            {"queue": self._endpoint.reply_queue, "key": "", "kind": "answers"},
            {"queue": self._queue, "key": f"{self._id}.*", "kind": "processes"},
        ]
        for name in self._instances:
            key = self._namespace.control_key(name)
            rows.append({"queue": self._queue, "key": key, "kind": "control"})
        keys: dict[str, None] = {}
        for pid in self._consumers:
            process = self._processes.get(pid)
            if isinstance(process, Service):
                keys.update(dict.fromkeys(self.keys_of(process)))
        for key in keys:
            queue = self._namespace.service_queue(key).name
            rows.append({"queue": queue, "key": key, "kind": "service"})
        for process in self._processes.values():
            for queue, topics in process._own_queues.items():
                rows.append({"queue": queue, "key": ", ".join(topics), "kind": "subscription"})
        return [*rows, *self.subscriptions.names()]

    # dispatch

    def _dispatch(self, delivery: Delivery) -> None:
        # Acked at once: the queue goes with the container, so that nothing of it can come again.
        # What waits in mailboxes holds up nothing then; few are on their way, and control, which
        # the broker puts before data, is never behind many.
        delivery.ack()
        envelope = delivery.envelope
        performative = envelope.headers.get("performative", c.REQUEST)
        if performative != c.REQUEST:
            self._hear(delivery, performative)
        elif delivery.key.startswith(CONTROL):
            self._control(delivery)
        else:
            process = self._processes.get(delivery.key)
            if process is not None:
                process.deliver(delivery)
            else:
                self._nobody(delivery)

    def _hear(self, delivery: Delivery, performative: object) -> None:
        """Take what an initiator says later in a conversation."""
        envelope, endpoint = delivery.envelope, self._endpoint
        if not endpoint.is_genuine(envelope):
            endpoint.counts["unheard"] += 1
            return
        if endpoint.inbound_answers and not envelope.body:  # content passes them where it is read
            try:
                envelope = endpoint.incoming(envelope, screened=True)
            except IonError as error:
                endpoint.counts["unheard"] += 1
                log.debug("%s was not heard: %s", performative, error)
                return
        key = (envelope.reply_to, envelope.correlation_id)
        call = endpoint.calls.get(key)
        if performative == c.CANCEL:
            if call is not None:
                call.cancel(CALLER)
            elif envelope.correlation_id:
                self._endpoint.cancelled.keep(key)
        elif isinstance(call, IncomingCall):
            call.take(envelope)
        else:
            self._endpoint.counts["unheard"] += 1

    def _control(self, delivery: Delivery) -> None:
        name = delivery.key.removeprefix(CONTROL)
        if name == BEAT:
            if self.on_beat is not None:
                self.on_beat(delivery)
            return
        if delivery.envelope.op == handover.HANDED_OVER:
            handover.hear(self._endpoint, delivery)
            return
        instances = list(self._instances.get(name, ()))
        if delivery.envelope.op == "ping":
            for process in instances:
                call = incoming_call(self._endpoint, process.id, delivery, TO_ALL)
                answer_ping(call, process, self._pong(process))
        else:
            for process in instances:
                process.take(TO_ALL, delivery)

    def _pong(self, process: Process) -> dict[str, Any]:
        """Return what a process answers to a ping of all instances."""
        pong: dict[str, Any] = {"pong": "pong", "pid": process.id, "container": self._id}
        if isinstance(process, Service):
            pong["version"], pong["keys"] = process.version, self.keys_of(process)
            pong["taking"] = not process._draining
        return pong

    def _nobody(self, delivery: Delivery) -> None:
        """Answer, or dead-letter, what is addressed to a process that is not there."""
        message = f"container {self._id} has no process {delivery.key!r} (any more)"
        error = ProcessNotFound(message, details={"to": delivery.key})
        incoming_call(self._endpoint, self._id, delivery).fail(error)
