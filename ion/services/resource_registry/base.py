"""What all ops of the registry work with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ion.process.process import Process
from ion.services.resource_registry.errors import answering, ending
from ion.services.resource_registry.stores import RegistryStores
from ion.services.resource_registry.transaction import Transaction


class Base(Process):
    """A process that has a registry."""

    _stores: RegistryStores

    @property
    def _most(self) -> int:
        return self._endpoint.max_content // 2  # base64 in JSON, headers, and some air

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        """Begin to change something, all of it or nothing.

        :raises ApplicationError: what the caller got wrong, or the store is away.
        :raises Contended: (at its end) others were faster; the runtime runs the op again.
        """
        with ending():
            async with self.unit_of_work() as unit:
                with answering():
                    transaction = Transaction(self._stores, unit, self._endpoint)
                    yield transaction
        self._stores.remember(transaction.actors)
