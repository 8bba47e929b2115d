"""The stream of an agent: batches of samples become granules."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ion.base.errors import (
    ApplicationError,
    ConfigurationError,
    IonError,
    NotFound,
    ServiceNotFound,
)
from ion.process.process import Process
from ion.services.instrument.batching import Batch

try:
    import numpy as np
except ImportError as error:
    message = "numpy is not installed: pip install 'ioncore[instruments]'"
    raise ConfigurationError(message) from error

if TYPE_CHECKING:
    from ion.process.granules.definition import StreamDefinition
    from ion.process.granules.publisher import StreamPublisher

log = logging.getLogger(__name__)
REGISTER = 5.0  # seconds for the service of streams to answer
BAD_REQUEST = 400
FLOAT = 8  # bytes of one value


class SampleStream:
    """Publishes samples to a stream, which is opened with the first one.

    :param stream: its name; None: samples are counted, and go nowhere.
    :ivar samples: how many came in, granules: in how many batches.
    :ivar last: the last sample, or None.
    """

    def __init__(self, process: Process, stream: str | None) -> None:
        self._process = process
        self.stream = stream
        self._publisher: StreamPublisher | None = None
        self.samples = 0
        self.granules = 0
        self.last: dict[str, float] | None = None

    async def publish(self, batch: Batch, fields: Mapping[str, str]) -> None:
        """Publish a batch as one granule.

        :raises ApplicationError: its columns are not all of one length.
        :raises Unavailable: the broker is away for long.
        """
        if any(len(data) != FLOAT * batch.count for data in batch.columns.values()):
            message = f"a batch of {batch.count} samples has columns of other lengths"
            raise ApplicationError(message, code=BAD_REQUEST, type="Wrong")
        columns = {name: np.frombuffer(data, "<f8") for name, data in batch.columns.items()}
        if self.stream is not None:
            await self._send(columns, fields)
        self.samples += batch.count
        self.granules += 1
        self.last = {name: float(column[-1]) for name, column in columns.items()}

    async def _send(self, columns: Mapping[str, Any], fields: Mapping[str, str]) -> None:
        if self._publisher is None:
            self._publisher = await self._open(fields)
        try:
            await self._publisher.publish(columns)
        except NotFound:  # somebody has deleted the stream: it begins anew
            self._publisher = await self._open(fields)
            await self._publisher.publish(columns)

    async def _open(self, fields: Mapping[str, str]) -> StreamPublisher:
        from ion.process.granules.definition import Field, StreamDefinition
        from ion.process.granules.publisher import StreamPublisher

        assert self.stream is not None
        described = {name: Field("<f8", description=what) for name, what in fields.items()}
        definition = StreamDefinition(self.stream, described)
        await self._register(definition)
        return await StreamPublisher.open(self._process, self.stream, definition)

    async def _register(self, definition: StreamDefinition) -> None:
        """Have the service ``streams`` know what the stream is made of, where there is one."""
        content = {"stream": self.stream, "definition": definition}
        try:
            await self._process.rpc_send("streams", "register", content, REGISTER)
        except ServiceNotFound:
            log.debug("%r: no service knows streams here", self._process)
        except IonError as error:
            log.warning("%r: stream %s is not registered: %s", self._process, self.stream, error)

    async def close(self) -> None:
        """Wait until the broker has what was published."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.flush()
            await publisher.close()
