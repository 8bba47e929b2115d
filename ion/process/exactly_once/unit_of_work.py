"""A unit of work in a handler: writes, messages to send and its inbox entry, in one commit.

At its end one transaction holds all of these, or none. What is sent is published after that by the
relay, with ids that were made in the unit; what is handled is known by then, so that the message is
answered from the inbox when it comes again, and its effect happens once.
"""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from ion.base.errors import Conflict, InvalidRequest, IonError, LifecycleError
from ion.conversation import conversation as c
from ion.messaging.envelope import MSGPACK, Envelope
from ion.observe.context import current_call
from ion.process.endpoint.unacked_answers import DONE
from ion.process.events.event import Event
from ion.process.events.publishing import told
from ion.process.events.topics import POINT
from ion.process.exactly_once.conflict_retry import Contended
from ion.process.exactly_once.inbox import Known
from ion.process.exactly_once.message_store import (
    INBOX,
    OUTBOX,
    MessageStore,
    StoredInbox,
    find,
    now_index,
)
from ion.process.exactly_once.outbox_message import OutboxMessage, kept, outgoing, packed
from ion.process.exactly_once.relay import Relay
from ion.process.host import Host
from ion.process.pubsub.publishing import EVENT
from ion.process.pubsub.topics import addressed, checked_topic
from ion.process.redelivery.redelivered import inbox_key
from ion.process.serving.incoming import IncomingCall
from ion.stores.errors import StaleRead
from ion.stores.store import ABSENT, IndexStore, Store, UnitOfWork

LOST = "ResultLost"
E = TypeVar("E", bound=Event)
_latest: ContextVar[Unit | None] = ContextVar("unit", default=None)  # that a handler has begun


class Unit:
    """A unit of work of a process; see :meth:`Storing.unit_of_work`, which makes them.

    In a handler it is that of the message, of which there is one: a second one that is committed
    for the same message could not be told from a repeat.

    :param stores: plain stores to be opened first.
    """

    def __init__(self, host: Host, process: str, stores: tuple[str, ...]) -> None:
        self._host = host
        self._endpoint = host.endpoint
        self._process = process
        self._stores = stores
        self._outgoing: list[tuple[str, OutboxMessage]] = []
        self._answer: Envelope | None = None
        self._call: IncomingCall | None = None
        self._inbox: StoredInbox | None = None
        self._key = ""
        self._is_begun = False
        self._is_over = False
        self._room: MessageStore
        self._relay: Relay
        self._inner: AbstractAsyncContextManager[UnitOfWork]
        self._work: UnitOfWork

    async def __aenter__(self) -> Self:
        """Begin.

        :raises Known: the message was handled before; the runtime answers it then.
        :raises LifecycleError: it was begun before: what was dropped then stays dropped.
        """
        if self._is_begun:
            message = "a unit of work is begun once: make another one with unit_of_work()"
            raise LifecycleError(message)
        self._is_begun = True
        self._room = room = await self._host.message_store()
        self._relay = _relay(room)
        for name in self._stores:
            await room.datastore.store(name)
        self._inner = room.datastore.unit_of_work()
        self._work = await self._inner.__aenter__()
        call = current_call.get()
        if isinstance(call, IncomingCall) and call.process == self._process and not call.over:
            await self._look_up(call)
            _latest.set(self)  # now only: where that fails, the message is for another unit
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Commit; where the block raises, drop all of it.

        :raises Conflict: others have written what was read here by key, be it found out at the end
            or when it was read once more; nothing was done. Where it
            leaves the op, the runtime runs that again, some times.
        :raises Unavailable: the store went away: whether it is done is not known. The message, when
            it comes again, is handled or answered accordingly.
        :raises Known: another container has handled the same message meanwhile.
        """
        self._is_over = True
        if _latest.get() is self:
            _latest.set(None)  # who handles goes on, and keeps nothing of this
        keys = [key for key, _ in self._outgoing]
        if kind is not None:
            self._relay.drop(keys, perhaps_kept=False)
            await self._inner.__aexit__(kind, error, at)
            if isinstance(error, StaleRead):
                await self._raise_if_known()
                raise Contended(error) from error
            return
        try:
            await self._keep_message()
            await self._inner.__aexit__(None, None, None)
        except Conflict as conflict:
            self._relay.drop(keys, perhaps_kept=False)
            await self._raise_if_known()
            raise Contended(conflict) from conflict
        except BaseException:
            self._relay.drop(keys, perhaps_kept=True)
            raise
        self._relay.take(self._outgoing)
        self._conclude()

    # what a handler does in it

    def store(self, name: str) -> Store:
        """Return a store as this unit sees it; see :meth:`UnitOfWork.store`."""
        return self._work.store(name)

    def index_store(self, name: str) -> IndexStore:
        """Return an index store as this unit sees it; see :meth:`UnitOfWork.index_store`."""
        return self._work.index_store(name)

    async def send(
        self,
        to: str,
        op: str,
        content: Any = None,
        *,
        content_type: str = MSGPACK,
        message_id: str = "",
    ) -> None:
        """Send a message that nobody answers, once all this is committed.

        A receiver that is not there yet has it when it comes, within ``store.remember`` seconds;
        then it is a dead letter of ``processes``.

        :param message_id: what it is known by; by default, a new one.
        :raises BadRequest: ``message_id`` is no text of at most 255 bytes.
        :raises ContentTooLarge: the content is over the limit.
        :raises Unavailable: too many messages of units of work wait for the broker.
        """
        envelope = self._endpoint.one_way(self._process, op, content, content_type, message_id, to)
        await self._post("", to, envelope)

    async def publish(
        self,
        point: str,
        topic: str,
        content: Any = None,
        *,
        op: str = EVENT,
        content_type: str = MSGPACK,
        message_id: str = "",
    ) -> None:
        """Publish an event, once all this is committed.

        :raises BadRequest: ``topic`` is none.
        :raises ConfigurationError: ``point`` is not a name.
        :raises Unavailable: as :meth:`send`.
        """
        checked_topic(topic)
        self._endpoint.namespace.exchange_point(point)
        envelope = self._endpoint.one_way(
            self._process, op, content, content_type, message_id, addressed(point, topic)
        )
        await self._post(point, topic, envelope)

    async def publish_event(self, event: E) -> E:
        """Publish a typed event once all this is committed; see
        :meth:`EventPublishing.publish_event`.

        :raises TypeError: it is no event.
        :raises BadRequest: it has no origin, its topic would be too long, or a field is not what
            its type says.
        :raises Unavailable: as :meth:`send`.
        """
        topic, content = told(event, self._endpoint)
        await self.publish(POINT, topic, content, op=event.type, message_id=event.id)
        return event

    async def reply(self, content: Any = None) -> None:
        """Say what the message is answered, once all this is committed; what the op returns is
        not sent then.

        So the answer is in the same commit, and a caller whose op was done always gets it. An op
        that returns its result after the block may be killed in between: who calls again then is
        answered with a failure of type ``ResultLost``.

        :raises LifecycleError: no message is being handled, or it was answered already.
        :raises CodecError: it cannot be encoded.
        """
        call = self._call
        if call is None or call.replied or self._answer is not None:
            why = "no message is being handled" if call is None else "it was answered already"
            message = f"a reply in a unit of work: {why}"
            raise LifecycleError(message)
        self._answer = call.conclusion(content) or DONE

    # helpers

    async def _look_up(self, call: IncomingCall) -> None:
        """See whether the message was handled before; hold that it was not, until the commit."""
        if call.replied:
            return  # what comes after the answer is nobody's any more
        source, message = call.source, inbox_key(call)
        before = _latest.get()
        is_within = before is not None and before._call is call and not before._is_over
        if is_within or isinstance(source.inbox, _Committed):
            text = "a message is handled in one unit of work: put all that it does into that one"
            raise LifecycleError(text)
        self._call = call
        if not message:
            return  # it has no id: nobody could tell that it comes again
        name = source.key if source.queue and source.key else source.queue or self._process
        inbox = source.inbox
        if not isinstance(inbox, StoredInbox):
            system = self._endpoint.namespace.sysname
            inbox = StoredInbox(self._host.message_store, system, name)
        self._inbox, self._key = inbox, inbox.key(message)
        if await self._work.index_store(INBOX).has(self._key):
            await self._raise_if_known()

    async def _raise_if_known(self) -> None:
        answer = await find(self._room, self._key) if self._key else None
        if answer is not None:
            raise Known(answer) from None

    async def _post(self, point: str, to: str, envelope: Envelope) -> None:
        posted = outgoing(point, to, time.time(), envelope)
        key = await self._relay.reserve()
        self._outgoing.append((key, posted))
        try:
            await self._work.store(OUTBOX).put(key, packed(posted))
        except BaseException:
            self._outgoing.remove((key, posted))
            self._relay.drop([key], perhaps_kept=False)
            raise

    async def _keep_message(self) -> None:
        if self._call is None or not self._key:
            return
        answer = self._answer or _unknown(self._call)
        inbox = self._work.index_store(INBOX)
        await inbox.put(self._key, kept(answer), revision=ABSENT, index=now_index())

    def _conclude(self) -> None:
        """Note that the message is handled, and answer it where that is to be done."""
        call = self._call
        if call is None:
            return
        if self._inbox is not None:
            inbox = _Committed(self._inbox)
            call.source = msgspec.structs.replace(call.source, inbox=inbox, careful=True)
        if self._answer is not None and not call.replied:
            call.conclude(None if self._answer is DONE else self._answer)


class _Committed:
    """The inbox of a message whose unit of work is committed: only its result is still to come."""

    def __init__(self, inbox: StoredInbox) -> None:
        self._inbox = inbox

    async def find(self, key: str) -> Envelope | None:
        """See :meth:`Inbox.find`."""
        return await self._inbox.find(key)

    async def keep(self, key: str, answer: Envelope) -> None:
        """Keep the result in place of what stands there; where there is none, all is kept."""
        if answer is not DONE:
            await self._inbox.keep(key, answer)


def _relay(room: MessageStore) -> Relay:
    """Return the relay of a message store.

    :raises InvalidRequest: there is none.
    """
    if room.relay is None:
        message = (
            f"the store {room.datastore.url} has no transactions, and so no units of work: "
            "set store.url to an SQLite or PostgreSQL one"
        )
        raise InvalidRequest(message)
    return room.relay


def _unknown(call: IncomingCall) -> Envelope:
    """Return what a message is answered whose handler has committed, and never returned."""
    if not call.envelope.reply_to:
        return DONE
    message = f"op {call.op!r} was done, once, but its container died before it told the result"
    error = IonError(message, type=LOST, details={"op": call.op})
    before = call.seq
    answer = call._envelope(c.FAILURE, {**error.as_content()}, error.code)
    call.seq = before
    return answer
