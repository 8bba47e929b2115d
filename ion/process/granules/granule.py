"""The granule: some samples of a stream, as arrays by the names of its fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ion.base.errors import InvalidRequest
from ion.process.granules.arrays import array_of
from ion.process.granules.wire import Record, record_of

if TYPE_CHECKING:
    from numpy import ndarray
else:
    ndarray = Any


class Granule(msgspec.Struct, frozen=True, eq=False):
    """A granule that came. ``granule["temp"]`` is a field; to iterate gives their names.

    :ivar stream: name of its stream.
    :ivar publisher: who has published it, number: as its so many-th granule, from 1 on.
    :ivar time: when, seconds since 1970, UTC.
    :ivar fields: name -> array; views of the message, not to be written to.
    :ivar definition: name of its definition, version: of that; "" and 0: it has none.
    :ivar sparse: its publisher leaves numbers out; such are no gaps.
    :ivar offset: its place in what is kept of the stream, from 1 on; None: it came live.
    """

    stream: str
    publisher: str
    number: int
    time: float
    fields: Mapping[str, ndarray]
    definition: str = ""
    version: int = 0
    sparse: bool = False
    offset: int | None = None

    @property
    def id(self) -> str:
        """What tells it from all others of its stream."""
        return f"{self.publisher} {self.number}"

    def __getitem__(self, name: str) -> ndarray:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


def granule_of(body: bytes | memoryview, offset: int | None = None) -> Granule:
    """Return the granule that a message holds, or that is kept at an offset.

    :raises CodecError: it is none.
    """
    return opened(record_of(body), offset)


def granule_in(stream: str, body: bytes | memoryview, offset: int | None = None) -> Granule:
    """Return the granule that a message holds which came as one of a stream.

    :raises CodecError: it is none.
    :raises InvalidRequest: it is one of another stream.
    """
    granule = granule_of(body, offset)
    if granule.stream != stream:
        message = f"a granule of stream {granule.stream!r:.80} came as one of {stream!r}"
        raise InvalidRequest(message, details={"stream": stream})
    return granule


def opened(record: Record, offset: int | None = None) -> Granule:
    """Return a granule as it is worked with.

    :raises CodecError: a field is not what it says.
    """
    return Granule(
        record.stream,
        record.publisher,
        record.number,
        record.time,
        {name: array_of(name, part) for name, part in record.fields.items()},
        record.definition,
        record.version,
        record.sparse,
        offset,
    )
