"""What a firing sends: an event or a message, under the firing's id."""

from __future__ import annotations

from ion.base.errors import InvalidRequest, IonError
from ion.process.endpoint.endpoint import Endpoint
from ion.process.events.publishing import told
from ion.process.events.topics import POINT
from ion.process.events.types import TimerFired
from ion.process.exactly_once.unit_of_work import Unit
from ion.services.scheduler.model import Firing, Task


async def post(endpoint: Endpoint, uow: Unit, task: Task, firing: Firing) -> None:
    """Put the event or message of a firing into a unit of work.

    :raises Unavailable: too many messages wait for the broker.
    """
    target = task.target
    if target.kind == "send":
        await uow.send(target.to, target.op, target.content, message_id=firing.id)
        return
    event = event_of(task, firing)
    topic, content = told(event, endpoint)
    await uow.publish(POINT, topic, content, op=event.type, message_id=event.id)


def event_of(task: Task, firing: Firing) -> TimerFired:
    """Return the event that a firing is."""
    target = task.target
    return TimerFired(
        origin=target.origin,
        origin_type=target.origin_type,
        sub_type=target.sub_type,
        description=task.description,
        actor=task.by,
        created=firing.at,
        id=firing.id,
        task=task.id,
        due=firing.due,
        number=task.fired,
        missed=firing.missed,
        content=target.content,
    )


def check(endpoint: Endpoint, task: Task) -> None:
    """Refuse a task whose event could not be published.

    :raises InvalidRequest: its texts make no topic.
    """
    if task.target.kind != "event":
        return
    try:
        told(event_of(task, Firing(id="check", due=0.0, at=0.0, outcome="fired")), endpoint)
    except IonError as error:
        raise InvalidRequest(error.message) from None
