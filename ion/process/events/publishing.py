"""Telling of events: what any party on the bus needs to publish one, and to wait for one."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ion.base import clock
from ion.messaging.envelope import MSGPACK
from ion.observe.context import current_call
from ion.process.endpoint.endpoint import Endpoint
from ion.process.endpoint.interception import checked_message_id
from ion.process.events.event import Event, is_within, path_of
from ion.process.events.expecting import Expected
from ion.process.events.fields import checked_content
from ion.process.events.topics import POINT, selection, topic_of
from ion.process.pubsub import publishing

E = TypeVar("E", bound=Event)
_set = msgspec.structs.force_setattr


class EventPublishing:
    """The surface for events of containers, processes and connections."""

    _endpoint: Endpoint
    _sender: str

    async def publish_event(
        self,
        event: E,
        *,
        timeout: float | None = None,
        confirm: bool = True,
        persistent: bool = True,
        content_type: str = MSGPACK,
    ) -> E:
        """Publish an event to whoever wants to hear of its type, or one above; return it.

        What it lacks is filled in: ``id``, ``created``, ``actor`` and ``path``. Where this raises,
        publish the same object again: who has heard of it knows it by its id.

        :param timeout: seconds for the broker to take it.
        :param confirm: wait until the broker has it; without, it is handed over and forgotten.
        :param persistent: durable subscriptions keep it over a restart of the broker.
        :raises TypeError: it is no :class:`Event`.
        :raises BadRequest: it has no origin; its topic would be over 255 bytes; or a field is not
            what its type says: the message, and ``details``, name type and field.
        :raises Unavailable: the broker did not take it in time.
        """
        topic, content = told(event, self._endpoint)
        await publishing.publish(
            self._endpoint,
            self._sender,
            POINT,
            topic,
            content,
            op=event.type,
            timeout=timeout,
            confirm=confirm,
            persistent=persistent,
            content_type=content_type,
            message_id=event.id,
        )
        return event

    def expect_event(
        self,
        of: type[E],
        *,
        origin: str | None = None,
        origin_type: str | None = None,
        sub_type: str | None = None,
    ) -> Expected[E]:
        """Listen for the time of an ``async with``.

        So nothing is missed of what is done in it::

            async with self.expect_event(JobDone, origin=job) as expected:
                await self.rpc_send("jobs", "begin", job)
                event = await expected.wait(timeout=30)

        It does not go by the mailbox of a process: a handler may wait, too. Parameters and errors
        are those of :meth:`Process.subscribe_events`.
        """
        return Expected(self._endpoint, of, selection(of, origin, origin_type, sub_type))

    async def wait_for_event(
        self,
        of: type[E],
        *,
        timeout: float,
        origin: str | None = None,
        origin_type: str | None = None,
        sub_type: str | None = None,
    ) -> E:
        """Return the next event of a type, or below it, that is published from now on.

        :param timeout: seconds; in a handler, at most what is left of its call.
        :raises DeadlineExceeded: there was none.
        """
        async with self.expect_event(
            of, origin=origin, origin_type=origin_type, sub_type=sub_type
        ) as expected:
            return await expected.wait(timeout=timeout)


def told(event: Any, endpoint: Endpoint) -> tuple[str, dict[str, Any]]:
    """Fill in what an event lacks that is to be published; return its topic, and its content.

    :raises TypeError: it is no event.
    :raises BadRequest: it has no origin, its topic would be too long, or a field is not what its
        type says.
    """
    if not isinstance(event, Event):
        message = f"{event!r:.100} is no event: publish an object of a class below ion.Event"
        raise TypeError(message)
    own = path_of(type(event))
    if not is_within(event.path, own):
        _set(event, "path", own)
    topic = topic_of(event)
    if not event.id:
        _set(event, "id", endpoint.next_id())
    checked_message_id(event.id)
    if not event.created:
        _set(event, "created", clock.now())
    if not event.actor:
        _set(event, "actor", _actor())
    return topic, checked_content(event)


def _actor() -> str:
    """Return on whose behalf something is done now, or ""."""
    call = current_call.get()
    if call is None:
        return ""
    identity = getattr(call, "identity", None)
    return str(getattr(identity, "actor", "") or call.user)
