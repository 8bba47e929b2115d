"""The mail room of a container: inbox and outbox in its store, for effects that happen once.

The *inbox* knows which messages were handled, and what they were answered. The *outbox* holds the
messages of units of work until the broker has them (:mod:`ion.process.mailroom.relay`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from ion.base import clock
from ion.base.settings import StoreSettings
from ion.messaging.envelope import Envelope
from ion.process.endpoint.endpoint import Endpoint
from ion.process.mailroom.claims import Claims
from ion.process.mailroom.forgetting import Forgetting
from ion.process.mailroom.parcel import answer_of, kept
from ion.process.mailroom.relay import FAREWELL, Relay
from ion.stores.store import Datastore, IndexStore, Indices

INBOX = "ion_inbox"
OUTBOX = "ion_outbox"
CLAIMS = "ion_outbox_claims"
INDICES: Indices = {"at": "int"}  # ms since 1970, UTC


class Mailroom:
    """Inbox and outbox in one datastore.

    :ivar datastore: where they are.
    :ivar inbox: the answers of handled messages, by :meth:`StoredInbox.key`.
    :ivar relay: None: the datastore has no transactions, and so there is no outbox.
    """

    def __init__(self, datastore: Datastore, inbox: IndexStore, relay: Relay | None) -> None:
        self.datastore = datastore
        self.inbox = inbox
        self.relay = relay
        self._forgetting: Forgetting | None = None

    @classmethod
    async def open(
        cls, datastore: Datastore, endpoint: Endpoint, settings: StoreSettings
    ) -> Mailroom:
        """Make the stores that are needed, and begin to send what is left in the outbox.

        :raises Unavailable: the store is away.
        """
        inbox = await datastore.index_store(INBOX, INDICES)
        relay = None
        if datastore.has_transactions:
            outbox, rows = await datastore.store(OUTBOX), await datastore.store(CLAIMS)
            claims = Claims(rows, endpoint.namespace.sysname, endpoint.id, settings.lease)
            relay = Relay(endpoint, outbox, claims, settings)
            relay.start()
        room = cls(datastore, inbox, relay)
        room._forgetting = Forgetting(inbox, endpoint.id, settings)
        room._forgetting.start()
        return room

    async def close(self, patience: float = FAREWELL) -> None:
        """Send what is left, for ``patience`` seconds, and stop. Never raises."""
        if self._forgetting is not None:
            await self._forgetting.close()
        if self.relay is not None:
            await self.relay.close(patience)


class StoredInbox:
    """An inbox in the store, shared by all containers that have the same.

    :param room: gives the mail room, opened; raises Unavailable where its store is away.
    :param system: the sysname.
    :param name: of the inbox: of the service, or of whatever else takes messages.
    """

    __slots__ = ("_name", "_room", "_system")

    def __init__(self, room: Callable[[], Awaitable[Mailroom]], system: str, name: str) -> None:
        self._room = room
        self._system = system
        self._name = name

    def key(self, message: str) -> str:
        """Return what a message is known by in the store."""
        key = f"{self._system}/{self._name}/{message}"
        try:
            key.encode()
        except UnicodeEncodeError:  # what a foreign sender has made of its id
            key = f"{self._system}/{self._name}#{_hash(message)}"
        return key

    async def find(self, key: str) -> Envelope | None:
        """See :meth:`Inbox.find`."""
        return await find(await self._room(), self.key(key))

    async def keep(self, key: str, answer: Envelope) -> None:
        """See :meth:`Inbox.keep`."""
        room = await self._room()
        await room.inbox.put(self.key(key), kept(answer), index=now_index())


async def find(room: Mailroom, key: str) -> Envelope | None:
    """Return the answer that stands under a key of the inbox, or None."""
    data = await room.inbox.get(key)
    return answer_of(data) if data is not None else None


def now_index() -> dict[str, int]:
    """Return the attributes of what is put into the inbox now."""
    return {"at": int(clock.now() * 1000)}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
