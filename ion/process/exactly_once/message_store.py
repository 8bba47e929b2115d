"""The message store of a container: inbox and outbox in its store, for effects that happen once.

The *inbox* knows which messages were handled, and what they were answered. The *outbox* holds the
messages of units of work until the broker has them (:mod:`ion.process.exactly_once.relay`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from ion.base import clock
from ion.base.settings import StoreSettings
from ion.messaging.envelope import Envelope
from ion.process.endpoint.endpoint import Endpoint
from ion.process.exactly_once.claims import Claims
from ion.process.exactly_once.outbox_message import answer_of, kept
from ion.process.exactly_once.relay import FAREWELL, Relay
from ion.process.exactly_once.retention import Retention
from ion.stores.store import Datastore, IndexStore, Indices

INBOX = "ion_inbox"
OUTBOX = "ion_outbox"
CLAIMS = "ion_outbox_claims"
INDICES: Indices = {"at": "int"}  # ms since 1970, UTC


class MessageStore:
    """Inbox and outbox in one datastore.

    :ivar datastore: where they are.
    :ivar inbox: the answers of handled messages, by :meth:`StoredInbox.key`.
    :ivar relay: None: the datastore has no transactions, and so there is no outbox.
    """

    def __init__(self, datastore: Datastore, inbox: IndexStore, relay: Relay | None) -> None:
        self.datastore = datastore
        self.inbox = inbox
        self.relay = relay
        self._forgetting: Retention | None = None

    @classmethod
    async def open(
        cls, datastore: Datastore, endpoint: Endpoint, settings: StoreSettings
    ) -> MessageStore:
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
        store = cls(datastore, inbox, relay)
        store._forgetting = Retention(inbox, endpoint.id, settings)
        store._forgetting.start()
        return store

    async def close(self, patience: float = FAREWELL) -> None:
        """Send what is left, for ``patience`` seconds, and stop. Never raises."""
        if self._forgetting is not None:
            await self._forgetting.close()
        if self.relay is not None:
            await self.relay.close(patience)


class StoredInbox:
    """An inbox in the store, shared by all containers that have the same.

    :param store: gives the message store, opened; raises Unavailable where its store is away.
    :param system: the sysname.
    :param name: of the inbox: of the service, or of whatever else takes messages.
    """

    __slots__ = ("_name", "_store", "_system")

    def __init__(
        self, store: Callable[[], Awaitable[MessageStore]], system: str, name: str
    ) -> None:
        self._store = store
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
        return await find(await self._store(), self.key(key))

    async def keep(self, key: str, answer: Envelope) -> None:
        """See :meth:`Inbox.keep`."""
        store = await self._store()
        await store.inbox.put(self.key(key), kept(answer), index=now_index())


async def find(store: MessageStore, key: str) -> Envelope | None:
    """Return the answer that stands under a key of the inbox, or None."""
    data = await store.inbox.get(key)
    return answer_of(data) if data is not None else None


def now_index() -> dict[str, int]:
    """Return the attributes of what is put into the inbox now."""
    return {"at": int(clock.now() * 1000)}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
