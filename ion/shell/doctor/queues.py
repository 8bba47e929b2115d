"""Checks of exchanges and queues: nothing is made, nothing is taken.

A passive look first; what is there is then declared as ION would, which changes nothing where it
is so, and makes the broker say what is otherwise where it is not.
"""

from __future__ import annotations

from dataclasses import replace

from ion.base.errors import ConfigurationError, IonError
from ion.messaging.address import PROCESSES, suspect_queue
from ion.messaging.amqp.failures import is_locked, words_of
from ion.messaging.transport import ExchangeSpec, QueueSpec
from ion.shell.doctor import remedies
from ion.shell.doctor.context import Context, service_of
from ion.shell.doctor.diagnosis import Diagnosis, found

_DEAD = ".dlq"
_SUSPECT = ".suspect"
_SINGLE = "x-single-active-consumer"


async def exchanges(context: Context) -> list[Diagnosis]:
    """The exchanges of the system are as ION declares them; that for dead letters is there."""
    names, asker = context.namespace, context.broker.asker
    diagnoses = []
    has_system = await asker.has_exchange(names.xs)
    for spec in (names.exchange_space(), names.dead_letter_exchange()):
        diagnoses += await _otherwise(context, spec)
    if has_system and not await asker.has_exchange(names.dlx):
        message = f"there is no exchange {names.dlx!r}: dead letters are lost"
        remedy = f"ioncc -n{context.here} ...   (any container declares it)"
        diagnoses.append(found("no-dead-letter-exchange", message, remedy))
    return diagnoses


async def _otherwise(context: Context, spec: ExchangeSpec) -> list[Diagnosis]:
    asker = context.broker.asker
    if not await asker.has_exchange(spec.name):
        return []
    try:
        await asker.declare_exchange(spec)
    except ConfigurationError as error:
        delete = remedies.delete_exchange(context.broker.vhost, spec.name)
        remedy = f"stop the containers, then: {delete}"
        return [found("exchange", f"exchange {spec.name!r}: {words_of(error)}", remedy)]
    return []


async def services(context: Context) -> list[Diagnosis]:
    """The queues of services are as ION declares them, and have one for their dead letters."""
    _ = context.broker
    diagnoses = []
    for key in context.service_keys():
        spec = context.namespace.service_queue(key, quorum=context.is_replicated(key))
        if await context.queue(spec.name) is None:
            continue
        dead = context.namespace.dead_letter_queue(key)
        for queue in (spec, suspect_queue(spec), dead):
            diagnoses += await _differing(context, queue, key)
        if await context.queue(dead.name) is None:
            message = f"{spec.name!r} has no queue {dead.name!r}: its dead letters are lost"
            remedy = (
                f"ioncc -n{context.here} ...   (a container with {service_of(key)!r} declares it)"
            )
            diagnoses.append(found("no-dead-letter-queue", message, remedy))
    return diagnoses


async def _differing(context: Context, spec: QueueSpec, key: str) -> list[Diagnosis]:
    fault = await _fault_of(context, spec)
    if not fault:
        return []
    remedy = (
        f"set services.{service_of(key)}.queue as it was declared; or stop the service, then: "
        f"{remedies.delete_queue(context.broker.vhost, spec.name)}"
    )
    return [found("queue", fault, remedy)]


async def _fault_of(context: Context, spec: QueueSpec) -> str:
    """Say what is otherwise about a queue; nothing where it is not there."""
    if await context.queue(spec.name) is None:
        return ""
    fault = await _refusal(context, spec)
    if _SINGLE in fault:  # whether a service is a singleton, its class may say
        fault = await _refusal(context, replace(spec, arguments={**spec.arguments, _SINGLE: True}))
    return fault


async def _refusal(context: Context, spec: QueueSpec) -> str:
    try:
        await context.broker.asker.declare_queue(spec)
    except ConfigurationError as error:
        return f"queue {spec.name!r}: {words_of(error)}"
    return ""


async def ladder(context: Context) -> list[Diagnosis]:
    """The steps of the retry ladder bring back what takes them."""
    diagnoses = []
    for delay, quorum in sorted(_steps(context)):
        exchange, queue = context.namespace.retry_queue(delay, quorum=quorum)
        remedy = remedies.delete_queue(context.broker.vhost, queue.name)
        info = await context.queue(queue.name)
        if info is None:
            if await context.broker.asker.has_exchange(exchange.name):
                message = f"the exchange {exchange.name!r} has lost its queue"
                diagnoses.append(found("retry-ladder", message))
            continue
        fault = await _fault_of(context, queue)
        if fault:
            diagnoses.append(found("retry-ladder", fault, remedy))
        if info.consumers:
            message = f"somebody consumes {queue.name!r}: what waits there does not come back"
            diagnoses.append(found("retry-ladder", message, "stop what consumes it"))
    return diagnoses


def _steps(context: Context) -> set[tuple[int, bool]]:
    services = [
        context.settings.service,
        *map(context.settings.service_settings, context.settings.services),
    ]
    return {
        (round(seconds * 1000), service.queue == "quorum")
        for service in services
        for seconds in service.retry_delays
    }


async def unconsumed(context: Context) -> list[Diagnosis]:
    """Nothing waits where nobody takes."""
    vhost, diagnoses = context.broker.vhost, []
    for name in context.lasting_queues():
        for code, queue in (("queue-unconsumed", name), ("suspects", f"{name}{_SUSPECT}")):
            info = await context.queue(queue)
            if info is None or info.consumers or not info.messages:
                continue
            message = f"{info.messages} messages wait in {queue!r}, and nobody consumes it"
            delete = remedies.delete_queue(vhost, queue)
            remedy = f"start the service; or, where it is given up: {delete}"
            diagnoses.append(found(code, message, remedy))
    return diagnoses


async def dead_letters(context: Context) -> list[Diagnosis]:
    """No dead letters wait."""
    prefix = f"{context.sysname}."
    keys = [name.removeprefix(prefix) for name in context.lasting_queues()]
    diagnoses = []
    for key in dict.fromkeys([*keys, PROCESSES]):
        info = await context.queue(f"{prefix}{key}{_DEAD}")
        if info is not None and info.messages:
            count = f"{info.messages} dead letter{'' if info.messages == 1 else 's'}"
            message = f"{count} of {key!r} wait for somebody to look"
            remedy = f"ioncc dlq show {key}{context.here}"
            diagnoses.append(found("dead-letters", message, remedy))
    return diagnoses


async def container_name(context: Context) -> list[Diagnosis]:
    """No container has the name that one started here would have."""
    _ = context.broker
    name = context.settings.container.name
    if name is None:
        return []
    try:
        info = await context.queue(context.namespace.container_queue(name).name)
    except IonError as error:
        if not is_locked(error):
            raise
    else:
        if info is None:
            return []
    origin = context.configuration.explain("container.name").origin
    message = f"container.name is {name!r} (from {origin}), and such a container runs already"
    return [found("container-name", message)]
