"""What all ops of the registry work with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ion.process.process import Process
from ion.services.resource_registry.changing import Changing
from ion.services.resource_registry.errors import answering, ending
from ion.services.resource_registry.keeping import Home


class Base(Process):
    """A process that has a registry."""

    _home: Home

    @property
    def _most(self) -> int:
        return self._endpoint.max_content // 2  # base64 in JSON, headers, and some air

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[Changing]:
        """Begin to change something, all of it or nothing.

        :raises ApplicationError: what the caller got wrong, or the store is away.
        :raises Contended: (at its end) others were faster; the runtime runs the op again.
        """
        with ending():
            async with self.unit_of_work() as unit:
                with answering():
                    changing = Changing(self._home, unit, self._endpoint)
                    yield changing
        self._home.remember(changing.actors)
